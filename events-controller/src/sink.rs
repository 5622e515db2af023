//! Addresses of sinks: by URI, or of whatever object has one, which is followed (GAP-E30).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use controller_runtime::{client::describe, watch::Shared};
use futures::{Stream, StreamExt};
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    core::GroupVersionKind,
    discovery,
    runtime::{
        WatchStreamExt,
        reflector::ObjectRef,
        watcher::{self, Event, watcher},
    },
};
use openfunction_proto::{
    core::Function,
    events::{SinkReference, SinkSpec},
};
use reqwest::Url;
use serde_json::Value;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::task::TaskTracker;

use crate::problem::Problem;

/// How long it may take to find a host.
const LOOK: Duration = Duration::from_secs(3);
/// How long an answer about a host counts.
const KNOWN: Duration = Duration::from_secs(30);
const MISSED: Duration = Duration::from_secs(5);
/// Pause before a kind is looked for again that the cluster does not serve.
const PAUSE: Duration = Duration::from_secs(30);

/// An object by kind, namespace and name: what a sink names, as a key.
pub fn key(api_version: &str, kind: &str, namespace: &str, name: &str) -> String {
    match is_function(api_version, kind) {
        true => format!("Function/{namespace}/{name}"),
        false => format!("{api_version}/{kind}/{namespace}/{name}"),
    }
}

/// All versions of our own kind are one (BUG-E03).
fn is_function(api_version: &str, kind: &str) -> bool {
    api_version.starts_with("core.openfunction.io/") && kind == "Function"
}

/// The object that a sink names, as a key, if it has no URI.
pub fn key_of(sink: &SinkSpec, namespace: &str) -> Option<String> {
    let of = sink.reference.as_ref().filter(|_| uri(sink).is_none())?;
    Some(key(&of.api_version, &of.kind, namespace_of(of, namespace), &of.name))
}

fn uri(sink: &SinkSpec) -> Option<&str> {
    sink.uri.as_deref().filter(|uri| !uri.is_empty())
}

fn namespace_of<'a>(of: &'a SinkReference, own: &'a str) -> &'a str {
    of.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(own)
}

/// A URL that events can be sent to.
///
/// # Errors
/// It is none.
pub fn checked(uri: &str, path: &str) -> Result<Url, Problem> {
    let wrong = |why: &str| Problem::sink(format!("{path}.uri: Invalid value: {:?}: {why}", without_password(uri)));
    let url = Url::parse(uri).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host_str().is_some_and(|host| !host.is_empty()) => Ok(url),
        _ => Err(wrong("must be an absolute http or https URL")),
    }
}

/// A URL without what is said of a user.
pub fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        _ => url.to_owned(),
    }
}

/// Where events are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The URL.
    pub url: String,
    /// Why nobody is there as far as we see. What runs is not sent there.
    pub missing: Option<Problem>,
}

impl From<String> for Address {
    fn from(url: String) -> Self {
        Self { url, missing: None }
    }
}

/// Finds the addresses of sinks.
pub struct Sinks {
    client: Client,
    functions: Shared<Function>,
    cluster_domain: String,
    /// Whether hosts of URIs are looked for.
    finds_hosts: bool,
    hosts: Mutex<HashMap<String, (Instant, bool)>>,
    watched: Mutex<BTreeMap<Place, watch::Sender<Seen>>>,
    changed: broadcast::Sender<String>,
    watches: TaskTracker,
}

/// A kind in a namespace.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    api_version: String,
    kind: String,
    namespace: String,
}

/// What is known of a place.
#[derive(Debug, Default)]
struct Seen {
    /// Whether all its objects are known.
    is_complete: bool,
    /// Why they are not.
    problem: Option<String>,
    /// Its objects, and their addresses if they have one.
    addresses: HashMap<String, Option<String>>,
}

impl Sinks {
    /// Nothing is known yet but `functions`.
    pub fn new(client: Client, functions: Shared<Function>, cluster_domain: String, finds_hosts: bool) -> Self {
        Self {
            client,
            functions,
            cluster_domain,
            finds_hosts,
            hosts: Mutex::default(),
            watched: Mutex::default(),
            changed: broadcast::Sender::new(1024),
            watches: TaskTracker::new(),
        }
    }

    /// Keys of objects whose address may be another; `None` if it is not known which.
    pub fn changes(&self) -> impl Stream<Item = Option<String>> + Send + use<> {
        // One that has lagged behind does not know which.
        BroadcastStream::new(self.changed.subscribe()).map(Result::ok)
    }

