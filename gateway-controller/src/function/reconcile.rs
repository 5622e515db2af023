//! The driver of the route of one Function.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use controller_runtime::{
    apply::{ApplyError, Converged},
    children::{self, dynamic, json, live},
    client::describe,
    conditions::{self, NewCondition},
    driver::Failure,
    traffic::{ROUTE_READY, hash as traffic_hash},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::{
    core::{ADOPTED, Function, FunctionRouteStatus, FunctionStatus, RouteTag, TrafficTarget},
    gateway_api::{
        HttpPathMatch,
        resources::{GatewayClass, HttpRoute, KubernetesGateway, ParentReference},
    },
    networking::{Gateway, Listener},
};

use super::{
    conflict::{self, Lost},
    doors::Doors,
    features, grants,
    moving::{exists, may_leave},
    route::{self, Routed, Routes, Tag, internal_host, revisions},
    service::{self, is_service_name, name_of},
    shift,
    status::{self, own},
};
use crate::{
    Context, NO_GATEWAY_API,
    gateway::{self, is_of, is_twin},
};

/// Reason of `RouteReady` when another Function has what is claimed.
pub const ROUTE_CONFLICT: &str = "RouteConflict";
/// Time after which an API that has just appeared must be known.
const SOON: Duration = Duration::from_secs(1);
/// Time after which what was refused is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time in which a gateway that works has answered a new route.
const ANSWER: Duration = Duration::from_secs(5);

/// Brings the route of a Function one step further.
pub async fn reconcile(function: Arc<Function>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if function.metadata.deletion_timestamp.is_some() {
        context.unanswered.forget(&function);
        context.losers.forget(&function);
        return Ok(Action::await_change());
    }
    if !context.knows_gateway_api() || context.applier.is_late(&*function) {
        return Ok(Action::requeue(SOON));
    }
    let now = Timestamp::now();
    let mut converged = Converged::default();
    let before = function.status.clone().unwrap_or_default();
    let result = converge(&function, &context, &before, now, &mut converged).await;
    let after = match &result {
        Ok(after) => after.clone(),
        Err(error) if error.is_refusal() => {
            with_problem(&function, &own(&before), Failure::reason(error), describe(error), now)
        }
        Err(_) => return result.map(|_| Action::await_change()),
    };
    if let Some(left) = context.unanswered.wait(&function, &before, &after) {
        return Ok(converged.requeue(Some(left)));
    }
    let written = context.applier.status(&*function, &own(&before), &after).await?;
    if written {
        tell(&context, &function, &before, &after);
    }
    if let Some(drift) = &converged.drift {
        context.events.warning(&*function, "DriftNotConverging", drift.clone());
    }
    result?;
    Ok(converged.requeue(None))
}

fn with_problem(
    function: &Function,
    status: &FunctionStatus,
    reason: &str,
    message: String,
    now: Timestamp,
) -> FunctionStatus {
    let problem = NewCondition::false_(ROUTE_READY, reason, message);
    let route = status.route.clone().unwrap_or_default();
    status::with(function, route, status.addresses.clone(), problem, now)
}

fn tell(context: &Context, function: &Function, before: &FunctionStatus, after: &FunctionStatus) {
    let standing = |status: &FunctionStatus| status.conditions.iter().find(|c| c.type_ == ROUTE_READY).cloned();
    let (before, after) = (standing(before), standing(after));
    if let Some(after) = after.filter(|after| before.map(|before| before.status) != Some(after.status.clone())) {
        match after.status.as_str() {
            "True" => context.events.normal(function, "RouteReady", "the route is accepted"),
            "False" => context.events.warning(function, &after.reason, after.message),
            _ => {}
        }
    }
}

