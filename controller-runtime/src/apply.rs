//! Server-side apply that writes only on a difference, and refuses what belongs to somebody else.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Map, Value, json};

use crate::{
    backoff::{self, LONGEST_PAUSE},
    contained::{self, Difference},
    names,
};

/// Prefix of the annotation with the hash of what was applied, so that a field that is no longer wanted is noticed,
/// too. Behind it stands the field manager, since several may apply to one object (design §3).
pub const APPLIED_PREFIX: &str = "applied.openfunction.io/";

/// Pause after an object did not keep what we applied; it doubles with each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Objects of which it is remembered how we last applied them.
const REMEMBERED: usize = 10_000;

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
    /// The live object holds all that is wanted, or the cache has not seen our last write yet; no request was made.
    Unchanged,
    /// The object was written; this is how the API server holds it.
    Written(Box<DynamicObject>),
    /// The object does not keep what we apply: the API server's answer differs, or somebody else changes it back. To
    /// be shown as condition `DriftNotConverging`. It is applied again when something else is wanted, and after a pause
    /// that grows each time.
    NotConverging {
        /// What it does not keep. For a Secret without the values.
        difference: Difference,
        /// When it is worth another try; `None` if only another wish can help.
        retry_after: Option<Duration>,
    },
}

/// Applies objects under one field manager.
pub struct Applier {
    client: Client,
    manager: String,
    /// How each object was last applied.
    last: Mutex<HashMap<Key, Last>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

/// Our last apply of an object.
#[derive(Clone, Debug)]
struct Last {
    /// Hash of what was wanted.
    hash: String,
    /// What was not as wanted before it.
    difference: Difference,
    /// The API server's answer did not hold it either.
    refused: bool,
    /// resourceVersion of the object before it.
    version: Option<String>,
    at: Instant,
    /// How often the same was applied in a row.
    times: u32,
}

impl Applier {
    /// An applier whose field manager is named like its binary, or like the owner that it applies for.
    pub fn new(client: Client, manager: impl Into<String>) -> Self {
        Self { client, manager: manager.into(), last: Mutex::default() }
    }

    /// Makes `live` (the object in the cache, if there is one) hold all of `wanted`.
    ///
    /// `wanted` must carry apiVersion, kind and name. An existing object is only written when its controller is the
    /// one that `wanted` names (or when neither has a controller). No request is made when nothing differs.
    ///
    /// # Errors
    /// [`ApplyError::NotOwned`] if the object belongs to somebody else; [`ApplyError::Api`] if the API server refuses.
    pub async fn apply(&self, wanted: DynamicObject, live: Option<&Value>) -> Result<Applied, ApplyError> {
        let (resource, key) = identity(&wanted)?;
        let (wanted, hash) = self.stamped(wanted);
        let mut wanted_json = to_json(&wanted);
        let api: Api<DynamicObject> = match &key.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let failed =
            |source| ApplyError::Api { kind: key.kind.clone(), name: key.name.clone(), source: Box::new(source) };
        // What is not in the cache may exist all the same: the cache may be late, or hold only what has our label.
        let found = match live {
            Some(_) => None,
            None => api.get_opt(&key.name).await.map_err(failed)?.as_ref().map(to_json),
        };
        let mut params = PatchParams::apply(&self.manager);
        let (mut before, mut version) = (None, None);
        if let Some(live) = live.or(found.as_ref()) {
            refuse_foreign(&key, wanted.owner_references(), live)?;
            let Some(difference) = contained::difference(&wanted_json, live) else {
                self.forget(&key);
                return Ok(Applied::Unchanged);
            };
            let difference = without_secrets(&key, difference);
            version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned);
            match self.hold_back(&key, &hash, &difference, version.as_deref()) {
                Hold::No => {}
                Hold::CacheIsLate => return Ok(Applied::Unchanged),
                Hold::NotConverging(retry_after) => return Ok(Applied::NotConverging { difference, retry_after }),
            }
            tracing::debug!(kind = key.kind, name = key.name, %difference, "applying");
            // Another object of the same name is a conflict, and is left alone.
            wanted_json["metadata"]["uid"] = live.pointer("/metadata/uid").cloned().unwrap_or_default();
            params = params.force();
            before = Some(difference);
        }
        let written = api.patch(&key.name, &params, &Patch::Apply(&wanted_json)).await.map_err(failed)?;
        let refused = contained::difference(&wanted_json, &to_json(&written)).map(|d| without_secrets(&key, d));
        if let Some(difference) = refused.clone().or(before) {
            self.remember(key, hash, difference, refused.is_some(), version);
        }
        Ok(match refused {
            None => Applied::Written(Box::new(written)),
            Some(difference) => Applied::NotConverging { difference, retry_after: None },
        })
    }

