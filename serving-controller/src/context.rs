//! What a functions framework reads: `FUNC_CONTEXT`, in the shape of v1beta1, and `FUNC_CONTEXT_V1BETA2`
//! (core-behaviour §5.5, §5.6). The order of keys is that of the original.

use std::collections::BTreeMap;

use kube::ResourceExt;
use openfunction_proto::core::{
    DaprOutput, DaprTrigger, Hooks, Serving, ServingImpl, State, TracingConfig, TracingProvider, Triggers,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    dapr::{Components, store_type, triggers},
    engine::World,
    globals::{self, Globals},
    validate::Valid,
};

/// Both contexts, as JSON texts.
#[derive(Clone, Debug)]
pub struct Contexts {
    /// `FUNC_CONTEXT`.
    pub v1beta1: String,
    /// `FUNC_CONTEXT_V1BETA2`.
    pub v1beta2: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1Beta1<'a> {
    name: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<String, Io<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, Io<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<String, Component<'a>>,
    runtime: &'static str,
    port: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pre_plugins: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    post_plugins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins_tracing: Option<PluginsTracing>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Io<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    uri: &'a str,
    component_name: &'a str,
    component_type: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    operation: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component<'a> {
    component_name: &'a str,
    component_type: &'a str,
    // An output without its topic could not be published to (B-77).
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    operation: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V1Beta2<'a> {
    name: &'a str,
    version: &'a str,
    triggers: Triggers,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<String, Component<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, Component<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    states: BTreeMap<String, Component<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    configurations: BTreeMap<String, Component<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pre_hooks: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    post_hooks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracing: Option<TracingConfig>,
}

/// Tracing of the old shape: its baggage is `null` when there is none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PluginsTracing {
    enabled: bool,
    provider: TracingProvider,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    baggage: Option<BTreeMap<String, String>>,
}

impl From<TracingConfig> for PluginsTracing {
    fn from(TracingConfig { enabled, provider, tags, baggage }: TracingConfig) -> Self {
        Self { enabled, provider, tags, baggage: Some(baggage).filter(|baggage| !baggage.is_empty()) }
    }
}

/// Renders both contexts.
///
/// # Panics
/// Never: a context is JSON.
pub fn contexts(valid: &Valid, world: &World) -> Contexts {
    let (globals, components) = (world.globals, world.components);
    let spec = &valid.serving.spec.serving;
    let version = valid.serving.spec.version.as_deref().unwrap_or_default();
    let hooks = merged_hooks(spec.hooks.as_ref(), &globals.hooks);
    let tracing = globals::merged(spec.tracing.as_ref(), globals.tracing.as_ref());
    let plugins = Plugins::of(valid, globals, tracing.as_ref());
    let dapr = triggers(spec);
    let v1beta1 = V1Beta1 {
        name: &valid.function,
        version,
        inputs: inputs(&dapr, components),
        outputs: outputs(spec, components),
        states: stores("state", &spec.states, components),
        // Requests decide, whatever events come besides (B-75).
        runtime: if spec.http().is_some() { "Knative" } else { "Async" },
        port: valid.port.to_string(),
        pre_plugins: plugins.pre,
        post_plugins: plugins.post,
        plugins_tracing: plugins.tracing.map(PluginsTracing::from),
    };
    let mut triggers = spec.triggers.clone().unwrap_or_default();
    triggers.dapr = dapr
        .iter()
        .map(|trigger| {
            let (name, type_) = components.get(&trigger.name, trigger.type_.as_deref());
            DaprTrigger {
                name: name.to_owned(),
                type_: Some(type_.to_owned()).filter(|type_| !type_.is_empty()),
                ..trigger.clone()
            }
        })
        .collect();
    if let Some(http) = &mut triggers.http {
        // Our own engines are no concern of a framework.
        http.engine = http.engine.take().filter(|engine| engine == "keda");
    }
    let v1beta2 = V1Beta2 {
        name: &valid.function,
        version,
        triggers,
        inputs: read(spec, components),
        outputs: written(spec, components),
        states: stores("state", &spec.states, components),
        configurations: stores("configuration", &spec.configurations, components),
        pre_hooks: hooks.pre,
        post_hooks: hooks.post,
        tracing,
    };
    let text = |context: Result<String, _>| context.expect("a context is JSON");
    Contexts { v1beta1: text(serde_json::to_string(&v1beta1)), v1beta2: text(serde_json::to_string(&v1beta2)) }
}

