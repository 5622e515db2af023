//! What stands behind an EventSource: it reads events where they happen, and sends them to a bus, to a sink, or to both.
#![warn(missing_docs)]

pub mod config;
pub mod cron;
mod list;
mod made;
mod mqtt;
mod process;
pub mod run;
mod webhook;

pub use process::main;
