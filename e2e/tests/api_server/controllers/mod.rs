//! The controllers of the main job on a real API server, each under the role that the chart gives it. A stand-in does
//! what kubelets and gateways do.

mod admission;
mod adoption;
mod builds;
mod compat;
mod engines;
mod event_sources;
mod events;
mod gateways;
mod hand_over;
mod limits;
mod many;
mod many_events;
mod quiet;
mod revisions;
mod without_gateway;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use controller_runtime::{
    args::{Args, Parsed},
    client::Clients,
    metrics::Metrics,
    process::{About, Runtime},
};
use e2e::{
    api_server::{ApiServer, install_crds, own_crds},
    cache::run,
    control_plane::GATEWAYS,
    go::manifests,
    parts::{GATEWAY_API, HELM, documents, foreign_crds},
    product,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, Pod, ServiceAccount},
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use openfunction_proto::{
    core::{Builder, Function, Serving},
    gateway_api::{
        HttpBackendRef,
        resources::{HttpRoute, KubernetesGateway, ListenerSet, ReferenceGrant},
    },
    networking::Listener,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, api_of, eventually};

/// Namespace of the Functions of a test.
const FUNCTIONS: &str = "shop";

/// An API server with our CRDs and the roles of the chart.
struct World {
    server: ApiServer,
    client: Client,
}

/// The controllers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Which {
    Function,
    Builder,
    Serving,
    Gateway,
    Events,
    Revision,
}

/// Those of the main job.
const ALL: [Which; 4] = [Which::Function, Which::Builder, Which::Serving, Which::Gateway];

impl World {
    /// A server without the Gateway API.
    async fn new() -> Self {
        let server = ApiServer::start().unwrap();
        let client = server.client().await.unwrap();
        install_crds(&client, &own_crds()).await.unwrap();
        let world = Self { server, client };
        for name in [FUNCTIONS, "infra", "keda"] {
            let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            Api::all(world.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        }
        world.apply_roles().await;
        world
    }

    /// A server with the Gateway API and a gateway.
    async fn with_gateway() -> Self {
        let world = Self::new().await;
        world.install_gateway_api().await;
        world.apply(GATEWAYS).await;
        world
    }

    async fn install_gateway_api(&self) {
        self.install_api(&["gateway.networking.k8s.io"]).await;
    }

    /// Installs what came with Gateway API 1.5.
    async fn install_listener_sets(&self) {
        let (module, _) = GATEWAY_API;
        let folder = "config/crd/standard/gateway.networking.k8s.io";
        let files = ["gateways", "listenersets"].map(|name| format!("{folder}_{name}.yaml"));
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        self.install(manifests("gateway-api-1.5", module, "v1.5.1", &files).unwrap()).await;
    }

    /// Installs CRDs of other projects.
    async fn install_api(&self, groups: &[&str]) {
        let mut crds = foreign_crds().unwrap();
        crds.retain(|crd| groups.iter().any(|group| crd["spec"]["group"] == *group));
        self.install(crds).await;
    }

    async fn install(&self, mut crds: Vec<Value>) {
        for crd in &mut crds {
            crd["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
            // Nobody converts here.
            crd["spec"].as_object_mut().unwrap().remove("conversion");
        }
        install_crds(&self.client, &crds).await.unwrap();
    }

    /// What the chart allows each controller.
    async fn apply_roles(&self) {
        let kinds = ["ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
        for object in charted(&kinds) {
            self.apply_object(&object).await;
        }
    }

    async fn apply(&self, yaml: &str) {
        for object in documents(yaml).unwrap() {
            self.apply_object(&object).await;
        }
    }
    async fn apply_object(&self, object: &Value) {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(FUNCTIONS);
        let api = api_of(&self.client, object, namespace).await;
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(object)).await.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), FUNCTIONS)
    }

    async fn function(&self, name: &str) -> Function {
        self.api().get(name).await.unwrap()
    }

    /// Waits until condition `Ready` of a Function is so for its present generation; the reason and the message.
    async fn is_ready(&self, name: &str, status: &str) -> (String, String) {
        self.condition(name, "Ready", status).await
    }

