//! The listeners that an OpenFunction Gateway puts on its Kubernetes Gateway.

use std::collections::{BTreeMap, BTreeSet};

use controller_runtime::{apply::APPLIED_PREFIX, children, names::hash};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use openfunction_proto::{
    core::{Function, GatewayRef},
    gateway_api::resources::{KubernetesGateway, ListenerSet},
    networking::{AllowedRoutes, Gateway, Listener, ListenerTls, RouteNamespaces, SecretObjectReference},
};
use serde_json::{Value, json};

use super::{manager, target};
use crate::ABOUT;

/// The listener for requests from inside the cluster.
const INTERNAL: &str = "ofn-http-internal";
/// The listener for the short names of functions inside the cluster (N31): it has no hostname.
const SHORT: &str = "ofn-http-short";
/// Beginning of the names of listeners for certificates of functions.
pub const CERTIFICATE: &str = "ofn-tls-";
/// How many listeners a Gateway can have.
const LIMIT: usize = 64;

/// The listeners with their hostnames, and the internal one if the user named none (networking §4.1).
pub fn effective(gateway: &Gateway) -> Vec<Listener> {
    let spec = &gateway.spec;
    let mut listeners = spec.gateway_spec.listeners.clone();
    for listener in &mut listeners {
        if listener.name == INTERNAL {
            *listener = http(INTERNAL, Some(format!("*.{}", spec.cluster_domain)));
        } else if knows_hostnames(listener) {
            listener.hostname = Some(format!("*.{}", spec.domain));
        } else {
            listener.hostname = None;
        }
    }
    if !listeners.iter().any(|listener| listener.name == INTERNAL) {
        listeners.push(http(INTERNAL, Some(format!("*.{}", spec.cluster_domain))));
    }
    listeners
}

/// TCP and UDP know no hostnames, and the Gateway API refuses them there.
fn knows_hostnames(listener: &Listener) -> bool {
    !matches!(listener.protocol.as_str(), "TCP" | "UDP")
}

/// A listener for HTTP on port 80 that every namespace may use.
fn http(name: &str, hostname: Option<String>) -> Listener {
    let from_all = RouteNamespaces { from: "All".to_owned(), selector: None };
    Listener {
        name: name.to_owned(),
        hostname,
        port: 80,
        protocol: "HTTP".to_owned(),
        tls: None,
        allowed_routes: Some(AllowedRoutes { kinds: Vec::new(), namespaces: Some(from_all) }),
    }
}

/// Whether HTTPRoutes can be attached to a listener.
pub fn speaks_http(listener: &Listener) -> bool {
    matches!(listener.protocol.as_str(), "HTTP" | "HTTPS")
}

/// Whether a listener takes routes of a namespace; `None` if labels of the namespace decide.
pub fn is_open(listener: &Listener, gateway_namespace: &str, namespace: &str) -> Option<bool> {
    let namespaces = listener.allowed_routes.as_ref().and_then(|routes| routes.namespaces.as_ref());
    match namespaces.map_or("Same", |namespaces| namespaces.from.as_str()) {
        "All" => Some(true),
        "Same" => Some(gateway_namespace == namespace),
        "Selector" => None,
        _ => Some(false),
    }
}

/// Whether a listener is for some hostnames or functions only: that for short names, and those for certificates.
pub fn is_special(listener: &Listener) -> bool {
    listener.name == SHORT || listener.name.starts_with(CERTIFICATE)
}

/// The listener of a Kubernetes Gateway that short names come in by: one of the Gateway's own if it takes every
/// hostname, else one that is added.
pub fn short(kubernetes: Option<&KubernetesGateway>) -> Option<&str> {
    let listeners = kubernetes.map(|kubernetes| kubernetes.spec.listeners.as_slice()).unwrap_or_default();
    let takes_all = |listener: &&Listener| {
        listener.hostname.as_deref().unwrap_or_default().is_empty() && listener.port == 80 && listener.name != SHORT
    };
    match listeners.iter().find(takes_all) {
        None => Some(SHORT),
        // A second one would be refused.
        Some(foreign) => (speaks_http(foreign) && is_open(foreign, "", "-") == Some(true)).then_some(&foreign.name),
    }
}

