//! How new commits and images are found: `spec.revisionPolicy` of a Function, or the annotations of OpenFunction 1.x.

use std::collections::BTreeMap;

use kube::{KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Function, FunctionSpec};
use crate::GoDuration;

/// Annotation that switches the revision controller on (`enable`) for a Function, or off (anything else).
pub const SWITCH: &str = "openfunction.io/revision-controller";
/// Annotation with the parameters: a YAML mapping of texts (revision §3).
pub const PARAMS: &str = "openfunction.io/revision-controller-params";

/// Parameters of the annotation.
const KNOWN: [&str; 7] =
    ["type", "polling-interval", "repo-type", "base-url", "auth-type", "project-id", "insecure-registry"];

/// How new commits and images are found. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.repoType) || self.repoType != 'gitlab' || (has(self.baseURL) && has(self.projectID))")
        .reason(Reason::FieldValueRequired).message("baseURL and projectID must be specified when repoType is gitlab"),
    validation = Rule::new("!has(self.onlySourceSubPath) || !self.onlySourceSubPath || (has(self.repoType) && self.repoType != 'git')")
        .field_path(".onlySourceSubPath").reason(Reason::FieldValueInvalid)
        .message("needs repoType github, gitlab or gitee: git servers do not tell which folders a commit has changed"),
    validation = Rule::new("!has(self.onlySourceSubPath) || !self.onlySourceSubPath || !has(self.tagPolicy)")
        .field_path(".onlySourceSubPath").reason(Reason::FieldValueInvalid).message("must not be specified together with tagPolicy"),
    validation = Rule::new("!has(self.publicKey) || self.type != 'source'").field_path(".publicKey")
        .reason(Reason::FieldValueInvalid).message("must not be specified when type is source: it verifies images"),
    validation = Rule::new("self.type != 'source' || !has(self.tagPolicy) || !has(self.tagPolicy.order) || self.tagPolicy.order != 'Newest'")
        .field_path(".tagPolicy.order").reason(Reason::FieldValueInvalid).message("must not be Newest when type is source: tags of git have no time"),
)]
pub struct RevisionPolicy {
    /// What is watched (the annotation assumes `source` when it is absent): the `source` in git, the `source-image` (bundle), or the `image` that runs.
    #[schemars(extend("enum" = ["source", "source-image", "image"]))]
    #[serde(rename = "type")]
    pub type_: String,
    /// Time between two looks, at least 1s; absent means 60s for git and 5m for registries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<GoDuration>,
    /// Kind of git server: `github`, `gitlab` or `gitee` use its API; `git`, which is meant when absent, works with any.
    /// (The annotation assumes `github`, which works with any git server, too.)
    #[schemars(extend("enum" = ["github", "gitlab", "gitee", "git"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_type: Option<String>,
    /// Address of a self-hosted git server.
    #[schemars(length(max = 2048))]
    #[serde(rename = "baseURL", skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// How the token of GitLab is sent.
    #[schemars(extend("enum" = ["PrivateToken", "OAuthToken", "JobToken"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<String>,
    /// Number or path of the GitLab project.
    #[schemars(length(max = 1024))]
    #[serde(rename = "projectID", skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Whether the registry may be reached by plain HTTP or with an unverified certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_registry: Option<bool>,
    /// Follows the tags of the repository or image instead of the one revision or tag that the spec names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_policy: Option<TagPolicy>,
    /// Only commits that change something in `spec.build.srcRepo.sourceSubPath` count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_source_sub_path: Option<bool>,
    /// Commits and digests that are never rolled out by themselves.
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Times in which nothing is rolled out by itself.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze_windows: Vec<FreezeWindow>,
    /// Public key, in PEM (ECDSA P-256 or Ed25519), that images must be signed for, as `cosign sign --key` does; others
    /// are not rolled out.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// Which tags count, and which of them is the newest. (addition)
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, KubeSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.semver) || (!has(self.regex) && !has(self.order))").field_path(".semver")
        .reason(Reason::FieldValueInvalid).message("must not be specified together with regex or order"),
)]
pub struct TagPolicy {
    /// Versions that count, as a range of Cargo, for example `>=1.2, <2` or `~1.4`; the highest is followed. A `v` before
    /// a version is no part of it.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// Tags that count; what its first group matches, or else the whole tag, is compared.
    #[schemars(length(min = 1, max = 256))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// How tags are compared: `Numerical` (numbers in them by value, which is meant when absent), `Alphabetical`, or
    /// `Newest` (images, by the time at which they were made).
    #[schemars(extend("enum" = ["Numerical", "Alphabetical", "Newest"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// A time that comes again. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreezeWindow {
    /// When it begins, as a schedule of cron: `0 17 * * FRI`.
    #[schemars(length(min = 1, max = 128))]
    pub start: String,
    /// When it ends.
    #[schemars(length(min = 1, max = 128))]
    pub end: String,
    /// Time zone of both, for example `Europe/Berlin`; absent means UTC.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// What of a Function is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Followed {
    /// The repository of its source.
    Source,
    /// The image with its source.
    SourceImage,
    /// The image that runs.
    Image,
}