    async fn condition(&self, name: &str, type_: &str, status: &str) -> (String, String) {
        let mut last = Value::Null;
        let looking = async {
            loop {
                let function = self.function(name).await;
                let conditions = function.status.clone().unwrap_or_default().conditions;
                last = json!(conditions);
                let found = conditions.into_iter().find(|c| {
                    c.type_ == type_ && c.status == status && c.observed_generation == function.metadata.generation
                });
                if let Some(found) = found {
                    return (found.reason, found.message);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(DEADLINE, looking).await;
        found.unwrap_or_else(|_| panic!("{type_} of {name} is not {status}: {last}"))
    }

    /// Names of the Servings that are not parked.
    async fn servings(&self) -> Vec<String> {
        let list = self.api::<Serving>().list(&ListParams::default()).await.unwrap();
        list.items.iter().filter(|serving| !serving.spec.suspend).map(|serving| serving.name_any()).collect()
    }

    /// Starts a controller, as its service account.
    async fn start(&self, which: Which) -> Running {
        self.start_at(which, 0).await
    }

    /// Starts a controller whose webhooks answer at a port.
    async fn start_at(&self, which: Which, webhook_port: u16) -> Running {
        let (about, own): (About, &[&str]) = match which {
            Which::Function => (function_controller::ABOUT, &["--route-grace-period=1s"]),
            Which::Builder => (builder_controller::ABOUT, &[]),
            Which::Serving => (serving_controller::ABOUT, &[]),
            Which::Gateway => (gateway_controller::ABOUT, &["--route-settle-time=50ms", "--gateway-move-time=200ms"]),
            // There is no DNS.
            Which::Events => (events_controller::ABOUT, &["--find-sink-hosts=false"]),
            // Its servers are on this machine.
            Which::Revision => (revision_controller::ABOUT, &["--allowed-networks=127.0.0.0/8"]),
        };
        let webhooks = format!("--webhook-address=127.0.0.1:{webhook_port}");
        let own = &[own, &[&*webhooks]].concat();
        let metrics = Metrics::new(&about.name.replace('-', "_")).unwrap();
        let clients = Clients::from_config(self.config_of(about.name).await, &metrics).unwrap();
        let stop = CancellationToken::new();
        let task = match which {
            Which::Function => spawn(about, own, &clients, &metrics, &stop, function_controller::run),
            Which::Builder => spawn(about, own, &clients, &metrics, &stop, builder_controller::run),
            Which::Serving => spawn(about, own, &clients, &metrics, &stop, serving_controller::run),
            Which::Gateway => spawn(about, own, &clients, &metrics, &stop, gateway_controller::run),
            Which::Events => spawn(about, own, &clients, &metrics, &stop, events_controller::run),
            Which::Revision => spawn(about, own, &clients, &metrics, &stop, revision_controller::run),
        };
        Running { which, stop, task, metrics }
    }

    async fn start_all(&self) -> Vec<Running> {
        let mut all = Vec::new();
        for which in ALL {
            all.push(self.start(which).await);
        }
        all
    }

    async fn config_of(&self, controller: &str) -> Config {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), "openfunction");
        let request = TokenRequest { spec: TokenRequestSpec::default(), ..TokenRequest::default() };
        let token = accounts.create_token_request(controller, &PostParams::default(), &request).await.unwrap();
        let mut config = self.server.config().await.unwrap();
        config.auth_info = kube::config::AuthInfo {
            token: Some(token.status.unwrap().token.into()),
            ..kube::config::AuthInfo::default()
        };
        config
    }
}

/// What the chart renders of some kinds.
fn charted(kinds: &[&str]) -> Vec<Value> {
    let helm = HELM.built().unwrap().join("helm");
    let mut template = Command::new(helm);
    template.args(["template", "openfunction"]).arg(product::chart());
    template.args(["-n", "openfunction", "--set", "crds.enabled=false"]);
    let optional = format!("revisionController.enable=true,revision-controller.secretNamespaces={{{FUNCTIONS}}}");
    let rendered = run(template.args(["--set", &optional])).unwrap();
    let mut objects = documents(&rendered).unwrap();
    objects.retain(|object| kinds.iter().any(|kind| object["kind"] == *kind));
    objects
}

fn spawn<F, R>(
    about: About,
    own: &[&str],
    clients: &Clients,
    metrics: &Metrics,
    stop: &CancellationToken,
    run: fn(Runtime, F) -> R,
) -> tokio::task::JoinHandle<()>
where
    F: clap::Args + Send + 'static,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let common = [about.name, "--status-address=127.0.0.1:0", "--lease-duration=3s", "--grace-period=5s"];
    let line = common.iter().chain(own).map(Into::into);
    let Ok(Parsed::Run(parsed)) = Args::parse_line::<F>(about.name, about.about, about.version, line) else {
        panic!("flags")
    };
    let (args, flags) = *parsed;
    let runtime = Runtime::new(about, args, clients.clone(), metrics.clone(), stop.clone());
    tokio::spawn(async move { run(runtime, flags).await.unwrap() })
}

