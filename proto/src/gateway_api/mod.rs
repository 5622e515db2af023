//! The rule types of Gateway API v1 (`HTTPRouteRule` and what it holds) that a Function embeds, and the
//! [`resources`] that routes are made of.
//!
//! They accept what OpenFunction 1.2 accepted (the shapes of `v1alpha2` 0.4) and, as an **(addition)**, the
//! matches, filters and timeouts of v1. See <https://gateway-api.sigs.k8s.io/reference/spec/>.

pub mod resources;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Semantics for matching an HTTP request and processing it.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteRule {
    /// Name of the rule, unique within the route. (addition)
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Conditions for requests that this rule handles; a request has to meet one of them.
    /// Without any, every request matches.
    #[schemars(length(max = 8))]
    #[serde(default = "match_every_path")]
    pub matches: Vec<HttpRouteMatch>,
    /// What is done to a matching request and its response, in this order.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
    /// Accepted and ignored: the gateway controller always sends requests to the Function's own revisions.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HttpBackendRef>,
    /// How long a request may take. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpRouteTimeouts>,
}

fn match_every_path() -> Vec<HttpRouteMatch> {
    vec![HttpRouteMatch { path: every_path(), ..HttpRouteMatch::default() }]
}

fn every_path() -> Option<HttpPathMatch> {
    Some(HttpPathMatch::default())
}

/// A condition on a request; all parts that are given have to hold.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// Condition on the path; absent means every path.
    #[serde(default = "every_path", skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathMatch>,
    /// Conditions on headers; all of them have to hold.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeaderMatch>,
    /// Conditions on query parameters; all of them have to hold.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HttpQueryParamMatch>,
    /// The request method; absent means every method.
    #[schemars(extend("enum" = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// A condition on the path of a request.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathMatch {
    /// How `value` is compared: `Exact`, `PathPrefix` (whole path elements) or `RegularExpression`
    /// (as far as the gateway implementation supports it).
    #[schemars(extend("enum" = ["Exact", "PathPrefix", "RegularExpression"]))]
    #[serde(rename = "type", default = "path_prefix")]
    pub type_: String,
    /// The path to compare with; a missing `/` at its beginning is added.
    #[schemars(length(max = 1024))]
    #[serde(default = "slash")]
    pub value: String,
}

impl Default for HttpPathMatch {
    fn default() -> Self {
        Self { type_: path_prefix(), value: slash() }
    }
}

fn path_prefix() -> String {
    "PathPrefix".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

fn exact() -> String {
    "Exact".to_owned()
}

/// A condition on one header of a request.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeaderMatch {
    /// How `value` is compared: `Exact` or `RegularExpression`.
    #[schemars(extend("enum" = ["Exact", "RegularExpression"]))]
    #[serde(rename = "type", default = "exact")]
    pub type_: String,
    /// Name of the header; upper and lower case are the same.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"))]
    pub name: String,
    /// Value of the header.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// A condition on one query parameter of a request.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpQueryParamMatch {
    /// How `value` is compared: `Exact` or `RegularExpression`.
    #[schemars(extend("enum" = ["Exact", "RegularExpression"]))]
    #[serde(rename = "type", default = "exact")]
    pub type_: String,
    /// Name of the query parameter, compared exactly.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Value of the query parameter.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// One processing step; the field named like its type holds its settings.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'RequestHeaderModifier' || has(self.requestHeaderModifier)")
        .field_path(".requestHeaderModifier").reason(Reason::FieldValueRequired).message("must be specified for type RequestHeaderModifier"),
    validation = Rule::new("self.type != 'ResponseHeaderModifier' || has(self.responseHeaderModifier)")
        .field_path(".responseHeaderModifier").reason(Reason::FieldValueRequired).message("must be specified for type ResponseHeaderModifier"),
    validation = Rule::new("self.type != 'RequestMirror' || has(self.requestMirror)")
        .field_path(".requestMirror").reason(Reason::FieldValueRequired).message("must be specified for type RequestMirror"),
    validation = Rule::new("self.type != 'RequestRedirect' || has(self.requestRedirect)")
        .field_path(".requestRedirect").reason(Reason::FieldValueRequired).message("must be specified for type RequestRedirect"),
    validation = Rule::new("self.type != 'URLRewrite' || has(self.urlRewrite)")
        .field_path(".urlRewrite").reason(Reason::FieldValueRequired).message("must be specified for type URLRewrite"),
    validation = Rule::new("self.type != 'ExtensionRef' || has(self.extensionRef)")
        .field_path(".extensionRef").reason(Reason::FieldValueRequired).message("must be specified for type ExtensionRef"),
)]
pub struct HttpRouteFilter {
    /// Kind of the filter. `ResponseHeaderModifier` and `URLRewrite` are ours. (addition)
    #[schemars(extend("enum" = ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef"]))]
    #[serde(rename = "type")]
    pub type_: String,
    /// Changes headers of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HttpHeaderFilter>,
    /// Changes headers of the response. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HttpHeaderFilter>,
    /// Sends a copy of the request to another backend and ignores its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<HttpRequestMirrorFilter>,
    /// Answers with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<HttpRequestRedirectFilter>,
    /// Changes host or path of the request before it is forwarded. (addition)
    #[serde(rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<HttpUrlRewriteFilter>,
    /// A filter that the gateway implementation defines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extension_ref: Option<LocalObjectReference>,
}