impl RevisionPolicy {
    /// The policy of a Function, if it has one: the typed one, or that of the annotations.
    ///
    /// # Errors
    /// The field, what is wrong and what is allowed.
    pub fn of(function: &Function) -> Result<Option<Self>, String> {
        let switch = function.annotations().get(SWITCH).map(String::as_str);
        let policy = match (&function.spec.revision_policy, switch) {
            // What is no `enable` means off (revision §2).
            (_, Some(other)) if other != "enable" => return Ok(None),
            (Some(policy), _) => policy.clone(),
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let text = function.annotations().get(PARAMS).map(String::as_str).unwrap_or_default();
                of_params(&texts(text).map_err(|what| format!("{}: Invalid value: {what}", path("")))?)?
            }
        };
        policy.check()?;
        Ok(Some(policy))
    }

    /// What is followed.
    pub fn followed(&self) -> Followed {
        match self.type_.as_str() {
            "image" => Followed::Image,
            "source-image" => Followed::SourceImage,
            _ => Followed::Source,
        }
    }

    /// Where the spec has what is followed: as `detected.of` and `followed.of` say it. None if it has nothing of it.
    pub fn place(&self, spec: &FunctionSpec) -> Option<String> {
        place(self.followed(), spec)
    }

    fn check(&self) -> Result<(), String> {
        let interval = self.polling_interval.as_ref();
        match interval.map(GoDuration::to_std) {
            Some(None) => Err(format!(
                "spec.revisionPolicy.pollingInterval: Invalid value: {:?}: must be a duration such as 30s, 1m or 1h30m",
                interval.map(|interval| interval.0.as_str()).unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }
}

/// Where a spec has what may be followed.
pub fn place(followed: Followed, spec: &FunctionSpec) -> Option<String> {
    let repository = spec.build.as_ref().map(|build| &build.src_repo);
    match followed {
        Followed::Image => spec.serving.as_ref().map(|_| spec.image.clone()),
        Followed::SourceImage => Some(repository?.bundle_container.as_ref()?.image.clone()),
        Followed::Source => {
            let repository = repository.filter(|repository| repository.bundle_container.is_none())?;
            let url = without_user(repository.url.as_deref().filter(|url| !url.is_empty())?);
            let revision = repository.revision.as_deref().filter(|revision| !revision.is_empty());
            Some(revision.map_or_else(|| url.clone(), |revision| format!("{url}#{revision}")))
        }
    }
}

/// A URL without the user and password in it, which no status tells.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            format!("{scheme}://{}{path}", authority.rsplit('@').next().unwrap_or_default())
        }
        _ => url.to_owned(),
    }
}

/// The parameters of the annotation that have no meaning.
pub fn unknown(params: &str) -> Vec<String> {
    texts(params).unwrap_or_default().into_keys().filter(|key| !KNOWN.contains(&key.as_str())).collect()
}

fn path(key: &str) -> String {
    let key = if key.is_empty() { String::new() } else { format!(".{key}") };
    format!("metadata.annotations[{PARAMS}]{key}")
}

