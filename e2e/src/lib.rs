//! Tests on a real API server and a real cluster, and the commands that set them up.

pub mod api_server;
pub mod cache;
pub mod control_plane;
pub mod debian;
pub mod demo;
pub mod go;
pub mod image;
pub mod local;
pub mod parts;
pub mod product;
pub mod sample;
pub mod verify;

use std::{env, path::PathBuf, process::Command};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Into::into).unwrap_or(here)
}

/// Cargo in the root of the repository, as if nobody had called it from within Cargo: build scripts that look at the
/// variables of a package (ring's) would otherwise run again each time.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for (name, _) in env::vars_os() {
        let of_package = name.to_str().is_some_and(|name| {
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        });
        if of_package {
            cargo.env_remove(name);
        }
    }
    cargo
}