async fn converge(
    function: &Function,
    context: &Context,
    before: &FunctionStatus,
    now: Timestamp,
    converged: &mut Converged,
) -> Result<FunctionStatus, ApplyError> {
    let spec = function.spec_with_defaults(&context.default_gateway);
    let traffic = before.traffic.as_slice();
    if spec.suspend == Some(true) {
        return hold(function, context, before, now, converged).await;
    }
    if !spec.serving.as_ref().is_some_and(|serving| serving.needs_route()) {
        remove(function, context, true).await?;
        remove_what_the_original_left(function, context, before).await?;
        return Ok(FunctionStatus::default());
    }
    if traffic.is_empty() {
        // Nothing can be routed, or nothing any more. Nobody asks before there was a revision; and a status that is
        // lost, as after a restore from a backup, is no reason to take a route away (design §3). What the original has
        // made answers until it is known what shall answer here.
        match &before.route {
            None => return Ok(FunctionStatus::default()),
            Some(route) if route.observed_traffic.is_none() => return Ok(own(before)),
            Some(_) => {}
        }
        remove(function, context, false).await?;
        let route = FunctionRouteStatus { observed_traffic: Some(traffic_hash(traffic)), ..Default::default() };
        let waits = NewCondition::unknown(ROUTE_READY, "NoTraffic", "there is no revision that could answer");
        return Ok(status::with(function, route, Vec::new(), waits, now));
    }
    if !is_service_name(&function.name_any()) {
        let message = format!(
            "metadata.name: {:?} cannot be the name of a Service, so the function has no address inside the cluster; use small letters, digits and '-', the first a letter, at most 63",
            function.name_any()
        );
        // Neither a route nor a Service leads anywhere, so nothing holds an old revision.
        let problem = NewCondition::false_(ROUTE_READY, "InvalidName", message);
        return Ok(status::with(function, led_to(traffic), Vec::new(), problem, now));
    }
    match find(context, function) {
        Ok((gateway, kubernetes)) => {
            let by_set = context.uses_listener_set(&gateway, &kubernetes);
            let set = context.listener_set(&gateway::target(&gateway).unwrap_or_default());
            let routed = Routed {
                function,
                spec: &spec,
                gateway: &gateway,
                kubernetes: &kubernetes,
                by_set,
                set: set.as_deref(),
                options: &context.options,
            };
            through(routed, context, before, now, converged).await
        }
        Err(missing) => {
            match context.route_of(function).filter(|live| still_serves(context, live)) {
                Some(live) => {
                    // Its entry goes with it, so that the Service must lead elsewhere.
                    if asked_gateway(context, function).is_none() {
                        enter_straight(function, context, traffic, converged).await?;
                    }
                    keep(function, context, before, &live, ("GatewayMissing", missing), now, converged).await
                }
                None => straight(function, context, traffic, missing, now, converged).await,
            }
        }
    }
}

/// A Function that is suspended keeps its route as it is, whatever its spec says by now; it goes on leading to the
/// present traffic, whose backends may move (goals FN36).
async fn hold(
    function: &Function,
    context: &Context,
    before: &FunctionStatus,
    now: Timestamp,
    converged: &mut Converged,
) -> Result<FunctionStatus, ApplyError> {
    let live = context.route_of(function).filter(|_| !before.traffic.is_empty());
    let Some(live) = live else { return Ok(own(before)) };
    let (route, ready) = as_it_is(function, context, before, &live, converged).await?;
    Ok(status::with(function, route, before.addresses.clone(), ready, now))
}

/// The OpenFunction Gateway that a Function asks for, unless it goes.
fn asked_gateway(context: &Context, function: &Function) -> Option<Arc<Gateway>> {
    let named = gateway::asked_by(function, &context.default_gateway);
    let gateway = context.gateways.store().get(&ObjectRef::new(&named.name).within(&named.namespace));
    gateway.filter(|gateway| gateway.metadata.deletion_timestamp.is_none())
}

