//! containerd, kubelet and kube-proxy: the node, its addresses and its pod network.

use std::{env, ffi::OsString, fs, process::Command};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    cache::run,
    image::Image,
    local::{
        cluster::{Cluster, DNS_ADDRESS, NODE, NODE_ADDRESS, POD_RANGE, SECOND_ADDRESS, SERVICE_RANGE},
        daemon::{Daemon, Probe},
        part::Part,
        registry,
    },
    parts,
};

/// Name of the bridge that pods are at.
pub const BRIDGE: &str = "ofn0";
/// Name of the pod network, which its state files carry.
pub const NETWORK: &str = "openfunction";

/// The node.
#[derive(Debug)]
pub struct Node;

/// Folder of shims that containerd does not bring, in that of the cluster.
pub const SHIMS: &str = "containerd/shims";

impl Part for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    fn about(&self) -> &'static str {
        "containerd, kubelet and kube-proxy"
    }

    fn prepare(&self, _cluster: &Cluster) -> Result<()> {
        parts::node_programs()?;
        self.images()?.iter().try_for_each(Image::make)
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut pause = Image::of_program("local/pause:1", &parts::pause()?);
        pause.user = "65535:65535";
        Ok(vec![pause])
    }

    fn before(&self, cluster: &Cluster) -> Result<()> {
        // Volumes that a pod mounts must be seen by others.
        run(Command::new("mount").args(["--make-rshared", "/"]))?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on forwarding between pods")?;
        network_configuration(cluster)?;
        containerd_configuration(cluster)?;
        kubelet_configuration(cluster)
    }

    fn daemons(&self, cluster: &Cluster) -> Result<Vec<Daemon>> {
        let kubernetes = parts::KUBERNETES.built()?;
        let mut containerd = program("containerd")?;
        let path = containerd.get_envs().find_map(|(name, path)| path.filter(|_| name == "PATH").map(OsString::from));
        // Where part `wasm` puts its own.
        let shims = env::split_paths(&path.unwrap_or_default()).chain([cluster.path(SHIMS)]).collect::<Vec<_>>();
        containerd.env("PATH", env::join_paths(shims)?);
        containerd.args(["-c", &cluster.file("containerd.toml")]);
        let mut kubelet = with_programs(Command::new(kubernetes.join("kubelet")))?;
        kubelet.args([
            format!("--config={}", cluster.file("kubelet.json")),
            format!("--kubeconfig={}", cluster.file("kubelet.kubeconfig")),
            format!("--root-dir={}", cluster.file("kubelet")),
            format!("--hostname-override={NODE}"),
            format!("--node-ip={NODE_ADDRESS}"),
        ]);
        let mut proxy = with_programs(Command::new(kubernetes.join("kube-proxy")))?;
        proxy.arg(format!("--config={}", cluster.file("proxy.json")));
        let http = |address: &str, path| Probe::Http(address.to_owned(), path);
        Ok(vec![
            Daemon {
                name: "containerd",
                command: containerd,
                probe: Probe::Socket(cluster.path("containerd/containerd.sock")),
            },
            Daemon { name: "kubelet", command: kubelet, probe: http("127.0.0.1:10248", "/healthz") },
            Daemon { name: "kube-proxy", command: proxy, probe: http("127.0.0.1:10256", "/livez") },
        ])
    }

    fn problems(&self, cluster: &Cluster) -> Vec<String> {
        let ready = cluster.get(&["node", NODE], 2).map(|node| {
            let conditions = node.pointer("/status/conditions").and_then(|c| c.as_array().cloned()).unwrap_or_default();
            conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default()
        });
        match ready {
            Ok(ready) if ready["status"] == "True" => Vec::new(),
            Ok(ready) => {
                vec![format!("the node is not ready: {}", ready["message"].as_str().unwrap_or("it has not reported"))]
            }
            Err(error) => vec![format!("the node cannot be read: {}", error.root_cause())],
        }
    }
}

/// Puts the node's addresses and the Services' range on the loopback device.
///
/// # Errors
/// No permission to.
pub fn add_addresses() -> Result<()> {
    for address in [NODE_ADDRESS, SECOND_ADDRESS] {
        run(Command::new("ip").args(["address", "replace", &format!("{address}/32"), "dev", "lo"]))?;
    }
    run(Command::new("ip").args(["route", "replace", SERVICE_RANGE, "dev", "lo"])).map(drop)
}

