//! Admission of Functions, as the chart has the API server ask for it.

use std::{io::Write, process::Stdio};

use e2e::api_server::free_ports;

use super::*;
use crate::{conversion::point, support::try_out};

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
        let [port] = free_ports().unwrap();
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

/// What may stand where something else did.
fn wrong_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(""),
        json!("a b"),
        json!("1h"),
        json!(-1),
        json!(0),
        json!(70_000),
        json!(1.5),
        json!(true),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({"name": "a"}),
    ]
}

/// JSON pointers of everything in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let below: Vec<_> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.replace('/', "~1"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in below {
        let pointer = format!("{at}/{key}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

/// How many of them are tried.
const MUTANTS: usize = 2_000;

/// Every place of the compatible samples with each of the wrong values, as many as are tried, spread evenly.
fn mutants() -> Vec<Value> {
    let mut all = Vec::new();
    let is_function =
        |object: &Value| object["kind"] == "Function" && object["apiVersion"] == "core.openfunction.io/v1beta2";
    let files = crate::examples::manifests();
    let samples = files.iter().flat_map(|file| documents(&std::fs::read_to_string(file).unwrap()).unwrap());
    for sample in samples.filter(is_function) {
        let mut places = Vec::new();
        pointers(&sample["spec"], "/spec", &mut places);
        for place in places {
            for value in wrong_values() {
                let mut mutant = sample.clone();
                *mutant.pointer_mut(&place).unwrap() = value;
                mutant["metadata"] = json!({"name": "mutant"});
                all.push(mutant);
            }
        }
    }
    assert!(all.len() >= MUTANTS, "{}", all.len());
    let step = all.len() as f64 / MUTANTS as f64;
    (0..MUTANTS).map(|number| all[(number as f64 * step) as usize].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crd_and_the_webhooks_agree_on_what_may_be_stored() {
    let world = World::new().await;
    let port = world.install_admission().await;
    let mutants = mutants();
    let api = api_of(&world.client, &mutants[0], FUNCTIONS).await;
    let judge = || async {
        let mut verdicts = Vec::new();
        for mutant in &mutants {
            verdicts.push(try_out(&api, mutant).await.err().map(|status| status.message));
        }
        verdicts
    };
    let by_crd = judge().await;
    let _controller = world.start_at(Which::Function, port).await;
    let bad = DEPRECATED.replace("{A: b}", "[{name: A}]");
    let answers = || async { apply(&world, &["--dry-run=server"], &bad).1.contains("vfunctions.of.io").then_some(()) };
    eventually("admission works", answers).await;
    let by_both = judge().await;

    let (mut taken, mut refused, mut denied) = (0, 0, 0);
    for ((mutant, crd), both) in mutants.iter().zip(&by_crd).zip(&by_both) {
        match (crd, both) {
            (None, None) => taken += 1,
            (Some(_), Some(_)) => refused += 1,
            // A schema cannot tell what a list and a map of parameters have in common.
            (None, Some(said))
                if said.contains("vfunctions.of.io") && said.contains("spec.build.shipwright.params") =>
            {
                denied += 1
            }
            _ => panic!("{mutant}\nby the CRD: {crd:?}\nwith the webhooks: {both:?}"),
        }
    }
    println!("{taken} taken, {refused} refused by the CRD, {denied} by the webhook");
    assert!(taken > 200 && refused > 200);
}
