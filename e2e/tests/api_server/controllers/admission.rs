//! Admission of Functions, as the chart has the API server ask for it.

use std::{io::Write, net::TcpListener, process::Stdio};

use super::*;
use crate::conversion::point;

/// Applies a manifest; whether it was taken, and what kubectl said.
pub(super) fn apply(world: &World, options: &[&str], manifest: &str) -> (bool, String) {
    let mut kubectl = world.server.kubectl();
    kubectl
        .args(["-n", FUNCTIONS, "apply", "-f", "-"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = kubectl.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

impl World {
    /// Has the API server ask for admission and conversion at a port where nobody listens yet.
    pub(super) async fn install_admission(&self) -> u16 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for mut configuration in charted(&["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]) {
            let service = configuration["webhooks"][0]["clientConfig"]["service"].take();
            let url = format!("https://127.0.0.1:{port}{}", service["path"].as_str().unwrap());
            configuration["webhooks"][0]["clientConfig"] = json!({ "url": url });
            self.apply_object(&configuration).await;
        }
        point(&self.client, "functions.core.openfunction.io", port).await;
        port
    }
}

const DEPRECATED: &str = "
apiVersion: core.openfunction.io/v1beta2
kind: Function
metadata: {name: deprecated}
spec:
  image: a
  build: {builder: b, srcRepo: {url: https://git.example.com/a.git}, shipwright: {params: {A: b}}}
  serving:
    triggers: {http: {}}
    outputs: [{dapr: {component: out}}]
    bindings: {out: {type: bindings.redis, version: v1, metadata: [{name: redisPassword, value: p}]}}
";

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_completed_and_looked_at_and_accepted_while_nobody_answers() {
    let world = World::new().await;
    let port = world.install_admission().await;

    // Nobody answers, and nothing is kept from anybody.
    let (taken, said) = apply(&world, &[], &DEPRECATED.replace("deprecated", "before"));
    assert!(taken, "{said}");
    assert_eq!(world.function("before").await.spec.version, None);

    let controller = world.start_at(Which::Function, port).await;
    let bad = DEPRECATED.replace("{A: b}", "[{name: A}]");
    let denied = r#"admission webhook "vfunctions.of.io" denied the request: spec.build.shipwright.params: Invalid value: "A": has no value"#;
    let is_denied = || async { apply(&world, &["--dry-run=server"], &bad).1.contains(denied).then_some(()) };
    eventually("admission works", is_denied).await;

    let (taken, said) = apply(&world, &[], DEPRECATED);
    assert!(taken, "{said}");
    let warnings: Vec<_> = said.lines().collect();
    assert_eq!(
        warnings,
        [
            "Warning: spec.build.shipwright.params: a map is deprecated; write a list of name and value",
            "Warning: spec.serving.outputs[0].dapr.component: deprecated; write name",
            "Warning: spec.serving.bindings[out].metadata[0].value: redisPassword can be read by whoever can read the Function; write secretKeyRef",
        ]
    );
    let spec = json!(world.function("deprecated").await.spec);
    let http = json!({"port": 8080, "route": {"gatewayRef": {"name": "openfunction", "namespace": "openfunction"}}});
    assert_eq!((&spec["version"], &spec["serving"]["triggers"]["http"]), (&json!("latest"), &http));
    // Those of the old version are converted first.
    let old = "{apiVersion: core.openfunction.io/v1beta1, kind: Function, metadata: {name: old}, spec: {image: a, serving: {runtime: knative}}}";
    let (taken, said) = apply(&world, &[], old);
    assert!(taken, "{said}");
    assert_eq!(json!(world.function("old").await.spec)["serving"]["triggers"]["http"], http);
    // What a manifest takes away again is away, as far as it was said.
    let events = r#"{"spec": {"serving": {"triggers": {"http": null, "dapr": [{"name": "out"}]}}}}"#;
    let mut kubectl = world.server.kubectl();
    run(kubectl.args(["-n", FUNCTIONS, "patch", "function", "deprecated", "--type=merge", "-p", events])).unwrap();
    assert_eq!(
        json!(world.function("deprecated").await.spec)["serving"]["triggers"],
        json!({"dapr": [{"name": "out"}]})
    );

    controller.end().await;
    let (taken, said) = apply(&world, &[], &DEPRECATED.replace("deprecated", "after"));
    assert!(taken, "{said}");
}
