//! What many Functions cost: a real API server, the controllers of the path as released, each a process of its own, and
//! a stand-in that marks what they make as ready. Functions run a ready image, and are created at once.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{api::apps::v1::Deployment, api::core::v1::Namespace, jiff};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    runtime::{WatchStreamExt, watcher},
};
use openfunction_proto::{
    core::{Function, Serving},
    gateway_api::resources::{HttpRoute, KubernetesGateway},
    networking::Gateway,
};
use serde_json::{Value, json};

use crate::{
    api_server::{ApiServer, free_ports, install_crds, own_crds},
    parts::{documents, foreign_crds},
    product,
};

/// Namespace of the Functions.
const SHOP: &str = "shop";
/// Requests of the benchmark itself at the same time.
const AT_ONCE: usize = 32;
/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time without a write after which nothing more is expected.
const QUIET: Duration = Duration::from_secs(5);
/// Controllers of the path from a Function with a ready image to its route.
const PATH: [&str; 3] = ["function-controller", "serving-controller", "gateway-controller"];

/// Ticks of /proc/PID/stat in a second (USER_HZ, proc(5)).
const TICKS: f64 = 100.0;

/// A Kubernetes Gateway that nobody serves, and the OpenFunction Gateway on it.
pub const GATEWAYS: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: infra}
spec:
  gatewayClassName: test
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: networking.openfunction.io/v1alpha1
kind: Gateway
metadata: {name: openfunction, namespace: openfunction}
spec:
  domain: ofn.io
  gatewayRef: {name: front, namespace: infra}
  gatewaySpec: {listeners: [{name: external, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]}
"#;

/// Creates Functions and measures what the controllers do.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench-control-plane")]
struct Flags {
    /// How many Functions.
    #[arg(long, default_value_t = 500)]
    functions: usize,
    /// Engine of the Functions.
    #[arg(long, value_enum, default_value_t = Engine::Knative)]
    engine: Engine,
    /// File that the figures are written to, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Engine {
    Knative,
    Native,
}

impl Engine {
    fn name(self) -> &'static str {
        if self == Self::Knative { "knative" } else { "native" }
    }

    /// What runs a revision.
    fn workload(self) -> ApiResource {
        match self {
            Self::Knative => ApiResource::from_gvk(&GroupVersionKind::gvk("serving.knative.dev", "v1", "Service")),
            Self::Native => ApiResource::erase::<Deployment>(&()),
        }
    }
}

