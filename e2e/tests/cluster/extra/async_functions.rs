//! Functions that events call: programs of OpenFunction's functions framework, unmodified, with real brokers.

use std::collections::BTreeSet;

use e2e::{local::registry::OPEN, parts::FUNCTIONS_FRAMEWORK};
use serde_json::{Value, json};

use crate::{functions::Deployed, support::eventually};

pub(super) const BROKERS: &str = "openfunction-local.svc.cluster.local";
/// Events that are counted.
const EVENTS: usize = 1000;

pub(super) fn component(type_: &str, settings: &[(&str, &str)]) -> Value {
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
pub(super) fn function(program: &str, mode: &str, serving: Value) -> Value {
    let image = format!("{OPEN}/functions-framework/{program}:{}", FUNCTIONS_FRAMEWORK.version);
    let mut serving = serving;
    // So that tests can publish by way of the function's sidecar.
    let addresses = "[::],0.0.0.0";
    serving["annotations"] =
        json!({"openfunction.io/dapr-service-mode": mode, "dapr.io/sidecar-listen-addresses": addresses});
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": program},
        "spec": {"version": "v1.0.0", "image": image, "serving": serving}})
}

pub(super) fn log(deployed: &Deployed, function: &str) -> String {
    let selector = format!("--selector=openfunction.io/function={function},openfunction.io/serving");
    let command = deployed
        .namespace
        .command(&["logs", &selector, "--container=function", "--tail=-1", "--ignore-errors"])
        .output();
    String::from_utf8_lossy(&command.unwrap().stdout).into_owned()
}

fn mqtt(topic: &str, id: &str) -> Value {
    let url = format!("tcp://mosquitto.{BROKERS}:1883");
    component(
        "bindings.mqtt3",
        &[("url", &url), ("topic", topic), ("consumerID", &format!("{topic}-{id}")), ("qos", "1")],
    )
}

