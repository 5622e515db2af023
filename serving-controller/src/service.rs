//! The Service of a revision, for engines that run pods themselves.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{pod, validate::Valid};

/// Port of the Service.
pub const PORT: i32 = 80;

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