/// The program.
pub fn main() -> ExitCode {
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(&Flags::parse())));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(flags: &Flags) -> Result<()> {
    let programs = product::build()?;
    let server = ApiServer::start()?;
    let client = server.client().await?;
    prepare(&client).await?;
    let _stand_in = StandIn::start(&client, flags.engine);
    let mut controllers = start(&server, programs.folder()).await?;
    tokio::time::sleep(QUIET).await;
    let idle = Snapshot::of(&controllers).await?;
    println!("{} functions, engine {}", flags.functions, flags.engine.name());
    idle.print_memory("idle");

    let workloads = Seen::start(&client, flags.engine.workload(), |_| true);
    let running =
        Seen::start(&client, ApiResource::erase::<Function>(&()), |function| holds(function, "Ready", "True"));
    let began = Instant::now();
    let seconds = |since: Instant| (since.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    create(&client, flags).await?;
    println!("created after                {:6.1} s", seconds(began));
    until("every child exists", async || Ok(workloads.len() >= flags.functions)).await?;
    let children_s = seconds(began);
    println!("all children exist after     {children_s:6.1} s");
    until("every function runs", async || Ok(running.len() >= flags.functions)).await?;
    let running_s = seconds(began);
    println!("all functions run after      {running_s:6.1} s");
    let last = until_quiet(&controllers).await?;
    println!("the last request came after  {:6.1} s", last.duration_since(began).as_secs_f64());
    let full = Snapshot::of(&controllers).await?;
    let made = full.since(&idle);
    made.print("for all of them", flags.functions);
    full.print_memory("with them");

    // Again, with everything there.
    drop(std::mem::take(&mut controllers));
    controllers = start(&server, programs.folder()).await?;
    let again = Instant::now();
    until_quiet(&controllers).await?;
    let restarted = Snapshot::of(&controllers).await?;
    println!("after a restart all is looked at within {:.1} s", seconds(again) - QUIET.as_secs_f64());
    restarted.print("after the restart", flags.functions);
    restarted.print_memory("after the restart");
    let restart_writes = restarted.writes();

    touch(&client, flags.engine.workload()).await?;
    touch(&client, ApiResource::erase::<HttpRoute>(&())).await?;
    touch(&client, ApiResource::erase::<Serving>(&())).await?;
    until_quiet(&controllers).await?;
    let after_touch = Snapshot::of(&controllers).await?;
    let touched = after_touch.since(&restarted);
    touched.print("after every child was touched", flags.functions);

    let moved = move_domain(&client, flags.functions).await?;
    until_quiet(&controllers).await?;
    let of_move = Snapshot::of(&controllers).await?.since(&after_touch);
    of_move.print("after the domain of the gateway was changed", flags.functions);

    let (p50_ms, p95_ms) = follow_answers(&client).await?;
    println!("a gateway's answer to one route is told within {p50_ms} ms (median), {p95_ms} ms (p95)");

    let per = |value: f64| value / flags.functions as f64;
    let growth = full.memory() - idle.memory();
    let figures = json!({
        "functions": flags.functions, "engine": flags.engine.name(), "children_s": children_s, "running_s": running_s,
        "writes_per_function": per(made.writes() as f64), "cpu_ms_per_function": per(made.cpu() * 1000.0),
        "idle_mb": idle.each(|process| process.pss / 1e6), "growth_kb_per_function": per(growth / 1e3),
        "restart_writes": restart_writes, "touch_writes": touched.writes(),
        "domain_s": moved.all_s, "domain_after_accepted_s": moved.after_accepted_s,
        "status_after_accepted_p50_ms": moved.p50_ms, "status_after_accepted_p95_ms": moved.p95_ms,
        "status_after_answer_p50_ms": p50_ms, "status_after_answer_p95_ms": p95_ms,
        "domain_writes_per_function": per(of_move.writes() as f64),
    });
    println!("{figures:#}");
    if let Some(file) = &flags.json {
        fs::write(file, format!("{figures:#}\n")).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// CRDs, namespaces and the gateway.
async fn prepare(client: &Client) -> Result<()> {
    let mut crds = own_crds();
    let groups = ["gateway.networking.k8s.io", "serving.knative.dev"];
    crds.extend(
        foreign_crds()?.into_iter().filter(|crd| groups.iter().any(|group| crd["spec"]["group"] == *group)).map(
            |mut crd| {
                // Nobody converts here.
                crd["spec"].as_object_mut().map(|spec| spec.remove("conversion"));
                crd["metadata"].as_object_mut().map(|metadata| metadata.remove("creationTimestamp"));
                crd
            },
        ),
    );
    install_crds(client, &crds).await?;
    for name in [SHOP, "infra"] {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    }
    for object in documents(GATEWAYS)? {
        let object: DynamicObject = serde_json::from_value(object)?;
        let types = object.types.clone().unwrap_or_default();
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}

async fn create(client: &Client, flags: &Flags) -> Result<()> {
    let api: Api<Function> = Api::namespaced(client.clone(), SHOP);
    let made = stream::iter(0..flags.functions).map(|index| {
        let api = api.clone();
        let http = json!({"port": 8080, "engine": flags.engine.name()});
        let spec = json!({"image": "registry.example.com/hello:v1", "serving": {"triggers": {"http": http}}});
        async move {
            let function = json!({"metadata": {"name": format!("f{index:05}")}, "spec": spec});
            api.create(&PostParams::default(), &serde_json::from_value(function)?).await?;
            anyhow::Ok(())
        }
    });
    made.buffer_unordered(AT_ONCE).try_collect().await
}

/// When the objects of a kind were first seen to be so, by name. Watched, since asking for all of them again and again
/// would be a large part of the server's work.
struct Seen(Arc<Mutex<HashMap<String, Instant>>>, tokio::task::JoinHandle<()>);

impl Drop for Seen {
    fn drop(&mut self) {
        self.1.abort();
    }
}

impl Seen {
    fn start(client: &Client, kind: ApiResource, is: fn(&DynamicObject) -> bool) -> Self {
        let (names, api) = (Arc::new(Mutex::default()), Api::namespaced_with(client.clone(), SHOP, &kind));
        let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let found = names.clone();
        let watch = tokio::spawn(changes.for_each(move |object: watcher::Result<DynamicObject>| {
            if let Ok(object) = object
                && is(&object)
            {
                Self::lock(&found).entry(object.name_any()).or_insert_with(Instant::now);
            }
            std::future::ready(())
        }));
        Self(names, watch)
    }

    fn len(&self) -> usize {
        Self::lock(&self.0).len()
    }

    fn times(&self) -> HashMap<String, Instant> {
        Self::lock(&self.0).clone()
    }

    fn lock(names: &Mutex<HashMap<String, Instant>>) -> MutexGuard<'_, HashMap<String, Instant>> {
        names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn holds(object: &DynamicObject, condition: &str, status: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == condition && c["status"] == status)
}

/// How a new domain reached all Functions (GW22).
struct Moved {
    /// Until all addresses were right.
    all_s: f64,
    /// From the last route that was accepted until then.
    after_accepted_s: f64,
    /// From the gateway's answer to a route until its Function says so.
    p50_ms: f64,
    p95_ms: f64,
}

/// Changes the domain of the gateway, and looks how the addresses follow.
async fn move_domain(client: &Client, functions: usize) -> Result<Moved> {
    let accepted = Seen::start(client, ApiResource::erase::<HttpRoute>(&()), |route| {
        let generation = route.metadata.generation.unwrap_or_default();
        let hosts = route.data.pointer("/spec/hostnames").and_then(Value::as_array);
        let is_moved = hosts.into_iter().flatten().filter_map(Value::as_str).any(|host| host.ends_with(".new.io"));
        let parents = route.data.pointer("/status/parents").and_then(Value::as_array).into_iter().flatten();
        is_moved
            && parents
                .filter_map(|parent| parent["conditions"].as_array())
                .flatten()
                .any(|c| c["type"] == "Accepted" && c["observedGeneration"] == generation)
    });
    let told = Seen::start(client, ApiResource::erase::<Function>(&()), |function| {
        let address = function.data.pointer("/status/addresses/0/value").and_then(Value::as_str);
        holds(function, "RouteReady", "True") && address.is_some_and(|address| address.ends_with(".new.io/"))
    });
    let gateways: Api<Gateway> = Api::namespaced(client.clone(), "openfunction");
    let began = Instant::now();
    let domain = Patch::Merge(json!({"spec": {"domain": "new.io"}}));
    gateways.patch("openfunction", &PatchParams::default(), &domain).await?;
    until("every function has the new address", async || Ok(told.len() >= functions)).await?;
    let (accepted, told) = (accepted.times(), told.times());
    let mut followed: Vec<_> = accepted
        .iter()
        .filter_map(|(name, at)| Some(told.get(name)?.saturating_duration_since(*at).as_secs_f64() * 1000.0))
        .collect();
    let last = |times: &HashMap<String, Instant>| times.values().max().copied().unwrap_or(began);
    let (p50_ms, p95_ms) = median_and_p95(&mut followed);
    let moved = Moved {
        all_s: (last(&told) - began).as_secs_f64(),
        after_accepted_s: last(&told).saturating_duration_since(last(&accepted)).as_secs_f64(),
        p50_ms,
        p95_ms,
    };
    println!(
        "a new domain: all addresses are right after {:.1} s, {:.2} s after the last route was accepted; a status follows its route within {} ms (median), {} ms (p95)",
        moved.all_s, moved.after_accepted_s, moved.p50_ms, moved.p95_ms
    );
    Ok(moved)
}

/// Answers that are measured one by one.
const ANSWERS: usize = 100;
/// Time between two of them.
const PACE: Duration = Duration::from_millis(50);

/// Lets a gateway refuse routes one after the other; how long until the Function says so, from the answer of the API
/// server to the gateway's write.
async fn follow_answers(client: &Client) -> Result<(f64, f64)> {
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), SHOP, &ApiResource::erase::<HttpRoute>(&()));
    let told =
        Seen::start(client, ApiResource::erase::<Function>(&()), |function| holds(function, "RouteReady", "False"));
    let mut answered = HashMap::new();
    let all = routes.list(&Default::default()).await?.items;
    // Those of short names are told by nobody.
    for route in all.into_iter().filter(|route| !route.name_any().contains('.')).take(ANSWERS) {
        let mut parents = route.data.pointer("/status/parents").cloned().unwrap_or_default();
        for condition in
            parents.as_array_mut().into_iter().flatten().flat_map(|parent| parent["conditions"].as_array_mut())
        {
            condition.iter_mut().for_each(|condition| condition["status"] = json!("False"));
        }
        let patch = Patch::Merge(json!({"status": {"parents": parents}}));
        routes.patch_status(&route.name_any(), &PatchParams::default(), &patch).await?;
        answered.insert(route.name_any(), Instant::now());
        tokio::time::sleep(PACE).await;
    }
    until("every refusal is told", async || Ok(told.len() >= answered.len())).await?;
    let told = told.times();
    let mut followed: Vec<_> = answered
        .iter()
        .filter_map(|(name, at)| Some(told.get(name)?.saturating_duration_since(*at).as_secs_f64() * 1000.0))
        .collect();
    Ok(median_and_p95(&mut followed))
}

fn median_and_p95(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default().round();
    (at(50), at(95))
}

/// Changes an annotation of every object of a kind.
async fn touch(client: &Client, kind: ApiResource) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), SHOP, &kind);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"bench.openfunction.io/touched": "true"}}}));
    let objects = api.list_metadata(&Default::default()).await?.items;
    let touched = stream::iter(objects).map(|object| {
        let (api, patch) = (api.clone(), patch.clone());
        async move { api.patch_metadata(&object.name_any(), &PatchParams::default(), &patch).await.map(drop) }
    });
    Ok(touched.buffer_unordered(AT_ONCE).try_collect().await?)
}