    /// The URL of a sink of an object in a namespace; `path` is that of the sink in the object.
    ///
    /// # Errors
    /// It has none, for now or for ever.
    pub async fn find(&self, sink: &SinkSpec, namespace: &str, path: &str) -> Result<Address, Problem> {
        if let Some(uri) = uri(sink) {
            let url = checked(uri, path)?;
            let missing = self.finds_hosts && !self.is_found(&url, namespace).await;
            let missing = missing.then(|| {
                let host = url.host_str().unwrap_or_default();
                let message = format!("{path}.uri: host {host:?} is not found; what runs goes on as it was");
                Problem { is_passing: true, ..Problem::sink(message) }
            });
            return Ok(Address { url: uri.to_owned(), missing });
        }
        let Some(of) = &sink.reference else {
            return Err(Problem::sink(format!("{path}: Required value: at least one of uri and ref must be set")));
        };
        let namespace = namespace_of(of, namespace);
        if is_function(&of.api_version, &of.kind) {
            return self.of_function(namespace, &of.name, path).map(Address::from);
        }
        self.of_others(of, namespace, path).await.map(Address::from)
    }

    fn of_function(&self, namespace: &str, name: &str, path: &str) -> Result<String, Problem> {
        let Some(function) = self.functions.store().get(&ObjectRef::new(name).within(namespace)) else {
            return Err(Problem::sink(format!("{path}.ref: Function \"{namespace}/{name}\" does not exist")));
        };
        let addresses = function.status.iter().flat_map(|status| &status.addresses);
        let internal = addresses.into_iter().find(|address| address.type_ == "Internal");
        internal.map(|address| address.value.clone()).ok_or_else(|| {
            Problem::sink(format!("{path}.ref: Function \"{namespace}/{name}\" has no internal address yet"))
        })
    }

    async fn of_others(&self, of: &SinkReference, namespace: &str, path: &str) -> Result<String, Problem> {
        let said = format!("{} \"{namespace}/{}\"", of.kind, of.name);
        let place =
            Place { api_version: of.api_version.clone(), kind: of.kind.clone(), namespace: namespace.to_owned() };
        let mut seen = self.watched(place).subscribe();
        // It takes a moment only; if it does not, whoever asks is told once it is known.
        let is_known = |seen: &Seen| seen.is_complete || seen.problem.is_some();
        let _ = tokio::time::timeout(LOOK, seen.wait_for(is_known)).await;
        let seen = seen.borrow();
        if let Some(problem) = &seen.problem {
            return Err(Problem::sink(format!("{path}.ref: {problem}")));
        }
        match seen.addresses.get(&of.name) {
            Some(Some(address)) => Ok(address.clone()),
            Some(None) => Err(Problem::sink(format!("{path}.ref: {said} has no address (status.address.url) yet"))),
            None if seen.is_complete => Err(Problem::sink(format!("{path}.ref: {said} does not exist"))),
            None => {
                Err(Problem { is_passing: true, ..Problem::sink(format!("{path}.ref: {said} is being looked for")) })
            }
        }
    }

    /// Whether the host of a URL has an address.
    async fn is_found(&self, url: &Url, namespace: &str) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        let host = host.trim_matches(['[', ']']);
        if host.parse::<std::net::IpAddr>().is_ok() {
            return true;
        }
        // Handlers find a short name in their own namespace.
        let host = match host.contains('.') {
            true => host.to_owned(),
            false => format!("{host}.{namespace}.svc.{}", self.cluster_domain),
        };
        if let Some((at, is_found)) = self.hosts().get(&host)
            && at.elapsed() < if *is_found { KNOWN } else { MISSED }
        {
            return *is_found;
        }
        let found = tokio::time::timeout(LOOK, tokio::net::lookup_host((host.as_str(), port))).await;
        let is_found = found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()));
        let mut hosts = self.hosts();
        hosts.retain(|_, (at, _)| at.elapsed() < KNOWN);
        hosts.insert(host, (Instant::now(), is_found));
        is_found
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, bool)>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a place, which is watched from the first question on.
    fn watched(&self, place: Place) -> watch::Sender<Seen> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = watched.get(&place) {
            return seen.clone();
        }
        let seen = watch::Sender::new(Seen::default());
        watched.insert(place.clone(), seen.clone());
        let watch = Watch {
            client: self.client.clone(),
            cluster_domain: self.cluster_domain.clone(),
            seen: seen.clone(),
            changed: self.changed.clone(),
            place,
        };
        self.watches.spawn(watch.run());
        seen
    }
}

/// Follows the objects of a place.
struct Watch {
    client: Client,
    cluster_domain: String,
    seen: watch::Sender<Seen>,
    changed: broadcast::Sender<String>,
    place: Place,
}

