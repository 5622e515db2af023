//! Settings that apply to every function: ConfigMap `openfunction-config` in the controller's namespace
//! (core-behaviour §9). What is edited there reaches revisions that are made afterwards; no pod is restarted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use openfunction_proto::core::{Hooks, TracingConfig};
use serde::{Deserialize, de::DeserializeOwned};

/// Settings that apply to every function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Globals {
    /// Key `plugins`: hooks in the words of v1beta1.
    pub plugins: Option<Plugins>,
    /// Key `hooks`, or else `plugins`: hooks of every function.
    pub hooks: Hooks,
    /// They are those of `plugins`.
    pub hooks_are_old: bool,
    /// Key `tracing`, or else `plugins.tracing`: tracing of every function.
    pub tracing: Option<TracingConfig>,
    /// Namespace and name of the ConfigMap with Knative's features.
    pub knative_features: (String, String),
    /// What could not be read, by key.
    pub unreadable: Vec<String>,
}

/// Hooks in the words of v1beta1, as YAML in a ConfigMap or an annotation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Plugins {
    /// Hooks that run before the function in this order, and after it in the reverse one.
    pub order: Vec<String>,
    /// Hooks that run before the function, instead of `order`.
    pub pre: Vec<String>,
    /// Hooks that run after the function, instead of `order`.
    pub post: Vec<String>,
}

impl Plugins {
    /// The hooks before and after the function.
    pub fn hooks(&self) -> (Vec<String>, Vec<String>) {
        let reversed = self.order.iter().rev().cloned().collect();
        let or = |own: &[String], order: Vec<String>| if own.is_empty() { order } else { own.to_vec() };
        (or(&self.pre, self.order.clone()), or(&self.post, reversed))
    }
}

impl Globals {
    /// Reads them. What cannot be read counts as absent and is listed, since one bad key must not stop every function.
    pub fn read(map: Option<&ConfigMap>, knative_namespace: &str) -> Self {
        let empty = BTreeMap::new();
        let data = map.and_then(|map| map.data.as_ref()).unwrap_or(&empty);
        let mut unreadable = Vec::new();
        let plugins: Option<Plugins> = yaml(data, "plugins", &mut unreadable);
        let new = yaml(data, "hooks", &mut unreadable);
        let hooks_are_old = new.is_none();
        let hooks = new.unwrap_or_else(|| {
            let (pre, post) =
                plugins.as_ref().map(|plugins| (plugins.pre.clone(), plugins.post.clone())).unwrap_or_default();
            Hooks { pre, post, policy: None }
        });
        let tracing = yaml(data, "tracing", &mut unreadable).or_else(|| yaml(data, "plugins.tracing", &mut unreadable));
        let text = |key: &str, default: &str| {
            data.get(key).filter(|value| !value.is_empty()).map_or_else(|| default.to_owned(), Clone::clone)
        };
        Self {
            plugins,
            hooks,
            hooks_are_old,
            tracing,
            knative_features: (
                text("knative-serving.namespace", knative_namespace),
                text("knative-serving.config-features.name", "config-features"),
            ),
            unreadable,
        }
    }
}

fn yaml<T: DeserializeOwned>(data: &BTreeMap<String, String>, key: &str, unreadable: &mut Vec<String>) -> Option<T> {
    let text = data.get(key).filter(|text| !text.trim().is_empty())?;
    serde_saphyr::from_str(text).map_err(|error| unreadable.push(format!("key {key:?}: {error}"))).ok()
}

