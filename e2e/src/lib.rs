//! Tests on a real API server and a real cluster, and the commands that set them up.

pub mod api_server;
pub mod cache;
pub mod debian;
pub mod go;
pub mod image;
pub mod local;
pub mod parts;
pub mod sample;
pub mod verify;

use std::path::PathBuf;

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Into::into).unwrap_or(here)
}
