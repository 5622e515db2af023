//! ReferenceGrants for backends that are not in the Function's namespace, as that of KEDA's interceptor (N25): one object
//! in the namespace of the backends for each namespace of Functions. They are made only where the installation says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use controller_runtime::{
    apply::{ApplyError, Converged},
    children::{self, dynamic, live},
    names,
};
use futures::StreamExt;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::{
    core::{Function, GatewayRef, TrafficTarget},
    gateway_api::resources::{
        GROUP, HttpRoute, ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo,
    },
};
use tracing::warn;

use crate::{
    ABOUT, Context,
    gateway::{self, LISTENER_SET},
};

/// Label with the namespace of the Functions that a ReferenceGrant is for.
const FOR: &str = "openfunction.io/function-namespace";

/// How many objects a ReferenceGrant can name.
const MOST_NAMES: usize = 16;

/// Backends in other namespaces that a traffic leads to: namespaces, with Services.
fn foreign(traffic: &[TrafficTarget], namespace: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut foreign: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let backends = traffic.iter().filter_map(|target| target.backend.as_ref());
    for backend in backends.filter(|backend| backend.namespace != namespace && backend.kind == "Service") {
        foreign.entry(backend.namespace.clone()).or_default().insert(backend.name.clone());
    }
    foreign
}

/// What a Function needs a grant for, by which such Functions are found: `namespace/namespace of the Service/Service`.
pub fn services_elsewhere(allowed: Vec<String>) -> impl Fn(&Function) -> Vec<String> {
    move |function| {
        let namespace = function.namespace().unwrap_or_default();
        let traffic = function.status.as_ref().map(|status| status.traffic.as_slice()).unwrap_or_default();
        let mut foreign = foreign(traffic, &namespace);
        foreign.retain(|of_backends, _| allowed.contains(of_backends));
        let services = foreign.into_iter().flat_map(|(of_backends, services)| {
            services.into_iter().map(move |service| format!("{of_backends}/{service}"))
        });
        services.map(|service| format!("{namespace}/{service}")).collect()
    }
}

/// What the Functions of a namespace need, together.
fn needed(context: &Context, namespace: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut needed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in context.services_elsewhere.keys(&format!("{namespace}/")) {
        if let Some((of_backends, service)) = service.split_once('/') {
            needed.entry(of_backends.to_owned()).or_default().insert(service.to_owned());
        }
    }
    needed
}

fn grant(namespace: &str, of_backends: &str, services: BTreeSet<String>) -> ReferenceGrant {
    let to = |name| ReferenceGrantTo { group: String::new(), kind: "Service".to_owned(), name };
    // That many names do not fit into one.
    let names: Vec<_> = if services.len() > MOST_NAMES { vec![None] } else { services.into_iter().map(Some).collect() };
    let from =
        ReferenceGrantFrom { group: GROUP.to_owned(), kind: "HTTPRoute".to_owned(), namespace: namespace.to_owned() };
    let spec = ReferenceGrantSpec { from: vec![from], to: names.into_iter().map(to).collect() };
    let mut grant = ReferenceGrant::new(&name(namespace), spec);
    grant.metadata.namespace = Some(of_backends.to_owned());
    let labels = [(FOR, namespace), (children::MANAGED_BY, ABOUT.name)];
    grant.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    grant
}

fn name(namespace: &str) -> String {
    names::child("openfunction", namespace, 253)
}

