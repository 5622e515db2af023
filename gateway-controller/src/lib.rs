//! gateway-controller: OpenFunction Gateways become listeners of Kubernetes Gateways, and Functions become routes.
#![warn(missing_docs)]

mod default_gateway;
mod function;
mod gateway;
mod template;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use controller_runtime::{
    apply::Applier,
    children,
    events::Events,
    index::Index,
    optional::{OptionalApi, OptionalApis},
    process::{self, About, Runtime, everything, triggers},
    status_api::Explained,
    watch::{Shared, Watched},
    webhook::Webhooks,
};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{reflector::ObjectRef, watcher},
};
use openfunction_proto::{
    core::{Function, GatewayRef},
    gateway_api::resources::{GatewayClass, HttpRoute, KubernetesGateway, ListenerSet, ReferenceGrant},
    networking::Gateway,
};

pub use default_gateway::delete_default_gateway;

/// Kubernetes Gateways.
const GATEWAYS: OptionalApi = OptionalApi { group: "gateway.networking.k8s.io", version: "v1", plural: "gateways" };
/// HTTPRoutes.
const HTTP_ROUTES: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1", plural: "httproutes" };

/// Which objects of other namespaces may be referred to.
const REFERENCE_GRANTS: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1beta1", plural: "referencegrants" };
/// Classes of Gateways.
const GATEWAY_CLASSES: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1", plural: "gatewayclasses" };

/// Listeners beside a Gateway (Gateway API 1.5).
const LISTENER_SETS: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1", plural: "listenersets" };

/// Why nothing can be routed on a cluster without these.
const NO_GATEWAY_API: &str =
    "the cluster does not serve the Gateway API (gateway.networking.k8s.io/v1); install its CRDs and a gateway";

/// The controller.
pub const ABOUT: About = About {
    name: "gateway-controller",
    about: "Routes requests to functions through the Kubernetes Gateway API.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: &[GATEWAYS, HTTP_ROUTES, REFERENCE_GRANTS, GATEWAY_CLASSES, LISTENER_SETS],
};

/// Flags of the gateway-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// DNS suffix of the cluster, where no OpenFunction Gateway says it. `auto` asks the resolver of the Pod.
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = controller_runtime::args::cluster_domain)]
    pub cluster_domain: String,
    /// Name of the OpenFunction Gateway, in the controller's namespace, of functions that name none.
    #[arg(long, env = "DEFAULT_GATEWAY_NAME", value_name = "NAME", default_value = "openfunction")]
    pub default_gateway_name: String,
    /// Time that the proxies of a gateway take to learn a route after it was accepted.
    #[arg(long, env = "ROUTE_SETTLE_TIME", value_name = "DURATION", default_value = "5s", value_parser = controller_runtime::args::duration)]
    pub route_settle_time: Duration,
    /// Spec, as JSON, of that OpenFunction Gateway: it is made at start. Absent makes none.
    #[arg(long, env = "DEFAULT_GATEWAY", value_name = "JSON", default_value = "")]
    pub default_gateway: String,
    /// Time for which a Gateway that functions have left goes on serving them, so that nobody asks it any more.
    #[arg(long, env = "GATEWAY_MOVE_TIME", value_name = "DURATION", default_value = "30s", value_parser = controller_runtime::args::duration)]
    pub gateway_move_time: Duration,
    /// Namespaces, besides the controller's own, whose OpenFunction Gateways may use Kubernetes Gateways of every
    /// namespace; others need a ReferenceGrant. Separated by commas.
    #[arg(long, env = "TRUSTED_NAMESPACES", value_name = "NAMES", value_delimiter = ',')]
    pub trusted_namespaces: Vec<String>,
    /// Namespaces where backends of functions may be besides the functions' own: that of KEDA's interceptor.
    /// ReferenceGrants are made there. Separated by commas.
    #[arg(long, env = "BACKEND_NAMESPACES", value_name = "NAMES", value_delimiter = ',', default_value = "keda")]
    pub backend_namespaces: Vec<String>,
    /// Timeout of requests for rules that name none, as a Gateway API duration (`30s`); empty is that of the gateway.
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "", value_parser = request_timeout)]
    pub request_timeout: String,
    /// Functions answer under `openfunction.io.svc.<cluster domain>/<namespace>/<name>`, too, as before OpenFunction 0.7.
    #[arg(long, env = "LEGACY_ENTRY")]
    pub legacy_entry: bool,
}

