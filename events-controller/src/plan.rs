//! What shall run for an EventSource or Trigger.

use std::collections::BTreeSet;

use controller_runtime::conditions::NewCondition;
use openfunction_proto::events::{EventBusSpec, JetStream};

use crate::{bus::Found, handler::Handler, problem::Problem, sink::Address};

/// What the installation says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Image of the handlers of EventSources.
    pub source_image: String,
    /// Image of the handlers of Triggers.
    pub trigger_image: String,
    /// Image of the handlers of EventSources that Dapr calls.
    pub dapr_source_image: String,
    /// Image of the handlers of Triggers that Dapr calls.
    pub dapr_trigger_image: String,
    /// Where traces of handlers go.
    pub otlp_endpoint: Option<String>,
    /// Domain of the cluster.
    pub cluster_domain: String,
    /// Namespaces that are watched; none means all.
    pub namespaces: Vec<String>,
}

/// What shall run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Handlers as they shall be.
    pub handlers: Vec<Handler>,
    /// Whether handlers that are there stay as they are: those that shall be would send to nobody.
    pub is_held: bool,
    /// Names of handlers that stay as they are: it is not known how they should be.
    pub kept: BTreeSet<String>,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// What else is to be told.
    pub notes: Vec<NewCondition>,
}

impl Plan {
    /// The URL of a sink that has one; what is missing there is told.
    ///
    /// # Errors
    /// It has none.
    pub fn url(&mut self, sink: &Option<Result<Address, Problem>>) -> Result<Option<String>, Problem> {
        let Some(address) = sink.clone().transpose()? else { return Ok(None) };
        self.is_held |= address.missing.is_some();
        self.problem = self.problem.take().or(address.missing);
        Ok(Some(address.url))
    }
}

/// A bus that any object may be checked with.
pub fn any_bus(name: &str) -> Found {
    let nats = JetStream { url: "nats://nats".to_owned(), ..JetStream::default() };
    let spec = EventBusSpec { jet_stream: Some(nats), ..EventBusSpec::default() };
    Found { kind: "EventBus", name: name.to_owned(), spec }
}

/// A sink that any object may be checked with, if it has one.
pub fn any_sink(is_there: bool) -> Option<Result<Address, Problem>> {
    is_there.then(|| Ok("http://sink".to_owned().into()))
}

/// Checks the name of a topic; those of events are checked as names.
///
/// # Errors
/// No bus could have it.
pub fn checked_topic(topic: Option<&String>, path: &str) -> Result<Option<String>, Problem> {
    let Some(topic) = topic.filter(|topic| !topic.is_empty()) else { return Ok(None) };
    let is_bad =
        |character: char| character.is_whitespace() || character.is_control() || matches!(character, '*' | '>');
    if topic.contains(is_bad) || topic.split('.').any(str::is_empty) {
        return Err(Problem::configuration(format!(
            "{path}: Invalid value: {topic:?}: a topic has no spaces, '*' and '>', and dots only between other characters"
        )));
    }
    Ok(Some(topic.clone()))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
