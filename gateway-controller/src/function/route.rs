//! The HTTPRoute of a Function (networking §9).

use std::collections::BTreeSet;

use controller_runtime::{
    children::{self, json},
    names::DNS_LABEL,
    traffic::hash as hash_of,
};
use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::{
    core::{Backend, Function, FunctionSpec, Route, TrafficTarget},
    gateway_api::{
        HttpBackendRef, HttpHeader, HttpHeaderFilter, HttpPathMatch, HttpRequestRedirectFilter, HttpRouteFilter,
        HttpRouteMatch, HttpRouteRule, HttpRouteTimeouts, HttpUrlRewriteFilter,
        resources::{HttpRoute, HttpRouteSpec, KubernetesGateway, ListenerSet, ParentReference},
    },
    networking::{Gateway, Listener},
};

use super::{
    doors::{Doors, Offer},
    service::is_service_name,
};
use crate::{ABOUT, gateway, template::render};

/// Annotation of an HTTPRoute with the hash of the traffic that it was rendered from.
pub const TRAFFIC: &str = "openfunction.io/traffic";
/// Annotation of an HTTPRoute with the revisions that it leads to, separated by commas.
pub const REVISIONS: &str = "openfunction.io/revisions";

/// Annotation of an HTTPRoute with the filters, as JSON, that its one backend asked for in every rule.
pub const REWRITES: &str = "openfunction.io/rewrites";

/// Why no route can be rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Unroutable {
    /// One word.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

/// What the installation says of routes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Timeout of requests for rules that name none, as a Gateway API duration.
    pub request_timeout: Option<String>,
    /// Functions answer under the one hostname of OpenFunction before 0.7, too (goals RT23).
    pub legacy_entry: bool,
}

/// A Function with the OpenFunction Gateway that it uses.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// The Function.
    pub function: &'a Function,
    /// Its spec, with defaults.
    pub spec: &'a FunctionSpec,
    /// Its gateway.
    pub gateway: &'a Gateway,
    /// The Kubernetes Gateway of that one.
    pub kubernetes: &'a KubernetesGateway,
    /// Whether the listeners of the OpenFunction Gateway stand in a ListenerSet.
    pub by_set: bool,
    /// The ListenerSet, if it is there.
    pub set: Option<&'a ListenerSet>,
    /// What the installation says.
    pub options: &'a Options,
}

/// The HTTPRoutes of a Function.
#[derive(Clone, Debug)]
pub struct Routes {
    /// The one with its name.
    pub main: HttpRoute,
    /// Short names, redirects, tags and what else needs a route of its own.
    pub others: Vec<HttpRoute>,
    /// All hostnames, but for short ones and those of tags.
    pub hostnames: Vec<String>,
    /// The listeners of these.
    pub doors: Doors,
    /// Tagged revisions, each with its hostnames and their listeners.
    pub tags: Vec<Tag>,
}

/// A tagged revision with an address of its own.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The tag.
    pub name: String,
    /// The revision.
    pub revision: String,
    /// Its HTTPRoute.
    pub route: String,
    /// Its hostnames.
    pub hostnames: Vec<String>,
    /// Their listeners.
    pub doors: Doors,
}

/// How many hostnames a route can have.
const HOSTNAMES: usize = 16;
/// The hostname of all functions before OpenFunction 0.7, before the cluster's domain.
const LEGACY_HOST: &str = "openfunction.io.svc";

/// Name of another HTTPRoute of a Function. No routable Function has a dot in its name.
fn other_name(function: &Function, kind: &str) -> String {
    format!("{}.{kind}", function.name_any())
}

/// Whether an HTTPRoute is that of short names: nothing hangs on it.
pub fn is_short(route: &HttpRoute) -> bool {
    route.name_any().ends_with(".short")
}

/// Whether an HTTPRoute claims nothing from others: short names are their Function's by right, and a redirect only sends on.
pub fn is_aside(route: &HttpRoute) -> bool {
    let name = route.name_any();
    is_short(route) || name.split_once('.').is_some_and(|(_, kind)| kind.starts_with("redirect"))
}