/// A duration of the Gateway API (GEP-2257), or nothing.
fn request_timeout(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        (1..=5).contains(&digits) && ["h", "m", "s", "ms"].contains(&&part[digits..])
    };
    // Every part begins at a digit behind a letter.
    let mut parts: Vec<String> = Vec::new();
    for character in text.chars() {
        let ended = parts.last().is_none_or(|part| part.ends_with(|c: char| c.is_ascii_alphabetic()));
        if ended && character.is_ascii_digit() {
            parts.push(String::new());
        }
        parts.last_mut().ok_or_else(|| format!("{text:?} is no duration"))?.push(character);
    }
    if parts.len() <= 4 && parts.iter().all(|part| is_part(part)) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no duration of the Gateway API; use up to four numbers with h, m, s or ms, for example 1m30s"
    ))
}

/// What reconciles work with.
pub struct Context {
    /// A client for what is no apply.
    pub client: Client,
    /// Writes what is this controller's alone.
    pub applier: Applier,
    /// Writes into objects of others, each owner under a name of its own (design §3).
    appliers: Mutex<HashMap<String, Arc<Applier>>>,
    /// Events of transitions.
    pub events: Events,
    /// Which optional APIs the cluster serves.
    pub apis: OptionalApis,
    /// Functions.
    pub functions: Shared<Function>,
    /// OpenFunction Gateways.
    pub gateways: Shared<Gateway>,
    /// Kubernetes Gateways.
    pub kubernetes_gateways: Shared<KubernetesGateway>,
    /// ListenerSets.
    pub listener_sets: Shared<ListenerSet>,
    /// HTTPRoutes of functions.
    pub routes: Shared<HttpRoute>,
    /// These by hostname.
    pub by_hostname: Index<HttpRoute>,
    /// Functions with a certificate of their own by the hostnames that they name: their routes have them only once a
    /// listener has the certificate.
    pub certified_by_hostname: Index<Function>,
    /// Functions by the Services in other namespaces that they need a ReferenceGrant for.
    pub services_elsewhere: Index<Function>,
    /// Functions that have lost something to another.
    pub losers: function::Losers,
    /// Routes that wait for their gateway.
    pub unanswered: function::Unanswered,
    /// Services of this controller.
    pub services: Shared<Service>,
    /// All Services.
    pub all_services: Shared<PartialObjectMeta<Service>>,
    /// Services with load balancers.
    pub balancers: Shared<Service>,
    /// EndpointSlices of this controller.
    pub slices: Shared<EndpointSlice>,
    /// The OpenFunction Gateway of functions that name none.
    pub default_gateway: GatewayRef,
    /// DNS suffix of the cluster, where no OpenFunction Gateway says it.
    pub cluster_domain: String,
    /// How long a gateway's proxies take to learn a route after it was accepted.
    pub settle_time: Duration,
    /// How long a Gateway that functions have left goes on serving them.
    pub move_time: Duration,
    /// Namespaces whose OpenFunction Gateways may use every Kubernetes Gateway.
    pub trusted_namespaces: Vec<String>,
    /// Namespaces where ReferenceGrants for backends are made.
    pub backend_namespaces: Vec<String>,
    /// What the installation says of routes.
    pub options: function::Options,
    /// Which objects of other namespaces may be referred to.
    pub grants: Shared<ReferenceGrant>,
    /// Classes of Gateways.
    pub classes: Shared<GatewayClass>,
    /// When the process began.
    started: Instant,
    /// Since when something is as it is. A restart begins to count anew.
    watched: Mutex<HashMap<String, (String, Instant)>>,
}

