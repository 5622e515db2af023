//! Traefik, a second implementation of the Gateway API, from the manifests of its own conformance tests.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::Image,
    local::{
        cluster::{Cluster, SECOND_ADDRESS},
        gateway,
        part::Part,
    },
    parts::TRAEFIK,
};

/// Traefik.
#[derive(Debug)]
pub struct Traefik;

impl Part for Traefik {
    fn name(&self) -> &'static str {
        "traefik"
    }

    fn about(&self) -> &'static str {
        "Traefik, a second gateway (172.30.0.2)"
    }

    fn needs(&self) -> &'static [&'static str] {
        // The kinds of the Gateway API come with it.
        &["contour"]
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut image = Image::of_program("traefik/traefik:latest", &TRAEFIK.built()?.join("traefik"));
        // It listens on ports 80 and 443.
        image.user = "0:0";
        Ok(vec![image])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let folder = "integration/fixtures/gateway-api-conformance";
        let mut objects =
            TRAEFIK.manifests(&[&format!("{folder}/01-rbac.yml"), &format!("{folder}/02-traefik.yml")])?;
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            container["imagePullPolicy"] = json!("IfNotPresent");
            container["readinessProbe"] = json!({"periodSeconds": 1, "tcpSocket": {"port": "web"}});
        }
        objects.push(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "traefik", "namespace": "traefik"},
            "spec": {"gatewayClassName": "traefik", "listeners": [
                {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}},
            ]},
        }));
        Ok(objects)
    }

    fn after(&self, cluster: &Cluster) -> Result<()> {
        gateway::give_address(cluster, "traefik", "traefik", SECOND_ADDRESS)
    }

    fn problems(&self, cluster: &Cluster) -> Vec<String> {
        gateway::problems(cluster, "traefik", "traefik")
    }
}
