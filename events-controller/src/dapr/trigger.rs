//! The handler of a Trigger (events §9, §16).

use std::collections::BTreeMap;

use event_bus::jetstream::durable_name;
use kube::ResourceExt;
use openfunction_proto::{
    core::{ScaleOptions, ServingImpl},
    events::{SinkSpec, Trigger, TriggerSpec},
};
use serde::Serialize;

use super::{Parts, component, log_level, not_supported, sink_key};
use crate::{bus::Found, plan::Settings, problem::Problem, trigger::namespace_of};

/// What the program is told, with the names of the original.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    event_bus_component: String,
    inputs: Vec<Input>,
    subscribers: BTreeMap<String, Outputs>,
    log_level: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    name: String,
    namespace: String,
    event_source: String,
    event: String,
}

/// Where the events of a subscriber go.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outputs {
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_output_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dl_sink_output_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bus_output_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dl_event_bus_output_name: Option<String>,
}

/// As whom a Trigger reads its bus. Where it begins is a part of the name: a consumer that exists cannot have it changed.
pub fn consumer(trigger: &Trigger, bus: &Found) -> String {
    let (namespace, name) = (trigger.namespace().unwrap_or_default(), trigger.name_any());
    let start = if bus.reading().from_the_beginning { "-all" } else { "" };
    format!("{namespace}-ebft-{name}{start}")
}

/// How the handler of a Trigger runs that would have `native` as the configuration of one of our own.
///
/// # Errors
/// It cannot, or not with Dapr.
pub fn serving(
    trigger: &Trigger,
    bus: &Found,
    native: &event_trigger::config::Config,
    scale: ScaleOptions,
    settings: &Settings,
) -> Result<ServingImpl, Problem> {
    let (namespace, name) = (trigger.namespace().unwrap_or_default(), trigger.name_any());
    let mut parts = Parts::default();
    let bus_key = format!("ebft-{name}");
    inputs(&bus_key, (bus, &consumer(trigger, bus)), native, &mut parts)?;
    let mut subscribers = BTreeMap::new();
    for (of, native) in trigger.spec.subscribers.iter().zip(&native.subscribers) {
        let mut sink = |spec: Option<&SinkSpec>, url: Option<&String>| {
            Some(parts.numbered_sink(&format!("so-t-{name}"), sink_key(&name, spec, &namespace), url?))
        };
        let sink_output_name = sink(of.sink.as_ref(), native.sink.as_ref());
        // BUG-E10: it has a component of its own, too.
        let dl_sink_output_name = sink(of.dead_letter_sink.as_ref(), native.dead_letter_sink.as_ref());
        let mut topic = |topic: Option<&String>| topic.map(|topic| parts.topic(&bus_key, topic));
        let event_bus_output_name = topic(native.topic.as_ref());
        let dl_event_bus_output_name = topic(native.dead_letter_topic.as_ref());
        let outputs =
            Outputs { sink_output_name, dl_sink_output_name, event_bus_output_name, dl_event_bus_output_name };
        subscribers.insert(unlike(&of.condition, &subscribers), outputs);
    }
    let input = |(name, of): (&String, &openfunction_proto::events::Input)| Input {
        name: name.clone(),
        namespace: namespace_of(of, &namespace).to_owned(),
        event_source: of.event_source.clone(),
        event: of.event.clone(),
    };
    let config = Config {
        event_bus_component: bus_key,
        inputs: trigger.spec.inputs.iter().map(input).collect(),
        subscribers,
        log_level: log_level(trigger.spec.log_level.as_ref()),
    };
    parts.serving(&config, scale, Some(bus), settings)
}

/// The topics that are read, and the bus that has them, under `key`.
fn inputs(
    key: &str,
    (bus, consumer): (&Found, &str),
    native: &event_trigger::config::Config,
    parts: &mut Parts,
) -> Result<(), Problem> {
    let mut topics = BTreeMap::new();
    for (name, input) in &native.inputs {
        if let Some(other) = topics.insert(input.topic.as_str(), name) {
            let why = format!("is the same event as {other}, and handlers of Dapr know each by one name only");
            return Err(not_supported(&format!("spec.inputs[{name}]"), &why));
        }
    }
    for (index, topic) in topics.into_keys().enumerate() {
        // A consumer of JetStream reads one topic, and a component has one consumer.
        let own = bus.has_consumers().then(|| durable_name(consumer, topic));
        let key = if own.is_some() && index > 0 { format!("{key}-{}", index + 1) } else { key.to_owned() };
        let component = component::bus(bus, Some(own.as_deref().unwrap_or(consumer)))?;
        parts.input(&format!("ti-{topic}"), (&key, &component.type_), Some(topic));
        parts.pubsub.insert(key, component);
        parts.consumers.extend(own.map(|own| (topic.to_owned(), own)));
    }
    Ok(())
}

/// A condition that says the same and is none of those that are there (BUG-E27): the program knows subscribers by it.
fn unlike(condition: &str, those: &BTreeMap<String, Outputs>) -> String {
    let mut condition = condition.to_owned();
    while those.contains_key(&condition) {
        // It may end with a comment.
        condition = format!("({condition}\n)");
    }
    condition
}

/// Fields of a Trigger that are set and that its handler does not use.
pub fn unused(spec: &TriggerSpec) -> Vec<String> {
    let TriggerSpec { window, legacy_semantics, .. } = spec;
    let common = [("spec.window", window.is_some()), ("spec.legacySemantics", *legacy_semantics == Some(false))];
    let common = common.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field.to_owned());
    let inputs = spec.inputs.iter().filter(|(_, input)| input.content_mode.is_some());
    let inputs = inputs.map(|(name, _)| format!("spec.inputs[{name}].contentMode"));
    let subscribers = spec.subscribers.iter().enumerate().flat_map(|(index, of)| {
        let fields = [
            ("delivery", of.delivery.is_some()),
            // The program is told of them, and leaves it at that (BUG-E10).
            ("deadLetterSink", of.dead_letter_sink.is_some()),
            ("deadLetterTopic", of.dead_letter_topic.is_some()),
        ];
        fields
            .into_iter()
            .filter(|(_, is_set)| *is_set)
            .map(move |(field, _)| format!("spec.subscribers[{index}].{field}"))
    });
    common.chain(inputs).chain(subscribers).collect()
}
