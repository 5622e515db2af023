//! Builder: one build of one image.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{BuildImpl, LocalObjectReference, SourceResult};
use crate::GoDuration;

/// A Builder is one build of one image. The function controller makes it; a user may only cancel it by `spec.state`.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta2",
    kind = "Builder",
    shortname = "fb",
    namespaced,
    status = "BuilderStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "BuildDuration", type_ = "string", json_path = ".status.buildDuration"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BuilderSpec {
    /// Reference that the image is pushed to.
    pub image: String,
    /// Secret with the credentials of the image's registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<LocalObjectReference>,
    /// `Cancelled` stops the build; every other value means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How the image is built; its history limits have no effect on a Builder.
    #[serde(flatten)]
    pub build: BuildImpl,
}

/// What became of a build.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuilderStatus {
    /// Always `Build`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `Building`, `Succeeded`, `Failed`, `Timeout` or `Canceled`; empty before the build has started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why the build is in this state, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the build is in this state, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How long the build took, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_duration: Option<GoDuration>,
    /// Objects that run the build, by what they are (`shipwright.io/build`, `shipwright.io/buildRun`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_ref: BTreeMap<String, String>,
    /// The image that was pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<BuilderOutput>,
    /// The sources that were used.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceResult>,
    /// Generation of the Builder that this status speaks of. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard conditions: `Succeeded`. (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The step that failed. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<BuildFailure>,
}

/// Whether a build in this state has ended, well or not.
pub fn is_over(state: Option<&str>) -> bool {
    matches!(state, Some("Succeeded" | "Failed" | "Timeout" | "Canceled"))
}

/// The image that a build pushed.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuilderOutput {
    /// Digest of the image, `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Compressed size of the image in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}

/// The step at which a build failed. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildFailure {
    /// Name of the step.
    pub step: String,
    /// Exit code of the step, if it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What went wrong, and what can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines of the step's log: at most 20, and at most 4 KiB.
    #[schemars(length(max = 4096))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
}
