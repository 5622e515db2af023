//! Credentials of registries, as Docker keeps them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use oci_client::{Reference, secrets::RegistryAuth};
use serde_json::Value;

/// The Docker configuration of whoever runs this, if there is one.
pub fn of_user() -> Option<PathBuf> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")))?;
    Some(folder.join("config.json")).filter(|file| file.exists())
}

/// What a Docker configuration has for an image, or else nothing.
///
/// # Errors
/// A file that is none, and credentials that are none.
pub fn read(file: &Path, image: &Reference) -> Result<RegistryAuth> {
    let text = fs::read_to_string(file).ok();
    let text = text.context("the credentials of the registry are missing: no Secret with the key .dockerconfigjson")?;
    let config: Value = serde_json::from_str(&text).context("the credentials of the registry are not JSON")?;
    let found = docker_config::login(&config, image.registry(), image.repository())?;
    Ok(found.map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user, password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_of_an_image_are_those_of_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let found = |config: &str, image: &str| {
            fs::write(&file, config).unwrap();
            read(&file, &image.parse().unwrap())
        };
        let basic = |user: &str, password: &str| RegistryAuth::Basic(user.to_owned(), password.to_owned());
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpwOnE="}}}"#;
        assert_eq!(found(hub, "busybox").unwrap(), basic("u", "p:q"));
        assert_eq!(found(hub, "quay.io/a/b").unwrap(), RegistryAuth::Anonymous);
        let teams = r#"{"auths": {"quay.io/team-a": {"auth": "YTph"}, "quay.io/team-b": {"auth": "Yjpi"}}}"#;
        assert_eq!(found(teams, "quay.io/team-b/x:1").unwrap(), basic("b", "b"));
        let wrong = found(r#"{"auths": {"a.io": {"auth": "???"}}}"#, "a.io/x").unwrap_err().to_string();
        assert_eq!(wrong, "the credentials of a.io are not user:password in base64");
        assert!(found("{", "a.io/x").is_err());
    }
}
