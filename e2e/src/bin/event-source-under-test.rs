//! The process of an EventSource, for tests that kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    event_source::main()
}
