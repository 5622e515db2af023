//! Kubernetes Events about transitions.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// Longest note of an Event that the API server takes.
const MAX_NOTE: usize = 1024;

/// Publishes Events. Cheap to clone; equal Events within a few minutes are counted up by the recorder.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Events of a controller's replica.
    pub fn new(client: Client, controller: &str, identity: &str) -> Self {
        Self(Recorder::new(client, Reporter { controller: controller.to_owned(), instance: Some(identity.to_owned()) }))
    }

    /// Something happened as it should.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: impl Into<String>) {
        self.publish(object, EventType::Normal, reason, note.into()).await;
    }

    /// Something went wrong. The note of an error is its whole chain: [`crate::client::describe`].
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, object: &K, reason: &str, note: impl Into<String>) {
        self.publish(object, EventType::Warning, reason, note.into()).await;
    }

    async fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        mut note: String,
    ) {
        if note.len() > MAX_NOTE {
            note.truncate(note.floor_char_boundary(MAX_NOTE));
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.0.publish(&event, &object.object_ref(&())).await {
            // An Event is a courtesy: the condition says the same.
            tracing::debug!(reason, "an Event was not published: {}", crate::client::describe(&error));
        }
    }
}
