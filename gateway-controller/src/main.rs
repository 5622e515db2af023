//! The process of the gateway-controller, and what the chart runs before it is uninstalled.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("delete-default-gateway") => gateway_controller::delete_default_gateway(),
        _ => gateway_controller::main(),
    }
}
