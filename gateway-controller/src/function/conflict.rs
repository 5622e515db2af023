//! Two Functions that claim the same requests: the older one has them (goals RT6).

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use openfunction_proto::{
    core::{Function, GatewayRef},
    gateway_api::{HttpRouteMatch, HttpRouteRule, resources::HttpRoute},
};

use crate::gateway::is_of;

/// A hostname that a Function does not get.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// The hostname.
    pub host: String,
    /// One of the paths on it that both claim; absent if all of the host belongs to the other.
    pub path: Option<String>,
    /// Namespace and name of the Function that has it.
    pub winner: (String, String),
}

impl std::fmt::Display for Lost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (namespace, name) = &self.winner;
        let path = self.path.as_ref().map(|path| format!(", path {path:?},")).unwrap_or_default();
        write!(formatter, "hostname {:?}{path} belongs to Function {namespace}/{name}", self.host)?;
        if self.path.is_some() { formatter.write_str(", which is older") } else { Ok(()) }
    }
}

/// What the routes of others claim, and what is known of those others.
pub trait Others {
    /// Routes that have a hostname.
    fn with_hostname(&self, host: &str) -> Vec<Arc<HttpRoute>>;
    /// The Function that a route belongs to, unless it goes.
    fn owner(&self, route: &HttpRoute) -> Option<Arc<Function>>;
    /// A Function.
    fn function(&self, namespace: &str, name: &str) -> Option<Arc<Function>>;
}

/// The hostnames that a Function wants and another one has on the same Kubernetes Gateway.
pub fn lost(
    function: &Function,
    hostnames: &[String],
    rules: &[HttpRouteRule],
    kubernetes: &GatewayRef,
    cluster_domain: &str,
    others: &impl Others,
) -> Vec<Lost> {
    let mut lost = Vec::new();
    let here = (function.namespace().unwrap_or_default(), function.name_any());
    for host in hostnames {
        // The internal name of a Function is that one's, whoever is older.
        let named = internal_name(host, cluster_domain).or_else(|| short_name(host));
        if named.as_ref() == Some(&here) {
            continue;
        }
        if let Some(named) = named.filter(|(namespace, name)| others.function(namespace, name).is_some()) {
            lost.push(Lost { host: host.clone(), path: None, winner: named });
            continue;
        }
        let claimants = others.with_hostname(host);
        let claimants: Vec<_> = claimants
            .iter()
            .filter(|route| !super::route::is_aside(route))
            .filter_map(|route| Some((route, others.owner(route)?)))
            .collect();
        // So is, for other namespaces, the one that its gateway's template gives it: a narrower match would take requests
        // from it.
        let by_right = claimants.iter().map(|(_, other)| other).filter(|other| {
            is_templated(other) && !is_templated(function) && other.namespace() != function.namespace()
        });
        if let Some((_, namespace, name)) = by_right.map(|other| age(other)).min() {
            lost.push(Lost { host: host.clone(), path: None, winner: (namespace.unwrap_or_default(), name) });
            continue;
        }
        let claimed = claimants.into_iter().filter_map(|(route, other)| {
            let is_here = route.spec.parent_refs.iter().any(|parent| is_of(parent, kubernetes));
            let theirs: Vec<_> = matches(&route.spec.rules).map(claim).collect();
            let ours = matches(rules).find(|ours| is_here && theirs.contains(&claim(ours)))?;
            (age(&other) < age(function)).then(|| (age(&other), ours.path.clone().unwrap_or_default().value))
        });
        // The oldest of all is named, whatever the order in which they are found.
        if let Some(((_, namespace, name), path)) = claimed.min() {
            lost.push(Lost { host: host.clone(), path: Some(path), winner: (namespace.unwrap_or_default(), name) });
        }
    }
    lost
}

/// Whether the hostname of a Function comes from its gateway's template.
fn is_templated(function: &Function) -> bool {
    let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
    route.is_none_or(|route| route.hostnames.is_empty())
}

