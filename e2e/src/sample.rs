//! A controller that does nothing, to test and measure what every controller shares.

use std::{process::ExitCode, sync::Arc};

use controller_runtime::{
    args::NoFlags,
    process::{self, About, Runtime},
    status_api::{Explained, object_status},
    webhook::Webhooks,
};
use kube::runtime::watcher;
use openfunction_proto::{core::Function, status_api::ObjectStatus};

/// The controller. It watches Functions, serves its webhooks and status API, takes its lease, and changes nothing.
pub const ABOUT: About = About {
    name: "sample-controller",
    about: "Does nothing; for tests and measurements.",
    version: env!("CARGO_PKG_VERSION"),
    commit: "",
    optional_apis: &[],
};

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

async fn run(mut runtime: Runtime, _: NoFlags) -> anyhow::Result<()> {
    let webhooks = Webhooks::new().convert(
        "Function",
        "functions.core.openfunction.io",
        Arc::new(|_, version| Err(format!("{version} is not served"))),
    );
    let functions = runtime.shared::<Function>();
    runtime.serve(webhooks, vec![Box::new(Explained::new(functions.clone(), explain))]).await?;
    // Only now, since a stored object may need conversion to be listed.
    runtime.follow(&functions, watcher::Config::default(), |_| {});
    runtime.lead(|token| async move { token.cancelled().await }).await
}

/// What the status API says of a Function.
pub fn explain(function: &Function) -> ObjectStatus {
    let status = function.status.clone().unwrap_or_default();
    object_status(function, status.observed_generation, &status.conditions)
}
