//! Server-side apply that writes only on a difference, and refuses what belongs to somebody else.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Map, Value, json};

use crate::{
    contained::{self, Difference},
    names,
};

/// Annotation with the hash of what was applied, so that a field that is no longer wanted is noticed, too.
pub const APPLIED_HASH: &str = "openfunction.io/applied-hash";

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server refused the object, or could not be reached.
    #[error("cannot apply {kind} {name:?}: {source}")]
    Api {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the client says.
        source: Box<kube::Error>,
    },
    /// Another object of that name exists and is not ours; it was left alone.
    #[error("{kind} {name:?} exists and belongs to {owner}; delete or rename it")]
    NotOwned {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// Its owner, or "nobody".
        owner: String,
    },
    /// The object that was to be applied lacks apiVersion, kind or name: a defect in a builder.
    #[error("an object without {0} cannot be applied")]
    Incomplete(&'static str),
}

impl ApplyError {
    /// One stable word: condition reason, event reason and metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOwned { .. } => "NotOwned",
            Self::Api { .. } | Self::Incomplete(_) => "ApplyFailed",
        }
    }
}

/// What applying an object came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// The live object holds all that is wanted; no request was made.
    Unchanged,
    /// The object was written; this is how the API server holds it.
    Written(Box<DynamicObject>),
    /// The object does not keep what we apply: the API server's answer to our own apply differed already. It is not
    /// applied again before something else is wanted. To be shown as condition `DriftNotConverging`.
    NotConverging(Difference),
}

/// Applies objects under one field manager.
pub struct Applier {
    client: Client,
    manager: &'static str,
    /// Objects that do not keep what we apply: what we wanted (its hash), and what came of it.
    stubborn: Mutex<HashMap<Key, (String, Difference)>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Applier {
    /// An applier whose field manager is named like its binary.
    pub fn new(client: Client, manager: &'static str) -> Self {
        Self { client, manager, stubborn: Mutex::default() }
    }

    /// Makes `live` (the object in the cache, if there is one) hold all of `wanted`.
    ///
    /// `wanted` must carry apiVersion, kind and name. An existing object is only written when its controller is the
    /// one that `wanted` names (or when neither has a controller).
    ///
    /// # Errors
    /// [`ApplyError::NotOwned`] if the live object belongs to somebody else; [`ApplyError::Api`] if the API server refuses.
    pub async fn apply(&self, wanted: DynamicObject, live: Option<&Value>) -> Result<Applied, ApplyError> {
        let (resource, key) = identity(&wanted)?;
        let (wanted, hash) = stamped(wanted);
        let wanted_json = serde_json::to_value(&wanted).expect("a Kubernetes object is JSON");
        if let Some(live) = live {
            refuse_foreign(&key, wanted.owner_references(), live)?;
            match contained::difference(&wanted_json, live) {
                None => {
                    self.forget(&key);
                    return Ok(Applied::Unchanged);
                }
                Some(difference) if self.is_stubborn(&key, &hash, &difference) => {
                    return Ok(Applied::NotConverging(difference));
                }
                Some(difference) => tracing::debug!(kind = key.kind, name = key.name, %difference, "applying"),
            }
        }
        let api: Api<DynamicObject> = match &key.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let params = PatchParams::apply(self.manager).force();
        let written = api
            .patch(&key.name, &params, &Patch::Apply(&wanted_json))
            .await
            .map_err(|source| ApplyError::Api { kind: key.kind.clone(), name: key.name.clone(), source: Box::new(source) })?;
        let answer = serde_json::to_value(&written).expect("a Kubernetes object is JSON");
        Ok(match contained::difference(&wanted_json, &answer) {
            None => {
                self.forget(&key);
                Applied::Written(Box::new(written))
            }
            Some(difference) => {
                self.remember(key, hash, difference.clone());
                Applied::NotConverging(difference)
            }
        })
    }

    fn is_stubborn(&self, key: &Key, hash: &str, difference: &Difference) -> bool {
        let stubborn = self.stubborn.lock().unwrap_or_else(PoisonError::into_inner);
        stubborn.get(key).is_some_and(|(wanted, seen)| wanted == hash && seen == difference)
    }

    fn remember(&self, key: Key, hash: String, difference: Difference) {
        self.stubborn.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (hash, difference));
    }

