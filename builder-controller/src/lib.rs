//! builder-controller: a Builder becomes an image in a registry.
#![warn(missing_docs)]

mod failure;
mod native;
mod reconcile;
mod status;
pub mod strategy;
mod validate;

use std::{process::ExitCode, sync::Arc};

use controller_runtime::{
    children,
    optional::OptionalApi,
    process::{self, About, Runtime, everything, triggers},
    status_api::Explained,
    watch::Shared,
    webhook::Webhooks,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;
use openfunction_proto::core::Builder;

use reconcile::{Context, reconcile};
use strategy::{BUILD_STRATEGIES, BuildStrategy, CLUSTER_BUILD_STRATEGIES, ClusterBuildStrategy};

/// The controller.
pub const ABOUT: About = About {
    name: "builder-controller",
    about: "Builds images from source.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: OPTIONAL_APIS,
};

const OPTIONAL_APIS: &[OptionalApi] = &[CLUSTER_BUILD_STRATEGIES, BUILD_STRATEGIES];

/// Flags of the builder-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// What runs builds: `native` (pods of this controller) or `auto`.
    #[arg(long, env = "BUILD_ENGINE", value_name = "ENGINE", default_value = "auto", value_parser = ["auto", "native"])]
    pub build_engine: String,
    /// Image of build-helper, which gets the source and reads the results of native builds.
    #[arg(long, env = "BUILD_HELPER_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/openfunction/build-helper:", env!("CARGO_PKG_VERSION")))]
    pub build_helper_image: String,
    /// Image of BuildKit for strategy `buildkit`.
    #[arg(long, env = "BUILD_BUILDKIT_IMAGE", value_name = "IMAGE", default_value = "moby/buildkit:v0.34.2")]
    pub build_buildkit_image: String,
    /// Registries that builds reach by plain HTTP, or without verifying their certificate, separated by commas.
    #[arg(long, env = "BUILD_INSECURE_REGISTRIES", value_name = "HOSTS", value_delimiter = ',')]
    pub build_insecure_registries: Vec<String>,
    /// Registries that builds ask first, each `registry=mirror`, separated by commas.
    #[arg(long, env = "BUILD_REGISTRY_MIRRORS", value_name = "PAIRS", value_delimiter = ',')]
    pub build_registry_mirrors: Vec<String>,
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
    flags.build_insecure_registries.retain(|host| !host.is_empty());
    flags.build_registry_mirrors.retain(|pair| !pair.is_empty());
    let webhooks = Webhooks::new().convert(
        "Builder",
        "builders.core.openfunction.io",
        Arc::new(|_, version| Err(format!("{version} is not served yet; use core.openfunction.io/v1beta2"))),
    );
    let builders = runtime.shared::<Builder>();
    let pods = runtime.shared::<Pod>();
    let (cluster_strategies, strategies) =
        (Shared::<ClusterBuildStrategy>::new(None), Shared::<BuildStrategy>::new(None));
    runtime.serve(webhooks, vec![Box::new(Explained::new(builders.clone(), status::explain))]).await?;
    runtime.follow_optional_apis().await;
    runtime.follow(&builders, watcher::Config::default(), |_| {});
    runtime.follow(&pods, watcher::Config::default().labels(&children::selector(ABOUT.name)), |pod| pod.spec = None);
    runtime.follow_optional(&strategies, BUILD_STRATEGIES, &[], watcher::Config::default(), |_| {});
    runtime.follow_optional_cluster(&cluster_strategies, CLUSTER_BUILD_STRATEGIES, watcher::Config::default(), |_| {});

    runtime.count_objects(&builders, |builder| builder.status.as_ref()?.state.as_deref());

    let client = runtime.client();
    let context = Arc::new(Context {
        applier: runtime.applier(),
        events: runtime.events.clone(),
        pods: pods.clone(),
        cluster_strategies: cluster_strategies.clone(),
        strategies: strategies.clone(),
        helper_image: flags.build_helper_image.clone(),
    });
    let (driver, apis) = (runtime.driver(true), runtime.optional_apis.clone());
    runtime
        .lead(|token| {
            let (driver, builders, context, client) = (&driver, &builders, context.clone(), &client);
            let (apis, flags) = (&apis, &flags);
            let triggers = vec![
                triggers(&pods, children::controller),
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
