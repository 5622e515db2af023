//! Tekton Pipelines, on which Shipwright runs builds.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::{Image, Layer, link},
    local::{cluster::Cluster, ko, part::Part, registry::OPEN},
    parts::TEKTON,
};

/// Tekton.
#[derive(Debug)]
pub struct Tekton;

impl Part for Tekton {
    fn name(&self) -> &'static str {
        "tekton"
    }

    fn about(&self) -> &'static str {
        "Tekton Pipelines"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut images = ko::images(&TEKTON)?;
        for image in images.iter_mut().filter(|image| image.name.starts_with("tekton/resolvers:")) {
            // Its manifest starts it under tini, and it calls git.
            image.layers.insert(0, Layer::Debian(&["tini", "git", "dash", "sed", "coreutils"]));
            image.layers.push(Layer::Files(vec![link("/usr/sbin/tini", "../bin/tini")]));
        }
        Ok(images)
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let folders = ["config/100-namespace", "config/300-crds", "config", "config/resolvers"];
        let mut objects = ko::resolved(&TEKTON, TEKTON.manifests(&folders)?)?;
        objects.retain(|object| object["kind"] != "HorizontalPodAutoscaler");
        for object in &mut objects {
            if let Some(arguments) =
                object.pointer_mut("/spec/template/spec/containers/0/args").and_then(Value::as_array_mut)
            {
                // The shell of steps with a script is named by a digest that nobody has here.
                let shell = arguments.iter().position(|argument| argument == "-shell-image");
                if let Some(image) = shell.and_then(|place| arguments.get_mut(place + 1)) {
                    *image = json!(format!("{OPEN}/library/busybox:latest"));
                }
            }
        }
        Ok(objects)
    }
}
