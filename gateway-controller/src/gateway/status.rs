//! The status of an OpenFunction Gateway.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use openfunction_proto::{
    gateway_api::resources::{KubernetesGateway, KubernetesListenerStatus, ListenerSet},
    networking::{Gateway, GatewayCondition, GatewayStatus, ListenerStatus},
};

use super::effective;

/// The conditions in the standard shape.
pub fn standard(status: &GatewayStatus) -> Vec<Condition> {
    let conditions = status.conditions.iter().map(|c| Condition {
        type_: c.type_.clone(),
        status: c.status.clone(),
        reason: c.reason.clone(),
        message: c.message.clone(),
        observed_generation: c.observed_generation,
        last_transition_time: c.last_transition_time.clone().unwrap_or(Time(Timestamp::UNIX_EPOCH)),
    });
    conditions.collect()
}

/// The status that a Kubernetes Gateway gives, under the words of today and of before (goals Q24). `is_current` says
/// whether it has our listeners as they shall be.
pub fn of(gateway: &Gateway, kubernetes: &KubernetesGateway, is_current: bool) -> GatewayStatus {
    let speaks_of_now = |condition: &Condition| is_current && is_of_now(condition, kubernetes);
    let status = kubernetes.status.clone().unwrap_or_default();
    GatewayStatus {
        addresses: status.addresses,
        conditions: both_words(gateway, &status.conditions, &speaks_of_now),
        listeners: listeners(gateway, status.listeners, &speaks_of_now),
        observed_generation: gateway.metadata.generation,
    }
}

/// As [`of`], where the listeners stand in a ListenerSet: what is well with the Gateway must be so with the set, too.
pub fn of_set(
    gateway: &Gateway,
    kubernetes: &KubernetesGateway,
    set: Option<&ListenerSet>,
    is_current: bool,
) -> GatewayStatus {
    let mut status = of(gateway, kubernetes, true);
    let speaks_of_now = |condition: &Condition| is_current && set.is_some_and(|set| is_of_now(condition, set));
    let of_set = set.and_then(|set| set.status.clone()).unwrap_or_default();
    let answers = both_words(gateway, &of_set.conditions, &speaks_of_now);
    for condition in &mut status.conditions {
        let is_of_set = OLD_WORDS.iter().any(|(today, before)| [*today, *before].contains(&condition.type_.as_str()));
        if condition.status != "True" || !is_of_set {
            continue;
        }
        match answers.iter().find(|answer| answer.type_ == condition.type_) {
            Some(answer) => *condition = answer.clone(),
            None => {
                condition.status = "Unknown".to_owned();
                condition.reason = "Pending".to_owned();
                condition.message = "the ListenerSet is not answered yet".to_owned();
            }
        }
    }
    status.listeners.extend(listeners(gateway, of_set.listeners, &speaks_of_now));
    status
}

fn is_of_now<K: ResourceExt>(condition: &Condition, object: &K) -> bool {
    condition.observed_generation.is_none_or(|seen| Some(seen) >= object.meta().generation)
}

/// The status of the listeners that an OpenFunction Gateway names.
fn listeners(
    gateway: &Gateway,
    all: Vec<KubernetesListenerStatus>,
    speaks_of_now: &impl Fn(&Condition) -> bool,
) -> Vec<ListenerStatus> {
    let names: Vec<_> = effective(gateway).into_iter().map(|listener| listener.name).collect();
    let ours = all.into_iter().filter(|listener| names.contains(&listener.name));
    let told = ours.map(|listener| ListenerStatus {
        conditions: both_words(gateway, &listener.conditions, speaks_of_now),
        name: listener.name,
        supported_kinds: listener.supported_kinds,
        attached_routes: listener.attached_routes,
    });
    told.collect()
}

/// The word of before for a condition of today.
const OLD_WORDS: &[(&str, &str)] = &[("Accepted", "Scheduled"), ("Programmed", "Ready")];

fn both_words(
    gateway: &Gateway,
    conditions: &[Condition],
    speaks_of_now: &impl Fn(&Condition) -> bool,
) -> Vec<GatewayCondition> {
    let convert = |condition: &Condition, type_: &str| GatewayCondition {
        type_: type_.to_owned(),
        status: if speaks_of_now(condition) { condition.status.clone() } else { "Unknown".to_owned() },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_transition_time: Some(condition.last_transition_time.clone()),
        observed_generation: gateway.metadata.generation,
    };
    let mut converted: Vec<_> = conditions.iter().map(|condition| convert(condition, &condition.type_)).collect();
    for (today, before) in OLD_WORDS {
        let has_old = conditions.iter().any(|condition| condition.type_ == *before);
        if let (Some(condition), false) = (conditions.iter().find(|condition| condition.type_ == *today), has_old) {
            converted.push(convert(condition, before));
        }
    }
    converted
}

