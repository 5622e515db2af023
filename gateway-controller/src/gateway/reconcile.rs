//! The driver of one OpenFunction Gateway.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    apply::{ApplyError, Converged},
    children::{self, dynamic, json, live},
    client::describe,
    contained,
    driver::Failure,
};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    core::ApiResource,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::{
    core::{Function, GatewayRef},
    gateway_api::resources::{HttpRoute, KubernetesGateway, ListenerSet},
    networking::{Gateway, GatewayStatus, Listener},
};

use super::{
    entry, is_attached, is_moving,
    listeners::{self, Carrier},
    manager, original, permission, set, status, target, validate, with_certificate,
};
use crate::{
    Context, NO_GATEWAY_API,
    function::{
        conflict::{Others, age, internal_name},
        is_taken_by,
    },
};

/// Holds an OpenFunction Gateway until its listeners are gone.
const FINALIZER: &str = "networking.openfunction.io/finalizer";

/// Reasons of an OpenFunction Gateway that nothing is made for ([`admit`]).
const INVALID_SPEC: &str = "InvalidSpec";
const NOT_PERMITTED: &str = "RefNotPermitted";
const NOT_OWNED: &str = "NotOwned";

/// Why the last pass made nothing for an OpenFunction Gateway, if so: when this changes, its functions look again.
pub fn refusal(gateway: &Gateway) -> Option<&str> {
    let ready = gateway.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(ready.reason.as_str()).filter(|reason| [INVALID_SPEC, NOT_PERMITTED, NOT_OWNED].contains(reason))
}

/// Time after which what could not be made is tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the entry waits for functions that do not move to another Gateway.
const MOVE_PATIENCE: Duration = Duration::from_secs(120);
/// Time after which an API that has just appeared must be known.
const SOON: Duration = Duration::from_secs(1);

/// Brings an OpenFunction Gateway one step further.
pub async fn reconcile(gateway: Arc<Gateway>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if !context.knows_gateway_api() {
        return Ok(Action::requeue(SOON));
    }
    if gateway.metadata.deletion_timestamp.is_some() {
        return finish(&gateway, &context).await;
    }
    let now = Timestamp::now();
    let result = converge(&gateway, &context, now).await;
    let after = match &result {
        Ok((status, Converged { drift: Some(drift), .. })) => {
            status::with_problem(status.clone(), &gateway, "DriftNotConverging", drift.clone(), now)
        }
        Ok((status, _)) => status.clone(),
        Err(error) if error.is_refusal() => status::failed(&gateway, Failure::reason(error), describe(error), now),
        Err(_) => return result.map(|_| Action::await_change()),
    };
    let before = gateway.status.clone().unwrap_or_default();
    let after = status::in_order_of(&before, after);
    if context.applier.status(&*gateway, &before, &after).await? {
        tell(&context, &gateway, &after);
    }
    let (_, converged) = result?;
    Ok(converged.requeue(None))
}

fn tell(context: &Context, gateway: &Gateway, after: &GatewayStatus) {
    match status::transition(gateway, after) {
        Some(ready) if ready.status == "True" => context.events.normal(gateway, "Ready", "the Gateway serves"),
        Some(ready) if ready.status == "False" => context.events.warning(gateway, &ready.reason, ready.message.clone()),
        _ => {}
    }
}

