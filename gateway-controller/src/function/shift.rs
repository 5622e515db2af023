//! How a route moves from one set of backends to another, so that no request is lost.
//!
//! A gateway's proxy learns of routes and of backends separately, in no certain order: a route to a backend that it does
//! not know yet, or no more, is a failed request. So a new backend is first there without traffic, then gets it, and an
//! old one goes only when it has had none for a while.

use std::collections::BTreeSet;

use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::gateway_api::{
    HttpBackendRef,
    resources::{HttpRoute, ParentReference},
};

use super::route::{REVISIONS, REWRITES, TRAFFIC, led_to};

/// A backend, whatever share it has.
type Key = (Option<String>, String, Option<i32>);

fn key(backend: &HttpBackendRef) -> Key {
    (backend.namespace.clone(), backend.name.clone(), backend.port)
}

fn backends(route: &HttpRoute) -> Vec<&HttpBackendRef> {
    let mut known = BTreeSet::new();
    let all = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
    all.filter(|backend| known.insert(key(backend))).collect()
}

/// The next route on the way from `live` to `wanted`, and whether another one follows. `None` leaves the route as it is
/// until it is settled: until the proxies have had time to learn it.
pub fn next(live: Option<&HttpRoute>, wanted: &HttpRoute, is_settled: bool) -> (Option<HttpRoute>, bool) {
    let Some(live) = live else { return (Some(wanted.clone()), false) };
    let (now, then) = (backends(live), backends(wanted));
    let is_in =
        |backend: &HttpBackendRef, list: &[&HttpBackendRef]| list.iter().any(|other| key(other) == key(backend));
    let missing: Vec<_> = then.iter().filter(|backend| !is_in(backend, &now)).copied().collect();
    let old: Vec<_> = now.iter().filter(|backend| !is_in(backend, &then)).copied().collect();
    // A route without backends serves nobody who could be lost.
    if now.is_empty() || then.is_empty() {
        return (Some(wanted.clone()), false);
    }
    if !missing.is_empty() {
        return (Some(with_idle(only_ours(live), &missing, &both(live, wanted))), true);
    }
    // One that was added a moment ago, maybe for another traffic, is as unknown to the proxies as a new one.
    let is_idle = |backend: &&HttpBackendRef| now.iter().any(|live| key(live) == key(backend) && live.weight == 0);
    if !is_settled && then.iter().any(|backend| backend.weight > 0 && is_idle(backend)) {
        return (None, true);
    }
    let has_shifted = old.iter().all(|backend| backend.weight == 0);
    match (has_shifted, is_settled) {
        _ if old.is_empty() => (Some(wanted.clone()), false),
        (true, true) => (Some(wanted.clone()), false),
        (true, false) | (false, true) => (Some(with_idle(wanted.clone(), &old, &both(live, wanted))), true),
        (false, false) => (None, true),
    }
}

/// A wanted route that stays, for now, with some of the parents that the live one has besides (GW23).
pub fn staying(live: &HttpRoute, wanted: &HttpRoute, stays: impl Fn(&ParentReference) -> bool) -> HttpRoute {
    let mut wanted = wanted.clone();
    let asked = wanted.spec.parent_refs.clone();
    let left = live.spec.parent_refs.iter().filter(|parent| !asked.contains(parent) && stays(parent));
    wanted.spec.parent_refs.extend(left.cloned());
    wanted
}

/// Of a live route what is ours to say.
fn only_ours(live: &HttpRoute) -> HttpRoute {
    let kept = |key: &str| live.annotations().get(key).map(|value| (key.to_owned(), value.clone()));
    let metadata = ObjectMeta {
        name: live.metadata.name.clone(),
        namespace: live.metadata.namespace.clone(),
        labels: live.metadata.labels.clone(),
        owner_references: live.metadata.owner_references.clone(),
        annotations: Some([TRAFFIC, REWRITES].into_iter().filter_map(kept).collect()),
        ..ObjectMeta::default()
    };
    HttpRoute { metadata, spec: live.spec.clone(), status: None }
}

fn both(live: &HttpRoute, wanted: &HttpRoute) -> BTreeSet<String> {
    led_to(live).union(&led_to(wanted)).cloned().collect()
}

