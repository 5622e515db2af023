//! The Service `gateway` beside an OpenFunction Gateway: the entry of all functions inside the cluster.

use controller_runtime::{
    children,
    names::{self, DNS_LABEL},
};
use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{ResourceExt, core::PartialObjectMeta};
use openfunction_proto::{core::GatewayRef, gateway_api::resources::KubernetesGateway, networking::Gateway};

use super::{effective, is_internal, target};
use crate::ABOUT;

/// Name of the Service of the oldest OpenFunction Gateway in a namespace.
const NAME: &str = "gateway";
/// Annotation of the Service with the Kubernetes Gateway that it leads to.
const LEADS_TO: &str = "networking.openfunction.io/kubernetes-gateway";

/// Name of the Service of an OpenFunction Gateway: `gateway`, or with its own name behind it if an older one of
/// `gateways` is in its namespace (goals Q19).
pub fn name<'a>(gateway: &Gateway, gateways: impl Iterator<Item = &'a Gateway>) -> String {
    let age = |gateway: &Gateway| (gateway.creation_timestamp(), gateway.name_any());
    let comes_first = |other: &Gateway| {
        other.namespace() == gateway.namespace()
            && other.metadata.deletion_timestamp.is_none()
            && age(other) < age(gateway)
    };
    if gateways.into_iter().any(comes_first) {
        let full = format!("{NAME}-{}", gateway.name_any().replace('.', "-"));
        return if full.len() <= DNS_LABEL { full } else { names::child(&full, &names::hash(&full), DNS_LABEL) };
    }
    NAME.to_owned()
}

/// Whether the Service leads to a Kubernetes Gateway.
pub fn leads_to(service: &Service, target: &GatewayRef) -> bool {
    service.annotations().get(LEADS_TO) == Some(&place(target))
}

fn place(target: &GatewayRef) -> String {
    format!("{}/{}", target.namespace, target.name)
}

/// Where the entry leads.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// To a name.
    Name(String),
    /// To addresses.
    Addresses(Vec<String>),
}

/// Names under which an implementation may publish its proxies for a Kubernetes Gateway.
fn known_services(kubernetes: &str) -> [String; 3] {
    [format!("{kubernetes}-envoy"), format!("envoy-{kubernetes}"), "envoy".to_owned()]
}

/// Whether a Service may be the one behind the entry of an OpenFunction Gateway.
pub fn may_enter_by(gateway: &Gateway, service: &PartialObjectMeta<Service>) -> bool {
    target(gateway).is_some_and(|target| {
        service.namespace().as_deref() == Some(&target.namespace)
            && known_services(&target.name).contains(&service.name_any())
    })
}

/// Where the entry leads: the hostname of the Gateway, else a Service of a known name, else its addresses (N15).
pub fn find(gateway: &Gateway, kubernetes: &KubernetesGateway, exists: impl Fn(&str, &str) -> bool) -> Option<Entry> {
    let addresses = kubernetes.status.as_ref().map(|status| status.addresses.clone()).unwrap_or_default();
    if let Some(address) = addresses.iter().find(|address| address.type_ == "Hostname") {
        // Some implementations add the port.
        return Some(Entry::Name(address.value.split(':').next().unwrap_or_default().to_owned()));
    }
    let namespace = kubernetes.namespace().unwrap_or_default();
    if let Some(name) = known_services(&kubernetes.name_any()).into_iter().find(|name| exists(&namespace, name)) {
        return Some(Entry::Name(format!("{name}.{namespace}.svc.{}", gateway.spec.cluster_domain)));
    }
    let ips: Vec<_> =
        addresses.into_iter().filter(|address| address.type_ == "IPAddress").map(|address| address.value).collect();
    (!ips.is_empty()).then_some(Entry::Addresses(ips))
}

/// The Service of a name, and the EndpointSlice that it needs when it leads to addresses.
pub fn objects(gateway: &Gateway, name: &str, target: &GatewayRef, entry: &Entry) -> (Service, Option<EndpointSlice>) {
    let mut ports: Vec<ServicePort> = Vec::new();
    for listener in effective(gateway) {
        let is_inside =
            listener.hostname.as_deref().is_some_and(|hostname| is_internal(hostname, &gateway.spec.cluster_domain));
        // Through a name every port is reached, whatever the Service says; to addresses lead only the ports that it has.
        let is_listed = !is_inside || matches!(entry, Entry::Addresses(_));
        // A Service knows a port once.
        if is_listed && !ports.iter().any(|port| port.port == listener.port) {
            ports.push(ServicePort {
                name: Some(listener.name.replace('.', "-")),
                port: listener.port,
                target_port: Some(IntOrString::Int(listener.port)),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            });
        }
    }
    let (type_, external_name) = match entry {
        Entry::Name(name) => ("ExternalName", Some(name.clone())),
        Entry::Addresses(_) => ("ClusterIP", None),
    };
    let slice = match entry {
        Entry::Name(_) => None,
        Entry::Addresses(addresses) => Some(slice(gateway, name, addresses, &ports)),
    };
    let mut metadata = children::metadata(gateway, name, ABOUT.name, &[]);
    metadata.annotations = Some([(LEADS_TO.to_owned(), place(target))].into());
    let service = Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            external_name,
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    };
    (service, slice)
}