/// A controller that runs.
struct Running {
    which: Which,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    metrics: Metrics,
}

impl Running {
    /// Ends it, as Kubernetes does: it drains and gives its lease back.
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends").unwrap();
    }

    /// Requests by their labels, but for leases, Events and questions about callers.
    fn requests(&self) -> BTreeMap<String, u64> {
        let text = self.metrics.text();
        let lines = text.lines().filter_map(|line| line.split_once("_api_requests_total{")?.1.split_once("} "));
        let is_other = |labels: &str| {
            ["leases", "events", "tokenreviews", "subjectaccessreviews"]
                .iter()
                .any(|kind| labels.contains(&format!("kind=\"{kind}\"")))
        };
        // A watch may end and begin again at any time.
        let is_watch = |labels: &str| labels.contains("verb=\"watch\"");
        lines
            .filter(|(labels, _)| !is_other(labels) && !is_watch(labels))
            .map(|(labels, count)| (labels.to_owned(), count.parse().unwrap()))
            .collect()
    }

    /// Those of them that change something.
    fn writes(&self) -> BTreeMap<String, u64> {
        let mut requests = self.requests();
        let is_write = |labels: &str| {
            ["create", "patch", "update", "delete"].iter().any(|verb| labels.contains(&format!("verb=\"{verb}\"")))
        };
        requests.retain(|labels, _| is_write(labels));
        requests
    }

    /// How many objects of its main kind were looked at.
    fn passes(&self) -> usize {
        let text = self.metrics.text();
        let lines = text.lines().filter(|line| line.contains("reconcile_duration_seconds_count{"));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).max().unwrap_or(0)
    }
}

/// Starts some controllers.
async fn start(world: &World, which: &[Which]) -> Vec<Running> {
    let mut running = Vec::new();
    for which in which {
        running.push(world.start(*which).await);
    }
    running
}

/// Ends them.
async fn end(running: Vec<Running>) {
    for controller in running {
        controller.end().await;
    }
}

/// What a stand-in does, as long as it is switched on.
#[derive(Default)]
struct Switches {
    /// Deployments roll out.
    pods: AtomicBool,
    /// The gateway answers routes.
    routes: AtomicBool,
    /// Routes may lead to other namespaces that allow it by a ReferenceGrant.
    grants: AtomicBool,
}

/// Does what kubelets and gateways do, until it is dropped.
struct StandIn {
    switches: Arc<Switches>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StandIn {
    fn start(world: &World) -> Self {
        let switches = Arc::new(Switches { pods: true.into(), routes: true.into(), grants: true.into() });
        let (client, on) = (world.client.clone(), switches.clone());
        let task = tokio::spawn(async move {
            loop {
                if on.pods.load(Ordering::SeqCst) {
                    roll_out(&client).await;
                    roll_out_knative(&client).await;
                    finish_builds(&client).await;
                }
                if on.routes.load(Ordering::SeqCst) {
                    answer_routes(&client, on.grants.load(Ordering::SeqCst)).await;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        });
        Self { switches, task }
    }

    fn pods(&self, on: bool) {
        self.switches.pods.store(on, Ordering::SeqCst);
    }

    fn grants(&self, on: bool) {
        self.switches.grants.store(on, Ordering::SeqCst);
    }

    fn routes(&self, on: bool) {
        self.switches.routes.store(on, Ordering::SeqCst);
    }
}

async fn patch_status<K>(api: &Api<K>, name: &str, status: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    // What is gone meanwhile needs no status.
    let _ = api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await;
}

async fn roll_out(client: &Client) {
    let api: Api<Deployment> = Api::namespaced(client.clone(), FUNCTIONS);
    for deployment in api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let generation = deployment.metadata.generation;
        if deployment.status.as_ref().and_then(|status| status.observed_generation) != generation {
            let status = json!({"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas});
            patch_status(&api, &deployment.name_any(), status).await;
        }
    }
}

/// As Knative does: every other spec is a revision, which is ready at once.
async fn roll_out_knative(client: &Client) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("serving.knative.dev", "v1", "Service"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), FUNCTIONS, &kind);
    for service in api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let generation = service.metadata.generation;
        if service.data.pointer("/status/observedGeneration").and_then(Value::as_i64) != generation {
            let revision = format!("{}-{:05}", service.name_any(), generation.unwrap_or_default());
            let ready = json!({"type": "ConfigurationsReady", "status": "True", "lastTransitionTime": now()});
            let status = json!({"observedGeneration": generation, "conditions": [ready], "latestCreatedRevisionName": revision, "latestReadyRevisionName": revision});
            patch_status(&api, &service.name_any(), status).await;
        }
    }
}

async fn finish_builds(client: &Client) {
    let api: Api<Pod> = Api::namespaced(client.clone(), FUNCTIONS);
    for pod in api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        if pod.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Succeeded") {
            let results = json!({"shp-image-digest": format!("sha256:{}", "0".repeat(64)), "shp-source-default-commit-sha": "c0ffee"}).to_string();
            let container = json!({"name": "results", "image": "h", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0, "message": results}}});
            patch_status(&api, &pod.name_any(), json!({"phase": "Succeeded", "containerStatuses": [container]})).await;
        }
    }
}

