//! Images that stand in for public ones, and images from registries that want credentials or have a certificate of their
//! own.

use e2e::{
    cache::run,
    local::{
        cluster::Cluster,
        node,
        registry::{PASSWORD, PRIVATE, TLS, USER},
    },
};
use serde_json::Value;

use crate::support::{Namespace, eventually};

/// Copies busybox to another registry of the machine.
pub fn copy_busybox(to: &str, arguments: &[&str]) {
    let mut skopeo = node::program("skopeo").unwrap();
    skopeo.env("SSL_CERT_FILE", Cluster::here().unwrap().path("credentials/ca.crt"));
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]).args(arguments);
    run(skopeo.args(["docker://172.30.0.1:5000/library/busybox:latest", to])).unwrap();
}

/// A pod of an image that ends at once.
fn start(namespace: &Namespace, name: &str, image: &str, overrides: &str) {
    let overrides = format!("--overrides={overrides}");
    let image = format!("--image={image}");
    namespace.kubectl(&["run", name, &image, "--restart=Never", &overrides, "--", "true"]);
}

fn waits_because(namespace: &Namespace, name: &str) -> Option<String> {
    let pod: Value = serde_json::from_str(&namespace.kubectl(&["get", "pod", name, "-o", "json"])).unwrap();
    Some(pod.pointer("/status/containerStatuses/0/state/waiting/reason")?.as_str()?.to_owned())
}

#[test]
fn node_and_python_run_a_program() {
    let namespace = Namespace::new("languages");
    let run = |name: &str, image: &str, program: &[&str]| namespace.run_image(name, image, program).trim().to_owned();
    assert_eq!(run("node", "node", &["node", "--print", "new URL('http://a/b').pathname"]), "/b");
    assert_eq!(run("node-18", "node:18", &["node", "--print", "process.versions.node.split('.')[0]"]), "18");
    assert_eq!(run("python", "python", &["python", "-c", "import json; print(json.dumps([1]))"]), "[1]");
    assert_eq!(run("python-3", "python:3", &["python", "-c", "import sys; print(sys.version_info.major)"]), "3");
}

#[test]
fn a_private_image_is_pulled_with_its_secret_and_not_without() {
    let namespace = Namespace::new("private");
    let repository = &namespace.name;
    let to = format!("docker://172.30.0.1:5001/{repository}:1");
    copy_busybox(&to, &["--dest-tls-verify=false", "--dest-creds", &format!("{USER}:{PASSWORD}")]);
    let image = format!("{PRIVATE}/{repository}:1");
    start(&namespace, "without", &image, "{}");
    eventually("the refusal of a pull", || {
        waits_because(&namespace, "without").filter(|reason| reason == "ErrImagePull")
    });
    let (server, user, password) = (
        format!("--docker-server={PRIVATE}"),
        format!("--docker-username={USER}"),
        format!("--docker-password={PASSWORD}"),
    );
    namespace.kubectl(&["create", "secret", "docker-registry", "pull", &server, &user, &password]);
    start(&namespace, "with", &image, r#"{"spec": {"imagePullSecrets": [{"name": "pull"}]}}"#);
    namespace.kubectl(&["wait", "pod/with", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
}

#[test]
fn an_image_is_pulled_from_a_registry_with_a_certificate_of_its_own_authority() {
    let namespace = Namespace::new("tls");
    let repository = &namespace.name;
    copy_busybox(&format!("docker://172.30.0.1:5002/{repository}:1"), &[]);
    start(&namespace, "pulls", &format!("{TLS}/{repository}:1"), "{}");
    namespace.kubectl(&["wait", "pod/pulls", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
}
