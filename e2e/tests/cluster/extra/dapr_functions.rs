//! What Dapr does for functions besides calling them: they send, keep state, give events up.

use std::{collections::BTreeMap, io::Write, process::Stdio};

use serde_json::json;

use super::{
    async_functions::{BROKERS, add_to_stream, component, counter, function, log, number, pods_of, redis, redis_says},
    brokers::{make_stream, unique},
};
use crate::functions::{Deployed, contract::framework_go};

/// A function of HTTP that keeps what it is told, and sends what it has kept to a topic.
const KEEPER: &str = r#"
import http.server, json, os, urllib.request

CONTEXT = json.loads(os.environ["FUNC_CONTEXT"])
DAPR = "http://%s:3500/v1.0" % os.environ.get("DAPR_HOST", "127.0.0.1")
STORE, OUTPUT = CONTEXT["states"]["ledger"], CONTEXT["outputs"]["numbers"]

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(DAPR + path, data, {"content-type": "application/json"})).read()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ask("/state/" + STORE["componentName"], [{"key": "last", "value": int(self.path.rsplit("/", 1)[1])}])
        kept = json.loads(ask("/state/%s/last" % STORE["componentName"]))
        ask("/publish/%s/%s" % (OUTPUT["componentName"], OUTPUT["uri"]), {"n": kept})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(kept).encode())

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"#;

#[tokio::test(flavor = "multi_thread")]
async fn ou2_ou6_tr14_a_function_keeps_state_and_sends_to_a_topic() {
    for (engine, mode) in
        [("native", "standalone"), ("native", "sidecar"), ("knative", "standalone"), ("knative", "sidecar")]
    {
        let topic = unique(&format!("kept-{engine}-{mode}"));
        let store = component("state.redis", &[("redisHost", &format!("redis.{BROKERS}:6379")), ("redisPassword", "")]);
        let manifest = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "keeper"},
            "spec": {"version": "v1", "image": "python:3", "serving": {
                "annotations": {"openfunction.io/dapr-service-mode": mode},
                "template": {"containers": [{"name": "function", "command": ["python", "-c", KEEPER]}]},
                "triggers": {"http": {"engine": engine}},
                "outputs": [{"dapr": {"name": "bus", "topic": topic, "outputName": "numbers"}}],
                "pubsub": {"bus": redis()}, "states": {"ledger": {"spec": store}}}}});
        let deployed = Deployed::new(&format!("keeper-{engine}-{mode}"), manifest);
        deployed.namespace.apply(&counter(mode, &topic).to_string());
        deployed.is_ready();
        deployed.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/counter", "--timeout=180s"]);
        deployed.is_served("/0").await;
        for n in 1..=5 {
            assert_eq!(deployed.answer(&format!("/{n}")).await, (200, n.to_string()), "{engine}, {mode}");
        }
        deployed.eventually("every number", || {
            let members = redis_says(&deployed, &["SMEMBERS", &format!("{topic}:seen")]);
            ["1", "2", "3", "4", "5"].iter().all(|n| members.lines().any(|member| member == *n)).then_some(())
        });
    }
}