/// The gateway of a Function with its Kubernetes Gateway, or why it has none that can be used.
fn find(context: &Context, function: &Function) -> Result<(Arc<Gateway>, Arc<KubernetesGateway>), String> {
    if !context.has_gateway_api() {
        return Err(NO_GATEWAY_API.to_owned());
    }
    let named = gateway::asked_by(function, &context.default_gateway);
    let Some(gateway) = asked_gateway(context, function) else {
        return Err(format!(
            "OpenFunction Gateway {}/{} does not exist; make it (gateways.networking.openfunction.io), or name another in spec.serving.triggers.http.route.gatewayRef",
            named.namespace, named.name
        ));
    };
    let place = format!("OpenFunction Gateway {}/{}", named.namespace, named.name);
    // Requests must not come in by a Gateway that it may not use.
    let (target, kubernetes) = gateway::admit(&gateway, context)
        .map_err(|(reason, message)| format!("{place} is refused ({reason}): {message}"))?;
    let missing = format!("Gateway {}/{} of {place} does not exist", target.namespace, target.name);
    kubernetes.map(|kubernetes| (gateway, kubernetes)).ok_or(missing)
}

/// A route through a gateway.
async fn through(
    routed: Routed<'_>,
    context: &Context,
    before: &FunctionStatus,
    now: Timestamp,
    converged: &mut Converged,
) -> Result<FunctionStatus, ApplyError> {
    let function = routed.function;
    let traffic = before.traffic.as_slice();
    let problem = |reason: &str, message: String| Ok(with_problem(function, &own(before), reason, message, now));
    let target = gateway::target(routed.gateway).unwrap_or_default();
    let cluster_domain = &routed.gateway.spec.cluster_domain;
    let wanted = routed.hostnames().and_then(|mut hostnames| {
        hostnames.extend(routed.tagged_hostnames(traffic)?);
        let rules = routed.rules()?;
        let find = || conflict::lost(function, &hostnames, &rules, &target, cluster_domain, context);
        let lost = context.losers.settle(function, find);
        let hosts = lost.iter().map(|lost| lost.host.clone()).collect();
        Ok((lost, routed.http_routes(traffic, &hosts)?))
    });
    let (lost, wanted) = match wanted {
        Ok(wanted) => wanted,
        Err(unroutable) => return problem(unroutable.reason, unroutable.message),
    };
    let live = Live::of(context, function, &wanted.main);
    let asked = wanted.main.spec.parent_refs.clone();
    let moves = live.main.as_deref().filter(|main| main.spec.parent_refs.iter().any(|parent| !is_of(parent, &target)));
    if let Some(main) = moves.filter(|main| still_serves(context, main))
        && (!asked.iter().all(|parent| routed.has(parent)) || loses_certified(&routed, &wanted, main))
    {
        let pending = format!("Gateway {}/{} does not have the listeners yet", target.namespace, target.name);
        return keep(function, context, before, main, ("GatewayPending", pending), now, converged).await;
    }
    let class = context.class_of(routed.kubernetes);
    let missing = features::missing(class.as_deref(), wanted.others.iter().chain([&wanted.main]));
    if let Some(message) = unsplittable(traffic, &missing, class.as_deref()) {
        return problem("SplitUnsupported", message);
    }
    grants::allow(context, function, traffic, converged).await?;
    grants::allow_certificate(context, function, &target, routed.by_set, live.main.as_deref(), converged).await?;
    if let Some(refusal) =
        live.main.as_deref().filter(|_| route::leaves_namespace(&wanted.main)).and_then(status::not_permitted)
        && shift::next(live.main.as_deref(), &wanted.main, true).1
    {
        // Requests would be lost: what answers goes on until the gateway may use the backend.
        let namespace = function.namespace().unwrap_or_default();
        let message = format!(
            "{refusal}; make a ReferenceGrant in the namespace of the backend that lets HTTPRoutes of namespace {namespace} refer to it"
        );
        return problem("RefNotPermitted", message);
    }
    let stays = match moves {
        Some(main) => !may_leave(routed, context, main, &asked, converged),
        None => false,
    };
    let as_now = |wanted: &HttpRoute, live: Option<&HttpRoute>| {
        let is_kept = |parent: &ParentReference| match is_of(parent, &target) {
            // The same listener in the Gateway and in its ListenerSet: the old one goes when no route needs it.
            true => routed.has(parent) && wanted.spec.parent_refs.iter().any(|asked| is_twin(asked, parent)),
            false => stays && exists(context, parent),
        };
        live.map_or_else(|| wanted.clone(), |live| shift::staying(live, wanted, is_kept))
    };
    let main = as_now(&wanted.main, live.main.as_deref());
    shift(context, live.main.as_deref(), &main, converged).await?;
    for other in &wanted.others {
        let is = live.other(&other.name_any());
        shift(context, is, &as_now(other, is), converged).await?;
    }
    for obsolete in
        live.others.iter().filter(|live| !wanted.others.iter().any(|other| other.name_any() == live.name_any()))
    {
        context.applier.delete(&**obsolete).await?;
    }
    let mut observed =
        status::observe(&before.route.clone().unwrap_or_default(), &main, &asked, live.main.as_deref(), traffic);
    let is_accepted = observed.ready.status;
    observed.route.hosts = wanted.hostnames.clone();
    let mut reached: BTreeSet<_> = observed.route.revisions.into_iter().collect();
    reached.extend(live.others.iter().flat_map(|live| route::led_to(live)));
    observed.route.revisions = reached.into_iter().collect();
    observed.route.tags = tags(&wanted, &live, cluster_domain);
    let refused = live.others.iter().filter(|other| !route::is_short(other));
    let refused = refused.filter_map(|other| Some((other.name_any(), status::refusal(other)?))).next();
    let ready = match refused {
        Some((name, (reason, message))) if is_accepted == Some(true) => {
            NewCondition::false_(ROUTE_READY, reason, format!("HTTPRoute {name:?} is not accepted: {message}"))
        }
        _ => told(observed.ready, &lost, &wanted, &missing, class.as_deref(), routed),
    };
    let addresses = status::addresses(&observed.route.hosts, &observed.route.paths, cluster_domain, &wanted.doors);
    let entered = enter(routed, context, traffic, live.main.as_deref(), is_accepted, &wanted.tags, converged).await;
    let status = status::with(function, observed.route, addresses, ready, now);
    match entered {
        Ok(()) => Ok(status),
        // The route is as it is, whatever is wrong with the Service.
        Err(error) if error.is_refusal() => {
            converged.look_again(PATIENCE);
            Ok(with_problem(function, &status, Failure::reason(&error), describe(&error), now))
        }
        Err(error) => Err(error),
    }
}

