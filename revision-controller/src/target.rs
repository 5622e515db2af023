//! What of a Function is followed, where, and how often: from its policy and its spec.

use std::time::Duration;

use openfunction_proto::core::{Followed, Function, LocalObjectReference, RevisionPolicy, SourceRepo};
use reqwest::Url;

use crate::{
    forge::{self, Kind, TokenHeader},
    freeze,
    git::{is_commit, ssh},
    looks::{Place, Want},
    problem::{INVALID, Problem},
    registry,
    signature::Key,
    tags::Rule,
};

/// How often is looked where the policy does not say it (goals Q20).
#[derive(Clone, Copy, Debug)]
pub struct Intervals {
    /// At repositories of git.
    pub git: Duration,
    /// At registries.
    pub registry: Duration,
    /// At least this long between two looks.
    pub min: Duration,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// As the status says where it is.
    pub of: String,
    /// The Secret with the credential, and whether it is one of git.
    pub secret: Option<(String, bool)>,
    /// What is wanted.
    pub want: Want,
    /// How often.
    pub interval: Duration,
    place: Where,
}

/// A place may depend on whether there is a credential.
#[derive(Clone, Debug, PartialEq)]
enum Where {
    Is(Place),
    /// With a token, the API of the forge; without one it allows so few requests that git is asked itself.
    ForgeWithToken(Place, Place),
}

/// Why nothing is followed although there is a policy; that is no mistake.
pub const NOTHING: &str = "NothingToFollow";

/// Looks at a policy: what the CRD cannot say.
///
/// # Errors
/// The field, what is wrong and what is allowed.
pub fn check(policy: &RevisionPolicy, min: Duration) -> Result<(), String> {
    let at = |why: String| format!("spec.revisionPolicy.{why}");
    policy.tag_policy.as_ref().map_or(Ok(()), |policy| Rule::new(policy).map(drop)).map_err(at)?;
    freeze::check(&policy.freeze_windows).map_err(at)?;
    policy.public_key.as_deref().map_or(Ok(()), |key| Key::parse(key).map(drop)).map_err(at)?;
    if let Some(base) = &policy.base_url
        && !Url::parse(base).is_ok_and(|url| ["http", "https"].contains(&url.scheme()))
    {
        return Err(at(format!("baseURL: Invalid value: {base:?}: must be a URL with http or https")));
    }
    let interval = policy.polling_interval.as_ref();
    if let Some((text, interval)) = interval.and_then(|interval| Some((interval, interval.to_std()?)))
        && interval < min
    {
        return Err(at(format!(
            "pollingInterval: Invalid value: {:?}: must be at least {}s",
            text.0,
            min.as_secs_f64()
        )));
    }
    Ok(())
}

/// What a Function follows.
///
/// # Errors
/// What is wrong with policy or spec, or why there is nothing to follow.
pub fn target(function: &Function, policy: &RevisionPolicy, intervals: &Intervals) -> Result<Target, Problem> {
    check(policy, intervals.min).map_err(|why| Problem::new(INVALID, why))?;
    let of = policy.place(&function.spec).ok_or_else(|| {
        Problem::new(
            NOTHING,
            match policy.followed() {
                Followed::Source => "type source follows spec.build.srcRepo.url, which is not specified",
                Followed::SourceImage => {
                    "type source-image follows spec.build.srcRepo.bundleContainer, which is not specified"
                }
                Followed::Image => "type image follows the image that spec.serving runs, which is not specified",
            },
        )
    })?;
    let spec = &function.spec;
    let repository = spec.build.as_ref().map(|build| &build.src_repo);
    let given = policy.polling_interval.as_ref().and_then(|interval| interval.to_std());
    let interval = |default: Duration| given.unwrap_or(default).max(intervals.min);
    if policy.followed() == Followed::Source {
        let Some(repository) = repository else { return Err(Problem::new(NOTHING, "there is no source")) };
        let (place, want) = of_git(repository, policy)?;
        return Ok(Target {
            of,
            secret: secret(&[&repository.credentials], true),
            want,
            interval: interval(intervals.git),
            place,
        });
    }
    let (place, tag) = registry::Place::of(&of, policy.insecure_registry == Some(true))?;
    let key = policy.public_key.clone();
    let want = match (&policy.tag_policy, tag) {
        (Some(policy), _) => Want::Policy { policy: policy.clone(), key },
        (None, Some(tag)) => Want::Tag { tag, key },
        (None, None) => return Err(Problem::new(NOTHING, format!("{of} is named by its digest, which never changes"))),
    };
    let of_source = repository.and_then(|repository| repository.credentials.clone());
    let secret = match policy.followed() {
        // BUG-R16
        Followed::SourceImage => secret(&[&of_source, &spec.image_credentials], false),
        _ => secret(&[&spec.image_credentials], false),
    };
    Ok(Target { of, secret, want, interval: interval(intervals.registry), place: Where::Is(Place::Images(place)) })
}

