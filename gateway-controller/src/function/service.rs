//! The Service with a Function's name: its address inside the cluster (networking §11).

use controller_runtime::children;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt;
use openfunction_proto::{
    core::{Function, TrafficTarget},
    networking::Gateway,
};

use crate::{ABOUT, gateway};

/// The Service of a name that leads to the gateway, whose own Service is `entry`.
pub fn through(function: &Function, name: &str, gateway: &Gateway, entry: &str) -> Service {
    let domain = &gateway.spec.cluster_domain;
    let inside = gateway::effective(gateway)
        .into_iter()
        .filter(|listener| listener.hostname.as_deref().is_some_and(|hostname| gateway::is_internal(hostname, domain)));
    let inside: Vec<_> = inside.collect();
    let ports = gateway::ports(inside.iter());
    let leads_to = format!("{entry}.{}.svc.{domain}", gateway.namespace().unwrap_or_default());
    service(function, name, leads_to, ports)
}

/// The Service that leads straight to the revision with most of the traffic. There is none to a backend that only takes
/// requests which a gateway has written something into.
pub fn straight(function: &Function, traffic: &[TrafficTarget], cluster_domain: &str) -> Option<Service> {
    let target = traffic.iter().max_by_key(|target| target.percent)?;
    let backend = target.backend.as_ref().filter(|backend| backend.host.is_none() && backend.headers.is_empty())?;
    let name = format!("{}.{}.svc.{cluster_domain}", backend.name, backend.namespace);
    Some(service(function, &function.name_any(), name, vec![port("http", backend.port)]))
}

fn service(function: &Function, name: &str, external_name: String, ports: Vec<ServicePort>) -> Service {
    Service {
        metadata: children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]),
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(external_name),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::Int(number)),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// Whether a name can be that of a Service (RFC 1035, B-42).
pub fn is_service_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(is_inner)
}

/// The name that a Service leads to.
pub fn name_of(service: &Service) -> Option<&String> {
    service.spec.as_ref()?.external_name.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_leads_straight_to_what_needs_a_gateway() {
        let function: Function = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "f", "namespace": "n", "uid": "u"}, "spec": {"image": "a"}}),
        )
        .unwrap();
        let to = |backend: serde_json::Value| {
            let target = serde_json::json!({"revision": "r", "percent": 100, "backend": backend});
            straight(&function, &[serde_json::from_value(target).unwrap()], "cluster.local")
        };
        let plain = serde_json::json!({"kind": "Service", "namespace": "n", "name": "r", "port": 80});
        assert_eq!(to(plain.clone()).unwrap().spec.unwrap().external_name.unwrap(), "r.n.svc.cluster.local");
        for (field, value) in
            [("headers", serde_json::json!({"Knative-Serving-Revision": "r"})), ("host", serde_json::json!("r.n"))]
        {
            let mut backend = plain.clone();
            backend[field] = value;
            assert!(to(backend).is_none(), "{field}");
        }
    }

    #[test]
    fn b42_names_with_dots_or_a_leading_digit_are_no_names_of_services() {
        for (name, is) in
            [("hello", true), ("a-1", true), ("a.b", false), ("1st", false), ("a-", false), (&"a".repeat(64), false)]
        {
            assert_eq!(is_service_name(name), is, "{name}");
        }
    }
}