/// What an input or output of the old shape is addressed by: a binding by its name, anything else by its topic.
fn uri<'a>(type_: &str, name: &'a str, topic: Option<&'a str>) -> &'a str {
    if type_.starts_with("bindings") { name } else { topic.unwrap_or_default() }
}

/// Puts something into a map under a key; a second one of that key, of another topic, gets a key with its topic (B-77).
fn put<T>(map: &mut BTreeMap<String, T>, key: &str, topic: Option<&str>, value: T) {
    let key = match topic.filter(|_| map.contains_key(key)) {
        Some(topic) => format!("{key}-{topic}"),
        None => key.to_owned(),
    };
    map.insert(key, value);
}

fn inputs<'a>(triggers: &'a [DaprTrigger], components: &'a Components) -> BTreeMap<String, Io<'a>> {
    let mut inputs = BTreeMap::new();
    for trigger in triggers {
        let (component_name, component_type) = components.get(&trigger.name, trigger.type_.as_deref());
        let io = Io {
            uri: uri(component_type, &trigger.name, trigger.topic.as_deref()),
            component_name,
            component_type,
            metadata: BTreeMap::new(),
            operation: "",
        };
        let key = trigger.input_name.as_deref().unwrap_or(&trigger.name);
        put(&mut inputs, key, trigger.topic.as_deref(), io);
    }
    inputs
}

fn dapr_outputs(spec: &ServingImpl) -> impl Iterator<Item = (&str, &DaprOutput)> {
    spec.outputs.iter().filter_map(|output| {
        let dapr = output.dapr.as_ref()?;
        Some((dapr.name.as_deref().or(dapr.component.as_deref())?, dapr))
    })
}

fn pairs(metadata: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn outputs<'a>(spec: &'a ServingImpl, components: &'a Components) -> BTreeMap<String, Io<'a>> {
    let mut outputs = BTreeMap::new();
    for (name, output) in dapr_outputs(spec) {
        let (component_name, component_type) = components.get(name, output.type_.as_deref());
        let io = Io {
            uri: uri(component_type, name, output.topic.as_deref()),
            component_name,
            component_type,
            metadata: pairs(&output.metadata),
            operation: output.operation.as_deref().unwrap_or_default(),
        };
        put(&mut outputs, output.output_name.as_deref().unwrap_or(name), output.topic.as_deref(), io);
    }
    outputs
}

fn written<'a>(spec: &'a ServingImpl, components: &'a Components) -> BTreeMap<String, Component<'a>> {
    let mut written = BTreeMap::new();
    for (name, output) in dapr_outputs(spec) {
        let component = Component {
            metadata: pairs(&output.metadata),
            operation: output.operation.as_deref().unwrap_or_default(),
            ..plain(components, name, output.type_.as_deref(), output.topic.as_deref())
        };
        put(&mut written, name, output.topic.as_deref(), component);
    }
    written
}

fn plain<'a>(
    components: &'a Components,
    name: &'a str,
    type_: Option<&'a str>,
    topic: Option<&'a str>,
) -> Component<'a> {
    let (component_name, component_type) = components.get(name, type_);
    Component {
        component_name,
        component_type,
        topic: topic.unwrap_or_default(),
        metadata: BTreeMap::new(),
        operation: "",
    }
}

fn read<'a>(spec: &'a ServingImpl, components: &'a Components) -> BTreeMap<String, Component<'a>> {
    let inputs = spec.triggers.iter().flat_map(|triggers| &triggers.inputs).filter_map(|input| input.dapr.as_ref());
    let mut read = BTreeMap::new();
    for input in inputs {
        let topic = input.topic.as_deref();
        put(&mut read, &input.name, topic, plain(components, &input.name, input.type_.as_deref(), topic));
    }
    read
}

fn stores<'a>(
    block: &'static str,
    stores: &'a BTreeMap<String, State>,
    components: &'a Components,
) -> BTreeMap<String, Component<'a>> {
    let component =
        |(name, store): (&'a String, &State)| (name.clone(), plain(components, name, store_type(block, store), None));
    stores.iter().map(component).collect()
}

/// Hooks and tracing of the old shape.
struct Plugins {
    pre: Vec<String>,
    post: Vec<String>,
    tracing: Option<TracingConfig>,
}

/// Annotation of a Function with hooks in the words of v1beta1.
const PLUGINS: &str = "plugins";
/// Annotation of a Function with tracing in the words of v1beta1.
const PLUGINS_TRACING: &str = "plugins.tracing";

