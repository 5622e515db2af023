//! Children come back when they are deleted, and go with their Function.

use serde_json::Value;

use e2e::demo;

use super::Deployed;

/// Kinds of children of a Function that runs.
const KINDS: &[&str] = &["servings", "deployments", "services", "httproutes"];

impl Deployed {
    /// Kind, name and uid of every child.
    fn children(&self) -> Vec<(String, String, String)> {
        let list: Value =
            serde_json::from_str(&self.namespace.kubectl(&["get", &KINDS.join(","), "-o", "json"])).unwrap();
        let text = |object: &Value, path: &str| object.pointer(path).unwrap().as_str().unwrap().to_owned();
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| (text(item, "/kind"), text(item, "/metadata/name"), text(item, "/metadata/uid")))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fn32_any_child_that_is_deleted_comes_back_and_all_go_with_the_function() {
    let deployed = Deployed::new("children", demo::sample("ready-image").unwrap());
    deployed.is_ready();
    let children = deployed.children();
    let kinds: Vec<_> = children.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(kinds, ["Serving", "Deployment", "Service", "Service", "HTTPRoute", "HTTPRoute"]);
    // Last those that others go with.
    for (kind, name, uid) in children.iter().rev() {
        deployed.namespace.kubectl(&["delete", kind, name]);
        deployed.eventually(&format!("{kind} {name} comes back"), || {
            let now = deployed.children();
            now.iter().any(|(k, n, u)| (k, n) == (kind, name) && u != uid).then_some(())
        });
        deployed.eventually("it answers again", || {
            let ready = deployed.condition("Ready");
            (ready["status"] == "True").then_some(())
        });
    }
    deployed.eventually("every child is there again", || (deployed.children().len() == children.len()).then_some(()));
    deployed.is_ready();
    deployed.is_served("/").await;

    deployed.namespace.kubectl(&["delete", "fn", &deployed.name]);
    deployed.eventually("every child goes", || deployed.children().is_empty().then_some(()));
    let pods = || deployed.namespace.kubectl(&["get", "pods", "-o", "name"]);
    deployed.namespace.kubectl(&["wait", "--for=delete", "pods", "--all", "--timeout=60s"]);
    assert_eq!(pods(), "");
}