async fn converge(
    gateway: &Gateway,
    context: &Context,
    now: Timestamp,
) -> Result<(GatewayStatus, Converged), ApplyError> {
    let mut converged = Converged::default();
    let failed = |reason: &str, message: String| status::failed(gateway, reason, message, now);
    if !context.has_gateway_api() {
        return Ok((failed("GatewayApiMissing", NO_GATEWAY_API.to_owned()), converged));
    }
    let (target, kubernetes) = match admit(gateway, context) {
        Ok(admitted) => admitted,
        Err((reason, message)) => return Ok((failed(reason, message), converged)),
    };
    let place = format!("{}/{}", target.namespace, target.name);
    if gateway.spec.gateway_def.is_none() && kubernetes.is_none() {
        return Ok((failed("NotFound", format!("Gateway {place} does not exist")), converged));
    }
    let by_set = kubernetes.as_deref().is_some_and(|kubernetes| context.uses_listener_set(gateway, kubernetes));
    let set = context.listener_set(&target).filter(|_| by_set);
    let of_gateway = kubernetes.iter().flat_map(|kubernetes| &kubernetes.spec.listeners);
    let of_set = set.iter().flat_map(|set| &set.spec.listeners);
    let standing: Vec<_> = of_gateway.chain(of_set).collect();
    let functions = with_certificates(gateway, context, &target);
    let certified: Vec<_> = functions
        .iter()
        .map(|function| (&**function, certified_hostnames(gateway, function, context, &standing)))
        .collect();
    let carrier: Option<Carrier> =
        if by_set { set.as_deref().map(Into::into) } else { kubernetes.as_deref().map(Into::into) };
    let wanted = listeners::wanted(gateway, kubernetes.as_deref(), carrier, &certified);
    let gateways = context.gateways.store().state();
    let mut older: Vec<_> =
        gateways.iter().map(AsRef::as_ref).filter(|other| listeners::is_older(other, gateway)).collect();
    // What may not be there stands in nobody's way.
    older.retain(|other| admit(other, context).is_ok());
    // What is told must not hang on the order of a cache.
    older.sort_by_key(|other| (other.creation_timestamp(), other.namespace(), other.name_any()));
    if let Some(conflict) =
        kubernetes.as_deref().and_then(|kubernetes| listeners::conflict(gateway, kubernetes, &wanted, &older))
    {
        return Ok((failed("ListenerConflict", conflict), converged));
    }
    context.applier.set_finalizer(gateway, FINALIZER, true).await?;
    let is_taken_over = match kubernetes.as_deref() {
        Some(kubernetes) => original::take_over(gateway, kubernetes, context).await?,
        None => false,
    };
    let (wanted, is) = match kubernetes.as_deref().filter(|_| by_set) {
        Some(kubernetes) => (dynamic(&set::object(gateway, kubernetes, &wanted)), set.as_deref().map(json)),
        None => {
            let wanted = listeners::kubernetes_gateway(gateway, &target, &wanted);
            // What was taken over and is not wanted goes by being left out.
            (dynamic(&wanted), kubernetes.as_deref().filter(|_| !is_taken_over).map(json))
        }
    };
    // What is said of it before it has our listeners is of no interest.
    let is_current = is.as_ref().is_some_and(|is| contained::difference(&json(&wanted), is).is_none());
    match context.applier_of(&manager(gateway)).converge(wanted, is.as_ref(), &mut converged).await {
        Err(error) if error.is_not_found() => {
            converged.look_again(PATIENCE);
            return Ok((
                failed("NotFound", format!("Gateway {place} cannot be made: {}", describe(&error))),
                converged,
            ));
        }
        other => other?,
    }
    // Only now: a target that does not exist must not take the listeners of the one before.
    match release_others(gateway, context, Some((&target, by_set)), &mut converged).await {
        // A Gateway without a listener is refused (N08), and others may say no, too: the new one serves all the same.
        Err(error) if error.is_refusal() => kept(gateway, context, &error),
        other => other?,
    }
    let Some(kubernetes) = kubernetes else {
        return Ok((failed("Pending", format!("Gateway {place} is being made")), converged));
    };
    let mut status = if by_set {
        status::of_set(gateway, &kubernetes, set.as_deref(), is_current)
    } else {
        status::of(gateway, &kubernetes, is_current)
    };
    let (services, balancers) = (context.all_services.store().state(), context.balancers.store().state());
    match entry::find(gateway, &kubernetes, &services, &balancers) {
        // Requests must not come in where no route is yet.
        Some(_) if !may_enter(gateway, context, &target) => converged.look_again(SOON),
        Some(entry) => enter(gateway, context, &target, &entry, &mut converged).await?,
        None => {
            let message = format!(
                "Gateway {place} has no address, and no Service of its proxies is known: functions are not reached inside the cluster"
            );
            status = status::with_problem(status, gateway, "AddressMissing", message, now);
        }
    }
    Ok((status, converged))
}

