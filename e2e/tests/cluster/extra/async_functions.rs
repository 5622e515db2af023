//! Functions that events call: programs of OpenFunction's functions framework, unmodified, with real brokers.

use std::collections::BTreeSet;

use e2e::{local::registry::OPEN, parts::FUNCTIONS_FRAMEWORK};
use serde_json::{Value, json};

use crate::{functions::Deployed, support::eventually};

const BROKERS: &str = "openfunction-local.svc.cluster.local";
/// Events that are counted.
const EVENTS: usize = 1000;

fn component(type_: &str, settings: &[(&str, &str)]) -> Value {
    let settings: Vec<_> = settings.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"type": type_, "version": "v1", "metadata": settings})
}

fn kafka(topic: &str) -> Value {
    let brokers = format!("kafka.{BROKERS}:9092");
    let settings = [
        ("brokers", brokers.as_str()),
        ("topics", topic),
        ("publishTopic", topic),
        ("consumerGroup", topic),
        ("authType", "none"),
        ("initialOffset", "oldest"),
    ];
    component("bindings.kafka", &settings)
}

/// A Function that runs a program of the framework.
fn function(program: &str, mode: &str, serving: Value) -> Value {
    let image = format!("{OPEN}/functions-framework/{program}:{}", FUNCTIONS_FRAMEWORK.version);
    let mut serving = serving;
    serving["annotations"] = json!({"openfunction.io/dapr-service-mode": mode});
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": program},
        "spec": {"version": "v1.0.0", "image": image, "serving": serving}})
}

fn log(deployed: &Deployed, function: &str) -> String {
    let selector = format!("--selector=openfunction.io/function={function},openfunction.io/serving");
    let command = deployed
        .namespace
        .command(&["logs", &selector, "--container=function", "--tail=-1", "--ignore-errors"])
        .output();
    String::from_utf8_lossy(&command.unwrap().stdout).into_owned()
}

/// A cron binding calls a function, which sends to a binding, which calls another.
fn events_go_from_binding_to_binding(mode: &str) {
    let topic = format!("bindings-{mode}-{}", std::process::id());
    let sender = json!({
        "triggers": {"dapr": [{"name": "tick", "type": "bindings.cron"}]},
        "bindings": {"tick": component("bindings.cron", &[("schedule", "@every 1s")]), "out": kafka(&topic)},
        "outputs": [{"dapr": {"name": "out", "outputName": "target", "operation": "create"}}]});
    let deployed = Deployed::new(&format!("bindings-{mode}"), function("sender", mode, sender));
    let target = json!({
        "triggers": {"dapr": [{"name": "events", "type": "bindings.kafka"}]},
        "bindings": {"events": kafka(&topic)}});
    deployed.namespace.apply(&function("target", mode, target).to_string());
    deployed.is_ready();
    deployed.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/target", "--timeout=180s"]);
    eventually("three events", || {
        (log(&deployed, "target").matches(r#"bindings - Data: {"hello":"world"}"#).count() >= 3).then_some(())
    });
}

#[test]
fn tr7_events_go_from_binding_to_binding_by_way_of_the_proxy() {
    events_go_from_binding_to_binding("standalone");
}

#[test]
fn ou14_events_go_from_binding_to_binding_by_way_of_sidecars() {
    events_go_from_binding_to_binding("sidecar");
}

/// Publishes events to a topic and counts those that are handled.
fn every_event_is_handled(mode: &str, pubsub: Value, name: &str) {
    let serving = json!({
        "triggers": {"dapr": [{"name": "bus", "type": pubsub["type"], "topic": "numbers"}]},
        "pubsub": {"bus": pubsub}});
    let deployed = Deployed::new(&format!("{name}-{mode}"), function("sub", mode, serving));
    deployed.is_ready();
    let component = deployed.namespace.kubectl(&["get", "components", "-o", "jsonpath={.items[0].metadata.name}"]);
    let publish = format!("http://127.0.0.1:3500/v1.0/publish/{component}/numbers");
    // Through the function's own sidecar, which knows the component.
    let script = format!(
        "import urllib.request as u\nfor i in range({EVENTS}):\n  u.urlopen(u.Request('{publish}', b'{{\"n\": %d}}' % i, {{'content-type': 'application/json'}})).read()\n"
    );
    let pods = deployed.namespace.kubectl(&[
        "get",
        "pods",
        "-o",
        "jsonpath={range .items[?(@.metadata.annotations.dapr\\.io/enabled==\"true\")]}{.status.podIP}{\"\\n\"}{end}",
    ]);
    let address = pods.lines().next().expect("a pod with a sidecar").to_owned();
    let script = script.replace("127.0.0.1", &address);
    deployed.namespace.run_image("publishes", "python:3", &["python", "-c", &script]);
    let handled = eventually("all events", || {
        let log = log(&deployed, "sub");
        let data = log.lines().filter_map(|line| line.split("pubsub - Data: ").nth(1));
        let numbers: Vec<_> = data.map(str::to_owned).collect();
        let different: BTreeSet<_> = numbers.iter().collect();
        (different.len() == EVENTS).then_some(numbers.len())
    });
    println!("{name}, {mode}: {EVENTS} events, handled {handled} times");
}

fn redis() -> Value {
    let host = format!("redis.{BROKERS}:6379");
    component("pubsub.redis", &[("redisHost", &host), ("redisPassword", "")])
}

#[test]
fn tr8_every_event_of_a_topic_is_handled_by_way_of_the_proxy() {
    every_event_is_handled("standalone", redis(), "redis");
}