/// A cron binding calls a function, which sends to a binding, which calls another.
fn events_go_from_binding_to_binding(mode: &str, broker: &str) {
    let topic = format!("bindings-{broker}-{mode}-{}", std::process::id());
    let binding = |id: &str| if broker == "kafka" { kafka(&topic) } else { mqtt(&topic, id) };
    let sender = json!({
        "triggers": {"dapr": [{"name": "tick", "type": "bindings.cron"}]},
        "bindings": {"tick": component("bindings.cron", &[("schedule", "@every 1s")]), "out": binding("out")},
        "outputs": [{"dapr": {"name": "out", "outputName": "target", "operation": "create"}}]});
    let deployed = Deployed::new(&format!("{broker}-{mode}"), function("sender", mode, sender));
    let target = json!({"triggers": {"dapr": [{"name": "events"}]}, "bindings": {"events": binding("in")}});
    deployed.namespace.apply(&function("target", mode, target).to_string());
    deployed.is_ready();
    deployed.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/target", "--timeout=180s"]);
    eventually("three events", || {
        (log(&deployed, "target").matches(r#"bindings - Data: {"hello":"world"}"#).count() >= 3).then_some(())
    });
}

#[test]
fn tr7_events_go_from_binding_to_binding_by_way_of_the_proxy() {
    events_go_from_binding_to_binding("standalone", "kafka");
}

#[test]
fn ou14_events_go_from_binding_to_binding_by_way_of_sidecars() {
    events_go_from_binding_to_binding("sidecar", "kafka");
}

#[test]
fn tr15_events_of_mqtt_go_from_binding_to_binding() {
    events_go_from_binding_to_binding("standalone", "mqtt");
}

/// Publishes events to a topic and counts those that are handled.
fn every_event_is_handled(mode: &str, pubsub: Value, name: &str) {
    let topic = format!("numbers-{name}-{mode}-{}", std::process::id());
    let serving = json!({
        "triggers": {"dapr": [{"name": "bus", "type": pubsub["type"], "topic": topic}]},
        "pubsub": {"bus": pubsub}});
    let deployed = Deployed::new(&format!("{name}-{mode}"), function("sub", mode, serving));
    deployed.is_ready();
    let component = deployed.namespace.kubectl(&["get", "components", "-o", "jsonpath={.items[0].metadata.name}"]);
    // Through a sidecar of the function, which knows the component.
    let sidecar = r#"jsonpath={.items[?(@.metadata.annotations.dapr\.io/enabled=="true")].status.podIP}"#;
    let addresses = deployed.namespace.kubectl(&["get", "pods", "-o", sidecar]);
    let address = addresses.split_whitespace().next().expect("a pod with a sidecar");
    let script = format!(
        "import urllib.request as u\nfor i in range({EVENTS}):\n  u.urlopen(u.Request('http://{address}:3500/v1.0/publish/{component}/{topic}', b'{{\"n\": %d}}' % i, {{'content-type': 'application/json'}})).read()\n"
    );
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

pub(super) fn redis() -> Value {
    let host = format!("redis.{BROKERS}:6379");
    component("pubsub.redis", &[("redisHost", &host), ("redisPassword", "")])
}

#[test]
fn tr8_every_event_of_a_topic_is_handled_by_way_of_the_proxy() {
    every_event_is_handled("standalone", redis(), "redis");
}

#[test]
fn tr15_every_event_of_a_topic_of_kafka_is_handled() {
    let brokers = format!("kafka.{BROKERS}:9092");
    let kafka = component("pubsub.kafka", &[("brokers", &brokers), ("authType", "none"), ("initialOffset", "oldest")]);
    every_event_is_handled("standalone", kafka, "kafka-topic");
}

#[test]
fn ou14_every_event_of_a_topic_is_handled_by_way_of_sidecars() {
    let mut redis = redis();
    redis["metadata"].as_array_mut().unwrap().push(json!({"name": "consumerID", "value": "sidecars"}));
    every_event_is_handled("sidecar", redis, "redis");
}

/// A function of nobody's framework: it speaks Dapr's HTTP protocol, and counts in Redis what comes of each topic, and what
/// it handles. It cannot handle odd numbers of topics whose names end with `FAILS`.
pub(super) const COUNTER: &str = r#"
import http.server, json, os, socket

REDIS, KEY, FAILS = os.environ["REDIS"], os.environ["KEY"], os.environ.get("FAILS")
TOPICS = [i for i in json.loads(os.environ["FUNC_CONTEXT"])["inputs"].values() if i["componentType"].startswith("pubsub.")]

def redis(*words):
    connection = socket.create_connection((REDIS, 6379))
    connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, map(str, words))))
    answer = connection.recv(4096)
    connection.close()
    return answer

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(json.dumps([{"pubsubname": t["componentName"], "topic": t["uri"], "route": "/" + t["uri"]} for t in TOPICS]).encode())
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        n = event["data"]["n"]
        redis("HINCRBY", KEY + self.path, n, 1)
        if FAILS and self.path.endswith(FAILS) and n % 2:
            return self.send_error(500)
        redis("SADD", KEY, n)
        redis("INCR", KEY + ":handled")
        self.answer(b'{"status":"SUCCESS"}')
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"#;

/// Puts events into a stream of Redis, as Dapr would, at most 25 in a second.
const PUBLISHER: &str = r#"
import json, os, socket, time

def publish(event):
    words = ["XADD", os.environ["TOPIC"], "*", "data", json.dumps(event)]
    with socket.create_connection((os.environ["REDIS"], 6379), timeout=5) as connection:
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in map(str.encode, words)))
        return connection.recv(4096).startswith(b"$")

def until_published(event):
    while True:
        try:
            if publish(event):
                return
        except OSError:
            pass
        time.sleep(0.2)

for n in range(int(os.environ["EVENTS"])):
    until_published({"specversion": "1.0", "id": str(n), "source": "test", "type": "number", "datacontenttype": "application/json", "data": {"n": n}})
    time.sleep(0.04)
"#;

pub(super) fn redis_says(deployed: &Deployed, words: &[&str]) -> String {
    redis_of(deployed, "openfunction-local", words)
}