/// The Kubernetes Gateway that an OpenFunction Gateway means and may use, and what it is now.
type Admitted = (GatewayRef, Option<Arc<KubernetesGateway>>);

/// What an OpenFunction Gateway means, and may use: the Kubernetes Gateway as it is, none if it does not exist.
///
/// # Errors
/// Reason and message of what is wrong with it. Neither listeners nor routes may then be put there.
pub fn admit(gateway: &Gateway, context: &Context) -> Result<Admitted, (&'static str, String)> {
    let Some(target) = target(gateway) else {
        let message = "spec.gatewayRef: Required value: must specify gatewayRef or gatewayDef";
        return Err((INVALID_SPEC, message.to_owned()));
    };
    let problems = validate::problems(gateway);
    if !problems.is_empty() {
        return Err((INVALID_SPEC, problems.join("; ")));
    }
    let grants = context.grants.store().state();
    let grants = grants.iter().map(AsRef::as_ref);
    if let Some(refusal) = permission::refusal(gateway, &target, &context.trusted_namespaces, grants) {
        return Err((NOT_PERMITTED, refusal));
    }
    let kubernetes = context.kubernetes_gateways.store().get(&ObjectRef::new(&target.name).within(&target.namespace));
    let is_foreign = |kubernetes: &Arc<KubernetesGateway>| !listeners::is_made_for(gateway, kubernetes);
    if gateway.spec.gateway_def.is_some() && kubernetes.as_ref().is_some_and(is_foreign) {
        let message = format!(
            "Gateway {}/{} exists and was not made for this object; name another in gatewayDef.name, or use gatewayRef",
            target.namespace, target.name
        );
        return Err((NOT_OWNED, message));
    }
    Ok((target, kubernetes))
}

/// The Functions that have a certificate of their own on an OpenFunction Gateway, the oldest first; with those whose
/// requests still come in by it while they move to another one.
fn with_certificates(gateway: &Gateway, context: &Context, kubernetes: &GatewayRef) -> Vec<Arc<Function>> {
    let here = GatewayRef { name: gateway.name_any(), namespace: gateway.namespace().unwrap_or_default() };
    let mut functions = context.functions.store().state();
    functions.retain(|function| {
        let asked = with_certificate(function, &context.default_gateway);
        function.metadata.deletion_timestamp.is_none()
            && asked.is_some_and(|asked| asked == here || leaves(function, context, &asked, kubernetes))
    });
    functions.sort_by_key(|function| age(function));
    functions
}

/// Whether the route of a Function that asks for an OpenFunction Gateway elsewhere still uses listeners for its
/// certificate on a Kubernetes Gateway.
fn leaves(function: &Function, context: &Context, asked: &GatewayRef, kubernetes: &GatewayRef) -> bool {
    let asked = context.gateways.store().get(&ObjectRef::new(&asked.name).within(&asked.namespace));
    if asked.is_some_and(|asked| target(&asked).as_ref() == Some(kubernetes)) {
        return false;
    }
    let Some(route) = context.route_of(function) else { return false };
    let of_function: Vec<_> = route.spec.hostnames.iter().flat_map(|host| listeners::certificate_names(host)).collect();
    let mut parents = route.spec.parent_refs.iter().filter(|parent| super::is_of(parent, kubernetes));
    parents.any(|parent| parent.section_name.as_ref().is_some_and(|section| of_function.contains(section)))
}

