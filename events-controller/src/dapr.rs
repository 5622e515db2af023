//! Handlers that Dapr calls, as those of OpenFunction 1.x were, for whoever asks for them by annotation (goals Q31): the
//! components, names and configuration that the programs of then know (events §5, §8 to §11).

mod component;
pub mod source;
pub mod trigger;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use controller_runtime::conditions::NewCondition;
use event_delivery::process::{Topics, Wait};
use kube::ResourceExt;
use openfunction_proto::{
    core::{
        ComponentSpec, DAPR_INIT_CONTAINERS, DAPR_SERVICE_MODE, DaprOutput, DaprTrigger, OPTIONS_IGNORED, Outputs,
        ScaleOptions, ServingImpl, Triggers,
    },
    events::{HANDLER, SinkSpec},
};
use serde::Serialize;
use serde_json::{Value, json};

use component::Component;

use crate::{
    bus::Found,
    handler::{self, confined, fitting},
    plan::Settings,
    problem::Problem,
    secrets::Secrets,
};

/// What handlers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Programs of our own.
    Native,
    /// Functions that Dapr calls.
    Dapr,
}

impl Program {
    /// What an EventSource or Trigger asks for.
    ///
    /// # Errors
    /// It asks for something else.
    pub fn of(object: &impl ResourceExt) -> Result<Self, Problem> {
        match object.annotations().get(HANDLER).map(String::as_str) {
            None | Some("native") => Ok(Self::Native),
            Some("dapr") => Ok(Self::Dapr),
            Some(other) => Err(Problem::configuration(format!(
                "metadata.annotations[{HANDLER}]: Unsupported value: {other:?}: must be native or dapr"
            ))),
        }
    }
}

/// Tells of fields that are set and that handlers of Dapr do not use.
pub fn ignored(unused: Vec<String>) -> Option<NewCondition> {
    (!unused.is_empty()).then(|| {
        let message = format!("handlers of Dapr do not use {}", unused.join(", "));
        NewCondition::true_(OPTIONS_IGNORED, "NotUsedByHandler", message)
    })
}

/// What handlers of Dapr cannot.
pub fn not_supported(path: &str, why: &str) -> Problem {
    Problem::unsupported(format!("{path}: {why}; remove annotation {HANDLER}, and the handler is one that can"))
}

/// The key of the component of a sink of `owner`, which is in namespace `own`.
fn sink_key(owner: &str, sink: Option<&SinkSpec>, own: &str) -> String {
    let sink = sink.filter(|sink| sink.uri.as_deref().unwrap_or_default().is_empty());
    let namespace = sink.and_then(|sink| sink.reference.as_ref()?.namespace.as_deref());
    format!("ts-{owner}-{}", namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(own))
}

/// A function that Dapr calls, as it is put together.
#[derive(Debug, Default)]
struct Parts {
    inputs: Vec<DaprTrigger>,
    outputs: Vec<Outputs>,
    bindings: BTreeMap<String, ComponentSpec>,
    pubsub: BTreeMap<String, ComponentSpec>,
    /// Topics that it reads and writes.
    topics: BTreeSet<String>,
    /// Consumers by the topics that they read.
    consumers: BTreeMap<String, String>,
    /// How many sinks it has.
    sinks: usize,
}

impl Parts {
    /// An output by its name: to a topic of the bus, or to a sink.
    fn output(&mut self, name: &str, component: (&str, &str), topic: Option<&str>) {
        let operation = topic.is_none().then(|| "post".to_owned());
        self.topics.extend(topic.map(str::to_owned));
        let output = DaprOutput {
            name: Some(component.0.to_owned()),
            type_: Some(component.1.to_owned()),
            topic: topic.map(str::to_owned),
            operation,
            output_name: Some(name.to_owned()),
            ..DaprOutput::default()
        };
        self.outputs.push(Outputs { dapr: Some(output) });
    }

    fn sink(&mut self, name: &str, key: String, url: &str) {
        self.output(name, (&key, "bindings.http"), None);
        self.bindings.insert(key, Component::default().set("url", url).of("bindings.http"));
    }

