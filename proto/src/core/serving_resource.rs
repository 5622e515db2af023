//! Serving: one revision of a running function.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Backend, LocalObjectReference, ServingImpl, defaults::WASM_VARIANT};

/// Annotations of a Function that reach its Servings, and that their pods depend on.
pub const PASSED_ON: [&str; 3] = [WASM_VARIANT, "plugins", "plugins.tracing"];

/// Condition of a Serving: zero replicas were asked for, and one runs.
pub const SCALE_TO_ZERO_UNAVAILABLE: &str = "ScaleToZeroUnavailable";
/// Condition of a Serving: what shall scale it cannot.
pub const SCALER_UNAVAILABLE: &str = "ScalerUnavailable";
/// Condition of a Serving: it has options that its engine does not use.
pub const OPTIONS_IGNORED: &str = "OptionsIgnored";
/// Condition of a Serving: settings for every function cannot be read.
pub const SETTINGS_UNREADABLE: &str = "SettingsUnreadable";
/// Condition of a Serving that asks for what is no more, and gets what has taken its place.
pub const MAPPED: &str = "Mapped";
/// Condition of a Serving that nothing calls.
pub const TRIGGER_MISSING: &str = "TriggerMissing";
/// Condition of a Serving: OpenFunction 1.x has made it, and its workload stays as it is; False if that is not possible.
pub const ADOPTED: &str = "Adopted";

/// Conditions of a Serving that a user should know of, though it may well run; they stand on its Function, too.
pub const NOTES: [&str; 7] = [
    SCALE_TO_ZERO_UNAVAILABLE,
    SCALER_UNAVAILABLE,
    OPTIONS_IGNORED,
    SETTINGS_UNREADABLE,
    MAPPED,
    TRIGGER_MISSING,
    ADOPTED,
];
/// Message of a revision that was made a moment ago. A Function says the same before its Serving does, so that it need
/// not be written again.
pub const NOT_READY_YET: &str = "the workload is not ready yet";

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
    /// Whether the revision is parked: it keeps its object and has no workload, scaler or Component. Always written, so
    /// that a revision that somebody else parks comes back. (addition)
    #[serde(default)]
    pub suspend: bool,
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
    /// `Starting`, `Running`, `Failed`, `Timeout` or `Suspended`; empty before anything was made.
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
    /// When the revision was last started after it was suspended; `spec.timeout` counts from here. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// When the revision first ran; one that never did is not worth going back to. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_running_at: Option<Time>,
    /// Standard conditions: `Ready`, and what is worth knowing (`ScaleToZeroUnavailable`, `ScalerUnavailable`,
    /// `OptionsIgnored`, `DriftNotConverging`). (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Where requests for this revision must be sent. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// Between how many replicas the revision is scaled. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
}

impl Serving {
    /// Whether OpenFunction 1.x has made it, and its workload cannot stay as it is ([`ADOPTED`] is False).
    pub fn is_given_up(&self) -> bool {
        let mut conditions = self.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|condition| condition.type_ == ADOPTED && condition.status == "False")
    }
}

/// Between how many replicas a revision is scaled: the spec's bounds, or what they mean where it says nothing or the
/// engine can do no other. (addition)
#[derive(Clone, Copy, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// Replicas that run at least.
    pub min_replicas: i32,
    /// Replicas that run at most; 0 means any number.
    pub max_replicas: i32,
}
