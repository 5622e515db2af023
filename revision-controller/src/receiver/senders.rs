//! What forges and registries send, as their public documents say, and how they show that it is they who do.

use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use oci_client::Reference;
use ring::hmac;
use serde_json::Value;

use crate::git::ssh;

/// A sender of webhooks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sender {
    /// GitHub, and its registry: `X-Hub-Signature-256`.
    GitHub,
    /// GitLab: `X-Gitlab-Token`.
    GitLab,
    /// Gitee: `X-Gitee-Token`, a password or a signature with its time.
    Gitee,
    /// Docker Hub signs nothing: the secret is in the path.
    DockerHub,
    /// Harbor: the header `Authorization` that was entered there.
    Harbor,
    /// Registries of the distribution project, and others with its notifications: header `Authorization`.
    Distribution,
    /// Anything that can send `{"git": "<url>"}` or `{"image": "<image>"}`, signed as GitHub does or with the secret as
    /// bearer token.
    Generic,
}

/// What was pushed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// A repository of source.
    Source {
        /// Its server; empty if it is not known.
        host: String,
        /// Its path, without `.git`.
        path: String,
    },
    /// The number of a project of GitLab.
    Project(String),
    /// A repository of images.
    Image {
        /// Its registry; empty if it is not known.
        registry: String,
        /// Its path.
        repository: String,
    },
}

/// How old a signed time may be, in milliseconds.
const OLDEST: i64 = 5 * 60 * 1000;

impl Sender {
    /// Names of senders, as in the path.
    pub const NAMES: [&str; 7] = ["github", "gitlab", "gitee", "dockerhub", "harbor", "distribution", "generic"];

