//! What a Function means where it says nothing (core-api §8): filled in at admission, and by every controller in
//! memory, since admission may not have run.

use serde_json::{Value, json};

use super::{Function, FunctionSpec, GatewayRef, HttpTrigger, Route, ServingImpl, ServingSpec, Strategy};

/// Port of a function that names none.
pub const PORT: i32 = 8080;
/// Version of a function that names none.
pub const VERSION: &str = "latest";

/// Annotation of functions that run as wasm, and of their images.
pub const WASM_VARIANT: &str = "module.wasm.image/variant";
/// Value of that annotation that runtimes know, also those that run other images beside.
pub const COMPAT_SMART: &str = "compat-smart";
/// RuntimeClass of functions that run as wasm and name none; the chart has it.
pub const WASM_RUNTIME_CLASS: &str = "openfunction-crun";
/// Build strategy of functions that run as wasm.
pub const WASMEDGE: &str = "wasmedge";

impl Function {
    /// Whether it runs as wasm: its annotation has any value, or its `workloadRuntime` says so (goals Q17).
    pub fn is_wasm(&self) -> bool {
        let annotations = self.metadata.annotations.as_ref();
        annotations.is_some_and(|annotations| annotations.contains_key(WASM_VARIANT))
            || self.spec.workload_runtime.eq_ignore_ascii_case(WASMEDGE)
    }

    /// What it asks for, with everything said.
    pub fn spec_with_defaults(&self, gateway: &GatewayRef) -> FunctionSpec {
        let mut spec = self.spec.with_defaults(gateway);
        if self.is_wasm() {
            spec.fill_in_wasm();
        }
        spec
    }
}

impl FunctionSpec {
    /// What a wasm function says nothing of (core-api §8.5). Nothing of it is written into the Function, so that all of it
    /// is gone when the function is none any more.
    fn fill_in_wasm(&mut self) {
        if let Some(build) = &mut self.build {
            build.shipwright.get_or_insert_default().strategy.get_or_insert_with(|| Strategy {
                kind: Some("ClusterBuildStrategy".to_owned()),
                name: WASMEDGE.to_owned(),
            });
        }
        if let Some(serving) = &mut self.serving {
            serving.annotations.entry(WASM_VARIANT.to_owned()).or_insert_with(|| COMPAT_SMART.to_owned());
            let template = serving.template.get_or_insert_with(|| json!({"containers": []}));
            if template.is_object() && template["runtimeClassName"].is_null() {
                template["runtimeClassName"] = json!(WASM_RUNTIME_CLASS);
            }
        }
    }

    /// The same Function with everything said.
    #[must_use]
    fn with_defaults(&self, gateway: &GatewayRef) -> Self {
        let mut spec = self.clone();
        if spec.version.as_deref().unwrap_or_default().is_empty() {
            spec.version = Some(VERSION.to_owned());
        }
        if let Some(serving) = &mut spec.serving {
            serving.fill_in(gateway);
        }
        spec
    }
}

impl ServingImpl {
    fn fill_in(&mut self, gateway: &GatewayRef) {
        let is_async = self.runtime.as_deref() == Some("async");
        let triggers = self.triggers.get_or_insert_default();
        // An event trigger may be given in the words of v1beta1, too.
        if triggers.http.is_none() && triggers.dapr.is_empty() && self.inputs.is_empty() && !is_async {
            triggers.http = Some(HttpTrigger::default());
        }
        if let Some(http) = &mut triggers.http {
            http.port = Some(http.port.filter(|port| *port != 0).unwrap_or(PORT));
            let route = http.route.get_or_insert_with(Route::default);
            route.gateway_ref.get_or_insert_with(|| gateway.clone());
        }
    }

    /// The HTTP trigger, if requests call the function.
    pub fn http(&self) -> Option<&HttpTrigger> {
        self.triggers.as_ref()?.http.as_ref()
    }

    /// Whether the function is reached through a route.
    pub fn needs_route(&self) -> bool {
        let visibility = self.http().map(|http| http.route.as_ref().and_then(|route| route.visibility.as_deref()));
        visibility.is_some_and(|visibility| visibility != Some("None"))
    }
}

