//! Objects of other projects that engines make: specs and statuses are read and written as JSON, since most of them is
//! their project's own affair.

use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A Service of Knative Serving.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "serving.knative.dev",
    version = "v1",
    kind = "Service",
    root = "KnativeService",
    plural = "services",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct KnativeServiceSpec(Map<String, Value>);

/// A ScaledObject of KEDA: scales a workload by what happens elsewhere.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct ScaledObjectSpec(Map<String, Value>);

/// An HTTPScaledObject of KEDA's HTTP add-on: scales a workload by the requests that its interceptor holds.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Serialize)]
#[kube(
    group = "http.keda.sh",
    version = "v1alpha1",
    kind = "HTTPScaledObject",
    root = "HttpScaledObject",
    plural = "httpscaledobjects",
    namespaced,
    schema = "disabled",
    status = "Map<String, Value>"
)]
pub struct HttpScaledObjectSpec(Map<String, Value>);
