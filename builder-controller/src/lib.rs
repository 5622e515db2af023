//! builder-controller: a Builder becomes an image in a registry.
#![warn(missing_docs)]

mod failure;
mod native;
mod queue;
mod reconcile;
mod run;
mod shipwright;
mod status;
pub mod strategy;
mod validate;

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use controller_runtime::{
    children,
    optional::OptionalApi,
    process::{self, About, Runtime, everything, triggers},
    status_api::Explained,
    watch::Shared,
    webhook::Webhooks,
};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{reflector::ObjectRef, watcher};
use openfunction_proto::core::{Builder, v1beta1};

use queue::Queue;
pub use reconcile::Engine;
use reconcile::{Context, reconcile};
use run::{Run, Runs};
use shipwright::{BUILD_RUNS, BuildRun};
use strategy::{BUILD_STRATEGIES, BuildStrategy, CLUSTER_BUILD_STRATEGIES, ClusterBuildStrategy};

/// The controller.
pub const ABOUT: About = About {
    name: "builder-controller",
    about: "Builds images from source.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: OPTIONAL_APIS,
};

const OPTIONAL_APIS: &[OptionalApi] = &[CLUSTER_BUILD_STRATEGIES, BUILD_STRATEGIES, BUILD_RUNS];

/// Flags of the builder-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// What runs builds: `native` (pods of this controller), `shipwright`, or `auto`: Shipwright where it is installed and
    /// can do what a build asks for.
    #[arg(long, env = "BUILD_ENGINE", value_name = "ENGINE", default_value = "auto")]
    pub build_engine: Engine,
    /// How many builds run at once; others wait, the oldest first. 0 is any number.
    #[arg(long, env = "BUILD_CONCURRENCY", value_name = "BUILDS", default_value_t = 10)]
    pub build_concurrency: usize,
    /// Whether native builds keep what the next one can use, as an image beside the function's.
    #[arg(long, env = "BUILD_CACHE", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub build_cache: bool,
    /// Image of build-helper, which gets the source and reads the results of native builds.
    #[arg(long, env = "BUILD_HELPER_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/openfunction/build-helper:", env!("CARGO_PKG_VERSION")))]
    pub build_helper_image: String,
    /// Images of the tools of our strategies, each `strategy=image` or `bash=image`, separated by commas.
    #[arg(long, env = "BUILD_IMAGES", value_name = "PAIRS", value_delimiter = ',')]
    pub build_images: Vec<String>,
    /// Registries that builds reach by plain HTTP, or without verifying their certificate, separated by commas.
    #[arg(long, env = "BUILD_INSECURE_REGISTRIES", value_name = "HOSTS", value_delimiter = ',')]
    pub build_insecure_registries: Vec<String>,
    /// Registries that builds ask first, each `registry=mirror`, separated by commas.
    #[arg(long, env = "BUILD_REGISTRY_MIRRORS", value_name = "PAIRS", value_delimiter = ',')]
    pub build_registry_mirrors: Vec<String>,
    /// Proxy of builds for http URLs.
    #[arg(long, env = "BUILD_HTTP_PROXY", value_name = "URL", default_value = "")]
    pub build_http_proxy: String,
    /// Proxy of builds for https URLs.
    #[arg(long, env = "BUILD_HTTPS_PROXY", value_name = "URL", default_value = "")]
    pub build_https_proxy: String,
    /// Hosts that builds reach without a proxy, separated by commas.
    #[arg(long, env = "BUILD_NO_PROXY", value_name = "HOSTS", default_value = "")]
    pub build_no_proxy: String,
    /// Certificates, in PEM, of authorities that native builds trust besides the usual ones.
    #[arg(long, env = "BUILD_CA_CERTIFICATES", value_name = "PEM", default_value = "")]
    pub build_ca_certificates: String,
}

