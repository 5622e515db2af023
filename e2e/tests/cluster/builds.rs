//! An image that is built in a pod.

use e2e::local::registry::OPEN;

use crate::support::Namespace;

#[test]
fn an_image_is_built_from_a_dockerfile_pushed_pulled_and_run() {
    let namespace = Namespace::new("build");
    let image = format!("{OPEN}/{}:1", namespace.name);
    namespace.apply(&include_str!("build.yaml").replace("IMAGE", &image).replace("REGISTRY", OPEN));
    namespace.kubectl(&["wait", "--for=condition=Complete", "job/build", "--timeout=120s"]);
    let said = namespace.kubectl(&["logs", "job/build"]);
    assert!(said.contains("containerimage.digest"), "{said}");
    namespace.kubectl(&["run", "built", &format!("--image={image}"), "--restart=Never"]);
    namespace.kubectl(&["wait", "pod/built", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"]);
    assert_eq!(namespace.kubectl(&["logs", "built"]).trim(), "made by a RUN step");
}