    fn forget(&self, key: &Key) {
        self.stubborn.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

fn identity(object: &DynamicObject) -> Result<(ApiResource, Key), ApplyError> {
    let types = object.types.as_ref().ok_or(ApplyError::Incomplete("apiVersion and kind"))?;
    let gvk = GroupVersionKind::try_from(types).map_err(|_| ApplyError::Incomplete("a valid apiVersion"))?;
    let name = object.metadata.name.clone().ok_or(ApplyError::Incomplete("name"))?;
    Ok((ApiResource::from_gvk(&gvk), Key { kind: gvk.kind, namespace: object.metadata.namespace.clone(), name }))
}

/// Adds the hash of the object to its annotations.
fn stamped(mut object: DynamicObject) -> (DynamicObject, String) {
    let hash = names::hash_hex(&object)[..16].to_owned();
    object.annotations_mut().insert(APPLIED_HASH.to_owned(), hash.clone());
    (object, hash)
}

/// Force takes over what it meets, so a name that belongs to somebody else must stop us before.
fn refuse_foreign(key: &Key, ours: &[OwnerReference], live: &Value) -> Result<(), ApplyError> {
    let controller = |owners: &[OwnerReference]| owners.iter().find(|o| o.controller == Some(true)).cloned();
    let live_owners: Vec<OwnerReference> =
        serde_json::from_value(live.pointer("/metadata/ownerReferences").cloned().unwrap_or(json!([]))).unwrap_or_default();
    let (ours, theirs) = (controller(ours), controller(&live_owners));
    if ours.as_ref().map(|o| &o.uid) == theirs.as_ref().map(|o| &o.uid) {
        return Ok(());
    }
    let owner = theirs.map_or("nobody".to_owned(), |o| format!("{} {:?}", o.kind, o.name));
    Err(ApplyError::NotOwned { kind: key.kind.clone(), name: key.name.clone(), owner })
}

/// Moves fields that other managers wrote by update to our own apply entry, so that leaving them out removes them
/// (design §3; the same as client-go's `csaupgrade`).
///
/// `subresource` is `None` for the object itself and `Some("status")` for its status. Returns the new list, or `None`
/// if there is nothing to move.
pub fn migrated(fields: &[ManagedFieldsEntry], from: &[&str], to: &str, subresource: Option<&str>) -> Option<Vec<ManagedFieldsEntry>> {
    let is_part = |entry: &ManagedFieldsEntry| entry.subresource.as_deref().filter(|s| !s.is_empty()) == subresource;
    let is_old = |entry: &ManagedFieldsEntry| {
        entry.operation.as_deref() == Some("Update")
            && is_part(entry)
            && entry.manager.as_deref().is_some_and(|manager| from.contains(&manager))
    };
    let is_ours = |entry: &ManagedFieldsEntry| {
        entry.operation.as_deref() == Some("Apply") && is_part(entry) && entry.manager.as_deref() == Some(to)
    };
    let old: Vec<_> = fields.iter().filter(|entry| is_old(entry)).collect();
    let template = old.first()?;
    let mut ours = fields.iter().find(|entry| is_ours(entry)).cloned().unwrap_or_else(|| ManagedFieldsEntry {
        manager: Some(to.to_owned()),
        operation: Some("Apply".to_owned()),
        fields_v1: Some(FieldsV1(json!({}))),
        ..(*template).clone()
    });
    let mut union = ours.fields_v1.take().map_or(json!({}), |f| f.0);
    for entry in &old {
        merge(&mut union, entry.fields_v1.as_ref().map_or(&Value::Null, |f| &f.0));
    }
    ours.fields_v1 = Some(FieldsV1(union));
    let rest = fields.iter().filter(|entry| !is_old(entry) && !is_ours(entry)).cloned();
    Some(std::iter::once(ours).chain(rest).collect())
}

fn merge(into: &mut Value, from: &Value) {
    let Value::Object(from) = from else { return };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, value) in from {
        merge(&mut into[key], value);
    }
}

/// Writes what [`migrated`] found. Does nothing, and makes no request, if there is nothing to move.
///
/// # Errors
/// What the API server answers; a conflict if the object has changed since it was read.
pub async fn adopt<K>(api: &Api<K>, object: &K, from: &[&str], to: &'static str, subresource: Option<&str>) -> kube::Result<()>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let fields = object.meta().managed_fields.as_deref().unwrap_or_default();
    let Some(fields) = migrated(fields, from, to, subresource) else { return Ok(()) };
    let patch: kube::core::params::Patch<()> = Patch::Json(
        serde_json::from_value(json!([
            { "op": "replace", "path": "/metadata/managedFields", "value": fields },
            // A conflict if somebody wrote in between.
            { "op": "replace", "path": "/metadata/resourceVersion", "value": object.resource_version() },
        ]))
        .expect("the literal is a JSON patch"),
    );
    api.patch_metadata(&object.name_any(), &PatchParams::default(), &patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