impl ServingSpec {
    /// The part of the spec that asks for new pods when it changes. The rest (bounds and scalers, timeout, shares of
    /// traffic, route, whether it is parked) changes in place (design §4).
    ///
    /// # Panics
    /// Never: a spec is JSON.
    pub fn revision(&self) -> Value {
        let mut revision = serde_json::to_value(self).expect("a spec is JSON");
        for path in ["/scaleOptions", "/timeout", "/traffic", "/triggers/http/route", "/knativeService", "/suspend"] {
            let (parent, field) = path.rsplit_once('/').unwrap_or_default();
            if let Some(Value::Object(fields)) = revision.pointer_mut(parent) {
                fields.remove(field);
            }
        }
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_defaults(spec: Value) -> Value {
        let spec: FunctionSpec = serde_json::from_value(spec).unwrap();
        let gateway = GatewayRef { name: "g".to_owned(), namespace: "n".to_owned() };
        serde_json::to_value(spec.with_defaults(&gateway)).unwrap()
    }

    #[test]
    fn a_function_without_triggers_is_called_over_http() {
        let spec = with_defaults(json!({"image": "a", "serving": {}}));
        let http = json!({"port": 8080, "route": {"gatewayRef": {"name": "g", "namespace": "n"}}});
        assert_eq!((&spec["version"], &spec["serving"]["triggers"]["http"]), (&json!("latest"), &http));
    }

    #[test]
    fn wa3_what_runs_as_wasm_is_built_by_its_strategy_unless_one_is_given() {
        let strategy = |annotations: Value, runtime: &str, shipwright: Value| {
            let function: Function = serde_json::from_value(json!({
                "metadata": {"name": "f", "annotations": annotations},
                "spec": {"image": "a", "workloadRuntime": runtime, "build": {"srcRepo": {"url": "u"}, "shipwright": shipwright}},
            }))
            .unwrap();
            json!(function.spec_with_defaults(&GatewayRef::default()).build.unwrap().shipwright)
        };
        let wasmedge = json!({"strategy": {"kind": "ClusterBuildStrategy", "name": "wasmedge"}});
        assert_eq!(strategy(json!({}), "WasmEdge", Value::Null), wasmedge);
        assert_eq!(strategy(json!({"module.wasm.image/variant": ""}), "OCIContainer", Value::Null), wasmedge);
        assert_eq!(strategy(json!({}), "OCIContainer", Value::Null), Value::Null);
        let own = json!({"strategy": {"name": "own"}});
        assert_eq!(strategy(json!({}), "wasmedge", own.clone()), own);
    }

    #[test]
    fn wa1_to_wa7_what_runs_as_wasm_says_so_to_its_node() {
        let serving = |annotations: Value, runtime: &str, serving: Value| {
            let function: Function = serde_json::from_value(json!({
                "metadata": {"name": "f", "annotations": annotations},
                "spec": {"image": "a", "workloadRuntime": runtime, "serving": serving},
            }))
            .unwrap();
            let serving = function.spec_with_defaults(&GatewayRef::default()).serving.unwrap();
            (json!(serving.annotations), serving.template.unwrap_or_default())
        };
        let variant = json!({"module.wasm.image/variant": "compat-smart"});
        // A PodSpec without containers would be refused.
        let class = json!({"containers": [], "runtimeClassName": "openfunction-crun"});
        assert_eq!(serving(json!({}), "WasmEdge", json!({})), (variant.clone(), class.clone()));
        assert_eq!(serving(json!({"module.wasm.image/variant": "compat"}), "", json!({})), (variant.clone(), class));
        let azure = json!({"runtimeClassName": "wasmtime-spin"});
        let own = json!({"annotations": {"module.wasm.image/variant": "compat"}, "template": azure});
        assert_eq!(serving(json!({}), "wasmedge", own.clone()), (own["annotations"].clone(), azure));
        // WA10: nothing stays of it.
        assert_eq!(serving(json!({}), "OCIContainer", json!({})), (json!({}), Value::Null));
    }

    #[test]
    fn what_is_said_stays() {
        let triggers = json!({"http": {"port": 9000, "engine": "native", "route": {"gatewayRef": {"name": "own", "namespace": "o"}, "hostnames": ["a.b"]}}});
        let spec = with_defaults(json!({"image": "a", "version": "v1", "serving": {"triggers": triggers}}));
        assert_eq!((&spec["version"], &spec["serving"]["triggers"]), (&json!("v1"), &triggers));
    }

    #[test]
    fn q9_an_asynchronous_function_gets_no_http_trigger() {
        for serving in [
            json!({"runtime": "async"}),
            json!({"triggers": {"dapr": [{"name": "a"}]}}),
            json!({"inputs": [{"name": "a", "component": "b"}]}),
        ] {
            let spec = with_defaults(json!({"image": "a", "serving": serving}));
            assert_eq!(spec.pointer("/serving/triggers/http"), None, "{serving}");
        }
    }
}
