//! Parts that are there only when they are asked for (`cargo local up --with all`).

mod brokers;
mod dapr;
mod keda;
mod metrics;
mod shipwright;
mod traefik;