/// Whether a route would lose a hostname that comes in with a certificate, since its new Gateway has no listener for it
/// yet.
fn loses_certified(routed: &Routed<'_>, wanted: &Routes, live: &HttpRoute) -> bool {
    let certified = routed.certified();
    let mut waits = wanted.doors.unserved.iter().filter(|(host, _)| certified.contains(host));
    waits.any(|(host, _)| live.spec.hostnames.contains(host))
}

/// The HTTPRoutes of a Function, as they are.
struct Live {
    main: Option<Arc<HttpRoute>>,
    others: Vec<Arc<HttpRoute>>,
}

impl Live {
    fn of(context: &Context, function: &Function, main: &HttpRoute) -> Self {
        let (namespace, name) = (function.namespace().unwrap_or_default(), main.name_any());
        let mut others = children::owned(&context.routes, function);
        others.retain(|route| route.name_any() != name);
        Self { main: context.routes.store().get(&ObjectRef::new(&name).within(&namespace)), others }
    }

    fn other(&self, name: &str) -> Option<&HttpRoute> {
        self.others.iter().find(|route| route.name_any() == name).map(AsRef::as_ref)
    }
}

/// Why the gateway cannot split requests over the revisions of a traffic, if so.
fn unsplittable(traffic: &[TrafficTarget], missing: &[&str], class: Option<&GatewayClass>) -> Option<String> {
    if route::is_split_by_host(traffic) {
        return Some("requests cannot be split over revisions of engine keda: its interceptor knows them by the Host alone; use engine knative or native".to_owned());
    }
    let class = class.filter(|_| missing.contains(&features::BACKEND_HEADERS))?;
    let what = if traffic.iter().filter(|target| target.percent > 0).count() > 1 {
        "requests cannot be split over revisions of engine knative"
    } else {
        "a rule with a header filter of its own cannot lead to a revision of engine knative"
    };
    Some(format!(
        "GatewayClass {:?} does not list {}, without which {what}; use engine native, or another gateway",
        class.name_any(),
        features::BACKEND_HEADERS
    ))
}