    /// A sink of several, with a component of its own (BUG-E28): the name of its output.
    fn numbered_sink(&mut self, name: &str, mut key: String, url: &str) -> String {
        self.sinks += 1;
        let number = format!("-{}", self.sinks);
        if self.sinks > 1 {
            key += &number;
        }
        while self.bindings.contains_key(&key) {
            key += &number;
        }
        let output = format!("{name}{number}");
        self.sink(&output, key, url);
        output
    }

    /// An output to a topic of the bus `key`, of which there is one for all who write it (BUG-E26): its name.
    fn topic(&mut self, key: &str, topic: &str) -> String {
        let output = format!("ebo-{topic}");
        let mut names = self.outputs.iter().filter_map(|output| output.dapr.as_ref()?.output_name.as_deref());
        if !names.any(|known| known == output) {
            let type_ = self.pubsub.get(key).map_or_else(String::new, |component| component.type_.clone());
            self.output(&output, (key, &type_), Some(topic));
        }
        output
    }

    fn input(&mut self, name: &str, component: (&str, &str), topic: Option<&str>) {
        self.topics.extend(topic.map(str::to_owned));
        self.inputs.push(DaprTrigger {
            name: component.0.to_owned(),
            type_: Some(component.1.to_owned()),
            topic: topic.map(str::to_owned),
            input_name: Some(name.to_owned()),
            ..DaprTrigger::default()
        });
    }

    fn serving(
        self,
        config: &impl Serialize,
        scale: ScaleOptions,
        bus: Option<&Found>,
        settings: &Settings,
    ) -> Result<ServingImpl, Problem> {
        // Nothing in the pod asks the API server: Dapr's sidecar is elsewhere.
        let mut template = json!({"automountServiceAccountToken": false, "containers": [{"name": "function"}]});
        let mut annotations = BTreeMap::from([(DAPR_SERVICE_MODE.to_owned(), "standalone".to_owned())]);
        if let Some(bus) = bus.filter(|bus| bus.spec.redis_streams.is_none()) {
            keep_topics(&mut template, bus, self.topics, self.consumers, settings)?;
            annotations.insert(DAPR_INIT_CONTAINERS.to_owned(), TOPICS.to_owned());
        }
        Ok(ServingImpl {
            triggers: Some(Triggers { dapr: self.inputs, ..Triggers::default() }),
            outputs: self.outputs,
            bindings: self.bindings,
            pubsub: self.pubsub,
            annotations,
            params: [("CONFIG".to_owned(), fitting(encoded(config))?)].into(),
            scale_options: Some(scale),
            workload_type: Some("Deployment".to_owned()),
            template: Some(template),
            ..ServingImpl::default()
        })
    }
}

/// Name of the init container that makes topics.
const TOPICS: &str = "topics";

/// Has topics made, and limits of consumers changed, before Dapr's sidecar starts: it looks for the topics of JetStream
/// once, and refuses a consumer with other limits.
fn keep_topics(
    pod: &mut Value,
    bus: &Found,
    topics: BTreeSet<String>,
    consumers: BTreeMap<String, String>,
    settings: &Settings,
) -> Result<(), Problem> {
    let (mut secrets, reading) = (Secrets::default(), bus.reading());
    let topics = Topics {
        bus: bus.config(&mut secrets)?,
        topics,
        consumers,
        in_flight: reading.in_flight,
        redelivery: reading.redelivery.map(Wait),
    };
    let mut container = confined(TOPICS);
    container["image"] = json!(settings.source_image);
    container["env"] = json!([{"name": "KEEP_TOPICS", "value": handler::config(&topics)?}]);
    secrets.mount(pod, &mut container);
    pod["initContainers"] = json!([container]);
    Ok(())
}

/// What a program logs, as it was said.
fn log_level(said: Option<&String>) -> String {
    said.cloned().unwrap_or_else(|| "1".to_owned())
}

/// A configuration as the programs of OpenFunction 1.x read it: JSON as Go writes it, as base64 (events §11).
fn encoded(config: &impl Serialize) -> String {
    // Texts and maps of texts: it cannot fail.
    let json = serde_json::to_string(config).unwrap_or_default();
    BASE64_STANDARD.encode(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"))
}

#[cfg(test)]
mod tests;
