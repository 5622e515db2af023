//! The cluster as a folder: credentials, files and objects of what runs.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{cache::run, local::daemon::Daemons, parts};

/// Address of the only node, on the loopback device.
pub const NODE_ADDRESS: &str = "172.30.0.1";
/// A second address of the node, for a second load balancer.
pub const SECOND_ADDRESS: &str = "172.30.0.2";
/// Addresses of Services; they are routed to the loopback device, so that they never leave the machine.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Addresses of pods.
pub const POD_RANGE: &str = "10.244.0.0/16";
/// Address of the cluster's DNS.
pub const DNS_ADDRESS: &str = "10.96.0.10";
/// Name of the only node.
pub const NODE: &str = "node1";

/// The local cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    folder: PathBuf,
    kubectl: PathBuf,
}

impl Cluster {
    /// The cluster of this user, running or not: its state is in `OPENFUNCTION_STATE`, or `openfunction/local` in the
    /// user's state folder.
    ///
    /// # Errors
    /// No place for the state, or no kubectl.
    pub fn here() -> Result<Self> {
        let folder = match env::var_os("OPENFUNCTION_STATE") {
            Some(folder) => folder.into(),
            None => state_home()?.join("openfunction/local"),
        };
        Ok(Self { folder, kubectl: parts::KUBERNETES.built()?.join("kubectl") })
    }

    /// The folder of everything that the cluster keeps.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the state folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A path in the state folder as an argument.
    pub fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file in the state folder, unless it is as it should be: kube-proxy ends when its file is written.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == text) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The programs that run outside pods.
    pub fn daemons(&self) -> Daemons {
        Daemons::in_folder(self.path("run"))
    }

    /// The storage of the registry without credentials.
    pub fn registry_storage(&self) -> PathBuf {
        self.path("registry")
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// kubectl for this cluster, whatever `KUBECONFIG` names.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.env("KUBECONFIG", self.kubeconfig());
        kubectl
    }

    /// Applies objects; definitions of kinds and namespaces first, since others need them.
    ///
    /// # Errors
    /// What the API server refuses.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let first = |object: &&Value| object["kind"] == "CustomResourceDefinition" || object["kind"] == "Namespace";
        let (before, after): (Vec<_>, Vec<_>) = objects.iter().partition(first);
        let kinds: Vec<_> = before.iter().filter(|object| object["kind"] != "Namespace").collect();
        self.apply_list(&before)?;
        if !kinds.is_empty() {
            let mut wait = self.kubectl();
            wait.args(["wait", "--for=condition=Established", "--timeout=60s"]);
            for kind in kinds {
                wait.arg(format!("crd/{}", kind["metadata"]["name"].as_str().context("a CRD has a name")?));
            }
            run(&mut wait)?;
        }
        self.apply_list(&after)
    }

    fn apply_list(&self, objects: &[&Value]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let mut apply = self.kubectl();
        apply.args(["apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-"]);
        let mut child = apply.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("the input is piped")?.write_all(list.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("objects were refused:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// What kubectl prints as JSON; each of its requests may take so many seconds.
    ///
    /// # Errors
    /// A request that fails.
    pub fn get(&self, what: &[&str], seconds: u32) -> Result<Value> {
        let timeout = format!("--request-timeout={seconds}s");
        let told = run(self.kubectl().arg("get").args(what).args(["-o", "json", &timeout]))?;
        Ok(serde_json::from_str(&told)?)
    }

    /// Names of the parts that were started here.
    pub fn started(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("parts")).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }
}

fn state_home() -> Result<PathBuf> {
    let set = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    set.or_else(home).context("HOME is not set, so there is no place for the cluster's state")
}