/// Lets the routes of a Function lead to its backends.
///
/// # Errors
/// What the API server answers.
pub async fn allow(
    context: &Context,
    function: &Function,
    traffic: &[TrafficTarget],
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let namespace = function.namespace().unwrap_or_default();
    if foreign(traffic, &namespace).is_empty() || !context.apis.is_served(crate::REFERENCE_GRANTS) {
        return Ok(());
    }
    for (of_backends, services) in needed(context, &namespace) {
        let wanted = dynamic(&grant(&namespace, &of_backends, services));
        let is = live(&context.grants, &of_backends, &name(&namespace));
        match context.applier.converge(wanted, is.as_ref(), converged).await {
            // Without the namespace there is no backend, either: the gateway tells.
            Err(error) if error.is_not_found() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Lets a Gateway, or its ListenerSet, read the certificate of a Function (RT21), and, as long as the route is there, too,
/// that which it moves from. The ReferenceGrant goes with the Function.
///
/// # Errors
/// What the API server answers.
pub async fn allow_certificate(
    context: &Context,
    function: &Function,
    kubernetes: &GatewayRef,
    by_set: bool,
    live: Option<&HttpRoute>,
    converged: &mut Converged,
) -> Result<(), ApplyError> {
    let namespace = function.namespace().unwrap_or_default();
    let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
    let is_used = gateway::with_certificate(function, &context.default_gateway).is_some();
    let tls = route.and_then(|route| route.tls.as_ref()).filter(|_| is_used);
    let target = (if by_set { LISTENER_SET } else { "Gateway" }.to_owned(), kubernetes.namespace.clone());
    let parents = live.into_iter().flat_map(|live| &live.spec.parent_refs);
    let standing = parents.map(|parent| (parent.kind.clone(), parent.namespace.clone().unwrap_or_default()));
    let mut readers: BTreeSet<_> = standing.chain([target]).collect();
    readers.retain(|(_, place)| *place != namespace);
    let Some(tls) = tls.filter(|_| !readers.is_empty()) else { return forbid_certificate(context, function).await };
    let name = name_of_certificate(function);
    let is = context.grants.store().get(&ObjectRef::new(&name).within(&namespace));
    let from =
        readers.into_iter().map(|(kind, namespace)| ReferenceGrantFrom { group: GROUP.to_owned(), kind, namespace });
    let to = ReferenceGrantTo { group: String::new(), kind: "Secret".to_owned(), name: Some(tls.secret_name.clone()) };
    let mut grant = ReferenceGrant::new(&name, ReferenceGrantSpec { from: from.collect(), to: vec![to] });
    grant.metadata = children::metadata(function, &name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    context.applier.converge(dynamic(&grant), is.as_deref().map(children::json).as_ref(), converged).await
}

fn name_of_certificate(function: &Function) -> String {
    format!("{}.certificate", function.name_any())
}

/// Nobody may read the certificate of a Function any more.
///
/// # Errors
/// What the API server answers.
pub async fn forbid_certificate(context: &Context, function: &Function) -> Result<(), ApplyError> {
    let key = ObjectRef::new(&name_of_certificate(function)).within(&function.namespace().unwrap_or_default());
    let is_ours = |grant: &Arc<ReferenceGrant>| {
        children::controller::<_, Function>(&**grant).iter().any(|owner| owner.name == function.name_any())
    };
    match context.grants.store().get(&key).filter(is_ours) {
        Some(ours) => context.applier.delete(&*ours).await,
        None => Ok(()),
    }
}

/// Removes what no Function needs any more: at first all of it, then whenever a Function changes or is gone; for ever.
pub async fn sweep(context: &Context) {
    let mut changes = context.functions.subscribe();
    let mut is_swept = false;
    while let Some(function) = changes.next().await {
        if !context.functions.is_synced() || !context.grants.is_synced() {
            continue;
        }
        let namespace = function.namespace().unwrap_or_default();
        let in_question = if is_swept {
            let places = context.backend_namespaces.iter();
            places
                .filter_map(|place| context.grants.store().get(&ObjectRef::new(&name(&namespace)).within(place)))
                .collect()
        } else {
            context.grants.store().state()
        };
        is_swept = true;
        for grant in in_question {
            let is_needed = |namespace: &String| {
                grant.namespace().is_some_and(|place| needed(context, namespace).contains_key(&place))
            };
            if grant.labels().get(FOR).is_some_and(|namespace| !is_needed(namespace))
                && let Err(error) = context.applier.delete(&*grant).await
            {
                warn!(grant = grant.name_any(), "a ReferenceGrant that is not needed stays: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn n25_only_services_elsewhere_need_a_grant() {
        let target = |namespace: &str, name: &str| -> TrafficTarget {
            let backend = json!({"kind": "Service", "namespace": namespace, "name": name, "port": 80});
            serde_json::from_value(json!({"revision": "r", "percent": 100, "backend": backend})).unwrap()
        };
        let foreign =
            foreign(&[target("shop", "a"), target("keda", "interceptor"), target("keda", "interceptor")], "shop");
        assert_eq!(json!(foreign), json!({"keda": ["interceptor"]}));
        let grant = grant("shop", "keda", foreign["keda"].clone());
        assert_eq!(
            json!(grant.spec),
            json!({"from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "shop"}], "to": [{"group": "", "kind": "Service", "name": "interceptor"}]})
        );
        assert_eq!(grant.metadata.namespace.as_deref(), Some("keda"));
    }
}
