//! Takes the events of a Trigger from its bus and delivers them to its subscribers.

use std::process::ExitCode;

fn main() -> ExitCode {
    event_trigger::main()
}
