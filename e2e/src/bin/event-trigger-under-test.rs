//! The process of a Trigger, for tests that kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    event_trigger::main()
}
