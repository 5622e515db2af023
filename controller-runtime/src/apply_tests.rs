use http::Method;

use super::*;
use crate::testing::FakeApi;

fn entry(manager: &str, operation: &str, subresource: Option<&str>, fields: Value) -> ManagedFieldsEntry {
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        operation: Some(operation.to_owned()),
        subresource: subresource.map(str::to_owned),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }
}

#[test]
fn fields_written_by_update_become_ours() {
    let fields = [
        entry("manager", "Update", None, json!({"f:spec": {"f:image": {}}})),
        entry("kubectl", "Update", None, json!({"f:spec": {"f:version": {}}})),
        entry("ours", "Apply", None, json!({"f:spec": {"f:port": {}}})),
        entry("manager", "Update", Some("status"), json!({"f:status": {}})),
    ];
    let moved = migrated(&fields, &["manager"], "ours", None).unwrap();
    assert_eq!(moved.len(), 3);
    assert_eq!(moved[0].fields_v1.as_ref().unwrap().0, json!({"f:spec": {"f:image": {}, "f:port": {}}}));
    assert_eq!(moved[0].operation.as_deref(), Some("Apply"));
    let status = migrated(&fields, &["manager"], "ours", Some("status")).unwrap();
    assert_eq!(status[0].subresource.as_deref(), Some("status"));
}

#[test]
fn nothing_to_move_is_none() {
    assert_eq!(migrated(&[entry("ours", "Apply", None, json!({}))], &["manager"], "ours", None), None);
}

const PATH: &str = "/api/v1/namespaces/shop/configmaps/settings";

fn wanted(value: &str) -> DynamicObject {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}, "data": {"key": value}});
    serde_json::from_value(object).unwrap()
}

/// The object as the API server holds it after we applied it.
fn held(applier: &Applier, value: &str) -> Value {
    let mut held = to_json(&applier.stamped(wanted(value)).0);
    held["metadata"]["uid"] = json!("u");
    held
}

#[tokio::test]
async fn an_unchanged_object_makes_no_request() {
    let api = FakeApi::new();
    let applier = Applier::new(api.client(), "test-controller");
    let live = held(&applier, "a");
    assert_eq!(applier.apply(wanted("a"), Some(&live)).await.unwrap(), Applied::Unchanged);
    assert!(api.finish().is_empty());
}

#[tokio::test]
async fn a_changed_object_is_written_once_with_its_uid() {
    let api = FakeApi::new();
    let applier = Applier::new(api.client(), "test-controller");
    let (old, new) = (held(&applier, "a"), held(&applier, "b"));
    let api = api.expect(Method::PATCH, PATH, new);
    assert!(matches!(applier.apply(wanted("b"), Some(&old)).await.unwrap(), Applied::Written(_)));
    let seen = api.finish();
    assert!(
        seen[0].line.contains("force=true") && seen[0].line.contains("fieldManager=test-controller"),
        "{}",
        seen[0].line
    );
    assert_eq!(seen[0].body["metadata"]["uid"], "u");
}

#[tokio::test]
async fn an_object_that_the_cache_lacks_is_looked_for_and_not_taken_over() {
    let mut foreign = to_json(&wanted("theirs"));
    foreign["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Owner", "name": "o", "uid": "x", "controller": true}]);
    let api = FakeApi::new().expect(Method::GET, PATH, foreign);
    let applier = Applier::new(api.client(), "test-controller");
    let refused = applier.apply(wanted("ours"), None).await.unwrap_err();
    assert_eq!(refused.to_string(), r#"ConfigMap "settings" exists and belongs to Owner "o"; delete or rename it"#);
    assert_eq!(api.finish().len(), 1);
}