/// An annotation, as YAML.
fn annotation<T: DeserializeOwned>(serving: &Serving, key: &str) -> Result<Option<T>, String> {
    let Some(text) = serving.annotations().get(key).filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    serde_saphyr::from_str(text).map(Some).map_err(|error| format!("metadata.annotations[{key}]: {error}"))
}

/// What cannot be read of the annotations for frameworks.
pub fn unreadable(serving: &Serving) -> Vec<String> {
    let plugins = annotation::<globals::Plugins>(serving, PLUGINS).err();
    plugins.into_iter().chain(annotation::<TracingConfig>(serving, PLUGINS_TRACING).err()).collect()
}

impl Plugins {
    /// From the annotations of old, else from the fields of today, which otherwise would never reach the frameworks
    /// that read the old context alone (B-78).
    fn of(valid: &Valid, globals: &Globals, tracing: Option<&TracingConfig>) -> Self {
        let spec = &valid.serving.spec.serving;
        let read = |hooks: (Vec<String>, Vec<String>)| Hooks { pre: hooks.0, post: hooks.1, policy: None };
        let written: Option<globals::Plugins> = annotation(valid.serving, PLUGINS).ok().flatten();
        let hooks = match written {
            Some(written) => read(written.hooks()),
            None => {
                // `order` stands in the old words alone.
                let old = globals.plugins.as_ref().filter(|_| globals.hooks_are_old);
                let global = old.map_or_else(|| globals.hooks.clone(), |old| read(old.hooks()));
                merged_hooks(spec.hooks.as_ref(), &global)
            }
        };
        let (mut pre, mut post) = (hooks.pre, hooks.post);
        let annotated: Option<TracingConfig> = annotation(valid.serving, PLUGINS_TRACING).ok().flatten();
        let tracing = annotated.or_else(|| tracing.cloned());
        if let Some(tracing) = tracing.as_ref().filter(|tracing| tracing.enabled) {
            pre.push(tracing.provider.name.clone());
            post.insert(0, tracing.provider.name.clone());
        }
        Self { pre, post, tracing }
    }
}

