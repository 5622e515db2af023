//! Conditions of a Function, and what of its status this controller owns.

use std::time::Duration;

use controller_runtime::{
    conditions::{self, NewCondition},
    status_api,
    traffic::{self, DRIFT, ROUTE_READY},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use openfunction_proto::{
    core::{Blocker, Function, FunctionCondition, FunctionSpec, FunctionStatus, NOTES, TrafficTarget},
    status_api::ObjectStatus,
};

use crate::{
    hints,
    plan::{World, elapsed},
};

/// The image is built, or nothing is to be built.
pub const BUILD_READY: &str = "BuildReady";
/// The present revision runs, or nothing is to be run.
pub const SERVING_READY: &str = "ServingReady";
/// The Function is suspended.
pub const SUSPENDED: &str = "Suspended";
/// All of it.
pub const READY: &str = "Ready";

/// Reason of `Ready` when nobody renders the route.
const NOT_OBSERVED: &str = "RouteNotObserved";
/// Time after which a route that nobody renders is a failure.
const ROUTE_PATIENCE: Duration = Duration::from_secs(30);

/// The part of a status that this controller owns (design §3).
pub fn own(status: &FunctionStatus) -> FunctionStatus {
    let mut own = FunctionStatus { route: None, addresses: Vec::new(), ..status.clone() };
    let ours = [BUILD_READY, SERVING_READY, READY, DRIFT, SUSPENDED];
    let is_ours = |type_: &str| ours.contains(&type_) || NOTES.contains(&type_);
    own.conditions.retain(|condition| is_ours(&condition.type_));
    if let Some(revision) = &mut own.revision {
        revision.detected = None;
    }
    own.revision = own.revision.filter(|revision| *revision != Default::default());
    own
}

/// Sets a condition, with the time at which its status last changed.
pub fn set(world: &World, status: &mut FunctionStatus, new: NewCondition) {
    let before = world.function.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let next = conditions::next(before, new, world.function.metadata.generation, world.now);
    status.conditions.retain(|condition| condition.type_ != next.type_);
    status.conditions.push(next);
}

fn told(state: &FunctionCondition, otherwise: &str) -> (String, String) {
    let reason = state.reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| otherwise.to_owned());
    (reason, state.message.clone().unwrap_or_default())
}

/// What the state of a build means.
pub fn of_build(build: &FunctionCondition) -> NewCondition {
    let state = build.state.as_deref().unwrap_or("Pending");
    let (reason, message) = told(build, state);
    match state {
        "Succeeded" => NewCondition::true_(BUILD_READY, reason, ""),
        "Failed" | "Timeout" | "Canceled" => NewCondition::false_(BUILD_READY, reason, message),
        _ => NewCondition::unknown(BUILD_READY, reason, message),
    }
}

/// What the state of the present revision means.
pub fn of_serving(serving: &FunctionCondition, is_ready: bool) -> NewCondition {
    let state = serving.state.as_deref().unwrap_or("Pending");
    let (reason, message) = told(serving, state);
    match state {
        _ if is_ready => NewCondition::true_(SERVING_READY, reason, ""),
        "Failed" | "Timeout" => NewCondition::false_(SERVING_READY, reason, message),
        _ => NewCondition::unknown(SERVING_READY, reason, message),
    }
}

/// What decides whether a Function is ready.
pub struct Ready<'a> {
    /// The Function.
    pub function: &'a Function,
    /// Its spec, with defaults.
    pub spec: &'a FunctionSpec,
    /// Its status until now.
    pub before: &'a FunctionStatus,
    /// Where its requests shall go.
    pub traffic: &'a [TrafficTarget],
    /// Now.
    pub now: Timestamp,
}