#[tokio::test]
async fn an_object_that_does_not_exist_is_made_without_force() {
    let api = FakeApi::new().expect_failure(Method::GET, PATH, 404, "NotFound");
    let applier = Applier::new(api.client(), "test-controller");
    let api = api.expect(Method::PATCH, PATH, held(&applier, "a"));
    assert!(matches!(applier.apply(wanted("a"), None).await.unwrap(), Applied::Written(_)));
    assert!(!api.finish()[1].line.contains("force=true"));
}

#[tokio::test]
async fn somebody_who_changes_an_object_back_is_not_fought_without_pause() {
    let api = FakeApi::new();
    let applier = Applier::new(api.client(), "test-controller");
    let (mut theirs, ours) = (held(&applier, "ours"), held(&applier, "ours"));
    theirs["data"]["key"] = json!("theirs");
    let api = api.expect(Method::PATCH, PATH, ours.clone()).expect(Method::PATCH, PATH, ours);
    theirs["metadata"]["resourceVersion"] = json!("1");
    assert!(matches!(applier.apply(wanted("ours"), Some(&theirs)).await.unwrap(), Applied::Written(_)));
    let late = applier.apply(wanted("ours"), Some(&theirs)).await.unwrap();
    assert_eq!(late, Applied::Unchanged, "the cache has not seen the write yet");
    // Changed back, each time in another way.
    theirs["metadata"]["resourceVersion"] = json!("3");
    theirs["data"]["key"] = json!("theirs again");
    let second = applier.apply(wanted("ours"), Some(&theirs)).await.unwrap();
    assert!(matches!(second, Applied::Later(pause) if pause <= FIRST_PAUSE), "{second:?}");
    // After the pause it is written again; then changed back once more.
    applier.lock().values_mut().for_each(|last| last.at -= FIRST_PAUSE);
    let third = applier.apply(wanted("ours"), Some(&theirs)).await.unwrap();
    assert!(matches!(third, Applied::Written(_)), "{third:?}");
    theirs["metadata"]["resourceVersion"] = json!("5");
    let fourth = applier.apply(wanted("ours"), Some(&theirs)).await.unwrap();
    let Applied::NotConverging { difference, retry_after: Some(pause) } = fourth else { panic!("{fourth:?}") };
    assert_eq!(difference.path, "data.key");
    assert!(pause > FIRST_PAUSE && pause <= 2 * FIRST_PAUSE, "{pause:?}");
    api.finish();
}

#[tokio::test]
async fn the_values_of_a_secret_are_not_told() {
    let mut secret = wanted("new");
    secret.types.as_mut().unwrap().kind = "Secret".to_owned();
    let mut live = to_json(&secret);
    live["data"]["key"] = json!("old");
    let api = FakeApi::new().expect(Method::PATCH, "/api/v1/namespaces/shop/secrets/settings", live.clone());
    let applier = Applier::new(api.client(), "test-controller");
    let told = format!("{:?}", applier.apply(secret, Some(&live)).await.unwrap());
    assert!(told.contains("(hidden)") && !told.contains("old"), "{told}");
    api.finish();
}

#[tokio::test]
async fn what_is_found_invalid_is_not_sent_again_at_once() {
    let api = FakeApi::new();
    let applier = Applier::new(api.client(), "test-controller");
    let live = held(&applier, "a");
    let api =
        api.expect_failure(Method::PATCH, PATH, 422, "Invalid").expect_failure(Method::PATCH, PATH, 422, "Invalid");
    let api = api.expect(Method::PATCH, PATH, held(&applier, "c"));
    for _ in 0..3 {
        assert!(applier.apply(wanted("b"), Some(&live)).await.unwrap_err().is_invalid());
    }
    // After the pause it is; and something else at once.
    applier.refusals.wait(Duration::from_secs(1));
    for _ in 0..2 {
        assert!(applier.apply(wanted("b"), Some(&live)).await.unwrap_err().is_invalid());
    }
    assert!(matches!(applier.apply(wanted("c"), Some(&live)).await.unwrap(), Applied::Written(_)));
    assert_eq!(api.finish().len(), 3);
}
