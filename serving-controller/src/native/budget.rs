//! The PodDisruptionBudget of a revision.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::{pod, validate::Valid};

/// The budget: a node that is drained takes one pod at a time. A revision of one replica has none, since its node could
/// not be drained then.
pub fn budget(valid: &Valid) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: valid.metadata(&[]),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(pod::selector(valid)), ..LabelSelector::default() }),
            // A pod that is not ready anyway need not be spared.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
