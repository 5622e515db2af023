//! What every OpenFunction controller would otherwise write again: arguments, telemetry, probes and metrics, the lease,
//! shutdown, shared watches, optional APIs, server-side apply, conditions, events, names, webhooks with their
//! certificates, the status API and the reconcile driver. A controller's `main` is [`process::main`].
#![warn(missing_docs)]

pub mod admin;
pub mod apply;
pub mod args;
mod backoff;
pub mod certificates;
pub mod children;
pub mod client;
pub mod conditions;
pub mod contained;
pub mod driver;
pub mod events;
pub mod index;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod optional;
pub mod process;
pub mod readiness;
pub mod shutdown;
pub mod status_api;
pub mod storage;
pub use openfunction_telemetry as telemetry;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod traffic;
pub mod watch;
pub mod webhook;
pub mod window;

/// Git commit of the build, from `OPENFUNCTION_COMMIT`; empty when unknown.
pub const COMMIT: &str = match option_env!("OPENFUNCTION_COMMIT") {
    Some(commit) => commit,
    None => "",
};
