//! From zero: how long the first answer of a Function on Knative takes through the gateway, beside that of a Knative
//! Service written by hand, which Knative's activator is asked for directly.
//!
//! `cargo bench --bench scale`, on a local cluster with the product (`cargo demo`). The figures are printed; nothing is
//! asserted.

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use e2e::{cache::run, demo, local::cluster::Cluster};
use reqwest::header::HOST;
use serde_json::{Value, json};

/// First answers that are measured of each.
const ROUNDS: usize = 7;
const NAMESPACE: &str = "bench-scale";
/// Where the gateway is reached from the machine.
const GATEWAY: &str = "http://172.30.0.1/";
const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    cluster: Cluster,
    client: reqwest::Client,
}

impl Bench {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.cluster.kubectl().args(["-n", NAMESPACE]).args(arguments))
    }

    fn apply(&self, object: &Value) -> Result<()> {
        let mut kubectl = self.cluster.kubectl();
        let mut child =
            kubectl.args(["-n", NAMESPACE, "apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(object.to_string().as_bytes())?;
        if !child.wait()?.success() {
            bail!("{object} cannot be applied");
        }
        Ok(())
    }

    fn is_asleep(&self) -> Result<()> {
        let began = Instant::now();
        while !self.kubectl(&["get", "pods", "-o", "name"])?.is_empty() {
            if began.elapsed() > PATIENCE {
                bail!("the pods do not go");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// How long an answer takes.
    async fn first_answer(&self, url: &str, host: &str) -> Result<Duration> {
        let began = Instant::now();
        let answer = self.client.get(url).header(HOST, host).send().await?.error_for_status()?;
        answer.bytes().await?;
        Ok(began.elapsed())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
    let bench = Bench { cluster: Cluster::here()?, client };
    run(bench.cluster.kubectl().args(["create", "namespace", NAMESPACE])).context("a cluster that is up")?;
    let result = measure(&bench).await;
    run(bench.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--wait=false"]))?;
    result
}

async fn measure(bench: &Bench) -> Result<()> {
    let function = demo::sample("scale-to-zero")?;
    bench.apply(&function)?;
    bench.kubectl(&["wait", "--for=condition=Ready", "fn/scale-to-zero", "--timeout=120s"])?;
    // The same pods, written by hand.
    let made: Value = serde_json::from_str(&bench.kubectl(&["get", "ksvc", "-o", "json"])?)?;
    let mut template = made.pointer("/items/0/spec/template").context("a Knative Service")?.clone();
    template["metadata"]["labels"] = json!({});
    bench.apply(&json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "by-hand"}, "spec": {"template": template}}))?;
    bench.kubectl(&["wait", "ksvc/by-hand", "--for=condition=ConfigurationsReady", "--timeout=120s"])?;
    let revision = bench.kubectl(&["get", "ksvc", "by-hand", "-o", "jsonpath={.status.latestReadyRevisionName}"])?;
    let activator =
        ["-n", "knative-serving", "get", "service", "activator-service", "-o", "jsonpath={.spec.clusterIP}"];
    let activator = format!("http://{}/", run(bench.cluster.kubectl().args(activator))?);
    let hand_host = format!("{revision}.{NAMESPACE}.svc.cluster.local");
    let function_host = format!("scale-to-zero.{NAMESPACE}.ofn.io");
    let (mut of_function, mut by_hand) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        for (name, url, host, times) in [
            ("function", GATEWAY, &function_host, &mut of_function),
            ("by hand", activator.as_str(), &hand_host, &mut by_hand),
        ] {
            bench.is_asleep()?;
            let took = bench.first_answer(url, host).await?;
            println!("round {round:2}: {name:8} {:6.0} ms", took.as_secs_f64() * 1000.0);
            times.push(took);
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1000.0
    };
    let (function, hand) = (median(&mut of_function), median(&mut by_hand));
    println!(
        "median: function {function:.0} ms, by hand {hand:.0} ms, difference {:.0} ms (aim: at most 300)",
        function - hand
    );
    Ok(())
}
