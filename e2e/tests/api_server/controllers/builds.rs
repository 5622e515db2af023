//! Builds whose pod does not do what it should.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use openfunction_proto::core::Builder;
use serde_json::json;

use super::{StandIn, Which, World};
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

#[tokio::test(flavor = "multi_thread")]
async fn of_many_builds_at_once_ten_run_the_others_wait_and_none_is_lost() {
    let world = World::new().await;
    let running = world.start(Which::Builder).await;
    let made = (0..25).map(|index| {
        let spec = json!({"image": "registry.example.com/a:v1", "dockerfile": "Dockerfile", "srcRepo": {"url": "https://git.example.com/a.git"}});
        let builder = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Builder", "metadata": {"name": format!("b{index:02}")}, "spec": spec});
        let world = &world;
        async move { world.apply_object(&builder).await }
    });
    futures::future::join_all(made).await;
    let (pods, builders): (Api<Pod>, Api<Builder>) = (world.api(), world.api());
    let reasons = || async {
        let builders = builders.list(&ListParams::default()).await.unwrap().items;
        builders.iter().filter_map(|builder| builder.status.as_ref()?.reason.clone()).collect::<Vec<_>>()
    };
    let queued = |reasons: &[String]| reasons.iter().filter(|reason| *reason == "Queued").count();
    eventually("fifteen wait", || async { (queued(&reasons().await) == 15).then_some(()) }).await;
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 10);

    // One that is deleted gives up its place, too.
    let first = pods.list(&ListParams::default()).await.unwrap().items.pop().unwrap();
    let of_first = first.owner_references().first().unwrap().name.clone();
    builders.delete(&of_first, &DeleteParams::default()).await.unwrap();
    pods.delete(&first.name_any(), &DeleteParams::default()).await.unwrap();
    eventually("the next begins", || async { (queued(&reasons().await) == 14).then_some(()) }).await;

    let most = std::sync::atomic::AtomicUsize::new(0);
    let _stand_in = StandIn::start(&world);
    eventually("all have ended", || async {
        let all = pods.list(&ListParams::default()).await.unwrap().items;
        let at_work =
            all.iter().filter(|pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Succeeded"));
        most.fetch_max(at_work.count(), std::sync::atomic::Ordering::Relaxed);
        let reasons = reasons().await;
        (reasons.len() == 24 && reasons.iter().all(|reason| reason == "Succeeded")).then_some(())
    })
    .await;
    assert!(most.into_inner() <= 10, "more builds ran at once");
    running.end().await;
}
