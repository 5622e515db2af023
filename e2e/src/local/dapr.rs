//! Dapr: operator, sentry, placement and sidecar injector, from its own chart.

use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::{
    cache::run,
    go::{module_folder, objects},
    image::Image,
    local::{cluster::Cluster, part::Part},
    parts::{self, DAPR},
};

const NAMESPACE: &str = "dapr-system";
const TAG: &str = "1.14.0";

/// Dapr.
#[derive(Debug)]
pub struct Dapr;

impl Part for Dapr {
    fn name(&self) -> &'static str {
        "dapr"
    }

    fn about(&self) -> &'static str {
        "Dapr with components for cron, Kafka, MQTT, Redis, JetStream and HTTP"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let control_plane = DAPR.built()?;
        let sidecar = parts::DAPRD.built()?;
        let image = |name: &str, folder: &std::path::Path| {
            // The chart names it there.
            Image::of_program_at(format!("dapr/{name}:{TAG}"), &folder.join(name), format!("/{name}"))
        };
        let mut images: Vec<_> =
            ["injector", "operator", "placement", "sentry"].iter().map(|name| image(name, &control_plane)).collect();
        images.push(image("daprd", &sidecar));
        let functions = parts::FUNCTIONS_FRAMEWORK.built()?;
        let version = parts::FUNCTIONS_FRAMEWORK.version;
        // Functions that events call, for those who try it.
        images.extend(
            ["sender", "target", "pub", "sub"]
                .map(|name| Image::of_program(format!("functions-framework/{name}:{version}"), &functions.join(name))),
        );
        let handlers = parts::EVENT_HANDLERS.built()?;
        // What EventSources and Triggers name that ask for Dapr.
        images.extend(
            ["eventsource-handler", "trigger-handler"]
                .map(|name| Image::of_program(format!("openfunction/{name}:v4"), &handlers.join(name))),
        );
        Ok(images)
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let values = [
            "global.tag=1.14.0",
            // Its scheduler wants a volume that outlives it.
            "global.scheduler.enabled=false",
            "global.logAsJson=true",
        ];
        let mut inputs = vec![DAPR.module, DAPR.version, NAMESPACE];
        inputs.extend(values);
        let mut objects = objects("dapr-chart", &inputs, || {
            let chart = module_folder(DAPR.module, DAPR.version)?.join("charts/dapr");
            let mut helm = Command::new(parts::HELM.built()?.join("helm"));
            helm.args(["template", "dapr"]).arg(chart).args(["--namespace", NAMESPACE, "--include-crds"]);
            for value in values {
                helm.args([if value.starts_with("global.tag") { "--set-string" } else { "--set" }, value]);
            }
            parts::documents(&run(&mut helm)?)
        })?;
        // What Helm would do.
        for object in &mut objects {
            let kind = object["kind"].as_str().unwrap_or_default();
            let of_cluster = kind.starts_with("Cluster")
                || ["CustomResourceDefinition", "MutatingWebhookConfiguration", "Namespace"].contains(&kind);
            if !of_cluster && object["metadata"]["namespace"].is_null() {
                object["metadata"]["namespace"] = NAMESPACE.into();
            }
        }
        let namespace = serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        objects.insert(0, namespace);
        Ok(objects)
    }
}
