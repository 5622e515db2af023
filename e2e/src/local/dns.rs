//! `CoreDNS`: Services by name, and the machine's registries.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    image::Image,
    local::{
        cluster::{Cluster, DNS_ADDRESS, NODE_ADDRESS},
        part::Part,
        registry::{HOST, OPEN},
    },
    parts,
};

const IMAGE: &str = "coredns/coredns:v1.12.4";

/// The cluster's DNS.
#[derive(Debug)]
pub struct Dns;

impl Part for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn about(&self) -> &'static str {
        "CoreDNS"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let mut image = Image::of_program(IMAGE, &parts::COREDNS.built()?.join("coredns"));
        // It listens on port 53.
        image.user = "0:0";
        Ok(vec![image])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        let objects = include_str!("dns.yaml");
        let replaced = objects
            .replace("NODE_ADDRESS", NODE_ADDRESS)
            .replace("REGISTRY_HOST", HOST)
            .replace("DNS_ADDRESS", DNS_ADDRESS)
            .replace("IMAGE", &format!("{OPEN}/{IMAGE}"));
        let mut objects = parts::documents(&replaced)?;
        for object in &mut objects {
            if object["metadata"]["namespace"].is_null()
                && !object["kind"].as_str().unwrap_or_default().starts_with("Cluster")
            {
                object["metadata"]["namespace"] = json!("kube-system");
            }
        }
        Ok(objects)
    }
}