    /// The sender of a name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "github" => Self::GitHub,
            "gitlab" => Self::GitLab,
            "gitee" => Self::Gitee,
            "dockerhub" => Self::DockerHub,
            "harbor" => Self::Harbor,
            "distribution" => Self::Distribution,
            "generic" => Self::Generic,
            _ => return None,
        })
    }

    /// Whether it shows the secret.
    pub fn is_genuine(
        self,
        secret: &str,
        token: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> bool {
        let header = |name: &str| text(headers, name);
        let bearer = || {
            let value = header("authorization")?;
            Some(value.strip_prefix("Bearer ").unwrap_or(value))
        };
        match self {
            Self::GitHub => is_signed(secret, header("x-hub-signature-256"), body),
            Self::GitLab => is_secret(secret, header("x-gitlab-token")),
            Self::Gitee => match header("x-gitee-timestamp").zip(header("x-gitee-token")) {
                Some((time, signature)) if !is_secret(secret, Some(signature)) => {
                    let is_recent = time.parse().is_ok_and(|time: i64| {
                        now.as_millisecond().checked_sub(time).is_some_and(|age| (-OLDEST..=OLDEST).contains(&age))
                    });
                    let signature = STANDARD.decode(signature).unwrap_or_default();
                    is_recent && hmac::verify(&key(secret), format!("{time}\n{secret}").as_bytes(), &signature).is_ok()
                }
                _ => is_secret(secret, header("x-gitee-token")),
            },
            Self::DockerHub => is_secret(secret, token),
            Self::Harbor | Self::Distribution => is_secret(secret, bearer()),
            Self::Generic => is_secret(secret, bearer()) || is_signed(secret, header("x-hub-signature-256"), body),
        }
    }

    /// What tells this webhook from every other, so that nobody sends it again. None where whoever could do that has the
    /// secret anyway, and a pipeline may say the same of each push.
    pub fn identity(self, headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
        let header = |name: &str| text(headers, name).unwrap_or_default().as_bytes();
        // Of GitHub's only the body is signed: a header could be another one each time.
        let more: &[u8] = match self {
            Self::Generic if headers.contains_key("authorization") => return None,
            Self::GitLab => header("x-gitlab-event-uuid"),
            Self::Gitee => header("x-gitee-timestamp"),
            Self::GitHub | Self::DockerHub | Self::Harbor | Self::Distribution | Self::Generic => &[],
        };
        Some([format!("{self:?}").as_bytes(), more, body].concat())
    }

    /// What was pushed to. Nothing for events that are no push; none if it cannot be read.
    pub fn told(self, headers: &HeaderMap, body: &[u8]) -> Option<Vec<Told>> {
        let body: Value = serde_json::from_slice(body).ok().filter(Value::is_object)?;
        let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
        match self {
            Self::GitHub => match text(headers, "x-github-event").unwrap_or_default() {
                "push" | "create" => source(at("/repository/clone_url")?).map(|told| vec![told]),
                "package" | "registry_package" => {
                    let package = body.get("registry_package").or_else(|| body.get("package"))?;
                    let owner = package.pointer("/owner/login").and_then(Value::as_str)?;
                    let name = package.get("name").and_then(Value::as_str)?;
                    let repository = format!("{owner}/{name}").to_ascii_lowercase();
                    Some(vec![Told::Image { registry: "ghcr.io".to_owned(), repository }])
                }
                _ => Some(Vec::new()),
            },
            Self::GitLab => {
                if !["push", "tag_push"].contains(&at("/object_kind").unwrap_or_default()) {
                    return Some(Vec::new());
                }
                let url = at("/project/git_http_url").or_else(|| at("/repository/git_http_url"))?;
                let id = body.pointer("/project/id").and_then(Value::as_u64);
                Some(source(url).into_iter().chain(id.map(|id| Told::Project(id.to_string()))).collect())
            }
            Self::Gitee => {
                let url = at("/repository/git_http_url").or_else(|| at("/repository/clone_url"))?;
                source(url).map(|told| vec![told])
            }
            Self::DockerHub => {
                let repository = at("/repository/repo_name")?.to_owned();
                Some(vec![Told::Image { registry: "docker.io".to_owned(), repository }])
            }
            Self::Harbor => {
                if at("/type") != Some("PUSH_ARTIFACT") {
                    return Some(Vec::new());
                }
                let resources = body.pointer("/event_data/resources")?.as_array()?;
                let images = resources.iter().filter_map(|resource| image(resource["resource_url"].as_str()?));
                Some(images.collect())
            }
            Self::Distribution => {
                let pushed = body["events"].as_array()?.iter().filter(|event| event["action"] == "push");
                let told = pushed.filter_map(|event| {
                    let repository = event.pointer("/target/repository")?.as_str()?.to_owned();
                    let registry = event.pointer("/request/host").and_then(Value::as_str).unwrap_or_default();
                    Some(Told::Image { registry: registry.to_owned(), repository })
                });
                Some(told.collect())
            }
            Self::Generic => {
                let told: Vec<_> =
                    at("/git").and_then(source).into_iter().chain(at("/image").and_then(image)).collect();
                (!told.is_empty()).then_some(told)
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// Compares in a time that tells nothing: the hashes of both.
fn is_secret(secret: &str, shown: Option<&str>) -> bool {
    let Some(shown) = shown else { return false };
    let key = key(secret);
    hmac::verify(&key, shown.as_bytes(), hmac::sign(&key, secret.as_bytes()).as_ref()).is_ok()
}

/// `sha256=<hex>` of the body.
fn is_signed(secret: &str, signature: Option<&str>, body: &[u8]) -> bool {
    let Some(hex) = signature.and_then(|signature| signature.strip_prefix("sha256=")) else { return false };
    let bytes: Option<Vec<u8>> = (hex.len() == 64 && hex.is_ascii())
        .then(|| (0..32).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect());
    bytes.is_some_and(|bytes| hmac::verify(&key(secret), body, &bytes).is_ok())
}

/// A repository by its URL, of any form.
fn source(url: &str) -> Option<Told> {
    let (host, path) = match ssh::Place::parse(url) {
        Some(place) => (place.host, place.path),
        None => {
            let url = reqwest::Url::parse(url).ok()?;
            (url.host_str()?.to_owned(), url.path().to_owned())
        }
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).to_owned();
    (!path.is_empty()).then_some(Told::Source { host, path })
}

fn image(image: &str) -> Option<Told> {
    let reference: Reference = image.parse().ok()?;
    Some(Told::Image { registry: reference.registry().to_owned(), repository: reference.repository().to_owned() })
}
