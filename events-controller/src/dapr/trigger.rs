//! The handler of a Trigger (events §9, §16).

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use openfunction_proto::{
    core::{ScaleOptions, ServingImpl},
    events::{SinkSpec, Trigger, TriggerSpec},
};
use serde::Serialize;

use super::{Parts, component, log_level, not_supported, sink_key};
use crate::{bus::Found, names, plan::Settings, problem::Problem, trigger::namespace_of};

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

/// As whom a Trigger reads its bus.
pub fn consumer(namespace: &str, trigger: &str) -> String {
    names::label(&format!("{namespace}-ebft-{trigger}"))
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
    let key = format!("ebft-{name}");
    let component = component::bus(bus, &consumer(&namespace, &name))?;
    let from = (key.as_str(), component.type_.as_str());
    let topics: BTreeSet<_> = native.inputs.values().map(|input| input.topic.as_str()).collect();
    if topics.len() > 1 && bus.spec.jet_stream.as_ref().is_some_and(|bus| bus.stream.is_some()) {
        let why = "with one stream for all topics of its bus, a handler of Dapr reads one topic only";
        return Err(not_supported("spec.inputs", why));
    }
    let mut parts = Parts::default();
    for topic in topics {
        parts.input(&format!("ti-{topic}"), from, Some(topic));
    }
    let mut subscribers = BTreeMap::new();
    for (of, native) in trigger.spec.subscribers.iter().zip(&native.subscribers) {
        let mut sink = |spec: Option<&SinkSpec>, url: Option<&String>| {
            let number = 1 + parts.bindings.len();
            let output = format!("so-t-{name}-{number}");
            // BUG-E28: each has a component of its own; BUG-E10: also those of dead letters.
            let key = sink_key(&name, spec, &namespace);
            parts.sink(&output, if number == 1 { key } else { format!("{key}-{number}") }, url?);
            Some(output)
        };
        let sink_output_name = sink(of.sink.as_ref(), native.sink.as_ref());
        let dl_sink_output_name = sink(of.dead_letter_sink.as_ref(), native.dead_letter_sink.as_ref());
        let mut topic = |topic: Option<&String>| {
            let output = format!("ebo-{}", topic?);
            // BUG-E26: whoever sends to a topic knows its output.
            if !parts.has_output(&output) {
                parts.output(&output, from, topic.map(String::as_str));
            }
            Some(output)
        };
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
        event_bus_component: key.clone(),
        inputs: trigger.spec.inputs.iter().map(input).collect(),
        subscribers,
        log_level: log_level(trigger.spec.log_level.as_ref()),
    };
    parts.pubsub.insert(key, component);
    parts.serving(&config, scale, Some(bus), settings)
}

/// A condition that says the same and is none of those that are there (BUG-E27): the program knows subscribers by it.
fn unlike(condition: &str, those: &BTreeMap<String, Outputs>) -> String {
    let mut condition = condition.to_owned();
    while those.contains_key(&condition) {
        condition = format!("({condition})");
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
