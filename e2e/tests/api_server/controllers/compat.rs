//! What becomes of the manifests of `docs/samples/compat`: warnings, children, conditions and addresses, as the files in
//! `compat/` have it. `BLESS=1` writes them anew.

use std::{collections::BTreeMap, fmt::Write, fs};

use super::{admission::*, *};
use crate::examples::manifests;

/// What the Gateway of some manifests stands on.
const FRONT: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: gateway-infra}
spec:
  gatewayClassName: contour
  listeners: [{name: web, port: 80, protocol: HTTP, hostname: '*.example.org', allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: edge, namespace: gateway-infra}
spec:
  from:
    - {group: networking.openfunction.io, kind: Gateway, namespace: edge-system}
    - {group: networking.openfunction.io, kind: Gateway, namespace: edge-two}
  to: [{group: gateway.networking.k8s.io, kind: Gateway}]
";

/// What a Function may become.
const CHILDREN: &[&str] = &[
    "builders",
    "servings",
    "services.serving.knative.dev",
    "deployments",
    "statefulsets",
    "jobs",
    "services",
    "scaledobjects",
    "scaledjobs",
    "components",
    "resiliencies",
    "httproutes",
];

impl World {
    fn kubectl(&self, args: &[&str]) -> String {
        run(self.server.kubectl().args(["-n", FUNCTIONS]).args(args)).unwrap()
    }

    /// All children, with what their names have of hashes left out.
    fn children(&self) -> Vec<String> {
        let names = self.kubectl(&["get", &CHILDREN.join(","), "--output=name", "--ignore-not-found"]);
        let mut names: Vec<_> = names.lines().map(without_hashes).collect();
        names.sort();
        names
    }
}

fn without_hashes(name: &str) -> String {
    let is_hash = |part: &str| part.len() == 10 && part.chars().all(|c| c.is_ascii_hexdigit());
    let parts = name.split_inclusive(|c: char| !c.is_ascii_alphanumeric()).map(|part| {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        if is_hash(word) { format!("<hash>{}", &part[word.len()..]) } else { part.to_owned() }
    });
    parts.collect()
}

/// An object that has its condition, once nothing changes any more, neither of it nor beside it.
async fn settled<B: PartialEq>(what: &str, type_: &str, look: impl Fn() -> (B, String)) -> Value {
    let mut last = None;
    eventually(&format!("{what} settles"), || {
        let (beside, text) = look();
        let object: Value = serde_json::from_str(&text).unwrap();
        let generation = &object["metadata"]["generation"];
        let mut conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let is_known =
            conditions.any(|condition| condition["type"] == type_ && condition["observedGeneration"] == *generation);
        let now = Some((beside, object["status"].clone()));
        let is_same = is_known && last == now;
        last = now;
        async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            is_same.then_some(object)
        }
    })
    .await
}

/// What is said of a Gateway, and the listeners that it stands on.
async fn gateway_outcome(world: &World, gateway: &Value) -> String {
    let [namespace, name] = ["namespace", "name"].map(|field| gateway["metadata"][field].as_str().unwrap());
    let kind = "gateways.networking.openfunction.io";
    let listeners = || {
        let all = world.kubectl(&["get", "gateways.gateway.networking.k8s.io", "-n", "gateway-infra", "-o", "json"]);
        let all: Value = serde_json::from_str(&all).unwrap();
        let lines = all["items"].as_array().unwrap().iter().flat_map(|on| {
            let name = on["metadata"]["name"].as_str().unwrap().to_owned();
            let listeners = on["spec"]["listeners"].as_array().cloned().unwrap_or_default();
            listeners.into_iter().map(move |listener| {
                let text = |field: &str| listener[field].as_str().unwrap_or_default().to_owned();
                let (hostname, protocol, port) = (text("hostname"), text("protocol"), &listener["port"]);
                format!("listener {name}/{} {protocol} {port} {hostname}", text("name")).trim_end().to_owned()
            })
        });
        lines.collect::<Vec<_>>()
    };
    let look = || (listeners(), world.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"]));
    let settled = settled(name, "Ready", look).await;
    let said = conditions(&settled).map(|(type_, said)| format!("{type_}: {said}"));
    let lines = [vec![format!("Gateway {namespace}/{name}")], listeners(), said.collect()].concat();
    lines.join("\n") + "\n"
}

/// What is said of a Function.
async fn outcome(world: &World, name: &str, warnings: &str) -> String {
    let look = || (world.children(), world.kubectl(&["get", "function", name, "-o", "json"]));
    let settled = settled(name, "Ready", look).await;
    let mut text = String::new();
    for warning in warnings.lines() {
        writeln!(text, "{warning}").unwrap();
    }
    for child in world.children() {
        writeln!(text, "{child}").unwrap();
    }
    for (type_, said) in conditions(&settled) {
        writeln!(text, "{type_}: {said}").unwrap();
    }
    for address in settled.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten() {
        writeln!(text, "{} {}", address["type"].as_str().unwrap(), address["value"].as_str().unwrap()).unwrap();
    }
    text
}

/// By type; which one came first depends on the moment.
fn conditions(object: &Value) -> impl Iterator<Item = (&str, String)> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let said = conditions.map(|condition| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let message = without_hashes(text("message"));
        (text("type"), [text("status"), text("reason"), &message].join(" ").trim_end().to_owned())
    });
    said.collect::<BTreeMap<_, _>>().into_iter()
}

#[tokio::test(flavor = "multi_thread")]
async fn pl5_manifests_of_the_original_become_what_they_became_there() {
    let world = World::with_gateway().await;
    world.install_api(&["serving.knative.dev", "keda.sh", "dapr.io"]).await;
    let port = world.install_admission().await;
    let functions = world.start_at(Which::Function, port).await;
    let others = start(&world, &[Which::Builder, Which::Serving, Which::Gateway]).await;
    let _stand_in = StandIn::start(&world);
    for namespace in ["gateway-infra", "edge-system", "edge-two"] {
        world.kubectl(&["create", "namespace", namespace]);
    }
    world.apply(FRONT).await;
    let folder = e2e::root().join("e2e/tests/api_server/controllers/compat");
    let mut wrong = Vec::new();
    for file in manifests() {
        let text = fs::read_to_string(&file).unwrap();
        let mut said = String::new();
        let mut functions = documents(&text).unwrap();
        for gateway in functions.extract_if(.., |object| object["kind"] == "Gateway") {
            world.apply_object(&gateway).await;
            said += &gateway_outcome(&world, &gateway).await;
        }
        functions.retain(|object| object["kind"] == "Function");
        for function in &mut functions {
            // One namespace for all.
            function["metadata"].as_object_mut().unwrap().remove("namespace");
            let name = function["metadata"]["name"].as_str().unwrap().to_owned();
            let (taken, warnings) = apply(&world, &["--validate=strict"], &function.to_string());
            assert!(taken, "{}: {warnings}", file.display());
            write!(said, "Function {name}\n{}", outcome(&world, &name, &warnings).await).unwrap();
            world.kubectl(&["delete", "function", &name]);
            world.kubectl(&[
                "delete",
                &[CHILDREN, &["pods", "configmaps"]].concat().join(","),
                "--all",
                "--wait=false",
            ]);
            eventually("nothing is left", || async { world.children().is_empty().then_some(()) }).await;
        }
        let golden = folder.join(file.file_stem().unwrap()).with_extension("txt");
        if said.is_empty() {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &said).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    functions.end().await;
    end(others).await;
}
