//! The process of the events-controller.

use std::process::ExitCode;

fn main() -> ExitCode {
    events_controller::main()
}
