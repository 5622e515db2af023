//! Server-side apply that writes only on a difference, and refuses what belongs to somebody else.

mod refusals;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, OwnerReference};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
    core::{ApiResource, GroupVersionKind},
    runtime::controller::Action,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::refusals::Refusals;
use crate::{
    backoff::{self, LONGEST_PAUSE},
    client::{objects, told},
    contained::{self, Difference},
    driver::Failure,
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
    #[error("cannot apply {kind} {name:?}: {}", told(source))]
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
    /// The API server refused to delete the object, or could not be reached.
    #[error("cannot delete {kind} {name:?}: {}", told(source))]
    Delete {
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the client says.
        source: Box<kube::Error>,
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
            Self::Delete { .. } => "DeleteFailed",
        }
    }
}

impl ApplyError {
    /// Kind and name of the object.
    pub fn object(&self) -> (&str, &str) {
        match self {
            Self::Api { kind, name, .. } | Self::NotOwned { kind, name, .. } | Self::Delete { kind, name, .. } => {
                (kind, name)
            }
            Self::Incomplete(_) => ("", ""),
        }
    }

    /// Whether the API server finds the object itself wrong.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.is_invalid()))
    }

    /// Whether the place where the object was to be made does not exist: its namespace, or its kind.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { source, .. } if matches!(&**source, kube::Error::Api(status) if status.is_not_found()))
    }

    /// Whether the object has changed since it was seen.
    pub fn is_conflict(&self) -> bool {
        let (Self::Api { source, .. } | Self::Delete { source, .. }) = self else { return false };
        matches!(&**source, kube::Error::Api(status) if status.is_conflict())
    }

    /// Whether somebody says no, so that the object must tell. Anything else passes by itself: a conflict, a server that
    /// is overloaded or does not answer.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotOwned { .. } | Self::Incomplete(_) => true,
            Self::Api { source, .. } | Self::Delete { source, .. } => {
                let code = if let kube::Error::Api(status) = &**source { status.code } else { 0 };
                (400..500).contains(&code) && ![404, 408, 409, 429].contains(&code)
            }
        }
    }
}

impl Failure for ApplyError {
    fn reason(&self) -> &'static str {
        ApplyError::reason(self)
    }

    fn is_temporary(&self) -> bool {
        match self {
            Self::Incomplete(_) => false,
            // The object that asks goes, too.
            Self::Api { source, .. } => !is_namespace_terminating(source),
            Self::NotOwned { .. } | Self::Delete { .. } => true,
        }
    }
}

fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// What applying the children of an object came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Converged {
    /// What the first child that does not converge does not keep, as a message of condition `DriftNotConverging`.
    pub drift: Option<String>,
    /// When it is worth another try.
    pub retry_after: Option<Duration>,
}

impl Converged {
    /// It is worth another look after a pause.
    pub fn look_again(&mut self, pause: Duration) {
        self.retry_after = self.retry_after.into_iter().chain([pause]).min();
    }

