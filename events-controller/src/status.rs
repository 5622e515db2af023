//! Conditions of the kinds of events: one of each type (BUG-E31), and the last one is the summary that `kubectl get`
//! shows.

use controller_runtime::{apply::ApplyError, client::objects, conditions::NewCondition, status_api};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::ApiResource,
};
use openfunction_proto::{
    events::{ClusterEventBus, EventBus, EventSource, EventsCondition, Trigger},
    status_api::ObjectStatus,
};
use serde_json::json;

use crate::{ABOUT, problem::Problem};

/// The summary when all is well; always there, for `kubectl wait`.
pub const READY: &str = "Ready";
/// The summary while something is on its way.
pub const PENDING: &str = "Pending";
/// The summary when something is wrong.
pub const ERROR: &str = "Error";
/// The handlers exist.
pub const CREATED: &str = "Created";

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All that shall run does.
    Ready {
        /// One word.
        reason: &'static str,
        /// A sentence.
        message: String,
    },
    /// It is not ready yet.
    Pending {
        /// What is waited for.
        message: String,
    },
    /// Something is wrong.
    Failed(Problem),
}

/// The conditions of an object, given those of before. What is told besides comes first.
pub fn conditions(
    before: &[EventsCondition],
    notes: Vec<NewCondition>,
    outcome: Outcome,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<EventsCondition> {
    let mut all = notes;
    match outcome {
        Outcome::Ready { reason, message } => all.push(NewCondition::true_(READY, reason, message)),
        Outcome::Pending { message } => {
            all.push(NewCondition::unknown(READY, "PendingCreation", message.clone()));
            all.push(NewCondition::unknown(PENDING, "PendingCreation", message));
        }
        Outcome::Failed(Problem { reason, message, .. }) => {
            all.push(NewCondition::false_(READY, reason, message.clone()));
            all.push(NewCondition::false_(ERROR, reason, message));
        }
    }
    all.into_iter().map(|new| next(before, new, generation, now)).collect()
}

fn next(before: &[EventsCondition], new: NewCondition, generation: Option<i64>, now: Timestamp) -> EventsCondition {
    let status = match new.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    // Those of the original are many of one type.
    let is_same = |old: &&EventsCondition| {
        old.type_ == new.type_ && old.status == status && old.reason.as_deref() == Some(&new.reason)
    };
    let since = before.iter().rev().find(is_same).and_then(|old| old.timestamp.clone());
    EventsCondition {
        // Of old objects the time zone is the operator's; ours is UTC.
        timestamp: since.or_else(|| Some(now.round(jiff::Unit::Second).unwrap_or(now).to_string())),
        type_: new.type_.to_owned(),
        status: status.to_owned(),
        reason: Some(new.reason),
        message: Some(new.message),
        observed_generation: generation,
    }
}

/// A kind whose status has such conditions.
pub trait Conditioned: Resource<DynamicType = ()> {
    /// The conditions that stand.
    fn conditions(&self) -> &[EventsCondition];
    /// The generation that they speak of.
    fn observed_generation(&self) -> Option<i64>;
}

macro_rules! conditioned {
    ($($kind:ty),*) => {$(
        impl Conditioned for $kind {
            fn conditions(&self) -> &[EventsCondition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }

            fn observed_generation(&self) -> Option<i64> {
                self.status.as_ref()?.observed_generation
            }
        }
    )*};
}

conditioned!(EventSource, Trigger, EventBus, ClusterEventBus);

/// Type of the last condition: what is counted.
pub fn state<K: Conditioned>(object: &K) -> Option<&str> {
    object.conditions().last().map(|condition| condition.type_.as_str())
}

/// Writes the conditions unless they stand already. Whether they were written.
///
/// The whole list is written at once, as the original did: its objects have several conditions of one type, which could
/// not be applied to.
///
/// # Errors
/// What the API server answers; a conflict if the object has changed since it was seen.
pub async fn write<K: Conditioned>(
    client: &Client,
    object: &K,
    conditions: &[EventsCondition],
) -> Result<bool, ApplyError> {
    if object.conditions() == conditions && object.observed_generation() == object.meta().generation {
        return Ok(false);
    }
    let (name, resource) = (object.name_any(), ApiResource::erase::<K>(&()));
    let api = objects(client, &resource, object.namespace().as_deref());
    let patch = json!({
        "metadata": { "resourceVersion": object.resource_version() },
        "status": { "conditions": conditions, "observedGeneration": object.meta().generation },
    });
    let params = PatchParams { field_manager: Some(ABOUT.name.to_owned()), ..PatchParams::default() };
    match api.patch_status(&name, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(source) => Err(ApplyError::Api { kind: K::kind(&()).into_owned(), name, source: Box::new(source) }),
    }
}

/// What the status API says of an object.
pub fn explain<K: Conditioned>(object: &K) -> ObjectStatus {
    let standard = |condition: &EventsCondition| Condition {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
        observed_generation: condition.observed_generation,
        last_transition_time: Time(
            condition.timestamp.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH),
        ),
    };
    let conditions: Vec<_> = object.conditions().iter().map(standard).collect();
    status_api::object_status(object, object.observed_generation(), &conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn types(conditions: &[EventsCondition]) -> Vec<&str> {
        conditions.iter().map(|condition| condition.type_.as_str()).collect()
    }

    #[test]
    fn e31_there_is_one_condition_of_each_type_and_the_last_is_the_summary() {
        let old = |type_: &str| EventsCondition { type_: type_.to_owned(), ..EventsCondition::default() };
        let before = vec![old("Pending"), old("Ready"), old("Ready"), old("Error"), old("Ready")];
        let note = NewCondition::true_("TopicConflict", "SharedTopic", "");
        let pending = conditions(&before, vec![note], Outcome::Pending { message: "a".to_owned() }, Some(1), at(1));
        assert_eq!(types(&pending), ["TopicConflict", "Ready", "Pending"]);
        let failed = conditions(&pending, vec![], Outcome::Failed(Problem::bus("b")), Some(1), at(2));
        assert_eq!(types(&failed), ["Ready", "Error"]);
        let ready = Outcome::Ready { reason: "EventSourceIsReady", message: "EventSource is ready.".to_owned() };
        let ready = conditions(&failed, vec![], ready, Some(1), at(3));
        assert_eq!((types(&ready), ready[0].status.as_str()), (vec!["Ready"], "True"));
    }

    #[test]
    fn a_condition_that_says_the_same_keeps_its_time() {
        let failed = |message: &str, before: &[EventsCondition], now| {
            conditions(before, vec![], Outcome::Failed(Problem::bus(message)), Some(1), at(now))
        };
        let first = failed("a", &[], 10);
        assert_eq!(first[0].timestamp.as_deref(), Some("1970-01-01T00:00:10Z"));
        let second = failed("b", &first, 20);
        assert_eq!(
            (second[0].timestamp.clone(), second[0].message.as_deref()),
            (first[0].timestamp.clone(), Some("b"))
        );
    }
}
