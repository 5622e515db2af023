//! The handler of an event of an EventSource (events §8, §15).

use event_source::cron::zone_and_times;
use openfunction_proto::{
    core::{ComponentSpec, ScaleOptions, ServingImpl},
    events::{Cron, EventSourceSpec, Kafka, Mqtt, Tls},
};
use reqwest::Url;
use serde::Serialize;

use super::{
    Parts,
    component::{self, Component, KafkaServer},
    log_level, not_supported, sink_key,
};
use crate::{
    bus::{Found, mechanism},
    names,
    plan::Settings,
    problem::Problem,
    scale::{self, Group, KafkaReader},
    source::{Spec, kafka_topics},
};

/// What the program is told, with the names of the original.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bus_component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bus_output_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_bus_topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink_output_name: Option<String>,
    log_level: String,
}

/// An event of an EventSource.
pub struct Event<'a> {
    /// Namespace and name of the EventSource.
    pub source: (&'a str, &'a str),
    /// What it says.
    pub spec: &'a EventSourceSpec,
    /// Kind and name of the event.
    pub event: (&'a str, &'a str),
    /// Where events are sent to.
    pub bus: Option<&'a Found>,
    /// URL that events are sent to.
    pub sink: Option<&'a str>,
}

/// How the handler of an event runs.
///
/// # Errors
/// It cannot, or not with Dapr.
pub fn serving(event: &Event, from: Spec, settings: &Settings) -> Result<ServingImpl, Problem> {
    let ((namespace, name), (kind, of)) = (event.source, event.event);
    let path = format!("spec.{kind}[{of}]");
    let mut parts = Parts::default();
    let mut config = Config { log_level: log_level(event.spec.log_level.as_ref()), ..Config::default() };
    // BUG-E33: it has the name of the EventSource.
    let group = names::source_group(namespace, name, kind, of);
    let (binding, scale) = match from {
        Spec::Kafka(from) => kafka(from, &group, &path)?,
        Spec::Cron(from) => (cron(from), scale::one()),
        Spec::Mqtt(from) => (mqtt(from, &group, &path)?, scale::one()),
        _ => return Err(not_supported(&path, "Dapr brings events of kafka, cron and mqtt only")),
    };
    let key = format!("esc-{kind}-{of}");
    parts.input(&format!("esi-{of}"), (&key, &binding.type_), None);
    parts.bindings.insert(key, binding);
    if let Some(url) = event.sink {
        let output = format!("so-es-{name}-1");
        parts.sink(&output, sink_key(name, event.spec.sink.as_ref(), namespace), url);
        config.sink_output_name = Some(output);
    }
    if let Some(bus) = event.bus {
        let (key, output, topic) = (format!("ebfes-{name}"), format!("ebo-{name}"), names::topic(namespace, name, of));
        let component = component::bus(bus, None)?;
        parts.output(&output, (&key, &component.type_), Some(&topic));
        parts.pubsub.insert(key.clone(), component);
        config.event_bus_component = Some(key);
        config.event_bus_output_name = Some(output);
        config.event_bus_topic = Some(topic);
    }
    parts.serving(&config, scale, event.bus, settings)
}

fn kafka(kafka: &Kafka, group: &str, path: &str) -> Result<(ComponentSpec, ScaleOptions), Problem> {
    let (topics, tls) = (kafka_topics(kafka), kafka.tls());
    let server = KafkaServer {
        brokers: &kafka.brokers,
        user: kafka.sasl_username.as_deref().filter(|_| kafka.auth_required),
        password: kafka.sasl_password_secret_ref.as_ref(),
        plain_password: kafka.sasl_password.as_ref(),
        mechanism: kafka.sasl_mechanism.as_deref(),
        tls: tls.as_ref(),
    };
    let component = Component::default()
        .kafka(&server, path)?
        .set("topics", topics.join(","))
        .set("publishTopic", topics.join(","))
        .set("consumerGroup", group)
        // Otherwise a record that fails is given up with the next one that does not.
        .set("consumeRetryEnabled", true)
        .set_some("maxMessageBytes", kafka.max_message_bytes);
    let sasl = server.user.map(|_| scale::sasl(mechanism(server.mechanism)));
    let (group, tls) = (Group::OfAll(group), tls.is_some());
    let reader = KafkaReader { brokers: server.brokers, topics: &topics, group, sasl, tls };
    let scale = match &kafka.scale_option {
        Some(option) => scale::by_kafka(option, &reader, &format!("{path}.scaleOption"), None)?,
        None => scale::one(),
    };
    Ok((component.of("bindings.kafka"), scale))
}