/// What the Redis of a namespace says.
fn redis_of(deployed: &Deployed, namespace: &str, words: &[&str]) -> String {
    let mut command = vec!["-n", namespace, "exec", "deployment/redis", "--", "redis-cli"];
    command.extend(words);
    // It may have been killed just now.
    let said =
        eventually("an answer of Redis", || e2e::cache::run(deployed.namespace.cluster.kubectl().args(&command)).ok());
    said.trim().to_owned()
}

/// A Function that counts in Redis.
pub(super) fn counter(mode: &str, topic: &str) -> Value {
    let redis_host = format!("redis.{BROKERS}");
    let bus = component(
        "pubsub.redis",
        &[
            ("redisHost", &format!("{redis_host}:6379")),
            ("redisPassword", ""),
            ("processingTimeout", "10s"),
            ("redeliverInterval", "2s"),
        ],
    );
    let container = json!({"name": "function", "command": ["python", "-c", COUNTER]});
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "counter"},
        "spec": {"version": "v1", "image": "python:3", "serving": {
            "annotations": {"openfunction.io/dapr-service-mode": mode, "dapr.io/app-protocol": "http"},
            "params": {"REDIS": redis_host, "KEY": format!("{topic}:seen")},
            "template": {"containers": [container]},
            "triggers": {"dapr": [{"name": "bus", "topic": topic}]},
            "pubsub": {"bus": bus}}}})
}

/// A Redis in the namespace of a test, whose process has the namespace's name on its command line.
fn own_redis(deployed: &Deployed) {
    let labels = json!({"app": "redis"});
    let pidfile = format!("/tmp/{}", deployed.namespace.name);
    let container = json!({"name": "redis", "image": format!("{OPEN}/local/redis:1"),
        "args": ["--set-proc-title", "no", "--pidfile", pidfile], "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let pod = json!({"metadata": {"labels": labels},
        "spec": {"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "redis"},
        "spec": {"selector": {"matchLabels": labels}, "template": pod}});
    deployed.namespace.apply(&deployment.to_string());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "redis"},
        "spec": {"selector": labels, "ports": [{"port": 6379}]}});
    deployed.namespace.apply(&service.to_string());
}

/// Publishes while something happens; no event may be lost.
fn loses_nothing(mode: &str, mut happens: impl FnMut(&mut Deployed, usize)) {
    let topic = "counted";
    let mut manifest = counter(mode, topic);
    // That of the test's own namespace, which it may kill.
    let serving = &mut manifest["spec"]["serving"];
    serving["params"]["REDIS"] = json!("redis");
    serving["pubsub"]["bus"]["metadata"][0]["value"] = json!("redis:6379");
    let mut deployed = Deployed::new(&format!("counted-{mode}"), manifest);
    own_redis(&deployed);
    let namespace = deployed.namespace.name.clone();
    deployed.is_ready();
    let variables = [("REDIS", "redis".to_owned()), ("EVENTS", EVENTS.to_string()), ("TOPIC", topic.to_owned())];
    let variables: Vec<_> = variables.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let publisher = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "publisher"}, "spec": {"restartPolicy": "Never",
        "containers": [{"name": "p", "image": "python:3", "command": ["python", "-c", PUBLISHER], "env": variables}]}});
    deployed.namespace.apply(&publisher.to_string());
    for round in 0..7 {
        std::thread::sleep(std::time::Duration::from_secs(4));
        let phase = deployed.namespace.kubectl(&["get", "pod/publisher", "-o", "jsonpath={.status.phase}"]);
        assert_eq!(phase, "Running", "round {round} has events");
        happens(&mut deployed, round);
    }
    eventually("all events", || {
        (redis_of(&deployed, &namespace, &["SCARD", &format!("{topic}:seen")]) == EVENTS.to_string()).then_some(())
    });
    let handled = redis_of(&deployed, &namespace, &["GET", &format!("{topic}:seen:handled")]);
    let handled: usize = handled.parse().unwrap();
    println!("{mode}: {EVENTS} events, {} of them twice", handled - EVENTS);
    deployed.is_ready();
    // Nothing is left of the revisions before.
    let of = |what: &str| deployed.namespace.kubectl(&["get", what, "-o", "name"]).lines().count();
    deployed.eventually("one workload", || {
        // With Redis.
        let deployments = if mode == "sidecar" { 2 } else { 3 };
        (of("deployments.apps") == deployments && of("components") == 1).then_some(())
    });
}