    /// Whether applying the same again is of no use now.
    fn hold_back(&self, key: &Key, hash: &str, difference: &Difference, version: Option<&str>) -> Hold {
        let last = self.lock();
        let Some(last) = last.get(key).filter(|last| last.hash == hash) else { return Hold::No };
        if last.refused {
            return if last.difference == *difference { Hold::NotConverging(None) } else { Hold::No };
        }
        if version.is_some() && last.version.as_deref() == version {
            return Hold::CacheIsLate;
        }
        // Whatever differs now: somebody does not want it as we do.
        let left = backoff::pause(FIRST_PAUSE, last.times - 1).saturating_sub(last.at.elapsed());
        if left.is_zero() { Hold::No } else { Hold::NotConverging(Some(left)) }
    }

    fn remember(&self, key: Key, hash: String, difference: Difference, refused: bool, version: Option<String>) {
        let mut all = self.lock();
        let same = all.get(&key).filter(|last| last.hash == hash && last.at.elapsed() < 2 * LONGEST_PAUSE);
        let times = same.map_or(0, |last| last.times).saturating_add(1);
        if all.len() >= REMEMBERED {
            all.retain(|_, last| last.at.elapsed() < LONGEST_PAUSE);
        }
        all.insert(key, Last { hash, difference, refused, version, at: Instant::now(), times });
    }

    /// The object is as we want it. That somebody changed it a while ago is remembered: they may do so again.
    fn forget(&self, key: &Key) {
        let mut all = self.lock();
        if all.get(key).is_some_and(|last| last.refused || last.at.elapsed() > LONGEST_PAUSE) {
            all.remove(key);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the hash of the object to its annotations.
    fn stamped(&self, mut object: DynamicObject) -> (DynamicObject, String) {
        let hash = names::hash_hex(&object)[..16].to_owned();
        let annotation = format!("{APPLIED_PREFIX}{}", self.manager.replace(':', "."));
        object.annotations_mut().insert(annotation, hash.clone());
        (object, hash)
    }
}

/// Whether an apply waits.
enum Hold {
    No,
    /// The cache shows the object as it was before our last write.
    CacheIsLate,
    /// The object does not keep what we apply; then, when to try again.
    NotConverging(Option<Duration>),
}

fn to_json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("a Kubernetes object is JSON")
}

/// A difference in a Secret is told without the values: it goes to logs and conditions.
fn without_secrets(key: &Key, difference: Difference) -> Difference {
    if key.kind != "Secret" {
        return difference;
    }
    let hidden = || "(hidden)".to_owned();
    Difference { wanted: hidden(), found: difference.found.map(|_| hidden()), path: difference.path }
}

fn identity(object: &DynamicObject) -> Result<(ApiResource, Key), ApplyError> {
    let types = object.types.as_ref().ok_or(ApplyError::Incomplete("apiVersion and kind"))?;
    let gvk = GroupVersionKind::try_from(types).map_err(|_| ApplyError::Incomplete("a valid apiVersion"))?;
    let name = object.metadata.name.clone().ok_or(ApplyError::Incomplete("name"))?;
    let resource = ApiResource::from_gvk(&gvk);
    let namespace = object.metadata.namespace.clone();
    Ok((resource, Key { group: gvk.group, kind: gvk.kind, namespace, name }))
}

/// Force takes over what it meets, so a name that belongs to somebody else must stop us before.
fn refuse_foreign(key: &Key, ours: &[OwnerReference], live: &Value) -> Result<(), ApplyError> {
    let controller = |owners: &[OwnerReference]| owners.iter().find(|o| o.controller == Some(true)).cloned();
    let live_owners: Vec<OwnerReference> =
        serde_json::from_value(live.pointer("/metadata/ownerReferences").cloned().unwrap_or(json!([])))
            .unwrap_or_default();
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
pub fn migrated(
    fields: &[ManagedFieldsEntry],
    from: &[&str],
    to: &str,
    subresource: Option<&str>,
) -> Option<Vec<ManagedFieldsEntry>> {
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

/// Writes what [`migrated`] found. Does nothing, and makes no request, if there is nothing to move. The object must be
/// one that was just read: those of a [`crate::watch::Shared`] have no managed fields.
///
/// # Errors
/// What the API server answers; a conflict if the object has changed since it was read.
pub async fn adopt<K>(
    api: &Api<K>,
    object: &K,
    from: &[&str],
    to: &'static str,
    subresource: Option<&str>,
) -> kube::Result<()>
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
#[path = "apply_tests.rs"]
mod tests;
