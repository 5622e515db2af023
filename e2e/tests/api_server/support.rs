//! What several tests need.

use std::time::Duration;

use e2e::api_server::ApiServer;
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind, Status, TypeMeta},
};
use serde_json::Value;

/// Time in which a condition must come about; far more than it takes.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// The shared server, a client that may do everything, and a namespace of one's own.
pub async fn server() -> (&'static ApiServer, Client, String) {
    let server = ApiServer::shared();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(&client).await.unwrap();
    (server, client, namespace)
}

/// The API of an object's kind. Cluster-scoped kinds are asked for without a namespace.
pub async fn api_of(client: &Client, object: &Value, namespace: &str) -> Api<DynamicObject> {
    let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
    let gvk = GroupVersionKind::try_from(&types).unwrap();
    let (resource, capabilities) =
        kube::discovery::pinned_kind(client, &gvk).await.unwrap_or_else(|error| panic!("{gvk:?}: {error}"));
    let resource: ApiResource = resource;
    match capabilities.scope {
        kube::discovery::Scope::Cluster => Api::all_with(client.clone(), &resource),
        kube::discovery::Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// Creates an object without storing it; what the API server says of it.
pub async fn try_out(api: &Api<DynamicObject>, object: &Value) -> Result<DynamicObject, Box<Status>> {
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &object).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("{error}"),
    }
}

/// Waits until a check gives a value.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking)
        .await
        .unwrap_or_else(|_| panic!("{what} did not come about within {DEADLINE:?}"))
}

/// Sets the value at a JSON pointer, making objects on the way.
pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for key in pointer.split('/').skip(1) {
        place = match key.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[&key.replace("~1", "/")],
        };
    }
    *place = value;
}

/// Takes the field at a JSON pointer away.
pub fn remove(object: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
}
