//! OpenFunction Gateway: which Kubernetes Gateway functions use, and how their hostnames and paths are made.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::core::GatewayRef;

/// A Gateway of OpenFunction says which Kubernetes Gateway serves functions, on which listeners, and how the
/// hostnames and paths of functions are made. (Not to be confused with the Gateway of `gateway.networking.k8s.io`.)
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "networking.openfunction.io",
    version = "v1alpha1",
    kind = "Gateway",
    shortname = "ofgw",
    namespaced,
    status = "GatewayStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "Address", type_ = "string", json_path = ".status.addresses[*].value"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.gatewayRef) || has(self.gatewayDef)").field_path(".gatewayRef")
        .reason(Reason::FieldValueRequired).message("must specify at least one of gatewayRef and gatewayDef"),
    validation = Rule::new("!(has(self.gatewayRef) && has(self.gatewayDef))").field_path(".gatewayRef")
        .reason(Reason::FieldValueInvalid).message("specify at most one of gatewayRef and gatewayDef"),
)]
pub struct GatewaySpec {
    /// External DNS suffix of functions; it makes the hostname of every listener but the internal one.
    #[schemars(length(max = 253))]
    #[x_kube(
        validation = Rule::new("self != ''").reason(Reason::FieldValueRequired).message("must specify domain"),
        validation = Rule::new("self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')")
            .reason(Reason::FieldValueInvalid).message("must be a DNS name of lower-case letters, digits, '-' and '.'"),
    )]
    pub domain: String,
    /// DNS suffix of the cluster; it makes the hostname of the internal listener.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default = "cluster_domain")]
    pub cluster_domain: String,
    /// Template of a function's external hostname, with `.Name`, `.Namespace` and `.Domain`.
    #[schemars(length(max = 1024))]
    #[serde(default = "host_template")]
    pub host_template: String,
    /// Template of a function's path when it names hostnames itself, with `.Name` and `.Namespace`.
    #[schemars(length(max = 1024))]
    #[serde(default = "path_template")]
    pub path_template: String,
    /// Label of functions' HTTPRoutes; its value is `<namespace>.<name>` of this object.
    #[schemars(length(max = 317))]
    #[serde(default = "http_route_label_key")]
    pub http_route_label_key: String,
    /// An existing Kubernetes Gateway that gets the listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_ref: Option<GatewayRef>,
    /// A Kubernetes Gateway to create and own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_def: Option<GatewayDef>,
    /// What the Kubernetes Gateway gets.
    pub gateway_spec: GatewaySettings,
    /// Send requests for hostnames that have an HTTPS listener there, when they come by HTTP. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_redirect: Option<bool>,
}

fn cluster_domain() -> String {
    "cluster.local".to_owned()
}

fn host_template() -> String {
    "{{.Name}}.{{.Namespace}}.{{.Domain}}".to_owned()
}

fn path_template() -> String {
    "{{.Namespace}}/{{.Name}}".to_owned()
}

fn http_route_label_key() -> String {
    "app.kubernetes.io/managed-by".to_owned()
}

/// A Kubernetes Gateway to create and own.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayDef {
    /// Name of the Gateway; absent is the name of this object.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Gateway; it is not created.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// GatewayClass of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub gateway_class_name: String,
}

/// What the Kubernetes Gateway gets from this object.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySettings {
    /// Listeners to put on the Kubernetes Gateway. The listener `ofn-http-internal` is added when it is missing.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".into()]),
        validation = Rule::new("self.exists(l, l.name != 'ofn-http-internal')")
            .reason(Reason::FieldValueRequired).message("must specify at least one listener besides ofn-http-internal"),
    )]
    pub listeners: Vec<Listener>,
}

/// A listener of the Kubernetes Gateway.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Name of the listener, unique on the Gateway.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Hostname of the listener; it is always made from `domain` or `clusterDomain`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Port of the listener.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Protocol of the listener, for example `HTTP` or `HTTPS`.
    #[schemars(
        length(min = 1, max = 255),
        regex(
            pattern = r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$"
        )
    )]
    pub protocol: String,
    /// TLS settings, for protocol `HTTPS` or `TLS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Which routes may attach; absent means those of the Gateway's namespace.
    #[serde(default = "same_namespace", skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
}

