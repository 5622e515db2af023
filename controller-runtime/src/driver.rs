//! The reconcile driver: measures, backs off per object, and reports objects that cannot be read.

use std::{
    collections::{HashMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream::BoxStream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Client, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, PartialObjectMeta, PartialObjectMetaExt},
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::ObjectRef,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span, warn};

use crate::{
    backoff,
    client::{describe, objects},
    conditions::{self, NewCondition},
    events::Events,
    metrics::Metrics,
    watch::{Shared, Unreadable, Watched},
};

/// An error of a reconcile.
pub trait Failure: Error + Send + Sync + 'static {
    /// One stable word: condition reason, event reason and metric label.
    fn reason(&self) -> &'static str;
    /// Whether trying again can help; otherwise only a change of the object can.
    fn is_temporary(&self) -> bool;
}

/// Pause after the first failure of an object; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Failures in a row after which an Event tells of each further one.
const TOLD_AFTER: u32 = 3;

/// What the driver works with.
pub struct Driver {
    /// For the condition of objects that cannot be read.
    pub client: Client,
    /// Field manager: the name of the binary.
    pub manager: &'static str,
    /// Where reconciles are measured.
    pub metrics: Metrics,
    /// For the Event of objects that cannot be read.
    pub events: Events,
    /// Objects that are reconciled at the same time.
    pub concurrency: u16,
    /// Whether this controller owns condition `Ready` of the kind: then it marks objects that cannot be read.
    pub owns_ready: bool,
}

impl Driver {
    /// Reconciles every object of `shared` when it changes, and when one of `triggers` names it, until `stop`; then
    /// running reconciles end.
    ///
    /// A reconcile that fails is tried again after a pause that grows with each failure of the object, if trying again
    /// can help; when it goes on, a Warning Event says why. An object that cannot be read gets an Event and condition `Ready=False/Unreadable`; what it made
    /// before stays.
    pub async fn run<K, C, E, F>(
        &self,
        shared: &Shared<K>,
        triggers: Vec<BoxStream<'static, ObjectRef<K>>>,
        context: Arc<C>,
        reconcile: impl Fn(Arc<K>, Arc<C>) -> F + Clone + Send + Sync + 'static,
        stop: CancellationToken,
    ) where
        K: Watched,
        C: Send + Sync + 'static,
        E: Failure,
        F: Future<Output = Result<Action, E>> + Send + 'static,
    {
        // Kube's own waiting wakes only one of several controllers of a store.
        tokio::select! {
            () = shared.synced() => {}
            () = stop.cancelled() => return,
        }
        let unreadable = shared.unreadable();
        let progress = Arc::new(Progress::new(self.metrics.clone()));
        let triggers = triggers.into_iter().fold(
            Controller::for_shared_stream(
                progress.clone().waits(shared.subscribe(), |object| ObjectRef::from_obj(&**object)),
                shared.store().clone(),
            ),
            |controller, trigger| controller.reconcile_on(progress.clone().waits(trigger, Clone::clone)),
        );
        let (policy, gone) = (progress.clone(), progress.clone());
        let (metrics, events) = (self.metrics.clone(), self.events.clone());
        let controller = triggers
            .with_config(controller::Config::default().concurrency(self.concurrency))
            .graceful_shutdown_on(stop.clone().cancelled_owned())
            .run(
                move |object, context| measured(object, context, reconcile.clone(), progress.clone()),
                move |object: Arc<K>, error: &E, _| {
                    metrics.failed(&K::kind(&()), error.reason());
                    let (pause, times) = policy.failed(&ObjectRef::from_obj(&*object));
                    if times >= TOLD_AFTER {
                        // Its status may be what cannot be written.
                        events.warning(&*object, error.reason(), describe(error));
                    }
                    if error.is_temporary() { Action::requeue(pause) } else { Action::await_change() }
                },
                context,
            )
            .for_each(|done| {
                match done {
                    Ok(_) => {}
                    Err(controller::Error::ObjectNotFound(object)) => {
                        debug!(%object, "gone");
                        let mut key = ObjectRef::new(&object.name);
                        key.namespace = object.namespace.clone();
                        gone.forget(&key);
                    }
                    Err(error) => warn!("{}", describe(&error)),
                }
                std::future::ready(())
            });
        tokio::select! {
            () = controller => {}
            () = self.report(unreadable) => {}
        }
    }

    async fn report<K>(&self, mut unreadable: impl Stream<Item = Unreadable<K>> + Unpin)
    where
        K: Watched,
    {
        if !self.owns_ready {
            return std::future::pending().await;
        }
        let mut due: HashMap<ObjectRef<K>, Unreadable<K>> = HashMap::new();
        loop {
            tokio::select! {
                report = unreadable.next() => match report {
                    Some(report) => drop(due.insert(report.object.clone(), report)),
                    None => return,
                },
                () = tokio::time::sleep(FIRST_PAUSE * 10), if !due.is_empty() => {}
            }
            let reports: Vec<_> = due.values().cloned().collect();
            for report in reports {
                match self.mark(&report).await {
                    Ok(()) => drop(due.remove(&report.object)),
                    Err(error) => {
                        warn!(object = %report.object, "the condition of an object that cannot be read is not written, trying again: {}", describe(&error));
                    }
                }
            }
        }
    }

