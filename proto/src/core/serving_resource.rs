//! Serving: one revision of a running function.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Backend, LocalObjectReference, ServingImpl};

/// A Serving is one revision of a running function. The function controller makes it.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta2",
    kind = "Serving",
    namespaced,
    status = "ServingStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServingSpec {
    /// Version of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The image that runs, by digest where it is known.
    pub image: String,
    /// Secret with the credentials to pull the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<LocalObjectReference>,
    /// How the image runs.
    #[serde(flatten)]
    pub serving: ServingImpl,
}

/// What became of a revision.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServingStatus {
    /// Always `Serving`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `Starting`, `Running`, `Failed` or `Timeout`; empty before anything was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why the revision is in this state, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the revision is in this state, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Objects that run the revision, by what they are (`serving.knative.dev/service`, `Async/workload`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_ref: BTreeMap<String, String>,
    /// Name of the Service of the revision (not a URL, for compatibility: core-api §6.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Generation of the Serving that this status speaks of. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the revision was last started from the parked state; `spec.timeout` counts from here. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// Standard conditions: `Ready`. (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where requests for this revision must be sent. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
}
