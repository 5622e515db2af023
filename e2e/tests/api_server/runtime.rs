//! Shared parts of controllers against a real API server: optional APIs, unreadable objects, quietness, adoption.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use controller_runtime::{
    apply::{adopt, migrated},
    client::Clients,
    driver::{Driver, Failure},
    events::Events,
    metrics::Metrics,
    optional::{OptionalApi, OptionalApis},
    watch::Shared,
};
use e2e::api_server::{ApiServer, install_crds};
use k8s_openapi::{
    api::core::v1::ConfigMap, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    runtime::{controller::Action, watcher},
};
use openfunction_proto::{core::Function, crds};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{eventually, server};

const WIDGETS: OptionalApi = OptionalApi { group: "test.openfunction.io", version: "v1", plural: "widgets" };

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_api_is_seen_when_it_appears_and_when_it_goes() {
    let (_, client, _) = server().await;
    let apis = OptionalApis::new(&[WIDGETS]);
    let following = {
        let (apis, client) = (apis.clone(), client.clone());
        tokio::spawn(async move { apis.follow(&client).await })
    };
    let runs = Arc::new(AtomicBool::new(false));
    let working = {
        let (apis, runs) = (apis.clone(), runs.clone());
        tokio::spawn(async move {
            struct Running(Arc<AtomicBool>);
            impl Drop for Running {
                fn drop(&mut self) {
                    self.0.store(false, Ordering::SeqCst);
                }
            }
            apis.while_served(WIDGETS, || {
                let running = Running(runs.clone());
                async move {
                    running.0.store(true, Ordering::SeqCst);
                    std::future::pending().await
                }
            })
            .await
        })
    };
    apis.known().await;
    assert_eq!(apis.found_and_missing(), (vec![], vec![WIDGETS]));
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.test.openfunction.io"},
        "spec": {"group": "test.openfunction.io", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    let runs_is = |wanted: bool| {
        let runs = runs.clone();
        move || {
            let is = runs.load(Ordering::SeqCst) == wanted;
            async move { is.then_some(()) }
        }
    };
    for _ in 0..2 {
        install_crds(&client, std::slice::from_ref(&crd)).await.unwrap();
        eventually("the work starts", runs_is(true)).await;
        assert!(apis.is_served(WIDGETS));
        Api::<CustomResourceDefinition>::all(client.clone())
            .delete("widgets.test.openfunction.io", &Default::default())
            .await
            .unwrap();
        eventually("the work stops", runs_is(false)).await;
        eventually("the CRD is gone", || async {
            Api::<CustomResourceDefinition>::all(client.clone())
                .get_opt("widgets.test.openfunction.io")
                .await
                .unwrap()
                .is_none()
                .then_some(())
        })
        .await;
    }
    following.abort();
    working.abort();
}

#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

impl Failure for Refused {
    fn reason(&self) -> &'static str {
        "Refused"
    }
    fn is_temporary(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_read_gets_a_condition_and_stops_nobody() {
    // Its own server: Functions are stored that our schema would refuse.
    let server = ApiServer::start().unwrap();
    let client = server.client().await.unwrap();
    let ours = crds::all().into_iter().find(|crd| crd.spec.names.kind == "Function").unwrap();
    let mut loose = serde_json::to_value(&ours).unwrap();
    loose["spec"]["conversion"] = json!({"strategy": "None"});
    for version in loose["spec"]["versions"].as_array_mut().unwrap() {
        version["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    install_crds(&client, &[loose]).await.unwrap();
    let resource = kube::core::ApiResource::erase::<Function>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    for (name, image) in [("broken", json!(42)), ("whole", json!("a"))] {
        let object = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": name}, "spec": {"image": image}});
        raw.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let metrics = Metrics::new("guard").unwrap();
    let clients = Clients::from_config(server.config().await.unwrap(), &metrics).unwrap();
    let shared = Shared::<Function>::new(None);
    let reconciled = Arc::new(Mutex::new(Vec::new()));
    let stop = CancellationToken::new();
    let driver = Driver {
        client: clients.work.clone(),
        manager: "guard-controller",
        metrics: metrics.clone(),
        events: Events::new(clients.work.clone(), "guard-controller", "one"),
        concurrency: 2,
        owns_ready: true,
    };
    let (following, running) = {
        let (shared, driven, client, reconciled, stop) =
            (shared.clone(), shared.clone(), clients.work.clone(), reconciled.clone(), stop.clone());
        let following =
            tokio::spawn(async move { shared.follow(&client, &[], watcher::Config::default(), |_| {}).await });
        let running = tokio::spawn(async move {
            driver
                .run(
                    &driven,
                    vec![],
                    reconciled,
                    |function, reconciled| async move {
                        reconciled.lock().unwrap().push(function.name_any());
                        if function.annotations().contains_key("fail") {
                            Err(Refused)
                        } else {
                            Ok(Action::await_change())
                        }
                    },
                    stop,
                )
                .await
        });
        (following, running)
    };
    let condition = eventually("the condition", || async {
        let broken = raw.get("broken").await.unwrap();
        broken.data.pointer("/status/conditions/0").cloned()
    })
    .await;
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("Ready"), &json!("False"), &json!("Unreadable"))
    );
    assert!(condition["message"].as_str().unwrap().contains("spec.image: invalid type: integer `42`"), "{condition}");
    eventually("the neighbour is reconciled", || async {
        reconciled.lock().unwrap().contains(&"whole".to_owned()).then_some(())
    })
    .await;
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(clients.work.clone(), "default");
    eventually("the Event", || async {
        events
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .into_iter()
            .find(|e| e.reason.as_deref() == Some("Unreadable"))
    })
    .await;

    // Quiet: a look at an object makes no request; what was written above was about the broken one.
    let requests = |verb| metrics.api_requests(verb, "functions");
    let before = (requests("patch"), requests("get"), requests("list"));
    raw.patch(
        "whole",
        &PatchParams::default(),
        &Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}})),
    )
    .await
    .unwrap();
    eventually("another look", || async { (reconciled.lock().unwrap().len() >= 2).then_some(()) }).await;
    assert_eq!((requests("patch"), requests("get"), requests("list")), before);

    // A failure is counted by its reason and tried again after a pause.
    raw.patch("whole", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"annotations": {"fail": "yes"}}})))
        .await
        .unwrap();
    eventually("a second try", || async {
        metrics.text().contains(r#"reconcile_errors_total{kind="Function",reason="Refused"} 2"#).then_some(())
    })
    .await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), running).await.expect("it drains").unwrap();
    following.abort();
}

#[tokio::test]
async fn adopted_fields_that_are_left_out_go() {
    let (_, client, namespace) = server().await;
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let original =
        serde_json::from_value(json!({"metadata": {"name": "adopted"}, "data": {"old": "1", "kept": "1"}})).unwrap();
    let created = api
        .create(&PostParams { field_manager: Some("manager".to_owned()), ..PostParams::default() }, &original)
        .await
        .unwrap();
    adopt(&api, &created, &["manager"], "ours", None).await.unwrap();
    let wanted =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "adopted"}, "data": {"kept": "1"}});
    let applied = api.patch("adopted", &PatchParams::apply("ours").force(), &Patch::Apply(wanted)).await.unwrap();
    assert_eq!(applied.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["kept"]);
    assert_eq!(
        migrated(applied.metadata.managed_fields.as_deref().unwrap(), &["manager"], "ours", None),
        None,
        "nothing is left to move"
    );
    let stale = adopt(&api, &created, &["manager"], "ours", None).await.unwrap_err();
    assert!(matches!(stale, kube::Error::Api(status) if status.is_conflict()), "somebody wrote in between");
}
