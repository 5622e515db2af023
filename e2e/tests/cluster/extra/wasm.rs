//! Functions that run as WebAssembly, with a real runtime on the node.

use std::time::Duration;

use e2e::local::registry::OPEN;
use serde_json::{Value, json};

use super::async_functions::{BROKERS, component, redis_says};
use crate::{
    functions::{Deployed, GATEWAY},
    support::client,
};

/// A Function of the component that sends back what it gets on `/echo`.
fn echo(serving: Value) -> Value {
    let container = json!({"name": "function", "command": ["/echo.wasm"],
        "livenessProbe": {"tcpSocket": {"port": 8080}, "initialDelaySeconds": 3, "periodSeconds": 30}});
    let mut manifest = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "echo"},
        "spec": {"workloadRuntime": "wasmedge", "image": format!("{OPEN}/samples/wasm-echo:1"), "serving": serving}});
    manifest["spec"]["serving"]["template"] = json!({"containers": [container]});
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn wa5_to_wa9_a_component_answers_on_every_engine_also_from_zero() {
    for engine in ["native", "knative"] {
        let manifest = echo(json!({"triggers": {"http": {"port": 8080, "engine": engine}},
            "scaleOptions": {"minReplicas": 0, "knative": {"autoscaling.knative.dev/window": "6s"}}}));
        let deployed = Deployed::new(&format!("wasm-{engine}"), manifest);
        deployed.is_ready();
        deployed.is_served("/").await;
        if engine == "knative" {
            deployed.eventually("no pod", || deployed.pods().is_empty().then_some(()));
        }
        let request = client().post(format!("{GATEWAY}/echo")).header("Host", deployed.external_host());
        // A new pod compiles the component first.
        let answer = request.timeout(Duration::from_secs(60)).body("WasmEdge").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "WasmEdge"), "{engine}");
        let class = "jsonpath={.items[0].spec.runtimeClassName}";
        assert_eq!(deployed.namespace.kubectl(&["get", "pods", "-o", class]), "openfunction-crun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wa13_a_component_gets_events_by_the_proxy() {
    let redis_host = ("redisHost", &*format!("redis.{BROKERS}:6379"));
    let bus = component("pubsub.redis", &[redis_host, ("redisPassword", "")]);
    let deployed = Deployed::new(
        "wasm-events",
        echo(json!({"annotations": {"dapr.io/app-protocol": "http"}, "pubsub": {"bus": bus},
            "triggers": {"dapr": [{"name": "bus", "topic": "wasm-events"}]}})),
    );
    deployed.is_ready();
    let event = r#"{"specversion": "1.0", "type": "t", "source": "s", "id": "1", "data": "an event for wasm"}"#;
    redis_says(&deployed, &["XADD", "wasm-events", "*", "data", event]);
    deployed.eventually("the event in the component's output", || {
        let printed = deployed.namespace.kubectl(&["logs", "-l", "openfunction.io/function=echo", "--tail=-1"]);
        printed.contains("an event for wasm").then_some(())
    });
}
