//! What the OpenFunction controllers agree on: the custom resources of the groups `core.openfunction.io`,
//! `networking.openfunction.io` and `events.openfunction.io`, and the gRPC status API.
//!
//! The doc comments of the resource types are the texts of `kubectl explain`; `crdgen` prints the
//! CustomResourceDefinitions. Fields marked **(addition)** do not exist in OpenFunction 1.2.
#![warn(missing_docs)]
#![expect(clippy::duplicated_attributes, reason = "every column of a resource is a `printcolumn` with a `type_`")]

pub mod core;
pub mod crds;
pub mod duration;
pub mod events;
pub mod gateway_api;
pub mod networking;
mod schema;
pub mod status_api;

pub use duration::GoDuration;

/// A point in time as the status API carries it.
pub fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}
