//! One watch of a kind, shared by everything that reads it.
//!
//! The objects are read through a guard (one that does not parse never stops its neighbours), kept in a store, and
//! every change is passed to the subscribers. A subscriber that is slow gets fewer events, never an old last state:
//! what waits for it is one entry per object. (kube-runtime 5.0.0's `store_shared` loses events: a subscriber that
//! pops an object which is deleted already is never woken again.)

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt::Debug,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{self, UnboundedReceiver, UnboundedSender},
    stream::{BoxStream, SelectAll},
    task::AtomicWaker,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceScope, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    index::Index,
    optional::{OptionalApi, OptionalApis},
    readiness::Gate,
};

/// A kind that can be watched: every typed kind, and the `PartialObjectMeta` of one.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

/// An object that could not be read, with the reason.
#[derive(Clone, Debug)]
pub struct Unreadable<K: Watched> {
    /// The object.
    pub object: ObjectRef<K>,
    /// metadata.uid of the object.
    pub uid: Option<String>,
    /// metadata.generation of the object.
    pub generation: Option<i64>,
    /// What is wrong with it; `None` if nothing is any more.
    pub error: Option<String>,
}

/// The objects of one kind. Cheap to clone; every clone sees the same objects.
pub struct Shared<K: Watched> {
    store: Store<K>,
    writer: Arc<Mutex<Relay<K>>>,
    owned: Index<K>,
    gate: Option<Gate>,
    /// Of our own: kube's `wait_until_ready` wakes only the last of several that wait.
    synced: watch::Sender<bool>,
}

impl<K: Watched> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            writer: self.writer.clone(),
            owned: self.owned.clone(),
            gate: self.gate.clone(),
            synced: self.synced.clone(),
        }
    }
}

impl<K: Watched> Shared<K> {
    /// An empty store. `gate` is opened once the first list is complete.
    pub fn new(gate: Option<Gate>) -> Self {
        let (store, writer) = reflector::store();
        let owned = Index::new(store.clone(), |object: &K| controller_of(object).into_iter().collect());
        let mut relay = Relay::new(writer);
        relay.indexes.push(owned.clone());
        Self { store, writer: Arc::new(Mutex::new(relay)), owned, gate, synced: watch::Sender::new(false) }
    }

    /// The objects that exist.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// The objects by the uid of the owner that controls them.
    pub fn owned(&self) -> &Index<K> {
        &self.owned
    }

    /// The objects by keys that each of them has. To be made once, since it is kept for ever.
    pub fn index(&self, keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        let mut relay = self.relay();
        let index = Index::new(self.store.clone(), keys);
        relay.indexes.push(index.clone());
        index
    }

    /// Every object that exists, then every one that changes or goes, as it last was. Whether it still exists is told
    /// by the store.
    pub fn subscribe(&self) -> Subscription<K> {
        self.relay().subscribe(&self.store)
    }

    /// Objects that cannot be read: those that are known now, then each change of them.
    pub fn unreadable(&self) -> UnboundedReceiver<Unreadable<K>> {
        let (sender, receiver) = mpsc::unbounded();
        self.relay().report_to(sender);
        receiver
    }

    /// Forgets every object, as if all had been deleted: the API that served them is gone. Until the next list is
    /// complete, nothing is known about objects.
    pub fn clear(&self) {
        // First, so that nobody takes the emptying store for the whole truth.
        self.synced.send_replace(false);
        self.relay().clear(&self.store);
    }

