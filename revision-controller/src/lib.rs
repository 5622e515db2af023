//! revision-controller: new commits and new images of functions are found, and told in their status.
#![warn(missing_docs)]

mod admission;
mod credentials;
mod forge;
mod freeze;
mod git;
mod looks;
mod metrics;
mod net;
mod problem;
mod receiver;
mod reconcile;
mod registry;
mod signature;
mod status;
mod tags;
mod target;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use controller_runtime::{
    args::duration,
    process::{self, About, Runtime},
    webhook::Webhooks,
};
use futures::StreamExt;
use ipnet::IpNet;
use kube::{ResourceExt, runtime::watcher};
use openfunction_proto::core::{
    Function,
    revision_policy::{PARAMS, SWITCH},
};
use tokio::net::TcpListener;

use credentials::Secrets;
use looks::Looks;
use metrics::Looked;
use net::Network;
use receiver::Receiver;
use reconcile::{Context, reconcile};
use target::Intervals;

/// The controller.
pub const ABOUT: About = About {
    name: "revision-controller",
    about: "Finds new commits and new images of functions.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: &[],
};

/// Flags of the revision-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Time between two looks at a repository of git, for functions that say none.
    #[arg(long, env = "GIT_INTERVAL", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub git_interval: Duration,
    /// Time between two looks at an image, for functions that say none.
    #[arg(long, env = "REGISTRY_INTERVAL", value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub registry_interval: Duration,
    /// Shortest interval that a function may ask for.
    #[arg(long, env = "MIN_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub min_interval: Duration,
    /// File with PEM certificates of authorities that servers may have besides the usual ones.
    #[arg(long, env = "TRUSTED_CERTIFICATES", value_name = "FILE")]
    pub trusted_certificates: Option<PathBuf>,
    /// Networks, separated by commas, that functions may have looked at although they are of the machine itself, of its
    /// link, or of a cloud's metadata.
    #[arg(long, env = "ALLOWED_NETWORKS", value_name = "CIDRS", value_delimiter = ',')]
    pub allowed_networks: Vec<IpNet>,
    /// Address where webhooks are received.
    #[arg(long, env = "RECEIVER_ADDRESS", value_name = "IP:PORT", default_value = "0.0.0.0:8082")]
    pub receiver_address: SocketAddr,
    /// File with the secret that webhooks must show. Without it none are received.
    #[arg(long, env = "RECEIVER_SECRET", value_name = "FILE")]
    pub receiver_secret: Option<PathBuf>,
}

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A task ended without which the process is of no use, or a file that cannot be used.
pub async fn run(mut runtime: Runtime, flags: Flags) -> anyhow::Result<()> {
    let min = flags.min_interval.max(Duration::from_millis(1));
    let intervals = Intervals { git: flags.git_interval, registry: flags.registry_interval, min };
    let network = Network::new(flags.trusted_certificates.as_deref(), flags.allowed_networks)?;
    let metrics = Looked::new(runtime.metrics.registry())?;
    let looks = Arc::new(Looks::new(network, metrics.clone()));
    if let Some(file) = &flags.receiver_secret {
        let router = Receiver::new(file, looks.clone(), metrics)?.router();
        let address = flags.receiver_address;
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|error| anyhow::anyhow!("cannot listen on {address} (--receiver-address): {error}"))?;
        runtime.spawn_essential("the receiver of webhooks", async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the receiver of webhooks ended: {error}");
            }
        });
    }
    let functions = runtime.shared::<Function>();
    let webhooks = admission::admission(Webhooks::new(), &runtime.args.namespace, min);
    runtime.serve(webhooks, vec![]).await?;
    // Small pages: what is read of a Function is a small part of it.
    runtime.follow(&functions, watcher::Config::default().page_size(50), without_what_nobody_reads);
    let context = Arc::new(Context {
        applier: runtime.applier(),
        events: runtime.events.clone(),
        secrets: Secrets::new(runtime.client()),
        looks: looks.clone(),
        functions: functions.clone(),
        intervals,
    });
    let driver = runtime.driver(false);
    runtime
        .lead(|token| {
            let (driver, functions, context) = (&driver, &functions, context.clone());
            let found = looks.begin(token.clone()).boxed();
            let forgotten = context.clone().forget_those_that_go();
            async move {
                tokio::select! {
                    () = driver.run(functions, vec![found], context, reconcile, token) => {}
                    () = forgotten => {}
                }
            }
        })
        .await
}

/// Of a function only the source, the image and what was found of them are read.
fn without_what_nobody_reads(function: &mut Function) {
    function.annotations_mut().retain(|key, _| [SWITCH, PARAMS].contains(&key.as_str()));
    function.labels_mut().clear();
    let spec = &mut function.spec;
    if let Some(serving) = &mut spec.serving {
        *serving = Default::default();
    }
    if let Some(build) = &mut spec.build {
        let mut repository = std::mem::take(&mut build.src_repo);
        repository.inline = None;
        *build = openfunction_proto::core::BuildImpl { src_repo: repository, ..Default::default() };
    }
    if let Some(found) = &mut function.status {
        let (revision, mut conditions) = (found.revision.take(), std::mem::take(&mut found.conditions));
        conditions.retain(|condition| condition.type_ == status::TRACKING);
        *found = openfunction_proto::core::FunctionStatus { revision, conditions, ..Default::default() };
    }
}