/// The status of a Gateway that cannot serve: conditions `Ready=False`, and `Scheduled=False` instead of the one that every
/// new object has by default. What was known of addresses goes.
pub fn failed(gateway: &Gateway, reason: &str, message: String, now: Timestamp) -> GatewayStatus {
    let told = ["Scheduled", "Ready"].map(|type_| refused(gateway, type_, reason, message.clone(), now));
    GatewayStatus { conditions: told.into(), observed_generation: gateway.metadata.generation, ..empty() }
}

fn refused(gateway: &Gateway, type_: &str, reason: &str, message: String, now: Timestamp) -> GatewayCondition {
    let before = gateway.status.as_ref().and_then(|status| status.conditions.iter().find(|c| c.type_ == type_));
    let since = before.filter(|before| before.status == "False").and_then(|before| before.last_transition_time.clone());
    GatewayCondition {
        type_: type_.to_owned(),
        status: "False".to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        observed_generation: gateway.metadata.generation,
    }
}

fn empty() -> GatewayStatus {
    GatewayStatus { addresses: Vec::new(), conditions: Vec::new(), listeners: Vec::new(), observed_generation: None }
}

/// The same status with its lists in the order in which they stand: the API server keeps that of lists with keys, and
/// another order alone is no change.
pub fn in_order_of(before: &GatewayStatus, mut after: GatewayStatus) -> GatewayStatus {
    fn sort<T>(before: &[T], after: &mut [T], key: fn(&T) -> &str) {
        let place = |item: &T| before.iter().position(|known| key(known) == key(item)).unwrap_or(usize::MAX);
        after.sort_by_key(place);
    }
    sort(&before.conditions, &mut after.conditions, |condition| &condition.type_);
    sort(&before.listeners, &mut after.listeners, |listener| &listener.name);
    for listener in &mut after.listeners {
        if let Some(known) = before.listeners.iter().find(|known| known.name == listener.name) {
            sort(&known.conditions, &mut listener.conditions, |condition| &condition.type_);
        }
    }
    after
}

/// Adds what this controller has to say to a status.
pub fn with_problem(
    mut status: GatewayStatus,
    gateway: &Gateway,
    reason: &str,
    message: String,
    now: Timestamp,
) -> GatewayStatus {
    status.conditions.retain(|condition| condition.type_ != "Ready");
    status.conditions.push(refused(gateway, "Ready", reason, message, now));
    status
}

/// The word of a transition of `Ready`, for an Event; none if it is as before.
pub fn transition<'a>(gateway: &Gateway, after: &'a GatewayStatus) -> Option<&'a GatewayCondition> {
    let ready = |status: &'a GatewayStatus| status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let before = gateway.status.as_ref().and_then(|status| status.conditions.iter().find(|c| c.type_ == "Ready"));
    let after = ready(after)?;
    (before.map(|before| &before.status) != Some(&after.status)).then_some(after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_that_fails_says_so_in_place_of_the_default_condition() {
        let default = json!({"type": "Scheduled", "status": "Unknown", "reason": "NotReconciled", "message": ""});
        let gateway = json!({"metadata": {"name": "o"}, "spec": {"domain": "a.b", "gatewaySpec": {"listeners": []}},
            "status": {"conditions": [default]}});
        let mut gateway: Gateway = serde_json::from_value(gateway).unwrap();
        let first = failed(&gateway, "NotFound", "no".to_owned(), Timestamp::UNIX_EPOCH);
        let told = first.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), [("Scheduled", "False", "NotFound"), ("Ready", "False", "NotFound")]);
        gateway.status = Some(first.clone());
        assert_eq!(failed(&gateway, "NotFound", "no".to_owned(), Timestamp::now()), first, "nothing new is said");
    }

    #[test]
    fn q24_conditions_stand_under_the_words_of_today_and_of_before() {
        let time = "2026-01-01T00:00:00Z";
        let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "R", "message": "", "lastTransitionTime": time});
        let kubernetes = json!({"metadata": {}, "spec": {}, "status": {"conditions": [condition("Accepted"), condition("Programmed")],
            "listeners": [{"name": "x", "attachedRoutes": 2, "conditions": [condition("Programmed")]}, {"name": "foreign"}]}});
        let spec =
            json!({"domain": "ofn.io", "gatewaySpec": {"listeners": [{"name": "x", "port": 80, "protocol": "HTTP"}]}});
        let gateway: Gateway = serde_json::from_value(json!({"metadata": {"name": "o"}, "spec": spec})).unwrap();
        let status = of(&gateway, &serde_json::from_value(kubernetes).unwrap(), true);
        let types: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Accepted", "Programmed", "Scheduled", "Ready"]);
        assert_eq!((status.listeners.len(), status.listeners[0].conditions.len()), (1, 2));
    }
}
