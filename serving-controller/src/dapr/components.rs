//! The Dapr Components of a function: those that it declares, and those that it only names.

use std::collections::BTreeMap;

use controller_runtime::{
    children::json,
    names::{self, DNS_LABEL},
    optional::OptionalApi,
};
use openfunction_proto::core::{ComponentSpec, DaprTrigger, KedaTrigger, ServingImpl, State};
use serde_json::{Value, json};

use super::{Mode, app_id, jetstream, metadata, object, triggers};
use crate::validate::{Invalid, Valid};

/// Dapr's Components; where they are served, Dapr is installed.
pub const COMPONENTS: OptionalApi = OptionalApi { group: "dapr.io", version: "v1alpha1", plural: "components" };

/// The types of components that are there, by name.
pub type Types<'a> = dyn Fn(&str) -> Option<String> + Sync + 'a;

/// A component that the function declares.
#[derive(Clone, Debug, PartialEq)]
struct Declared<'a> {
    /// The first part of its type: `bindings`, `pubsub`, `state` or `configuration`.
    block: &'static str,
    key: &'a str,
    spec: &'a ComponentSpec,
}

fn declared<'a>(spec: &'a ServingImpl) -> impl Iterator<Item = Declared<'a>> {
    let bindings = spec.bindings.iter().map(|(key, spec)| Declared { block: "bindings", key, spec });
    let pubsub = spec.pubsub.iter().map(|(key, spec)| Declared { block: "pubsub", key, spec });
    let stores = |block: &'static str, stores: &'a BTreeMap<String, State>| {
        stores.iter().filter_map(move |(key, store)| Some(Declared { block, key, spec: store.spec.as_ref()? }))
    };
    let states = stores("state", &spec.states);
    bindings.chain(pubsub).chain(states).chain(stores("configuration", &spec.configurations))
}

/// What a component is made as; its name tells its content, so that revisions which declare the same share one, and no
/// message broker is asked twice (design §7).
fn made(function: &str, app_id: &str, of: &Declared) -> (String, ComponentSpec) {
    let mut spec = jetstream::mapped(of.spec).map_or_else(|| of.spec.clone(), |(spec, _)| spec);
    if spec.version.is_empty() {
        spec.version = "v1".to_owned();
    }
    for setting in &mut spec.metadata {
        // Clients of Go write what is not there as empty.
        setting.secret_key_ref =
            setting.secret_key_ref.take().filter(|key| !key.name.is_empty() || !key.key.is_empty());
    }
    let hash = names::hash(&json!([of.key, app_id, spec]));
    let label: String =
        of.key.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    (names::child(&format!("{function}-{}-{}", of.block, label.trim_matches('-')), &hash, DNS_LABEL), spec)
}

/// The components that a revision declares, by their names.
fn all_made(valid: &Valid) -> impl Iterator<Item = (String, ComponentSpec)> {
    let app_id = app_id(valid);
    declared(&valid.serving.spec.serving).map(move |component| made(&valid.function, &app_id, &component))
}

/// Names of the Components of a revision.
pub fn names(valid: &Valid) -> Vec<String> {
    all_made(valid).map(|(name, _)| name).collect()
}

/// The Components of a revision. They belong to every revision that declares the same.
pub fn components(valid: &Valid) -> Vec<Value> {
    let component = |(name, spec)| object("Component", metadata(valid, name, &[]), json(&spec), app_id(valid));
    all_made(valid).map(component).collect()
}

/// Sentences about components and scalers of NATS Streaming.
pub fn mapped(spec: &ServingImpl) -> Vec<String> {
    let keda = spec.scale_options.iter().filter_map(|options| options.keda.as_ref());
    let is_mapped = |trigger: &&KedaTrigger| jetstream::scaler(trigger).is_some();
    let scalers = keda.flat_map(|keda| &keda.triggers).filter(is_mapped).map(|_| {
        "scaleOptions.keda.triggers: scaler stan is made as nats-jetstream, on the stream of the subject's name"
            .to_owned()
    });
    let sentence = |component: Declared| {
        let (_, dropped) = jetstream::mapped(component.spec)?;
        let dropped = if dropped.is_empty() { String::new() } else { format!(", without {}", dropped.join(", ")) };
        Some(format!("pubsub.{}: NATS Streaming is no more; it is made as pubsub.jetstream{dropped}", component.key))
    };
    declared(spec).filter_map(sentence).chain(scalers).collect()
}

/// The components that a function speaks of, as Dapr knows them: by the name that the function has for each.
#[derive(Clone, Debug, Default)]
pub struct Components {
    by_name: BTreeMap<(String, Option<String>), (String, String)>,
}

