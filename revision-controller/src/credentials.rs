//! Credentials of git servers and registries, from the Secrets that a Function names.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::problem::{CREDENTIALS, Problem, UNREACHABLE};

/// What a server is shown.
#[derive(Clone, Eq, PartialEq)]
pub enum Credential {
    /// Nothing (GAP-R10).
    None,
    /// A user with a password, or a token, whose user may be anybody.
    Password {
        /// The user, if one is named.
        user: Option<String>,
        /// The password or token.
        password: String,
    },
    /// A key of ssh.
    Ssh {
        /// The private key.
        key: String,
        /// Servers that are known.
        known_hosts: Option<String>,
    },
    /// What a Docker configuration has for registries, as JSON.
    Docker(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Ssh { .. } => "Ssh",
            Self::Docker(_) => "Docker",
        })
    }
}

impl Credential {
    /// The credential of a git server.
    ///
    /// # Errors
    /// A Secret that has none.
    pub fn of_git(secret: &Secret) -> Result<Self, Problem> {
        if let Some(key) = text(secret, "ssh-privatekey") {
            return Ok(Self::Ssh { key, known_hosts: text(secret, "known_hosts") });
        }
        let line = |key: &str| text(secret, key).map(|text| text.trim_end().to_owned());
        let password = line("password").ok_or_else(|| lacks(secret, "password or ssh-privatekey"))?;
        Ok(Self::Password { user: line("username").filter(|user| !user.is_empty()), password })
    }

    /// The credentials of registries.
    ///
    /// # Errors
    /// A Secret that has none.
    pub fn of_registry(secret: &Secret) -> Result<Self, Problem> {
        let old = || Some(format!(r#"{{"auths": {}}}"#, text(secret, ".dockercfg")?));
        let config = text(secret, ".dockerconfigjson").or_else(old);
        let config = config.ok_or_else(|| lacks(secret, ".dockerconfigjson"))?;
        match serde_json::from_str::<Value>(&config) {
            Ok(Value::Object(_)) => Ok(Self::Docker(config)),
            _ => Err(Problem::new(CREDENTIALS, format!("Secret {}: .dockerconfigjson is not JSON", name(secret)))),
        }
    }

    /// User and password for a repository of a registry, if there are any. One that gets none that it can read refuses.
    pub fn for_registry(&self, registry: &str, repository: &str) -> Option<(String, String)> {
        let Self::Docker(config) = self else { return None };
        let config: Value = serde_json::from_str(config).ok()?;
        docker_config::login(&config, registry, repository).unwrap_or_default()
    }

    /// What tells credentials apart without showing them: a look is shared by those that have the same.
    pub fn fingerprint(&self) -> [u8; 32] {
        let parts: [&str; 3] = match self {
            Self::None => ["", "", ""],
            Self::Password { user, password } => ["password", user.as_deref().unwrap_or_default(), password],
            Self::Ssh { key, known_hosts } => ["ssh", key, known_hosts.as_deref().unwrap_or_default()],
            Self::Docker(config) => ["docker", config, ""],
        };
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(u64::try_from(part.len()).unwrap_or_default().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

fn name(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

fn lacks(secret: &Secret, what: &str) -> Problem {
    Problem::new(CREDENTIALS, format!("Secret {} has no key {what}", name(secret)))
}

/// What was read, or why not, and for how long it counts.
pub type Read = (Result<Secret, Problem>, Duration);

/// Reads Secrets, one at a time (GAP-R03), and reads them again from time to time (GAP-R21).
pub struct Secrets {
    client: Client,
    /// By namespace and name.
    known: Mutex<HashMap<(String, String), Known>>,
}

/// What was read, and when.
type Known = (Instant, Result<Secret, Problem>);

/// How long a Secret counts that was read.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long it counts when it is missing, or a server has refused what it holds.
pub const DOUBTED: Duration = Duration::from_secs(15);

impl Secrets {
    /// None is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// A Secret; `is_doubted` says that what it held was refused.
    pub async fn get(&self, namespace: &str, name: &str, is_doubted: bool) -> Read {
        let key = (namespace.to_owned(), name.to_owned());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((at, known)) = known {
            let left = lasts(is_doubted, &known).saturating_sub(at.elapsed());
            if !left.is_zero() {
                return (known, left);
            }
        }
        let read = Api::<Secret>::namespaced(self.client.clone(), namespace).get(name).await;
        let read = read.map_err(|error| match &error {
            kube::Error::Api(status) if status.is_not_found() => {
                Problem::new(CREDENTIALS, format!("Secret {name} does not exist"))
            }
            kube::Error::Api(status) if status.is_forbidden() => Problem::new(
                CREDENTIALS,
                format!(
                    "Secret {name} may not be read: the installation names the namespaces whose Secrets the revision-controller reads (revision-controller.secretNamespaces)"
                ),
            ),
            _ => Problem::new(UNREACHABLE, format!("Secret {name} cannot be read now")),
        });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < REMEMBERED * 2);
        known.insert(key, (Instant::now(), read.clone()));
        let left = lasts(is_doubted, &read);
        (read, left)
    }
}

fn lasts(is_doubted: bool, read: &Result<Secret, Problem>) -> Duration {
    if is_doubted || read.is_err() { DOUBTED } else { REMEMBERED }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        let mut secret = Secret { data: Some(data.collect()), ..Secret::default() };
        secret.metadata.name = Some("s".to_owned());
        secret
    }

    #[test]
    fn a_git_server_takes_a_password_a_token_or_a_key() {
        let of = |data: &[(&str, &str)]| Credential::of_git(&secret(data));
        let password =
            |user: Option<&str>| Credential::Password { user: user.map(str::to_owned), password: "p".to_owned() };
        assert_eq!(of(&[("username", "u\n"), ("password", "p\n")]).unwrap(), password(Some("u")));
        assert_eq!(of(&[("password", "p")]).unwrap(), password(None));
        let key = Credential::Ssh { key: "k".to_owned(), known_hosts: None };
        assert_eq!(of(&[("ssh-privatekey", "k"), ("password", "p")]).unwrap(), key);
        assert_eq!(of(&[]).unwrap_err().message, "Secret s has no key password or ssh-privatekey");
    }

    #[test]
    fn a_registry_gets_what_is_its_own() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        let config = r#"{"auths": {"quay.io/team-a": {"auth": "YTph"}, "quay.io": {"auth": "bzpv"}}}"#;
        let of = Credential::of_registry(&secret(&[(".dockerconfigjson", config)])).unwrap();
        assert_eq!(of.for_registry("quay.io", "team-a/x"), pair("a", "a"));
        assert_eq!(of.for_registry("ghcr.io", "team-a/x"), None);
        let old = Credential::of_registry(&secret(&[(".dockercfg", r#"{"reg": {"auth": "dTpw"}}"#)])).unwrap();
        assert_eq!(old.for_registry("reg", "x"), pair("u", "p"));
        assert!(Credential::of_registry(&secret(&[(".dockerconfigjson", "{")])).is_err());
    }

    #[test]
    fn what_is_shown_of_a_credential_tells_nothing() {
        let of = |user: &str, password: &str| Credential::Password {
            user: Some(user.to_owned()),
            password: password.to_owned(),
        };
        assert_eq!(format!("{:?}", of("secret", "secret")), "Password");
        assert_ne!(of("ab", "c").fingerprint(), of("a", "bc").fingerprint());
        assert_eq!(of("a", "b").fingerprint(), of("a", "b").fingerprint());
    }
}
