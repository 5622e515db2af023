//! Conversion between `v1beta1` and `v1beta2` of the group `core.openfunction.io` (core-api §12). Nothing is lost either
//! way: what the other version cannot hold is kept in an annotation and comes back. Objects are taken as the JSON that
//! they are, so that none can be refused.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kept::{Kept, difference, fill};
use crate::crds;

/// Annotation of an object in `v1beta2`: what it says in `v1beta1` only.
pub const KEPT_OF_V1BETA1: &str = "openfunction.io/v1beta1";
/// Annotation of an object in `v1beta1`: what it says in `v1beta2` only.
pub const KEPT_OF_V1BETA2: &str = "openfunction.io/v1beta2";

const V1BETA1: &str = "core.openfunction.io/v1beta1";
const V1BETA2: &str = "core.openfunction.io/v1beta2";

type Fields = Map<String, Value>;

/// An object in another version (`group/version`).
///
/// # Errors
/// A kind or version that this group does not have.
pub fn convert(mut object: Value, version: &str) -> Result<Value, String> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, is) = (Kind::named(&text("kind"))?, text("apiVersion"));
    let (from, to) = match (&*is, version) {
        _ if is == version => return Ok(object),
        (V1BETA1, V1BETA2) => (Version::V1beta1, Version::V1beta2),
        (V1BETA2, V1BETA1) => (Version::V1beta2, Version::V1beta1),
        _ => return Err(format!("there is no conversion from {is:?}")),
    };
    let kept = take_annotation(&mut object, to.kept());
    take_annotation(&mut object, from.kept());
    let mapped = kind.map(&object, to);
    let filled = match kept.as_deref().map(serde_json::from_str::<Note>) {
        Some(Ok(mut note)) => {
            if matches!(to, Version::V1beta2) && note.of != digest(&object) {
                kind.forget_old_words(&mut note.kept);
            }
            fill(Some(mapped), &note.kept).unwrap_or_default()
        }
        // Somebody has written over it.
        None | Some(Err(_)) => mapped,
    };
    let lost = difference(Some(&body(&object)), Some(&kind.map(&filled, from)));
    let mut converted = object;
    let Some(fields) = converted.as_object_mut() else { return Ok(converted) };
    fields.insert("apiVersion".to_owned(), json!(version));
    for part in PARTS {
        fields.remove(part);
        fields.extend(filled.get(part).map(|value| (part.to_owned(), value.clone())));
    }
    if let Some(lost) = lost {
        let note = Note { of: digest(&filled), kept: lost };
        annotate(fields, from.kept(), &serde_json::to_string(&note).map_err(|error| error.to_string())?);
    }
    Ok(converted)
}

/// What is kept beside an object.
#[derive(Deserialize, Serialize)]
struct Note {
    /// Digest of the spec beside which it was put.
    of: String,
    kept: Kept,
}

/// Tells whether a spec is as it was; another one between releases does no harm.
fn digest(object: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    object.get("spec").map(Value::to_string).hash(&mut hasher);
    format!("{:x}", hasher.finish())
}

#[derive(Clone, Copy)]
enum Version {
    V1beta1,
    V1beta2,
}

impl Version {
    /// The annotation that has what only this version says.
    fn kept(self) -> &'static str {
        match self {
            Self::V1beta1 => KEPT_OF_V1BETA1,
            Self::V1beta2 => KEPT_OF_V1BETA2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V1beta1 => "v1beta1",
            Self::V1beta2 => "v1beta2",
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Function,
    Builder,
    Serving,
}

impl Kind {
    fn named(name: &str) -> Result<Self, String> {
        match name {
            "Function" => Ok(Self::Function),
            "Builder" => Ok(Self::Builder),
            "Serving" => Ok(Self::Serving),
            _ => Err(format!("{name:?} has one version only")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Function => "Function",
            Self::Builder => "Builder",
            Self::Serving => "Serving",
        }
    }

    /// Spec and status in the words of a version, as far as it has them.
    fn map(self, object: &Value, to: Version) -> Value {
        let mut body = body(object);
        if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
            match to {
                Version::V1beta1 => self.down(spec),
                Version::V1beta2 => self.up(spec),
            }
        }
        if let Some(schema) = SCHEMAS.get(&(self.name(), to.name())) {
            prune(&mut body, schema);
        }
        body
    }

