//! Function: the only object that a user writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Backend, Blocker, BuildImpl, LocalObjectReference, RevisionPolicy, ServingImpl, SourceResult};
use crate::{GoDuration, gateway_api::HttpPathMatch};

/// A Function is source code or an image that is built, run, scaled and routed.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta2",
    kind = "Function",
    shortname = "fn",
    namespaced,
    status = "FunctionStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "BuildState", type_ = "string", json_path = ".status.build.state"),
    printcolumn(name = "ServingState", type_ = "string", json_path = ".status.serving.state"),
    printcolumn(name = "Builder", type_ = "string", json_path = ".status.build.resourceRef"),
    printcolumn(name = "Serving", type_ = "string", json_path = ".status.serving.resourceRef"),
    printcolumn(name = "Address", type_ = "string", json_path = r#".status.addresses[?(@.type=="Internal")].value"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Blocked By", type_ = "string", json_path = ".status.blockedBy[0].message", priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: must be no more than 63 characters: children carry it in a label")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.build) || has(self.serving)").field_path(".serving")
        .reason(Reason::FieldValueRequired).message("must be specified when spec.build is not"),
    validation = Rule::new("!has(self.build) || !has(self.imageCredentials) || (has(self.imageCredentials.name) && self.imageCredentials.name != '')")
        .field_path(".imageCredentials.name").reason(Reason::FieldValueRequired)
        .message("must be specified when spec.build is: the image is pushed with it"),
    validation = Rule::new("!has(self.serving) || !has(self.version) || self.version.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?$')")
        .field_path(".version").reason(Reason::FieldValueInvalid)
        .message("must be a label value: at most 63 letters, digits, '-', '_' or '.', the first and last a letter or digit"),
)]
pub struct FunctionSpec {
    /// Free text that tells the versions of a function apart; it becomes a label. Absent means `latest`.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Image that the build pushes to and that the function runs.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self != ''").reason(Reason::FieldValueRequired).message("must be specified"))]
    pub image: String,
    /// Secret with the credentials to push and pull the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<LocalObjectReference>,
    /// What runs the image: `OCIContainer`, or `wasmedge` in any case of letters.
    #[serde(default = "oci_container")]
    pub workload_runtime: String,
    /// How the image is built; absent means that it exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildImpl>,
    /// How the image runs; absent means that it is only built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingImpl>,
    /// Stops every change to the function's children until it is taken away; what runs goes on. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How many revisions without traffic are kept for a rollback; absent means 3. (addition)
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    /// Rolls out new commits and images by itself; the typed form of the annotations
    /// `openfunction.io/revision-controller` and `openfunction.io/revision-controller-params`. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_policy: Option<RevisionPolicy>,
}

pub(super) fn oci_container() -> String {
    "OCIContainer".to_owned()
}

/// What became of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionStatus {
    /// The present build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<FunctionCondition>,
    /// The present revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<FunctionCondition>,
    /// Revisions with traffic or a tag, and where their requests go; the gateway controller renders this. (addition)
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficTarget>,
    /// The HTTPRoute of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<FunctionRouteStatus>,
    /// Addresses of the function, one for each hostname and path, external ones first.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<FunctionAddress>,
    /// Image and source versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionStatus>,
    /// The sources that the present image was built from.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceResult>,
    /// What holds the function back, the deepest failing child first. (addition)
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<Blocker>,
    /// Generation of the Function that this status speaks of. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Standard conditions: `BuildReady`, `ServingReady`, `RouteReady`, `RevisionTracking` and their summary `Ready`. (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// State of the build or serving side of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionCondition {
    /// `Created`, `Building`, `Starting`, `Running`, `Succeeded`, `Failed`, `Skipped`, `Timeout` or `Canceled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Why it is in this state, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is in this state, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Name of the Builder or Serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_ref: Option<String>,
    /// Name of the last Serving that was Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_resource_ref: Option<String>,
    /// Hash of the spec that the Builder or Serving was made from. Compare it for equality only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_hash: Option<String>,
    /// Name of the Service of the Serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long the build took, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_duration: Option<GoDuration>,
}

/// One revision with traffic or a tag. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficTarget {
    /// Name of the revision (its Serving).
    pub revision: String,
    /// Share of requests in percent.
    pub percent: i32,
    /// Tag that gives the revision an address of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Where its requests go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
}

/// The HTTPRoute of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionRouteStatus {
    /// Hostnames of the route.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path of every match of every rule.
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<HttpPathMatch>,
    /// What the gateway says of the route.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Hash of the `status.traffic` that the route was rendered from. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_traffic: Option<String>,
    /// Revisions that the accepted route, or the one that waits to be accepted, sends requests to. (addition)
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
    /// Addresses of tagged revisions. (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<RouteTag>,
}

/// Address of a tagged revision. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteTag {
    /// The tag.
    pub name: String,
    /// The revision.
    pub revision: String,
    /// Its addresses.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<FunctionAddress>,
}

/// One address of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionAddress {
    /// `Internal` (inside the cluster) or `External`.
    #[schemars(extend("enum" = ["Internal", "External"]))]
    #[serde(rename = "type")]
    pub type_: String,
    /// URL of the function.
    #[schemars(length(min = 1, max = 2048))]
    pub value: String,
}

/// Image and source versions of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Digest of the image of the last successful build, or found by the revision controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Commits and digests that are not rolled out, since they were rolled back. (addition)
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// The newest commit or digest that was found. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected: Option<RevisionDetected>,
    /// What the function has made of what was found, for each place that the spec names. (addition)
    #[x_kube(merge_strategy = ListMerge::Map(vec!["of".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<RevisionFollowed>,
}

/// The newest commit or digest that the revision controller found. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionDetected {
    /// Where it was found: the repository with the branch or tag, or the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Hash of the git commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Digest of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Tag of the repository or image that a tag policy has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was first seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Why it is not rolled out; absent when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_used: Option<String>,
}

impl RevisionDetected {
    /// The commit or digest.
    pub fn id(&self) -> Option<&str> {
        self.commit.as_deref().or(self.digest.as_deref())
    }
}

/// What a Function has made of what the revision controller found in one place. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionFollowed {
    /// Where it was found, as in `detected`.
    pub of: String,
    /// The newest commit or digest that was taken note of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The commit or digest that the present build or revision was asked for by; absent while the spec alone asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// Its tag, where a tag policy has chosen one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Hash of the build before it, where an image that is built here was replaced by another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
}