impl Watch {
    async fn run(self) {
        let Place { api_version, kind, namespace } = &self.place;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let resource = loop {
            match discovery::pinned_kind(&self.client, &wanted).await {
                Ok((resource, _)) => break resource,
                Err(error) => {
                    tracing::debug!(kind, api_version, "not found: {}", describe(&error));
                    self.set_problem(Some(format!("the cluster serves no kind {kind:?} of {api_version:?}")));
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.set_problem(None);
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listing = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(object)) => drop(listing.insert(object.name_any(), self.address(&object))),
                Ok(Event::InitDone) => self.complete(std::mem::take(&mut listing)),
                Ok(Event::Apply(object)) => self.change(object.name_any(), Some(self.address(&object))),
                Ok(Event::Delete(object)) => self.change(object.name_any(), None),
                Err(error) => {
                    let reason = describe(&error);
                    tracing::warn!(kind, namespace, "a sink's kind cannot be watched, trying again: {reason}");
                    if !self.seen.borrow().is_complete {
                        self.set_problem(Some(format!("{kind} of {api_version} cannot be watched: {reason}")));
                    }
                }
            }
        }
    }

    fn key(&self, name: &str) -> String {
        key(&self.place.api_version, &self.place.kind, &self.place.namespace, name)
    }

    fn set_problem(&self, problem: Option<String>) {
        let is_new = self.seen.send_if_modified(|seen| {
            let is_new = seen.problem != problem;
            seen.problem = problem;
            is_new
        });
        if is_new {
            // Whoever asks for one of them.
            let _ = self.changed.send(self.key(""));
        }
    }

    fn complete(&self, addresses: HashMap<String, Option<String>>) {
        self.seen.send_replace(Seen { is_complete: true, problem: None, addresses });
        let _ = self.changed.send(self.key(""));
    }

    fn change(&self, name: String, is: Option<Option<String>>) {
        let is_new = self.seen.send_if_modified(|seen| {
            let was = match is.clone() {
                Some(address) => seen.addresses.insert(name.clone(), address),
                None => seen.addresses.remove(&name),
            };
            was != is
        });
        if is_new {
            let _ = self.changed.send(self.key(&name));
        }
    }

    fn address(&self, object: &DynamicObject) -> Option<String> {
        let is_service = self.place.api_version == "v1" && self.place.kind == "Service";
        match is_service {
            true => Some(service(object, &self.cluster_domain)),
            false => address(&object.data),
        }
    }
}

/// The address of a Service: of its port 80, or else of its first.
fn service(object: &DynamicObject, cluster_domain: &str) -> String {
    let host = format!("{}.{}.svc.{cluster_domain}", object.name_any(), object.namespace().unwrap_or_default());
    let ports = object.data["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let mut ports = ports.iter().filter_map(|port| port["port"].as_u64());
    match ports.clone().find(|port| *port == 80).or_else(|| ports.next()) {
        None | Some(80) => format!("http://{host}"),
        Some(port) => format!("http://{host}:{port}"),
    }
}

/// The address of an object that is Addressable, as Knative has it, or of a Knative Service.
fn address(object: &Value) -> Option<String> {
    let urls = ["/status/address/url", "/status/addresses/0/url", "/status/url"];
    urls.iter().find_map(|path| object.pointer(path)?.as_str()).filter(|url| !url.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_of_knative_and_of_services_are_found() {
        assert_eq!(
            address(&json!({"status": {"address": {"url": "http://a"}, "url": "http://b"}})).as_deref(),
            Some("http://a")
        );
        assert_eq!(address(&json!({"status": {"url": "http://b"}})).as_deref(), Some("http://b"));
        assert_eq!(address(&json!({"status": {"addresses": [{"url": "http://c"}]}})).as_deref(), Some("http://c"));
        assert_eq!(address(&json!({"status": {"url": ""}})), None);
        let of = |ports: Value| {
            let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"}, "spec": {"ports": ports}});
            service(&serde_json::from_value(object).unwrap(), "cluster.local")
        };
        assert_eq!(of(json!([{"port": 90}, {"port": 80}])), "http://a.b.svc.cluster.local");
        assert_eq!(of(json!([{"port": 90}])), "http://a.b.svc.cluster.local:90");
    }

    #[test]
    fn e03_every_version_of_a_function_is_one_object() {
        let of = |version: &str| key(&format!("core.openfunction.io/{version}"), "Function", "n", "f");
        assert_eq!(of("v1beta1"), of("v1beta2"));
        assert_ne!(key("serving.knative.dev/v1", "Service", "n", "f"), key("v1", "Service", "n", "f"));
    }

    #[test]
    fn a_uri_must_be_a_url_of_http() {
        for good in [
            "http://a",
            "https://a.b:8443/c?d",
            "http://openfunction.io.svc.cluster.local/default/sink",
            "http://10.0.0.1/",
        ] {
            assert_eq!(checked(good, "spec.sink").map(drop), Ok(()), "{good}");
        }
        for bad in ["", "a", "/a", "ftp://a", "http://", "mailto:a@b", "http://a b"] {
            let problem = checked(bad, "spec.sink").unwrap_err();
            assert!(problem.message.starts_with("spec.sink.uri: Invalid value: "), "{problem}");
        }
    }
}
