//! Tests on a real API server (tier 3).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod charts;
mod contained;
mod controllers;
mod conversion;
mod crds;
mod examples;
mod fields;
mod process;
mod runtime;
mod status_api;
mod support;
mod validation;
mod webhook;
