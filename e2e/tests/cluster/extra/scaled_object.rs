//! A Function on engine `native` that KEDA scales.

use serde_json::json;

use crate::functions::Deployed;

#[tokio::test(flavor = "multi_thread")]
async fn triggers_scale_a_function_and_its_replicas_stay_when_they_go() {
    let mut deployed = Deployed::new("scaled-object", e2e::demo::sample("ready-image").unwrap());
    // All day, but for a minute.
    let day = json!({"timezone": "UTC", "start": "0 0 * * *", "end": "59 23 * * *", "desiredReplicas": "3"});
    let keda = json!({"triggers": [{"type": "cron", "metadata": day}], "scaledObject": {"pollingInterval": 5}});
    deployed.change(|manifest| {
        manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 1, "maxReplicas": 4, "keda": keda});
    });
    deployed.is_ready();
    deployed.namespace.kubectl(&["wait", "scaledobject", "--all", "--for=condition=Ready", "--timeout=60s"]);
    let replicas = || deployed.namespace.kubectl(&["get", "deployments", "-o", "jsonpath={.items[*].spec.replicas}"]);
    deployed.eventually("three replicas", || (replicas() == "3").then_some(()));
    deployed.is_ready();
    deployed.change(|manifest| {
        manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 1, "maxReplicas": 4});
    });
    deployed.is_ready();
    deployed.eventually("the ScaledObject goes", || {
        deployed.namespace.kubectl(&["get", "scaledobjects", "-o", "name"]).is_empty().then_some(())
    });
    deployed.is_ready();
    let replicas = deployed.namespace.kubectl(&["get", "deployments", "-o", "jsonpath={.items[*].spec.replicas}"]);
    assert_eq!(replicas, "3", "what runs goes on");
}