/// Names of the listeners for a hostname with a function's own certificate: that for HTTPS, and that for HTTP, whose
/// requests are sent to the other.
pub fn certificate_names(hostname: &str) -> [String; 2] {
    let name = format!("{CERTIFICATE}{}", hash(&hostname));
    [name.clone(), format!("{name}-http")]
}

/// Listeners for each hostname that a function has a certificate for (RT21). Of two functions with one hostname, the
/// older one's certificate is used. What is to be redirected has a listener of its own for HTTP, since Contour lets
/// nothing else take a hostname that has a listener.
fn of_functions(gateway: &Gateway, functions: &[(&Function, Vec<String>)]) -> Vec<Vec<Listener>> {
    let port = |protocol: &str, usual: i32| {
        let all = &gateway.spec.gateway_spec.listeners;
        all.iter().find(|listener| listener.protocol == protocol).map_or(usual, |listener| listener.port)
    };
    let mut listeners = BTreeMap::new();
    for (function, hostnames) in functions {
        let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
        let Some(tls) = route.and_then(|route| route.tls.as_ref()) else { continue };
        let namespace = function.namespace().unwrap_or_default();
        let labels = [("kubernetes.io/metadata.name".to_owned(), namespace.clone())].into();
        let selector = Some(LabelSelector { match_labels: Some(labels), match_expressions: None });
        let namespaces = RouteNamespaces { from: "Selector".to_owned(), selector };
        let allowed_routes = Some(AllowedRoutes { kinds: Vec::new(), namespaces: Some(namespaces) });
        let certificate = SecretObjectReference {
            group: String::new(),
            kind: "Secret".to_owned(),
            name: tls.secret_name.clone(),
            namespace: Some(namespace),
        };
        for hostname in hostnames {
            let [secure, plain] = certificate_names(hostname);
            let tls = ListenerTls {
                mode: "Terminate".to_owned(),
                certificate_refs: vec![certificate.clone()],
                options: BTreeMap::new(),
            };
            let secure = Listener {
                name: secure,
                hostname: Some(hostname.clone()),
                port: port("HTTPS", 443),
                protocol: "HTTPS".to_owned(),
                tls: Some(tls),
                allowed_routes: allowed_routes.clone(),
            };
            let plain = (gateway.spec.https_redirect == Some(true)).then(|| Listener {
                name: plain,
                port: port("HTTP", 80),
                protocol: "HTTP".to_owned(),
                tls: None,
                ..secure.clone()
            });
            listeners.entry(hostname.clone()).or_insert_with(|| [secure].into_iter().chain(plain).collect::<Vec<_>>());
        }
    }
    listeners.into_values().collect()
}

/// What carries listeners of OpenFunction Gateways: a Kubernetes Gateway, or its ListenerSet.
#[derive(Clone, Copy)]
pub struct Carrier<'a> {
    annotations: &'a BTreeMap<String, String>,
    listeners: &'a [Listener],
}

impl<'a> From<&'a KubernetesGateway> for Carrier<'a> {
    fn from(gateway: &'a KubernetesGateway) -> Self {
        Self { annotations: gateway.annotations(), listeners: &gateway.spec.listeners }
    }
}

impl<'a> From<&'a ListenerSet> for Carrier<'a> {
    fn from(set: &'a ListenerSet) -> Self {
        Self { annotations: set.annotations(), listeners: &set.spec.listeners }
    }
}

