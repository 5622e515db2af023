//! Credentials of registries as Docker keeps them: `config.json`, and Secrets of type `kubernetes.io/dockerconfigjson`.
#![warn(missing_docs)]

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Credentials that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credentials of {0} are not user:password in base64")]
pub struct Invalid(pub String);

/// User and password.
pub type Login = (String, String);

/// What a configuration has for a repository of a registry, if it has anything: that of the longest path which the
/// repository is below, as the kubelet chooses
/// (<https://kubernetes.io/docs/concepts/containers/images/#config-json>; its patterns are not understood).
///
/// # Errors
/// What it has for it is no user with a password.
pub fn login(config: &Value, registry: &str, repository: &str) -> Result<Option<Login>, Invalid> {
    let host = server_of(registry).0;
    let above = |server: &str| {
        let (of, path) = server_of(server);
        let is_below = path.is_empty() || format!("{repository}/").starts_with(&format!("{path}/"));
        (of == host && is_below).then_some(path.len())
    };
    let servers = config["auths"].as_object().into_iter().flatten();
    let found = servers.filter_map(|(server, found)| Some((above(server)?, found))).max_by_key(|(length, _)| *length);
    let Some((_, found)) = found else { return Ok(None) };
    let of = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    if of("auth").is_empty() {
        return Ok(Some((of("username"), of("password"))).filter(|(user, _)| !user.is_empty()));
    }
    let pair = STANDARD.decode(of("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    let (user, password) = pair.ok_or_else(|| Invalid(registry.to_owned()))?;
    Ok(Some((user.to_owned(), password.to_owned())))
}

/// The registry and the path in the name of a server: `https://index.docker.io/v1/` is all of `docker.io`.
fn server_of(server: &str) -> (&str, &str) {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    match host {
        "index.docker.io" | "registry-1.docker.io" => ("docker.io", ""),
        _ => (host, path.trim_matches('/')),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(auths: Value, registry: &str, repository: &str) -> Option<Login> {
        login(&json!({ "auths": auths }), registry, repository).unwrap()
    }

    fn pair(user: &str, password: &str) -> Option<Login> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn a_registry_is_found_by_its_host_whatever_docker_calls_it() {
        let auths = || json!({"https://index.docker.io/v1/": {"auth": "dTpwOnE="}, "reg:5000": {"username": "a", "password": "b"}});
        assert_eq!(found(auths(), "docker.io", "library/a"), pair("u", "p:q"));
        assert_eq!(found(auths(), "reg:5000", "x/y"), pair("a", "b"));
        assert_eq!(found(auths(), "reg", "x"), None);
        assert_eq!(login(&json!({}), "reg", "x"), Ok(None));
    }

    #[test]
    fn of_several_paths_the_longest_counts() {
        let auths = || json!({"quay.io/team-a": {"auth": "YTph"}, "quay.io": {"auth": "bzpv"}, "quay.io/team-b": {"auth": "Yjpi"}});
        assert_eq!(found(auths(), "quay.io", "team-b/x"), pair("b", "b"));
        assert_eq!(found(auths(), "quay.io", "team-bc/x"), pair("o", "o"));
    }

    #[test]
    fn what_cannot_be_read_is_told_without_what_it_is() {
        let wrong = login(&json!({"auths": {"a.io": {"auth": "???"}}}), "a.io", "x").unwrap_err();
        assert_eq!(wrong.to_string(), "the credentials of a.io are not user:password in base64");
    }
}
