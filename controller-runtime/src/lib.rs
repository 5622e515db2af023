//! What every OpenFunction controller would otherwise write again: arguments, telemetry, probes and metrics, the lease,
//! shutdown, shared watches, optional APIs, server-side apply, conditions, events, names, webhooks with their
//! certificates, the status API and the reconcile driver. A controller's `main` is [`process::main`].
#![warn(missing_docs)]

pub mod admin;
pub mod apply;
pub mod args;
pub mod client;
pub mod conditions;
pub mod contained;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
pub mod watch;
