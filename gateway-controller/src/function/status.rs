//! The part of a Function's status that this controller owns: route, addresses and condition `RouteReady`.

use controller_runtime::{
    children::json,
    conditions::{self, NewCondition},
    contained,
    traffic::{ROUTE_READY, hash as traffic_hash},
};
use jiff::Timestamp;
use kube::ResourceExt;
use openfunction_proto::{
    core::{Function, FunctionAddress, FunctionRouteStatus, FunctionStatus, GatewayRef, TrafficTarget},
    gateway_api::{
        HttpPathMatch, HttpRouteRule,
        resources::{HttpRoute, ParentReference, RouteParentStatus},
    },
    networking::Listener,
};

use super::{
    doors::Doors,
    route::{TRAFFIC, led_to, revisions, with_slash},
};
use crate::gateway::{is_internal, is_of};

/// Reason of `RouteReady` while a parent has not answered.
pub const WAITING_FOR_GATEWAY: &str = "WaitingForGateway";

/// The part of a status that this controller owns (design §3).
pub fn own(status: &FunctionStatus) -> FunctionStatus {
    let route_ready = status.conditions.iter().filter(|condition| condition.type_ == ROUTE_READY);
    FunctionStatus {
        route: status.route.clone(),
        addresses: status.addresses.clone(),
        conditions: route_ready.cloned().collect(),
        ..FunctionStatus::default()
    }
}

/// A status of this controller with one condition.
pub fn with(
    function: &Function,
    route: FunctionRouteStatus,
    addresses: Vec<FunctionAddress>,
    ready: NewCondition,
    now: Timestamp,
) -> FunctionStatus {
    let before = function.status.as_ref().map_or(&[][..], |status| &status.conditions);
    FunctionStatus {
        route: Some(route).filter(|route| *route != FunctionRouteStatus::default()),
        addresses,
        conditions: vec![conditions::next(before, ready, function.metadata.generation, now)],
        ..FunctionStatus::default()
    }
}

/// The most addresses that are told.
const ADDRESSES: usize = 128;

