//! Builds whose pod does not do what it should.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use openfunction_proto::core::Builder;
use serde_json::json;

use super::{Which, World};
use crate::support::eventually;

/// BU20: as when the node of the pod is gone.
#[tokio::test(flavor = "multi_thread")]
async fn bu20_a_build_whose_pod_does_not_end_is_cancelled_all_the_same() {
    let world = World::new().await;
    let running = world.start(Which::Builder).await;
    let build = json!({"dockerfile": "Dockerfile", "srcRepo": {"url": "https://git.example.com/a.git"}});
    let mut spec = build;
    spec["image"] = json!("registry.example.com/a:v1");
    world
        .apply_object(&json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Builder", "metadata": {"name": "stuck"}, "spec": spec}))
        .await;
    let pods: Api<Pod> = world.api();
    let pod = eventually("the pod", || async { pods.list(&ListParams::default()).await.unwrap().items.pop() }).await;
    let held = |finalizers: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    pods.patch(&pod.name_any(), &PatchParams::default(), &held(&["test.dev/node-is-gone"])).await.unwrap();
    pods.delete(&pod.name_any(), &DeleteParams::default()).await.unwrap();
    let builders: Api<Builder> = world.api();
    let status = || async { builders.get("stuck").await.unwrap().status.unwrap_or_default() };
    eventually("it waits for the pod", || async {
        status().await.message.filter(|message| message.contains("waiting for the end of pod"))
    })
    .await;
    let cancelled = Patch::Merge(json!({"spec": {"state": "Cancelled"}}));
    builders.patch("stuck", &PatchParams::default(), &cancelled).await.unwrap();
    eventually("it is cancelled", || async { (status().await.state.as_deref() == Some("Canceled")).then_some(()) })
        .await;
    pods.patch(&pod.name_any(), &PatchParams::default(), &held(&[])).await.unwrap();
    running.end().await;
}
