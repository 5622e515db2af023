//! Function as v1beta1 writes it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ServingImpl, ShipwrightEngine};
use crate::{
    GoDuration,
    core::{BundleContainer, FunctionAddress, GatewayRef, LocalObjectReference, SourceResult, function::oci_container},
    gateway_api::{HttpPathMatch, HttpRouteRule},
};

/// A Function is source code or an image that is built, run, scaled and routed.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "core.openfunction.io",
    version = "v1beta1",
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
    /// Port that the function's container listens on; absent or 0 means 8080.
    #[schemars(range(min = 0, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Under which hostnames and paths the function answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How the image is built; absent means that it exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildImpl>,
    /// How the image runs; absent means that it is only built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<ServingImpl>,
}

/// Under which hostnames and paths a function answers.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The OpenFunction Gateway (`networking.openfunction.io`) of the function; absent is `openfunction/openfunction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,
    /// Hostnames of the function; absent takes one from the gateway's `hostTemplate`.
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 253),
            regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Rules of the function's HTTPRoute. Absent, every path leads to the function or, if `hostnames` is given, the
    /// path of the gateway's `pathTemplate`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<HttpRouteRule>,
}

/// How the image is built from source.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.builder) || has(self.dockerfile)")
        .field_path(".builder").reason(Reason::FieldValueRequired)
        .message("must be specified when dockerfile is not: name a builder image, or the path of a Dockerfile in the source"),
)]
pub struct BuildImpl {
    /// Image of the builder: a Cloud Native Buildpacks builder, or the image of the build tool.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Secret with the credentials to pull the builder image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_credentials: Option<LocalObjectReference>,
    /// Environment variables of the build, for example `FUNC_NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the source is.
    pub src_repo: SourceRepo,
    /// Path of the Dockerfile in the source.
    #[schemars(length(max = 1024))]
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
    /// How many finished, successful Builders are kept; absent means 0.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_builds_history_limit: Option<i32>,
    /// How many finished Builders that did not succeed are kept; absent means 1.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_builds_history_limit: Option<i32>,
    /// Finished Builders that are older than this are deleted; absent or 0 keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_max_age: Option<GoDuration>,
}

/// Where the source of an image comes from: git or a bundle image.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.url) && self.url != '') || has(self.bundleContainer)")
        .reason(Reason::FieldValueRequired).message("must specify one of: url or bundleContainer"),
)]
pub struct SourceRepo {
    /// URL of a git repository; ignored when `bundleContainer` is given.
    #[schemars(length(max = 2048))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// An image that holds the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_container: Option<BundleContainer>,
    /// Branch, tag, commit or ref; absent or empty means the default branch of the repository.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Directory of the source that is built; absent means its root.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_sub_path: Option<String>,
    /// Secret with the credentials of the git server or of the bundle's registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<LocalObjectReference>,
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
    /// The HTTPRoute of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<FunctionRouteStatus>,
    /// Addresses of the function, one for each hostname and path.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<FunctionAddress>,
    /// Image version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionStatus>,
    /// The sources that the present image was built from.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceResult>,
}

/// State of the build or serving side of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionCondition {
    /// `Created`, `Building`, `Starting`, `Running`, `Succeeded`, `Failed`, `Skipped`, `Timeout` or `Canceled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Name of the Builder or Serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_ref: Option<String>,
    /// Name of the last Serving that was Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_successful_resource_ref: Option<String>,
    /// Hash of the spec that the Builder or Serving was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_hash: Option<String>,
    /// Name of the Service of the Serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
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
}

/// Image version of a Function.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Digest of the image of the last successful build, or found by the revision controller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
}
