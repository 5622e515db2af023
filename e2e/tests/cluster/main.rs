//! Tests on the local cluster (tier 4): what a user of Kubernetes expects of it. `cargo local up` comes first.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod builds;
mod extra;
mod functions;
mod gateway;
mod git;
mod images;
mod knative;
mod support;
mod workloads;