/// All listeners that an OpenFunction Gateway wants on its Kubernetes Gateway, as many as fit into what carries them.
/// `functions` are those with a certificate and the hostnames that they may have a listener for, the oldest first. What
/// one of them asks for never keeps the others from theirs.
pub fn wanted(
    gateway: &Gateway,
    kubernetes: Option<&KubernetesGateway>,
    carrier: Option<Carrier<'_>>,
    functions: &[(&Function, Vec<String>)],
) -> Vec<Listener> {
    let mut listeners = effective(gateway);
    if short(kubernetes) == Some(SHORT) {
        listeners.push(http(SHORT, None));
    }
    let is_others =
        |listener: &Listener| carrier.is_some_and(|carrier| is_of_another(gateway, carrier, &listener.name));
    let ours: Vec<_> = listeners.iter().map(|listener| listener.name.clone()).collect();
    let is_foreign = |listener: &&Listener| {
        !ours.contains(&listener.name) && (!listener.name.starts_with(CERTIFICATE) || is_others(listener))
    };
    let foreign = carrier.map_or(0, |carrier| carrier.listeners.iter().filter(is_foreign).count());
    let of_owner = kubernetes.into_iter().flat_map(|kubernetes| &kubernetes.spec.listeners);
    let standing = of_owner.chain(carrier.into_iter().flat_map(|carrier| carrier.listeners));
    let mut taken: BTreeSet<_> =
        standing.filter(|listener| !listener.name.starts_with(CERTIFICATE)).map(address).collect();
    taken.extend(listeners.iter().map(address));
    for of_one in of_functions(gateway, functions) {
        if of_one.iter().any(|listener| is_others(listener) || taken.contains(&address(listener))) {
            continue;
        }
        if listeners.len() + foreign + of_one.len() <= LIMIT {
            listeners.extend(of_one);
        }
    }
    listeners
}

/// What no two listeners of a Gateway may have in common.
fn address(listener: &Listener) -> (i32, String, Option<String>) {
    (listener.port, listener.protocol.clone(), listener.hostname.clone())
}

/// Whether two listeners let in the same.
fn is_same(one: &Listener, other: &Listener) -> bool {
    let from = |listener: &Listener| {
        let namespaces = listener.allowed_routes.as_ref().and_then(|routes| routes.namespaces.clone());
        namespaces.map_or(("Same".to_owned(), None), |namespaces| (namespaces.from, namespaces.selector))
    };
    let certificates = |listener: &Listener| {
        let tls = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
        tls.map(|certificate| (certificate.name.clone(), certificate.namespace.clone())).collect::<Vec<_>>()
    };
    address(one) == address(other) && from(one) == from(other) && certificates(one) == certificates(other)
}

/// Why listeners cannot be put on a Kubernetes Gateway: somebody else has one of the name, or of the same port,
/// protocol and hostname (N09, N16, N18). `older` are the OpenFunction Gateways on it that come first.
pub fn conflict(
    gateway: &Gateway,
    kubernetes: &KubernetesGateway,
    wanted: &[Listener],
    older: &[&Gateway],
) -> Option<String> {
    // Those of functions give way by themselves.
    let wanted: Vec<_> = wanted.iter().filter(|listener| !listener.name.starts_with(CERTIFICATE)).collect();
    let place = format!("Gateway {}/{}", kubernetes.namespace().unwrap_or_default(), kubernetes.name_any());
    for other in older {
        let (namespace, name) = (other.namespace().unwrap_or_default(), other.name_any());
        for theirs in effective(other) {
            let meets = |ours: &&&Listener| {
                (ours.name == theirs.name || address(ours) == address(&theirs)) && ***ours != theirs
            };
            if let Some(ours) = wanted.iter().find(meets) {
                return Some(format!(
                    "listener {:?} differs from listener {:?} that OpenFunction Gateway {namespace}/{name}, which is older, has on {place}; give it another name, port or domain, or use another Gateway",
                    ours.name, theirs.name
                ));
            }
        }
    }
    let known = injected(gateway, kubernetes);
    let of_others: Vec<_> = older.iter().flat_map(|other| effective(other)).map(|listener| listener.name).collect();
    for theirs in &kubernetes.spec.listeners {
        if known.contains(&theirs.name) || of_others.contains(&theirs.name) {
            continue;
        }
        if let Some(ours) = wanted.iter().find(|ours| ours.name == theirs.name) {
            if !is_same(ours, theirs) {
                return Some(format!(
                    "{place} has a listener {:?} that is not of this object (port {}, {}, hostname {:?}) and differs from the one of spec.gatewaySpec.listeners; give that another name",
                    theirs.name,
                    theirs.port,
                    theirs.protocol,
                    theirs.hostname.as_deref().unwrap_or_default()
                ));
            }
        } else if let Some(ours) = wanted.iter().find(|ours| address(ours) == address(theirs)) {
            return Some(format!(
                "listener {:?} has port, protocol and hostname of listener {:?} of {place}, which is not of this object",
                ours.name, theirs.name
            ));
        }
    }
    None
}