    /// Whether what [`Shared::store`] holds is complete.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Completes once what [`Shared::store`] holds is complete.
    pub async fn synced(&self) {
        // The sender is `self`.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Follows the objects of these namespaces (of all, if none is named), for ever. `prune` takes out of each object
    /// what nobody reads; managed fields are always taken out.
    ///
    /// Errors are one line in the log when they begin and one when they end; the watch itself tries again.
    pub async fn follow(&self, client: &Client, namespaces: &[String], config: watcher::Config, prune: fn(&mut K))
    where
        K: Resource<Scope: NamespaceScope>,
    {
        fn scoped<T: Resource<Scope: NamespaceScope> + Clone>(
            everywhere: Api<T>,
            namespaces: &[String],
        ) -> Vec<Api<T>> {
            match namespaces {
                [] => vec![everywhere],
                some => some.iter().map(|namespace| everywhere.clone().constrain(namespace)).collect(),
            }
        }
        let streams = match K::metadata_api() {
            true => unguarded(scoped(Api::all(client.clone()), namespaces), &config),
            false => guarded(scoped(Api::all(client.clone()), namespaces), &config),
        };
        self.follow_streams(streams, prune).await;
    }

    /// Follows the objects of a kind that has no namespaces, for ever.
    pub async fn follow_cluster(&self, client: &Client, config: watcher::Config, prune: fn(&mut K)) {
        self.follow_streams(guarded(vec![Api::all(client.clone())], &config), prune).await;
    }

    /// Follows the objects of an optional API whenever it is served, for ever; when it goes, its objects are forgotten.
    pub async fn follow_while_served(
        &self,
        (apis, api): (&OptionalApis, OptionalApi),
        client: &Client,
        namespaces: &[String],
        config: watcher::Config,
        prune: fn(&mut K),
    ) where
        K: Resource<Scope: NamespaceScope>,
    {
        apis.while_served(api, || async {
            let _clear = ClearAtEnd(self);
            self.follow(client, namespaces, config.clone(), prune).await;
        })
        .await;
    }

    /// As [`Shared::follow_while_served`], for a kind that has no namespaces.
    pub async fn follow_cluster_while_served(
        &self,
        (apis, api): (&OptionalApis, OptionalApi),
        client: &Client,
        config: watcher::Config,
        prune: fn(&mut K),
    ) {
        apis.while_served(api, || async {
            let _clear = ClearAtEnd(self);
            self.follow_cluster(client, config.clone(), prune).await;
        })
        .await;
    }

    async fn follow_streams(&self, streams: Vec<Events<K>>, prune: fn(&mut K)) {
        let sources = streams.len();
        let mut events = SelectAll::new();
        for (source, stream) in streams.into_iter().enumerate() {
            events.push(stream.map(move |event| (source, event)));
        }
        self.relay().begin(sources);
        let mut failing = HashMap::new();
        while let Some((source, event)) = events.next().await {
            match event {
                Ok(event) => {
                    if failing.remove(&source).is_some() {
                        info!(kind = %K::plural(&()), "the watch works again");
                    }
                    let complete = self.relay().take(source, event, &self.store, prune);
                    if complete {
                        self.synced.send_replace(true);
                        self.gate.iter().for_each(Gate::open);
                    }
                }
                Err(error) => {
                    let reason = explain::<K>(&error);
                    if failing.get(&source) != Some(&reason) {
                        warn!("{reason}");
                        failing.insert(source, reason);
                    }
                }
            }
        }
    }

    fn relay(&self) -> std::sync::MutexGuard<'_, Relay<K>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets every object when the API that served them is gone.
struct ClearAtEnd<'a, K: Watched>(&'a Shared<K>);

impl<K: Watched> Drop for ClearAtEnd<'_, K> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

/// What one watch sees.
type Events<K> = BoxStream<'static, watcher::Result<Event<DeserializeGuard<K>>>>;

fn guarded<K: Watched>(apis: Vec<Api<DeserializeGuard<K>>>, config: &watcher::Config) -> Vec<Events<K>> {
    apis.into_iter().map(|api| watcher(api, config.clone()).default_backoff().boxed()).collect()
}

/// For metadata, which always can be read: behind the guard, kube would ask for whole objects.
fn unguarded<K: Watched>(apis: Vec<Api<K>>, config: &watcher::Config) -> Vec<Events<K>> {
    let guard = |event| match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(DeserializeGuard(Ok(object))),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(DeserializeGuard(Ok(object))),
        Event::Delete(object) => Event::Delete(DeserializeGuard(Ok(object))),
    };
    apis.into_iter()
        .map(|api| watcher(api, config.clone()).default_backoff().map(move |event| event.map(guard)).boxed())
        .collect()
}

/// What a failed watch means for the person who reads the log.
fn explain<K: Watched>(error: &watcher::Error) -> String {
    let resource = format!("{}.{}", K::plural(&()), K::group(&()));
    let resource = resource.trim_end_matches('.');
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match status {
        Some(status) if status.is_not_found() => format!(
            "the API server does not serve {resource} in version {}: install the CRDs; waiting for them",
            K::version(&())
        ),
        Some(status) if status.is_forbidden() => format!(
            "no permission to list and watch {resource}: the ClusterRole of this controller must allow it; waiting for it ({})",
            status.message
        ),
        _ => format!("the watch of {resource} failed, trying again: {}", crate::client::describe(error)),
    }
}

/// Passes on what watches see. Pure but for the queues it fills.
struct Relay<K: Watched> {
    writer: Writer<K>,
    /// Per source: the objects that it listed so far, while it lists.
    listing: Vec<Option<HashSet<ObjectRef<K>>>>,
    /// Per source: the objects that it is known to have.
    known: Vec<HashSet<ObjectRef<K>>>,
    /// Sources whose first list is not complete.
    waiting: usize,
    subscribers: Vec<Arc<Queue<K>>>,
    indexes: Vec<Index<K>>,
    /// Objects that cannot be read, and who wants to know.
    broken: HashMap<ObjectRef<K>, Unreadable<K>>,
    reports: Vec<UnboundedSender<Unreadable<K>>>,
    /// Objects that were seen before every source was complete; `None` afterwards.
    early: Option<HashMap<ObjectRef<K>, K>>,
}

