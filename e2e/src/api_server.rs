//! A real API server without nodes: etcd and kube-apiserver as child processes on free loopback ports.
//!
//! They end with the process that started them, however it ends: each child runs under a shell that waits for the end
//! of its input, which is a pipe from us.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use openfunction_proto::crds;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::{
    cache::{last_lines, run},
    parts::{self, ControlPlane},
};

/// Runs a program until our end of its input is closed; `$1` is a folder that is removed afterwards.
const UNTIL_CLOSED: &str =
    r#"folder=$1; shift; "$@" & child=$!; cat >/dev/null; kill "$child"; wait "$child"; rm -rf -- "$folder""#;

/// Time for the API server to start (it takes about 4 s on an idle machine).
const START: Duration = Duration::from_secs(60);

/// A running API server.
#[derive(Debug)]
pub struct ApiServer {
    programs: ControlPlane,
    folder: PathBuf,
    /// Keeps the children running; their input closes when this is dropped.
    _children: [Child; 2],
    port: u16,
}

impl ApiServer {
    /// The server that all tests of a process share, with the CRDs of every kind installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let start = || {
                let server = Self::start()?;
                // On a thread and runtime of its own, since callers are inside one.
                std::thread::scope(|scope| {
                    let install = scope.spawn(|| {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                        runtime.block_on(async { install_crds(&server.client().await?, &own_crds()).await })
                    });
                    install.join().unwrap_or_else(|_| bail!("installing the CRDs panicked"))
                })?;
                anyhow::Ok(server)
            };
            start().unwrap_or_else(|error| panic!("no API server: {error:#}"))
        })
    }

    /// Starts a server of its own.
    ///
    /// # Errors
    /// Programs that are missing, or a server that does not become ready.
    pub fn start() -> Result<Self> {
        let programs = parts::control_plane()?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("openfunction-api-server-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let ports = free_ports()?;
        let [client_port, peer_port, port] = ports;
        write_credentials(&folder, port)?;
        let etcd_url = format!("http://127.0.0.1:{client_port}");
        let etcd = under_watch(&folder, "etcd", &folder)
            .arg(&programs.etcd)
            .args(["--unsafe-no-fsync", "--data-dir"])
            .arg(folder.join("etcd"))
            .args(["--listen-client-urls", &etcd_url, "--advertise-client-urls", &etcd_url])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{peer_port}")])
            .spawn()?;
        let api_server = under_watch(&folder, "kube-apiserver", &folder.join("nothing"))
            .arg(&programs.kube_apiserver)
            .args(flags(&folder, &etcd_url, port))
            .spawn()?;
        let server = Self { programs, folder, _children: [etcd, api_server], port };
        server.wait_until_ready()?;
        // Where controllers keep their lease and certificates.
        run(server.kubectl().args(["create", "namespace", crds::NAMESPACE]))?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if self.kubectl().args(["get", "--raw", "/readyz"]).output()?.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
                bail!("kube-apiserver is not ready after {START:?}:\n{}", last_lines(&log, 20));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// None in practice: the kubeconfig was written by us.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// The configuration of such a client.
    ///
    /// # Errors
    /// As [`ApiServer::client`].
    pub async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(config)
    }

    /// A kubeconfig that may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// `kubectl` for this server.
    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.programs.kubectl);
        kubectl.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        kubectl
    }

    /// The port of the server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A namespace that no other test has.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn namespace(&self, client: &Client) -> Result<String> {
        let metadata = ObjectMeta { generate_name: Some("test-".to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Ok(Api::all(client.clone()).create(&PostParams::default(), &namespace).await?.name_any())
    }
}

fn under_watch(folder: &Path, name: &str, remove: &Path) -> Command {
    let mut shell = Command::new("sh");
    let log = |_| fs::File::create(folder.join(format!("{name}.log"))).map_or_else(|_| Stdio::null(), Into::into);
    shell.args(["-c", UNTIL_CLOSED, "sh"]).arg(remove).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log(()));
    shell
}

/// Ports of the loopback address that nobody else takes as long as this process runs.
///
/// They are below those that the system gives to connections on their way out (32768 and more, as
/// `net.ipv4.ip_local_port_range` says): one of those would keep a program that was killed from coming back.
///
/// # Errors
/// No port is free.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    const FIRST: u32 = 20_000;
    const NUMBER: u32 = 10_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = (0..NUMBER)
            // Another process of tests begins elsewhere.
            .map(|_| FIRST + (std::process::id() * 97 + GIVEN.fetch_add(1, Ordering::Relaxed)) % NUMBER)
            .filter_map(|port| u16::try_from(port).ok())
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .context("no port is free")?;
    }
    Ok(ports)
}

fn write_credentials(folder: &Path, port: u16) -> Result<()> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "kubernetes.default.svc".to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    fs::write(folder.join("tls.crt"), params.signed_by(&key, &authority)?.pem())?;
    fs::write(folder.join("tls.key"), key.serialize_pem())?;
    // Tokens of service accounts are signed with a key of their own.
    let key = KeyPair::generate()?;
    fs::write(folder.join("sa.key"), key.serialize_pem())?;
    fs::write(folder.join("sa.pub"), key.public_key_pem())?;
    fs::write(folder.join("tokens.csv"), "admin-token,admin,admin,system:masters\nnobody-token,nobody,nobody\n")?;
    fs::write(folder.join("ca.crt"), authority.pem())?;
    for (file, token) in [("kubeconfig", "admin-token"), ("kubeconfig-nobody", "nobody-token")] {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": folder.join("ca.crt")}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(folder.join(file), kubeconfig.to_string())?;
    }
    Ok(())
}

fn flags(folder: &Path, etcd: &str, port: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("certs")),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // Some builds are; no pod ever runs here.
        "--allow-privileged=true".to_owned(),
        // As on OpenShift, and the stricter way: an owner reference that blocks deletion needs a permission.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement".to_owned(),
        // There is no controller that would make service accounts for pods.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ]
}

/// The CRDs of every kind, as the chart has them.
///
/// # Panics
/// Never: CRDs are JSON.
pub fn own_crds() -> Vec<Value> {
    crds::all().iter().map(|crd| serde_json::to_value(crd).expect("a CRD is JSON")).collect()
}

/// Installs CRDs and waits until they are served.
///
/// # Errors
/// A CRD that the API server refuses, or that it does not serve within half a minute.
pub async fn install_crds(client: &Client, crds: &[Value]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("e2e").force();
    for crd in crds {
        let name = crd.pointer("/metadata/name").and_then(Value::as_str).context("a CRD has a name")?;
        api.patch(name, &params, &Patch::Apply(crd)).await.with_context(|| format!("cannot install {name}"))?;
    }
    for crd in crds {
        let name = crd.pointer("/metadata/name").and_then(Value::as_str).context("a CRD has a name")?;
        let established =
            kube::runtime::wait::await_condition(api.clone(), name, kube::runtime::conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .with_context(|| format!("{name} is not served"))??;
    }
    Ok(())
}
