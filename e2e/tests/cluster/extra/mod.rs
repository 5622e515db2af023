//! Parts that are there only when they are asked for (`cargo local up --with all`).

mod async_functions;
mod autoscaler;
mod brokers;
mod build_runs;
mod dapr;
mod dapr_functions;
mod events;
mod go_functions;
mod keda;
mod many_builds;
mod metrics;
mod migration;
mod scaled_object;
mod shipwright;
mod traefik;
mod wasm;
