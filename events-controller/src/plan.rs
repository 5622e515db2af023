//! What shall run for an EventSource or Trigger.

use std::collections::BTreeSet;

use controller_runtime::conditions::NewCondition;

use crate::{handler::Handler, problem::Problem};

/// What the installation says.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Image of the handlers of EventSources.
    pub source_image: String,
    /// Image of the handlers of Triggers.
    pub trigger_image: String,
    /// Where traces of handlers go.
    pub otlp_endpoint: Option<String>,
}

/// What shall run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Handlers as they shall be.
    pub handlers: Vec<Handler>,
    /// Names of handlers that stay as they are: it is not known how they should be.
    pub kept: BTreeSet<String>,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
    /// What else is to be told.
    pub notes: Vec<NewCondition>,
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