impl Flags {
    /// Variables that tell programs of proxies: some read those in capitals, some the others.
    fn proxies(&self) -> BTreeMap<String, String> {
        let flags = [
            ("http_proxy", &self.build_http_proxy),
            ("https_proxy", &self.build_https_proxy),
            ("no_proxy", &self.build_no_proxy),
        ];
        let set = flags.into_iter().filter(|(_, value)| !value.is_empty());
        set.flat_map(|(name, value)| [name.to_owned(), name.to_uppercase()].map(|name| (name, value.clone()))).collect()
    }
}

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A task ended without which the process is of no use.
pub async fn run(mut runtime: Runtime, mut flags: Flags) -> anyhow::Result<()> {
    flags.build_images.retain(|pair| !pair.is_empty());
    flags.build_insecure_registries.retain(|host| !host.is_empty());
    flags.build_registry_mirrors.retain(|pair| !pair.is_empty());
    let webhooks = Webhooks::new().convert("Builder", "builders.core.openfunction.io", Arc::new(v1beta1::convert));
    let builders = runtime.shared::<Builder>();
    let pods = runtime.shared::<Pod>();
    let (cluster_strategies, strategies) =
        (Shared::<ClusterBuildStrategy>::new(None), Shared::<BuildStrategy>::new(None));
    runtime.serve(webhooks, vec![Box::new(Explained::new(builders.clone(), status::explain))]).await?;
    runtime.follow_optional_apis().await;
    runtime.follow(&builders, watcher::Config::default(), |_| {});
    runtime.follow(&pods, watcher::Config::default().labels(&children::selector(ABOUT.name)), |pod| pod.spec = None);
    let build_runs = Shared::<BuildRun>::new(None);
    let ours = watcher::Config::default().labels(&children::selector(ABOUT.name));
    runtime.follow_optional(&build_runs, BUILD_RUNS, &[], ours, |run| run.spec.all.clear());
    runtime.follow_optional(&strategies, BUILD_STRATEGIES, &[], watcher::Config::default(), |_| {});
    runtime.follow_optional_cluster(&cluster_strategies, CLUSTER_BUILD_STRATEGIES, watcher::Config::default(), |_| {});

    runtime.count_objects(&builders, |builder| builder.status.as_ref()?.state.as_deref());

    let client = runtime.client();
    let runs = Runs { pods: pods.clone(), build_runs: build_runs.clone() };
    let context = Arc::new(Context {
        applier: runtime.applier(),
        events: runtime.events.clone(),
        runs: runs.clone(),
        engine: flags.build_engine,
        apis: runtime.optional_apis.clone(),
        cluster_strategies: cluster_strategies.clone(),
        strategies: strategies.clone(),
        queue: Queue::new(flags.build_concurrency, runs, &builders),
        settings: native::Settings {
            helper_image: flags.build_helper_image.clone(),
            insecure_registries: flags.build_insecure_registries.clone(),
            keeps_cache: flags.build_cache,
            proxies: flags.proxies(),
            authorities: flags.build_ca_certificates.clone(),
        },
    });
    let (driver, apis) = (runtime.driver(true), runtime.optional_apis.clone());
    runtime
        .lead(|token| {
            let (driver, builders, context, client) = (&driver, &builders, context.clone(), &client);
            let (apis, flags) = (&apis, &flags);
            let triggers = vec![
                triggers(&pods, children::controller),
                triggers(&build_runs, children::controller),
                next_in_queue(&context, builders),
                everything(builders, cluster_strategies.subscribe().map(drop)),
                everything(builders, strategies.subscribe().map(drop)),
            ];
            async move {
                let keep = strategy::keep(client, &context.applier, apis, &context.cluster_strategies, flags);
                tokio::select! {
                    () = driver.run(builders, triggers, context.clone(), reconcile, token) => {}
                    () = keep => {}
                }
            }
        })
        .await
}

/// Builders that wait, whenever a build has ended, or one that waited does no more: it may have been the next.
fn next_in_queue(context: &Arc<Context>, builders: &Shared<Builder>) -> BoxStream<'static, ObjectRef<Builder>> {
    let runs = context.runs.clone();
    let pods = {
        let store = runs.pods.store().clone();
        runs.pods.subscribe().map(move |pod| store.get(&ObjectRef::from_obj(&*pod)).map(Run::Pod))
    };
    let build_runs = {
        let store = runs.build_runs.store().clone();
        runs.build_runs.subscribe().map(move |run| store.get(&ObjectRef::from_obj(&*run)).map(Run::BuildRun))
    };
    let ended = futures::stream::select(pods, build_runs)
        .filter(|run| std::future::ready(run.as_ref().is_none_or(|run| !run.goes_on())));
    let store = builders.store().clone();
    let left = builders.subscribe().filter(move |builder| {
        let now = store.get(&ObjectRef::from_obj(&**builder));
        std::future::ready(now.is_none_or(|builder| !queue::is_waiting(&builder)))
    });
    let context = context.clone();
    futures::stream::select(ended.map(drop), left.map(drop))
        .flat_map(move |()| futures::stream::iter(context.queue.waiting()))
        .boxed()
}