/// The revisions that an HTTPRoute leads to, as it was written.
pub fn led_to(route: &HttpRoute) -> BTreeSet<String> {
    let listed = route.annotations().get(REVISIONS).map(String::as_str).unwrap_or_default();
    listed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Revisions that requests may go to.
pub fn revisions(traffic: &[TrafficTarget]) -> BTreeSet<String> {
    traffic.iter().map(|target| target.revision.clone()).collect()
}

/// Whether a route leads to another namespace, which must allow it.
pub fn leaves_namespace(route: &HttpRoute) -> bool {
    route.spec.rules.iter().flat_map(|rule| &rule.backend_refs).any(|backend| backend.namespace.is_some())
}

/// The hostname inside the cluster.
pub fn internal_host(function: &Function, cluster_domain: &str) -> String {
    format!("{}.{}.svc.{cluster_domain}", function.name_any(), function.namespace().unwrap_or_default())
}

impl Routed<'_> {
    fn route(&self) -> Route {
        self.spec.serving.as_ref().and_then(|serving| serving.http()?.route.clone()).unwrap_or_default()
    }

    fn is_public(&self) -> bool {
        self.route().visibility.as_deref() != Some("Internal")
    }

    /// Hostnames of the route: the user's or the template's, then the internal one.
    ///
    /// # Errors
    /// A template that cannot be rendered, or whose result is no hostname.
    pub fn hostnames(&self) -> Result<Vec<String>, Unroutable> {
        let mut hostnames = self.route().hostnames;
        if hostnames.is_empty() {
            hostnames.push(self.templated_host(&self.function.name_any())?);
        }
        if !self.is_public() {
            hostnames.clear();
        }
        let internal = internal_host(self.function, &self.gateway.spec.cluster_domain);
        if !hostnames.contains(&internal) {
            hostnames.push(internal);
        }
        Ok(hostnames)
    }

    fn templated_host(&self, name: &str) -> Result<String, Unroutable> {
        let namespace = self.function.namespace().unwrap_or_default();
        let fields = [("Name", name), ("Namespace", &namespace), ("Domain", &self.gateway.spec.domain)];
        let host = render(&self.gateway.spec.host_template, &fields)
            .map_err(|error| self.bad_template("hostTemplate", &error))?;
        let is_label = |label: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            label.len() <= DNS_LABEL
                && edge(label.chars().next())
                && edge(label.chars().next_back())
                && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if host.len() > 253 || !host.split('.').all(is_label) {
            return Err(self.bad_template("hostTemplate", &format!("{host:?} is no hostname")));
        }
        Ok(host)
    }

    fn bad_template(&self, field: &str, error: &str) -> Unroutable {
        let gateway = format!("{}/{}", self.gateway.namespace().unwrap_or_default(), self.gateway.name_any());
        Unroutable {
            reason: "InvalidTemplate",
            message: format!("OpenFunction Gateway {gateway}: spec.{field}: {error}"),
        }
    }

    /// The rules without their backends: the user's, or one for every path, or one for the path of the template when
    /// the user named hostnames (networking §9.4).
    ///
    /// # Errors
    /// A template that cannot be rendered.
    pub fn rules(&self) -> Result<Vec<HttpRouteRule>, Unroutable> {
        let mut route = self.route();
        if !route.rules.is_empty() {
            // What an empty list means (Gateway API).
            let open = route.rules.iter_mut().filter(|rule| rule.matches.is_empty());
            open.for_each(|rule| rule.matches = every_path().matches);
            return Ok(route.rules);
        }
        let value = if route.hostnames.is_empty() { "/".to_owned() } else { self.templated_path()? };
        let path = HttpPathMatch { type_: "PathPrefix".to_owned(), value };
        let matches = vec![HttpRouteMatch { path: Some(path), ..HttpRouteMatch::default() }];
        Ok(vec![HttpRouteRule { matches, ..HttpRouteRule::default() }])
    }

    fn templated_path(&self) -> Result<String, Unroutable> {
        let (name, namespace) = (self.function.name_any(), self.function.namespace().unwrap_or_default());
        let fields = [("Name", name.as_str()), ("Namespace", &namespace)];
        let path = render(&self.gateway.spec.path_template, &fields)
            .map_err(|error| self.bad_template("pathTemplate", &error))?;
        Ok(with_slash(&path))
    }

    /// The listeners that there are, in the Kubernetes Gateway and in its ListenerSet.
    fn standing(&self) -> impl Iterator<Item = &Listener> {
        let in_set = self.set.filter(|_| self.by_set).into_iter().flat_map(|set| &set.spec.listeners);
        let is_there = |listener: &&Listener| self.has(&gateway::parent(self.kubernetes, &listener.name, self.by_set));
        self.kubernetes.spec.listeners.iter().chain(in_set).filter(is_there)
    }

    /// Whether the listener is there that a parent of a route of this Kubernetes Gateway means.
    pub fn has(&self, parent: &ParentReference) -> bool {
        let listeners = match parent.kind.as_str() {
            gateway::LISTENER_SET => self.set.map(|set| set.spec.listeners.as_slice()).unwrap_or_default(),
            _ => &self.kubernetes.spec.listeners,
        };
        listeners.iter().any(|listener| Some(&listener.name) == parent.section_name.as_ref())
    }

    /// Hostnames that come in by listeners with the function's own certificate.
    pub fn certified(&self) -> Vec<String> {
        let route = self.route();
        if route.tls.is_some() && self.is_public() { route.hostnames } else { Vec::new() }
    }

    /// The listeners by which requests for hostnames come in.
    fn doors(&self, hostnames: &[String]) -> Doors {
        let mut ours = gateway::effective(self.gateway);
        // A listener with the function's own certificate, as soon as it is there.
        let with_certificate: Vec<_> = hostnames.iter().flat_map(|host| gateway::certificate_names(host)).collect();
        let is_for_us = |listener: &&Listener| self.route().tls.is_some() && with_certificate.contains(&listener.name);
        ours.extend(self.standing().filter(is_for_us).cloned());
        let all: Vec<_> = self.standing().filter(|listener| !gateway::is_special(listener)).cloned().collect();
        let offer = Offer {
            ours: &ours,
            all: &all,
            gateway_namespace: &self.kubernetes.namespace().unwrap_or_default(),
            namespace: &self.function.namespace().unwrap_or_default(),
            certified: &self.certified(),
        };
        offer.choose(hostnames)
    }

    /// The HTTPRoutes. `lost` are hostnames that other Functions have.
    ///
    /// # Errors
    /// As [`Routed::hostnames`] and [`Routed::rules`].
    pub fn http_routes(&self, traffic: &[TrafficTarget], lost: &BTreeSet<String>) -> Result<Routes, Unroutable> {
        let mut hostnames = self.hostnames()?;
        hostnames.retain(|hostname| !lost.contains(hostname));
        let mut doors = self.doors(&hostnames);
        // What has a certificate is not served without.
        let certified = self.certified();
        let waits = |host: &String| certified.contains(host) && doors.unserved.iter().any(|(open, _)| open == host);
        hostnames.retain(|host| !waits(host));
        let mut others = Vec::new();
        if self.gateway.spec.https_redirect == Some(true) {
            let (redirected, hosts) = doors.split_redirected(&hostnames);
            if let Some(door) = hosts.first().and_then(|host| doors.of(host)) {
                let rule = redirect(door.port);
                for (at, hosts) in hosts.chunks(HOSTNAMES).enumerate() {
                    let kind = if at == 0 { "redirect".to_owned() } else { format!("redirect-{at}") };
                    others.push(self.named(
                        other_name(self.function, &kind),
                        hosts,
                        &redirected,
                        vec![rule.clone()],
                        &[],
                    ));
                }
            }
        }
        let rules = self.rules()?;
        let finished = |rules: Vec<HttpRouteRule>, traffic: &[TrafficTarget]| -> Vec<HttpRouteRule> {
            rules.into_iter().map(|rule| self.finished(rule, traffic)).collect()
        };
        let backed = finished(rules, traffic);
        let (first, more) = hostnames.split_at(hostnames.len().min(HOSTNAMES));
        let main = self.named(self.function.name_any(), first, &doors.only(first), backed.clone(), traffic);
        if !more.is_empty() {
            let name = other_name(self.function, "more");
            others.push(self.named(name, more, &doors.only(more), backed.clone(), traffic));
        }
        others.extend(self.short_route(&backed, traffic));
        if self.options.legacy_entry {
            others.push(self.legacy_route(traffic));
        }
        let tags = self.tags(traffic, lost)?;
        for (tag, target) in &tags {
            let rules = if self.route().rules.is_empty() { vec![every_path()] } else { self.route().rules };
            let target = [TrafficTarget { percent: 100, ..target.clone() }];
            others.push(self.named(
                tag.route.clone(),
                &tag.hostnames,
                &tag.doors.listeners,
                finished(rules, &target),
                &target,
            ));
        }
        let tags = tags.into_iter().map(|(tag, _)| tag).collect();
        Ok(Routes { main, others, hostnames, doors, tags })
    }

    /// The route of the names that only a resolver's search path makes whole (N31).
    fn short_route(&self, rules: &[HttpRouteRule], traffic: &[TrafficTarget]) -> Option<HttpRoute> {
        let section = gateway::short(Some(self.kubernetes))?;
        let (name, namespace) = (self.function.name_any(), self.function.namespace().unwrap_or_default());
        let hostnames = [format!("{name}.{namespace}"), format!("{name}.{namespace}.svc")];
        // It comes with the next pass over the OpenFunction Gateway.
        let listener = self.standing().find(|listener| listener.name == section)?;
        Some(self.named(
            other_name(self.function, "short"),
            &hostnames,
            std::slice::from_ref(listener),
            rules.to_vec(),
            traffic,
        ))
    }

    fn legacy_route(&self, traffic: &[TrafficTarget]) -> HttpRoute {
        let hostnames = [format!("{LEGACY_HOST}.{}", self.gateway.spec.cluster_domain)];
        let value = format!("/{}/{}", self.function.namespace().unwrap_or_default(), self.function.name_any());
        let mut rule = every_path();
        rule.matches[0].path = Some(HttpPathMatch { value, ..HttpPathMatch::default() });
        let listeners = self.doors(&hostnames).listeners;
        self.named(
            other_name(self.function, "legacy"),
            &hostnames,
            &listeners,
            vec![self.finished(rule, traffic)],
            traffic,
        )
    }

    /// The hostnames of tagged revisions.
    ///
    /// # Errors
    /// A tag, or a template, that makes no hostname.
    pub fn tagged_hostnames(&self, traffic: &[TrafficTarget]) -> Result<Vec<String>, Unroutable> {
        let tags = self.tags(traffic, &BTreeSet::new())?;
        Ok(tags.into_iter().flat_map(|(tag, _)| tag.hostnames).collect())
    }

    /// Tagged revisions: each has the hostname of a function called `<tag>-<function>`, unless another Function has it.
    fn tags(
        &self,
        traffic: &[TrafficTarget],
        lost: &BTreeSet<String>,
    ) -> Result<Vec<(Tag, TrafficTarget)>, Unroutable> {
        let mut tags = Vec::new();
        for target in traffic {
            let Some(tag) = target.tag.clone().filter(|_| target.backend.is_some()) else { continue };
            let name = format!("{tag}-{}", self.function.name_any());
            if !is_service_name(&name) {
                let message = format!(
                    "spec.serving.traffic: Invalid value: tag {tag:?}: {name:?} must be the name of a Service, with at most 63 characters"
                );
                return Err(Unroutable { reason: "InvalidTraffic", message });
            }
            let namespace = self.function.namespace().unwrap_or_default();
            let mut hostnames = Vec::new();
            if self.is_public() {
                hostnames.push(self.templated_host(&name)?);
            }
            hostnames.push(format!("{name}.{namespace}.svc.{}", self.gateway.spec.cluster_domain));
            hostnames.retain(|hostname| !lost.contains(hostname));
            let (route, doors) = (other_name(self.function, &format!("tag-{tag}")), self.doors(&hostnames));
            tags.push((Tag { name: tag, revision: target.revision.clone(), route, hostnames, doors }, target.clone()));
        }
        Ok(tags)
    }

    /// An HTTPRoute.
    fn named(
        &self,
        name: String,
        hostnames: &[String],
        listeners: &[Listener],
        rules: Vec<HttpRouteRule>,
        traffic: &[TrafficTarget],
    ) -> HttpRoute {
        let parent_refs =
            listeners.iter().map(|listener| gateway::parent(self.kubernetes, &listener.name, self.by_set));
        let spec = HttpRouteSpec { parent_refs: parent_refs.collect(), hostnames: hostnames.to_vec(), rules };
        let mut metadata = metadata(self.function, name, traffic);
        let key = self.gateway.spec.http_route_label_key.clone();
        metadata.labels.get_or_insert_default().insert(key, gateway::label(self.gateway));
        HttpRoute { metadata, spec, status: None }
    }

    /// A rule with its backends and, if it names none, the timeout of the installation.
    fn finished(&self, mut rule: HttpRouteRule, traffic: &[TrafficTarget]) -> HttpRouteRule {
        if rule.timeouts.is_none() {
            rule.timeouts = self
                .options
                .request_timeout
                .clone()
                .map(|request| HttpRouteTimeouts { request: Some(request), ..HttpRouteTimeouts::default() });
        }
        with_backends(rule, traffic, &self.function.namespace().unwrap_or_default())
    }
}