impl<K: Watched> Relay<K> {
    fn new(writer: Writer<K>) -> Self {
        Self {
            writer,
            listing: Vec::new(),
            known: Vec::new(),
            waiting: 0,
            subscribers: Vec::new(),
            indexes: Vec::new(),
            broken: HashMap::new(),
            reports: Vec::new(),
            early: Some(HashMap::new()),
        }
    }

    /// A watch begins (again) on this many sources. What they had before is kept until their lists are complete.
    fn begin(&mut self, sources: usize) {
        self.known.resize_with(sources, HashSet::new);
        self.listing = (0..sources).map(|_| Some(HashSet::new())).collect();
        self.waiting = sources;
    }

    /// Takes an event of a source; true if every source is complete now and some was not before.
    fn take(&mut self, source: usize, event: Event<DeserializeGuard<K>>, store: &Store<K>, prune: fn(&mut K)) -> bool {
        match event {
            Event::Init => self.listing[source] = Some(HashSet::new()),
            Event::InitApply(DeserializeGuard(object)) => self.saw(source, object, store, prune),
            Event::Apply(DeserializeGuard(object)) => self.saw(source, object, store, prune),
            Event::Delete(DeserializeGuard(object)) => {
                let key = match &object {
                    Ok(object) => ObjectRef::from_obj(object),
                    Err(invalid) => key_of(invalid),
                };
                self.known[source].remove(&key);
                self.broken.remove(&key);
                self.gone(&key, object.ok(), store);
            }
            Event::InitDone => return self.listed(source, store),
        }
        false
    }

    fn saw(&mut self, source: usize, object: Result<K, InvalidObject>, store: &Store<K>, prune: fn(&mut K)) {
        let key = match &object {
            Ok(object) => ObjectRef::from_obj(object),
            Err(invalid) => key_of(invalid),
        };
        if let Some(listing) = &mut self.listing[source] {
            listing.insert(key.clone());
        }
        self.known[source].insert(key.clone());
        match object {
            Ok(mut object) => {
                if let Some(mended) = self.broken.remove(&key) {
                    self.report(Unreadable { error: None, ..mended });
                }
                let known = store.get(&key);
                // A list repeats what did not change.
                if known.is_some_and(|known| {
                    known.uid() == object.uid() && known.resource_version() == object.resource_version()
                }) {
                    return;
                }
                // It may ask who owns a field, before nobody can any more.
                prune(&mut object);
                object.managed_fields_mut().clear();
                self.write(object, store);
            }
            // The last readable state stays: what it made goes on working. Not that of another object of the name.
            Err(InvalidObject { error, metadata }) => {
                let early = self.early.as_ref().and_then(|early| early.get(&key)?.uid());
                let before = early.or_else(|| store.get(&key)?.uid());
                if before.is_some() && before != metadata.uid {
                    self.gone(&key, None, store);
                }
                let report = Unreadable {
                    object: key.clone(),
                    uid: metadata.uid,
                    generation: metadata.generation,
                    error: Some(error),
                };
                let is_known = self.broken.get(&key).is_some_and(|known| {
                    (&known.uid, known.generation, &known.error) == (&report.uid, report.generation, &report.error)
                });
                if !is_known {
                    self.broken.insert(key, report.clone());
                    self.report(report);
                }
            }
        }
    }

    fn report(&mut self, report: Unreadable<K>) {
        self.reports.retain(|sender| sender.unbounded_send(report.clone()).is_ok());
    }

    fn report_to(&mut self, sender: UnboundedSender<Unreadable<K>>) {
        let open = self.broken.values().all(|report| sender.unbounded_send(report.clone()).is_ok());
        if open {
            self.reports.push(sender);
        }
    }

    fn write(&mut self, object: K, store: &Store<K>) {
        let key = ObjectRef::from_obj(&object);
        if let Some(early) = &mut self.early {
            early.insert(key, object);
            return;
        }
        let was = store.get(&key);
        let event = Event::Apply(object);
        self.writer.apply_watcher_event(&event);
        if let Event::Apply(object) = event {
            self.found_anew(was.as_deref(), Some(&object));
            self.tell(&Arc::new(object));
        }
    }