/// One address for each hostname that a listener takes, and each path (networking §10). What names no place is left out:
/// hostnames with a wildcard, and regular expressions.
pub fn addresses(
    hostnames: &[String],
    paths: &[HttpPathMatch],
    cluster_domain: &str,
    doors: &Doors,
) -> Vec<FunctionAddress> {
    let type_of = |host: &str| if is_internal(host, cluster_domain) { "Internal" } else { "External" };
    let of_host = |host: &String| {
        let base = doors.of(host).filter(|_| !host.starts_with('*')).map(|door| base(door, host));
        let paths = paths.iter().filter(|path| path.type_ != "RegularExpression");
        let values = paths.filter_map(|path| Some(format!("{}{}", base.as_ref()?, encoded(&with_slash(&path.value)))));
        values.map(|value| FunctionAddress { type_: type_of(host).to_owned(), value }).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = hostnames.iter().flat_map(of_host).collect();
    // An address inside the cluster is always told.
    let internal = all.iter().position(|address| address.type_ == "Internal").filter(|at| *at >= ADDRESSES);
    if let Some(at) = internal {
        all.swap(ADDRESSES - 1, at);
    }
    all.truncate(ADDRESSES);
    all
}

/// Scheme, host and, if it is not that of the scheme, port.
fn base(door: &Listener, host: &str) -> String {
    let (scheme, usual) = if door.protocol == "HTTPS" { ("https", 443) } else { ("http", 80) };
    let port = if door.port == usual { String::new() } else { format!(":{}", door.port) };
    format!("{scheme}://{host}{port}")
}

/// A path as a URL can hold it.
fn encoded(path: &str) -> String {
    let keeps = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
    path.bytes().map(|byte| if keeps(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The path of every match of every rule.
pub fn paths(rules: &[HttpRouteRule]) -> Vec<HttpPathMatch> {
    let matches = rules.iter().flat_map(|rule| &rule.matches);
    matches.map(|matched| matched.path.clone().unwrap_or_default()).take(128).collect()
}

/// What became of a route that was rendered.
pub struct Observed {
    /// For the status of the Function.
    pub route: FunctionRouteStatus,
    /// Condition `RouteReady`.
    pub ready: NewCondition,
}

/// Looks at the live HTTPRoute for a traffic. `asked` are the parents whose answer counts: while a route moves, it has
/// those that it leaves, too.
pub fn observe(
    before: &FunctionRouteStatus,
    wanted: &HttpRoute,
    asked: &[ParentReference],
    live: Option<&HttpRoute>,
    traffic: &[TrafficTarget],
) -> Observed {
    let hash = traffic_hash(traffic);
    // What the gateway says of another route than the wanted one is of no interest.
    let is_wanted = |live: &&HttpRoute| contained::difference(&json(&wanted.spec), &json(&live.spec)).is_none();
    let carries = live.filter(|live| live.annotations().get(TRAFFIC) == Some(&hash)).filter(is_wanted);
    let answers: Vec<_> =
        carries.map(|live| asked.iter().map(|asked| answer(live, asked)).collect()).unwrap_or_default();
    let ready = judge(asked, carries, &answers);
    let is_accepted =
        !answers.is_empty() && answers.iter().all(|answer| holds(carries, *answer, "Accepted") == Some(true));
    // What is told is the answer of the parent that holds the route back, else that of the first (core-api §6.1).
    let mut current = answers.iter().flatten().filter(|answer| holds(carries, Some(answer), "Accepted").is_some());
    let told = current.clone().find(|answer| holds(carries, Some(answer), "Accepted") == Some(false));
    let told = told.or_else(|| current.next());
    // Until it is accepted, the gateway may still serve what it accepted before.
    let mut reached = revisions(traffic);
    reached.extend(live.map(led_to).unwrap_or_default());
    if !is_accepted {
        reached.extend(before.revisions.iter().cloned());
    }
    let route = FunctionRouteStatus {
        hosts: wanted.spec.hostnames.clone(),
        paths: paths(&wanted.spec.rules),
        conditions: told.map(|answer| answer.conditions.clone()).unwrap_or_default(),
        observed_traffic: if carries.is_some() { Some(hash) } else { before.observed_traffic.clone() },
        revisions: reached.into_iter().collect(),
        tags: Vec::new(),
    };
    Observed { route, ready }
}

/// Whether every parent that answers a route at all has answered it as it is now. One that nobody serves does not hold
/// back what another one serves.
pub fn is_answered(live: &HttpRoute) -> bool {
    let answers: Vec<_> = live.spec.parent_refs.iter().filter_map(|asked| answer(live, asked)).collect();
    !answers.is_empty() && answers.iter().all(|answer| holds(Some(live), Some(answer), "Accepted").is_some())
}

/// Whether a Kubernetes Gateway has accepted a route as it is now, in all of its listeners that the route asks.
pub fn is_taken_by(live: &HttpRoute, kubernetes: &GatewayRef) -> bool {
    let asked: Vec<_> = live.spec.parent_refs.iter().filter(|parent| is_of(parent, kubernetes)).cloned().collect();
    is_accepted_by(live, &asked)
}

/// Whether all of some parents have accepted a route as it is now.
pub fn is_accepted_by(live: &HttpRoute, parents: &[ParentReference]) -> bool {
    let accepts = |asked| holds(Some(live), answer(live, asked), "Accepted") == Some(true);
    !parents.is_empty() && parents.iter().all(accepts)
}

/// Whether a parent serves a route, as far as is known: one has answered, and none has refused it as it is now.
pub fn may_serve(live: &HttpRoute) -> bool {
    let answers: Vec<_> = live.spec.parent_refs.iter().map(|asked| answer(live, asked)).collect();
    answers.iter().any(Option::is_some)
        && answers.iter().all(|answer| holds(Some(live), *answer, "Accepted") != Some(false))
}

/// Why a parent does not take a route as it is now, in the parent's words.
pub fn refusal(live: &HttpRoute) -> Option<(String, String)> {
    let answers = live.spec.parent_refs.iter().map(|asked| answer(live, asked));
    let refused = answers.filter(|answer| holds(Some(live), *answer, "Accepted") == Some(false)).flatten().next()?;
    let condition = refused.conditions.iter().find(|condition| condition.type_ == "Accepted")?;
    Some((condition.reason.clone(), condition.message.clone()))
}

/// What a parent says of a backend in another namespace that the route, as it is now, may not lead to.
pub fn not_permitted(live: &HttpRoute) -> Option<String> {
    let answers = live.spec.parent_refs.iter().map(|asked| answer(live, asked));
    let refused = answers.filter(|answer| holds(Some(live), *answer, "ResolvedRefs") == Some(false)).flatten();
    let mut conditions = refused.flat_map(|answer| &answer.conditions);
    let refusal = conditions.find(|c| c.type_ == "ResolvedRefs" && c.reason == "RefNotPermitted")?;
    Some(refusal.message.clone())
}

/// Condition `RouteReady`: every parent that is asked must take the route as it is now.
fn judge(
    asked: &[ParentReference],
    carries: Option<&HttpRoute>,
    answers: &[Option<&RouteParentStatus>],
) -> NewCondition {
    // Without an answer it makes no difference to a user, and costs one write less, whether the route was just written.
    let unanswered = answers.is_empty().then(|| vec![None; asked.len()]);
    let answers = unanswered.as_deref().unwrap_or(answers);
    for (asked, answer) in asked.iter().zip(answers) {
        let section = asked.section_name.as_ref().map(|name| format!(", listener {name},")).unwrap_or_default();
        let gateway = format!("Gateway {}/{}{section}", asked.namespace.as_deref().unwrap_or_default(), asked.name);
        let condition = |type_: &str| answer.and_then(|answer| answer.conditions.iter().find(|c| c.type_ == type_));
        match holds(carries, *answer, "Accepted") {
            Some(true) => {}
            None => {
                return NewCondition::unknown(
                    ROUTE_READY,
                    WAITING_FOR_GATEWAY,
                    format!("{gateway} has not answered yet"),
                );
            }
            Some(false) => {
                let (reason, message) =
                    condition("Accepted").map(|c| (c.reason.clone(), c.message.clone())).unwrap_or_default();
                return NewCondition::false_(
                    ROUTE_READY,
                    reason,
                    format!("{gateway} does not accept the route: {message}"),
                );
            }
        }
        if let (Some(false), Some(resolved)) = (holds(carries, *answer, "ResolvedRefs"), condition("ResolvedRefs")) {
            return NewCondition::false_(
                ROUTE_READY,
                resolved.reason.clone(),
                format!("{gateway}: {}", resolved.message),
            );
        }
        // Then it leaves out what it does not support.
        if let (Some(true), Some(partly)) = (holds(carries, *answer, "PartiallyInvalid"), condition("PartiallyInvalid"))
        {
            return NewCondition::false_(
                ROUTE_READY,
                partly.reason.clone(),
                format!("{gateway} serves only a part of the route: {}", partly.message),
            );
        }
    }
    NewCondition::true_(ROUTE_READY, "Accepted", "")
}

/// Whether a condition of an answer holds for the route as it is now; `None` if the answer speaks of an older one.
fn holds(carries: Option<&HttpRoute>, answer: Option<&RouteParentStatus>, type_: &str) -> Option<bool> {
    let (carries, answer) = (carries?, answer?);
    let condition = answer.conditions.iter().find(|condition| condition.type_ == type_)?;
    // Implementations of before leave the generation out.
    let is_current = condition.observed_generation.is_none_or(|seen| Some(seen) >= carries.metadata.generation);
    is_current.then_some(condition.status == "True")
}

/// What the parent that we ask says.
fn answer<'a>(live: &'a HttpRoute, asked: &ParentReference) -> Option<&'a RouteParentStatus> {
    let parents = live.status.as_ref().map(|status| status.parents.iter()).into_iter().flatten();
    parents.into_iter().find(|parent| {
        let namespace = parent.parent_ref.namespace.clone().or_else(|| live.namespace());
        parent.parent_ref.kind == asked.kind
            && parent.parent_ref.name == asked.name
            && namespace == asked.namespace
            && parent.parent_ref.section_name == asked.section_name
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::function::route::REVISIONS;

    fn target(revision: &str) -> TrafficTarget {
        TrafficTarget { revision: revision.to_owned(), percent: 100, ..TrafficTarget::default() }
    }

    fn route(traffic: &[TrafficTarget], status: Value) -> HttpRoute {
        let names: Vec<_> = revisions(traffic).into_iter().collect();
        let metadata = json!({"name": "f", "namespace": "n", "generation": 3, "annotations": {TRAFFIC: traffic_hash(traffic), REVISIONS: names.join(",")}});
        let spec =
            json!({"parentRefs": [{"name": "g", "namespace": "i"}], "hostnames": ["h"], "rules": [{"matches": [{}]}]});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
    }

    fn answered(accepted: &str, generation: i64) -> Value {
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "R", "message": "m", "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({"parents": [{"parentRef": {"name": "g", "namespace": "i"}, "controllerName": "c", "conditions": [condition("Accepted", accepted), condition("ResolvedRefs", "True")]}]})
    }

    fn seen(live: &HttpRoute, traffic: &[TrafficTarget]) -> (Vec<String>, bool, Option<bool>) {
        let before = FunctionRouteStatus {
            revisions: vec!["old".to_owned()],
            observed_traffic: Some("old".to_owned()),
            ..Default::default()
        };
        let wanted = route(traffic, json!({}));
        let Observed { route: status, ready } =
            observe(&before, &wanted, &wanted.spec.parent_refs, Some(live), traffic);
        (status.revisions, status.observed_traffic == Some(traffic_hash(traffic)), ready.status)
    }

    #[test]
    fn a_revision_is_listed_until_a_route_without_it_is_accepted() {
        let (old, new) = ([target("old")], [target("new")]);
        let both = vec!["new".to_owned(), "old".to_owned()];
        assert_eq!(seen(&route(&old, answered("True", 3)), &new), (both.clone(), false, None), "not written yet");
        assert_eq!(
            seen(&route(&new, answered("True", 2)), &new),
            (both.clone(), true, None),
            "accepted as it was before"
        );
        assert_eq!(seen(&route(&new, json!({})), &new), (both.clone(), true, None), "not answered yet");
        assert_eq!(
            seen(&route(&new, answered("False", 3)), &new),
            (both, true, Some(false)),
            "refused: the gateway may serve the old one"
        );
        assert_eq!(seen(&route(&new, answered("True", 3)), &new), (vec!["new".to_owned()], true, Some(true)));
    }

    #[test]
    fn a_path_is_written_as_a_url_can_hold_it() {
        assert_eq!(encoded("/a b/ü%20"), "/a%20b/%C3%BC%20");
    }
}
