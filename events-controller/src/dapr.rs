//! Handlers that Dapr calls, as those of OpenFunction 1.x were, for whoever asks for them by annotation (goals Q31): the
//! components, names and configuration that the programs of then know (events §5, §8 to §11).

mod component;
pub mod source;
pub mod trigger;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use controller_runtime::conditions::NewCondition;
use event_delivery::process::Topics;
use kube::ResourceExt;
use openfunction_proto::{
    core::{ComponentSpec, DaprOutput, DaprTrigger, OPTIONS_IGNORED, Outputs, ScaleOptions, ServingImpl, Triggers},
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// Programs of our own.
    #[default]
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

fn not_supported(path: &str, why: &str) -> Problem {
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

    fn has_output(&self, name: &str) -> bool {
        let names = self.outputs.iter().filter_map(|output| output.dapr.as_ref()?.output_name.as_deref());
        names.into_iter().any(|known| known == name)
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
        let template = match bus {
            Some(bus) => keeping(bus, self.topics, settings)?,
            None => None,
        };
        Ok(ServingImpl {
            triggers: Some(Triggers { dapr: self.inputs, ..Triggers::default() }),
            outputs: self.outputs,
            bindings: self.bindings,
            pubsub: self.pubsub,
            params: [("CONFIG".to_owned(), fitting(encoded(config))?)].into(),
            scale_options: Some(scale),
            workload_type: Some("Deployment".to_owned()),
            template,
            ..ServingImpl::default()
        })
    }
}

/// What is added to the pod of a handler, so that its topics are there before it starts: Dapr does not make those of
/// JetStream.
fn keeping(bus: &Found, topics: BTreeSet<String>, settings: &Settings) -> Result<Option<Value>, Problem> {
    if bus.spec.redis_streams.is_some() {
        return Ok(None);
    }
    let mut secrets = Secrets::default();
    let topics = handler::config(&Topics { bus: bus.config(&mut secrets)?, topics })?;
    let mut container = confined("topics");
    container["image"] = json!(settings.source_image);
    container["env"] = json!([{"name": "KEEP_TOPICS", "value": topics}]);
    // The function's own is as it is without this.
    let mut pod = json!({"containers": [{"name": "function"}]});
    secrets.mount(&mut pod, &mut container);
    pod["initContainers"] = json!([container]);
    Ok(Some(pod))
}

/// What a program logs, as it was said.
fn log_level(said: Option<&String>) -> String {
    said.map_or_else(|| "1".to_owned(), Clone::clone)
}

/// A configuration as the programs of OpenFunction 1.x read it: JSON as Go writes it, as base64 (events §11).
fn encoded(config: &impl Serialize) -> String {
    // Texts and maps of texts: it cannot fail.
    let json = serde_json::to_string(config).unwrap_or_default();
    BASE64_STANDARD.encode(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e"))
}

#[cfg(test)]
#[path = "dapr/tests.rs"]
mod tests;