    /// Before anybody is told, who may look for it.
    fn found_anew(&self, was: Option<&K>, is: Option<&K>) {
        self.indexes.iter().for_each(|index| index.changed(was, is));
    }

    /// The list of a source is complete: what it had before and has no more was deleted while nobody looked.
    fn listed(&mut self, source: usize, store: &Store<K>) -> bool {
        let Some(listing) = self.listing[source].take() else { return false };
        let vanished: Vec<_> = self.known[source].difference(&listing).cloned().collect();
        self.known[source] = listing;
        for key in vanished {
            self.broken.remove(&key);
            self.gone(&key, None, store);
        }
        self.waiting = self.listing.iter().filter(|listing| listing.is_some()).count();
        if self.waiting == 0
            && let Some(early) = self.early.take()
        {
            self.writer.apply_watcher_event(&Event::Init);
            for object in early.values() {
                self.writer.apply_watcher_event(&Event::InitApply(object.clone()));
            }
            self.writer.apply_watcher_event(&Event::InitDone);
            early.values().for_each(|object| self.found_anew(None, Some(object)));
            // Only now, since who is told looks into the store.
            early.into_values().for_each(|object| self.tell(&Arc::new(object)));
        }
        self.waiting == 0
    }

    fn gone(&mut self, key: &ObjectRef<K>, last: Option<K>, store: &Store<K>) {
        if let Some(early) = &mut self.early {
            early.remove(key);
            return;
        }
        let Some(last) = last.map(Arc::new).or_else(|| store.get(key)) else { return };
        let was = store.get(key);
        self.writer.apply_watcher_event(&Event::Delete((*last).clone()));
        self.found_anew(was.as_deref(), None);
        self.tell(&last);
    }

    fn clear(&mut self, store: &Store<K>) {
        for object in store.state() {
            self.gone(&ObjectRef::from_obj(&*object), None, store);
        }
        self.known.iter_mut().for_each(HashSet::clear);
        self.broken.clear();
        self.early = Some(HashMap::new());
    }

    fn subscribe(&mut self, store: &Store<K>) -> Subscription<K> {
        let (queue, existing) = (Arc::new(Queue::default()), store.state());
        let seeded = existing.len();
        for object in existing {
            queue.push(ObjectRef::from_obj(&*object), object);
        }
        self.subscribers.push(queue.clone());
        Subscription { queue, seeded }
    }

    fn tell(&mut self, object: &Arc<K>) {
        // A queue that only we hold has no reader any more.
        self.subscribers.retain(|queue| Arc::strong_count(queue) > 1);
        for queue in &self.subscribers {
            queue.push(ObjectRef::from_obj(&**object), object.clone());
        }
    }
}

/// uid of the owner that controls an object.
fn controller_of<K: Watched>(object: &K) -> Option<String> {
    object.owner_references().iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

fn key_of<K: Watched>(invalid: &InvalidObject) -> ObjectRef<K> {
    let mut key = ObjectRef::new(invalid.metadata.name.as_deref().unwrap_or_default());
    key.namespace = invalid.metadata.namespace.clone();
    key
}

/// Changes that wait for one subscriber: one entry per object, the latest state, in the order of the first change.
struct Queue<K: Watched> {
    waiting: Mutex<Waiting<K>>,
    waker: AtomicWaker,
}

type Waiting<K> = (VecDeque<ObjectRef<K>>, HashMap<ObjectRef<K>, Arc<K>>);

impl<K: Watched> Default for Queue<K> {
    fn default() -> Self {
        Self { waiting: Mutex::new((VecDeque::new(), HashMap::new())), waker: AtomicWaker::new() }
    }
}

impl<K: Watched> Queue<K> {
    fn push(&self, key: ObjectRef<K>, object: Arc<K>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (order, latest) = &mut *waiting;
        if latest.insert(key.clone(), object).is_none() {
            order.push_back(key);
        }
        drop(waiting);
        self.waker.wake();
    }

    fn pop(&self) -> Option<Arc<K>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (order, latest) = &mut *waiting;
        latest.remove(&order.pop_front()?)
    }
}

/// The changes of a [`Shared`] kind, for one reader. It never ends.
pub struct Subscription<K: Watched> {
    queue: Arc<Queue<K>>,
    seeded: usize,
}

impl<K: Watched> Subscription<K> {
    /// How many objects existed when the subscription began; they come first.
    pub fn seeded(&self) -> usize {
        self.seeded
    }
}

impl<K: Watched> Stream for Subscription<K> {
    type Item = Arc<K>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Registered before looking, so that a push in between wakes us.
        self.queue.waker.register(cx.waker());
        match self.queue.pop() {
            Some(object) => Poll::Ready(Some(object)),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
