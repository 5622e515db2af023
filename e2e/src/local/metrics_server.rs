//! metrics-server: `kubectl top`, and scaling by CPU and memory.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cache::run,
    image::Image,
    local::{cluster::Cluster, part::Part, registry::OPEN},
    parts,
};

/// metrics-server.
#[derive(Debug)]
pub struct MetricsServer;

impl Part for MetricsServer {
    fn name(&self) -> &'static str {
        "metrics-server"
    }

    fn about(&self) -> &'static str {
        "kubectl top, and scaling by CPU and memory"
    }

    fn images(&self) -> Result<Vec<Image>> {
        Ok(vec![Image::of_program(image(), &parts::METRICS_SERVER.built()?.join("metrics-server"))])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let mut objects = parts::METRICS_SERVER.kustomized("manifests/base")?;
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            container["image"] = json!(format!("{OPEN}/{}", image()));
            // The authority of the kubelet's certificate is in no pod.
            container["args"].as_array_mut().into_iter().for_each(|args| args.push(json!("--kubelet-insecure-tls")));
            // Its first figures come after two rounds; there is no need to wait 20 s before that.
            container["readinessProbe"]["initialDelaySeconds"] = json!(1);
            container["readinessProbe"]["periodSeconds"] = json!(1);
            container["readinessProbe"]["failureThreshold"] = json!(60);
        }
        Ok(objects)
    }

    fn problems(&self, cluster: &Cluster) -> Vec<String> {
        let served =
            run(cluster.kubectl().args(["get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes", "--request-timeout=2s"]));
        served.err().map(|_| "the metrics API does not answer".to_owned()).into_iter().collect()
    }
}

fn image() -> String {
    format!("metrics-server/metrics-server:{}", parts::METRICS_SERVER.version)
}