fn cron(cron: &Cron) -> ComponentSpec {
    let zone = cron.time_zone.as_deref().filter(|zone| !zone.is_empty());
    let in_zone = |zone| format!("CRON_TZ={zone} {}", zone_and_times(&cron.schedule).1);
    let schedule = zone.map_or_else(|| cron.schedule.clone(), in_zone);
    Component::default().set("schedule", schedule).of("bindings.cron")
}

fn mqtt(mqtt: &Mqtt, group: &str, path: &str) -> Result<ComponentSpec, Problem> {
    if mqtt.version.as_deref() == Some("5") {
        return Err(not_supported(&format!("{path}.version"), "Dapr speaks MQTT 3.1.1"));
    }
    let login = [("username", mqtt.username.is_some()), ("passwordSecretRef", mqtt.password_secret_ref.is_some())];
    if let Some((field, _)) = login.iter().find(|(_, is_set)| *is_set) {
        let why = "Dapr knows a user of MQTT only as a part of url, in plain text";
        return Err(not_supported(&format!("{path}.{field}"), why));
    }
    let default = Tls::default();
    let tls = mqtt.tls.as_ref().unwrap_or(&default);
    // BUG-E06: one that is given counts.
    let client = mqtt.consumer_id.as_deref().filter(|id| !id.is_empty()).unwrap_or(group);
    Ok(Component::default()
        .set("url", mqtt_url(mqtt, path)?)
        .set("topic", mqtt.topic.as_str())
        .set("consumerID", client)
        .set_some("retain", mqtt.retain)
        .set_some("cleanSession", mqtt.clean_session)
        .secret("caCert", tls.ca_cert_secret_ref.as_ref(), mqtt.ca_cert.as_ref())
        .secret("clientCert", tls.client_cert_secret_ref.as_ref(), mqtt.client_cert.as_ref())
        .secret("clientKey", tls.client_key_secret_ref.as_ref(), mqtt.client_key.as_ref())
        // The name since Dapr 1.10.
        .of("bindings.mqtt3"))
}

/// The URL of a broker of MQTT: Dapr goes by its scheme alone, and does not know the usual port.
fn mqtt_url(mqtt: &Mqtt, path: &str) -> Result<String, Problem> {
    let wrong = |why: &str| Problem::configuration(format!("{path}.url: Invalid value: {why}"));
    let mut url = Url::parse(&mqtt.url).map_err(|error| wrong(&error.to_string()))?;
    let is_tls = mqtt.tls.is_some() || mqtt.ca_cert.is_some() || mqtt.client_cert.is_some();
    let (scheme, port) = match url.scheme() {
        "tcp" | "mqtt" if is_tls => ("ssl", 8883),
        "tcp" | "mqtt" => ("tcp", 1883),
        "ssl" | "tls" | "mqtts" | "tcps" => ("ssl", 8883),
        _ => return Err(wrong("must begin with tcp://, mqtt://, ssl://, tls:// or mqtts://")),
    };
    let port = url.port().unwrap_or(port);
    let is_set = url.set_scheme(scheme).and_then(|()| url.set_port(Some(port)).map_err(drop));
    is_set.map_err(|()| wrong("it names no host"))?;
    Ok(url.into())
}

/// Fields of an EventSource that are set and that its handlers do not use.
pub fn unused(spec: &EventSourceSpec) -> Vec<String> {
    let EventSourceSpec { cron, mqtt, dead_letter_sink, dead_letter_topic, delivery, .. } = spec;
    let common = [
        ("spec.deadLetterSink", dead_letter_sink.is_some()),
        ("spec.deadLetterTopic", dead_letter_topic.is_some()),
        ("spec.delivery", delivery.is_some()),
    ];
    let common = common.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field.to_owned());
    let late = cron.iter().filter(|(_, of)| of.starting_deadline_seconds.is_some());
    let late = late.map(|(event, _)| format!("spec.cron[{event}].startingDeadlineSeconds"));
    // Dapr subscribes with 1, and takes what a broker has retained.
    let qos = mqtt.iter().filter(|(_, of)| of.qos.is_some_and(|qos| qos != 1));
    let qos = qos.map(|(event, _)| format!("spec.mqtt[{event}].qos"));
    let retain = mqtt.iter().filter(|(_, of)| of.retain == Some(false));
    let retain = retain.map(|(event, _)| format!("spec.mqtt[{event}].retain"));
    common.chain(late).chain(qos).chain(retain).collect()
}
