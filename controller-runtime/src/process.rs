//! A controller's process, from the command line to the last drained reconcile.
//!
//! Order of start (design §8): telemetry, client, certificates and webhooks (conversion must answer before the first
//! list), caches, ready, lease, reconcile.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::FusedFuture};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::NamespaceScope,
    runtime::{reflector::ObjectRef, watcher},
};
use openfunction_proto::status_api;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use crate::{
    admin,
    apply::Applier,
    args::{Args, Parsed},
    certificates::{Certificates, Lifetimes, fingerprint},
    client::{Clients, describe, wait_for_api_server},
    driver::Driver,
    events::Events,
    lease::{self, Elector, Ended, LeaseConfig},
    metrics::Metrics,
    optional::{OptionalApi, OptionalApis},
    readiness::Readiness,
    shutdown,
    status_api::{Explain, StatusApi},
    storage,
    telemetry::Telemetry,
    tls,
    watch::{Shared, Watched},
    webhook::{self, Webhooks},
};

/// What a binary says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Name of the binary, which is also its field manager, lease and Service: `function-controller`.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Release version.
    pub version: &'static str,
    /// Git commit of the build; empty when unknown.
    pub commit: &'static str,
    /// APIs that the controller can use and need not have.
    pub optional_apis: &'static [OptionalApi],
}

impl About {
    /// The domain of the metrics: the name without `-controller`.
    fn domain(&self) -> String {
        self.name.trim_end_matches("-controller").replace('-', "_")
    }
}

/// A started process: connected, with probes and signals, not yet reconciling.
pub struct Runtime {
    /// The binary.
    pub about: About,
    /// Its flags.
    pub args: Args,
    /// Its clients.
    pub clients: Clients,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its Events.
    pub events: Events,
    /// The optional APIs that the cluster serves.
    pub optional_apis: OptionalApis,
    /// What `/ready` waits for.
    pub readiness: Readiness,
    /// Cancelled when the process shall end.
    pub stop: CancellationToken,
    /// Tasks without which the process is of no use.
    essential: JoinSet<anyhow::Error>,
    /// Ends the webhook server and the status API, and says when they have.
    close: CancellationToken,
    servers: TaskTracker,
    /// Whether this replica holds the lease.
    leads: watch::Sender<bool>,
    /// CRDs whose versions are converted here.
    converted: Vec<String>,
}

