//! The ListenerSet that carries the listeners of OpenFunction Gateways where the owner of a Kubernetes Gateway allows it
//! (GEP-1713, Gateway API 1.5): then nobody but its owner writes into the Gateway.
//!
//! It stands in the Gateway's namespace, so that certificates and `allowedRoutes` mean the same in it, and there is one
//! for all OpenFunction Gateways, which share listeners that are the same (N18).

use kube::ResourceExt;
use openfunction_proto::{
    core::GatewayRef,
    gateway_api::resources::{GROUP, GatewayClass, HttpRoute, KubernetesGateway, ParentReference},
    networking::{Gateway, Listener},
};
use serde_json::{Value, json};

use super::listeners::{injected_key, is_of_gateway, is_put_by_us};

/// Kind of a parent that is a ListenerSet.
pub const LISTENER_SET: &str = "ListenerSet";
/// Kind of a parent that is a Gateway.
pub const GATEWAY: &str = "Gateway";
/// What the name of the ListenerSet of a Gateway has behind that of the Gateway.
const SUFFIX: &str = ".openfunction";
/// How long a name can be.
const LONGEST: usize = 253;

/// Name of the ListenerSet of a Kubernetes Gateway.
pub fn name(kubernetes: &str) -> String {
    format!("{kubernetes}{SUFFIX}")
}

/// Name of the Kubernetes Gateway of a ListenerSet.
pub fn gateway_of(set: &str) -> Option<&str> {
    set.strip_suffix(SUFFIX)
}

/// Whether the listeners of an OpenFunction Gateway stand in a ListenerSet: its Kubernetes Gateway must allow one of its
/// own namespace, and the implementation not be known to have none. A Gateway that was made for the object, or that has
/// no listener but ours, has them in itself.
pub fn is_used(gateway: &Gateway, kubernetes: &KubernetesGateway, class: Option<&GatewayClass>) -> bool {
    let allowed = kubernetes.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let is_allowed = allowed.is_some_and(|namespaces| ["All", "Same"].contains(&namespaces.from.as_str()));
    let listed = class.and_then(|class| class.status.as_ref()).map(|status| status.supported_features.as_slice());
    let listed = listed.unwrap_or_default();
    let is_supported = listed.is_empty() || listed.iter().any(|feature| feature.name == LISTENER_SET);
    let has_own = kubernetes.spec.listeners.iter().any(|listener| !is_put_by_us(kubernetes, &listener.name));
    gateway.spec.gateway_def.is_none()
        && is_allowed
        && is_supported
        && has_own
        && name(&kubernetes.name_any()).len() <= LONGEST
}

/// What is applied to the ListenerSet: the listeners that the Gateway does not have itself.
pub fn object(gateway: &Gateway, kubernetes: &KubernetesGateway, listeners: &[Listener]) -> Value {
    let listeners: Vec<_> = listeners.iter().filter(|listener| !is_of_gateway(kubernetes, &listener.name)).collect();
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": LISTENER_SET,
        "metadata": {"name": name(&kubernetes.name_any()), "namespace": kubernetes.namespace(),
            "annotations": {injected_key(gateway): names.join(",")}},
        "spec": {"parentRef": {"group": GROUP, "kind": GATEWAY, "name": kubernetes.name_any()}, "listeners": listeners},
    })
}

/// The listener of a name as the parent of a route. `by_set` says whether ours stand in a ListenerSet.
pub fn parent(kubernetes: &KubernetesGateway, listener: &str, by_set: bool) -> ParentReference {
    let in_set = by_set && !is_of_gateway(kubernetes, listener);
    let name_of_gateway = kubernetes.name_any();
    ParentReference {
        group: GROUP.to_owned(),
        kind: if in_set { LISTENER_SET } else { GATEWAY }.to_owned(),
        namespace: kubernetes.namespace(),
        name: if in_set { name(&name_of_gateway) } else { name_of_gateway },
        section_name: Some(listener.to_owned()),
    }
}

/// Whether a parent of a route is a listener of a Kubernetes Gateway, in itself or in its ListenerSet.
pub fn is_of(parent: &ParentReference, kubernetes: &GatewayRef) -> bool {
    let name = match parent.kind.as_str() {
        LISTENER_SET => gateway_of(&parent.name),
        _ => Some(parent.name.as_str()),
    };
    name == Some(&kubernetes.name) && parent.namespace.as_deref() == Some(&kubernetes.namespace)
}

