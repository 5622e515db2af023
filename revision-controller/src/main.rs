//! The revision-controller.

fn main() -> std::process::ExitCode {
    revision_controller::main()
}