    /// Writes, or takes away, condition `Ready=False/Unreadable`.
    async fn mark<K>(&self, report: &Unreadable<K>) -> kube::Result<()>
    where
        K: Watched,
    {
        let object = &report.object;
        let api = objects(&self.client, &ApiResource::erase::<K>(&()), object.namespace.as_deref());
        let Some(live) = api.get_opt(&object.name).await? else { return Ok(()) };
        // The watch knows what is wrong, reading again tells also where; and it may be mended by now.
        let wrong = match serde_json::to_value(&live).map(serde_path_to_error::deserialize::<_, K>) {
            Ok(Ok(_)) => None,
            Ok(Err(located)) => Some(format!("{}: {}", located.path(), located.inner())),
            Err(_) => report.error.clone(),
        };
        let standing: Vec<Condition> = live
            .data
            .pointer("/status/conditions")
            .and_then(|conditions| serde_json::from_value(conditions.clone()).ok())
            .unwrap_or_default();
        let conditions = match wrong {
            // Applying nothing gives up what this manager owns.
            None if !standing.iter().any(|c| c.type_ == "Ready" && c.reason == UNREADABLE) => return Ok(()),
            None => vec![],
            Some(wrong) => {
                let new = NewCondition::false_("Ready", UNREADABLE, format!("the object cannot be read: {wrong}"));
                let next = conditions::next(&standing, new, live.metadata.generation, Timestamp::now());
                if standing.contains(&next) {
                    return Ok(());
                }
                warn!(%object, wrong, "an object cannot be read");
                let meta: PartialObjectMeta<K> = live.metadata.clone().into_request_partial();
                self.events.warning(&meta, UNREADABLE, next.message.clone());
                vec![next]
            }
        };
        let status = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": { "name": object.name, "namespace": object.namespace },
            "status": { "conditions": conditions },
        });
        // A manager of its own: applying as ourselves would take every other field of ours away.
        let params = PatchParams::apply(&format!("{}-guard", self.manager)).force();
        api.patch_status(&object.name, &params, &Patch::Apply(status)).await.map(drop)
    }
}

/// Reason of an object that cannot be read.
const UNREADABLE: &str = "Unreadable";

async fn measured<K, C, E, F>(
    object: Arc<K>,
    context: Arc<C>,
    reconcile: impl Fn(Arc<K>, Arc<C>) -> F,
    progress: Arc<Progress<K>>,
) -> Result<Action, E>
where
    K: Watched,
    E: Failure,
    F: Future<Output = Result<Action, E>>,
{
    let key = ObjectRef::from_obj(&*object);
    progress.begins(&key);
    let span = info_span!("reconcile", kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any());
    let began = Instant::now();
    let result = reconcile(object, context).instrument(span).await;
    progress.metrics.reconciled(&K::kind(&()), began.elapsed());
    if result.is_ok() {
        progress.succeeded(&key);
    }
    result
}

/// Which objects wait, and how often each has failed in a row.
struct Progress<K: Watched> {
    metrics: Metrics,
    waiting: Mutex<HashSet<ObjectRef<K>>>,
    failures: Mutex<HashMap<ObjectRef<K>, u32>>,
}

impl<K: Watched> Progress<K> {
    fn new(metrics: Metrics) -> Self {
        Self { metrics, waiting: Mutex::default(), failures: Mutex::default() }
    }

    /// Counts the objects that a stream names as waiting.
    fn waits<T: Send + 'static>(
        self: Arc<Self>,
        stream: impl Stream<Item = T> + Send + 'static,
        key: fn(&T) -> ObjectRef<K>,
    ) -> impl Stream<Item = T> + Send + 'static {
        stream.inspect(move |item| self.change_waiting(|waiting| waiting.insert(key(item))))
    }

    fn begins(&self, key: &ObjectRef<K>) {
        self.change_waiting(|waiting| waiting.remove(key));
    }

    fn change_waiting(&self, change: impl FnOnce(&mut HashSet<ObjectRef<K>>) -> bool) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        self.metrics.set_queue_depth(&K::kind(&()), waiting.len());
    }

    fn succeeded(&self, key: &ObjectRef<K>) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Counts a failure; returns how long to wait, and how often the object has failed in a row.
    fn failed(&self, key: &ObjectRef<K>) -> (Duration, u32) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_default();
        let pause = backoff::pause(FIRST_PAUSE, *count);
        *count = count.saturating_add(1);
        (pause, *count)
    }

    /// The object does not exist any more.
    fn forget(&self, key: &ObjectRef<K>) {
        self.begins(key);
        self.succeeded(key);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    #[test]
    fn the_pause_grows_per_object_and_is_reset_by_success() {
        let progress = Progress::<ConfigMap>::new(Metrics::new("test").unwrap());
        let (a, b) = (ObjectRef::new("a"), ObjectRef::new("b"));
        let pauses: Vec<_> = (0..10).map(|_| progress.failed(&a).0.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(progress.failed(&b).0.as_secs(), 1);
        progress.succeeded(&a);
        assert_eq!(progress.failed(&a).0.as_secs(), 1);
    }

    #[test]
    fn the_queue_depth_counts_each_waiting_object_once() {
        let progress = Progress::<ConfigMap>::new(Metrics::new("test").unwrap());
        for name in ["a", "b", "a"] {
            progress.change_waiting(|waiting| waiting.insert(ObjectRef::new(name)));
        }
        assert_eq!(progress.metrics.queue_depth(), 2);
        progress.begins(&ObjectRef::new("a"));
        assert_eq!(progress.metrics.queue_depth(), 1);
    }
}