    /// Leaves out what `v1beta2` says in words of `v1beta1`, and what it would have been moved to: it is in the spec that
    /// was changed meanwhile, and would contradict it.
    fn forget_old_words(self, kept: &mut Kept) {
        let serving: &[&str] = if matches!(self, Self::Serving) { &["spec"] } else { &["spec", "serving"] };
        let Some(of_serving) = kept.fields(serving) else { return };
        of_serving.remove("runtime");
        if of_serving.remove("inputs").is_some() {
            match of_serving.get_mut("triggers") {
                Some(Kept::In(triggers)) => drop(triggers.remove("dapr")),
                _ => drop(of_serving.remove("triggers")),
            }
        }
        let below = |path: &[&'static str]| [serving, path].concat();
        let bounds = ["minReplicaCount", "maxReplicaCount"];
        let mut is_old = false;
        for scaler in ["scaledObject", "scaledJob"] {
            if let Some(scaled) = kept.fields(&below(&["scaleOptions", "keda", scaler])) {
                is_old |= bounds.into_iter().filter(|bound| scaled.remove(*bound).is_some()).count() > 0;
            }
        }
        if let Some(options) = kept.fields(&below(&["scaleOptions"])).filter(|_| is_old) {
            options.remove("minReplicas");
            options.remove("maxReplicas");
        }
    }

    fn up(self, spec: &mut Fields) {
        match self {
            Self::Function => {
                inside(spec, "build", build_up);
                let (port, route) = (spec.remove("port"), spec.remove("route"));
                inside(spec, "serving", |serving| serving_up(serving, port, route));
            }
            Self::Builder => build_up(spec),
            Self::Serving => {
                let port = spec.remove("port");
                serving_up(spec, port, None);
            }
        }
    }

    fn down(self, spec: &mut Fields) {
        match self {
            Self::Function => {
                inside(spec, "build", build_down);
                let http = spec.get_mut("serving").and_then(Value::as_object_mut).map(serving_down).unwrap_or_default();
                for field in ["port", "route"] {
                    spec.extend(http.get(field).map(|value| (field.to_owned(), value.clone())));
                }
            }
            Self::Builder => build_down(spec),
            Self::Serving => {
                let http = serving_down(spec);
                spec.extend(http.get("port").map(|port| ("port".to_owned(), port.clone())));
            }
        }
    }
}

const PARTS: [&str; 2] = ["spec", "status"];

/// What is converted of an object.
fn body(object: &Value) -> Value {
    PARTS.into_iter().filter_map(|part| Some((part.to_owned(), object.get(part)?.clone()))).collect::<Fields>().into()
}

/// `build.params` are parameters of the strategy.
fn build_up(build: &mut Fields) {
    let Some(Value::Object(params)) = build.remove("params") else { return };
    let params: Vec<_> = params.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    child(build, "shipwright").insert("params".to_owned(), json!(params));
}

/// Parameters with a literal value, which `v1beta1` has alone.
fn build_down(build: &mut Fields) {
    let Some(Value::Object(shipwright)) = build.get_mut("shipwright") else { return };
    let (params, count): (Fields, _) = match shipwright.remove("params") {
        Some(Value::Array(params)) => (params.iter().filter_map(literal).collect(), params.len()),
        // As manifests have it that were written for v1beta1 (core-api §2.4).
        Some(Value::Object(params)) => {
            let count = params.len();
            (params.into_iter().filter_map(|(name, value)| Some((name, text(&value)?))).collect(), count)
        }
        _ => return,
    };
    // What v1beta1 does not have of them needs a place to come back to.
    if shipwright.is_empty() && params.len() == count {
        build.remove("shipwright");
    }
    if !params.is_empty() {
        build.insert("params".to_owned(), params.into());
    }
}

/// A value of such a map as text.
fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(_) | Value::Bool(_) => Some(json!(value.to_string())),
        _ => None,
    }
}

fn literal(param: &Value) -> Option<(String, Value)> {
    let value = param.get("value").filter(|value| value.is_string())?;
    Some((param.get("name")?.as_str()?.to_owned(), value.clone()))
}

fn serving_up(serving: &mut Fields, port: Option<Value>, route: Option<Value>) {
    let scalers = serving.remove("triggers");
    let is_async = serving.get("runtime").and_then(Value::as_str) == Some("async");
    let inputs = array(serving.remove("inputs"));
    let triggers = match (is_async, inputs.is_empty()) {
        // Without `runtime` it would be taken for one that is called over HTTP.
        (true, true) => None,
        (true, false) => {
            let dapr: Vec<_> = inputs.iter().map(|input| trigger(input, serving)).collect();
            Some(json!({ "dapr": dapr }))
        }
        (false, _) => {
            let http = [("port", port), ("route", route)].into_iter();
            let http: Fields = http.filter_map(|(field, value)| Some((field.to_owned(), value?))).collect();
            Some(json!({ "http": http }))
        }
    };
    if let Some(triggers) = triggers {
        serving.remove("runtime");
        serving.insert("triggers".to_owned(), triggers);
    }
    let outputs = array(serving.remove("outputs"));
    if !outputs.is_empty() {
        let outputs: Vec<_> = outputs.iter().map(|io| json!({"dapr": output(io, serving)})).collect();
        serving.insert("outputs".to_owned(), json!(outputs));
    }
    inside(serving, "states", |states| states.values_mut().for_each(|state| *state = json!({"spec": state.take()})));
    keda_up(serving);
    let scalers = array(scalers);
    if !scalers.is_empty() {
        let keda = child(child(serving, "scaleOptions"), "keda");
        keda.insert("triggers".to_owned(), scalers.into());
    }
}

