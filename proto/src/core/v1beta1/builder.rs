//! Builder as v1beta1 writes it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ShipwrightEngine, SourceRepo};
use crate::{
    GoDuration,
    core::{BuilderOutput, LocalObjectReference, SourceResult},
};

/// A Builder is one build of one image. The function controller makes it; a user may only cancel it by `spec.state`.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta1",
    kind = "Builder",
    shortname = "fb",
    namespaced,
    status = "BuilderStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
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
    /// Image of the builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Secret with the credentials to pull the builder image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_credentials: Option<LocalObjectReference>,
    /// Environment variables of the build.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the source is.
    pub src_repo: SourceRepo,
    /// Path of the Dockerfile in the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Which build strategy runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipwright: Option<ShipwrightEngine>,
    /// Parameters of the build strategy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// How long the whole build may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// Port of the function; it has no effect on a build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// What became of a build.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuilderStatus {
    /// Always `Build`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// `Building`, `Succeeded`, `Failed`, `Timeout` or `Canceled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why the build is in this state, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Objects that run the build, by what they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_ref: BTreeMap<String, String>,
    /// The image that was pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<BuilderOutput>,
    /// The sources that were used.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceResult>,
}
