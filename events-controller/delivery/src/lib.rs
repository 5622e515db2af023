//! What the processes of events share: how they take events, deliver them, and tell of it.
#![warn(missing_docs)]

pub mod deliver;
pub mod duration;
pub mod metrics;
pub mod process;
pub mod take;
pub mod trace;