/// A program of the node.
///
/// # Errors
/// Packages that cannot be had.
pub fn program(name: &str) -> Result<Command> {
    let root = parts::node_programs()?;
    let places = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|folder| root.join(folder).join(name));
    // What this machine has installed was not downloaded.
    let path = places.into_iter().find(|path| path.is_file()).map_or_else(|| OsString::from(name), Into::into);
    with_programs(Command::new(path))
}

/// A command that finds the node's programs and their libraries.
fn with_programs(mut command: Command) -> Result<Command> {
    let root = parts::node_programs()?;
    let ours = ["usr/sbin", "usr/bin", "sbin", "bin"].map(|folder| root.join(folder));
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(ours.into_iter().chain(env::split_paths(&path)))?;
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    command.env("PATH", path).env("LD_LIBRARY_PATH", env::join_paths(libraries)?);
    Ok(command)
}

fn network_configuration(cluster: &Cluster) -> Result<()> {
    let bridge = json!({
        "type": "bridge", "bridge": BRIDGE, "isGateway": true, "hairpinMode": true,
        // Pods have no way out of the machine and need none.
        "ipMasq": false,
        "ipam": {"type": "host-local", "dataDir": cluster.path("cni/addresses"), "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]},
    });
    let network = json!({"cniVersion": "1.0.0", "name": NETWORK, "plugins": [bridge]});
    cluster.write("cni/pods.conflist", &network.to_string())
}

fn containerd_configuration(cluster: &Cluster) -> Result<()> {
    let file = |name: &str| cluster.file(name);
    let plugins = {
        let unpacked = parts::node_programs()?.join("usr/lib/cni");
        if unpacked.is_dir() { unpacked.display().to_string() } else { "/usr/lib/cni".to_owned() }
    };
    let config = format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{OPEN}/local/pause:1"
  # There is no CAP_SYS_RESOURCE in every machine.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{hosts}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = "{runc}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wasm]
    runtime_type = "io.containerd.wasm.v1"
"#,
        OPEN = registry::OPEN,
        root = file("containerd/root"),
        state = file("containerd/state"),
        socket = file("containerd/containerd.sock"),
        opt = file("containerd/opt"),
        cni = file("cni"),
        hosts = file("hosts"),
        runc = file("containerd/runc"),
    );
    cluster.write("containerd.toml", &config)?;
    // Every registry of the internet is stood in for by the open one.
    let open = format!("[host.\"http://{NODE_ADDRESS}:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
    let private = format!("[host.\"http://{NODE_ADDRESS}:5001\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
    let tls = format!(
        "[host.\"https://{NODE_ADDRESS}:5002\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"{}\"\n",
        file("credentials/ca.crt")
    );
    for (name, hosts) in [("_default", open), (registry::PRIVATE, private), (registry::TLS, tls)] {
        cluster.write(&format!("hosts/{name}/hosts.toml"), &hosts)?;
    }
    Ok(())
}

fn kubelet_configuration(cluster: &Cluster) -> Result<()> {
    let file = |name: &str| cluster.file(name);
    // For pods with the node's DNS: the cluster's has nobody else to ask.
    cluster.write("resolv.conf", "")?;
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": file("credentials/ca.crt")}, "webhook": {"enabled": true}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file("credentials/kubelet.crt"), "tlsPrivateKeyFile": file("credentials/kubelet.key"),
        "cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false,
        "featureGates": {"KubeletInUserNamespace": true},
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": format!("unix://{}", file("containerd/containerd.sock")),
        "clusterDomain": "cluster.local", "clusterDNS": [DNS_ADDRESS], "resolvConf": file("resolv.conf"),
        "podLogsDir": file("pod-logs"), "volumePluginDir": file("volume-plugins"),
        "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "100Mi"},
        // Images are only in the local registry, and containerd 1.6 knows none that must stay.
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "maxPods": 250,
        // Pulls come from this machine.
        "serializeImagePulls": false, "registryPullQPS": 0,
    });
    cluster.write("kubelet.json", &kubelet.to_string())?;
    let proxy = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "nftables", "clusterCIDR": POD_RANGE, "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": file("proxy.kubeconfig")},
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
        "nodePortAddresses": [format!("{NODE_ADDRESS}/32")],
    });
    cluster.write("proxy.json", &proxy.to_string())
}
