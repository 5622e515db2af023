//! `cargo verify`: everything that must hold before work lands.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::verify::main()
}
