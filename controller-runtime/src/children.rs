//! Objects that a controller makes for another object: their metadata, and how they are found again.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Resource, ResourceExt,
    api::{DynamicObject, ObjectMeta},
    runtime::reflector::ObjectRef,
};
use openfunction_proto::core::{Function, Serving};
use serde::Serialize;
use serde_json::Value;

use crate::watch::{Shared, Watched};

/// Label with the controller that made an object; it watches the objects that carry its name.
pub const MANAGED_BY: &str = "openfunction.io/managed-by";
/// Label with the Function that an object belongs to.
pub const FUNCTION: &str = "openfunction.io/function";
/// Label with the Builder that an object belongs to.
pub const BUILDER: &str = "openfunction.io/builder";
/// Label with the Serving that an object belongs to.
pub const SERVING: &str = "openfunction.io/serving";

/// The selector of a controller's own objects.
pub fn selector(controller: &str) -> String {
    format!("{MANAGED_BY}={controller}")
}

/// Metadata of a child: in the namespace of its owner, which it goes with, and with the labels that find it again.
///
/// # Panics
/// If the owner has no name or uid: it was not read from the API server.
pub fn metadata<K: Resource<DynamicType = ()>>(
    owner: &K,
    name: impl Into<String>,
    controller: &str,
    labels: &[(&str, &str)],
) -> ObjectMeta {
    let owned = owner.controller_owner_ref(&()).expect("the owner was read from the API server");
    let own = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ObjectMeta {
        name: Some(name.into()),
        namespace: owner.namespace(),
        labels: Some(own.chain([(MANAGED_BY.to_owned(), controller.to_owned())]).collect::<BTreeMap<_, _>>()),
        // A deletion in the foreground waits for the child.
        owner_references: Some(vec![OwnerReference { block_owner_deletion: Some(true), ..owned }]),
        ..ObjectMeta::default()
    }
}

/// A typed object in the form that is applied.
///
/// # Panics
/// Never: a Kubernetes object is JSON.
pub fn dynamic(object: &impl Serialize) -> DynamicObject {
    serde_json::from_value(json(object)).expect("a Kubernetes object has metadata")
}

/// An object as JSON.
///
/// # Panics
/// Never: a Kubernetes object is JSON.
pub fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("a Kubernetes object is JSON")
}

/// The live object of a name, as JSON for [`crate::apply::Applier::apply`].
pub fn live<K: Watched + Serialize>(shared: &Shared<K>, namespace: &str, name: &str) -> Option<Value> {
    shared.store().get(&ObjectRef::new(name).within(namespace)).map(|object| json(&*object))
}

/// The objects that an owner controls, in the order of their names.
pub fn owned<K: Watched, O: Resource<DynamicType = ()>>(shared: &Shared<K>, owner: &O) -> Vec<Arc<K>> {
    let mut owned = shared.owned().get(&owner.uid().unwrap_or_default());
    owned.retain(|object| object.namespace() == owner.namespace());
    owned.sort_by_key(|object| object.name_any());
    owned
}

/// Whether the original OpenFunction has made a revision of a Function: it labels nothing with who manages it
/// (core-api §10.1).
pub fn is_of_the_original(serving: &Serving) -> bool {
    !serving.labels().contains_key(MANAGED_BY) && !controller::<_, Function>(serving).is_empty()
}

/// The owner that controls an object, if it is of kind `O`: what a trigger of a child names.
pub fn controller<K: Resource, O: Resource<DynamicType = ()>>(child: &K) -> Vec<ObjectRef<O>> {
    let owner = child.owner_references().iter().find(|o| o.controller == Some(true) && o.kind == O::kind(&()));
    let namespace = child.namespace().unwrap_or_default();
    owner.map(|o| ObjectRef::new(&o.name).within(&namespace)).into_iter().collect()
}
