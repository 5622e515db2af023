//! Credentials of registries, as Docker keeps them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

/// The Docker configuration of whoever runs this, if there is one.
pub fn of_user() -> Option<PathBuf> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")))?;
    Some(folder.join("config.json")).filter(|file| file.exists())
}

/// What a Docker configuration has for a registry, if it has anything.
///
/// # Errors
/// A file that is none.
pub fn read(file: &Path, registry: &str) -> Result<Option<RegistryAuth>> {
    let text = fs::read_to_string(file).ok();
    let text = text.context("the credentials of the registry are missing: no Secret with the key .dockerconfigjson")?;
    let config: Value = serde_json::from_str(&text).context("the credentials of the registry are not JSON")?;
    let Some(auths) = config["auths"].as_object() else { return Ok(None) };
    let Some((_, found)) = auths.iter().find(|(server, _)| host(server) == host(registry)) else { return Ok(None) };
    let of = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    if of("auth").is_empty() {
        return Ok(Some(RegistryAuth::Basic(of("username"), of("password"))));
    }
    let pair = STANDARD.decode(of("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    ensure!(pair.is_some(), "the credentials of {registry} are not user:password in base64");
    Ok(pair.map(|(user, password)| RegistryAuth::Basic(user.to_owned(), password.to_owned())))
}

/// The registry in the name of a server: `https://index.docker.io/v1/` is that of `docker.io`.
fn host(server: &str) -> &str {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    match server.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_of_a_registry_are_found_by_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let found = |config: &str, registry: &str| {
            fs::write(&file, config).unwrap();
            read(&file, registry)
        };
        let basic = |user: &str, password: &str| Some(RegistryAuth::Basic(user.to_owned(), password.to_owned()));
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnE="}}}"#;
        assert_eq!(found(hub, "docker.io").unwrap(), basic("u", "p:q"));
        assert_eq!(found(hub, "quay.io").unwrap(), None);
        let own = r#"{"auths": {"registry.example:5000": {"username": "u", "password": "p"}}}"#;
        assert_eq!(found(own, "registry.example:5000").unwrap(), basic("u", "p"));
        assert!(found(r#"{"auths": {"a.io": {"auth": "???"}}}"#, "a.io").is_err());
        assert!(found("{", "a.io").is_err());
    }
}