/// Condition `RouteReady`: what the gateway says; then what it cannot know.
fn told(
    ready: NewCondition,
    lost: &[Lost],
    wanted: &Routes,
    missing: &[&str],
    class: Option<&GatewayClass>,
    routed: Routed<'_>,
) -> NewCondition {
    // Without a listener nobody would ever answer.
    let has_no_door = wanted.main.spec.parent_refs.is_empty();
    if ready.status != Some(true) && !has_no_door {
        return ready;
    }
    if !lost.is_empty() {
        let all: Vec<_> = lost.iter().map(ToString::to_string).collect();
        let message = format!("{}; the rest of the route serves", all.join("; "));
        return NewCondition::false_(ROUTE_READY, ROUTE_CONFLICT, message);
    }
    let kubernetes = routed.kubernetes;
    let gateway = format!("Gateway {}/{}", kubernetes.namespace().unwrap_or_default(), kubernetes.name_any());
    if let Some((host, why)) = wanted.doors.unserved.first() {
        let message = format!("hostname {host:?} is not served by {gateway}: {why}");
        let is_certified = routed.certified().contains(host);
        return if is_certified {
            NewCondition::unknown(ROUTE_READY, "ListenerPending", message)
        } else {
            NewCondition::false_(ROUTE_READY, "NoListener", message)
        };
    }
    if let Some(class) = class.filter(|_| !missing.is_empty()) {
        let message = format!(
            "accepted, but GatewayClass {:?} does not list what the route uses, so it may have no effect: {}",
            class.name_any(),
            missing.join(", ")
        );
        return NewCondition::true_(ROUTE_READY, "FeaturesNotListed", message);
    }
    ready
}

/// The addresses of tagged revisions whose routes are accepted.
fn tags(wanted: &Routes, live: &Live, cluster_domain: &str) -> Vec<RouteTag> {
    let told = wanted.tags.iter().filter_map(|tag| {
        let route = wanted.others.iter().find(|route| route.name_any() == tag.route)?;
        let is_accepted =
            live.other(&tag.route).is_some_and(|live| status::is_accepted_by(live, &route.spec.parent_refs));
        let paths = status::paths(&route.spec.rules);
        is_accepted.then(|| RouteTag {
            name: tag.name.clone(),
            revision: tag.revision.clone(),
            addresses: status::addresses(&tag.hostnames, &paths, cluster_domain, &tag.doors),
        })
    });
    told.collect()
}

/// Keeps the Service with the Function's name, and those of its tags. It leads through the gateway once the gateway has
/// taken the route; what leads there already stays so.
async fn enter(
    routed: Routed<'_>,
    context: &Context,
    traffic: &[TrafficTarget],
    route: Option<&HttpRoute>,
    is_accepted: Option<bool>,
    tags: &[Tag],
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let function = routed.function;
    let (namespace, name) = (function.namespace().unwrap_or_default(), function.name_any());
    let live = context.services.store().get(&ObjectRef::new(&name).within(&namespace));
    let entry = context.entry_name(routed.gateway);
    let through = service::through(function, &name, routed.gateway, &entry);
    let leads_through = live.as_deref().is_some_and(|live| name_of(live) == name_of(&through));
    // A name that nothing stands behind leads nowhere; what can be reached without the gateway is, meanwhile.
    let has_entry =
        context.services.store().get(&ObjectRef::new(&entry).within(&routed.gateway.namespace().unwrap_or_default()));
    let straight = service::straight(function, traffic, &context.cluster_domain);
    let made = route.and_then(|route| route.creation_timestamp());
    let age = made.map_or(Duration::ZERO, |made| elapsed(made.0));
    // A Service that leads through another gateway goes on until this one has taken the route.
    let moves = live.as_deref().filter(|live| !leads_through && leads_through_a_gateway(context, live));
    let wanted = match is_accepted {
        Some(true) if has_entry.is_none() && straight.is_some() => {
            converged.look_again(PATIENCE);
            straight
        }
        Some(true) => Some(through),
        _ if leads_through => Some(through),
        _ if moves.is_some() => None,
        // A gateway that works answers soon.
        None if live.is_none() && age < ANSWER => {
            converged.look_again(ANSWER);
            None
        }
        _ => straight,
    };
    if let Some(wanted) = wanted {
        context.applier.converge(dynamic(&wanted), live.as_deref().map(json).as_ref(), converged).await?;
    }
    let mut of_tags = BTreeSet::new();
    for tag in tags {
        let name = format!("{}-{name}", tag.name);
        if is_service_name(&name) {
            let is = context.services.store().get(&ObjectRef::new(&name).within(&namespace));
            let wanted = service::through(function, &name, routed.gateway, &entry);
            context.applier.converge(dynamic(&wanted), is.as_deref().map(json).as_ref(), converged).await?;
            of_tags.insert(name);
        }
    }
    for obsolete in children::owned(&context.services, function) {
        if obsolete.name_any() != name && !of_tags.contains(&obsolete.name_any()) {
            context.applier.delete(&*obsolete).await?;
        }
    }
    Ok(())
}

