//! The process of the function-controller.

use std::process::ExitCode;

fn main() -> ExitCode {
    function_controller::main()
}