fn now() -> String {
    jiff_now().to_string()
}

fn jiff_now() -> k8s_openapi::jiff::Timestamp {
    k8s_openapi::jiff::Timestamp::now()
}

/// As a gateway does: every listener that a route names and that is there takes it.
async fn answer_routes(client: &Client, has_grants: bool) {
    let gateways: Api<KubernetesGateway> = Api::all(client.clone());
    let gateways = gateways.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let grants: Api<ReferenceGrant> = Api::all(client.clone());
    let grants = grants.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let grants = if has_grants { grants.as_slice() } else { &[] };
    let sets: Api<ListenerSet> = Api::all(client.clone());
    let sets = sets.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let routes: Api<HttpRoute> = Api::all(client.clone());
    for route in routes.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
        let answers = answers(&route, &gateways, &sets, grants);
        if without_times(&json!(route.status.as_ref().map(|status| &status.parents))) != without_times(&answers) {
            let api: Api<HttpRoute> = Api::namespaced(client.clone(), &route.namespace().unwrap());
            patch_status(&api, &route.name_any(), json!({ "parents": answers })).await;
        }
    }
    for set in sets {
        let (conditions, listeners) = programmed(&set, &set.spec.listeners);
        let wanted = json!({"conditions": conditions, "listeners": listeners});
        if without_times(&json!(set.status)) != without_times(&wanted) {
            let api: Api<ListenerSet> = Api::namespaced(client.clone(), &set.namespace().unwrap());
            patch_status(&api, &set.name_any(), wanted).await;
        }
    }
    for gateway in gateways {
        let (conditions, listeners) = programmed(&gateway, &gateway.spec.listeners);
        let address = gateway.annotations().get("test.dev/address").map_or("10.0.0.1", String::as_str);
        let addresses = json!([{"type": "IPAddress", "value": address}]);
        let wanted = json!({"addresses": addresses, "conditions": conditions, "listeners": listeners});
        if without_times(&json!(gateway.status)) != without_times(&wanted) {
            let api: Api<KubernetesGateway> = Api::namespaced(client.clone(), &gateway.namespace().unwrap());
            patch_status(&api, &gateway.name_any(), wanted).await;
        }
    }
}

fn programmed<K: ResourceExt>(object: &K, listeners: &[Listener]) -> (Value, Vec<Value>) {
    let conditions = json!([condition("Accepted", true, object), condition("Programmed", true, object)]);
    let listener = |listener: &Listener| json!({"name": listener.name, "attachedRoutes": 0, "supportedKinds": [], "conditions": conditions});
    (conditions.clone(), listeners.iter().map(listener).collect())
}

/// Whether a ListenerSet has a listener of a name that its Gateway does not have itself: of two at one address the
/// Gateway's counts.
fn is_in_set(set: &ListenerSet, gateways: &[KubernetesGateway], name: &str) -> bool {
    let address = |listener: &Listener| (listener.port, listener.protocol.clone(), listener.hostname.clone());
    let is_parent = |gateway: &&KubernetesGateway| {
        gateway.name_any() == set.spec.parent_ref.name && gateway.namespace() == set.namespace()
    };
    let Some(gateway) = gateways.iter().find(is_parent) else { return false };
    let mut named = set.spec.listeners.iter().filter(|listener| listener.name == name);
    named.any(|ours| !gateway.spec.listeners.iter().any(|theirs| address(theirs) == address(ours)))
}