/// Whether a Service leads to the entry of some OpenFunction Gateway.
fn leads_through_a_gateway(context: &Context, service: &Service) -> bool {
    let mut labels = name_of(service).into_iter().flat_map(|name| name.splitn(3, '.'));
    let (Some(entry), Some(namespace)) = (labels.next(), labels.next()) else { return false };
    let entry = context.services.store().get(&ObjectRef::new(entry).within(namespace));
    entry.is_some_and(|entry| !children::controller::<_, Gateway>(&*entry).is_empty())
}

/// Time since a point, none if the clock went back.
fn elapsed(since: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default()
}

/// Brings the live route one step closer to the wanted one.
async fn shift(
    context: &Context,
    live: Option<&HttpRoute>,
    wanted: &HttpRoute,
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let left = live.map_or(Duration::ZERO, |live| context.time_to_settle(live));
    let (next, goes_on) = shift::next(live, wanted, left.is_zero());
    if let Some(next) = next {
        context.applier.converge(dynamic(&next), live.map(json).as_ref(), converged).await?;
    }
    // Otherwise the gateway's answer is the next thing that happens.
    if goes_on && !left.is_zero() && live.is_some_and(status::is_answered) {
        converged.look_again(left);
    }
    Ok(())
}

/// Whether requests still come in by a route.
fn still_serves(context: &Context, live: &HttpRoute) -> bool {
    status::may_serve(live) && live.spec.parent_refs.iter().all(|parent| exists(context, parent))
}

