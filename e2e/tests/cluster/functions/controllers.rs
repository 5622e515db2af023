//! The controllers themselves: small, and without rights.

use std::{fs, process::Command};

use e2e::{
    local::cluster::Cluster,
    product::{CONTROLLERS, NAMESPACE},
};
use serde_json::Value;

use super::product;

/// Largest image of a controller, compressed as registries keep them.
const LARGEST: usize = 20_000_000;
/// The same of the one that brings ssh and the libraries that it needs.
const LARGEST_WITH_SSH: usize = 25_000_000;

/// The digest of an image in the local registry.
pub fn digest(cluster: &Cluster, image: &str) -> String {
    let (repository, tag) = image.split_once('/').unwrap().1.rsplit_once(':').unwrap();
    let repositories = cluster.registry_storage().join("docker/registry/v2/repositories");
    fs::read_to_string(repositories.join(repository).join("_manifests/tags").join(tag).join("current/link")).unwrap()
}

/// The size of an image in the local registry, which keeps it as it is: compressed, and config left out.
fn size(cluster: &Cluster, image: &str) -> usize {
    let storage = cluster.registry_storage().join("docker/registry/v2");
    let digest = digest(cluster, image);
    let blob = |digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap();
        storage.join("blobs/sha256").join(&hex[..2]).join(hex).join("data")
    };
    let manifest: Value = serde_json::from_slice(&fs::read(blob(&digest)).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    let compressed = |layer: &Value| {
        let gzip = Command::new("gzip").arg("--stdout").arg(blob(layer["digest"].as_str().unwrap())).output().unwrap();
        assert!(gzip.status.success(), "{gzip:?}");
        gzip.stdout.len()
    };
    layers.map(compressed).sum()
}

#[test]
fn the_controllers_are_small_and_run_without_rights() {
    let _installed = product();
    let cluster = Cluster::here().unwrap();
    for name in CONTROLLERS {
        let deployment = cluster.get(&["deployment", name, "-n", NAMESPACE], 5).unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let size = size(&cluster, container["image"].as_str().unwrap());
        println!("{name}: {:.1} MB", size as f64 / 1e6);
        let largest = if *name == "revision-controller" { LARGEST_WITH_SSH } else { LARGEST };
        assert!(size <= largest, "{name}: {size}");
        let context = &container["securityContext"];
        assert_eq!(
            (&context["readOnlyRootFilesystem"], &context["allowPrivilegeEscalation"]),
            (&true.into(), &false.into()),
            "{name}"
        );
        let runs_as_root = pod["securityContext"]["runAsNonRoot"] != true && context["runAsNonRoot"] != true;
        assert!(!runs_as_root, "{name}: {pod}");
    }
}
