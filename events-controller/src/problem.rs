//! Why an EventSource or Trigger, or a part of it, cannot be run as it is.

use std::fmt;

/// Why, for a condition: the reasons of the original (events §12) and what people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One word.
    pub reason: &'static str,
    /// The field, what is wrong, and what is allowed.
    pub message: String,
    /// Whether time alone may mend it, so that it is looked at again.
    pub is_passing: bool,
}

impl Problem {
    /// Something in the spec is wrong.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { reason: "ErrorConfiguration", message: message.into(), is_passing: false }
    }

    /// Something in the spec is right, and what runs handlers here cannot do it.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self { reason: "NotSupported", message: message.into(), is_passing: false }
    }

    /// Whether the spec is right all the same.
    pub fn is_unsupported(&self) -> bool {
        self.reason == Self::unsupported("").reason
    }

    /// There is no such bus.
    pub fn bus(message: impl Into<String>) -> Self {
        Self { reason: "ErrorToFindExistEventBus", message: message.into(), is_passing: false }
    }

    /// A sink has no address.
    pub fn sink(message: impl Into<String>) -> Self {
        Self { reason: "ErrorGenerateComponent", message: message.into(), is_passing: false }
    }

    /// Nobody would get events.
    pub fn subscribers(message: impl Into<String>) -> Self {
        Self { reason: "ErrorToFindTriggerSubscribers", message: message.into(), is_passing: false }
    }

    /// Something of another namespace may not be used.
    pub fn permission(message: impl Into<String>) -> Self {
        Self { reason: "RefNotPermitted", message: message.into(), is_passing: false }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
