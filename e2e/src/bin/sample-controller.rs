//! A controller that does nothing.

fn main() -> std::process::ExitCode {
    e2e::sample::main()
}