fn kill(deployed: &Deployed, selector: &str) {
    deployed.namespace.kubectl(&[
        "delete",
        "pods",
        "--selector",
        selector,
        "--grace-period=0",
        "--force",
        "--wait=false",
    ]);
}

/// Kills processes in pods; their containers start again.
fn kill_process(pattern: &str) {
    e2e::cache::run(std::process::Command::new("pkill").args(["-KILL", "-f", pattern])).unwrap();
}

/// New versions, and ends of everything that an event passes.
fn trouble(deployed: &mut Deployed, round: usize) {
    match round {
        0 => deployed.change(|manifest| manifest["spec"]["version"] = json!("v2")),
        1 => kill(deployed, "openfunction.io/serving"),
        2 => kill(deployed, "openfunction.io/proxy"),
        // Dapr's sidecars alone, in whatever pods they are.
        3 => kill_process(&format!("daprd .*--app-id counter-{}", deployed.namespace.name)),
        4 => kill_process(&format!("redis-server .*{}", deployed.namespace.name)),
        5 => {
            let mut controller = deployed.namespace.cluster.kubectl();
            let selector = "--selector=app.kubernetes.io/component=serving-controller";
            controller.args(["delete", "pods", "-n", "openfunction", selector, "--grace-period=0", "--force"]);
            deployed.change(|manifest| manifest["spec"]["version"] = json!("v3"));
            e2e::cache::run(&mut controller).unwrap();
        }
        _ => deployed.change(|manifest| manifest["spec"]["serving"]["params"]["MORE"] = json!("1")),
    }
}

#[test]
fn ou19_sg9_no_event_is_lost_while_versions_change_and_pods_are_killed() {
    loses_nothing("standalone", trouble);
}

#[test]
fn ou19_no_event_is_lost_while_versions_with_sidecars_change() {
    loses_nothing("sidecar", trouble);
}

pub(super) fn pods_of(deployed: &Deployed) -> usize {
    deployed.namespace.kubectl(&["get", "pods", "--selector=openfunction.io/serving", "-o", "name"]).lines().count()
}

/// A number as a CloudEvent.
pub(super) fn number(n: usize) -> Value {
    json!({"specversion": "1.0", "id": n.to_string(), "source": "test", "type": "number", "datacontenttype": "application/json", "data": {"n": n}})
}

pub(super) fn add_to_stream(topic: &str, deployed: &Deployed, numbers: std::ops::Range<usize>) {
    for n in numbers {
        redis_says(deployed, &["XADD", topic, "*", "data", &number(n).to_string()]);
    }
}

/// A function goes to zero, is woken by events, handles them, and goes again.
fn sleeps_and_wakes(mode: &str, counted: &str) {
    let topic = format!("sleeps-{mode}-{}", std::process::id());
    let mut manifest = counter(mode, &topic);
    let group = format!("{topic}-group");
    let settings = manifest["spec"]["serving"]["pubsub"]["bus"]["metadata"].as_array_mut().unwrap();
    settings.push(json!({"name": "consumerID", "value": group}));
    let metadata =
        json!({"address": format!("redis.{BROKERS}:6379"), "stream": topic, "consumerGroup": group, counted: "5"});
    manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 0, "maxReplicas": 2, "keda": {
        "scaledObject": {"pollingInterval": 1, "cooldownPeriod": 5}, "triggers": [{"type": "redis-streams", "metadata": metadata}]}});
    let deployed = Deployed::new(&format!("sleeps-{mode}"), manifest);
    deployed.is_ready();
    for round in 0..2 {
        deployed.eventually("no pod", || (pods_of(&deployed) == 0).then_some(()));
        deployed.is_ready();
        add_to_stream(&topic, &deployed, round * 10..(round + 1) * 10);
        let seen = ((round + 1) * 10).to_string();
        deployed.eventually("all events", || {
            (redis_says(&deployed, &["SCARD", &format!("{topic}:seen")]) == seen).then_some(())
        });
    }
    deployed.eventually("no pod", || (pods_of(&deployed) == 0).then_some(()));
}

