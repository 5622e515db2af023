//! Knative Serving without a networking layer: requests go to revisions' own Services.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::Image,
    local::{cluster::Cluster, part::Part, registry},
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

    fn needs(&self) -> &'static [&'static str] {
        &["node"]
    }

    fn images(&self) -> Result<Vec<Image>> {
        let programs = parts::KNATIVE.built()?;
        let image = |name: &str| Image::of_program(image_of(name), &programs.join(name));
        Ok(["activator", "autoscaler", "controller", "queue", "webhook"].into_iter().map(image).collect())
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
                object["data"]["registries-skipping-tag-resolving"] = json!(registry::OPEN);
            }
        }
        // Go programs are named by their package there.
        let text = Value::Array(objects).to_string();
        let mut parts = text.split("ko://knative.dev/serving/cmd/");
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(part.len());
            replaced += &format!("{}/{}{}", registry::OPEN, image_of(&part[..end]), &part[end..]);
        }
        Ok(serde_json::from_str(&replaced)?)
    }
}

fn image_of(program: &str) -> String {
    format!("knative/{program}:{}", parts::KNATIVE.version)
}
