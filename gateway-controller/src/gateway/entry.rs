//! The Service `gateway` beside an OpenFunction Gateway: the entry of all functions inside the cluster.

use std::sync::Arc;

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
use openfunction_proto::{
    core::GatewayRef,
    gateway_api::resources::KubernetesGateway,
    networking::{Gateway, Listener},
};

use super::{effective, is_internal, target};
use crate::ABOUT;

/// Name of the Service of the oldest OpenFunction Gateway in a namespace.
pub const NAME: &str = "gateway";
/// Annotation of the Service with the Kubernetes Gateway that it leads to.
const LEADS_TO: &str = "networking.openfunction.io/kubernetes-gateway";

/// Name of the Service of an OpenFunction Gateway: `gateway` for the `default` one, else for the oldest of `gateways` in
/// its namespace; for the others with their own name behind it (goals Q19). One that has a Service (`owned`) keeps its
/// name, whoever comes or goes.
pub fn name<'a>(
    gateway: &Gateway,
    gateways: impl Iterator<Item = &'a Gateway>,
    default: &GatewayRef,
    owned: &[Arc<Service>],
    is_taken: bool,
) -> String {
    let mut names: Vec<_> = owned.iter().map(|service| service.name_any()).collect();
    names.sort();
    if let Some(name) = names.into_iter().next() {
        return name;
    }
    let is_default = |gateway: &Gateway| {
        gateway.name_any() == default.name && gateway.namespace().as_ref() == Some(&default.namespace)
    };
    let rank = |gateway: &Gateway| (!is_default(gateway), gateway.creation_timestamp(), gateway.name_any());
    let comes_first = |other: &Gateway| {
        other.namespace() == gateway.namespace()
            && other.metadata.deletion_timestamp.is_none()
            && rank(other) < rank(gateway)
    };
    if is_taken || gateways.into_iter().any(comes_first) {
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

/// Names under which an implementation may publish its proxies for a Kubernetes Gateway, in its namespace.
fn known_services(kubernetes: &str) -> [String; 3] {
    [format!("{kubernetes}-envoy"), format!("envoy-{kubernetes}"), "envoy".to_owned()]
}

/// Label with the name of its Gateway on a Service that an implementation made for one (GEP-1762).
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

fn is_made_for(service: &PartialObjectMeta<Service>, kubernetes: &str) -> bool {
    service.labels().get(GATEWAY_NAME).is_some_and(|name| name == kubernetes)
}

/// Whether a Service may be the one behind the entry of an OpenFunction Gateway.
pub fn may_enter_by(gateway: &Gateway, service: &PartialObjectMeta<Service>) -> bool {
    target(gateway).is_some_and(|target| {
        service.namespace().as_deref() == Some(&target.namespace)
            && (known_services(&target.name).contains(&service.name_any()) || is_made_for(service, &target.name))
    })
}

/// The addresses of a load balancer that leads to a Service.
fn balanced(service: &Service) -> impl Iterator<Item = &str> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|ingress| ingress.ip.as_deref())
}

/// Where the entry leads: to the hostname of the Gateway; else to a Service of a known name or label, or one that a load
/// balancer with an address of the Gateway leads to; else to the addresses (N15). Addresses of load balancers are the last
/// choice, since not every network takes its own pods there.
pub fn find(
    gateway: &Gateway,
    kubernetes: &KubernetesGateway,
    services: &[Arc<PartialObjectMeta<Service>>],
    balancers: &[Arc<Service>],
) -> Option<Entry> {
    let addresses = kubernetes.status.as_ref().map(|status| status.addresses.clone()).unwrap_or_default();
    if let Some(address) = addresses.iter().find(|address| address.type_ == "Hostname") {
        // Some implementations add the port.
        return Some(Entry::Name(address.value.split(':').next().unwrap_or_default().to_owned()));
    }
    let ips: Vec<_> =
        addresses.into_iter().filter(|address| address.type_ == "IPAddress").map(|address| address.value).collect();
    let (namespace, name) = (kubernetes.namespace().unwrap_or_default(), kubernetes.name_any());
    let there = |service: &&Arc<PartialObjectMeta<Service>>| service.namespace().as_deref() == Some(&namespace);
    let mut there: Vec<_> = services.iter().filter(there).collect();
    there.sort_by_key(|service| service.name_any());
    let known = known_services(&name);
    let named = known.iter().find_map(|known| there.iter().find(|service| service.name_any() == *known));
    let made = named.or_else(|| there.iter().find(|service| is_made_for(service, &name)));
    let place = |namespace: &str, name: &str| format!("{name}.{namespace}.svc.{}", gateway.spec.cluster_domain);
    if let Some(service) = made {
        return Some(Entry::Name(place(&namespace, &service.name_any())));
    }
    let mut behind: Vec<_> =
        balancers.iter().filter(|service| balanced(service).any(|ip| ips.iter().any(|own| own == ip))).collect();
    behind.sort_by_key(|service| (service.namespace(), service.name_any()));
    if let Some(service) = behind.first() {
        return Some(Entry::Name(place(&service.namespace().unwrap_or_default(), &service.name_any())));
    }
    (!ips.is_empty()).then_some(Entry::Addresses(ips))
}

