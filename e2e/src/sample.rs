//! A controller that does nothing, to test and measure what every controller shares.

use std::{process::ExitCode, sync::Arc};

use controller_runtime::{
    process::{self, About, Runtime},
    status_api::Explained,
    webhook::Webhooks,
};
use kube::runtime::watcher;
use openfunction_proto::{
    core::Function,
    status_api::{Condition, ObjectRef, ObjectStatus},
    timestamp,
};

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

async fn run(mut runtime: Runtime) -> anyhow::Result<()> {
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
    ObjectStatus {
        object: Some(ObjectRef {
            api_version: "core.openfunction.io/v1beta2".to_owned(),
            kind: "Function".to_owned(),
            namespace: function.metadata.namespace.clone().unwrap_or_default(),
            name: function.metadata.name.clone().unwrap_or_default(),
        }),
        uid: function.metadata.uid.clone().unwrap_or_default(),
        generation: function.metadata.generation.unwrap_or_default(),
        observed_generation: status.observed_generation.unwrap_or_default(),
        conditions: status
            .conditions
            .into_iter()
            .map(|c| Condition {
                r#type: c.type_,
                status: c.status,
                reason: c.reason,
                message: c.message,
                observed_generation: c.observed_generation.unwrap_or_default(),
                last_transition_time: Some(timestamp(c.last_transition_time.0)),
            })
            .collect(),
        ..ObjectStatus::default()
    }
}