/// The hostnames that a Function may have a listener of its own for. A listener takes all requests for its hostname, on
/// some implementations whatever the port, so that it must not be that of another Function (RT6), nor one of many names
/// in the domains of any gateway, nor be within what the Gateway's owner has a listener for that other namespaces use.
fn certified_hostnames(
    gateway: &Gateway,
    function: &Function,
    context: &Context,
    standing: &[&Listener],
) -> Vec<String> {
    let cluster_domain = &gateway.spec.cluster_domain;
    let here = (function.namespace().unwrap_or_default(), function.name_any());
    let place = target(gateway).unwrap_or_default().namespace;
    let is_closed = |host: &String| {
        let of_owner = standing.iter().filter(|listener| !listener.name.starts_with(listeners::CERTIFICATE));
        let mut within = of_owner.filter(|listener| {
            let suffix = listener.hostname.as_deref().and_then(|hostname| hostname.strip_prefix('*'));
            listener.hostname.as_ref() == Some(host) || suffix.is_some_and(|suffix| host.ends_with(suffix))
        });
        within.any(|listener| listeners::is_open(listener, &place, &here.0) == Some(false))
    };
    let may_have = |host: &String| {
        if let Some(suffix) = host.strip_prefix("*.") {
            let meets = |domain: &str| listeners::is_internal(suffix, domain) || listeners::is_internal(domain, suffix);
            let gateways = context.gateways.store().state();
            let mut specs = gateways.iter().map(|gateway| &gateway.spec);
            return !specs.any(|spec| meets(&spec.domain) || meets(&spec.cluster_domain)) && !is_closed(host);
        }
        if listeners::is_internal(host, cluster_domain) {
            return internal_name(host, cluster_domain) == Some(here.clone());
        }
        let routes = context.by_hostname.get(host);
        // Between namespaces whoever is older: what comes later must not take requests that already go elsewhere.
        let [secure, _] = listeners::certificate_names(host);
        let has_it = standing.iter().any(|listener| {
            let mut certificates = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
            listener.name == secure && certificates.any(|certificate| certificate.namespace.as_ref() == Some(&here.0))
        });
        let mut others =
            routes.iter().filter_map(|route| context.owner(route)).filter(|other| other.uid() != function.uid());
        let is_elsewhere = |other: &Function| other.namespace().as_ref() != Some(&here.0);
        !others.any(|other| (is_elsewhere(&other) && !has_it) || age(&other) < age(function)) && !is_closed(host)
    };
    let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
    route.iter().flat_map(|route| &route.hostnames).filter(|host| may_have(host)).cloned().collect()
}

/// Whether the entry may lead to a Kubernetes Gateway: while functions move there from another one, only when every
/// route has been accepted there (GW23).
fn may_enter(gateway: &Gateway, context: &Context, target: &GatewayRef) -> bool {
    let routes = context.routes.store().state();
    let mut moving = routes.iter().filter(|route| is_moving(route, gateway, target)).peekable();
    let since =
        context.since(&format!("move of {}", manager(gateway)), &format!("{target:?} {}", moving.peek().is_some()));
    // A function that cannot move does not hold back the others for ever.
    moving.all(|route| is_taken_by(route, target)) || since > MOVE_PATIENCE
}

fn reference(kubernetes: &KubernetesGateway) -> GatewayRef {
    GatewayRef { name: kubernetes.name_any(), namespace: kubernetes.namespace().unwrap_or_default() }
}

/// Keeps the Service that is the entry.
async fn enter(
    gateway: &Gateway,
    context: &Context,
    target: &GatewayRef,
    entry: &entry::Entry,
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let namespace = gateway.namespace().unwrap_or_default();
    let name = context.entry_name(gateway);
    let (service, slice) = entry::objects(gateway, &name, target, entry);
    context.applier.converge(dynamic(&service), live(&context.services, &namespace, &name).as_ref(), converged).await?;
    if let Some(slice) = &slice {
        let is = live(&context.slices, &namespace, &name);
        context.applier.converge(dynamic(slice), is.as_ref(), converged).await?;
    }
    for obsolete in children::owned(&context.slices, gateway) {
        if slice.is_none() || obsolete.name_any() != name {
            context.applier.delete(&*obsolete).await?;
        }
    }
    for obsolete in children::owned(&context.services, gateway) {
        if obsolete.name_any() != name {
            context.applier.delete(&*obsolete).await?;
        }
    }
    Ok(())
}

