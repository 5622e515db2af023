//! A Function that is scaled by CPU.

use serde_json::json;

use crate::functions::Deployed;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_left_to_the_autoscaler() {
    let mut deployed = Deployed::new("autoscaler", e2e::demo::sample("ready-image").unwrap());
    deployed.change(|manifest| manifest["spec"]["serving"]["scaleOptions"] = json!({"maxReplicas": 3}));
    deployed.is_ready();
    deployed.namespace.kubectl(&["wait", "hpa", "--all", "--for=condition=ScalingActive", "--timeout=120s"]);
    deployed
        .change(|manifest| manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 2, "maxReplicas": 3}));
    let replicas = || deployed.namespace.kubectl(&["get", "deployments", "-o", "jsonpath={.items[*].spec.replicas}"]);
    deployed.eventually("the autoscaler wants two", || (replicas() == "2").then_some(()));
    deployed.is_ready();
    // Other fields are applied again, and the replicas stay.
    deployed.namespace.kubectl(&["label", "deployments", "--all", "openfunction.io/managed-"]);
    let label = || {
        deployed.namespace.kubectl(&[
            "get",
            "deployments",
            "-o",
            r"jsonpath={.items[*].metadata.labels.openfunction\.io/managed}",
        ])
    };
    deployed.eventually("the label is back", || (label() == "true").then_some(()));
    assert_eq!(replicas(), "2");
    deployed.is_ready();
}
