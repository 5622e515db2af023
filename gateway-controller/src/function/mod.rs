//! A Function's route: its HTTPRoutes, the Service with its name, and its addresses.

pub mod conflict;
mod doors;
mod features;
pub mod grants;
mod losers;
mod moving;
mod reconcile;
mod rivals;
mod route;
mod service;
mod shift;
mod status;
mod unanswered;

pub use losers::Losers;
pub use reconcile::reconcile;
pub use rivals::{claimants, rivals};
pub use route::Options;
pub use status::{is_answered, is_taken_by};
pub use unanswered::Unanswered;