/// The framework's own programs: one sends to a topic at every tick, the other is called by the topic.
#[test]
fn ou2_tr15_tr19_events_go_from_topic_to_topic_by_jetstream() {
    let topic = unique("ticks");
    make_stream(&topic);
    let bus = |durable: &str| {
        let url = format!("nats://nats.{BROKERS}:4222");
        let settings =
            [("natsURL", url.as_str()), ("natsStreamingClusterID", "stan"), ("durableSubscriptionName", durable)];
        component("pubsub.natsstreaming", &settings)
    };
    let publisher = json!({
        "triggers": {"dapr": [{"name": "tick", "type": "bindings.cron"}]},
        "bindings": {"tick": component("bindings.cron", &[("schedule", "@every 1s")])},
        "pubsub": {"bus": bus("publisher")},
        "outputs": [{"dapr": {"name": "bus", "topic": topic, "outputName": "subscriber"}}]});
    let deployed = Deployed::new("jetstream", function("pub", "standalone", publisher));
    let subscriber =
        json!({"triggers": {"dapr": [{"name": "bus", "topic": topic}]}, "pubsub": {"bus": bus("subscriber")}});
    deployed.namespace.apply(&function("sub", "standalone", subscriber).to_string());
    deployed.is_ready();
    deployed.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/sub", "--timeout=180s"]);
    deployed.eventually("three events", || {
        (log(&deployed, "sub").matches(r#"pubsub - Data: {"hello":"world"}"#).count() >= 3).then_some(())
    });
    let mapped = deployed.condition("Mapped")["message"].as_str().unwrap().to_owned();
    assert!(mapped.contains("it is made as pubsub.jetstream, without natsStreamingClusterID"), "{mapped}");
}

fn add_to_topic(deployed: &Deployed, topic: &str, numbers: std::ops::Range<usize>) {
    let mut kubectl = deployed.namespace.cluster.kubectl();
    kubectl.args(["-n", "openfunction-local", "exec", "-i", "deployment/kafka", "--", "kafka"]);
    kubectl.args(["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", "localhost:9092", "--topic", topic]);
    let mut producer = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    for n in numbers {
        writeln!(input, "{}", number(n)).unwrap();
    }
    drop(input);
    assert!(producer.wait().unwrap().success());
}

fn sleeps_and_is_woken_by_kafka(mode: &str) {
    let topic = unique(&format!("lag-{mode}"));
    let mut manifest = counter(mode, &topic);
    let serving = &mut manifest["spec"]["serving"];
    let brokers = format!("kafka.{BROKERS}:9092");
    serving["pubsub"]["bus"] = component(
        "pubsub.kafka",
        &[("brokers", &brokers), ("authType", "none"), ("initialOffset", "oldest"), ("consumerGroup", &topic)],
    );
    let metadata = json!({"bootstrapServers": brokers, "topic": topic, "consumerGroup": topic, "lagThreshold": "5"});
    serving["scaleOptions"] = json!({"minReplicas": 0, "maxReplicas": 2, "keda": {
        "scaledObject": {"pollingInterval": 1, "cooldownPeriod": 5}, "triggers": [{"type": "kafka", "metadata": metadata}]}});
    let deployed = Deployed::new(&format!("lag-{mode}"), manifest);
    deployed.is_ready();
    for round in 0..2 {
        add_to_topic(&deployed, &topic, round * 10..(round + 1) * 10);
        let seen = ((round + 1) * 10).to_string();
        deployed.eventually("all events", || {
            (redis_says(&deployed, &["SCARD", &format!("{topic}:seen")]) == seen).then_some(())
        });
        deployed.eventually("no pod", || (pods_of(&deployed) == 0).then_some(()));
        deployed.is_ready();
    }
}

#[test]
fn sc9_a_function_behind_the_proxy_sleeps_and_is_woken_by_the_lag_of_kafka() {
    sleeps_and_is_woken_by_kafka("standalone");
}

#[test]
fn sc9_a_function_with_sidecars_sleeps_and_is_woken_by_the_lag_of_kafka() {
    sleeps_and_is_woken_by_kafka("sidecar");
}

/// How often each number came to a path.
fn came(deployed: &Deployed, topic: &str, path: &str) -> BTreeMap<usize, usize> {
    let said = redis_says(deployed, &["HGETALL", &format!("{topic}:seen/{path}")]);
    let numbers: Vec<usize> = said.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

fn is_given_up(mode: &str) {
    let topic = unique(&format!("fails-{mode}"));
    let dead = format!("dead-{mode}-{}", std::process::id());
    let mut manifest = counter(mode, &topic);
    let serving = &mut manifest["spec"]["serving"];
    serving["params"]["FAILS"] = json!(topic);
    let retry = json!({"policy": "constant", "duration": "200ms", "maxRetries": 2});
    serving["triggers"]["dapr"] = json!([
        {"name": "bus", "topic": topic, "retry": retry, "deadLetterTopic": dead},
        {"name": "bus", "topic": dead, "inputName": "dead"}]);
    let deployed = Deployed::new(&format!("fails-{mode}"), manifest);
    deployed.is_ready();
    add_to_stream(&topic, &deployed, 0..6);
    let odd = |times: usize| [(1, times), (3, times), (5, times)].into_iter();
    deployed.eventually("dead letters", || (came(&deployed, &topic, &dead) == odd(1).collect()).then_some(()));
    let wanted: BTreeMap<_, _> = odd(3).chain([(0, 1), (2, 1), (4, 1)]).collect();
    assert_eq!(came(&deployed, &topic, &topic), wanted, "{mode}: each twice more, and those that are handled once");
    deployed.namespace.kubectl(&["delete", "function", "counter"]);
    deployed.namespace.kubectl(&["wait", "--for=delete", "components,resiliencies", "--all", "--timeout=60s"]);
}

#[test]
fn ou10_tr16_events_that_a_function_cannot_handle_are_given_up_by_way_of_the_proxy() {
    is_given_up("standalone");
}

#[test]
fn ou10_tr16_events_that_a_function_cannot_handle_are_given_up_by_way_of_sidecars() {
    is_given_up("sidecar");
}

#[test]
fn tr11_a_function_of_requests_is_called_by_events_too_also_from_zero() {
    for engine in ["native", "knative"] {
        let topic = unique(&format!("both-{engine}"));
        let mut manifest = counter("standalone", &topic);
        manifest["spec"]["serving"]["triggers"]["http"] = json!({"engine": engine});
        if engine == "knative" {
            let soon = json!({"autoscaling.knative.dev/window": "6s"});
            manifest["spec"]["serving"]["scaleOptions"] = json!({"knative": soon});
        }
        let deployed = Deployed::new(&format!("both-{engine}"), manifest);
        deployed.is_ready();
        if engine == "knative" {
            let is_proxy = |name: &String| name.contains("dapr-proxy");
            deployed.eventually("no pod", || deployed.pods().iter().all(is_proxy).then_some(()));
        }
        add_to_stream(&topic, &deployed, 0..5);
        deployed.eventually("all events", || {
            (redis_says(&deployed, &["SCARD", &format!("{topic}:seen")]) == "5").then_some(())
        });
    }
}

/// The image has functions of requests, too, and more than one.
#[test]
fn what_a_framework_says_against_being_called_by_events_is_told() {
    let serving = json!({"triggers": {"dapr": [{"name": "tick"}]},
        "bindings": {"tick": component("bindings.cron", &[("schedule", "@every 1s")])}});
    let mut manifest = function("requests", "standalone", serving);
    manifest["spec"]["image"] = json!(framework_go());
    let (_, message) = Deployed::new("sg7", manifest).fails("Error");
    assert!(message.contains("only one function is allowed in async runtime"), "{message}");
}