fn answers(
    route: &HttpRoute,
    gateways: &[KubernetesGateway],
    sets: &[ListenerSet],
    grants: &[ReferenceGrant],
) -> Value {
    let is_granted = |backend: &HttpBackendRef| {
        let mut there = grants.iter().filter(|grant| grant.namespace() == backend.namespace);
        backend.namespace.is_none()
            || there.any(|grant| {
                grant.spec.from.iter().any(|from| Some(&from.namespace) == route.namespace().as_ref())
                    && grant.spec.to.iter().any(|to| to.name.as_ref() == Some(&backend.name))
            })
    };
    let resolves = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs).all(is_granted);
    let answers = route.spec.parent_refs.iter().filter_map(|asked| {
        let section = asked.section_name.as_deref().unwrap_or_default();
        let has = if asked.kind == "ListenerSet" {
            let mut sets = sets.iter();
            let set = sets.find(|set| set.name_any() == asked.name && set.namespace() == asked.namespace)?;
            is_in_set(set, gateways, section)
        } else {
            let mut gateways = gateways.iter();
            let gateway =
                gateways.find(|gateway| gateway.name_any() == asked.name && gateway.namespace() == asked.namespace)?;
            gateway.spec.listeners.iter().any(|listener| listener.name == section)
        };
        let mut accepted = condition("Accepted", has, route);
        if !has {
            accepted["reason"] = json!("NoMatchingParent");
        }
        let mut resolved = condition("ResolvedRefs", resolves, route);
        if resolved["status"] == "False" {
            resolved["reason"] = json!("RefNotPermitted");
            resolved["message"] = json!("not permitted by any ReferenceGrant");
        }
        Some(json!({"parentRef": asked, "controllerName": "test.dev/gateway", "conditions": [accepted, resolved]}))
    });
    answers.collect()
}

fn condition<K: ResourceExt>(type_: &str, is: bool, of: &K) -> Value {
    let status = if is { "True" } else { "False" };
    json!({"type": type_, "status": status, "reason": type_, "message": "", "observedGeneration": of.meta().generation, "lastTransitionTime": now()})
}

fn without_times(status: &Value) -> Value {
    match status {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| *key != "lastTransitionTime" && *key != "controllerName");
            kept.map(|(key, value)| (key.clone(), without_times(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

/// A Function from an image.
fn function(name: &str, image: &str) -> Value {
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": name}, "spec": {"image": image, "serving": {}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_built_run_and_routed_under_the_roles_of_the_chart() {
    let world = World::with_gateway().await;
    let _stand_in = StandIn::start(&world);
    let running = world.start_all().await;
    let mut wanted = function("built", "registry.example.com/built:v1");
    wanted["spec"]["build"] =
        json!({"dockerfile": "Dockerfile", "srcRepo": {"url": "https://git.example.com/built.git"}});
    world.apply_object(&wanted).await;
    world.is_ready("built", "True").await;
    let status = world.function("built").await.status.unwrap();
    let serving: Serving = world.api().get(status.serving.unwrap().resource_ref.as_deref().unwrap()).await.unwrap();
    assert_eq!(serving.spec.image, format!("registry.example.com/built:v1@sha256:{}", "0".repeat(64)));
    assert_eq!(status.sources[0].git.as_ref().unwrap().commit_sha.as_deref(), Some("c0ffee"));
    let addresses: Vec<_> = status.addresses.iter().map(|address| address.value.as_str()).collect();
    assert_eq!(addresses, ["http://built.shop.ofn.io/", "http://built.shop.svc.cluster.local/"]);
    // By default no successful Builder is kept (BU17).
    let builders =
        || async { world.api::<Builder>().list(&ListParams::default()).await.unwrap().items.is_empty().then_some(()) };
    eventually("the Builder goes", builders).await;

    // What belongs to somebody else is left alone (B-38).
    world.apply("{apiVersion: v1, kind: Service, metadata: {name: taken}, spec: {ports: [{port: 80}]}}").await;
    world.apply_object(&function("taken", "a")).await;
    let (reason, message) = world.is_ready("taken", "False").await;
    assert_eq!(reason, "NotOwned");
    assert!(message.contains("Service \"taken\" exists and belongs to nobody"), "{message}");
    for controller in running {
        controller.end().await;
    }
}