impl Components {
    /// Looks up every component that a revision speaks of. `types` are those of components that are there.
    ///
    /// # Errors
    /// A component that is neither declared nor there, with the field that names it.
    pub fn of(valid: &Valid, types: &Types) -> Result<Self, Invalid> {
        let mut found = Self::default();
        let spec = &valid.serving.spec.serving;
        for (path, name, type_) in named(spec) {
            let known = match resolve(valid, &name, type_.as_deref(), types) {
                Some(known) => known,
                // Nobody may look for what is not there.
                None if valid.dapr == Mode::Off => (name.clone(), String::new()),
                None => return Err(Invalid::Component { path, name }),
            };
            found.by_name.insert((name, type_), known);
        }
        let triggers = if valid.dapr == Mode::Off { Vec::new() } else { triggers(spec) };
        for (index, trigger) in triggers.iter().enumerate() {
            let (_, type_) = found.get(&trigger.name, trigger.type_.as_deref());
            validate_topic(&format!("spec.triggers.dapr[{index}]"), trigger, type_)?;
        }
        Ok(found)
    }

    /// Name and type of a component.
    pub fn get<'a>(&'a self, name: &'a str, type_: Option<&'a str>) -> (&'a str, &'a str) {
        let known = self.by_name.get(&(name.to_owned(), type_.map(str::to_owned)));
        known.map_or((name, type_.unwrap_or_default()), |(name, type_)| (name, type_))
    }
}

/// Looks at what a trigger says of topics, which only pub/sub components have (TR8, TR16).
fn validate_topic(path: &str, trigger: &DaprTrigger, type_: &str) -> Result<(), Invalid> {
    let has_topics = type_.starts_with("pubsub.");
    if has_topics && trigger.topic.as_deref().unwrap_or_default().is_empty() {
        return Err(Invalid::Topic { path: format!("{path}.topic"), type_: type_.to_owned() });
    }
    let refused = |field: &str, value: String| Invalid::Value {
        path: format!("{path}.{field}"),
        value,
        why: format!("must be absent, since component {:?} of type {type_:?} has no topics", trigger.name),
    };
    match (&trigger.dead_letter_topic, &trigger.bulk_subscribe) {
        _ if has_topics || type_.is_empty() => Ok(()),
        (Some(topic), _) => Err(refused("deadLetterTopic", topic.clone())),
        (_, Some(bulk)) => Err(refused("bulkSubscribe", json!(bulk).to_string())),
        _ => Ok(()),
    }
}

/// Whether a function speaks of a component of a name.
pub fn speaks_of(spec: &ServingImpl, name: &str) -> bool {
    named(spec).iter().any(|(_, named, _)| named == name)
}

/// Every component that a function speaks of: the field, the name, and the type if it says one.
fn named(spec: &ServingImpl) -> Vec<(String, String, Option<String>)> {
    let triggers = triggers(spec).into_iter().enumerate();
    let triggers =
        triggers.map(|(index, trigger)| (format!("spec.triggers.dapr[{index}].name"), trigger.name, trigger.type_));
    let inputs = spec.triggers.iter().flat_map(|triggers| &triggers.inputs).enumerate();
    let inputs = inputs.filter_map(|(index, input)| {
        let dapr = input.dapr.clone()?;
        Some((format!("spec.triggers.inputs[{index}].dapr.name"), dapr.name, dapr.type_))
    });
    let outputs = spec.outputs.iter().enumerate().filter_map(|(index, output)| {
        let dapr = output.dapr.clone()?;
        Some((format!("spec.outputs[{index}].dapr.name"), dapr.name.or(dapr.component)?, dapr.type_))
    });
    let stores = |block: &'static str, stores: &BTreeMap<String, State>| -> Vec<_> {
        let store = |(key, store): (&String, &State)| {
            (format!("spec.{block}s.{key}"), key.clone(), store_type(block, store).map(str::to_owned))
        };
        stores.iter().map(store).collect()
    };
    let (states, configurations) = (stores("state", &spec.states), stores("configuration", &spec.configurations));
    triggers.chain(inputs).chain(outputs).chain(states).chain(configurations).collect()
}

/// What a store that is declared is looked up by, lest another component of its key is found; one that is there has a type
/// of its own.
pub fn store_type(block: &'static str, store: &State) -> Option<&'static str> {
    store.spec.as_ref().map(|_| block)
}

/// Name and type of a component: one that is declared, else one that is there.
fn resolve(valid: &Valid, name: &str, type_: Option<&str>, types: &Types) -> Option<(String, String)> {
    find(valid, name, type_).or_else(|| {
        let type_ = type_.map(str::to_owned).or_else(|| types(name))?;
        Some((name.to_owned(), type_))
    })
}

/// Name and type of a component that is declared, first in the block that the type names (B-74).
fn find(valid: &Valid, name: &str, type_: Option<&str>) -> Option<(String, String)> {
    let spec = &valid.serving.spec.serving;
    let block = type_.unwrap_or_default().split('.').next().unwrap_or_default();
    let of_name = || declared(spec).filter(|component| component.key == name);
    let component = of_name().find(|component| component.block == block).or_else(|| of_name().next())?;
    let (name, made) = made(&valid.function, &app_id(valid), &component);
    Some((name, made.type_))
}

/// The name by which Dapr knows a component.
pub fn name_of(valid: &Valid, name: &str, type_: Option<&str>) -> String {
    find(valid, name, type_).map_or_else(|| name.to_owned(), |(name, _)| name)
}