/// Hooks of every function come first before it and last after it, unless the function's own replace them
/// (core-behaviour §5.6).
fn merged_hooks(own: Option<&Hooks>, global: &Hooks) -> Hooks {
    let own = own.cloned().unwrap_or_default();
    if own.policy.as_deref() == Some("Override") {
        return own;
    }
    let joined = |first: &[String], then: &[String]| first.iter().chain(then).cloned().collect();
    Hooks { pre: joined(&global.pre, &own.pre), post: joined(&own.post, &global.post), policy: own.policy }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{testing::Case, validate::validate};

    fn of(serving: &Serving, globals: Globals) -> Contexts {
        let case = Case { globals, ..Case::new(json!({})) };
        let valid = validate(serving).unwrap();
        let components = Components::of(&valid, &|_| None).unwrap();
        contexts(&valid, &World { components: &components, ..case.world() })
    }

    fn rendered(annotations: Value, spec: Value) -> Contexts {
        let metadata = json!({"name": "s", "namespace": "shop", "labels": {"openfunction.io/function": "orders"}, "annotations": annotations});
        let serving: Serving = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        of(&serving, Globals::default())
    }

    #[test]
    fn an_http_function_with_an_output_reads_what_the_original_wrote() {
        let spec = json!({"image": "a", "version": "v1.4.0",
            "triggers": {"http": {"port": 9000, "engine": "native", "route": {"gatewayRef": {"name": "openfunction", "namespace": "openfunction"}}}},
            "bindings": {"audit": {"type": "bindings.kafka", "version": "v1", "metadata": []}},
            "outputs": [{"dapr": {"name": "audit", "operation": "create"}}]});
        let contexts = rendered(json!({}), spec);
        assert_eq!(
            contexts.v1beta1,
            r#"{"name":"orders","version":"v1.4.0","outputs":{"audit":{"uri":"audit","componentName":"orders-bindings-audit-be38327b18","componentType":"bindings.kafka","operation":"create"}},"runtime":"Knative","port":"9000"}"#
        );
        assert_eq!(
            contexts.v1beta2,
            r#"{"name":"orders","version":"v1.4.0","triggers":{"http":{"port":9000,"route":{"gatewayRef":{"name":"openfunction","namespace":"openfunction"}}}},"outputs":{"audit":{"componentName":"orders-bindings-audit-be38327b18","componentType":"bindings.kafka","operation":"create"}}}"#
        );
    }

    /// The vectors of core-behaviour §5.7, with our names of components.
    #[test]
    fn functions_that_events_call_read_what_the_original_wrote() {
        let part = |type_: &str| json!({"type": type_, "version": "v1", "metadata": []});
        let cron = rendered(
            json!({}),
            json!({"image": "a", "version": "latest", "bindings": {"every5s": part("bindings.cron")},
                "triggers": {"dapr": [{"name": "every5s", "type": "bindings.cron", "inputName": "tick"}]}}),
        );
        let name = cron.v1beta1.split("componentName\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        assert!(name.starts_with("orders-bindings-every5s-"), "{name}");
        assert_eq!(
            cron.v1beta1,
            format!(
                r#"{{"name":"orders","version":"latest","inputs":{{"tick":{{"uri":"every5s","componentName":"{name}","componentType":"bindings.cron"}}}},"runtime":"Async","port":"8080"}}"#
            )
        );
        assert_eq!(
            cron.v1beta2,
            format!(
                r#"{{"name":"orders","version":"latest","triggers":{{"dapr":[{{"name":"{name}","type":"bindings.cron","inputName":"tick"}}]}}}}"#
            )
        );
        let billing = rendered(
            json!({}),
            json!({"image": "a", "version": "v2", "pubsub": {"bus": part("pubsub.redis")}, "states": {"ledger": {"spec": part("state.redis")}},
                "triggers": {"dapr": [{"name": "bus", "type": "pubsub.redis", "topic": "paid"}, {"name": "bus", "type": "pubsub.redis", "topic": "sent"}]},
                "outputs": [{"dapr": {"name": "bus", "type": "pubsub.redis", "topic": "invoiced", "outputName": "done"}}]}),
        );
        let [old, new] = [&billing.v1beta1, &billing.v1beta2].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(
            (&old["inputs"]["bus"]["uri"], &old["inputs"]["bus-sent"]["uri"]),
            (&json!("paid"), &json!("sent")),
            "B-77"
        );
        assert_eq!(
            (&old["outputs"]["done"]["uri"], &new["outputs"]["bus"]["topic"]),
            (&json!("invoiced"), &json!("invoiced")),
            "B-77"
        );
        let bus = old["inputs"]["bus"]["componentName"].clone();
        assert_eq!((&old["outputs"]["done"]["componentName"], &new["triggers"]["dapr"][0]["name"]), (&bus, &bus));
        let ledger = &old["states"]["ledger"];
        assert!(ledger["componentName"].as_str().unwrap().starts_with("orders-state-ledger-"), "{ledger}");
        assert_eq!((&ledger["componentType"], &old["runtime"]), (&json!("state.redis"), &json!("Async")));
    }

    #[test]
    fn plugins_of_the_annotation_stand_around_those_of_tracing() {
        let annotations = json!({"plugins": "order: [audit, log]", "plugins.tracing": "enabled: true\nprovider: {name: skywalking, oapServer: 'oap.obs:11800'}"});
        let contexts = rendered(annotations, json!({"image": "a", "triggers": {"http": {}}}));
        let context: Value = serde_json::from_str(&contexts.v1beta1).unwrap();
        assert_eq!(context["prePlugins"], json!(["audit", "log", "skywalking"]));
        assert_eq!(context["postPlugins"], json!(["skywalking", "log", "audit"]));
        assert_eq!(context["pluginsTracing"]["provider"]["oapServer"], "oap.obs:11800");
    }

    #[test]
    fn b78_hooks_of_today_reach_both_contexts() {
        let contexts = rendered(
            json!({}),
            json!({"image": "a", "triggers": {"http": {}}, "hooks": {"pre": ["a"], "post": ["b"]}}),
        );
        let [old, new] =
            [&contexts.v1beta1, &contexts.v1beta2].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!((&old["prePlugins"], &new["preHooks"]), (&json!(["a"]), &json!(["a"])));
        assert_eq!((&old["postPlugins"], &new["postHooks"]), (&json!(["b"]), &json!(["b"])));
    }

    #[test]
    fn b75_a_function_with_requests_and_events_is_not_asynchronous() {
        let triggers = json!({"http": {}, "dapr": [{"name": "bus", "type": "pubsub.redis", "topic": "paid"}]});
        let context: Value =
            serde_json::from_str(&rendered(json!({}), json!({"image": "a", "triggers": triggers})).v1beta1).unwrap();
        assert_eq!((&context["runtime"], &context["inputs"]["bus"]["uri"]), (&json!("Knative"), &json!("paid")));
    }

    fn with_globals(data: Value, spec: Value) -> (Value, Value) {
        let map = serde_json::from_value(json!({ "data": data })).unwrap();
        let mut whole = json!({"image": "a", "triggers": {"http": {}}});
        spec.as_object().unwrap().iter().for_each(|(field, value)| whole[field] = value.clone());
        let serving: Serving = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": whole})).unwrap();
        let contexts = of(&serving, Globals::read(Some(&map), "knative-serving"));
        let read = |text: &str| serde_json::from_str(text).unwrap();
        (read(&contexts.v1beta1), read(&contexts.v1beta2))
    }

    #[test]
    fn fn18_hooks_of_every_function_stand_around_those_of_this_one() {
        let globals = json!({"hooks": "pre: [g1]\npost: [g2]"});
        let own = |policy: &str| json!({"hooks": {"pre": ["a"], "post": ["b"], "policy": policy}});
        let (old, new) = with_globals(globals.clone(), own("Append"));
        assert_eq!((&new["preHooks"], &new["postHooks"]), (&json!(["g1", "a"]), &json!(["b", "g2"])));
        assert_eq!((&old["prePlugins"], &old["postPlugins"]), (&json!(["g1", "a"]), &json!(["b", "g2"])));
        let (_, alone) = with_globals(globals, own("Override"));
        assert_eq!((&alone["preHooks"], &alone["postHooks"]), (&json!(["a"]), &json!(["b"])));
        let order = json!({"plugins": "order: [x, y]"});
        let (old, _) = with_globals(order.clone(), json!({}));
        assert_eq!((&old["prePlugins"], &old["postPlugins"]), (&json!(["x", "y"]), &json!(["y", "x"])));
        let (old, _) = with_globals(order, own("Append"));
        assert_eq!((&old["prePlugins"], &old["postPlugins"]), (&json!(["x", "y", "a"]), &json!(["b", "y", "x"])));
    }

    #[test]
    fn b76_annotations_that_cannot_be_read_are_told() {
        let annotations = json!({"plugins": "pre: {", "plugins.tracing": "enabled: true"});
        let serving: Serving = serde_json::from_value(
            json!({"metadata": {"name": "s", "annotations": annotations}, "spec": {"image": "a"}}),
        )
        .unwrap();
        let told = unreadable(&serving);
        assert!(told[0].starts_with("metadata.annotations[plugins]: "), "{told:?}");
        assert!(
            told[1].starts_with("metadata.annotations[plugins.tracing]: ") && told[1].contains("provider"),
            "{told:?}"
        );
    }

    #[test]
    fn tracing_that_is_switched_off_for_all_is_off_in_both_contexts() {
        let old = "enabled: true\nprovider: {name: skywalking}";
        let (old, new) = with_globals(
            json!({"tracing": "enabled: false\nprovider: {name: skywalking}", "plugins.tracing": old}),
            json!({}),
        );
        assert_eq!((&old["pluginsTracing"], &new["tracing"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn fn19_tracing_of_either_generation_reaches_both_contexts() {
        let tracing =
            "enabled: true\nprovider: {name: opentelemetry, exporter: {name: otlp, endpoint: 'http://otel:4317'}}";
        for key in ["tracing", "plugins.tracing"] {
            let (old, new) = with_globals(json!({ key: tracing }), json!({}));
            assert_eq!(old["pluginsTracing"]["provider"]["exporter"]["endpoint"], "http://otel:4317", "{key}");
            assert_eq!(new["tracing"]["provider"]["name"], "opentelemetry", "{key}");
            assert_eq!(old["prePlugins"], json!(["opentelemetry"]));
        }
        let own = json!({"enabled": true, "provider": {"name": "skywalking", "oapServer": "oap:11800"}});
        let text = rendered(json!({}), json!({"image": "a", "triggers": {"http": {}}, "tracing": own})).v1beta1;
        let ends = r#""pluginsTracing":{"enabled":true,"provider":{"name":"skywalking","oapServer":"oap:11800"},"baggage":null}}"#;
        assert!(text.ends_with(ends), "as the original wrote it: {text}");
    }

    #[test]
    fn tr5_a_function_on_keda_reads_that_it_is() {
        let spec = json!({"image": "a", "version": "v1", "triggers": {"http": {"port": 8080, "engine": "keda"}}});
        let contexts = rendered(json!({}), spec);
        assert_eq!(contexts.v1beta1, r#"{"name":"orders","version":"v1","runtime":"Knative","port":"8080"}"#);
        assert_eq!(
            contexts.v1beta2,
            r#"{"name":"orders","version":"v1","triggers":{"http":{"port":8080,"engine":"keda"}}}"#
        );
    }
}