/// Runs a controller: `run` gets the started process with the controller's own flags and ends with [`Runtime::lead`].
/// Returns when the process shall end; a failure is one line on stderr.
pub fn main<F: clap::Args, R: Future<Output = anyhow::Result<()>>>(
    about: About,
    run: impl FnOnce(Runtime, F) -> R,
) -> ExitCode {
    let (args, own) = match Args::parse_line(about.name, about.about, about.version, std::env::args_os()) {
        Ok(Parsed::Run(args)) => *args,
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    tls::install_provider();
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|tokio| tokio.block_on(start_and_run(about, args, |runtime| run(runtime, own))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

async fn start_and_run<F: Future<Output = anyhow::Result<()>>>(
    about: About,
    args: Args,
    run: impl FnOnce(Runtime) -> F,
) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(about.name, &args.telemetry)?;
    info!(name = about.name, version = about.version, commit = about.commit, "starting");
    let stop = shutdown::on_signals(args.grace_period)?;
    let metrics = Metrics::new(&about.domain())?;
    let readiness = Readiness::default();
    let connected = readiness.gate("the API server");
    let mut essential = JoinSet::new();
    let listener = listen(args.metrics_address, "--metrics-address").await?;
    let router = admin::router(metrics.clone(), readiness.clone(), Some(telemetry.clone()));
    // Probes and metrics answer until the very end.
    essential.spawn(ended("the metrics server", admin::serve(listener, router, CancellationToken::new())));
    let clients = Clients::infer(&metrics).await?;
    let result = tokio::select! {
        () = wait_for_api_server(&clients.work) => {
            connected.open();
            run(Runtime { readiness, essential, ..Runtime::new(about, args, clients, metrics, stop) }).await
        }
        () = stop.cancelled() => Ok(()),
    };
    telemetry.shutdown().await;
    result
}

async fn listen(address: std::net::SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("cannot listen on {address} ({flag}): {error}"))
}

/// What it means that an essential task ended.
async fn ended<E: Into<anyhow::Error>>(what: &'static str, task: impl Future<Output = Result<(), E>>) -> anyhow::Error {
    match task.await {
        Ok(()) => anyhow::anyhow!("{what} ended"),
        Err(error) => error.into().context(format!("{what} ended")),
    }
}

impl Runtime {
    /// A process that is connected. Tests make several in one; they have no probes and get no signals.
    pub fn new(about: About, args: Args, clients: Clients, metrics: Metrics, stop: CancellationToken) -> Self {
        Self {
            about,
            events: Events::new(clients.work.clone(), about.name, &args.identity),
            args,
            clients,
            metrics,
            optional_apis: OptionalApis::new(about.optional_apis),
            readiness: Readiness::default(),
            stop,
            essential: JoinSet::new(),
            close: CancellationToken::new(),
            servers: TaskTracker::new(),
            leads: watch::Sender::new(false),
            converted: Vec::new(),
        }
    }

    /// A client for everything but the lease.
    pub fn client(&self) -> Client {
        self.clients.work.clone()
    }

    /// Applies objects under the name of the binary.
    pub fn applier(&self) -> Applier {
        Applier::new(self.client(), self.about.name)
    }

    /// Watches a kind of an optional API in the namespaces of the flags, and some more, whenever the cluster serves it.
    pub fn follow_optional<K>(
        &mut self,
        shared: &Shared<K>,
        api: OptionalApi,
        also: &[String],
        config: watcher::Config,
        prune: fn(&mut K),
    ) where
        K: Watched + Resource<Scope: NamespaceScope>,
    {
        let (shared, client, namespaces) = (shared.clone(), self.client(), self.namespaces(also));
        let apis = self.optional_apis.clone();
        self.spawn_essential("a watch", async move {
            shared.follow_while_served((&apis, api), &client, &namespaces, config, prune).await;
        });
    }

    /// As [`Runtime::follow_optional`], for a kind that has no namespaces.
    pub fn follow_optional_cluster<K: Watched>(
        &mut self,
        shared: &Shared<K>,
        api: OptionalApi,
        config: watcher::Config,
        prune: fn(&mut K),
    ) {
        let (shared, client, apis) = (shared.clone(), self.client(), self.optional_apis.clone());
        self.spawn_essential("a watch", async move {
            shared.follow_cluster_while_served((&apis, api), &client, config, prune).await;
        });
    }

    /// What drives reconciles of a kind; `owns_ready` says whether this controller owns its condition `Ready`.
    pub fn driver(&self, owns_ready: bool) -> Driver {
        Driver {
            client: self.client(),
            manager: self.about.name,
            metrics: self.metrics.clone(),
            events: self.events.clone(),
            concurrency: self.args.concurrency,
            owns_ready,
        }
    }

    /// Keeps something going that the process needs.
    pub fn spawn_essential(&mut self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.essential.spawn(ended(what, async {
            task.await;
            Ok::<_, anyhow::Error>(())
        }));
    }

    /// An empty store of a kind; readiness waits for its first list. [`Runtime::follow`] fills it.
    pub fn shared<K: Watched>(&self) -> Shared<K> {
        Shared::new(Some(self.readiness.gate(format!("watch of {}", K::plural(&())))))
    }

    /// Watches a kind in the namespaces of the flags, from now on. `prune` takes out of each object what nobody reads.
    pub fn follow<K>(&mut self, shared: &Shared<K>, config: watcher::Config, prune: fn(&mut K))
    where
        K: Watched + Resource<Scope: NamespaceScope>,
    {
        self.follow_also(shared, &[], config, prune);
    }

    /// As [`Runtime::follow`], and in some namespaces besides those of the flags.
    pub fn follow_also<K>(&mut self, shared: &Shared<K>, also: &[String], config: watcher::Config, prune: fn(&mut K))
    where
        K: Watched + Resource<Scope: NamespaceScope>,
    {
        let (shared, client, namespaces) = (shared.clone(), self.client(), self.namespaces(also));
        self.spawn_essential("a watch", async move { shared.follow(&client, &namespaces, config, prune).await });
    }

    /// Watches a kind that has no namespaces, from now on.
    pub fn follow_cluster<K: Watched>(&mut self, shared: &Shared<K>, config: watcher::Config, prune: fn(&mut K)) {
        let (shared, client) = (shared.clone(), self.client());
        self.spawn_essential("a watch", async move { shared.follow_cluster(&client, config, prune).await });
    }

    /// The namespaces of the flags and some more; none means all.
    fn namespaces(&self, also: &[String]) -> Vec<String> {
        let named = &self.args.watch_namespaces;
        let also = also.iter().filter(|_| !named.is_empty());
        named.iter().chain(also).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Keeps metric `objects` of a kind: how many objects are in which state.
    pub fn count_objects<K: Watched>(&mut self, shared: &Shared<K>, state: fn(&K) -> Option<&str>) {
        let (store, mut changes, metrics) = (shared.store().clone(), shared.subscribe(), self.metrics.clone());
        self.spawn_essential("the count of objects", async move {
            let mut known = BTreeSet::new();
            while changes.next().await.is_some() {
                // One count for all that changes meanwhile.
                tokio::time::sleep(COUNT_PAUSE).await;
                while changes.next().now_or_never().flatten().is_some() {}
                let mut counts: BTreeMap<String, usize> =
                    known.iter().map(|state: &String| (state.clone(), 0)).collect();
                for object in store.state() {
                    *counts.entry(state(&object).unwrap_or_default().to_owned()).or_default() += 1;
                }
                counts.iter().for_each(|(state, count)| metrics.set_objects(&K::kind(&()), state, *count));
                known.extend(counts.into_keys());
            }
        });
    }

    /// Finds out which optional APIs the cluster serves, from now on. Returns once it is known.
    pub async fn follow_optional_apis(&mut self) {
        let (apis, client) = (self.optional_apis.clone(), self.client());
        self.spawn_essential("the watch of CRDs", async move { apis.follow(&client).await });
        self.unless_stopped(self.optional_apis.known()).await;
    }

    /// Waits for something, but not longer than the process shall run.
    async fn unless_stopped(&self, what: impl Future<Output = ()>) {
        tokio::select! {
            () = what => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Serves webhooks and the status API, with certificates that are made and renewed here. Returns once callers can
    /// check the certificate, so that a list which needs conversion can follow.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn serve(&mut self, webhooks: Webhooks, kinds: Vec<Box<dyn Explain>>) -> anyhow::Result<()> {
        let (webhook_listener, status_listener) = (
            listen(self.args.webhook_address, "--webhook-address").await?,
            listen(self.args.status_address, "--status-address").await?,
        );
        let client_authorities =
            match &self.args.status_client_ca {
                None => None,
                Some(path) => Some(tokio::fs::read(path).await.map_err(|error| {
                    anyhow::anyhow!("cannot read {} (--status-client-ca): {error}", path.display())
                })?),
            };
        self.converted = webhooks.converted().map(str::to_owned).collect();
        let certificates = Arc::new(self.certificates());
        let webhook_tls = tls::server_config(certificates.serving(), None)?;
        let status_tls = tls::server_config(certificates.serving(), client_authorities.as_deref())?;
        self.essential.spawn(ended(
            "the webhook server",
            self.servers.track_future(tls::serve(webhook_listener, webhook_tls, webhooks.router(), self.close.clone())),
        ));
        let status = StatusApi::new(self.clients.lease.clone(), kinds, self.describe()).router().await;
        self.essential.spawn(ended(
            "the status API",
            self.servers.track_future(tls::serve(status_listener, status_tls, status, self.close.clone())),
        ));
        let (published, mut first) = watch::channel(false);
        let (client, namespace, manager) = (self.client(), self.args.namespace.clone(), self.about.name);
        let gate = self.readiness.gate("certificates");
        let publish = move |bundle: String| {
            let (client, namespace, targets) = (client.clone(), namespace.clone(), webhooks.targets().to_vec());
            let (published, gate) = (published.clone(), gate.clone());
            async move {
                webhook::publish(&client, manager, &targets, &bundle).await?;
                publish_status_authority(&client, &namespace, manager, &bundle).await?;
                if !published.send_replace(true) {
                    info!(bundle = fingerprint(&bundle), "certificates are in order");
                }
                gate.open();
                Ok(())
            }
        };
        self.spawn_essential("the renewal of certificates", async move { certificates.keep(publish).await });
        self.unless_stopped(async { drop(first.wait_for(|published| *published).await) }).await;
        Ok(())
    }

    fn certificates(&self) -> Certificates {
        let service = self.args.service_name.as_deref().unwrap_or(self.about.name);
        let namespace = &self.args.namespace;
        let hosts = vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}"),
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
        ];
        Certificates::new(self.client(), namespace, self.about.name, hosts, Lifetimes::default())
    }

    /// What `GetController` answers.
    fn describe(&self) -> impl Fn() -> status_api::Controller + Send + Sync + use<> {
        let (about, metrics, apis, leads) =
            (self.about, self.metrics.clone(), self.optional_apis.clone(), self.leads.subscribe());
        let started = Timestamp::now();
        move || {
            let (found, missing) = apis.found_and_missing();
            status_api::Controller {
                name: about.name.to_owned(),
                version: about.version.to_owned(),
                commit: about.commit.to_owned(),
                leader: *leads.borrow(),
                shard: String::new(),
                apis_found: found.iter().map(OptionalApi::crd_name).collect(),
                apis_missing: missing.iter().map(OptionalApi::crd_name).collect(),
                queue_depth: u32::try_from(metrics.queue_depth()).unwrap_or(u32::MAX),
                started_at: Some(openfunction_proto::timestamp(started)),
            }
        }
    }

    /// Waits until every cache is complete, then reconciles with `work` whenever this replica holds the lease, until
    /// the process shall end. The token that `work` gets is cancelled when it must stop. Webhooks and the status API
    /// answer a little longer, since callers learn late that this replica is not ready any more.
    ///
    /// # Errors
    /// A task ended without which the process is of no use.
    pub async fn lead<W: Future<Output = ()>>(mut self, work: impl Fn(CancellationToken) -> W) -> anyhow::Result<()> {
        let mut essential = std::mem::take(&mut self.essential);
        let serving = self.readiness.gate("nothing: the process is stopping");
        serving.open();
        let leading = std::pin::pin!(self.lead_until_stopped(&work));
        let mut leading = leading.fuse();
        let not_ready_when_stopping = async {
            self.stop.cancelled().await;
            serving.close();
            std::future::pending().await
        };
        let failed = tokio::select! {
            failed = &mut leading => failed,
            Some(ended) = essential.join_next() => Some(ended.unwrap_or_else(anyhow::Error::from)),
            () = not_ready_when_stopping => None,
        };
        if let Some(reason) = failed {
            error!("{reason:#}");
            // The lease is released, so that the next replica need not wait for it.
            self.stop.cancel();
            if !leading.is_terminated() {
                let _ = tokio::time::timeout(self.args.grace_period, &mut leading).await;
            }
            return Err(reason);
        }
        tokio::time::sleep(LINGER).await;
        self.close.cancel();
        self.servers.close();
        let _ = tokio::time::timeout(LINGER, self.servers.wait()).await;
        info!("stopped");
        Ok(())
    }

    /// Has objects of the kinds that are converted here stored as the version that their CRD stores now. Never returns.
    async fn keep_storage(&self) -> Infallible {
        // The objects of other namespaces cannot be read.
        let converted = self.converted.iter().filter(|_| self.args.watch_namespaces.is_empty());
        for crd in converted {
            while let Err(error) = storage::migrate(&self.clients.work, self.about.name, crd).await {
                warn!("{crd}: not all objects could be stored as the present version: {}", describe(&error));
                tokio::time::sleep(STORAGE_PAUSE).await;
            }
        }
        std::future::pending().await
    }

    /// An error if the work ended although nobody asked it to.
    async fn lead_until_stopped<W: Future<Output = ()>>(
        &self,
        work: &impl Fn(CancellationToken) -> W,
    ) -> Option<anyhow::Error> {
        self.unless_stopped(self.readiness.ready()).await;
        if self.stop.is_cancelled() {
            return None;
        }
        info!("ready");
        loop {
            let config = LeaseConfig {
                name: self.args.lease_name.clone().unwrap_or_else(|| self.about.name.to_owned()),
                identity: self.args.identity.clone(),
                duration: self.args.lease_duration,
            };
            let api = Api::namespaced(self.clients.lease.clone(), &self.args.namespace);
            let changed = lease::changes(Api::namespaced(self.client(), &self.args.namespace), &config.name);
            let ended = Elector::new(api, config)
                .run(self.stop.clone(), changed, |token| {
                    self.metrics.leader().set(1);
                    self.leads.send_replace(true);
                    let work = work(token);
                    async move {
                        tokio::select! {
                            () = work => {}
                            never = self.keep_storage() => match never {},
                        }
                    }
                })
                .await;
            self.metrics.leader().set(0);
            self.leads.send_replace(false);
            if self.stop.is_cancelled() {
                return None;
            }
            if ended == Ended::Stopped {
                return Some(anyhow::anyhow!("the work ended by itself"));
            }
        }
    }
}

/// Time before what could not be stored anew is tried again.
const STORAGE_PAUSE: Duration = Duration::from_secs(60);

/// Time between two counts of objects.
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// How long callers are still answered after the work has stopped, and how long open requests may then take.
const LINGER: Duration = Duration::from_secs(2);

/// Publishes the authority of the status API as ConfigMap `<controller>-status-ca`, key `ca.crt`.
async fn publish_status_authority(
    client: &Client,
    namespace: &str,
    manager: &'static str,
    bundle: &str,
) -> anyhow::Result<()> {
    let name = format!("{manager}-status-ca");
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let held = api.get_opt(&name).await?.and_then(|map| map.data?.remove("ca.crt"));
    if held.as_deref() == Some(bundle) {
        return Ok(());
    }
    let wanted =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": bundle}});
    api.patch(&name, &PatchParams::apply(manager).force(), &Patch::Apply(wanted)).await?;
    Ok(())
}

/// Every object of a kind, whenever something happens.
pub fn everything<K: Watched>(
    shared: &Shared<K>,
    events: impl Stream<Item = ()> + Send + 'static,
) -> futures::stream::BoxStream<'static, ObjectRef<K>> {
    let store = shared.store().clone();
    let all = move || store.state().iter().map(|object| ObjectRef::from_obj(&**object)).collect::<Vec<_>>();
    events.flat_map(move |()| futures::stream::iter(all())).boxed()
}

/// The changes of a shared watch, as triggers for the objects that `owner` finds in an object, and for those that it
/// found in its state before: a child that lost its label concerns the owner that it had.
pub fn triggers<C: Watched, K: Watched>(
    children: &Shared<C>,
    owner: impl Fn(&C) -> Vec<ObjectRef<K>> + Send + 'static,
) -> futures::stream::BoxStream<'static, ObjectRef<K>> {
    let (store, mut known) = (children.store().clone(), HashMap::new());
    let changes = children.subscribe().flat_map(move |child| {
        let key = ObjectRef::from_obj(&*child);
        let mut owners = owner(&child);
        let before = match store.get(&key) {
            Some(_) => known.insert(key, owners.clone()),
            None => known.remove(&key),
        };
        owners.extend(before.into_iter().flatten());
        futures::stream::iter(owners)
    });
    changes.boxed()
}
