//! An OpenFunction Gateway: listeners on a Kubernetes Gateway, and the Service that is the entry of all functions.

mod entry;
mod listeners;
mod original;
mod permission;
mod reconcile;
mod set;
mod status;
mod validate;

use controller_runtime::names::{self, DNS_LABEL};
use kube::ResourceExt;
use openfunction_proto::{
    core::{Function, GatewayRef},
    gateway_api::resources::{HttpRoute, KubernetesGateway, ListenerSet},
    networking::Gateway,
    status_api::ObjectStatus,
};

pub use entry::{GATEWAY_NAME, NAME as ENTRY, leads_to, may_enter_by, name as entry_name, ports};
pub use listeners::{certificate_names, effective, is_internal, is_open, is_special, short, speaks_http};
pub use reconcile::{admit, reconcile, refusal};
pub use set::{
    LISTENER_SET, gateway_of as gateway_of_set, is_of, is_twin, is_used as uses_listener_set, name as listener_set,
    parent,
};

use crate::ABOUT;

/// The OpenFunction Gateway that a Function asks for.
pub fn asked_by(function: &Function, default: &GatewayRef) -> GatewayRef {
    let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
    route.and_then(|route| route.gateway_ref.clone()).unwrap_or_else(|| default.clone())
}

/// The OpenFunction Gateway that needs a listener for the certificate of a Function, if it has one.
pub fn with_certificate(function: &Function, default: &GatewayRef) -> Option<GatewayRef> {
    let route = function.spec.serving.as_ref()?.http()?.route.as_ref()?;
    (route.tls.is_some() && route.visibility.as_deref().is_none_or(|visibility| visibility == "Public"))
        .then(|| asked_by(function, default))
}

/// `<namespace>.<name>` of an OpenFunction Gateway, as a label can hold it: it marks the HTTPRoutes that use it.
pub fn label(gateway: &Gateway) -> String {
    let full = format!("{}.{}", gateway.namespace().unwrap_or_default(), gateway.name_any());
    if full.len() <= DNS_LABEL { full } else { names::child(&full, &names::hash(&full), DNS_LABEL) }
}

/// By the value of a label alone, which no other label of a route can have: the key may have changed since.
fn is_routed_by(route: &HttpRoute, gateway: &Gateway) -> bool {
    let label = label(gateway);
    route.labels().values().any(|value| *value == label)
}

/// Whether an HTTPRoute of an OpenFunction Gateway is attached to a Kubernetes Gateway.
pub fn is_attached(route: &HttpRoute, gateway: &Gateway, kubernetes: &GatewayRef) -> bool {
    is_routed_by(route, gateway) && route.spec.parent_refs.iter().any(|parent| is_of(parent, kubernetes))
}

/// Whether an HTTPRoute of an OpenFunction Gateway is still attached to another Kubernetes Gateway.
pub fn is_moving(route: &HttpRoute, gateway: &Gateway, to: &GatewayRef) -> bool {
    is_routed_by(route, gateway) && route.spec.parent_refs.iter().any(|parent| !is_of(parent, to))
}

/// The Kubernetes Gateway that an OpenFunction Gateway means.
pub fn target(gateway: &Gateway) -> Option<GatewayRef> {
    let defined = gateway.spec.gateway_def.as_ref().map(|def| GatewayRef {
        name: def.name.clone().unwrap_or_else(|| gateway.name_any()),
        namespace: def.namespace.clone(),
    });
    defined.or_else(|| gateway.spec.gateway_ref.clone())
}

/// The name under which listeners of an OpenFunction Gateway are applied: one for each, since two may share a
/// Kubernetes Gateway.
pub fn manager(gateway: &Gateway) -> String {
    format!("{}:{}", ABOUT.name, listeners::owner(gateway))
}

/// Whether a Kubernetes Gateway is, or was, that of an OpenFunction Gateway.
pub fn concerns(gateway: &Gateway, kubernetes: &KubernetesGateway) -> bool {
    let is_target = target(gateway)
        .is_some_and(|target| Some(target.namespace) == kubernetes.namespace() && target.name == kubernetes.name_any());
    is_target || listeners::is_injected(gateway, kubernetes)
}

/// Whether a ListenerSet is that of an OpenFunction Gateway's Kubernetes Gateway, or has listeners of it.
pub fn concerns_set(gateway: &Gateway, set: &ListenerSet) -> bool {
    let of_target = target(gateway).is_some_and(|target| {
        Some(target.namespace) == set.namespace() && set::gateway_of(&set.name_any()) == Some(&target.name)
    });
    of_target || listeners::is_injected(gateway, set)
}

/// The state by which OpenFunction Gateways are counted.
pub fn state(gateway: &Gateway) -> Option<&str> {
    let ready = gateway.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(if ready.status == "True" { "Ready" } else { "NotReady" })
}

/// What the status API says of an OpenFunction Gateway.
pub fn explain(gateway: &Gateway) -> ObjectStatus {
    controller_runtime::status_api::object_status(
        gateway,
        gateway.status.as_ref().and_then(|status| status.observed_generation),
        &gateway.status.as_ref().map(status::standard).unwrap_or_default(),
    )
}