/// What is said of HTTP is returned.
fn serving_down(serving: &mut Fields) -> Fields {
    let triggers = object(serving.remove("triggers"));
    let deprecated = array(serving.remove("inputs"));
    let inputs: Vec<_> = array(triggers.get("dapr").cloned()).iter().map(input).chain(deprecated).collect();
    let says_async = serving.get("runtime").and_then(Value::as_str) == Some("async");
    let http = triggers.get("http");
    let is_async = http.is_none() && (says_async || !inputs.is_empty());
    serving.insert("runtime".to_owned(), json!(if is_async { "async" } else { "knative" }));
    if is_async && !inputs.is_empty() {
        serving.insert("inputs".to_owned(), inputs.into());
    }
    let outputs = array(serving.remove("outputs"));
    let outputs: Vec<_> = outputs.iter().filter_map(|output| Some(io(output.get("dapr")?))).collect();
    if !outputs.is_empty() {
        serving.insert("outputs".to_owned(), json!(outputs));
    }
    if let Some(Value::Object(states)) = serving.remove("states") {
        // One without a spec is a Component that is there already, which v1beta1 does not know.
        let with_spec = states.into_iter().filter_map(|(name, state)| Some((name, state.get("spec")?.clone())));
        let states: Fields = with_spec.collect();
        if !states.is_empty() {
            serving.insert("states".to_owned(), states.into());
        }
    }
    keda_down(serving);
    object(http.cloned())
}

/// A trigger, with the type of the component that the function declares.
fn trigger(input: &Value, serving: &Fields) -> Value {
    let component = input.get("component");
    picked(&[
        ("name", component),
        ("type", type_of(component, serving)),
        ("topic", input.get("topic")),
        ("inputName", input.get("name").filter(|name| **name != json!(""))),
    ])
}

fn input(trigger: &Value) -> Value {
    let mut input = picked(&[
        ("component", trigger.get("name")),
        ("topic", trigger.get("topic")),
        ("name", trigger.get("inputName")),
    ]);
    named(&mut input);
    input
}

fn output(io: &Value, serving: &Fields) -> Value {
    let component = io.get("component");
    picked(&[
        ("name", component),
        ("type", type_of(component, serving)),
        ("topic", io.get("topic")),
        ("metadata", io.get("params")),
        ("operation", io.get("operation")),
        ("outputName", io.get("name").filter(|name| **name != json!(""))),
    ])
}

fn io(output: &Value) -> Value {
    let mut io = picked(&[
        ("component", output.get("name").or_else(|| output.get("component"))),
        ("topic", output.get("topic")),
        ("params", output.get("metadata")),
        ("operation", output.get("operation")),
        ("name", output.get("outputName")),
    ]);
    named(&mut io);
    io
}

/// `v1beta1` cannot do without a name.
fn named(io: &mut Value) {
    if let Some(fields) = io.as_object_mut() {
        fields.entry("name").or_insert_with(|| json!(""));
    }
}

fn type_of<'a>(component: Option<&Value>, serving: &'a Fields) -> Option<&'a Value> {
    let name = component?.as_str()?;
    ["bindings", "pubsub"].into_iter().find_map(|kind| serving.get(kind)?.get(name)?.get("type"))
}