async fn until<F: Future<Output = Result<bool>>>(what: &str, mut is: impl FnMut() -> F) -> Result<()> {
    let began = Instant::now();
    while !is().await? {
        ensure!(began.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until no controller has made a request for a while; when the last one was made.
async fn until_quiet(controllers: &[Controller]) -> Result<Instant> {
    let (began, mut last, mut known) = (Instant::now(), Instant::now(), None);
    while last.elapsed() < QUIET {
        ensure!(began.elapsed() < PATIENCE, "the controllers do not come to rest");
        let now = Snapshot::of(controllers).await?.each(|process| process.requests.clone());
        if known.as_ref() != Some(&now) {
            (known, last) = (Some(now), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(last)
}

/// A controller that runs.
struct Controller {
    name: &'static str,
    child: Child,
    metrics: String,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn start(server: &ApiServer, programs: &Path) -> Result<Vec<Controller>> {
    let mut controllers = Vec::new();
    for name in PATH {
        let addresses = free_ports::<3>()?.map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(programs.join(name));
        command.env("KUBECONFIG", server.kubeconfig()).stderr(Stdio::null()).args([
            "--metrics-address",
            &addresses[0],
            "--status-address",
            &addresses[1],
            "--webhook-address",
            &addresses[2],
            // One that was killed leaves its lease.
            "--lease-duration=3s",
        ]);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        controllers.push(Controller { name, child, metrics: format!("http://{}", addresses[0]) });
    }
    for controller in &controllers {
        until(controller.name, || async {
            Ok(reqwest::get(format!("{}/ready", controller.metrics))
                .await
                .is_ok_and(|answer| answer.status().is_success()))
        })
        .await?;
    }
    Ok(controllers)
}

/// What a process has used so far.
#[derive(Clone, Debug, Default)]
struct Process {
    /// Requests by verb and kind.
    requests: BTreeMap<String, u64>,
    /// CPU time in seconds.
    cpu: f64,
    /// Resident memory in bytes, and its share of what is shared.
    rss: f64,
    pss: f64,
}

/// What each controller has used so far.
#[derive(Clone, Debug)]
struct Snapshot(BTreeMap<&'static str, Process>);

impl Snapshot {
    async fn of(controllers: &[Controller]) -> Result<Self> {
        let mut all = BTreeMap::new();
        for controller in controllers {
            let metrics = reqwest::get(format!("{}/metrics", controller.metrics)).await?.text().await?;
            let folder = PathBuf::from(format!("/proc/{}", controller.child.id()));
            let stat = fs::read_to_string(folder.join("stat"))?;
            let fields: Vec<_> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
            let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
            let rollup = fs::read_to_string(folder.join("smaps_rollup"))?;
            let bytes = |of: &str| -> Result<f64> {
                let line = rollup.lines().find_map(|line| line.strip_prefix(of)).with_context(|| format!("no {of}"))?;
                Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
            };
            let process =
                Process { requests: requests(&metrics), cpu: ticks / TICKS, rss: bytes("Rss:")?, pss: bytes("Pss:")? };
            all.insert(controller.name, process);
        }
        Ok(Self(all))
    }

    fn since(&self, before: &Self) -> Self {
        let all = self.0.iter().map(|(name, now)| {
            let then = before.0.get(name).cloned().unwrap_or_default();
            let less =
                |(key, count): (&String, &u64)| (key.clone(), count - then.requests.get(key).copied().unwrap_or(0));
            let requests = now.requests.iter().map(less).filter(|(_, count)| *count > 0).collect();
            (*name, Process { requests, cpu: now.cpu - then.cpu, ..now.clone() })
        });
        Self(all.collect())
    }

    fn each<T>(&self, of: impl Fn(&Process) -> T) -> BTreeMap<&'static str, T> {
        self.0.iter().map(|(name, process)| (*name, of(process))).collect()
    }

    fn writes(&self) -> u64 {
        let is_write =
            |labels: &&String| ["create", "patch", "update", "delete"].iter().any(|verb| labels.starts_with(verb));
        self.0
            .values()
            .map(|process| process.requests.keys().filter(is_write).map(|key| process.requests[key]).sum::<u64>())
            .sum()
    }

    fn cpu(&self) -> f64 {
        self.0.values().map(|process| process.cpu).sum()
    }

    fn memory(&self) -> f64 {
        self.0.values().map(|process| process.pss).sum()
    }

    fn print(&self, when: &str, functions: usize) {
        println!("requests {when}, without leases and Events:");
        for (name, process) in &self.0 {
            println!("  {name}: {:.2} s of CPU", process.cpu);
            for (request, count) in &process.requests {
                println!("    {request:<40} {count:6}  {:.2} each", *count as f64 / functions as f64);
            }
        }
    }

    fn print_memory(&self, when: &str) {
        for (name, process) in &self.0 {
            println!(
                "{when}: {name:<20} {:5.1} MB resident, {:5.1} MB in proportion",
                process.rss / 1e6,
                process.pss / 1e6
            );
        }
    }
}

/// `verb kind` of the requests that a controller has made, but for leases, Events, and watches, which begin again by
/// themselves.
fn requests(metrics: &str) -> BTreeMap<String, u64> {
    let label = |labels: &str, name: &str| {
        let value = labels.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
        Some(value.to_owned())
    };
    let lines = metrics.lines().filter_map(|line| line.split_once("_api_requests_total{")?.1.split_once("} "));
    let mut requests = BTreeMap::new();
    for (labels, count) in lines {
        let (Some(verb), Some(kind)) = (label(labels, "verb"), label(labels, "kind")) else { continue };
        if verb != "watch" && !["leases", "events"].contains(&kind.as_str()) {
            *requests.entry(format!("{verb} {kind}")).or_default() += count.parse::<u64>().unwrap_or(0);
        }
    }
    requests
}

/// Marks what the controllers make as ready, as soon as it is there.
struct StandIn(Vec<tokio::task::JoinHandle<()>>);

impl Drop for StandIn {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl StandIn {
    fn start(client: &Client, engine: Engine) -> Self {
        let workload: Status = match engine {
            Engine::Knative => knative_status,
            Engine::Native => deployment_status,
        };
        let kinds: [(ApiResource, Status); 3] = [
            (engine.workload(), workload),
            (ApiResource::erase::<HttpRoute>(&()), route_status),
            (ApiResource::erase::<KubernetesGateway>(&()), gateway_status),
        ];
        Self(kinds.into_iter().map(|(kind, status)| tokio::spawn(answer(client.clone(), kind, status))).collect())
    }
}

/// The status of an object that is ready.
type Status = fn(&DynamicObject) -> Value;

/// Writes the status of every object whose spec has changed.
async fn answer(client: Client, kind: ApiResource, status: Status) {
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let changes = watcher(all, watcher::Config::default()).default_backoff().applied_objects();
    let answered =
        changes.filter_map(|object| std::future::ready(object.ok())).for_each_concurrent(AT_ONCE, |object| {
            let (client, kind) = (client.clone(), kind.clone());
            async move {
                let places = [
                    "/observedGeneration",
                    "/parents/0/conditions/0/observedGeneration",
                    "/conditions/0/observedGeneration",
                ];
                let seen = places.iter().find_map(|place| object.data.get("status")?.pointer(place)?.as_i64());
                if seen == object.meta().generation {
                    return;
                }
                let namespace = object.namespace().unwrap_or_default();
                let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &kind);
                let patch = Patch::Merge(json!({ "status": status(&object) }));
                let _ = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await;
            }
        });
    answered.await;
}

fn condition(type_: &str, of: &DynamicObject) -> Value {
    let now = jiff::Timestamp::now().to_string();
    json!({"type": type_, "status": "True", "reason": type_, "message": "", "observedGeneration": of.metadata.generation, "lastTransitionTime": now})
}

fn knative_status(service: &DynamicObject) -> Value {
    let generation = service.metadata.generation;
    let revision = format!("{}-{:05}", service.name_any(), generation.unwrap_or_default());
    json!({"observedGeneration": generation, "conditions": [{"type": "ConfigurationsReady", "status": "True", "lastTransitionTime": jiff::Timestamp::now().to_string()}],
        "latestCreatedRevisionName": revision, "latestReadyRevisionName": revision})
}

fn deployment_status(deployment: &DynamicObject) -> Value {
    let replicas = deployment.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    json!({"observedGeneration": deployment.metadata.generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas})
}

fn route_status(route: &DynamicObject) -> Value {
    let parents = route.data.pointer("/spec/parentRefs").and_then(Value::as_array).cloned().unwrap_or_default();
    let conditions = [condition("Accepted", route), condition("ResolvedRefs", route)];
    let answers = parents
        .iter()
        .map(|parent| json!({"parentRef": parent, "controllerName": "test.dev/gateway", "conditions": conditions}));
    json!({"parents": answers.collect::<Vec<_>>()})
}

fn gateway_status(gateway: &DynamicObject) -> Value {
    let conditions = [condition("Accepted", gateway), condition("Programmed", gateway)];
    let listeners = gateway.data.pointer("/spec/listeners").and_then(Value::as_array).cloned().unwrap_or_default();
    let listeners = listeners.iter().map(|listener| json!({"name": listener["name"], "attachedRoutes": 0, "supportedKinds": [], "conditions": conditions}));
    json!({"addresses": [{"type": "IPAddress", "value": "10.0.0.1"}], "conditions": conditions, "listeners": listeners.collect::<Vec<_>>()})
}
