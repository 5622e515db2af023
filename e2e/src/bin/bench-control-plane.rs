//! `cargo bench-control-plane`: what many Functions cost the controllers and the API server.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::control_plane::main()
}