/// Bounds and workload stand outside of KEDA's options. Those of its options win, of a ScaledJob before a ScaledObject.
fn keda_up(serving: &mut Fields) {
    let mut workload = None;
    inside(serving, "scaleOptions", |options| {
        let Some(Value::Object(keda)) = options.get_mut("keda") else { return };
        let mut bounds = Vec::new();
        inside(keda, "scaledObject", |scaled| {
            workload = Some(scaled.remove("workloadType").unwrap_or_else(|| json!("Deployment")));
            bounds.push(("minReplicas", scaled.remove("minReplicaCount")));
            bounds.push(("maxReplicas", scaled.remove("maxReplicaCount")));
        });
        inside(keda, "scaledJob", |scaled| {
            workload = Some(json!("Job"));
            bounds.push(("maxReplicas", scaled.remove("maxReplicaCount")));
        });
        options.extend(bounds.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
    });
    serving.extend(workload.map(|workload| ("workloadType".to_owned(), workload)));
}

/// One place for each bound, the one that wins: an old client that changes it there is heard.
fn keda_down(serving: &mut Fields) {
    let workload =
        serving.remove("workloadType").filter(|workload| ["Deployment", "StatefulSet"].iter().any(|w| workload == w));
    let mut scalers = None;
    inside(serving, "scaleOptions", |options| {
        let (mut min, mut max) = (options.remove("minReplicas"), options.remove("maxReplicas"));
        if let Some(Value::Object(keda)) = options.get_mut("keda") {
            scalers = keda.remove("triggers").filter(Value::is_array);
            // Of those that were said for KEDA alone, as they may be in v1beta2, too (goals Q8).
            let give = |scaled: &mut Fields, field: &str, bound: &mut Option<Value>| {
                if let Some(bound) = bound.take() {
                    scaled.entry(field).or_insert(bound);
                }
            };
            inside(keda, "scaledJob", |scaled| give(scaled, "maxReplicaCount", &mut max));
            inside(keda, "scaledObject", |scaled| {
                scaled.extend(workload.map(|workload| ("workloadType".to_owned(), workload)));
                give(scaled, "minReplicaCount", &mut min);
                give(scaled, "maxReplicaCount", &mut max);
            });
            if keda.is_empty() {
                options.remove("keda");
            }
        }
        let bounds = [("minReplicas", min), ("maxReplicas", max)].into_iter();
        options.extend(bounds.filter_map(|(field, bound)| Some((field.to_owned(), bound?))));
    });
    if scalers.is_some() && serving.get("scaleOptions").and_then(Value::as_object).is_some_and(Fields::is_empty) {
        serving.remove("scaleOptions");
    }
    serving.extend(scalers.map(|scalers| ("triggers".to_owned(), scalers)));
}

/// The fields that have a value.
fn picked(fields: &[(&str, Option<&Value>)]) -> Value {
    fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.clone()))).collect::<Fields>().into()
}

fn inside(parent: &mut Fields, field: &str, change: impl FnOnce(&mut Fields)) {
    if let Some(Value::Object(fields)) = parent.get_mut(field) {
        change(fields);
    }
}

/// An object in a field, made if there is none.
fn child<'a>(parent: &'a mut Fields, field: &str) -> &'a mut Fields {
    let value = parent.entry(field).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object")
}

fn array(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(elements)) => elements,
        _ => Vec::new(),
    }
}

fn object(value: Option<Value>) -> Fields {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Fields::new(),
    }
}

fn take_annotation(object: &mut Value, name: &str) -> Option<String> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let value = annotations.remove(name);
    if value.is_some() && annotations.is_empty() {
        metadata.remove("annotations");
    }
    value?.as_str().map(str::to_owned)
}

fn annotate(object: &mut Fields, name: &str, value: &str) {
    child(child(object, "metadata"), "annotations").insert(name.to_owned(), json!(value));
}

/// Schemas of spec and status by kind and version.
static SCHEMAS: LazyLock<BTreeMap<(&'static str, &'static str), Value>> = LazyLock::new(|| {
    let crds = crds::all();
    let schema = |kind: Kind, version: Version| {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind.name())?;
        let version = crd.spec.versions.iter().find(|of| of.name == version.name())?;
        let schema = json!(version.schema.as_ref()?.open_api_v3_schema);
        let parts: Fields =
            PARTS.into_iter().map(|part| (part.to_owned(), schema["properties"][part].clone())).collect();
        Some(json!({"type": "object", "properties": parts}))
    };
    let kinds = [Kind::Function, Kind::Builder, Kind::Serving].into_iter();
    let all = kinds.flat_map(|kind| [(kind, Version::V1beta1), (kind, Version::V1beta2)]);
    all.filter_map(|(kind, version)| Some(((kind.name(), version.name()), schema(kind, version)?))).collect()
});

/// Takes out what a schema does not have, as the API server does.
fn prune(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let keeps =
                schema["x-kubernetes-preserve-unknown-fields"] == true || schema["additionalProperties"] == true;
            let (properties, of_others) = (&schema["properties"], &schema["additionalProperties"]);
            fields.retain(|name, _| keeps || of_others.is_object() || properties.get(name).is_some());
            for (name, value) in fields {
                let of_this = properties.get(name).or_else(|| of_others.is_object().then_some(of_others));
                if let Some(schema) = of_this {
                    prune(value, schema);
                }
            }
        }
        Value::Array(elements) if schema["items"].is_object() => {
            elements.iter_mut().for_each(|element| prune(element, &schema["items"]));
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
