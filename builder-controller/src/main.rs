//! The process of the builder-controller.

use std::process::ExitCode;

fn main() -> ExitCode {
    builder_controller::main()
}
