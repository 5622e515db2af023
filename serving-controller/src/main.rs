//! The process of the serving-controller.

use std::process::ExitCode;

fn main() -> ExitCode {
    serving_controller::main()
}