    /// When to look again because of it, or because of something else.
    pub fn requeue(&self, other: Option<Duration>) -> Action {
        match self.retry_after.into_iter().chain(other).min() {
            Some(pause) => Action::requeue(pause),
            None => Action::await_change(),
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
    /// The object was written a moment ago and looks different again. The cache may be late, or somebody may have
    /// changed it; it is looked at again after a pause.
    Later(Duration),
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
    /// resourceVersion of each object before its status was last written.
    before: Mutex<HashMap<Key, String>>,
    refusals: Refusals,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Key {
    fn of<K: Resource>(resource: &ApiResource, object: &K) -> Self {
        Self {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: object.namespace(),
            name: object.name_any(),
        }
    }
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
        Self {
            client,
            manager: manager.into(),
            last: Mutex::default(),
            before: Mutex::default(),
            refusals: Refusals::default(),
        }
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
        let api = objects(&self.client, &resource, key.namespace.as_deref());
        let failed =
            |source| ApplyError::Api { kind: key.kind.clone(), name: key.name.clone(), source: Box::new(source) };
        let seen = live.and_then(version_of);
        if let Some(refusal) = self.refusals.of(&key, &hash, seen) {
            return Err(failed(refusal));
        }
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
            version = version_of(live).map(str::to_owned);
            match self.hold_back(&key, &hash, &difference, version.as_deref()) {
                Hold::No => {}
                Hold::CacheIsLate => return Ok(Applied::Unchanged),
                Hold::Later(pause) => return Ok(Applied::Later(pause)),
                Hold::NotConverging(retry_after) => return Ok(Applied::NotConverging { difference, retry_after }),
            }
            tracing::debug!(kind = key.kind, name = key.name, %difference, "applying");
            // Another object of the same name is a conflict, and is left alone.
            wanted_json["metadata"]["uid"] = live.pointer("/metadata/uid").cloned().unwrap_or_default();
            params = params.force();
            before = Some(difference);
        }
        let written = match api.patch(&key.name, &params, &Patch::Apply(&wanted_json)).await {
            Ok(written) => written,
            Err(error) => {
                self.refusals.note(&key, &hash, seen, &error);
                return Err(failed(error));
            }
        };
        self.refusals.forget(&key);
        let refused = contained::difference(&wanted_json, &to_json(&written)).map(|d| without_secrets(&key, d));
        if let Some(difference) = refused.clone().or(before) {
            self.remember(key, hash, difference, refused.is_some(), version);
        }
        Ok(match refused {
            None => Applied::Written(Box::new(written)),
            Some(difference) => Applied::NotConverging { difference, retry_after: None },
        })
    }

    /// Applies one of several children, and notes when it does not converge.
    ///
    /// # Errors
    /// As [`Applier::apply`].
    pub async fn converge(
        &self,
        wanted: DynamicObject,
        live: Option<&Value>,
        converged: &mut Converged,
    ) -> Result<(), ApplyError> {
        let (kind, name) = (wanted.types.as_ref().map(|t| t.kind.clone()).unwrap_or_default(), wanted.name_any());
        let applied = self.apply(wanted, live).await?;
        if let Applied::Later(pause) = applied {
            converged.look_again(pause);
        }
        if let Applied::NotConverging { difference, retry_after } = applied {
            converged.drift.get_or_insert_with(|| {
                format!("{kind} {name:?} does not keep what is applied, since something else changes it: {difference}")
            });
            retry_after.into_iter().for_each(|pause| converged.look_again(pause));
        }
        Ok(())
    }

    /// Writes a part of an object's status, unless it is as before. `before` and `after` hold the fields that this
    /// controller owns, and nothing else. Returns whether it was written. As long as the cache shows the object as it was
    /// before the last write, nothing is: the event of that write brings the object again.
    ///
    /// # Errors
    /// What the API server answers; not that the object is gone, which is no error.
    pub async fn status<K, S>(&self, object: &K, before: &S, after: &S) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = ()>,
        S: Serialize,
    {
        self.status_of(object, before, after, None).await
    }

    /// As [`Applier::status`], and only if the object has not changed since it was seen.
    ///
    /// # Errors
    /// As [`Applier::status`]; a conflict if it has changed.
    pub async fn status_as_seen<K, S>(&self, object: &K, before: &S, after: &S) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = ()>,
        S: Serialize,
    {
        self.status_of(object, before, after, object.resource_version()).await
    }

    fn written_before(&self) -> std::sync::MutexGuard<'_, HashMap<Key, String>> {
        self.before.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn status_of<K, S>(
        &self,
        object: &K,
        before: &S,
        after: &S,
        version: Option<String>,
    ) -> Result<bool, ApplyError>
    where
        K: Resource<DynamicType = ()>,
        S: Serialize,
    {
        // As they are written: a time has a fraction of a second only in memory.
        let (before, after) = (json!(before), json!(after));
        if before == after {
            return Ok(false);
        }
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        let resource = ApiResource::erase::<K>(&());
        let namespace = object.namespace().unwrap_or_default();
        let key = Key::of(&resource, object);
        if self.is_late(object) {
            return Ok(false);
        }
        let seen = object.resource_version();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let mut status = json!({
            "apiVersion": K::api_version(&()), "kind": kind, "status": after,
            // Another object of the same name is a conflict.
            "metadata": {"name": name, "namespace": namespace, "uid": object.uid()},
        });
        if let Some(version) = version {
            status["metadata"]["resourceVersion"] = json!(version);
        }
        let params = PatchParams::apply(&self.manager).force();
        match api.patch_status(&name, &params, &Patch::Apply(&status)).await {
            Ok(written) => {
                let mut before = self.written_before();
                match seen.filter(|seen| written.resource_version().is_some_and(|written| written != *seen)) {
                    Some(seen) => {
                        if before.len() >= REMEMBERED {
                            before.clear();
                        }
                        before.insert(key, seen);
                    }
                    // It was so already: no event will come.
                    None => drop(before.remove(&key)),
                }
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
            Err(source) => Err(ApplyError::Api { kind, name, source: Box::new(source) }),
        }
    }

    /// Whether the cache shows an object as it was before its status was last written here. What would be decided on it
    /// is out of date; the next event of its watch shows it anew.
    pub fn is_late<K: Resource<DynamicType = ()>>(&self, object: &K) -> bool {
        let key = Key::of(&ApiResource::erase::<K>(&()), object);
        let seen = object.resource_version();
        seen.is_some() && self.written_before().get(&key) == seen.as_ref()
    }

    /// Creates an object that never changes. That it is there already is no error: the cache may not have seen it yet.
    ///
    /// # Errors
    /// [`ApplyError::Api`] if the API server refuses.
    pub async fn create(&self, wanted: &DynamicObject) -> Result<(), ApplyError> {
        let (resource, key) = identity(wanted)?;
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let params = PostParams { field_manager: Some(self.manager.clone()), ..PostParams::default() };
        match api.create(&params, wanted).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(source) => Err(ApplyError::Api { kind: key.kind, name: key.name, source: Box::new(source) }),
        }
    }

    /// Gives up every field of an object that was applied under this manager: what nobody else owns goes.
    ///
    /// # Errors
    /// [`ApplyError::Api`]; not that the object is gone, which is no error.
    pub async fn release<K: Resource>(&self, resource: &ApiResource, object: &K) -> Result<(), ApplyError> {
        let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
        let key = Key::of(resource, object);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, resource);
        let nothing = json!({"apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "namespace": namespace, "uid": object.uid()}});
        let params = PatchParams::apply(&self.manager).force();
        // That our fields go is no quarrel with anybody.
        self.lock().remove(&key);
        match api.patch(&name, &params, &Patch::Apply(&nothing)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(ApplyError::Api { kind: resource.kind.clone(), name, source: Box::new(source) }),
        }
    }

    /// Adds a finalizer to an object, or takes it away, unless it is so already.
    ///
    /// # Errors
    /// [`ApplyError::Api`]; a conflict if the object has changed since it was seen.
    pub async fn set_finalizer<K>(&self, object: &K, finalizer: &str, wanted: bool) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = ()>,
    {
        let mut finalizers = object.finalizers().to_vec();
        if finalizers.iter().any(|known| known == finalizer) == wanted {
            return Ok(());
        }
        if wanted {
            finalizers.push(finalizer.to_owned());
        } else {
            finalizers.retain(|known| known != finalizer);
        }
        let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &namespace, &ApiResource::erase::<K>(&()));
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(ApplyError::Api { kind, name, source: Box::new(source) }),
        }
    }