fn every_path() -> HttpRouteRule {
    let every = HttpRouteMatch { path: Some(HttpPathMatch::default()), ..HttpRouteMatch::default() };
    HttpRouteRule { matches: vec![every], ..HttpRouteRule::default() }
}

/// Sends requests to HTTPS.
fn redirect(port: i32) -> HttpRouteRule {
    let redirect = HttpRequestRedirectFilter {
        scheme: Some("https".to_owned()),
        port: (port != 443).then_some(port),
        status_code: 301,
        ..HttpRequestRedirectFilter::default()
    };
    let filter = HttpRouteFilter {
        type_: "RequestRedirect".to_owned(),
        request_redirect: Some(redirect),
        ..HttpRouteFilter::default()
    };
    HttpRouteRule { filters: vec![filter], ..every_path() }
}

fn metadata(function: &Function, name: String, traffic: &[TrafficTarget]) -> ObjectMeta {
    let mut metadata = children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    let revisions: Vec<_> = revisions(traffic).into_iter().collect();
    let annotations = [(TRAFFIC.to_owned(), hash_of(traffic)), (REVISIONS.to_owned(), revisions.join(","))];
    metadata.annotations = Some(annotations.into());
    if let [(_, only)] = active(traffic).as_slice()
        && !rewrite(only).is_empty()
    {
        let rewrites = json(&rewrite(only)).to_string();
        metadata.annotations.get_or_insert_default().insert(REWRITES.to_owned(), rewrites);
    }
    metadata
}

