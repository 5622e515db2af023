//! Routes that their gateway has not answered yet. Most are answered in a moment, and told then: one write less.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use controller_runtime::traffic::hash;
use kube::ResourceExt;
use openfunction_proto::core::{Function, FunctionStatus};

use super::status::WAITING_FOR_GATEWAY;

/// How long it is not told that a gateway has not answered.
const PATIENCE: Duration = Duration::from_secs(3);

/// Since when, and for which traffic, a route waits for its gateway, by uid of the Function.
#[derive(Default)]
pub struct Unanswered(Mutex<HashMap<String, (Instant, String)>>);

impl Unanswered {
    /// How much longer a status need not be written, if all that it tells is that the gateway has not answered yet.
    ///
    /// Which revisions a route may lead to is always told at once: function-controller must not take one away
    /// (design §4). Of the first route it need not know, unless another traffic comes before the answer.
    pub fn wait(&self, function: &Function, before: &FunctionStatus, after: &FunctionStatus) -> Option<Duration> {
        let uid = function.uid()?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let led_to = |status: &FunctionStatus| {
            status.route.as_ref().map(|route| (route.revisions.clone(), route.observed_traffic.clone()))
        };
        let is_harmless = before.route.is_none() || led_to(before) == led_to(after);
        if !is_harmless || !after.conditions.iter().any(|condition| condition.reason == WAITING_FOR_GATEWAY) {
            all.remove(&uid);
            return None;
        }
        let traffic = hash(&before.traffic);
        let (since, of) = all.entry(uid).or_insert_with(|| (Instant::now(), traffic.clone()));
        PATIENCE.checked_sub(since.elapsed()).filter(|left| *of == traffic && !left.is_zero())
    }

    /// The Function is gone.
    pub fn forget(&self, function: &Function) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        function.uid().iter().for_each(|uid| drop(all.remove(uid)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(traffic: &str, route: Value, reason: &str) -> FunctionStatus {
        let condition = json!({"type": "RouteReady", "status": "Unknown", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(
            json!({"traffic": [{"revision": traffic, "percent": 100}], "route": route, "conditions": [condition]}),
        )
        .unwrap()
    }

    #[test]
    fn only_that_a_gateway_has_not_answered_is_told_later() {
        let function: Function =
            serde_json::from_value(json!({"metadata": {"name": "f", "uid": "u"}, "spec": {"image": "a"}})).unwrap();
        let told = |revisions: &[&str]| json!({"revisions": revisions, "observedTraffic": "t", "hosts": ["h"]});
        let waits = |before: &FunctionStatus, after: Value, reason: &str, routes: &Unanswered| {
            routes.wait(&function, before, &status("a", after, reason)).is_some()
        };
        let first = status("a", Value::Null, "");
        let later = status("a", told(&["a"]), "");
        let routes = Unanswered::default();
        assert!(waits(&first, told(&["a"]), WAITING_FOR_GATEWAY, &routes), "the first route");
        let other = status("b", Value::Null, "");
        assert!(!waits(&other, told(&["a", "b"]), WAITING_FOR_GATEWAY, &routes), "another traffic before the answer");
        let routes = Unanswered::default();
        assert!(waits(&later, told(&["a"]), WAITING_FOR_GATEWAY, &routes), "other hostnames");
        assert!(!waits(&later, told(&["a", "b"]), WAITING_FOR_GATEWAY, &routes), "another revision");
        assert!(!waits(&later, told(&["a"]), "Accepted", &routes));
        assert!(!waits(&first, told(&["a"]), "RouteConflict", &routes));
    }
}