/// The order of Functions that claim the same: the older one comes first.
pub fn age(function: &Function) -> (Option<Time>, Option<String>, String) {
    (function.creation_timestamp(), function.namespace(), function.name_any())
}

/// Whether two routes claim the same requests.
pub fn meet(one: &HttpRoute, other: &HttpRoute) -> bool {
    if !one.spec.hostnames.iter().any(|host| other.spec.hostnames.contains(host)) {
        return false;
    }
    let theirs: Vec<_> = matches(&other.spec.rules).map(claim).collect();
    matches(&one.spec.rules).any(|ours| theirs.contains(&claim(ours)))
}

fn matches(rules: &[HttpRouteRule]) -> impl Iterator<Item = &HttpRouteMatch> {
    rules.iter().flat_map(|rule| &rule.matches)
}

/// A match in a form that is equal for what is the same.
fn claim(matched: &HttpRouteMatch) -> (String, BTreeMap<String, String>, BTreeMap<String, String>, Option<String>) {
    let path = matched.path.clone().unwrap_or_default();
    let value = super::route::with_slash(&path.value);
    // `/a` and `/a/` are one prefix (Gateway API).
    let value = if path.type_ == "PathPrefix" { value.trim_end_matches('/') } else { value.as_str() };
    let headers = matched.headers.iter().map(|header| (header.name.to_lowercase(), header.value.clone()));
    let parameters = matched.query_params.iter().map(|parameter| (parameter.name.clone(), parameter.value.clone()));
    (format!("{} {value}", path.type_), headers.collect(), parameters.collect(), matched.method.clone())
}

/// Namespace and name of the Function whose internal hostname this is.
pub fn internal_name(host: &str, cluster_domain: &str) -> Option<(String, String)> {
    let inner = host.strip_suffix(cluster_domain)?.strip_suffix(".svc.")?;
    let (name, namespace) = inner.split_once('.')?;
    (!namespace.contains('.')).then(|| (namespace.to_owned(), name.to_owned()))
}

