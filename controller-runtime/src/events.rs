//! Kubernetes Events about transitions.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, Recorder, Reporter},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use kube::runtime::events::EventType;

/// Longest note of an Event that the API server takes.
const MAX_NOTE: usize = 1024;
/// The most Events that wait to be published.
const MAX_WAITING: usize = 10_000;

/// What an Event is about, besides its object.
#[derive(Clone, Debug)]
pub struct About {
    /// What was done, in one word.
    pub action: &'static str,
    /// The other object.
    pub related: Option<ObjectReference>,
}

impl Default for About {
    fn default() -> Self {
        Self { action: "Reconcile", related: None }
    }
}

/// Publishes Events, in their order and one at a time, beside the work that they tell of: an Event is a courtesy, the
/// condition says the same. Cheap to clone; equal Events within a few minutes are counted up by the recorder.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
    turn: Arc<Semaphore>,
    waiting: TaskTracker,
}

impl Events {
    /// Events of a controller's replica.
    pub fn new(client: Client, controller: &str, identity: &str) -> Self {
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(identity.to_owned()) };
        Self {
            recorder: Recorder::new(client, reporter),
            turn: Arc::new(Semaphore::new(1)),
            waiting: TaskTracker::new(),
        }
    }

    /// Something happened as it should.
    pub fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: impl Into<String>) {
        self.publish(object, &About::default(), EventType::Normal, reason, note.into());
    }

    /// Something went wrong. The note of an error is its whole chain: [`crate::client::describe`].
    pub fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: impl Into<String>) {
        self.publish(object, &About::default(), EventType::Warning, reason, note.into());
    }

    /// As [`Events::normal`] and [`Events::warning`], of an action, and of another object that it concerns.
    pub fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        about: &About,
        type_: EventType,
        reason: &str,
        mut note: String,
    ) {
        if self.waiting.len() >= MAX_WAITING {
            tracing::debug!(reason, "an Event was not published: too many wait");
            return;
        }
        if note.len() > MAX_NOTE {
            note.truncate(note.floor_char_boundary(MAX_NOTE));
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: about.action.to_owned(),
            secondary: about.related.clone(),
        };
        let (recorder, turn, object) = (self.recorder.clone(), self.turn.clone(), object.object_ref(&()));
        self.waiting.spawn(async move {
            // The semaphore is fair, so Events keep their order.
            let _turn = turn.acquire().await;
            if let Err(error) = recorder.publish(&event, &object).await {
                tracing::debug!(event.reason, "an Event was not published: {}", crate::client::describe(&error));
            }
        });
    }
}
