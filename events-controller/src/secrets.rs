//! Secrets that a handler reads: they are mounted, and nobody else sees what they have.

use std::collections::{BTreeMap, BTreeSet};

use controller_runtime::names::hash;
use event_bus::files::Content;
use openfunction_proto::events::{SecretKeySelector, Tls};
use serde_json::{Value, json};

/// Where they are in a handler.
const FOLDER: &str = "/etc/openfunction/secrets";

/// Secrets of a handler, with the keys that it reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, BTreeSet<String>>);

/// Files of a connection with TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of authorities.
    pub ca: Option<String>,
    /// The client's certificate.
    pub certificate: Option<String>,
    /// Its key.
    pub key: Option<String>,
}

impl Secrets {
    /// The path of a key, which will be there.
    pub fn path(&mut self, of: &SecretKeySelector) -> String {
        self.0.entry(of.name.clone()).or_default().insert(of.key.clone());
        format!("{FOLDER}/{}/{}", of.name, of.key)
    }

    /// A key that may be asked for, or else what a manifest of the original says in plain text.
    pub fn content(&mut self, of: Option<&SecretKeySelector>, plain: Option<&String>) -> Option<Content> {
        let plain = plain.filter(|value| !value.is_empty()).cloned().map(|value| Content::Plain { value });
        of.map(|of| Content::File(self.path(of).into())).or(plain)
    }

    /// The files of a connection with TLS.
    pub fn tls(&mut self, tls: Option<&Tls>) -> TlsFiles {
        let Some(tls) = tls else { return TlsFiles::default() };
        let mut path = |of: &Option<SecretKeySelector>| of.as_ref().map(|of| self.path(of));
        TlsFiles {
            ca: path(&tls.ca_cert_secret_ref),
            certificate: path(&tls.client_cert_secret_ref),
            key: path(&tls.client_key_secret_ref),
        }
    }

    /// Has a container of a pod find them.
    pub fn mount(&self, pod: &mut Value, container: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        let volume = |(name, keys): (&String, &BTreeSet<String>)| {
            let items: Vec<_> = keys.iter().map(|key| json!({"key": key, "path": key})).collect();
            json!({"name": volume_name(name), "secret": {"secretName": name, "items": items}})
        };
        let mount = |name: &String| json!({"name": volume_name(name), "mountPath": format!("{FOLDER}/{name}"), "readOnly": true});
        pod["volumes"] = self.0.iter().map(volume).collect();
        container["volumeMounts"] = self.0.keys().map(mount).collect();
    }
}

/// Names of volumes are labels of DNS, those of Secrets need not be.
fn volume_name(secret: &str) -> String {
    format!("secret-{}", hash(&secret))
}
