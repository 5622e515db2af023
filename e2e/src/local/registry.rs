//! Three registries: one open, one that wants credentials, one with TLS of the cluster's own authority.

use std::process::Command;

use anyhow::Result;
use serde_json::json;

use crate::{
    local::{
        cluster::{Cluster, NODE_ADDRESS},
        daemon::{Daemon, Probe},
        node,
        part::Part,
    },
    parts,
};

/// The name of the machine's registries, in pods and for the node.
pub const HOST: &str = "registry.ofn.local";
/// The registry that everybody may read and write.
pub const OPEN: &str = "registry.ofn.local:5000";
/// The registry that wants [`USER`] and [`PASSWORD`].
pub const PRIVATE: &str = "registry.ofn.local:5001";
/// The registry with TLS, whose certificate the cluster's authority (`credentials/ca.crt`) signed.
pub const TLS: &str = "registry.ofn.local:5002";
/// User of what wants credentials here.
pub const USER: &str = "openfunction";
/// Password of [`USER`].
pub const PASSWORD: &str = "openfunction";

/// [`PASSWORD`] by bcrypt, which is all that the registry takes.
const HASH: &str = "$2b$05$HRe3PQZ04pCIIdN6hwL.NuAV2qxXC2ory0L19LI/OsqtqHeevKEk.";

/// The registries.
#[derive(Debug)]
pub struct Registry;

impl Part for Registry {
    fn name(&self) -> &'static str {
        "registry"
    }

    fn about(&self) -> &'static str {
        "image registries: open (5000), with credentials (5001), with TLS (5002)"
    }

    fn prepare(&self, _cluster: &Cluster) -> Result<()> {
        parts::node_programs().map(drop)
    }

    fn before(&self, cluster: &Cluster) -> Result<()> {
        cluster.write("registries/htpasswd", &format!("{USER}:{HASH}\n"))?;
        let auth = json!({"htpasswd": {"realm": "local", "path": cluster.file("registries/htpasswd")}});
        let tls = json!({"certificate": cluster.file("credentials/registry.crt"), "key": cluster.file("credentials/registry.key")});
        for (name, port, more) in [
            ("registry", 5000, json!({})),
            ("registry-private", 5001, json!({"auth": auth})),
            ("registry-tls", 5002, json!({"http": {"tls": tls}})),
        ] {
            let mut config = json!({
                "version": 0.1,
                "log": {"level": "warn", "accesslog": {"disabled": true}},
                // Nothing is remembered: images are put into the storage behind the registry's back.
                "storage": {"filesystem": {"rootdirectory": cluster.path(name)}, "delete": {"enabled": true}},
                "http": {"addr": format!("{NODE_ADDRESS}:{port}")},
            });
            json_merge(&mut config, more);
            cluster.write(&format!("registries/{name}.yaml"), &config.to_string())?;
        }
        Ok(())
    }

    fn daemons(&self, cluster: &Cluster) -> Result<Vec<Daemon>> {
        let serve = |name: &'static str, port: u16| {
            let mut command = node::program("docker-registry")?;
            command.args(["serve", &cluster.file(&format!("registries/{name}.yaml"))]);
            command.env("OTEL_TRACES_EXPORTER", "none");
            let address = format!("{NODE_ADDRESS}:{port}");
            let probe = if port == 5000 { Probe::Http(address, "/v2/") } else { Probe::Tcp(address) };
            anyhow::Ok(Daemon { name, command, probe })
        };
        Ok(vec![serve("registry", 5000)?, serve("registry-private", 5001)?, serve("registry-tls", 5002)?])
    }
}

/// Puts the fields of one object into another, objects within objects too.
fn json_merge(into: &mut serde_json::Value, more: serde_json::Value) {
    match (into, more) {
        (serde_json::Value::Object(into), serde_json::Value::Object(more)) => {
            for (key, value) in more {
                json_merge(into.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Copies an image into the open registry with skopeo.
///
/// # Errors
/// An image that is not there, or a registry that does not answer.
pub fn copy(from: &str, name: &str) -> Result<()> {
    let mut skopeo: Command = node::program("skopeo")?;
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", from]);
    crate::cache::run(skopeo.arg(format!("docker://{NODE_ADDRESS}:5000/{name}"))).map(drop)
}