/// Whether two parents are the same listener, once in a Gateway and once in its ListenerSet.
pub fn is_twin(one: &ParentReference, other: &ParentReference) -> bool {
    let gateway = |parent: &ParentReference| match parent.kind.as_str() {
        LISTENER_SET => gateway_of(&parent.name).unwrap_or_default().to_owned(),
        _ => parent.name.clone(),
    };
    one.kind != other.kind
        && one.section_name == other.section_name
        && one.namespace == other.namespace
        && gateway(one) == gateway(other)
}

/// Whether a route comes in by listeners of one kind, and not yet by their twins.
pub fn needs(route: &HttpRoute, kubernetes: &GatewayRef, kind: &str, is_ours: impl Fn(&str) -> bool) -> bool {
    let parents = &route.spec.parent_refs;
    parents.iter().any(|parent| {
        parent.kind == kind
            && is_of(parent, kubernetes)
            && parent.section_name.as_deref().is_some_and(&is_ours)
            && !parents.iter().any(|other| is_twin(parent, other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> Gateway {
        let spec = json!({"domain": "ofn.io", "gatewayRef": {"name": "front", "namespace": "infra"}, "gatewaySpec": {"listeners": []}});
        serde_json::from_value(json!({"metadata": {"name": "o", "namespace": "openfunction"}, "spec": spec})).unwrap()
    }

    fn kubernetes(more: Value, annotations: Value) -> KubernetesGateway {
        let mut spec =
            json!({"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({"name": "front", "namespace": "infra", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn gw12_a_listener_set_is_used_where_the_gateway_allows_it_and_the_class_can() {
        let from = |from: &str| json!({"allowedListeners": {"namespaces": {"from": from}}});
        let class = |features: Value| -> GatewayClass {
            serde_json::from_value(
                json!({"metadata": {"name": "c"}, "spec": {}, "status": {"supportedFeatures": features}}),
            )
            .unwrap()
        };
        let is = |more: Value, annotations: Value, class: Option<&GatewayClass>| {
            is_used(&gateway(), &kubernetes(more, annotations), class)
        };
        assert!(!is(json!({}), json!({}), None), "nothing is allowed by default");
        assert!(is(from("Same"), json!({}), None) && is(from("All"), json!({}), None));
        assert!(!is(from("None"), json!({}), None) && !is(from("Selector"), json!({}), None));
        let (without, with) = (class(json!([{"name": "Gateway"}])), class(json!([{"name": LISTENER_SET}])));
        assert!(!is(from("All"), json!({}), Some(&without)) && is(from("All"), json!({}), Some(&with)));
        let ours = json!({injected_key(&gateway()): "http"});
        assert!(!is(from("All"), ours, None), "the Gateway may not be left without a listener");
        let mut made = gateway();
        made.spec.gateway_def = Some(Default::default());
        assert!(!is_used(&made, &kubernetes(from("All"), json!({})), None));
    }

    #[test]
    fn a_route_names_the_set_for_what_the_gateway_does_not_have_itself() {
        let front = kubernetes(json!({}), json!({injected_key(&gateway()): "external"}));
        let place = GatewayRef { name: "front".to_owned(), namespace: "infra".to_owned() };
        let (own, ours) = (parent(&front, "http", true), parent(&front, "external", true));
        assert_eq!((own.kind.as_str(), own.name.as_str()), (GATEWAY, "front"));
        assert_eq!((ours.kind.as_str(), ours.name.as_str()), (LISTENER_SET, "front.openfunction"));
        assert!(is_of(&own, &place) && is_of(&ours, &place));
        let before = parent(&front, "external", false);
        assert!(is_twin(&ours, &before) && !is_twin(&ours, &own));
        let mut route = HttpRoute::default();
        let needs = |route: &HttpRoute| needs(route, &place, GATEWAY, |name| name == "external");
        route.spec.parent_refs = vec![own.clone(), before.clone()];
        assert!(needs(&route), "it would lose its only way");
        route.spec.parent_refs.push(ours);
        assert!(!needs(&route));
    }
}
