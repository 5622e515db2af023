//! Shipwright on Tekton.

use e2e::local::{git::NAMESPACE, registry::OPEN};

use crate::{
    git::{Work, address},
    support::Namespace,
};

#[test]
fn a_build_run_makes_an_image_from_git() {
    let namespace = Namespace::new("shipwright");
    let work = Work::of(
        &namespace.name,
        &[("Dockerfile", "FROM busybox\nRUN echo \"from git\" >/said\nCMD [\"cat\", \"/said\"]\n")],
    );
    work.git(&["push", "--quiet", &format!("http://{}/{}.git", address(), namespace.name), "main"]).unwrap();
    let image = format!("{OPEN}/{}:1", namespace.name);
    namespace.apply(
        &include_str!("shipwright.yaml")
            .replace("SOURCE", &format!("http://git.{NAMESPACE}.svc.cluster.local/{}.git", namespace.name))
            .replace("IMAGE", &image)
            .replace("REGISTRY", OPEN),
    );
    namespace.kubectl(&["wait", "buildrun/run", "--for=condition=Succeeded", "--timeout=120s"]);
    let digest = namespace.kubectl(&["get", "buildrun", "run", "-o", "jsonpath={.status.output.digest}"]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    let built = format!("--image={image}");
    namespace.kubectl(&["run", "built", &built, "--restart=Never"]);
    namespace.kubectl(&["wait", "pod/built", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
    assert_eq!(namespace.kubectl(&["logs", "built"]).trim(), "from git");
}
