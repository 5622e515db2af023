//! The contract with functions frameworks: what programs are told, and that programs of upstream's framework run as
//! they are.

use e2e::{image::Image, local::cluster::Cluster, local::registry::OPEN, parts};
use reqwest::header::HOST;
use serde_json::{Value, json};

use super::{Deployed, GATEWAY};
use crate::support::client;

/// Engines that run pods here.
const ENGINES: [&str; 2] = ["knative", "native"];

fn function(name: &str, image: &str, engine: &str, serving: Value) -> Value {
    let mut manifest = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": name},
        "spec": {"version": "v1.4.0", "image": image, "serving": serving}});
    manifest["spec"]["serving"]["triggers"] = json!({"http": {"port": 9000, "engine": engine}});
    manifest
}

impl Deployed {
    /// What a POST with some headers is answered.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, String) {
        let mut request = client().post(format!("{GATEWAY}{path}")).header(HOST, self.external_host()).json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// A `CloudEvent` in binary mode.
const EVENT: &[(&str, &str)] =
    &[("ce-specversion", "1.0"), ("ce-type", "dev.example.greeting"), ("ce-source", "/tests"), ("ce-id", "1")];

/// The image of six functions of upstream's framework, of all signatures.
pub fn framework_go() -> String {
    let program = parts::FUNCTIONS_FRAMEWORK.built().unwrap().join("sync-http-variables");
    let name = "tests/framework-go:v0.5.0";
    Image::of_program(name, &program).publish(&Cluster::here().unwrap().registry_storage()).unwrap();
    format!("{OPEN}/{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn sg1_sg2_sg3_sg11_programs_of_the_go_framework_run_as_they_are() {
    let image = framework_go();
    for engine in ENGINES {
        // A hook that the program brings.
        let serving = json!({"hooks": {"pre": ["plugin-custom"], "post": ["plugin-custom"]}});
        let test = format!("framework-{engine}");
        let deployed = Deployed::new(&test, function("many", &image, engine, serving));
        deployed.is_ready();
        deployed.is_served("/hello/openfunction").await;
        // Six functions of one image, by their paths.
        let openfunction = (200, r#"{"hello":"openfunction"}"#.to_owned());
        assert_eq!(deployed.answer("/hello/openfunction").await, openfunction, "{engine}: HTTP");
        assert_eq!(deployed.answer("/hellov2/openfunction").await, openfunction, "{engine}: another of the image");
        let body = json!({"data": "hello"});
        assert_eq!(deployed.post("/bar/openfunction", &[], body.clone()).await, openfunction, "{engine}: OpenFunction");
        assert_eq!(deployed.post("/foo/openfunction", EVENT, body).await.0, 200, "{engine}: CloudEvent");
        let container = ["logs", "-l", "openfunction.io/function=many", "-c", "function", "--tail=-1"];
        let log = deployed.namespace.kubectl(&container);
        assert!(log.contains(r#"cloudevent - Data: {"hello":"openfunction"}"#), "{engine}: {log}");
    }
}

async fn is_told(language: &str, command: Value) {
    for engine in ENGINES {
        let test = format!("contract-{language}-{engine}");
        let serving = json!({
            "params": {"GREETING": "costs $5"},
            "outputs": [{"dapr": {"name": "audit", "type": "bindings.kafka", "operation": "create"}}],
            // Programs are told all the same, also where Dapr is not installed.
            "annotations": {"openfunction.io/enable-dapr": "false"},
            // AP5: probes and another container.
            "template": {"containers": [
                {"name": "function", "command": command, "readinessProbe": {"httpGet": {"path": "/up", "port": 9000}, "periodSeconds": 1}},
                {"name": "side", "image": "busybox", "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]},
            ]},
        });
        let deployed = Deployed::new(&test, function("orders", language, engine, serving));
        deployed.is_ready();
        deployed.is_served("/").await;
        let (status, body) = deployed.post("/", EVENT, json!({"data": "hello"})).await;
        assert_eq!(status, 200, "{body}");
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            told["context"],
            json!({"name": "orders", "version": "v1.4.0", "runtime": "Knative", "port": "9000",
                "outputs": {"audit": {"uri": "audit", "componentName": "audit", "componentType": "bindings.kafka", "operation": "create"}}}),
            "{engine}"
        );
        assert_eq!(told["event"], json!({"type": "dev.example.greeting", "data": {"data": "hello"}}));
        assert_eq!(told["greeting"], "costs $5");
        assert_eq!(told["host"], deployed.external_host(), "{engine}: the function sees its real Host");
        let pod = told["pod"].as_str().unwrap().strip_prefix(&format!("{}/", deployed.namespace.name)).unwrap();
        assert!(deployed.pods().iter().any(|name| name == pod), "{engine}: {pod}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_javascript_is_told_all_that_a_framework_needs() {
    is_told("node", json!(["node", "-e", include_str!("programs/contract.js")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_python_is_told_all_that_a_framework_needs() {
    is_told("python", json!(["python3", "-c", include_str!("programs/contract.py")])).await;
}