/// Tracing of a function: its own wins field by field over that of every function; one that is switched off takes no
/// part (core-behaviour §5.6, B-110).
pub fn merged(own: Option<&TracingConfig>, global: Option<&TracingConfig>) -> Option<TracingConfig> {
    let global = global.filter(|global| global.enabled);
    let Some(own) = own else { return global.cloned() };
    if !own.enabled {
        return None;
    }
    let mut merged = own.clone();
    let Some(global) = global else { return Some(merged) };
    for (into, from) in [(&mut merged.tags, &global.tags), (&mut merged.baggage, &global.baggage)] {
        from.iter().for_each(|(key, value)| {
            into.entry(key.clone()).or_insert_with(|| value.clone());
        });
    }
    // The address of another provider would lead traces astray.
    if merged.provider.name == global.provider.name {
        let (into, from) = (&mut merged.provider, &global.provider);
        into.oap_server = into.oap_server.take().or_else(|| from.oap_server.clone());
        match (&mut into.exporter, &from.exporter) {
            (Some(into), Some(from)) => {
                into.endpoint = into.endpoint.take().or_else(|| from.endpoint.clone());
                into.headers = into.headers.take().or_else(|| from.headers.clone());
                into.compression = into.compression.take().or_else(|| from.compression.clone());
                into.timeout = into.timeout.take().or_else(|| from.timeout.clone());
                into.protocol = into.protocol.take().or_else(|| from.protocol.clone());
            }
            (into @ None, Some(from)) => *into = Some(from.clone()),
            (_, None) => {}
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn globals(data: Value) -> Globals {
        Globals::read(Some(&serde_json::from_value(json!({ "data": data })).unwrap()), "knative-serving")
    }

    fn tracing(value: Value) -> TracingConfig {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn keys_of_both_generations_are_read() {
        let old = globals(
            json!({"plugins": "pre: [a]\npost: [b]", "plugins.tracing": "enabled: true\nprovider: {name: skywalking, oapServer: 'oap:11800'}"}),
        );
        assert_eq!(
            (old.hooks.pre.as_slice(), old.hooks.post.as_slice()),
            (&["a".to_owned()][..], &["b".to_owned()][..])
        );
        assert_eq!(old.tracing.unwrap().provider.oap_server.unwrap(), "oap:11800");
        let new = globals(json!({"plugins": "pre: [a]", "hooks": "pre: [c]", "knative-serving.namespace": "kn"}));
        assert_eq!((new.hooks.pre, new.knative_features.0.as_str()), (vec!["c".to_owned()], "kn"));
        assert_eq!(
            Globals::read(None, "knative-serving").knative_features,
            ("knative-serving".to_owned(), "config-features".to_owned())
        );
    }

    #[test]
    fn a_key_that_cannot_be_read_spoils_no_other() {
        let globals = globals(json!({"hooks": "pre: {", "tracing": "enabled: false\nprovider: {name: opentelemetry}"}));
        assert!(globals.unreadable[0].starts_with("key \"hooks\": "), "{:?}", globals.unreadable);
        assert!(globals.tracing.is_some());
    }

    #[test]
    fn b110_tracing_of_every_function_counts_only_when_it_is_switched_on() {
        let off = tracing(
            json!({"enabled": false, "provider": {"name": "skywalking", "oapServer": "localhost:xxx"}, "tags": {"func": "function-with-tracing"}}),
        );
        let own = tracing(json!({"enabled": true, "provider": {"name": "skywalking", "oapServer": "oap:1"}}));
        assert_eq!(merged(Some(&own), Some(&off)).unwrap(), own);
        assert_eq!(merged(None, Some(&off)), None);
    }

    #[test]
    fn a_functions_own_tracing_wins_field_by_field() {
        let global = tracing(
            json!({"enabled": true, "provider": {"name": "opentelemetry", "exporter": {"name": "otlp", "endpoint": "http://all:4317", "protocol": "grpc"}},
            "tags": {"team": "all", "zone": "a"}}),
        );
        let own = tracing(
            json!({"enabled": true, "provider": {"name": "opentelemetry", "exporter": {"name": "otlp", "endpoint": "http://own:4317"}}, "tags": {"team": "own"}}),
        );
        let merged_ = merged(Some(&own), Some(&global)).unwrap();
        let exporter = merged_.provider.exporter.unwrap();
        assert_eq!(
            (exporter.endpoint.unwrap().as_str(), exporter.protocol.unwrap().as_str()),
            ("http://own:4317", "grpc")
        );
        assert_eq!((merged_.tags["team"].as_str(), merged_.tags["zone"].as_str()), ("own", "a"));
        let off = TracingConfig { enabled: false, ..own.clone() };
        assert_eq!(merged(Some(&off), Some(&global)), None);
        let other = tracing(json!({"enabled": true, "provider": {"name": "skywalking"}}));
        assert_eq!(merged(Some(&other), Some(&global)).unwrap().provider.exporter, None);
    }
}
