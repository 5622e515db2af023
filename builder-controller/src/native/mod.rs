//! Engine `native`: one Pod whose init containers are the source and the steps of the strategy, one after the other.

mod observe;
mod pod;

pub use observe::{Failed, Observed, observe};
pub use pod::{Results, SOURCE_STEP, STEP, Settings, escaped, metadata, name, pod, secret};
