//! CloudEvents 1.0 and their JSON format.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Value, value::RawValue};

/// Media type of one event in the JSON format.
pub const STRUCTURED_JSON: &str = "application/cloudevents+json";

/// Media type of JSON.
pub const JSON: &str = "application/json";

/// The version of CloudEvents that is spoken.
pub const SPEC_VERSION: &str = "1.0";

/// An event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// `id`: with `source`, unique.
    pub id: String,
    /// `source`, a URI reference.
    pub source: String,
    /// `type`.
    pub type_: String,
    /// `datacontenttype`, the media type of the data; JSON if it is absent.
    pub content_type: Option<String>,
    /// All other attributes by name: `time`, `subject`, `dataschema`, and extensions.
    pub attributes: BTreeMap<String, Attribute>,
    /// The data, as it is and in no encoding.
    pub data: Option<Bytes>,
}

/// The value of an attribute. Others of the specification (times, URIs, binary) are texts on every wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number of 32 bits.
    Integer(i32),
    /// True or false.
    Boolean(bool),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Why something is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A required attribute is absent or empty.
    #[error("{0}: Required value")]
    Missing(&'static str),
    /// An attribute has a value that it must not have.
    #[error("{name}: Invalid value: {reason}")]
    Invalid {
        /// The attribute.
        name: String,
        /// What is allowed.
        reason: String,
    },
    /// It is not JSON of an event.
    #[error("no event in the JSON format: {0}")]
    Json(String),
}

impl Error {
    pub(crate) fn invalid(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { name: name.into(), reason: reason.into() }
    }
}

impl Event {
    /// Sets an attribute by its name in the specification.
    ///
    /// # Errors
    /// The name is none (section 3.1 of the specification: lower-case letters and digits), or the value must be another.
    pub fn set(&mut self, name: &str, value: Attribute) -> Result<(), Error> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err(Error::invalid(name, "a name of an attribute has lower-case letters and digits"));
        }
        let text = |value: Attribute| match value {
            Attribute::Text(text) => Ok(text),
            other => Err(Error::invalid(name, format!("must be a text, and is {other}"))),
        };
        match name {
            "id" => self.id = text(value)?,
            "source" => self.source = text(value)?,
            "type" => self.type_ = text(value)?,
            "datacontenttype" => self.content_type = Some(text(value)?),
            "specversion" if value.to_string() == SPEC_VERSION => {}
            "specversion" => return Err(Error::invalid(name, format!("must be {SPEC_VERSION:?}, and is {value}"))),
            // The JSON format has members of these names.
            "data" => return Err(Error::invalid(name, "is no attribute")),
            "time" | "subject" | "dataschema" => {
                let text = text(value)?;
                self.attributes.insert(name.to_owned(), Attribute::Text(text));
            }
            _ => drop(self.attributes.insert(name.to_owned(), value)),
        }
        Ok(())
    }

    /// All attributes but the media type of the data, in the order of the specification.
    pub fn named(&self) -> impl Iterator<Item = (&str, String)> {
        let required =
            [("specversion", SPEC_VERSION), ("id", &self.id), ("source", &self.source), ("type", &self.type_)];
        let required = required.map(|(name, value)| (name, value.to_owned()));
        required.into_iter().chain(self.attributes.iter().map(|(name, value)| (name.as_str(), value.to_string())))
    }

    /// Checks what every event must have.
    ///
    /// # Errors
    /// An attribute that is required is empty, or the media type is none.
    pub fn checked(self) -> Result<Self, Error> {
        if !self.content_type.as_deref().is_none_or(is_one_line) {
            return Err(Error::invalid("datacontenttype", "a media type has printable characters of ASCII"));
        }
        for (name, value) in [("id", &self.id), ("source", &self.source), ("type", &self.type_)] {
            if value.is_empty() {
                return Err(Error::Missing(name));
            }
        }
        Ok(self)
    }

    /// Whether the data is JSON by its media type.
    pub fn has_json(&self) -> bool {
        self.content_type.as_deref().is_none_or(is_json)
    }

    /// In the JSON format.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and JSON that was looked at: nothing of it can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the JSON format.
    ///
    /// # Errors
    /// It is no event.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let event: Self = serde_json::from_slice(json).map_err(|error| Error::Json(error.to_string()))?;
        event.checked()
    }
}

/// Whether a text can be a header as it is: a media type goes on as one, and a line break in it would be another header.
pub fn is_one_line(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a media type is that of JSON: `application/json`, `text/json`, `…+json`.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

/// Whether a media type is that of events in the JSON format.
pub fn is_structured(media_type: &str) -> bool {
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(STRUCTURED_JSON)
}

/// Whether data of a media type is a text, for Dapr too: of what is called otherwise it gives a function nothing.
fn is_text(media_type: &str) -> bool {
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.starts_with("text/") || media_type == "application/xml"
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", SPEC_VERSION)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("type", &self.type_)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        if let Some(content_type) = &self.content_type {
            map.serialize_entry("datacontenttype", content_type)?;
        }
        if let Some(data) = &self.data {
            // As JSON, as a text, or else in base64: nothing is damaged (BUG-E43).
            let text = std::str::from_utf8(data).ok();
            match text {
                Some(text) if self.has_json() => match serde_json::from_str::<&RawValue>(text) {
                    // A member of null would be no data.
                    Ok(json) if json.get() != "null" => map.serialize_entry("data", json)?,
                    _ => map.serialize_entry("data_base64", &BASE64_STANDARD.encode(data))?,
                },
                Some(text) if self.content_type.as_deref().is_some_and(is_text) => map.serialize_entry("data", text)?,
                _ => map.serialize_entry("data_base64", &BASE64_STANDARD.encode(data))?,
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the members of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut event = Event::default();
        let (mut data, mut binary, mut has_version): (Option<Box<RawValue>>, _, _) = (None, None, false);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "data" => data = Some(map.next_value()?),
                "data_base64" => binary = map.next_value::<Option<String>>()?,
                _ => {
                    has_version |= name == "specversion";
                    let value = match map.next_value()? {
                        // An attribute of null is absent (section 3.1 of the JSON format).
                        Value::Null => continue,
                        Value::String(text) => Attribute::Text(text),
                        Value::Bool(value) => Attribute::Boolean(value),
                        Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
                            Some(number) => Attribute::Integer(number),
                            None => Attribute::Text(number.to_string()),
                        },
                        _ => return Err(de::Error::custom(format!("{name}: must be a text, a number or a boolean"))),
                    };
                    event.set(&name, value).map_err(de::Error::custom)?;
                }
            }
        }
        if !has_version {
            return Err(de::Error::missing_field("specversion"));
        }
        event.data = match (data.filter(|data| data.get() != "null"), binary) {
            (Some(_), Some(_)) => return Err(de::Error::custom("it has both data and data_base64")),
            (None, Some(binary)) => {
                let decoded = BASE64_STANDARD.decode(binary);
                Some(decoded.map_err(|error| de::Error::custom(format!("data_base64: {error}")))?.into())
            }
            // What is JSON stays as it was written. A text of another media type is what it says.
            (Some(data), None) if !event.has_json() && data.get().starts_with('"') => {
                let text: String = serde_json::from_str(data.get()).map_err(de::Error::custom)?;
                Some(text.into())
            }
            (Some(data), None) => Some(Box::<str>::from(data).into_string().into()),
            (None, None) => None,
        };
        Ok(event)
    }
}

#[cfg(test)]
#[path = "cloudevent_tests.rs"]
pub(crate) mod tests;
