//! Gateway API with Contour and Envoy, from Contour's own manifests.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cache::run,
    go,
    image::{Image, Layer, base, copy},
    local::{
        cluster::{Cluster, NODE_ADDRESS},
        part::Part,
    },
    parts,
};

/// Contour and Envoy.
#[derive(Debug)]
pub struct Contour;

impl Part for Contour {
    fn name(&self) -> &'static str {
        "contour"
    }

    fn about(&self) -> &'static str {
        "Gateway API with Contour and Envoy"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut contour = Image::of_program("projectcontour/contour:v1.33.8", &parts::CONTOUR.built()?.join("contour"));
        contour = contour.with(vec![crate::image::link("/bin/contour", "/usr/bin/contour")]);
        let envoy = Image {
            name: "envoyproxy/envoy:distroless-v1.38.9".to_owned(),
            layers: vec![
                Layer::Debian(&["libc6"]),
                base(),
                Layer::Files(vec![copy("/usr/local/bin/envoy", parts::envoy()?)]),
            ],
            entrypoint: vec!["envoy".to_owned()],
            user: "65532:65532",
            ..Image::default()
        };
        Ok(vec![contour, envoy])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let (module, version) = parts::GATEWAY_API;
        let mut objects = go::manifests("gateway-api", module, version, &["config/crd/experimental"])?;
        objects.retain(|object| object["kind"] == "CustomResourceDefinition");
        objects.extend(parts::CONTOUR.manifests(&[
            "examples/contour/00-common.yaml",
            "examples/contour/01-crds.yaml",
            "examples/contour/02-job-certgen.yaml",
            "examples/contour/02-rbac.yaml",
            "examples/contour/02-role-contour.yaml",
            "examples/contour/02-service-contour.yaml",
            "examples/contour/02-service-envoy.yaml",
            "examples/gateway/01-gatewayclass.yaml",
            "examples/gateway/02-gateway.yaml",
            "examples/gateway/03-contour-config.yaml",
            "examples/contour/03-contour.yaml",
            "examples/contour/03-envoy.yaml",
        ])?);
        // A machine that is busy must not take the gateway from everybody.
        for object in objects.iter_mut().filter(|object| object["kind"] == "DaemonSet") {
            let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut();
            for probe in containers.into_iter().flatten().filter_map(|container| container.get_mut("readinessProbe")) {
                probe["failureThreshold"] = json!(30);
                probe["timeoutSeconds"] = json!(5);
            }
        }
        Ok(objects)
    }

    fn after(&self, cluster: &Cluster) -> Result<()> {
        give_address(cluster, "projectcontour", "envoy", NODE_ADDRESS)
    }

    fn problems(&self, cluster: &Cluster) -> Vec<String> {
        problems(cluster, "projectcontour", "contour")
    }
}

/// Gives a Service of type `LoadBalancer` an address, which nobody else does here. The proxy answers on it.
///
/// # Errors
/// What the API server refuses.
pub fn give_address(cluster: &Cluster, namespace: &str, service: &str, address: &str) -> Result<()> {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}).to_string();
    let patch = ["patch", "service", service, "--subresource=status", "-p", &status];
    run(cluster.kubectl().args(["-n", namespace]).args(patch)).map(drop)
}

/// Why a Gateway does not work.
pub fn problems(cluster: &Cluster, namespace: &str, name: &str) -> Vec<String> {
    let works = cluster.get(&["gateway", name, "-n", namespace], 2).map(|gateway| {
        let conditions = gateway.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let programmed = conditions.into_iter().any(|c| c["type"] == "Programmed" && c["status"] == "True");
        programmed && gateway.pointer("/status/addresses/0").is_some()
    });
    match works {
        Ok(true) => Vec::new(),
        Ok(false) => vec![format!("Gateway {namespace}/{name} is not programmed, or has no address")],
        Err(error) => vec![format!("Gateway {namespace}/{name} cannot be read: {}", error.root_cause())],
    }
}
