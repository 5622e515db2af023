//! The Service of a revision, for engines that run pods themselves.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{pod, validate::Valid};

/// Port of the Service.
pub const PORT: i32 = 80;

/// The Service by which a proxy finds the pods of a revision, each of them.
pub fn headless(valid: &Valid) -> Service {
    let mut service = service(valid);
    if let Some(spec) = &mut service.spec {
        spec.cluster_ip = Some("None".to_owned());
        // Names lead to pods, so the port is theirs.
        spec.ports.iter_mut().flatten().for_each(|port| {
            port.port = valid.port;
            port.name = Some("function-port".to_owned());
        });
    }
    service
}

/// The Service.
pub fn service(valid: &Valid) -> Service {
    Service {
        metadata: valid.metadata(&[]),
        spec: Some(ServiceSpec {
            selector: Some(pod::selector(valid)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: PORT,
                target_port: Some(IntOrString::Int(valid.port)),
                protocol: Some("TCP".to_owned()),
                app_protocol: valid.app_protocol.map(str::to_owned),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
