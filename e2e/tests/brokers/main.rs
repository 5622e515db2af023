//! The event data plane on real brokers, without Kubernetes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod bad;
mod extra;
mod jetstream;
mod programs;
mod stories;
mod support;