/// The gateway that is asked for is missing, and a route through another still serves: it stays, and goes on leading to
/// the present traffic.
async fn keep(
    function: &Function,
    context: &Context,
    before: &FunctionStatus,
    live: &HttpRoute,
    (reason, missing): (&'static str, String),
    now: Timestamp,
    converged: &mut Converged,
) -> Result<FunctionStatus, ApplyError> {
    let (route, _) = as_it_is(function, context, before, live, converged).await?;
    let ready = NewCondition::false_(ROUTE_READY, reason, format!("{missing}; the route as it was stays"));
    Ok(status::with(function, route, before.addresses.clone(), ready, now))
}

/// Keeps a route as it was written, but for the backends of the present traffic; with what the gateway says of it.
async fn as_it_is(
    function: &Function,
    context: &Context,
    before: &FunctionStatus,
    live: &HttpRoute,
    converged: &mut Converged,
) -> Result<(FunctionRouteStatus, NewCondition), ApplyError> {
    let known = before.route.clone().unwrap_or_default();
    let wanted = route::kept(function, live, &before.traffic);
    shift(context, Some(live), &wanted, converged).await?;
    let mut observed = status::observe(&known, &wanted, &wanted.spec.parent_refs, Some(live), &before.traffic);
    let mut reached: BTreeSet<_> = observed.route.revisions.into_iter().collect();
    for other in Live::of(context, function, &wanted).others {
        shift(context, Some(&other), &route::kept(function, &other, &before.traffic), converged).await?;
        reached.extend(route::led_to(&other));
    }
    observed.route.revisions = reached.into_iter().collect();
    // What a user reads is as it was.
    observed.route.hosts = known.hosts;
    observed.route.tags = known.tags;
    Ok((observed.route, observed.ready))
}

/// Keeps the Service that leads straight to a revision; false if there is none that can be reached so.
async fn enter_straight(
    function: &Function,
    context: &Context,
    traffic: &[TrafficTarget],
    converged: &mut Converged,
) -> Result<bool, ApplyError> {
    let Some(service) = service::straight(function, traffic, &context.cluster_domain) else { return Ok(false) };
    let is = live(&context.services, &function.namespace().unwrap_or_default(), &function.name_any());
    context.applier.converge(dynamic(&service), is.as_ref(), converged).await?;
    Ok(true)
}

/// Without a gateway: the Service leads straight to the revision (design §4).
async fn straight(
    function: &Function,
    context: &Context,
    traffic: &[TrafficTarget],
    missing: String,
    now: Timestamp,
    converged: &mut Converged,
) -> Result<FunctionStatus, ApplyError> {
    if !enter_straight(function, context, traffic, converged).await? {
        let message = format!("{missing}; the engine of this function needs a gateway, engine native does not");
        let before = function.status.clone().unwrap_or_default();
        return Ok(with_problem(function, &own(&before), "GatewayRequired", message, now));
    }
    // Only then, so that there is always a way.
    for route in children::owned(&context.routes, function) {
        context.applier.delete(&*route).await?;
    }
    grants::forbid_certificate(context, function).await?;
    let hosts = vec![internal_host(function, &context.cluster_domain)];
    // The port is that of a Service that leads to the backend under its own name.
    let doors = Doors {
        listeners: vec![Listener { port: 80, protocol: "HTTP".to_owned(), ..Listener::default() }],
        ..Doors::default()
    };
    let addresses = status::addresses(&hosts, &[HttpPathMatch::default()], &context.cluster_domain, &doors);
    let status = FunctionRouteStatus { hosts, paths: vec![HttpPathMatch::default()], ..led_to(traffic) };
    let ready = NewCondition::false_(ROUTE_READY, "GatewayMissing", missing);
    Ok(status::with(function, status, addresses, ready, now))
}

/// What is told when requests can go to a traffic only.
fn led_to(traffic: &[TrafficTarget]) -> FunctionRouteStatus {
    FunctionRouteStatus {
        observed_traffic: Some(traffic_hash(traffic)),
        revisions: revisions(traffic).into_iter().collect(),
        ..FunctionRouteStatus::default()
    }
}

/// Removes the HTTPRoute, and the Service too if the Function shall have no address.
/// The original has a Service of the Function's name for events, too: by it, its proxy finds the pods of its revision, which
/// may be the present one (core-behaviour §2.7).
async fn remove_what_the_original_left(
    function: &Function,
    context: &Context,
    status: &FunctionStatus,
) -> Result<(), ApplyError> {
    let runs = status.serving.as_ref().and_then(|serving| serving.state.as_deref()) == Some("Running");
    let is_needed = !runs || status.traffic.is_empty() || conditions::find(&status.conditions, ADOPTED).is_some();
    let named = ObjectRef::new(&function.name_any()).within(&function.namespace().unwrap_or_default());
    let Some(service) = context.all_services.store().get(&named).filter(|_| !is_needed) else { return Ok(()) };
    let is_ours = service.owner_references().iter().any(|owner| Some(&owner.uid) == function.uid().as_ref());
    if is_ours { context.applier.delete(&*service).await } else { Ok(()) }
}

async fn remove(function: &Function, context: &Context, and_service: bool) -> Result<(), ApplyError> {
    for route in children::owned(&context.routes, function) {
        context.applier.delete(&*route).await?;
    }
    for service in children::owned(&context.services, function).into_iter().filter(|_| and_service) {
        context.applier.delete(&*service).await?;
    }
    grants::forbid_certificate(context, function).await
}