/// Namespace and name of the Function whose short name inside the cluster this is (N31): `name.namespace`, or that with
/// `.svc`.
fn short_name(host: &str) -> Option<(String, String)> {
    let (name, namespace) = host.strip_suffix(".svc").unwrap_or(host).split_once('.')?;
    (!namespace.contains('.')).then(|| (namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Known(Vec<(Arc<Function>, Arc<HttpRoute>)>);

    impl Others for Known {
        fn with_hostname(&self, host: &str) -> Vec<Arc<HttpRoute>> {
            let all = self.0.iter().map(|(_, route)| route.clone());
            all.filter(|route| route.spec.hostnames.iter().any(|other| other == host)).collect()
        }

        fn owner(&self, route: &HttpRoute) -> Option<Arc<Function>> {
            self.function(&route.namespace().unwrap(), &route.name_any())
        }

        fn function(&self, namespace: &str, name: &str) -> Option<Arc<Function>> {
            let functions = self.0.iter().map(|(function, _)| function.clone());
            functions.into_iter().find(|f| f.name_any() == name && f.namespace().as_deref() == Some(namespace))
        }
    }

    fn function(name: &str, created: &str) -> Function {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "n", "creationTimestamp": created}, "spec": {"image": "a"}}),
        )
        .unwrap()
    }

    fn other(
        name: &str,
        created: &str,
        hostnames: &[&str],
        rules: Value,
        gateway: &str,
    ) -> (Arc<Function>, Arc<HttpRoute>) {
        let parent = json!({"name": gateway, "namespace": "i"});
        let spec = json!({"parentRefs": [parent], "hostnames": hostnames, "rules": rules});
        let route = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        (Arc::new(function(name, created)), Arc::new(serde_json::from_value(route).unwrap()))
    }

    #[test]
    fn rt6_of_two_that_claim_a_host_and_path_the_older_has_it() {
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let slash = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]);
        let path = |value: &str| json!([{"matches": [{"path": {"type": "PathPrefix", "value": value}}]}]);
        let gateway = GatewayRef { name: "g".to_owned(), namespace: "i".to_owned() };
        let said = |others: Vec<(Arc<Function>, Arc<HttpRoute>)>, host: &str, rules: Value| {
            let rules: Vec<HttpRouteRule> = serde_json::from_value(rules).unwrap();
            lost(&function("f", new), &[host.to_owned()], &rules, &gateway, "cluster.local", &Known(others))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        let one = |created: &str, rules: Value, gateway: &str| vec![other("g", created, &["a.b"], rules, gateway)];
        assert_eq!(
            said(one(old, slash.clone(), "g"), "a.b", slash.clone()),
            ["hostname \"a.b\", path \"/\", belongs to Function n/g, which is older"]
        );
        assert!(
            said(one("2026-01-03T00:00:00Z", slash.clone(), "g"), "a.b", slash.clone()).is_empty(),
            "it is younger"
        );
        assert!(said(one(old, slash.clone(), "other"), "a.b", slash.clone()).is_empty(), "on another Gateway");
        assert!(said(one(old, slash.clone(), "g"), "c.d", slash.clone()).is_empty());
        assert!(said(one(old, path("/a"), "g"), "a.b", path("/b")).is_empty());
        assert_eq!(said(one(old, path("/a/"), "g"), "a.b", path("a")).len(), 1, "as it is written does not matter");
        let by_header = json!([{"matches": [{"headers": [{"name": "X", "value": "1"}]}]}]);
        assert!(said(one(old, slash.clone(), "g"), "a.b", by_header).is_empty(), "it asks for more");

        let names = vec![other("g", "2026-01-03T00:00:00Z", &[], slash.clone(), "g")];
        let host = "g.n.svc.cluster.local";
        for short in ["g.n", "g.n.svc"] {
            assert_eq!(said(names.clone(), short, slash.clone()).len(), 1, "{short} is its name, too (N31)");
        }
        assert_eq!(said(names, host, slash.clone()), ["hostname \"g.n.svc.cluster.local\" belongs to Function n/g"]);
        assert!(said(vec![], host, slash.clone()).is_empty());
        // It is its own, and what is nobody's goes by age, as any other.
        assert!(said(one(old, slash.clone(), "g"), "f.n.svc.cluster.local", slash.clone()).is_empty());
        let older = vec![other("g", old, &["f.n.svc.cluster.local", "x.y.svc.cluster.local"], slash.clone(), "g")];
        assert!(said(older.clone(), "f.n.svc.cluster.local", slash.clone()).is_empty());
        assert_eq!(said(older, "x.y.svc.cluster.local", slash.clone()).len(), 1);

        // What a template gives to a Function is that one's in other namespaces, too, whatever is claimed of it.
        let mut victim = other("g", "2026-01-03T00:00:00Z", &["g.m.ofn.io"], slash.clone(), "g");
        let (function, route) = (Arc::make_mut(&mut victim.0), Arc::make_mut(&mut victim.1));
        (function.metadata.namespace, route.metadata.namespace) = (Some("m".to_owned()), Some("m".to_owned()));
        let by_method = json!([{"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "method": "GET"}]}]);
        let mut thief = super::tests::function("f", old);
        let route = json!({"http": {"route": {"hostnames": ["g.m.ofn.io"]}}});
        thief.spec.serving = Some(serde_json::from_value(json!({ "triggers": route })).unwrap());
        let rules: Vec<HttpRouteRule> = serde_json::from_value(by_method).unwrap();
        let found = lost(&thief, &["g.m.ofn.io".to_owned()], &rules, &gateway, "cluster.local", &Known(vec![victim]));
        assert_eq!(found[0].to_string(), "hostname \"g.m.ofn.io\" belongs to Function m/g");
        // A redirect claims nothing.
        let redirect = vec![other("g.redirect", old, &["a.b"], slash.clone(), "g")];
        assert!(said(redirect, "a.b", slash).is_empty());
    }
}
