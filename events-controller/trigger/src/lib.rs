//! What stands behind a Trigger: which subscribers get an event, and its delivery.
#![warn(missing_docs)]

pub mod config;
pub mod engine;
mod process;
pub mod run;

pub use process::main;
