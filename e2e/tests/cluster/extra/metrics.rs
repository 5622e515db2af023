//! metrics-server.

use crate::support::{ECHO, Namespace, eventually};

#[test]
fn the_processor_time_of_a_pod_is_told() {
    let namespace = Namespace::new("metrics");
    namespace.serve("busy", ECHO);
    let told = eventually("figures", || {
        let output = namespace.command(&["top", "pods", "--no-headers"]).output().unwrap();
        Some(String::from_utf8(output.stdout).unwrap()).filter(|told| told.starts_with("busy-"))
    });
    assert!(told.contains("Mi"), "{told}");
}