impl Ready<'_> {
    /// Condition `Ready`, with the deepest reason that is known; and when it may change by itself.
    pub fn judge(&self, status: &FunctionStatus) -> (NewCondition, Option<Duration>) {
        for type_ in [BUILD_READY, SERVING_READY] {
            let Some(condition) = conditions::find(&status.conditions, type_) else { continue };
            if condition.status == "False" {
                return (
                    NewCondition::false_(READY, condition.reason.clone(), self.with_what_answers(&condition.message)),
                    None,
                );
            }
            if condition.status != "True" {
                let what = if condition.message.is_empty() { &condition.reason } else { &condition.message };
                let reason = if self.spec.suspend == Some(true) { SUSPENDED } else { "Reconciling" };
                return (NewCondition::unknown(READY, reason, self.with_what_answers(what)), None);
            }
        }
        let needs_route = self.spec.serving.as_ref().is_some_and(|serving| serving.needs_route());
        if !needs_route {
            return (NewCondition::true_(READY, "Ready", ""), None);
        }
        self.judge_route(status)
    }

    fn judge_route(&self, status: &FunctionStatus) -> (NewCondition, Option<Duration>) {
        let generation = self.function.metadata.generation;
        let observed = self.before.route.as_ref().and_then(|route| route.observed_traffic.as_deref());
        let route = conditions::find(&self.before.conditions, ROUTE_READY);
        // A failure is told at once, whatever was rendered before.
        if let Some(failed) = route.filter(|route| route.status == "False" && route.observed_generation == generation)
            && (failed.reason != "GatewayMissing" || self.asks_for_a_gateway())
        {
            let message = self.with_what_answers(&failed.message);
            return (NewCondition::false_(READY, failed.reason.clone(), message), None);
        }
        let (Some(route), true) = (route, observed == Some(&traffic::hash(self.traffic))) else {
            // From when the revision was ready, and from when this was not; a rollback begins with both long ago.
            let ready = conditions::find(&self.before.conditions, READY).filter(|ready| ready.status == "Unknown");
            let waits_since = ready.map_or(self.now, |ready| ready.last_transition_time.0);
            let since = conditions::find(&status.conditions, SERVING_READY)
                .map_or(self.now, |serving| serving.last_transition_time.0.max(waits_since));
            let left = ROUTE_PATIENCE.saturating_sub(elapsed(since, self.now));
            // What is told stays so until the route is rendered.
            let is_told = conditions::find(&self.before.conditions, READY)
                .is_some_and(|ready| ready.reason == NOT_OBSERVED && ready.observed_generation == generation);
            return if left.is_zero() || is_told {
                let message = "the gateway-controller has not rendered the route; is it installed and running?";
                (NewCondition::false_(READY, NOT_OBSERVED, self.with_what_answers(message)), None)
            } else {
                (NewCondition::unknown(READY, "Reconciling", "the route is not rendered yet"), Some(left))
            };
        };
        let was_ready = conditions::is_true(&self.before.conditions, READY, generation);
        let condition = match route.status.as_str() {
            "True" if route.observed_generation == generation => NewCondition::true_(READY, "Ready", ""),
            "False" if route.observed_generation == generation => {
                NewCondition::true_(READY, "Ready", format!("without a route: {}", route.message))
            }
            // A change of the gateway alone does not make a working function unready.
            _ if was_ready => NewCondition::true_(READY, "Ready", ""),
            _ => NewCondition::unknown(READY, "Reconciling", "the route is not accepted yet"),
        };
        (condition, None)
    }

    /// Whether the user asked for what only a gateway can give.
    fn asks_for_a_gateway(&self) -> bool {
        let written = self.function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
        written
            .is_some_and(|route| !route.hostnames.is_empty() || !route.rules.is_empty() || route.gateway_ref.is_some())
    }

    fn with_what_answers(&self, message: &str) -> String {
        match self.traffic {
            [] => message.to_owned(),
            [target, ..] => format!("{message}; revision {} keeps answering", target.revision),
        }
    }
}

/// Names an object that cannot be applied, which `Ready` tells of.
pub fn blocked_first(world: &World, kind: &str, name: &str, status: &mut FunctionStatus) {
    if let Some(ready) = conditions::find(&status.conditions, READY) {
        status.blocked_by.insert(0, blocker(world.function, kind, name.to_owned(), ready));
    }
}

fn blocker(function: &Function, kind: &str, name: String, condition: &Condition) -> Blocker {
    let hint = hints::of(&condition.reason);
    Blocker {
        kind: kind.to_owned(),
        name,
        namespace: function.namespace(),
        field: hint.as_ref().and_then(|hint| hint.field).map(str::to_owned),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        hint: hint.map(|hint| hint.hint.to_owned()),
        since: Some(condition.last_transition_time.clone()),
    }
}

/// Names the objects that hold the Function back, the deepest first, with what to do about it (goals FN26).
pub fn blocked_by(world: &World, failing: &[String], status: &mut FunctionStatus) {
    let function = world.function;
    let blocker = |kind: &str, name, condition: &Condition| blocker(function, kind, name, condition);
    let is_false = |conditions: &[Condition], type_: &str| {
        conditions::find(conditions, type_).filter(|condition| condition.status == "False").cloned()
    };
    let name_of = |part: &Option<FunctionCondition>| {
        part.as_ref().and_then(|part| part.resource_ref.clone()).unwrap_or_else(|| function.name_any())
    };
    let build = is_false(&status.conditions, BUILD_READY).map(|c| blocker("Builder", name_of(&status.build), &c));
    let servings: Vec<_> = failing
        .iter()
        .filter_map(|name| {
            let serving = world.serving(name)?.status.as_ref()?;
            Some(blocker("Serving", name.clone(), &is_false(&serving.conditions, READY)?))
        })
        .collect();
    let of_itself = is_false(&status.conditions, SERVING_READY).filter(|_| servings.is_empty());
    let of_itself = of_itself.map(|c| blocker("Function", function.name_any(), &c));
    let mut found: Vec<_> = build.into_iter().chain(servings).chain(of_itself).collect();
    // What was written wrong is the Function's own fault; the rest is told by the route.
    if let Some(condition) = is_false(&status.conditions, READY).filter(|_| found.is_empty()) {
        found.push(blocker("HTTPRoute", function.name_any(), &condition));
    }
    status.blocked_by = found;
}

/// The state by which Functions are counted: that of the serving, or of the build if nothing is run.
pub fn state(function: &Function) -> Option<&str> {
    let status = function.status.as_ref()?;
    let serving = status.serving.as_ref().and_then(|serving| serving.state.as_deref());
    serving.filter(|state| *state != "Skipped").or_else(|| status.build.as_ref()?.state.as_deref())
}

/// What the status API says of a Function.
pub fn explain(function: &Function) -> ObjectStatus {
    let status = function.status.clone().unwrap_or_default();
    let mut explained = status_api::object_status(function, status.observed_generation, &status.conditions);
    explained.blockers = status.blocked_by.iter().map(status_api::blocker).collect();
    explained
}