/// Headers to set, add and remove.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeaderFilter {
    /// Headers that get this value, whatever they had.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<HttpHeader>,
    /// Headers to which this value is added.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HttpHeader>,
    /// Names of headers that are taken out.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// A header with its value.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpHeader {
    /// Name of the header; upper and lower case are the same.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$"))]
    pub name: String,
    /// Value of the header.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
}

/// Where the copy of a request goes.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestMirrorFilter {
    /// The object that receives the copies.
    pub backend_ref: BackendObjectReference,
    /// Share of the requests that are copied, in percent; absent, with `fraction` too, copies all. (addition)
    #[schemars(range(min = 0, max = 100))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Share of the requests that are copied, as a fraction. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// A share. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fraction {
    /// How many.
    #[schemars(range(min = 0))]
    pub numerator: i32,
    /// Of how many.
    #[schemars(range(min = 1))]
    #[serde(default = "hundred")]
    pub denominator: i32,
}

fn hundred() -> i32 {
    100
}

/// The redirect to answer with; parts that are absent stay as in the request.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestRedirectFilter {
    /// Scheme of the Location header.
    #[schemars(extend("enum" = ["http", "https"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Hostname of the Location header.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path of the Location header. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
    /// Port of the Location header.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// HTTP status code of the answer. Besides 301 and 302, the codes 303, 307 and 308 are ours. (addition)
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    #[serde(default = "found")]
    pub status_code: i32,
}

fn found() -> i32 {
    302
}

/// Host and path of the forwarded request; parts that are absent stay as they are. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpUrlRewriteFilter {
    /// Host header of the forwarded request.
    #[schemars(length(min = 1, max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Path of the forwarded request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<HttpPathModifier>,
}

/// How a path is replaced; the field named like the type holds the new text. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpPathModifier {
    /// Whether the full path or the matched prefix is replaced.
    #[schemars(extend("enum" = ["ReplaceFullPath", "ReplacePrefixMatch"]))]
    #[serde(rename = "type")]
    pub type_: String,
    /// The new path, for type `ReplaceFullPath`.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// The text that replaces the matched prefix, for type `ReplacePrefixMatch`.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// Time limits of a request, as Gateway API durations (`500ms`, `10s`, `1h30m`). (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteTimeouts {
    /// Time for the whole request, retries included.
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Time for one request to a backend.
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<String>,
}

/// A backend of a rule.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpBackendRef {
    /// API group of the backend; empty is the core group.
    #[serde(default)]
    pub group: String,
    /// Kind of the backend.
    #[serde(default = "service")]
    pub kind: String,
    /// Name of the backend.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the backend; absent is the namespace of the route.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the backend.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Share of requests in relation to the other backends.
    #[schemars(range(min = 0, max = 1_000_000))]
    #[serde(default = "one")]
    pub weight: i32,
    /// What is done to requests for this backend only.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HttpRouteFilter>,
}

fn service() -> String {
    "Service".to_owned()
}

fn one() -> i32 {
    1
}

/// An object that can receive requests.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendObjectReference {
    /// API group of the object; empty is the core group.
    #[serde(default)]
    pub group: String,
    /// Kind of the object.
    #[serde(default = "service")]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object; absent is the namespace of the route.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Port of the object; required for a Service.
    #[schemars(range(min = 1, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
}

/// An object of any kind in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// API group of the object; empty is the core group.
    #[schemars(length(max = 253))]
    pub group: String,
    /// Kind of the object.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