impl Target {
    /// Where it is looked at.
    pub fn place(&self, has_token: bool) -> Place {
        match &self.place {
            Where::Is(place) => place.clone(),
            Where::ForgeWithToken(forge, _) if has_token => forge.clone(),
            Where::ForgeWithToken(_, git) => git.clone(),
        }
    }
}

fn secret(references: &[&Option<LocalObjectReference>], is_of_git: bool) -> Option<(String, bool)> {
    let names = references.iter().filter_map(|reference| reference.as_ref()?.name.clone());
    names.filter(|name| !name.is_empty()).map(|name| (name, is_of_git)).next()
}

fn of_git(repository: &SourceRepo, policy: &RevisionPolicy) -> Result<(Where, Want), Problem> {
    let url = repository.url.as_deref().unwrap_or_default();
    let revision = repository.revision.clone().unwrap_or_default();
    if policy.tag_policy.is_none() && is_commit(&revision) {
        return Err(Problem::new(
            NOTHING,
            format!("spec.build.srcRepo.revision is commit {revision}, which never changes"),
        ));
    }
    let folder = repository.source_sub_path.as_deref().unwrap_or_default();
    let folder = folder.trim_start_matches("./").trim_matches('/');
    let folder = if folder == "." { "" } else { folder };
    let folder = (policy.only_source_sub_path == Some(true) && !folder.is_empty()).then(|| folder.to_owned());
    let is_filtered = folder.is_some();
    let want = match &policy.tag_policy {
        Some(policy) => Want::Policy { policy: policy.clone(), key: None },
        None => Want::Commit { revision, folder },
    };
    let git = match ssh::Place::parse(url) {
        Some(place) => Place::Ssh(place),
        None => {
            let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
            let mut parsed = parsed.ok_or_else(|| {
                let message =
                    "spec.build.srcRepo.url: Invalid value: must be a URL with http, https or ssh, or user@host:path";
                Problem::new(INVALID, message)
            })?;
            // What is in a URL can be read by whoever can read the Function, and would be told with it.
            let _ = (parsed.set_username(""), parsed.set_password(None));
            Place::Http(parsed)
        }
    };
    let (base, project) = (policy.base_url.as_deref(), policy.project_id.as_deref());
    let forge = |kind| forge::Place::new(kind, url, base, project).map(Place::Forge);
    let is_at = |host: &str| git.host().eq_ignore_ascii_case(host);
    let kind = match policy.repo_type.as_deref() {
        Some("gitlab") => Some(Kind::GitLab(match policy.auth_type.as_deref() {
            Some("OAuthToken") => TokenHeader::Bearer,
            Some("JobToken") => TokenHeader::Job,
            _ => TokenHeader::Private,
        })),
        // Other servers are no forge of that kind.
        Some("github") if is_at("github.com") || base.is_some() => Some(Kind::GitHub),
        Some("gitee") if is_at("gitee.com") || base.is_some() => Some(Kind::Gitee),
        _ => None,
    };
    let place = match kind {
        _ if policy.tag_policy.is_some() => Where::Is(git),
        Some(kind) if is_filtered || matches!(kind, Kind::GitLab(_)) => Where::Is(forge(kind)?),
        None if is_filtered => {
            let message = "spec.revisionPolicy.baseURL: Required value: onlySourceSubPath asks the API of a forge, and the repository is at another server";
            return Err(Problem::new(INVALID, message));
        }
        // A repository behind ssh has a key, which no API takes.
        Some(kind) if matches!(git, Place::Http(_)) => Where::ForgeWithToken(forge(kind)?, git),
        _ => Where::Is(git),
    };
    Ok((place, want))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const INTERVALS: Intervals =
        Intervals { git: Duration::from_secs(60), registry: Duration::from_secs(300), min: Duration::from_secs(1) };

    fn of(spec: Value) -> Result<Target, Problem> {
        let function: Function =
            serde_json::from_value(json!({"metadata": {"name": "f", "namespace": "n"}, "spec": spec})).unwrap();
        let policy = RevisionPolicy::of(&function).unwrap().unwrap();
        target(&function, &policy, &INTERVALS)
    }

    fn source(repository: Value, policy: Value) -> Result<Target, Problem> {
        let mut policy = policy;
        policy["type"] = json!("source");
        of(json!({"image": "a", "build": {"srcRepo": repository}, "revisionPolicy": policy}))
    }

    fn shown(target: &Target, has_token: bool) -> String {
        let place = target.place(has_token);
        format!("{} {place}", place.kind())
    }

    #[test]
    fn rv9_rv15_a_repository_is_asked_in_the_way_that_it_understands() {
        let github = source(json!({"url": "https://github.com/acme/a.git"}), json!({"repoType": "github"})).unwrap();
        assert_eq!(shown(&github, true), "github https://api.github.com/ acme/a");
        assert_eq!(shown(&github, false), "git https://github.com/acme/a.git");
        for (url, policy, expected) in [
            ("https://git.example/a.git", json!({"repoType": "github"}), "git https://git.example/a.git"),
            (
                "https://ghe.example/o/a",
                json!({"repoType": "github", "baseURL": "https://ghe.example"}),
                "github https://ghe.example/api/v3 o/a",
            ),
            ("git@github.com:acme/a.git", json!({"repoType": "github"}), "ssh ssh://github.com:22/acme/a.git"),
            ("https://u:p@git.example/a", json!({}), "git https://git.example/a"),
            (
                "https://gl.example/x/a.git",
                json!({"repoType": "gitlab", "baseURL": "https://gl.example", "projectID": "7"}),
                "gitlab https://gl.example/api/v4 7",
            ),
            ("https://gitee.com/acme/a", json!({"repoType": "gitee"}), "gitee https://gitee.com/api/v5 acme/a"),
            (
                "https://github.com/acme/a",
                json!({"repoType": "github", "tagPolicy": {"semver": "1"}}),
                "git https://github.com/acme/a",
            ),
        ] {
            assert_eq!(shown(&source(json!({"url": url}), policy).unwrap(), true), expected);
        }
        let filtered = json!({"repoType": "github", "onlySourceSubPath": true});
        let folder = source(json!({"url": "https://github.com/acme/a", "sourceSubPath": "./fn/a/"}), filtered).unwrap();
        assert_eq!(shown(&folder, false), "github https://api.github.com/ acme/a");
        assert_eq!(folder.want, Want::Commit { revision: String::new(), folder: Some("fn/a".to_owned()) });
    }

    #[test]
    fn r07_a_branch_whose_name_looks_like_a_hash_is_followed() {
        let of = |revision: &str| source(json!({"url": "https://a/b", "revision": revision}), json!({}));
        assert_eq!(of("deadbeef").unwrap().want, Want::Commit { revision: "deadbeef".to_owned(), folder: None });
        let pinned = of(&"a".repeat(40)).unwrap_err();
        assert_eq!(pinned.reason, NOTHING);
    }

    #[test]
    fn rv8_r04_intervals_have_defaults_and_a_minimum() {
        let of = |policy| source(json!({"url": "https://a/b"}), policy);
        assert_eq!(of(json!({})).unwrap().interval, INTERVALS.git);
        assert_eq!(of(json!({"pollingInterval": "2m"})).unwrap().interval, Duration::from_secs(120));
        for interval in ["0s", "500ms"] {
            let problem = of(json!({ "pollingInterval": interval })).unwrap_err();
            assert!(problem.message.ends_with("must be at least 1s"), "{problem}");
        }
    }

    #[test]
    fn r16_a_bundle_has_the_credentials_of_the_source() {
        let of = |credentials: Value| {
            let repository = json!({"bundleContainer": {"image": "reg/source:v1"}, "credentials": credentials});
            of(
                json!({"image": "a", "imageCredentials": {"name": "push"}, "build": {"srcRepo": repository}, "revisionPolicy": {"type": "source-image"}}),
            )
        };
        let named = |name: &str| Some((name.to_owned(), false));
        assert_eq!(of(json!({"name": "pull"})).unwrap().secret, named("pull"));
        assert_eq!(of(Value::Null).unwrap().secret, named("push"));
        assert_eq!(of(Value::Null).unwrap().interval, INTERVALS.registry);
    }

    #[test]
    fn r20_nothing_to_follow_is_told() {
        let said = |spec| of(spec).unwrap_err().message;
        let inline = json!({"image": "a", "build": {"srcRepo": {"inline": {"files": {"a": "b"}}}}, "revisionPolicy": {"type": "source"}});
        assert!(said(inline).contains("spec.build.srcRepo.url, which is not specified"));
        let digest = format!("reg/a@sha256:{}", "a".repeat(64));
        let pinned = json!({"image": digest, "serving": {}, "revisionPolicy": {"type": "image"}});
        assert!(said(pinned).ends_with("is named by its digest, which never changes"));
        let wrong = source(json!({"url": "file:///etc"}), json!({})).unwrap_err();
        assert_eq!(wrong.reason, INVALID);
        let wrong = source(json!({"url": "https://a/b"}), json!({"tagPolicy": {"semver": "newest"}})).unwrap_err();
        assert!(wrong.message.starts_with("spec.revisionPolicy.tagPolicy.semver: Invalid value"), "{wrong}");
    }
}