fn same_namespace() -> Option<AllowedRoutes> {
    Some(AllowedRoutes { kinds: Vec::new(), namespaces: same() })
}

fn same() -> Option<RouteNamespaces> {
    Some(RouteNamespaces { from: from_same(), selector: None })
}

fn from_same() -> String {
    "Same".to_owned()
}

/// TLS settings of a listener.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Whether the Gateway ends TLS (`Terminate`) or passes it on (`Passthrough`).
    #[schemars(extend("enum" = ["Terminate", "Passthrough"]))]
    #[serde(default = "terminate")]
    pub mode: String,
    /// Certificates, usually Secrets of type `kubernetes.io/tls`.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// Options that the gateway implementation defines.
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

fn terminate() -> String {
    "Terminate".to_owned()
}

/// A certificate.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretObjectReference {
    /// API group of the object; empty is the core group.
    #[schemars(length(max = 253))]
    #[serde(default)]
    pub group: String,
    /// Kind of the object.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default = "secret")]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object; absent is that of the Kubernetes Gateway.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

fn secret() -> String {
    "Secret".to_owned()
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// Kinds of routes; absent means those that fit the protocol.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<RouteGroupKind>,
    /// Namespaces of routes.
    #[serde(default = "same", skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<RouteNamespaces>,
}

/// A kind of route.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteGroupKind {
    /// API group of the kind.
    #[schemars(length(max = 253))]
    #[serde(default = "gateway_api_group")]
    pub group: String,
    /// The kind, for example `HTTPRoute`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
}

fn gateway_api_group() -> String {
    "gateway.networking.k8s.io".to_owned()
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteNamespaces {
    /// `Same` as the Gateway's, `All`, or those that `selector` chooses.
    #[schemars(extend("enum" = ["All", "Selector", "Same"]))]
    #[serde(default = "from_same")]
    pub from: String,
    /// Labels of the namespaces, for `from: Selector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What became of an OpenFunction Gateway.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Addresses of the Kubernetes Gateway.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// Conditions of the Kubernetes Gateway, under the words of today (`Accepted`, `Programmed`) and of before
    /// (`Scheduled`, `Ready`).
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default = "waiting")]
    pub conditions: Vec<GatewayCondition>,
    /// Status of the listeners of this object.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerStatus>,
    /// Generation of this object that the status speaks of. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl Default for GatewayStatus {
    fn default() -> Self {
        Self { addresses: Vec::new(), conditions: waiting(), listeners: Vec::new(), observed_generation: None }
    }
}

fn waiting() -> Vec<GatewayCondition> {
    vec![GatewayCondition {
        type_: "Scheduled".to_owned(),
        status: "Unknown".to_owned(),
        reason: "NotReconciled".to_owned(),
        message: "Waiting for controller".to_owned(),
        ..GatewayCondition::default()
    }]
}

/// An address of the Kubernetes Gateway.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// Kind of the address: `IPAddress`, `Hostname` or a name that the gateway implementation defines.
    #[schemars(length(min = 1, max = 253))]
    #[serde(rename = "type", default = "ip_address")]
    pub type_: String,
    /// The address.
    #[schemars(length(min = 1, max = 253))]
    pub value: String,
}

fn ip_address() -> String {
    "IPAddress".to_owned()
}

/// A condition of a Gateway or listener.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayCondition {
    /// Type of the condition.
    #[schemars(length(min = 1, max = 316))]
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("enum" = ["True", "False", "Unknown"]))]
    pub status: String,
    /// Why the condition has this status, in one word.
    #[schemars(length(max = 1024))]
    pub reason: String,
    /// Why the condition has this status, in a sentence.
    #[schemars(length(max = 32768))]
    pub message: String,
    /// When the status last changed. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Generation of this object that the condition speaks of. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Status of a listener.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name of the listener.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Kinds of routes that the listener takes.
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub supported_kinds: Vec<RouteGroupKind>,
    /// How many routes are attached.
    #[schemars(range(min = 0))]
    pub attached_routes: i32,
    /// Conditions of the listener.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<GatewayCondition>,
}
