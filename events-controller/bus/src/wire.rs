//! CloudEvents as messages of HTTP, Kafka, NATS and MQTT 5, in the binary and in the structured mode of their protocol
//! bindings. MQTT 3.1.1 has no properties: there an event is structured.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cloudevent::{Attribute, Error, Event, STRUCTURED_JSON, is_structured},
    inner,
};

/// A protocol with headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP headers `ce-…`.
    Http,
    /// Kafka headers `ce_…`.
    Kafka,
    /// NATS headers `ce-…`.
    Nats,
    /// MQTT 5 user properties, named as the attribute. Header `content-type` stands for the property of that name.
    Mqtt,
}

/// How an event becomes a message: a content mode of CloudEvents, or the form of the original (goals EV53).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// The body is the data, headers have the attributes.
    Binary,
    /// The body is the event in the JSON format.
    Structured,
    /// As `structured`, and its data is an event in which the data is encoded, as OpenFunction 1.x and its functions
    /// frameworks have it.
    Inner,
}

/// What is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Names and values. The media type of the body is `content-type` in every protocol.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The header of the media type of the body.
pub const CONTENT_TYPE: &str = "content-type";

impl Message {
    /// An event in the JSON format.
    pub(crate) fn structured(body: Bytes) -> Self {
        Self { headers: vec![(CONTENT_TYPE.to_owned(), format!("{STRUCTURED_JSON}; charset=UTF-8"))], body }
    }
}

/// Characters that a header value of HTTP must not have as they are: spaces, quotes and the percent sign, besides what
/// is no ASCII (section 3.1.3.2 of the HTTP binding).
pub(crate) const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

impl Protocol {
    fn prefix(self) -> &'static str {
        match self {
            Self::Http | Self::Nats => "ce-",
            Self::Kafka => "ce_",
            Self::Mqtt => "",
        }
    }

    fn is_percent_encoded(self) -> bool {
        matches!(self, Self::Http | Self::Nats)
    }

    /// The message of an event.
    pub fn encode(self, event: &Event, mode: Mode) -> Message {
        match mode {
            Mode::Binary => {}
            Mode::Structured => return Message::structured(event.to_json().into()),
            Mode::Inner => return Message::structured(inner::wrapped(event).to_json().into()),
        }
        let encoded = |value: String| match self.is_percent_encoded() {
            true => utf8_percent_encode(&value, ENCODED).to_string(),
            false => value,
        };
        let attributes = event.named().map(|(name, value)| (format!("{}{name}", self.prefix()), encoded(value)));
        let content_type = event.content_type.iter().map(|media_type| (CONTENT_TYPE.to_owned(), media_type.clone()));
        Message { headers: attributes.chain(content_type).collect(), body: event.data.clone().unwrap_or_default() }
    }

    /// The event of a message; `None` if it is a message of something else.
    ///
    /// # Errors
    /// It says that it is an event, and is none.
    pub fn decode<'a>(
        self,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: Bytes,
    ) -> Result<Option<Event>, Error> {
        let (mut event, mut content_type, mut is_event) = (Event::default(), None, false);
        let mut wrong = None;
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(CONTENT_TYPE) {
                content_type = Some(value);
                continue;
            }
            let Some(attribute) = self.attribute(name) else { continue };
            is_event |= attribute == "specversion";
            let value = match self.is_percent_encoded() {
                true => percent_decode_str(unquoted(value).as_ref()).decode_utf8_lossy().into_owned(),
                false => value.to_owned(),
            };
            // What else has such a name is not ours to judge, unless it is an event.
            wrong = wrong.or(event.set(&attribute, Attribute::Text(value)).err());
        }
        if content_type.is_some_and(is_structured) {
            return Event::from_json(&body).map(Some);
        }
        if !is_event {
            return Ok(None);
        }
        if let Some(error) = wrong {
            return Err(error);
        }
        event.content_type = content_type.map(str::to_owned);
        event.data = (!body.is_empty()).then_some(body);
        event.checked().map(Some)
    }

    /// The name of the attribute that a header has.
    fn attribute(self, header: &str) -> Option<String> {
        let (start, name) = header.split_at_checked(self.prefix().len())?;
        start.eq_ignore_ascii_case(self.prefix()).then(|| match self {
            // These names know no case.
            Self::Http | Self::Nats => name.to_ascii_lowercase(),
            Self::Kafka | Self::Mqtt => name.to_owned(),
        })
    }
}

/// Without the quotes of a quoted string (RFC 7230, section 3.2.6).
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else { return value.into() };
    let (mut text, mut is_escaped) = (String::with_capacity(inner.len()), false);
    for character in inner.chars() {
        is_escaped = character == '\\' && !is_escaped;
        if !is_escaped {
            text.push(character);
        }
    }
    text.into()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
