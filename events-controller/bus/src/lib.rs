//! Events as they travel, and the brokers that carry them.
#![warn(missing_docs)]

pub mod bus;
pub mod cloudevent;
pub mod config;
pub mod files;
pub mod inner;
pub mod jetstream;
pub mod kafka;
pub mod memory;
pub mod redis;
pub mod wire;