/// Time in which the first lists of a cluster are complete.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of how many things it is remembered since when they are as they are.
const FORGET: usize = 20_000;

impl Context {
    /// For how long something is known to be as it is.
    pub fn since(&self, what: &str, is: &str) -> Duration {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get(what) {
            Some((known, since)) if known == is => since.elapsed(),
            _ => {
                // Of what has not changed for long it does not matter since when.
                if watched.len() >= FORGET {
                    let mut ages: Vec<_> = watched.values().map(|(_, since)| *since).collect();
                    ages.sort_unstable();
                    let middle = ages[ages.len() / 2];
                    watched.retain(|_, (_, since)| *since > middle);
                }
                watched.insert(what.to_owned(), (is.to_owned(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// How long until the proxies can be taken to know a route as it is now.
    pub fn time_to_settle(&self, live: &HttpRoute) -> Duration {
        let is = if function::is_answered(live) { live.metadata.generation } else { None };
        let since = self.since(&format!("route {}", live.uid().unwrap_or_default()), &format!("{is:?}"));
        if is.is_some() { self.settle_time.saturating_sub(since) } else { self.settle_time }
    }

    /// The main HTTPRoute of a Function, as it is.
    pub fn route_of(&self, function: &Function) -> Option<Arc<HttpRoute>> {
        let namespace = function.namespace().unwrap_or_default();
        self.routes.store().get(&ObjectRef::new(&function.name_any()).within(&namespace))
    }

    /// Name of the Service that is the entry of an OpenFunction Gateway.
    pub fn entry_name(&self, gateway: &Gateway) -> String {
        let gateways = self.gateways.store().state();
        let namespace = gateway.namespace().unwrap_or_default();
        let first = self.services.store().get(&ObjectRef::new(gateway::ENTRY).within(&namespace));
        // One that is gone leaves its Service to the garbage collector.
        let of_other = first.into_iter().flat_map(|service| children::controller::<_, Gateway>(&*service));
        let exists = |other: &ObjectRef<Gateway>| {
            let other = self.gateways.store().get(other);
            other.is_some_and(|other| other.uid() != gateway.uid() && other.metadata.deletion_timestamp.is_none())
        };
        let is_taken = of_other.into_iter().any(|other| exists(&other));
        let owned = children::owned(&self.services, gateway);
        let gateways = gateways.iter().map(AsRef::as_ref);
        gateway::entry_name(gateway, gateways, &self.default_gateway, &owned, is_taken)
    }

    /// Whether the Gateway API is there, and known as far as it must be.
    pub fn has_gateway_api(&self) -> bool {
        self.apis.is_served(GATEWAYS) && self.apis.is_served(HTTP_ROUTES)
    }

    /// Whether it is known what there is of the Gateway API.
    pub fn knows_gateway_api(&self) -> bool {
        let knows_grants = !self.apis.is_served(REFERENCE_GRANTS) || self.grants.is_synced();
        let knows_sets = !self.apis.is_served(LISTENER_SETS) || self.listener_sets.is_synced();
        let knows_classes = !self.apis.is_served(GATEWAY_CLASSES) || self.classes.is_synced();
        // What the role of the controller does not show is not waited for: without a grant nothing is allowed.
        let knows_more = (knows_grants && knows_sets && knows_classes) || self.started.elapsed() > PATIENCE;
        !self.has_gateway_api() || (self.kubernetes_gateways.is_synced() && self.routes.is_synced() && knows_more)
    }

    /// The Functions that ask for some OpenFunction Gateways.
    fn functions_of(&self, is_asked: impl Fn(&GatewayRef) -> bool) -> Vec<ObjectRef<Function>> {
        let mut functions = self.functions.store().state();
        functions.retain(|function| is_asked(&gateway::asked_by(function, &self.default_gateway)));
        functions.iter().map(|function| ObjectRef::from_obj(&**function)).collect()
    }

    /// The Functions of the OpenFunction Gateways on a Kubernetes Gateway, and those that (still) come in by it.
    fn functions_on(&self, name: &str, namespace: &str) -> Vec<ObjectRef<Function>> {
        let kubernetes = GatewayRef { name: name.to_owned(), namespace: namespace.to_owned() };
        let is_on = |asked: &GatewayRef| {
            let gateway = self.gateways.store().get(&ObjectRef::new(&asked.name).within(&asked.namespace));
            gateway.is_some_and(|gateway| gateway::target(&gateway).as_ref() == Some(&kubernetes))
        };
        let mut functions = self.functions_of(is_on);
        let mut routes = self.routes.store().state();
        routes.retain(|route| route.spec.parent_refs.iter().any(|parent| gateway::is_of(parent, &kubernetes)));
        functions.extend(routes.iter().flat_map(|route| children::controller::<_, Function>(&**route)));
        functions
    }

    /// The class of a Kubernetes Gateway.
    pub fn class_of(&self, kubernetes: &KubernetesGateway) -> Option<Arc<GatewayClass>> {
        self.classes.store().get(&ObjectRef::new(kubernetes.spec.gateway_class_name.as_ref()?))
    }

    /// Whether the listeners of an OpenFunction Gateway stand in a ListenerSet.
    pub fn uses_listener_set(&self, gateway: &Gateway, kubernetes: &KubernetesGateway) -> bool {
        let class = self.class_of(kubernetes);
        self.apis.is_served(LISTENER_SETS) && gateway::uses_listener_set(gateway, kubernetes, class.as_deref())
    }

    /// The ListenerSet of a Kubernetes Gateway.
    pub fn listener_set(&self, kubernetes: &GatewayRef) -> Option<Arc<ListenerSet>> {
        let name = gateway::listener_set(&kubernetes.name);
        self.listener_sets.store().get(&ObjectRef::new(&name).within(&kubernetes.namespace))
    }

    /// An applier under a manager's name.
    pub fn applier_of(&self, manager: &str) -> Arc<Applier> {
        let mut appliers = self.appliers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Applier::new(self.client.clone(), manager));
        appliers.entry(manager.to_owned()).or_insert_with(new).clone()
    }
}

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A flag that cannot be used, or a task that ended without which the process is of no use.
pub async fn run(mut runtime: Runtime, flags: Flags) -> anyhow::Result<()> {
    let default = default_gateway::parse(&flags, &runtime.args.namespace)?;
    let functions = runtime.shared::<Function>();
    let gateways = runtime.shared::<Gateway>();
    let (services, all_services) = (runtime.shared::<Service>(), runtime.shared::<PartialObjectMeta<Service>>());
    let (slices, balancers) = (runtime.shared::<EndpointSlice>(), runtime.shared::<Service>());
    let (kubernetes_gateways, routes) = (Shared::<KubernetesGateway>::new(None), Shared::<HttpRoute>::new(None));
    let listener_sets = Shared::<ListenerSet>::new(None);
    let (grants, classes) = (Shared::<ReferenceGrant>::new(None), Shared::<GatewayClass>::new(None));
    runtime.serve(Webhooks::new(), vec![Box::new(Explained::new(gateways.clone(), gateway::explain))]).await?;
    runtime.follow_optional_apis().await;
    let ours = || watcher::Config::default().labels(&children::selector(ABOUT.name));
    // Gateways are elsewhere than functions.
    let here = vec![runtime.args.namespace.clone()];
    let there: Vec<_> = here.iter().cloned().chain(default_gateway::namespace(default.as_ref())).collect();
    runtime.follow(&functions, watcher::Config::default(), |_| {});
    runtime.follow_also(&gateways, &here, watcher::Config::default(), |_| {});
    runtime.follow_also(&services, &here, ours(), |service| service.status = None);
    runtime.follow_also(&slices, &here, ours(), |_| {});
    runtime.follow_also(&all_services, &there, watcher::Config::default(), |service| {
        service.metadata.labels.iter_mut().for_each(|labels| labels.retain(|key, _| key == gateway::GATEWAY_NAME));
        service.metadata.annotations = None;
    });
    let with_balancers = watcher::Config::default().fields("spec.type=LoadBalancer");
    runtime.follow_also(&balancers, &there, with_balancers, |service| service.spec = None);
    runtime.follow_optional(&kubernetes_gateways, GATEWAYS, &there, watcher::Config::default(), |_| {});
    runtime.follow_optional(&listener_sets, LISTENER_SETS, &there, watcher::Config::default(), |_| {});
    let of_functions = watcher::Config::default().labels(children::FUNCTION);
    runtime.follow_optional(&routes, HTTP_ROUTES, &[], of_functions, |_| {});
    let with_grants: Vec<_> = there.iter().chain(&flags.backend_namespaces).cloned().collect();
    runtime.follow_optional(&grants, REFERENCE_GRANTS, &with_grants, watcher::Config::default(), |_| {});
    runtime.follow_optional_cluster(&classes, GATEWAY_CLASSES, watcher::Config::default(), |_| {});
    runtime.count_objects(&gateways, gateway::state);

    let context = Arc::new(Context {
        client: runtime.client(),
        applier: runtime.applier(),
        appliers: Mutex::default(),
        events: runtime.events.clone(),
        apis: runtime.optional_apis.clone(),
        functions: functions.clone(),
        gateways: gateways.clone(),
        kubernetes_gateways: kubernetes_gateways.clone(),
        listener_sets,
        by_hostname: routes.index(|route| route.spec.hostnames.clone()),
        certified_by_hostname: functions.index(|function| {
            let route = function.spec.serving.as_ref().and_then(|serving| serving.http()?.route.as_ref());
            route.filter(|route| route.tls.is_some()).map(|route| route.hostnames.clone()).unwrap_or_default()
        }),
        routes: routes.clone(),
        services_elsewhere: functions.index(function::grants::services_elsewhere(flags.backend_namespaces.clone())),
        losers: function::Losers::default(),
        unanswered: function::Unanswered::default(),
        services: services.clone(),
        all_services: all_services.clone(),
        balancers,
        slices: slices.clone(),
        default_gateway: GatewayRef {
            name: flags.default_gateway_name.clone(),
            namespace: runtime.args.namespace.clone(),
        },
        cluster_domain: flags.cluster_domain.clone(),
        settle_time: flags.route_settle_time,
        move_time: flags.gateway_move_time,
        trusted_namespaces: here.iter().cloned().chain(flags.trusted_namespaces).collect(),
        backend_namespaces: flags.backend_namespaces,
        options: function::Options {
            request_timeout: Some(flags.request_timeout).filter(|timeout| !timeout.is_empty()),
            legacy_entry: flags.legacy_entry,
        },
        grants,
        classes,
        started: Instant::now(),
        watched: Mutex::default(),
    });
    let (gateway_driver, function_driver) = (runtime.driver(true), runtime.driver(false));
    runtime
        .lead(|token| {
            let (gateway_driver, function_driver) = (&gateway_driver, &function_driver);
            let (context, default) = (context.clone(), default.clone());
            let of_gateways = vec![
                triggers(&services, children::controller),
                triggers(&slices, children::controller),
                follow_gateways(&context),
                everything(&context.gateways, context.apis.changes().boxed()),
                // One may be in conflict with another, or may be allowed what it is refused.
                everything(&context.gateways, changed(&context.gateways, |_| ()).map(drop).boxed()),
                everything(&context.gateways, changed(&context.grants, |_| ()).map(drop).boxed()),
                everything(&context.gateways, context.classes.subscribe().map(|_| ()).boxed()),
                everything(&context.gateways, context.balancers.subscribe().map(|_| ()).boxed()),
                triggers(&functions, of_certificate(&context)),
                // One that goes may have had a hostname that another has a certificate for.
                everything(&context.gateways, gone(&context.functions)),
            ];
            let of_functions = vec![
                triggers(&routes, children::controller),
                triggers(&services, children::controller),
                follow_routes(&context),
                follow_claims(&context),
                everything(&context.functions, context.apis.changes().boxed()),
            ];
            async move {
                let gateways = gateway_driver.run(
                    &context.gateways,
                    of_gateways,
                    context.clone(),
                    gateway::reconcile,
                    token.clone(),
                );
                let functions =
                    function_driver.run(&context.functions, of_functions, context.clone(), function::reconcile, token);
                tokio::select! {
                    _ = futures::future::join(gateways, functions) => {}
                    () = default_gateway::keep(&context, default) => {}
                    () = function::grants::sweep(&context) => {}
                }
            }
        })
        .await
}

/// The OpenFunction Gateways that a change of a Kubernetes Gateway, of its ListenerSet, or of a Service that may be its entry,
/// concerns.
fn follow_gateways(context: &Arc<Context>) -> BoxStream<'static, ObjectRef<Gateway>> {
    let all = [
        concerned_by(&context.gateways, &context.kubernetes_gateways, gateway::concerns),
        concerned_by(&context.gateways, &context.all_services, gateway::may_enter_by),
        concerned_by(&context.gateways, &context.listener_sets, gateway::concerns_set),
    ];
    futures::stream::select_all(all).boxed()
}

/// The OpenFunction Gateways that a change of an object concerns.
fn concerned_by<K: Watched>(
    gateways: &Shared<Gateway>,
    shared: &Shared<K>,
    concerns: fn(&Gateway, &K) -> bool,
) -> BoxStream<'static, ObjectRef<Gateway>> {
    let store = gateways.store().clone();
    let concerned = shared.subscribe().flat_map(move |changed| {
        let concerned = store.state().into_iter().filter(|gateway| concerns(gateway, &changed));
        futures::stream::iter(concerned.map(|gateway| ObjectRef::from_obj(&*gateway)).collect::<Vec<_>>())
    });
    concerned.boxed()
}

/// The Functions that must look again: those of an OpenFunction Gateway whose spec has changed, or which came or went,
/// is refused or no more, or whose Kubernetes Gateway or ListenerSet changed. That a status counts its routes concerns
/// nobody.
fn follow_routes(context: &Arc<Context>) -> BoxStream<'static, ObjectRef<Function>> {
    let all = context.clone();
    let ours = changed(&context.gateways, |gateway| gateway::refusal(gateway).map(str::to_owned));
    let of_ours = ours.flat_map(move |(key, existence)| {
        let named = GatewayRef { name: key.name.clone(), namespace: key.namespace.clone().unwrap_or_default() };
        // One that comes or goes may change the names of the entries of others.
        futures::stream::iter(all.functions_of(|gateway| existence == Existence::Changed || *gateway == named))
    });
    let all = context.clone();
    let of_kubernetes = changed(&context.kubernetes_gateways, |_| ()).flat_map(move |(key, _)| {
        futures::stream::iter(all.functions_on(&key.name, key.namespace.as_deref().unwrap_or_default()))
    });
    let all = context.clone();
    let of_sets = changed(&context.listener_sets, |_| ()).flat_map(move |(key, _)| {
        let kubernetes = gateway::gateway_of_set(&key.name).unwrap_or_default();
        futures::stream::iter(all.functions_on(kubernetes, key.namespace.as_deref().unwrap_or_default()))
    });
    // A Service may have stood in the way of a function's own.
    let (services, functions) = (context.all_services.subscribe(), context.functions.store().clone());
    let of_services = services.filter_map(move |service| {
        let key = ObjectRef::new(&service.name_any()).within(&service.namespace().unwrap_or_default());
        std::future::ready(functions.get(&key).map(|_| key))
    });
    let of_classes = everything(&context.functions, context.classes.subscribe().map(|_| ()).boxed());
    let all = [of_ours.boxed(), of_kubernetes.boxed(), of_sets.boxed(), of_services.boxed(), of_classes.boxed()];
    futures::stream::select_all(all).boxed()
}

/// The OpenFunction Gateway that has a listener for the certificate of a Function.
fn of_certificate(context: &Arc<Context>) -> impl Fn(&Function) -> Vec<ObjectRef<Gateway>> + use<> {
    let default = context.default_gateway.clone();
    move |function| {
        let asked = gateway::with_certificate(function, &default);
        asked.map(|asked| ObjectRef::new(&asked.name).within(&asked.namespace)).into_iter().collect()
    }
}

/// The Functions that claim what a route claims, too, when its spec changes, or it comes or goes.
fn follow_claims(context: &Arc<Context>) -> BoxStream<'static, ObjectRef<Function>> {
    let (context, mut known) = (context.clone(), HashMap::new());
    // What there is when we begin is looked at anyway.
    known.extend(context.routes.store().state().into_iter().map(|route| (ObjectRef::from_obj(&*route), route)));
    let routes = context.routes.subscribe();
    // A Function that comes has its internal name by right; one that goes gives it up.
    let of_names = {
        let context = context.clone();
        changed(&context.functions, |_| ()).flat_map(move |(key, existence)| {
            let claimants = match existence {
                Existence::Changed => function::claimants(&context, &key),
                Existence::Kept => Vec::new(),
            };
            futures::stream::iter(claimants)
        })
    };
    let concerned = routes.flat_map(move |changed| {
        let key = ObjectRef::from_obj(&*changed);
        let is = context.routes.store().get(&key);
        let was = match &is {
            Some(is) => known.insert(key, is.clone()),
            None => known.remove(&key),
        };
        let version =
            |route: &Option<Arc<HttpRoute>>| route.as_ref().map(|route| (route.uid(), route.metadata.generation));
        let has_changed = version(&was) != version(&is) && context.routes.is_synced();
        let rivals = has_changed.then(|| function::rivals(&context, was.as_deref(), is.as_deref()));
        futures::stream::iter(rivals.unwrap_or_default())
    });
    futures::stream::select(concerned, of_names).boxed()
}

/// Objects that go.
fn gone<K: Watched>(shared: &Shared<K>) -> BoxStream<'static, ()> {
    let exists = shared.clone();
    let changes = changed(shared, |_| ());
    changes.filter_map(move |(key, _)| std::future::ready(exists.store().get(&key).is_none().then_some(()))).boxed()
}

