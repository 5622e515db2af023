//! "Contained in": an object that was applied once is equal on the second look, for every kind that we write.

use controller_runtime::{
    apply::{Applied, Applier},
    contained::difference,
};
use e2e::{
    api_server::install_crds,
    parts::{documents, foreign_crds},
};
use serde_json::{Value, json};

use crate::support::{api_of, server};

/// Objects with awkward values: quantities, durations, ports and empty maps in spellings that the API server changes.
const OBJECTS: &str = include_str!("awkward.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_equal_on_the_second_look() {
    let (_, client, namespace) = server().await;
    let mut crds = foreign_crds().unwrap();
    for crd in &mut crds {
        // Nobody converts here.
        crd["spec"].as_object_mut().unwrap().remove("conversion");
        crd["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    }
    install_crds(&client, &crds).await.unwrap();
    let objects = documents(OBJECTS).unwrap();
    assert!(objects.len() >= 25, "only {} kinds", objects.len());
    let applier = Applier::new(client.clone(), "contained-test");
    for mut object in objects {
        let kind = object["kind"].as_str().unwrap().to_owned();
        object["metadata"] = json!({"name": format!("awkward-{}", kind.to_lowercase()), "labels": {}, "annotations": object["metadata"]["annotations"]});
        let api = api_of(&client, &object, &namespace).await;
        if !api.resource_url().contains("/namespaces/") {
            object["metadata"]["name"] = json!(format!("{namespace}-{}", kind.to_lowercase()));
        } else {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let wanted = serde_json::from_value(object.clone()).unwrap();
        let first = applier.apply(wanted, None).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(matches!(first, Applied::Written(_)), "{kind}: {first:?}");
        let live = serde_json::to_value(api.get(object["metadata"]["name"].as_str().unwrap()).await.unwrap()).unwrap();
        assert_eq!(difference(&object, &live), None, "{kind}");
        let second = applier.apply(serde_json::from_value(object.clone()).unwrap(), Some(&live)).await.unwrap();
        assert_eq!(second, Applied::Unchanged, "{kind}");
    }
}

fn service(namespace: &str, port: i64) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "drifting", "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": port}], "selector": {"app": "a"}}})
}

#[tokio::test]
async fn drift_is_repaired_and_a_field_that_is_no_longer_wanted_goes() {
    let (_, client, namespace) = server().await;
    let applier = Applier::new(client.clone(), "drift-test");
    let api = api_of(&client, &service(&namespace, 80), &namespace).await;
    let live = async || serde_json::to_value(api.get("drifting").await.unwrap()).unwrap();
    applier.apply(serde_json::from_value(service(&namespace, 80)).unwrap(), None).await.unwrap();
    api.patch("drifting", &Default::default(), &kube::api::Patch::Merge(json!({"spec": {"selector": {"app": "b"}}})))
        .await
        .unwrap();
    let repaired =
        applier.apply(serde_json::from_value(service(&namespace, 80)).unwrap(), Some(&live().await)).await.unwrap();
    assert!(matches!(repaired, Applied::Written(_)));
    assert_eq!(live().await["spec"]["selector"]["app"], "a");
    let mut less = service(&namespace, 80);
    less["spec"]["selector"] = json!({});
    applier.apply(serde_json::from_value(less).unwrap(), Some(&live().await)).await.unwrap();
    assert!(live().await["spec"].get("selector").is_none());
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let (_, client, namespace) = server().await;
    let api = api_of(&client, &service(&namespace, 80), &namespace).await;
    api.create(&Default::default(), &serde_json::from_value(service(&namespace, 80)).unwrap()).await.unwrap();
    let live = serde_json::to_value(api.get("drifting").await.unwrap()).unwrap();
    let mut ours = service(&namespace, 81);
    ours["metadata"]["ownerReferences"] = json!([{"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "name": "f", "uid": "u", "controller": true}]);
    let refused = Applier::new(client.clone(), "owner-test")
        .apply(serde_json::from_value(ours).unwrap(), Some(&live))
        .await
        .unwrap_err();
    assert_eq!(
        (refused.reason(), refused.to_string().as_str()),
        ("NotOwned", r#"Service "drifting" exists and belongs to nobody; delete or rename it"#)
    );
    assert_eq!(api.get("drifting").await.unwrap().data["spec"]["ports"][0]["port"], 80);
}

/// The status of a Function is applied through the main resource, where the API server ignores it.
#[tokio::test]
async fn an_object_that_does_not_keep_what_we_apply_is_applied_once() {
    let (_, client, namespace) = server().await;
    let object = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "stubborn", "namespace": namespace},
        "spec": {"image": "a", "serving": {}}, "status": {"observedGeneration": 7}});
    let applier = Applier::new(client.clone(), "stubborn-test");
    let first = applier.apply(serde_json::from_value(object.clone()).unwrap(), None).await.unwrap();
    let Applied::NotConverging { difference, .. } = first else { panic!("{first:?}") };
    assert_eq!(difference.path, "status");
    let api = api_of(&client, &object, &namespace).await;
    let live = api.get("stubborn").await.unwrap();
    let second = applier
        .apply(serde_json::from_value(object.clone()).unwrap(), Some(&serde_json::to_value(&live).unwrap()))
        .await
        .unwrap();
    assert!(matches!(second, Applied::NotConverging { retry_after: None, .. }));
    assert_eq!(
        api.get("stubborn").await.unwrap().metadata.resource_version,
        live.metadata.resource_version,
        "no second write"
    );
}
