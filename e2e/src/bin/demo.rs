//! `cargo demo`: the local cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::demo::main()
}