/// A route with backends besides that get no requests.
fn with_idle(mut route: HttpRoute, idle: &[&HttpBackendRef], revisions: &BTreeSet<String>) -> HttpRoute {
    for rule in route.spec.rules.iter_mut().filter(|rule| !rule.backend_refs.is_empty()) {
        rule.backend_refs.extend(idle.iter().map(|backend| HttpBackendRef { weight: 0, ..(*backend).clone() }));
    }
    let revisions: Vec<_> = revisions.iter().cloned().collect();
    route.annotations_mut().insert(REVISIONS.to_owned(), revisions.join(","));
    route
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn route(backends: &[(&str, i32)], revisions: &str) -> HttpRoute {
        let refs: Vec<_> =
            backends.iter().map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight})).collect();
        let metadata = json!({"name": "f", "namespace": "n", "annotations": {TRAFFIC: format!("of {revisions}"), REVISIONS: revisions}});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"rules": [{"backendRefs": refs}]}})).unwrap()
    }

    fn told((route, goes_on): &(Option<HttpRoute>, bool)) -> (Vec<(String, i32)>, String, String, bool) {
        let route = route.as_ref().expect("a route is written");
        let refs =
            route.spec.rules[0].backend_refs.iter().map(|backend| (backend.name.clone(), backend.weight)).collect();
        let annotation = |name: &str| route.annotations()[name].clone();
        (refs, annotation(TRAFFIC), annotation(REVISIONS), *goes_on)
    }

    fn refs(backends: &[(&str, i32)]) -> Vec<(String, i32)> {
        backends.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
    }

    #[test]
    fn a_new_backend_is_known_before_it_gets_requests_and_an_old_one_a_while_longer() {
        let (old, new) = (route(&[("a", 1)], "a"), route(&[("b", 1)], "b"));
        let warm = next(Some(&old), &new, true);
        assert_eq!(told(&warm), (refs(&[("a", 1), ("b", 0)]), "of a".to_owned(), "a,b".to_owned(), true));
        assert_eq!(next(warm.0.as_ref(), &new, false), (None, true), "it waits");
        let shifted = next(warm.0.as_ref(), &new, true);
        assert_eq!(told(&shifted), (refs(&[("b", 1), ("a", 0)]), "of b".to_owned(), "a,b".to_owned(), true));
        assert_eq!(told(&next(shifted.0.as_ref(), &new, false)), told(&shifted));
        assert_eq!(
            told(&next(shifted.0.as_ref(), &new, true)),
            (refs(&[("b", 1)]), "of b".to_owned(), "b".to_owned(), false)
        );
    }

    #[test]
    fn another_revision_in_the_middle_is_taken_in() {
        let (warm, third) = (route(&[("a", 1), ("b", 0)], "a,b"), route(&[("c", 1)], "c"));
        let next_ = next(Some(&warm), &third, true);
        assert_eq!(told(&next_).0, refs(&[("a", 1), ("b", 0), ("c", 0)]));
        assert_eq!(told(&next(next_.0.as_ref(), &third, true)).0, refs(&[("c", 1), ("a", 0), ("b", 0)]));
    }

    #[test]
    fn a_new_backend_that_gets_a_part_of_the_requests_is_known_before() {
        let (live, split) = (route(&[("b", 1)], "b"), route(&[("a", 90), ("b", 10)], "a,b"));
        let warm = next(Some(&live), &split, true);
        assert_eq!(told(&warm).0, refs(&[("b", 1), ("a", 0)]));
        assert_eq!(next(warm.0.as_ref(), &split, false), (None, true), "it waits");
        assert_eq!(told(&next(warm.0.as_ref(), &split, true)).0, refs(&[("a", 90), ("b", 10)]));
        // Although another one goes.
        let warm = route(&[("b", 1), ("a", 0), ("c", 0)], "a,b,c");
        assert_eq!(next(Some(&warm), &split, false), (None, true));
        assert_eq!(told(&next(Some(&warm), &split, true)).0, refs(&[("a", 90), ("b", 10)]));
    }

    #[test]
    fn other_rules_and_weights_are_written_at_once() {
        let (live, wanted) = (route(&[("a", 90), ("b", 10)], "a,b"), route(&[("a", 50), ("b", 50)], "a,b"));
        assert_eq!(told(&next(Some(&live), &wanted, false)).0, refs(&[("a", 50), ("b", 50)]));
        assert!(!told(&next(None, &wanted, false)).3);
    }
}
