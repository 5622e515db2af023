//! Shipwright Build, without its conversion webhook: only `v1beta1` is served.

use anyhow::Result;
use serde_json::Value;

use crate::{
    image::{Content, File, Image, Layer},
    local::{cluster::Cluster, images, ko, part::Part},
    parts::SHIPWRIGHT,
};

/// Shipwright.
#[derive(Debug)]
pub struct Shipwright;

impl Part for Shipwright {
    fn name(&self) -> &'static str {
        "shipwright"
    }

    fn about(&self) -> &'static str {
        "Shipwright Build"
    }

    fn needs(&self) -> &'static [&'static str] {
        &["tekton"]
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut images = ko::images(&SHIPWRIGHT)?;
        for image in &mut images {
            image.user = "1000:1000";
            let users = "root:x:0:0:root:/root:/bin/sh\nshp:x:1000:1000:shp:/shared-home:/bin/sh\n";
            image.layers.push(Layer::Files(vec![
                File("/shared-home".to_owned(), Content::Scratch),
                File("/etc/passwd".to_owned(), Content::Text(users.to_owned())),
            ]));
            image.environment.push("HOME=/shared-home".to_owned());
            if image.name.starts_with("shipwright/git:") {
                // It calls them.
                image
                    .layers
                    .insert(0, Layer::Debian(&["git", "git-lfs", "openssh-client", "dash", "sed", "coreutils"]));
            }
            if image.name.starts_with("shipwright/waiter:") {
                // Local source comes by tar.
                image.layers.push(images::busybox()?);
            }
        }
        Ok(images)
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let paths = [
            "100-namespace.yaml",
            "crds",
            "200-role.yaml",
            "300-rolebinding.yaml",
            "400-serviceaccount.yaml",
            "500-controller.yaml",
            "clusterrole-aggregate-edit.yaml",
            "clusterrole-aggregate-view.yaml",
        ]
        .map(|path| format!("deploy/{path}"));
        let mut objects = ko::resolved(&SHIPWRIGHT, SHIPWRIGHT.manifests(&paths.each_ref().map(String::as_str))?)?;
        for object in objects.iter_mut().filter(|object| object["kind"] == "CustomResourceDefinition") {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove("conversion");
            }
        }
        Ok(objects)
    }
}
