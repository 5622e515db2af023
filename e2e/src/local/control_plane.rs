//! etcd, API server, controller manager and scheduler.

use std::process::Command;

use anyhow::Result;

use crate::{
    local::{
        cluster::{Cluster, NODE_ADDRESS, POD_RANGE, SERVICE_RANGE},
        daemon::{Daemon, Probe},
        part::Part,
    },
    parts,
};

const ETCD: &str = "127.0.0.1:2379";

/// etcd, API server, controller manager and scheduler.
#[derive(Debug)]
pub struct ControlPlane;

impl Part for ControlPlane {
    fn name(&self) -> &'static str {
        "control-plane"
    }

    fn about(&self) -> &'static str {
        "etcd, API server, controller manager and scheduler"
    }

    fn prepare(&self, _cluster: &Cluster) -> Result<()> {
        parts::etcd()?;
        parts::KUBERNETES.built().map(drop)
    }

    fn daemons(&self, cluster: &Cluster) -> Result<Vec<Daemon>> {
        let programs = parts::KUBERNETES.built()?;
        let program = |name: &str| Command::new(programs.join(name));
        Ok(vec![
            etcd(cluster)?,
            api_server(cluster, program("kube-apiserver")),
            controller_manager(cluster, program("kube-controller-manager")),
            scheduler(cluster, program("kube-scheduler")),
        ])
    }
}

/// Whether there is an API server that may be asked; without etcd it lets everybody wait.
pub fn runs(cluster: &Cluster) -> bool {
    ["etcd", "kube-apiserver"].iter().all(|name| cluster.daemons().pid(name).is_some())
}

fn etcd(cluster: &Cluster) -> Result<Daemon> {
    let mut command = Command::new(parts::etcd()?);
    let url = format!("http://{ETCD}");
    // A cluster that is thrown away needs no disk that is in step.
    command.args(["--unsafe-no-fsync", "--data-dir"]).arg(cluster.path("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    Ok(Daemon { name: "etcd", command, probe: Probe::Http(ETCD.to_owned(), "/health") })
}

fn api_server(cluster: &Cluster, mut command: Command) -> Daemon {
    let file = |name: &str| cluster.file(&format!("credentials/{name}"));
    command.args([
        format!("--etcd-servers=http://{ETCD}"),
        format!("--bind-address={NODE_ADDRESS}"),
        format!("--advertise-address={NODE_ADDRESS}"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        // As on OpenShift, and the stricter way: an owner reference that blocks deletion needs a permission.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".to_owned(),
        // Builds in pods need it.
        "--allow-privileged=true".to_owned(),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--service-account-key-file={}", file("tokens.pub")),
        format!("--service-account-signing-key-file={}", file("tokens.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        // Aggregated APIs (metrics).
        format!("--requestheader-client-ca-file={}", file("ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
        format!("--proxy-client-key-file={}", file("front-proxy.key")),
        "--enable-aggregator-routing=true".to_owned(),
    ]);
    Daemon { name: "kube-apiserver", command, probe: Probe::ApiServer(cluster.clone()) }
}

fn controller_manager(cluster: &Cluster, mut command: Command) -> Daemon {
    command.args([
        "--bind-address=127.0.0.1".to_owned(),
        format!("--kubeconfig={}", cluster.file("controller-manager.kubeconfig")),
        format!("--root-ca-file={}", cluster.file("credentials/ca.crt")),
        format!("--service-account-private-key-file={}", cluster.file("credentials/tokens.key")),
        "--use-service-account-credentials=true".to_owned(),
        format!("--cluster-cidr={POD_RANGE}"),
        "--allocate-node-cidrs=false".to_owned(),
        format!("--flex-volume-plugin-dir={}", cluster.file("volume-plugins")),
        "--leader-elect=false".to_owned(),
    ]);
    Daemon { name: "kube-controller-manager", command, probe: Probe::Tcp("127.0.0.1:10257".to_owned()) }
}

fn scheduler(cluster: &Cluster, mut command: Command) -> Daemon {
    command.args([
        "--bind-address=127.0.0.1".to_owned(),
        format!("--kubeconfig={}", cluster.file("scheduler.kubeconfig")),
        "--leader-elect=false".to_owned(),
    ]);
    Daemon { name: "kube-scheduler", command, probe: Probe::Tcp("127.0.0.1:10259".to_owned()) }
}