/// The ports of a Service in front of listeners, under their names. A Service knows a port once, and its names neither
/// dots nor more than 63 characters.
pub fn ports<'a>(listeners: impl Iterator<Item = &'a Listener>) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    for listener in listeners {
        if ports.iter().any(|port| port.port == listener.port) {
            continue;
        }
        let mut name = listener.name.replace('.', "-");
        if name.len() > DNS_LABEL || ports.iter().any(|port| port.name.as_ref() == Some(&name)) {
            name = names::child(&name, &names::hash(&listener.name), DNS_LABEL);
        }
        ports.push(ServicePort {
            name: Some(name),
            port: listener.port,
            target_port: Some(IntOrString::Int(listener.port)),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        });
    }
    ports
}

/// The Service of a name, and the EndpointSlice that it needs when it leads to addresses.
pub fn objects(gateway: &Gateway, name: &str, target: &GatewayRef, entry: &Entry) -> (Service, Option<EndpointSlice>) {
    let is_listed = |listener: &Listener| {
        let domain = &gateway.spec.cluster_domain;
        let is_inside = listener.hostname.as_deref().is_some_and(|hostname| is_internal(hostname, domain));
        // Through a name every port is reached, whatever the Service says; to addresses lead only the ports that it has.
        !is_inside || matches!(entry, Entry::Addresses(_))
    };
    let ports = ports(effective(gateway).iter().filter(|listener| is_listed(listener)));
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

    fn found(addresses: Value, services: &[Value]) -> Option<Entry> {
        let spec = json!({"domain": "ofn.io", "gatewaySpec": {"listeners": []}});
        let gateway: Gateway = serde_json::from_value(json!({"metadata": {"name": "o"}, "spec": spec})).unwrap();
        let kubernetes = json!({"metadata": {"name": "front", "namespace": "infra"}, "spec": {}, "status": {"addresses": addresses}});
        let all: Vec<Arc<Service>> =
            services.iter().map(|service| Arc::new(serde_json::from_value(service.clone()).unwrap())).collect();
        let metadata: Vec<_> = services.iter().map(|s| Arc::new(serde_json::from_value(s.clone()).unwrap())).collect();
        find(&gateway, &serde_json::from_value(kubernetes).unwrap(), &metadata, &all)
    }

    fn service(namespace: &str, name: &str, more: Value) -> Value {
        let mut service = json!({"metadata": {"name": name, "namespace": namespace}});
        service["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service
    }

    #[test]
    fn n15_the_entry_is_the_hostname_then_the_service_of_the_proxies_then_the_addresses() {
        let leads = |name: &str| Some(Entry::Name(format!("{name}.svc.cluster.local")));
        let known = |name: &str| service("infra", name, json!({}));
        let both = json!([{"type": "IPAddress", "value": "10.0.0.1"}, {"type": "Hostname", "value": "gw.infra.svc.cluster.local:80"}]);
        assert_eq!(found(both, &[known("envoy")]), leads("gw.infra"));
        let ip = json!([{"type": "IPAddress", "value": "10.0.0.1"}]);
        assert_eq!(found(ip.clone(), &[known("envoy-front")]), leads("envoy-front.infra"));
        let labelled = |gateway: &str| service("infra", "front-istio", json!({"labels": {GATEWAY_NAME: gateway}}));
        assert_eq!(found(ip.clone(), &[labelled("front")]), leads("front-istio.infra"));
        let mut balanced = service("proxies", "traefik", json!({}));
        balanced["status"] = json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}});
        assert_eq!(found(ip.clone(), &[labelled("other"), balanced.clone()]), leads("traefik.proxies"));
        assert_eq!(found(json!([{"type": "IPAddress", "value": "10.0.0.2"}]), &[balanced]), addresses("10.0.0.2"));
        assert_eq!(found(ip, &[]), addresses("10.0.0.1"));
        assert_eq!(found(json!([]), &[]), None);
    }

    fn addresses(ip: &str) -> Option<Entry> {
        Some(Entry::Addresses(vec![ip.to_owned()]))
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
        let default = GatewayRef { name: "b".to_owned(), namespace: "other".to_owned() };
        let named =
            |gateway: &Gateway, all: &[Gateway], default: &GatewayRef| name(gateway, all.iter(), default, &[], false);
        assert_eq!(
            (named(&old, &all, &default), named(&new, &all, &default)),
            ("gateway".to_owned(), "gateway-a".to_owned())
        );
        assert_eq!(named(&new, &all[1..], &default), "gateway", "once the older one is gone");
        let default = GatewayRef { name: "a".to_owned(), namespace: "o".to_owned() };
        assert_eq!(named(&new, &all, &default), "gateway", "GW13: the default one has it by right");
        let service = Arc::new(objects(&new, "gateway-a", &default, &Entry::Name("x".to_owned())).0);
        assert_eq!(name(&new, all[1..].iter(), &default, &[service], false), "gateway-a", "it keeps what it has");
        assert_eq!(name(&new, all[1..].iter(), &default, &[], true), "gateway-a", "another one has it still");
    }

    #[test]
    fn n16_names_of_listeners_that_a_service_does_not_know_are_made_to_fit() {
        let listener = |name: &str, port: i32| json!({"name": name, "port": port, "protocol": "HTTP"});
        let all =
            json!([listener("a.b", 80), listener("a-b", 81), listener(&"x".repeat(100), 82), listener("same", 80)]);
        let all: Vec<Listener> = serde_json::from_value(all).unwrap();
        let names: Vec<_> = ports(all.iter()).into_iter().map(|port| port.name.unwrap()).collect();
        assert!(
            names.len() == 3 && names[0] == "a-b" && names[1].starts_with("a-b-") && names[2].len() <= 63,
            "{names:?}"
        );
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