/// Beginning of [`injected_key`].
const INJECTED: &str = "networking.openfunction.io/listeners.";

/// Annotation of what carries listeners with the names of those that an OpenFunction Gateway has put there.
pub fn injected_key(gateway: &Gateway) -> String {
    format!("{INJECTED}{}", owner(gateway))
}

/// Whether another OpenFunction Gateway has put a listener of a name there: the first one keeps it, and of two that did
/// at once the one with the smaller hash.
fn is_of_another(gateway: &Gateway, carrier: Carrier<'_>, name: &str) -> bool {
    let ours = injected_key(gateway);
    let has = |list: &String| list.split(',').any(|other| other == name);
    let has_it = carrier.annotations.get(&ours).is_some_and(has);
    let others = carrier.annotations.iter().filter(|(key, _)| key.starts_with(INJECTED) && **key != ours);
    others.into_iter().any(|(key, list)| has(list) && (!has_it || *key < ours))
}

/// Annotation of the original with the listeners, as JSON, that it has put there.
pub const INJECTED_BEFORE: &str = "networking.openfunction.io/injected-listeners";

/// Names of the listeners that an OpenFunction Gateway has put on a Kubernetes Gateway. What the original has put there
/// is taken over.
fn injected(gateway: &Gateway, kubernetes: &KubernetesGateway) -> Vec<String> {
    let annotations = kubernetes.annotations();
    let ours = annotations.get(&injected_key(gateway)).map(String::as_str).unwrap_or_default();
    let ours = ours.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
    ours.chain(injected_before(kubernetes)).collect()
}

/// Names of the listeners that the original has put on a Kubernetes Gateway, as its annotation says.
pub fn injected_before(kubernetes: &KubernetesGateway) -> Vec<String> {
    let text = kubernetes.annotations().get(INJECTED_BEFORE);
    let listeners: Vec<Listener> = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    listeners.into_iter().map(|listener| listener.name).collect()
}

/// Whether some OpenFunction Gateway has put a listener of a name on a Kubernetes Gateway.
pub fn is_put_by_us(kubernetes: &KubernetesGateway, name: &str) -> bool {
    let mut lists = kubernetes.annotations().iter().filter(|(key, _)| key.starts_with(INJECTED));
    lists.any(|(_, list)| list.split(',').any(|other| other == name))
        || injected_before(kubernetes).iter().any(|other| other == name)
}

/// Whether a Kubernetes Gateway has a listener of a name from its owner.
pub fn is_of_gateway(kubernetes: &KubernetesGateway, name: &str) -> bool {
    kubernetes.spec.listeners.iter().any(|listener| listener.name == name) && !is_put_by_us(kubernetes, name)
}

/// Whether nobody but an OpenFunction Gateway has put listeners there.
pub fn is_alone(gateway: &Gateway, set: &ListenerSet) -> bool {
    let ours = injected_key(gateway);
    !set.annotations().keys().any(|key| key.starts_with(INJECTED) && *key != ours)
}

