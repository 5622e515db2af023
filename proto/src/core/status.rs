//! Status parts that more than one kind has.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The source that a build really used.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceResult {
    /// Name of the source, `default` for the only one.
    pub name: String,
    /// The git commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitRevision>,
    /// The bundle image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRevision>,
}

/// A git commit.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitRevision {
    /// Hash of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_sha: Option<String>,
    /// Author of the commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_author: Option<String>,
    /// Branch that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch_name: Option<String>,
}

/// A bundle image.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleRevision {
    /// Digest of the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Where a request for one revision must be sent, and what it must carry. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Kind of the object that receives the request, usually `Service`.
    pub kind: String,
    /// Namespace of that object.
    pub namespace: String,
    /// Name of that object.
    pub name: String,
    /// Port of that object.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Protocol of the port, as in `Service.spec.ports[].appProtocol`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// Host header that the request must have; absent leaves the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers that the request must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// Something that holds an object back. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// Kind of the object that fails.
    pub kind: String,
    /// Name of the object that fails.
    pub name: String,
    /// Namespace of the object that fails; absent for a cluster-scoped one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Path of the field at fault, if it is a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// One CamelCase word.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Since when this holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}