/// Takes our listeners off everything but what carries them now: a Kubernetes Gateway, in itself or (`true`) in its
/// ListenerSet. What was made for this object is deleted. What functions still come in by is left until they have moved
/// (GW23).
async fn release_others(
    gateway: &Gateway,
    context: &Context,
    but: Option<(&GatewayRef, bool)>,
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let routes = context.routes.store().state();
    let is_used = |named: &GatewayRef, kind: &str, is_ours: &dyn Fn(&str) -> bool| {
        let is_needed = |route: &Arc<HttpRoute>| match but {
            None => false,
            Some((target, _)) if target == named => set::needs(route, named, kind, is_ours),
            Some(_) => is_attached(route, gateway, named),
        };
        routes.iter().any(is_needed)
    };
    for kubernetes in context.kubernetes_gateways.store().state() {
        let named = reference(&kubernetes);
        let is_made = listeners::is_made_for(gateway, &kubernetes);
        let is_ours =
            is_made || listeners::is_injected(gateway, &*kubernetes) || original::has_left(gateway, &kubernetes);
        if but == Some((&named, false)) || !(is_ours || is_released(gateway, but, &named)) {
            continue;
        }
        if is_ours && is_used(&named, set::GATEWAY, &|name| listeners::is_put_by_us(&kubernetes, name)) {
            converged.look_again(SOON);
        } else if is_made {
            context.applier.delete(&*kubernetes).await?;
        } else {
            original::take_over(gateway, &kubernetes, context).await?;
            let resource = ApiResource::erase::<KubernetesGateway>(&());
            context.applier_of(&manager(gateway)).release(&resource, &*kubernetes).await?;
        }
    }
    for set in context.listener_sets.store().state() {
        let name = set.name_any();
        let Some(of) = set::gateway_of(&name) else { continue };
        let named = GatewayRef { name: of.to_owned(), namespace: set.namespace().unwrap_or_default() };
        if but == Some((&named, true)) || !listeners::is_injected(gateway, &*set) {
            continue;
        }
        if is_used(&named, set::LISTENER_SET, &|_| true) {
            converged.look_again(SOON);
        } else if listeners::is_alone(gateway, &set) {
            // It may not be without listeners.
            context.applier.delete(&*set).await?;
        } else {
            let resource = ApiResource::erase::<ListenerSet>(&());
            context.applier_of(&manager(gateway)).release(&resource, &*set).await?;
        }
    }
    Ok(())
}

/// Whether the object goes that has this Kubernetes Gateway: the cache may not show yet what was applied to it.
fn is_released(gateway: &Gateway, but: Option<(&GatewayRef, bool)>, named: &GatewayRef) -> bool {
    but.is_none() && gateway.spec.gateway_ref.as_ref() == Some(named)
}

/// Tells that listeners stay where they are.
fn kept(gateway: &Gateway, context: &Context, error: &ApplyError) {
    let message = format!("the listeners stay, since they cannot be taken away: {}", describe(error));
    context.events.warning(gateway, "ListenersKept", message);
}

/// Cleans up, then lets the object go.
async fn finish(gateway: &Gateway, context: &Context) -> Result<Action, ApplyError> {
    if gateway.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        if let Err(error) = release_others(gateway, context, None, &mut Converged::default()).await {
            // A Gateway without a listener is refused (N08), and others may say no, too: then ours stay, and the object
            // must not hang for ever.
            if !error.is_refusal() {
                return Err(error);
            }
            kept(gateway, context, &error);
        }
        context.applier.set_finalizer(gateway, FINALIZER, false).await?;
    }
    Ok(Action::await_change())
}
