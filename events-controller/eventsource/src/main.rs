//! Reads events where they happen, and sends them to a bus, to a sink, or to both.

use std::process::ExitCode;

fn main() -> ExitCode {
    event_source::main()
}