/// Whether a hostname is one of the cluster. (A plain suffix would take `x.mycluster.local` for one, B-39.)
pub fn is_internal(hostname: &str, cluster_domain: &str) -> bool {
    hostname.strip_suffix(cluster_domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether listeners of an OpenFunction Gateway are on a Kubernetes Gateway, or in a ListenerSet.
pub fn is_injected<K: ResourceExt>(gateway: &Gateway, carrier: &K) -> bool {
    carrier.annotations().contains_key(&format!("{APPLIED_PREFIX}{}", manager(gateway).replace(':', ".")))
}

/// Label of a Kubernetes Gateway that was made for an OpenFunction Gateway.
const MADE_FOR: &str = "networking.openfunction.io/gateway";

/// Whether a Kubernetes Gateway was made for an OpenFunction Gateway.
pub fn is_made_for(gateway: &Gateway, kubernetes: &KubernetesGateway) -> bool {
    kubernetes.labels().get(MADE_FOR) == Some(&owner(gateway))
}

/// One word for an OpenFunction Gateway, as a label can hold it.
pub fn owner(gateway: &Gateway) -> String {
    hash(&(gateway.namespace(), gateway.name_any()))
}

/// Whether an OpenFunction Gateway comes before another one on the same Kubernetes Gateway.
pub fn is_older(one: &Gateway, other: &Gateway) -> bool {
    let age = |gateway: &Gateway| (gateway.creation_timestamp(), gateway.namespace(), gateway.name_any());
    target(one) == target(other) && one.metadata.deletion_timestamp.is_none() && age(one) < age(other)
}

/// What is applied to the Kubernetes Gateway: all of one that is to be made, of another the listeners alone.
pub fn kubernetes_gateway(gateway: &Gateway, target: &GatewayRef, listeners: &[Listener]) -> Value {
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    let mut wanted = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": target.name, "namespace": target.namespace, "annotations": {injected_key(gateway): names.join(",")}},
        "spec": {"listeners": listeners},
    });
    if let Some(def) = &gateway.spec.gateway_def {
        wanted["metadata"]["labels"] = json!({MADE_FOR: owner(gateway), children::MANAGED_BY: ABOUT.name});
        wanted["spec"]["gatewayClassName"] = json!(def.gateway_class_name);
        // cert-manager makes certificates for the listeners of a Gateway with its annotations.
        for (key, value) in gateway.annotations().iter().filter(|(key, _)| key.starts_with("cert-manager.io/")) {
            wanted["metadata"]["annotations"][key] = json!(value);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, domain: &str, listeners: Value) -> Gateway {
        let spec = json!({"domain": domain, "gatewayRef": {"name": "g", "namespace": "i"}, "gatewaySpec": {"listeners": listeners}});
        let metadata = json!({"name": name, "namespace": "openfunction", "creationTimestamp": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn gateway(listeners: Value) -> Gateway {
        named("openfunction", "ofn.io", listeners)
    }

    fn kubernetes(listeners: Value) -> KubernetesGateway {
        serde_json::from_value(json!({"metadata": {"name": "g", "namespace": "i"}, "spec": {"listeners": listeners}}))
            .unwrap()
    }

    fn names(listeners: &[Listener]) -> Vec<&str> {
        listeners.iter().map(|listener| listener.name.as_str()).collect()
    }

    #[test]
    fn gw9_the_internal_listener_is_added_when_missing() {
        let listeners = effective(&gateway(json!([{"name": "ofn-http-external", "port": 80, "protocol": "HTTP"}])));
        let hostnames: Vec<_> = listeners.iter().filter_map(|listener| listener.hostname.as_deref()).collect();
        assert_eq!(hostnames, ["*.ofn.io", "*.cluster.local"]);
    }

    #[test]
    fn the_internal_listener_is_always_as_it_must_be() {
        let listeners = effective(&gateway(
            json!([{"name": "ofn-http-internal", "port": 99, "protocol": "TCP", "tls": {}}, {"name": "x", "port": 8080, "protocol": "HTTP"}]),
        ));
        assert_eq!((listeners[0].port, listeners[0].protocol.as_str(), listeners.len()), (80, "HTTP", 2));
        assert!(listeners[0].tls.is_none(), "the Gateway API refuses tls there");
    }

    #[test]
    fn gw8_listeners_of_protocols_without_hostnames_get_none() {
        let listeners = effective(&gateway(
            json!([{"name": "tcp", "port": 99, "protocol": "TCP"}, {"name": "udp", "port": 99, "protocol": "UDP"}, {"name": "tls", "port": 443, "protocol": "TLS"}]),
        ));
        let hostnames: Vec<_> = listeners.iter().map(|listener| listener.hostname.as_deref()).collect();
        assert_eq!(hostnames, [None, None, Some("*.ofn.io"), Some("*.cluster.local")]);
    }

    #[test]
    fn b39_a_hostname_is_internal_only_at_a_dot() {
        assert!(
            is_internal("f.default.svc.cluster.local", "cluster.local")
                && is_internal("*.cluster.local", "cluster.local")
        );
        assert!(!is_internal("x.mycluster.local", "cluster.local"));
    }

    #[test]
    fn n31_short_names_come_in_by_a_listener_without_a_hostname() {
        let ours = gateway(json!([{"name": "x", "port": 80, "protocol": "HTTP"}]));
        let on = |listeners: Value| {
            let kubernetes = kubernetes(listeners);
            let wanted = wanted(&ours, Some(&kubernetes), Some((&kubernetes).into()), &[]);
            (short(Some(&kubernetes)).map(str::to_owned), wanted.iter().any(|listener| listener.name == SHORT))
        };
        assert_eq!(on(json!([{"name": "a", "port": 81, "protocol": "HTTP"}])), (Some(SHORT.to_owned()), true));
        assert_eq!(on(json!([{"name": SHORT, "port": 80, "protocol": "HTTP"}])), (Some(SHORT.to_owned()), true));
        let all = json!({"namespaces": {"from": "All"}});
        let open = json!([{"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all}]);
        assert_eq!(on(open), (Some("http".to_owned()), false));
        assert_eq!(on(json!([{"name": "http", "port": 80, "protocol": "HTTP"}])), (None, false), "closed to others");
    }

    #[test]
    fn rt21_a_hostname_with_a_certificate_of_its_own_has_a_listener_for_its_namespace() {
        let function = |name: &str, hostname: &str| -> Function {
            let route = json!({"hostnames": [hostname], "tls": {"secretName": format!("{name}-tls")}});
            let spec = json!({"image": "a", "serving": {"triggers": {"http": {"route": route}}}});
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap()
        };
        let function =
            |name: &str, hostname: &str| -> &'static Function { Box::leak(Box::new(function(name, hostname))) };
        let (a, b) = (function("a", "a.example.com"), function("b", "a.example.com"));
        let ours = gateway(json!([{"name": "x", "port": 80, "protocol": "HTTP"}]));
        let with = |function: &'static Function| {
            (function, function.spec.serving.as_ref().unwrap().http().unwrap().route.clone().unwrap().hostnames)
        };
        let all = wanted(&ours, None, None, &[with(a), with(b)]);
        let tls: Vec<_> = all.iter().filter(|listener| listener.tls.is_some()).collect();
        assert_eq!(tls.len(), 1, "of two, the older one's certificate");
        let is = json!(tls[0]);
        assert_eq!(
            is["tls"]["certificateRefs"][0],
            json!({"group": "", "kind": "Secret", "name": "a-tls", "namespace": "shop"})
        );
        assert_eq!(is["allowedRoutes"]["namespaces"]["selector"]["matchLabels"]["kubernetes.io/metadata.name"], "shop");
        assert_eq!(
            (tls[0].port, tls[0].protocol.as_str(), tls[0].hostname.as_deref()),
            (443, "HTTPS", Some("a.example.com"))
        );

        let many: Vec<_> = (0..80).map(|index| function("f", &format!("h{index:02}.example.com"))).collect();
        let all = wanted(&ours, None, None, &many.iter().map(|function| with(function)).collect::<Vec<_>>());
        assert_eq!(all.len(), LIMIT, "a Gateway takes no more");

        // Two OpenFunction Gateways that have a function each with the same hostname do not fight over its listener.
        let [name, _] = certificate_names("a.example.com");
        let second = named("second", "second.io", json!([{"name": "y", "port": 80, "protocol": "HTTP"}]));
        let mut on = kubernetes(json!([]));
        let mut gets = |ours: &Gateway, annotations: &[&Gateway]| {
            let annotations = annotations.iter().map(|gateway| (injected_key(gateway), format!("x,{name}")));
            on.metadata.annotations = Some(annotations.collect());
            wanted(ours, Some(&on), Some((&on).into()), &[with(a)]).iter().any(|listener| listener.name == name)
        };
        assert!(gets(&ours, &[]) && gets(&ours, &[&ours]) && !gets(&ours, &[&second]));
        assert_ne!(gets(&ours, &[&ours, &second]), gets(&second, &[&ours, &second]));

        let mut redirects = ours.clone();
        redirects.spec.https_redirect = Some(true);
        let protocols: Vec<_> =
            wanted(&redirects, None, None, &[with(a)]).into_iter().skip(3).map(|l| (l.protocol, l.port)).collect();
        assert_eq!(protocols, [("HTTPS".to_owned(), 443), ("HTTP".to_owned(), 80)]);

        // What somebody has keeps one function from its listener, and nobody from theirs.
        let owners =
            kubernetes(json!([{"name": "own", "port": 443, "protocol": "HTTPS", "hostname": "a.example.com"}]));
        let wild = gateway(json!([{"name": "x", "port": 443, "protocol": "HTTPS", "tls": {}}]));
        let all = wanted(
            &wild,
            Some(&owners),
            Some((&owners).into()),
            &[with(a), with(function("c", "*.ofn.io")), with(function("d", "d.io"))],
        );
        let own: Vec<_> = all.iter().filter(|listener| listener.name.starts_with(CERTIFICATE)).collect();
        assert_eq!(own.iter().map(|listener| listener.hostname.as_deref()).collect::<Vec<_>>(), [Some("d.io")]);
        assert_eq!(conflict(&wild, &owners, &all, &[]), None);
    }

    #[test]
    fn n09_and_n18_what_somebody_else_has_on_the_gateway_is_a_conflict() {
        let external = json!([{"name": "ext", "port": 80, "protocol": "HTTP"}]);
        let ours = gateway(external.clone());
        let said = |listeners: Value, annotations: Value, older: &[&Gateway]| {
            let mut kubernetes = kubernetes(listeners);
            kubernetes.metadata.annotations = serde_json::from_value(annotations).unwrap();
            conflict(&ours, &kubernetes, &wanted(&ours, Some(&kubernetes), Some((&kubernetes).into()), &[]), older)
        };
        assert_eq!(said(json!([{"name": "http", "port": 80, "protocol": "HTTP"}]), json!({}), &[]), None);
        let same_name = json!([{"name": "ext", "port": 8080, "protocol": "HTTP"}]);
        assert!(said(same_name.clone(), json!({}), &[]).unwrap().contains("\"ext\" that is not of this object"));
        assert_eq!(said(same_name.clone(), json!({injected_key(&ours): "ext"}), &[]), None, "somebody edited ours");
        let before = json!({INJECTED_BEFORE: json!([{"name": "ext", "port": 80, "protocol": "HTTP"}]).to_string()});
        assert_eq!(said(same_name, before, &[]), None, "of the original");
        let same_address = json!([{"name": "theirs", "port": 80, "protocol": "HTTP", "hostname": "*.ofn.io"}]);
        assert!(said(same_address, json!({}), &[]).unwrap().contains("has port, protocol and hostname of"));

        let equal = named("older", "ofn.io", external.clone());
        assert_eq!(said(json!([]), json!({}), &[&equal]), None, "what is the same is shared");
        let other = named("older", "other.io", external);
        assert!(said(json!([]), json!({}), &[&other]).unwrap().contains("OpenFunction Gateway openfunction/older"));
        assert!(is_older(&other, &named("younger", "a.io", json!([]))));
        assert_eq!(names(&effective(&ours)), ["ext", "ofn-http-internal"]);
    }
}
