//! The process of a controller: what it says when something is missing, when it is ready, and how it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use e2e::api_server::{ApiServer, free_ports};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{DEADLINE, eventually, server};

/// A running sample-controller.
struct Controller {
    child: Child,
    log: PathBuf,
    metrics: u16,
}

impl Controller {
    fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let [metrics, status, webhook] = free_ports().unwrap();
        let log = std::env::temp_dir().join(format!("sample-controller-{}-{metrics}.log", std::process::id()));
        let address = |port: u16| format!("127.0.0.1:{port}");
        let child = command()
            .env("KUBECONFIG", kubeconfig)
            .args([
                "--metrics-address",
                &address(metrics),
                "--status-address",
                &address(status),
                "--webhook-address",
                &address(webhook),
            ])
            .args(flags)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log, metrics }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line of the log with all these parts.
    async fn says(&self, parts: &[&str]) -> String {
        eventually(&format!("a line with {parts:?} in\n{}", self.said()), || async {
            self.said().lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
        .await
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    async fn is_ready(&self) {
        eventually(&format!("readiness; the log:\n{}", self.said()), || async {
            self.get("/ready").await.filter(|(code, _)| *code == 200)
        })
        .await;
    }

    /// Ends it as Kubernetes does; its exit code.
    async fn terminate(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not end:\n{}", self.said());
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample-controller"));
    command.env_clear().env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[test]
fn a_bad_flag_ends_with_one_line() {
    let output = command().args(["--lease-duration", "soon"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("'--lease-duration <DURATION>'") && said.contains("not a duration such as 15s"), "{said}");
}

#[test]
fn a_missing_configuration_ends_with_one_line() {
    let output = command().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!((output.status.code(), errors.len()), (Some(1), 1), "{said}");
    assert!(errors[0].contains("set KUBECONFIG"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command().args(["--metrics-address", &address]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("error: cannot listen on {address} (--metrics-address)")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_api_server_is_waited_for() {
    let [port] = free_ports().unwrap();
    let kubeconfig = std::env::temp_dir().join(format!("kubeconfig-{port}"));
    fs::write(&kubeconfig, format!(r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{{"name": "c", "cluster": {{"server": "https://127.0.0.1:{port}"}}}}],
        "users": [{{"name": "c", "user": {{}}}}], "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "c"}}}}]}}"#)).unwrap();
    let controller = Controller::start(&kubeconfig, &[]);
    controller.says(&["WARN", "the API server does not answer, trying again", "refused"]).await;
    assert_eq!(controller.get("/ready").await, Some((503, "waiting for the API server\n".to_owned())));
    assert_eq!(controller.get("/live").await.map(|(code, _)| code), Some(200));
    assert!(!controller.said().contains("panicked"));
    assert_eq!(controller.terminate().await, Some(0));
    fs::remove_file(kubeconfig).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_crds_are_named_and_waited_for() {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    let controller = Controller::start(&server.kubeconfig(), &[]);
    let line = controller.says(&["WARN", "functions.core.openfunction.io", "does not exist"]).await;
    assert!(line.contains("install the CRDs"), "{line}");
    assert_eq!(controller.get("/ready").await.map(|(code, _)| code), Some(503));
    e2e::api_server::install_crds(&client, &e2e::api_server::own_crds()).await.unwrap();
    controller.is_ready().await;
    assert!(!controller.said().contains("panicked"));
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permissions_are_named_and_waited_for() {
    let (server, ..) = server().await;
    let controller = Controller::start(&server.kubeconfig().with_file_name("kubeconfig-nobody"), &[]);
    let line = controller.says(&["WARN", "cannot get resource", "secrets"]).await;
    assert!(line.contains(r#"User "nobody""#), "{line}");
    assert!(!controller.said().contains("panicked"));
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_hand_over_and_end_with_success() {
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    e2e::api_server::install_crds(&client, &e2e::api_server::own_crds()).await.unwrap();
    let first = Controller::start(&server.kubeconfig(), &["--identity", "first"]);
    first.is_ready().await;
    let leases: Api<Lease> = Api::namespaced(client, "openfunction");
    let held_by = async |name: &str| {
        eventually(&format!("{name} leads"), || async {
            leases
                .get_opt("sample-controller")
                .await
                .unwrap()
                .filter(|lease| lease.spec.as_ref().and_then(|s| s.holder_identity.as_deref()) == Some(name))
        })
        .await
    };
    held_by("first").await;
    let second = Controller::start(&server.kubeconfig(), &["--identity", "second"]);
    second.is_ready().await;
    let metrics = first.get("/metrics").await.unwrap().1;
    assert!(metrics.contains("openfunction_sample_leader 1"), "{metrics}");
    let asked = Instant::now();
    assert_eq!(first.terminate().await, Some(0));
    held_by("second").await;
    println!("handed over in {:?}", asked.elapsed());
    assert_eq!(second.terminate().await, Some(0));
}