#[test]
fn ou16_a_function_behind_the_proxy_sleeps_and_is_woken_by_events() {
    sleeps_and_wakes("standalone", "pendingEntriesCount");
}

#[test]
fn sc3_a_function_with_sidecars_sleeps_and_is_woken_by_events() {
    sleeps_and_wakes("sidecar", "lagCount");
}

#[test]
fn sc6_b101_a_job_runs_for_each_message_and_not_before() {
    let list = format!("jobs-{}", std::process::id());
    let program = format!(
        "import socket\nc = socket.create_connection(('redis.{BROKERS}', 6379))\nc.sendall(b'LMOVE {list} {list}:done LEFT RIGHT\\r\\n')\nprint(c.recv(4096))\n"
    );
    let container = json!({"name": "function", "command": ["python", "-c", program]});
    let metadata = json!({"address": format!("redis.{BROKERS}:6379"), "listName": list, "listLength": "1"});
    let manifest = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "job"},
        "spec": {"version": "v1", "image": "python:3", "serving": {
            "workloadType": "Job", "runtime": "async",
            "template": {"containers": [container]},
            "scaleOptions": {"maxReplicas": 5, "keda": {
                "scaledJob": {"pollingInterval": 1, "restartPolicy": "Never", "successfulJobsHistoryLimit": 20},
                "triggers": [{"type": "redis", "metadata": metadata}]}}}}});
    let deployed = Deployed::new("job", manifest);
    deployed.is_ready();
    let jobs = || deployed.namespace.kubectl(&["get", "jobs", "-o", "name"]).lines().count();
    assert_eq!(jobs(), 0, "nothing has called it");
    for message in ["a", "b", "c"] {
        redis_says(&deployed, &["RPUSH", &list, message]);
    }
    deployed.eventually("every message", || {
        (redis_says(&deployed, &["LLEN", &format!("{list}:done")]) == "3").then_some(())
    });
    assert!(jobs() >= 3);
}

#[test]
fn tr18_a_function_goes_from_requests_to_events_and_back() {
    let topic = format!("moves-{}", std::process::id());
    let events = counter("standalone", &topic);
    let mut requests = events.clone();
    let serving = requests["spec"]["serving"].as_object_mut().unwrap();
    serving.remove("pubsub");
    serving.insert("triggers".to_owned(), json!({"http": {"engine": "native"}}));
    // Its program looks for topics in its context.
    serving["template"]["containers"][0]["command"][2] =
        json!(COUNTER.replace(r#"["inputs"].values()"#, r#".get("inputs", {}).values()"#));
    let mut deployed = Deployed::new("moves", requests.clone());
    deployed.is_ready();
    let of = |deployed: &Deployed, what: &str| deployed.namespace.kubectl(&["get", what, "-o", "name"]).lines().count();
    assert!(of(&deployed, "httproutes") > 0 && of(&deployed, "components") == 0);
    deployed.change(|manifest| *manifest = events.clone());
    deployed.is_ready();
    deployed.eventually("no route", || (of(&deployed, "httproutes") == 0).then_some(()));
    add_to_stream(&topic, &deployed, 0..10);
    deployed.eventually("all events", || {
        (redis_says(&deployed, &["SCARD", &format!("{topic}:seen")]) == "10").then_some(())
    });
    deployed.change(|manifest| *manifest = requests.clone());
    deployed.is_ready();
    deployed.eventually("no Dapr", || {
        let left = deployed.namespace.kubectl(&["get", "components,deployments.apps", "-o", "name"]);
        let has_route = of(&deployed, "httproutes") > 0;
        (has_route && !left.contains("component") && !left.contains("dapr-proxy")).then_some(())
    });
}
