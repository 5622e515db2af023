//! The resources of Gateway API v1 that OpenFunction reads and writes, as far as it does.
//!
//! Their CRDs are the Gateway API's own; fields that are not listed here are not ours to touch.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::HttpRouteRule;
use crate::networking::{GatewayAddress, Listener, RouteGroupKind, RouteNamespaces};

/// API group of the Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// An HTTPRoute of the Gateway API.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "HttpRouteStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// Gateways that the route wants to be attached to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Hostnames that the route answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// What is done with requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<HttpRouteRule>,
}

/// A Gateway, or one of its listeners.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group of the parent.
    #[serde(default = "group")]
    pub group: String,
    /// Kind of the parent.
    #[serde(default = "gateway")]
    pub kind: String,
    /// Namespace of the parent; absent is the route's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the parent.
    pub name: String,
    /// Listener of the parent; absent means every one that takes the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

fn group() -> String {
    GROUP.to_owned()
}

fn gateway() -> String {
    "Gateway".to_owned()
}

/// What gateways say of an HTTPRoute.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteStatus {
    /// The answer of each parent.
    #[serde(default)]
    pub parents: Vec<RouteParentStatus>,
}

/// What one parent says of a route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The parent.
    pub parent_ref: ParentReference,
    /// Its conditions for the route, `Accepted` and `ResolvedRefs` among them.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A Gateway of the Gateway API.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "Gateway",
    root = "KubernetesGateway",
    namespaced,
    schema = "disabled",
    status = "KubernetesGatewayStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesGatewaySpec {
    /// The class, which says whose controller serves the Gateway; absent in what is only a part of a Gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_class_name: Option<String>,
    /// Listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// Which ListenerSets may add listeners; absent is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// Fields that are not ours.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Which ListenerSets may add listeners to a Gateway.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedListeners {
    /// Namespaces of the ListenerSets; absent is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<RouteNamespaces>,
}

/// A ListenerSet: listeners that are added to those of a Gateway (GEP-1713, Gateway API 1.5).
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "ListenerSet",
    namespaced,
    schema = "disabled",
    status = "ListenerSetStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// The Gateway.
    #[serde(default)]
    pub parent_ref: ParentReference,
    /// Listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// What became of a ListenerSet.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetStatus {
    /// Conditions of the ListenerSet.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Status of each listener.
    #[serde(default)]
    pub listeners: Vec<KubernetesListenerStatus>,
}

/// What became of a Gateway.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesGatewayStatus {
    /// Addresses under which it is reached.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// Conditions of the Gateway.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// Status of each listener.
    #[serde(default)]
    pub listeners: Vec<KubernetesListenerStatus>,
}

/// What became of a listener.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesListenerStatus {
    /// Name of the listener.
    pub name: String,
    /// Kinds of routes that it takes.
    #[serde(default)]
    pub supported_kinds: Vec<RouteGroupKind>,
    /// How many routes are attached.
    #[serde(default)]
    pub attached_routes: i32,
    /// Conditions of the listener.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A class of Gateways: those that one implementation serves.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "GatewayClass",
    plural = "gatewayclasses",
    schema = "disabled",
    status = "GatewayClassStatus",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassSpec {
    /// The implementation.
    #[serde(default)]
    pub controller_name: String,
}

/// What an implementation says of its class.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    /// Features beyond the core ones that the implementation supports; empty if it does not say.
    #[serde(default)]
    pub supported_features: Vec<SupportedFeature>,
}

/// A feature of the Gateway API.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedFeature {
    /// Its name, for example `HTTPRouteHostRewrite`.
    pub name: String,
}

/// A ReferenceGrant: which objects of other namespaces may refer to objects of its own.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1beta1",
    kind = "ReferenceGrant",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrantSpec {
    /// Who may refer.
    #[serde(default)]
    pub from: Vec<ReferenceGrantFrom>,
    /// To what.
    #[serde(default)]
    pub to: Vec<ReferenceGrantTo>,
}

/// Objects that may refer to others.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrantFrom {
    /// API group of the objects.
    pub group: String,
    /// Kind of the objects.
    pub kind: String,
    /// Namespace of the objects.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrantTo {
    /// API group of the objects; empty is the core group.
    pub group: String,
    /// Kind of the objects.
    pub kind: String,
    /// Name of the object; absent means all of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
