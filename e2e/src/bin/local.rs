//! `cargo local`: the local cluster.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::local::main()
}
