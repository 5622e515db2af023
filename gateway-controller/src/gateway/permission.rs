//! Which Kubernetes Gateways an OpenFunction Gateway may use (design §8).

use kube::ResourceExt;
use openfunction_proto::{
    core::GatewayRef,
    gateway_api::resources::{GROUP, ReferenceGrant},
    networking::Gateway,
};

/// Why an OpenFunction Gateway may not touch a Kubernetes Gateway, if so: in another namespace it needs a
/// ReferenceGrant there, unless its own namespace is trusted.
pub fn refusal<'a>(
    gateway: &Gateway,
    target: &GatewayRef,
    trusted: &[String],
    mut grants: impl Iterator<Item = &'a ReferenceGrant>,
) -> Option<String> {
    let namespace = gateway.namespace().unwrap_or_default();
    if namespace == target.namespace
        || trusted.contains(&namespace)
        || grants.any(|grant| allows(grant, &namespace, target))
    {
        return None;
    }
    Some(format!(
        "Gateway {}/{} is in another namespace, which must allow its use: make a ReferenceGrant in namespace {} from networking.openfunction.io Gateway of namespace {namespace} to {GROUP} Gateway {}, or name {namespace} in the value gateway-controller.trustedNamespaces",
        target.namespace, target.name, target.namespace, target.name
    ))
}

fn allows(grant: &ReferenceGrant, namespace: &str, target: &GatewayRef) -> bool {
    let from = grant.spec.from.iter().any(|from| {
        from.group == "networking.openfunction.io" && from.kind == "Gateway" && from.namespace == namespace
    });
    let to = grant.spec.to.iter().any(|to| {
        to.group == GROUP && to.kind == "Gateway" && to.name.as_ref().is_none_or(|name| *name == target.name)
    });
    from && to && grant.namespace().as_deref() == Some(&target.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_namespace_must_allow_the_use_of_its_gateway() {
        let gateway: Gateway = serde_json::from_value(
            json!({"metadata": {"name": "o", "namespace": "team"}, "spec": {"domain": "d.io", "gatewaySpec": {"listeners": []}}}),
        )
        .unwrap();
        let target = GatewayRef { name: "front".to_owned(), namespace: "infra".to_owned() };
        let grant = |namespace: &str, from: &str, name: Option<&str>| -> ReferenceGrant {
            let from = json!([{"group": "networking.openfunction.io", "kind": "Gateway", "namespace": from}]);
            let to = json!([{"group": GROUP, "kind": "Gateway", "name": name}]);
            serde_json::from_value(
                json!({"metadata": {"name": "g", "namespace": namespace}, "spec": {"from": from, "to": to}}),
            )
            .unwrap()
        };
        let is_refused = |grants: &[ReferenceGrant], trusted: &[&str]| {
            let trusted: Vec<_> = trusted.iter().map(|name| (*name).to_owned()).collect();
            refusal(&gateway, &target, &trusted, grants.iter()).is_some()
        };
        assert!(is_refused(&[], &[]));
        assert!(!is_refused(&[], &["team"]));
        assert!(!is_refused(&[grant("infra", "team", None)], &[]));
        assert!(!is_refused(&[grant("infra", "team", Some("front"))], &[]));
        for other in [grant("infra", "team", Some("back")), grant("infra", "others", None), grant("team", "team", None)]
        {
            assert!(is_refused(&[other], &[]));
        }
    }
}