fn slice(gateway: &Gateway, name: &str, addresses: &[String], ports: &[ServicePort]) -> EndpointSlice {
    let labels = [("kubernetes.io/service-name", name), ("endpointslice.kubernetes.io/managed-by", ABOUT.name)];
    let is_v6 = addresses.iter().all(|address| address.contains(':'));
    EndpointSlice {
        metadata: children::metadata(gateway, name, ABOUT.name, &labels),
        address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints: vec![Endpoint {
            addresses: addresses.iter().filter(|address| address.contains(':') == is_v6).cloned().collect(),
            conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
            ..Endpoint::default()
        }],
        ports: Some(
            ports
                .iter()
                .map(|port| EndpointPort {
                    name: port.name.clone(),
                    port: Some(port.port),
                    protocol: port.protocol.clone(),
                    ..EndpointPort::default()
                })
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(addresses: Value, services: &[&str]) -> Option<Entry> {
        let spec = json!({"domain": "ofn.io", "gatewaySpec": {"listeners": []}});
        let gateway: Gateway = serde_json::from_value(json!({"metadata": {"name": "o"}, "spec": spec})).unwrap();
        let kubernetes = json!({"metadata": {"name": "front", "namespace": "infra"}, "spec": {}, "status": {"addresses": addresses}});
        find(&gateway, &serde_json::from_value(kubernetes).unwrap(), |namespace, name| {
            namespace == "infra" && services.contains(&name)
        })
    }

    #[test]
    fn the_entry_is_the_hostname_then_a_known_service_then_the_addresses() {
        let both = json!([{"type": "IPAddress", "value": "10.0.0.1"}, {"type": "Hostname", "value": "gw.infra.svc.cluster.local:80"}]);
        assert_eq!(found(both, &["envoy"]), Some(Entry::Name("gw.infra.svc.cluster.local".to_owned())));
        let ip = json!([{"type": "IPAddress", "value": "10.0.0.1"}]);
        assert_eq!(
            found(ip.clone(), &["envoy-front"]),
            Some(Entry::Name("envoy-front.infra.svc.cluster.local".to_owned()))
        );
        assert_eq!(found(ip, &[]), Some(Entry::Addresses(vec!["10.0.0.1".to_owned()])), "N15");
        assert_eq!(found(json!([]), &[]), None);
    }

    fn gateway(name: &str, created: &str) -> Gateway {
        let metadata = json!({"name": name, "namespace": "o", "uid": name, "creationTimestamp": created});
        let listeners = json!([{"name": "x", "port": 8080, "protocol": "HTTP"}]);
        let spec = json!({"domain": "ofn.io", "gatewaySpec": {"listeners": listeners}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn q19_several_openfunction_gateways_in_a_namespace_have_an_entry_each() {
        let (old, new) = (gateway("b", "2026-01-01T00:00:00Z"), gateway("a", "2026-01-02T00:00:00Z"));
        let all = [old.clone(), new.clone()];
        assert_eq!((name(&old, all.iter()), name(&new, all.iter())), ("gateway".to_owned(), "gateway-a".to_owned()));
        assert_eq!(name(&new, [new.clone()].iter()), "gateway", "once the older one is gone");
    }

    #[test]
    fn n15_to_addresses_lead_the_ports_of_all_listeners() {
        let target = GatewayRef { name: "g".to_owned(), namespace: "i".to_owned() };
        let ports = |entry: &Entry| {
            let (service, slice) = objects(&gateway("a", "2026-01-01T00:00:00Z"), NAME, &target, entry);
            assert!(leads_to(&service, &target) && slice.is_some() == matches!(entry, Entry::Addresses(_)));
            service.spec.unwrap().ports.unwrap().into_iter().map(|port| port.port).collect::<Vec<_>>()
        };
        assert_eq!(ports(&Entry::Name("n".to_owned())), [8080]);
        assert_eq!(ports(&Entry::Addresses(vec!["10.0.0.1".to_owned()])), [8080, 80], "functions are asked on port 80");
    }
}