/// What became of an object besides a change in it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Existence {
    /// It was there, and is.
    Kept,
    /// It is new, another one of its name, or gone.
    Changed,
}

/// Changes of the spec of objects, of what `and` sees in them, or of which there are.
fn changed<K: Watched, A: PartialEq + Clone + Send + 'static>(
    shared: &Shared<K>,
    and: impl Fn(&K) -> A + Send + 'static,
) -> BoxStream<'static, (ObjectRef<K>, Existence)> {
    let state = move |object: &K| (object.uid(), object.meta().generation, and(object));
    // What there is when we begin is looked at anyway.
    let mut known: HashMap<_, _> =
        shared.store().state().iter().map(|object| (ObjectRef::from_obj(&**object), state(object))).collect();
    let (subscribed, shared) = (shared.subscribe(), shared.clone());
    let changes = subscribed.filter_map(move |object| {
        let key = ObjectRef::from_obj(&*object);
        let now = shared.store().get(&key).map(|object| state(&object));
        let before = match &now {
            Some(now) => known.insert(key.clone(), now.clone()),
            None => known.remove(&key),
        };
        let uid = |state: &Option<(Option<String>, Option<i64>, A)>| state.as_ref().and_then(|state| state.0.clone());
        let existence = if uid(&before) == uid(&now) { Existence::Kept } else { Existence::Changed };
        std::future::ready((before != now && shared.is_synced()).then_some((key, existence)))
    });
    changes.boxed()
}
