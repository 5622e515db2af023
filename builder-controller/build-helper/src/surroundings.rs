//! What the steps of a build find besides the source: credentials of registries, and whom to trust.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What to put where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Docker configuration that may push the image.
    #[arg(long)]
    push_credentials: Option<PathBuf>,
    /// Docker configuration that may pull the images of the build, for registries that the other does not know.
    #[arg(long)]
    pull_credentials: Option<PathBuf>,
    /// Folder for the Docker configuration that is both.
    #[arg(long)]
    docker_config: Option<PathBuf>,
    /// File for the certificate authorities that this image trusts, with those in `BUILD_HELPER_CA`.
    #[arg(long)]
    pub trusted: Option<PathBuf>,
}

/// Variable with certificates, in PEM, of authorities to trust besides the usual ones.
pub const AUTHORITIES: &str = "BUILD_HELPER_CA";
/// The usual ones.
const USUAL: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Puts it there.
///
/// # Errors
/// Credentials that are missing or are none, and a full disk.
pub fn prepare(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.docker_config {
        let push = arguments.push_credentials.as_deref().map(|file| match file.exists() {
            true => read(file),
            false => bail!("the push credentials are missing: no Secret with the key .dockerconfigjson"),
        });
        // As the kubelet does, a build goes on without credentials to pull: what it needs may be public.
        let pull = arguments.pull_credentials.as_deref().filter(|file| file.exists()).map(read);
        let merged = merge(push.transpose()?, pull.transpose()?);
        put(&folder.join("config.json"), &merged.to_string())?;
    }
    if let (Some(file), Some(own)) = (&arguments.trusted, env::var_os(AUTHORITIES)) {
        let usual = fs::read_to_string(USUAL).unwrap_or_default();
        put(file, &format!("{usual}\n{}\n", own.to_string_lossy()))?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    // Without what the parser says, which can show what is written there.
    serde_json::from_str(&text).ok().context("the credentials of a registry are not JSON")
}

/// One configuration with the registries of both; the first counts for one that is in both.
fn merge(first: Option<Value>, second: Option<Value>) -> Value {
    let mut merged = first.unwrap_or_else(|| serde_json::json!({}));
    for (registry, found) in second.iter().filter_map(|config| config["auths"].as_object()).flatten() {
        if merged["auths"].get(registry).is_none() {
            merged["auths"][registry] = found.clone();
        }
    }
    merged
}

/// A file that steps of other users read.
fn put(file: &Path, text: &str) -> Result<()> {
    let written = fs::write(file, text).and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o644)));
    written.with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_to_push_count_before_those_to_pull() {
        let push = json!({"auths": {"a.io": {"auth": "push"}}, "credHelpers": {"c.io": "x"}});
        let pull = json!({"auths": {"a.io": {"auth": "pull"}, "b.io": {"auth": "pull"}}});
        let both = json!({"auths": {"a.io": {"auth": "push"}, "b.io": {"auth": "pull"}}, "credHelpers": {"c.io": "x"}});
        assert_eq!(merge(Some(push.clone()), Some(pull.clone())), both);
        assert_eq!(merge(Some(push.clone()), None), push);
        assert_eq!(merge(None, Some(pull.clone())), pull);
        assert_eq!(merge(Some(json!({})), Some(pull.clone())), pull);
    }

    #[test]
    fn what_is_missing_to_push_is_told_and_no_secret_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("push.json");
        let arguments = Arguments {
            push_credentials: Some(file.clone()),
            pull_credentials: Some(folder.path().join("missing")),
            docker_config: Some(folder.path().to_owned()),
            trusted: None,
        };
        let said = prepare(&arguments).unwrap_err().to_string();
        assert!(said.starts_with("the push credentials are missing"), "{said}");
        fs::write(&file, "{\"auths\": hidden").unwrap();
        let said = format!("{:#}", prepare(&arguments).unwrap_err());
        assert_eq!(said, "the credentials of a registry are not JSON");
        fs::write(&file, "{}").unwrap();
        prepare(&arguments).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("config.json")).unwrap(), "{}");
    }
}
