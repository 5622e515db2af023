//! Knative Serving without a networking layer: requests go to revisions' own Services.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::Image,
    local::{cluster::Cluster, ko, part::Part, registry},
    parts,
};

/// Knative Serving.
#[derive(Debug)]
pub struct Knative;

impl Part for Knative {
    fn name(&self) -> &'static str {
        "knative"
    }

    fn about(&self) -> &'static str {
        "Knative Serving"
    }

    fn images(&self) -> Result<Vec<Image>> {
        ko::images(&parts::KNATIVE)
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let config = |path: &str| format!("config/core/{path}");
        let paths = [
            "100-namespace.yaml",
            "200-roles",
            "200-serviceaccount.yaml",
            "300-resources",
            "configmaps",
            "deployments/activator.yaml",
            "deployments/autoscaler.yaml",
            "deployments/controller.yaml",
            "deployments/webhook.yaml",
            "webhooks",
        ]
        .map(config);
        let mut objects = parts::KNATIVE.manifests_of("knative.dev/networking", &["config"])?;
        objects.extend(parts::KNATIVE.manifests_of("knative.dev/caching", &["config"])?);
        objects.extend(parts::KNATIVE.manifests(&paths.each_ref().map(String::as_str))?);
        for object in &mut objects {
            if object["kind"] == "ConfigMap" && object["metadata"]["name"] == "config-deployment" {
                // That of the internet is stood in for by the open one, which only the node knows.
                object["data"]["registries-skipping-tag-resolving"] =
                    json!([registry::OPEN, "index.docker.io"].join(","));
                // Two cores have room for some dozens of functions, which are mostly idle.
                object["data"]["queue-sidecar-cpu-request"] = json!("1m");
            }
        }
        ko::resolved(&parts::KNATIVE, objects)
    }
}