    /// Deletes the very object that was seen, as it was seen; that it is gone already is no error.
    ///
    /// # Errors
    /// [`ApplyError::Delete`]; a conflict if it has changed since.
    pub async fn delete<K>(&self, object: &K) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = ()>,
    {
        self.delete_of(&ApiResource::erase::<K>(&()), object).await
    }

    /// As [`Applier::delete`], of any kind.
    ///
    /// # Errors
    /// As [`Applier::delete`].
    pub async fn delete_dynamic(&self, object: &DynamicObject) -> Result<(), ApplyError> {
        self.delete_of(&identity(object)?.0, object).await
    }

    async fn delete_of<K: Resource>(&self, resource: &ApiResource, object: &K) -> Result<(), ApplyError> {
        let (kind, name) = (resource.kind.clone(), object.name_any());
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, resource);
        let preconditions = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        let params = DeleteParams::background().preconditions(preconditions);
        match api.delete(&name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(source) => Err(ApplyError::Delete { kind, name, source: Box::new(source) }),
        }
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
        match (left.is_zero(), last.times) {
            (true, _) => Hold::No,
            // One change is no quarrel.
            (false, 1) => Hold::Later(left),
            (false, _) => Hold::NotConverging(Some(left)),
        }
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

fn version_of(live: &Value) -> Option<&str> {
    live.pointer("/metadata/resourceVersion").and_then(Value::as_str)
}

/// Whether an apply waits.
enum Hold {
    No,
    /// The cache shows the object as it was before our last write.
    CacheIsLate,
    /// The object was written a moment ago; when to look again.
    Later(Duration),
    /// The object does not keep what we apply; then, when to try again.
    NotConverging(Option<Duration>),
}

fn to_json(object: &DynamicObject) -> Value {
    serde_json::to_value(object).expect("a Kubernetes object is JSON")
}

/// A difference in a Secret, or in what a container's environment is made of, is told without the values: it goes to logs
/// and conditions.
fn without_secrets(key: &Key, difference: Difference) -> Difference {
    let is_environment = ["params", "env"]
        .iter()
        .any(|field| difference.path.split(['.', '[']).any(|part| part.trim_end_matches(']') == *field));
    if key.kind != "Secret" && !is_environment {
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
pub async fn adopt<K>(api: &Api<K>, object: &K, from: &[&str], to: &str, subresource: Option<&str>) -> kube::Result<()>
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
