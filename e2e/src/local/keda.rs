//! KEDA: operator, metrics adapter and admission, from its own manifests.

use anyhow::Result;
use serde_json::Value;

use crate::{
    cache::run,
    image::Image,
    local::{cluster::Cluster, part::Part},
    parts,
};

/// The manifests that are not released name this tag.
const TAG: &str = "main";

/// KEDA.
#[derive(Debug)]
pub struct Keda;

impl Part for Keda {
    fn name(&self) -> &'static str {
        "keda"
    }

    fn about(&self) -> &'static str {
        "KEDA, which scales by events"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let programs = parts::KEDA.built()?;
        let image = |name: &str, program: &str, path: &str| {
            // The manifests name it there.
            Image::of_program_at(format!("kedacore/{name}:{TAG}"), &programs.join(program), path.to_owned())
        };
        Ok(vec![
            image("keda", "operator", "/keda"),
            image("keda-metrics-apiserver", "adapter", "/keda-adapter"),
            image("keda-admission-webhooks", "webhooks", "/keda-admission-webhooks"),
        ])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        parts::KEDA.kustomized("config/default")
    }

    fn problems(&self, cluster: &Cluster) -> Vec<String> {
        let path = "/apis/external.metrics.k8s.io/v1beta1";
        let served = run(cluster.kubectl().args(["get", "--raw", path, "--request-timeout=2s"]));
        served.err().map(|_| "the external metrics API does not answer".to_owned()).into_iter().collect()
    }
}
