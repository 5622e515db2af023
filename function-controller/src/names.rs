//! Names of children, and the hashes that they are made of.

use std::collections::BTreeMap;

use controller_runtime::names::{self, DNS_LABEL, hash, hash_hex};
use kube::ResourceExt;
use openfunction_proto::core::{BuildImpl, Function, FunctionSpec, LocalObjectReference, PASSED_ON, ServingSpec};
use serde_json::{Value, json};

/// Annotation whose value, when it changes, asks for a new build of the same source (goals BU21).
pub const REBUILD: &str = "openfunction.io/rebuild";

/// Settings of a build that are no reason to build again.
const NOT_BUILT: &[&str] = &["timeout", "successfulBuildsHistoryLimit", "failedBuildsHistoryLimit", "builderMaxAge"];

/// All of a spec that asks for a build.
pub fn built(image: &str, credentials: Option<&LocalObjectReference>, build: Option<&BuildImpl>) -> Value {
    let mut build = json!(build);
    if let Value::Object(fields) = &mut build {
        fields.retain(|field, _| !NOT_BUILT.contains(&field.as_str()));
    }
    json!({"image": image, "imageCredentials": credentials, "build": build})
}

/// Hash of all that asks for a build, as the decimal text that `resourceHash` always was (goals Q30).
/// `detected` is the new commit or bundle that asks for it, if one does.
pub fn build_hash(function: &Function, spec: &FunctionSpec, detected: Option<&str>) -> String {
    let mut inputs = built(&spec.image, spec.image_credentials.as_ref(), spec.build.as_ref());
    inputs["algorithm"] = json!("build-1");
    inputs["rebuild"] = json!(function.annotations().get(REBUILD));
    inputs["detected"] = json!(detected);
    decimal(&hash_hex(&inputs))
}

/// The annotations of a Function that reach its revisions.
pub fn passed_on(object: &impl ResourceExt) -> BTreeMap<String, String> {
    let passed = object.annotations().iter().filter(|(key, _)| PASSED_ON.contains(&key.as_str()));
    passed.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Hash of all that asks for new pods.
pub fn serving_hash(function: &str, annotations: &BTreeMap<String, String>, spec: &ServingSpec) -> String {
    let mut inputs = json!({"algorithm": "serving-1", "function": function, "revision": spec.revision()});
    if !annotations.is_empty() {
        inputs["annotations"] = json!(annotations);
    }
    hash_hex(&inputs)
}

/// As `resourceHash` shows it.
pub fn decimal(hash_hex: &str) -> String {
    u64::from_str_radix(&hash_hex[..16], 16).unwrap_or_default().to_string()
}

/// Name of the Builder for a hash: another one after another predecessor, so that the same again is a new build.
pub fn builder(function: &str, build_hash: &str, predecessor: &str) -> String {
    child(function, &hash(&json!([function, build_hash, predecessor])))
}

/// Name of the Serving for a hash.
pub fn serving(function: &str, serving_hash: &str) -> String {
    child(function, &serving_hash[..10])
}

/// A Serving gives its name to a Service, which knows neither dots nor leading digits (RFC 1035, B-42).
fn child(function: &str, suffix: &str) -> String {
    let base = function.replace('.', "-");
    let base = if base.starts_with(|c: char| c.is_ascii_digit()) { format!("fn-{base}") } else { base };
    names::child(&base, suffix, DNS_LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> ServingSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn b25_scaling_timeout_and_route_ask_for_no_new_pods() {
        let plain = spec(json!({"image": "a", "triggers": {"http": {"port": 80}}}));
        let tuned = spec(json!({"image": "a", "timeout": "1m", "scaleOptions": {"maxReplicas": 3},
            "triggers": {"http": {"port": 80, "route": {"hostnames": ["a.b"]}}}}));
        assert_eq!(serving_hash("f", &BTreeMap::new(), &plain), serving_hash("f", &BTreeMap::new(), &tuned));
    }

    #[test]
    fn b20_another_memory_limit_asks_for_new_pods() {
        let with = |memory: &str| {
            let resources = json!({"limits": {"memory": memory}});
            spec(json!({"image": "a", "template": {"containers": [{"name": "function", "resources": resources}]}}))
        };
        assert_ne!(
            serving_hash("f", &BTreeMap::new(), &with("64Mi")),
            serving_hash("f", &BTreeMap::new(), &with("65Mi"))
        );
    }

    #[test]
    fn other_hooks_in_an_annotation_ask_for_new_pods() {
        let with = |plugins: &str| {
            serving_hash("f", &[("plugins".to_owned(), plugins.to_owned())].into(), &spec(json!({"image": "a"})))
        };
        assert_ne!(with("pre: [a]"), with("pre: [b]"));
    }

    #[test]
    fn functions_whose_names_differ_in_a_dot_have_different_children() {
        let revision = spec(json!({"image": "a"}));
        let [a, b] = ["a.b", "a-b"].map(|name| serving(name, &serving_hash(name, &BTreeMap::new(), &revision)));
        assert!(a != b && a.starts_with("a-b-"), "{a} {b}");
        assert!(serving("1st", &serving_hash("1st", &BTreeMap::new(), &revision)).starts_with("fn-1st-"));
    }

    #[test]
    fn a_hash_is_shown_as_a_decimal_number() {
        assert!(decimal(&hash_hex(&json!({}))).parse::<u64>().is_ok());
    }
}
