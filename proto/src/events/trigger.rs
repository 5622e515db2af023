//! Trigger: which events lead to which calls.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{Delivery, EventsStatus, SinkSpec};
use crate::GoDuration;

/// A Trigger reads events from a bus and sends them to its subscribers when their conditions hold.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "events.openfunction.io",
    version = "v1alpha1",
    kind = "Trigger",
    namespaced,
    status = "EventsStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn(name = "EventBus", type_ = "string", json_path = ".spec.eventBus"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[-1].type")
)]
#[serde(rename_all = "camelCase")]
pub struct TriggerSpec {
    /// Name of an EventBus of this namespace, else of a ClusterEventBus.
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self != ''").reason(Reason::FieldValueRequired).message("must set spec.eventBus"))]
    pub event_bus: String,
    /// Events to read, by the name that conditions use for them.
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(
        validation = Rule::new("self.size() > 0").reason(Reason::FieldValueRequired).message("must name at least one event"),
        validation = Rule::new("self.all(name, name.size() <= 63 && name.matches('^[A-Za-z_][A-Za-z0-9_]*$') && !(name in ['in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while', 'true', 'false', 'null']))")
            .reason(Reason::FieldValueInvalid).message("every name must be a CEL identifier: letters, digits and '_', not beginning with a digit, and no word of the language"),
    )]
    pub inputs: BTreeMap<String, Input>,
    /// What is called, and when.
    #[schemars(length(max = 64))]
    pub subscribers: Vec<Subscriber>,
    /// How long an event counts for conditions that name several inputs; absent means 60s. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<GoDuration>,
    /// Whether conditions are read as OpenFunction 1.x did: an input stays set for the window, whatever it matched, and a
    /// condition that holds fires with every event of any input. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legacy_semantics: Option<bool>,
    /// Verbosity of the handler, a number; absent means `1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
}

/// An event of an EventSource.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Namespace of the EventSource; absent is the Trigger's.
    #[schemars(length(max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the EventSource.
    #[schemars(length(min = 1, max = 253))]
    pub event_source: String,
    /// Name of the event in the EventSource.
    #[schemars(length(min = 1, max = 253))]
    pub event: String,
    /// `inner` if the events of the bus have the form of OpenFunction 1.x; the others are told by themselves. (addition)
    #[schemars(extend("enum" = ["inner"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_mode: Option<String>,
}

/// A receiver with its condition.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// CEL expression over the names of inputs that must be true for the subscriber to be called.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self != ''").reason(Reason::FieldValueRequired).message("must be a CEL expression over the names of inputs"))]
    pub condition: String,
    /// HTTP receiver of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkSpec>,
    /// HTTP receiver of events that could not be delivered to `sink`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_sink: Option<SinkSpec>,
    /// Topic of the bus that the event is published to.
    #[schemars(length(max = 249))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Topic of the bus for events that could not be delivered.
    #[schemars(length(max = 249))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// How events are delivered. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}