/// A route as it is, that leads to a traffic; one of a tag leads to its revision only.
pub fn kept(function: &Function, live: &HttpRoute, traffic: &[TrafficTarget]) -> HttpRoute {
    let namespace = function.namespace().unwrap_or_default();
    let name = live.name_any();
    let of_tag: Vec<_> = match name.strip_prefix(&other_name(function, "tag-")) {
        None => traffic.to_vec(),
        Some(tag) => {
            let tagged = traffic.iter().filter(|target| target.tag.as_deref() == Some(tag));
            tagged.map(|target| TrafficTarget { percent: 100, ..target.clone() }).collect()
        }
    };
    let traffic = of_tag.as_slice();
    let mut metadata = metadata(function, name, traffic);
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in live.labels() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let written = live.annotations().get(REWRITES).and_then(|text| serde_json::from_str(text).ok());
    let ours: Vec<HttpRouteFilter> = written.unwrap_or_default();
    let mut spec = live.spec.clone();
    for rule in &mut spec.rules {
        rule.filters.retain(|filter| !ours.contains(filter));
        *rule = with_backends(std::mem::take(rule), traffic, &namespace);
    }
    HttpRoute { metadata, spec, status: None }
}

/// A path with the slash at its beginning that every path has.
pub fn with_slash(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn with_backends(mut rule: HttpRouteRule, traffic: &[TrafficTarget], namespace: &str) -> HttpRouteRule {
    for matched in &mut rule.matches {
        if let Some(path) = &mut matched.path {
            // Of a regular expression the slash is no part.
            if path.type_ != "RegularExpression" {
                path.value = with_slash(&path.value);
            }
        }
    }
    rule.backend_refs.clear();
    // A redirect answers by itself, and may have no backend (N38).
    if rule.filters.iter().any(|filter| filter.type_ == "RequestRedirect") {
        return rule;
    }
    let backends = active(traffic);
    let many = backends.len() > 1;
    // A rule has one filter of a kind at most; where the user's own stands, ours goes to the backend.
    let mut at_backends = many;
    if let [(_, only)] = backends.as_slice() {
        let ours = rewrite(only);
        at_backends = ours.iter().any(|our| rule.filters.iter().any(|filter| filter.type_ == our.type_));
        if !at_backends {
            rule.filters.extend(ours);
        }
    }
    rule.backend_refs = backends
        .into_iter()
        .map(|(target, backend)| HttpBackendRef {
            group: String::new(),
            kind: backend.kind.clone(),
            name: backend.name.clone(),
            namespace: (backend.namespace != namespace).then(|| backend.namespace.clone()),
            port: Some(backend.port),
            weight: if many { target.percent } else { 1 },
            filters: if at_backends { rewrite(backend) } else { Vec::new() },
        })
        .collect();
    rule
}

/// Why requests cannot be split as asked, whatever the gateway: KEDA's interceptor knows a revision by the Host alone,
/// which a rule writes once.
pub fn is_split_by_host(traffic: &[TrafficTarget]) -> bool {
    let backends = active(traffic);
    backends.len() > 1 && backends.iter().any(|(_, backend)| backend.host.is_some())
}

/// The backends that get requests.
fn active(traffic: &[TrafficTarget]) -> Vec<(&TrafficTarget, &Backend)> {
    let with_share = traffic.iter().filter(|target| target.percent > 0);
    with_share.filter_map(|target| Some((target, target.backend.as_ref()?))).collect()
}

/// What a request must be given for a backend (goals Q25).
fn rewrite(backend: &Backend) -> Vec<HttpRouteFilter> {
    let headers: Vec<_> =
        backend.headers.iter().map(|(name, value)| HttpHeader { name: name.clone(), value: value.clone() }).collect();
    let set = (!headers.is_empty()).then(|| HttpRouteFilter {
        type_: "RequestHeaderModifier".to_owned(),
        request_header_modifier: Some(HttpHeaderFilter { set: headers, ..HttpHeaderFilter::default() }),
        ..HttpRouteFilter::default()
    });
    let host = backend.host.clone().map(|hostname| HttpRouteFilter {
        type_: "URLRewrite".to_owned(),
        url_rewrite: Some(HttpUrlRewriteFilter { hostname: Some(hostname), path: None }),
        ..HttpRouteFilter::default()
    });
    set.into_iter().chain(host).collect()
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
