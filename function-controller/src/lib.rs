//! function-controller: a Function becomes Builders and Servings, and its traffic moves from one revision to the next.
#![warn(missing_docs)]

mod admission;
mod hints;
mod names;
pub mod plan;
mod reconcile;
mod status;

use std::{process::ExitCode, sync::Arc, time::Duration};

use controller_runtime::{
    children,
    optional::OptionalApi,
    process::{self, About, Runtime, triggers},
    status_api::Explained,
    webhook::Webhooks,
};
use kube::{core::PartialObjectMeta, runtime::watcher};
use openfunction_proto::{
    core::{Builder, Function, GatewayRef, Serving, v1beta1},
    gateway_api::resources::HttpRoute,
};

use plan::Settings;
use reconcile::{Context, reconcile};

/// HTTPRoutes of the Gateway API; a Serving goes only when none leads to it.
const HTTP_ROUTES: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1", plural: "httproutes" };

/// Knative Services; engine `auto` means them where the cluster has them.
const KNATIVE: OptionalApi = OptionalApi { group: "serving.knative.dev", version: "v1", plural: "services" };

/// The controller.
pub const ABOUT: About = About {
    name: "function-controller",
    about: "Turns Functions into Builders and Servings, and moves traffic between revisions.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: &[HTTP_ROUTES, KNATIVE],
};

/// Flags of the function-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Engine of HTTP functions that name none: `knative`, `keda`, `native` or `auto` (Knative where the cluster has it
    /// when a revision is made, else native).
    #[arg(long, env = "HTTP_ENGINE", value_name = "ENGINE", default_value = "auto", value_parser = ["auto", "knative", "keda", "native"])]
    pub http_engine: String,
    /// Time for which a revision is kept after the last route to it has gone.
    #[arg(long, env = "ROUTE_GRACE_PERIOD", value_name = "DURATION", default_value = "30s", value_parser = controller_runtime::args::duration)]
    pub route_grace_period: Duration,
    /// Name of the OpenFunction Gateway, in the controller's namespace, of functions that name none.
    #[arg(long, env = "DEFAULT_GATEWAY_NAME", value_name = "NAME", default_value = "openfunction")]
    pub default_gateway_name: String,
}

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A task ended without which the process is of no use.
pub async fn run(mut runtime: Runtime, flags: Flags) -> anyhow::Result<()> {
    let default_gateway = GatewayRef { name: flags.default_gateway_name, namespace: runtime.args.namespace.clone() };
    let converted = Webhooks::new().convert("Function", "functions.core.openfunction.io", Arc::new(v1beta1::convert));
    let webhooks = admission::admission(converted, &runtime.args.namespace, default_gateway.clone());
    let functions = runtime.shared::<Function>();
    let builders = runtime.shared::<Builder>();
    let servings = runtime.shared::<Serving>();
    let routes = controller_runtime::watch::Shared::<PartialObjectMeta<HttpRoute>>::new(None);
    runtime.serve(webhooks, vec![Box::new(Explained::new(functions.clone(), status::explain))]).await?;
    runtime.follow_optional_apis().await;
    runtime.follow(&functions, watcher::Config::default(), |_| {});
    runtime.follow(&builders, watcher::Config::default(), |_| {});
    runtime.follow(&servings, watcher::Config::default(), |_| {});
    let of_functions = watcher::Config::default().labels(children::FUNCTION);
    runtime.follow_optional(&routes, HTTP_ROUTES, &[], of_functions, |_| {});
    runtime.count_objects(&functions, status::state);

    let settings = Settings { default_gateway, http_engine: flags.http_engine, grace: flags.route_grace_period };
    let context = Arc::new(Context {
        applier: runtime.applier(),
        events: runtime.events.clone(),
        apis: runtime.optional_apis.clone(),
        builders: builders.clone(),
        servings: servings.clone(),
        routes: routes.clone(),
        settings,
        unrouted: Default::default(),
        deleted: Default::default(),
    });
    let driver = runtime.driver(true);
    runtime
        .lead(|token| {
            let (driver, functions, context) = (&driver, &functions, context.clone());
            let triggers = vec![
                triggers(&builders, children::controller),
                triggers(&servings, children::controller),
                triggers(&routes, children::controller),
            ];
            context.begin();
            async move { driver.run(functions, triggers, context, reconcile, token).await }
        })
        .await
}