/// A mapping of texts: scalars of any type count by what is written.
fn texts(yaml: &str) -> Result<BTreeMap<String, String>, String> {
    if yaml.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let value: Value = serde_saphyr::from_str(yaml)
        .map_err(|error| format!("must be a YAML mapping: {}", error.to_string().lines().next().unwrap_or_default()))?;
    let Value::Object(fields) = value else { return Err("must be a YAML mapping of parameters".to_owned()) };
    let text = |(key, value): (String, Value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Null => Ok((key, String::new())),
        Value::Bool(_) | Value::Number(_) => Ok((key, value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(format!("the value of {key} must be a text")),
    };
    fields.into_iter().map(text).collect()
}

fn of_params(params: &BTreeMap<String, String>) -> Result<RevisionPolicy, String> {
    let given = |key: &str| params.get(key).filter(|value| !value.is_empty()).cloned();
    let one_of = |key: &str, default: &str, allowed: &[&str]| {
        let value = given(key).unwrap_or_else(|| default.to_owned());
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(format!("{}: Unsupported value: {value:?}: supported values: {}", path(key), allowed.join(", ")))
    };
    let type_ = one_of("type", "source", &["source", "source-image", "image"])?;
    let is_source = type_ == "source";
    let interval = given("polling-interval").map(GoDuration);
    if interval.as_ref().is_some_and(|interval| interval.to_std().is_none()) {
        return Err(format!(
            "{}: Invalid value: {:?}: must be a duration such as 30s, 1m or 1h30m",
            path("polling-interval"),
            params["polling-interval"]
        ));
    }
    let mut policy = RevisionPolicy {
        type_,
        polling_interval: interval,
        insecure_registry: given("insecure-registry").map(|value| value == "true"),
        ..RevisionPolicy::default()
    };
    // What is no matter of a type was not read for it (revision §3).
    if is_source {
        let repo_type = one_of("repo-type", "github", &["github", "gitlab", "gitee", "git"])?;
        if repo_type == "gitlab" {
            policy.auth_type = Some(one_of("auth-type", "PrivateToken", &["PrivateToken", "OAuthToken", "JobToken"])?);
            let missing = ["base-url", "project-id"].into_iter().find(|key| given(key).is_none());
            if let Some(key) = missing {
                return Err(format!("{}: Required value: must be specified when repo-type is gitlab", path(key)));
            }
        }
        policy.base_url = given("base-url");
        policy.project_id = given("project-id");
        policy.repo_type = Some(repo_type);
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn function(params: &str) -> Function {
        serde_json::from_value(json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function",
            "metadata": {"name": "f", "annotations": {SWITCH: "enable", PARAMS: params}},
            "spec": {"image": "a/b:v1", "serving": {}, "build": {"builder": "x", "srcRepo": {"url": "https://a.b/c.git", "revision": "main"}}}}))
        .unwrap()
    }

    fn of(params: &str) -> Result<RevisionPolicy, String> {
        RevisionPolicy::of(&function(params)).map(Option::unwrap)
    }

    #[test]
    fn rv4_parameters_are_a_mapping_of_texts() {
        let all = of(
            "type: source\nrepo-type: gitlab\npolling-interval: 2m\nbase-url: https://g.example\nproject-id: 42\nauth-type: JobToken\n",
        );
        let all = all.unwrap();
        assert_eq!(
            (all.followed(), all.project_id.as_deref(), all.auth_type.as_deref()),
            (Followed::Source, Some("42"), Some("JobToken"))
        );
        assert_eq!(all.polling_interval.unwrap().0, "2m");
        assert_eq!(of("type: image\ninsecure-registry: true").unwrap().insecure_registry, Some(true));
        assert_eq!(of("type: image\ninsecure-registry: 'yes'").unwrap().insecure_registry, Some(false));
        let defaults = of("").unwrap();
        assert_eq!((defaults.type_.as_str(), defaults.repo_type.as_deref()), ("source", Some("github")));
        assert_eq!(unknown("type: image\nbranch: main"), ["branch"]);
    }

    #[test]
    fn r20_what_is_wrong_with_a_parameter_is_told_by_its_name() {
        for (params, expected) in [
            (
                "type: images",
                "[openfunction.io/revision-controller-params].type: Unsupported value: \"images\": supported values: source, source-image, image",
            ),
            (
                "polling-interval: 30",
                ".polling-interval: Invalid value: \"30\": must be a duration such as 30s, 1m or 1h30m",
            ),
            ("polling-interval: -5s", ".polling-interval: Invalid value: \"-5s\""),
            ("repo-type: svn", ".repo-type: Unsupported value"),
            ("repo-type: gitlab\nbase-url: https://a", ".project-id: Required value"),
            (
                "repo-type: gitlab\nproject-id: a\nbase-url: https://a\nauth-type: basic",
                ".auth-type: Unsupported value",
            ),
            ("type: {a: b}", "the value of type must be a text"),
            ("- a", "must be a YAML mapping"),
            ("a: [", "must be a YAML mapping"),
        ] {
            let said = of(params).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn rv3_anything_but_enable_is_off() {
        for (switch, is_on) in [("enable", true), ("disable", false), ("Enable", false), ("true", false)] {
            let mut function = function("");
            function.annotations_mut().insert(SWITCH.to_owned(), switch.to_owned());
            assert_eq!(RevisionPolicy::of(&function).unwrap().is_some(), is_on);
            function.spec.revision_policy = Some(RevisionPolicy { type_: "image".to_owned(), ..Default::default() });
            assert_eq!(RevisionPolicy::of(&function).unwrap().is_some(), is_on);
        }
        let mut function = function("");
        function.metadata.annotations = None;
        assert_eq!(RevisionPolicy::of(&function), Ok(None));
    }

    #[test]
    fn a_place_is_what_the_spec_names() {
        let mut spec = function("").spec;
        assert_eq!(place(Followed::Source, &spec).as_deref(), Some("https://a.b/c.git#main"));
        spec.build.as_mut().unwrap().src_repo.url = Some("https://user:secret@a.b/c.git".to_owned());
        assert_eq!(place(Followed::Source, &spec).as_deref(), Some("https://a.b/c.git#main"));
        assert_eq!(place(Followed::Image, &spec).as_deref(), Some("a/b:v1"));
        assert_eq!(place(Followed::SourceImage, &spec), None);
        spec.build.as_mut().unwrap().src_repo.bundle_container =
            Some(super::super::BundleContainer { image: "a/source:v1".to_owned() });
        assert_eq!(place(Followed::Source, &spec), None);
        assert_eq!(place(Followed::SourceImage, &spec).as_deref(), Some("a/source:v1"));
    }
}
