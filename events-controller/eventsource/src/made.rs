//! What comes in, as events. What is an event already stays as it is; the rest gets attributes of where it happened.

use bytes::Bytes;
use event_bus::{
    bus::Delivery,
    cloudevent::{Attribute, Event, is_one_line},
};
use jiff::Timestamp;

/// Names the events of an origin.
#[derive(Clone, Debug)]
pub struct Maker {
    /// `source`.
    pub source: String,
    /// `type`.
    pub type_: String,
    /// What `id` begins with, where a broker's own names are not enough.
    pub prefix: String,
}

impl Maker {
    /// The event of something that was given, and whether it should have been one and is none: then it is carried as it
    /// is, since nobody else has it.
    pub fn event(&self, delivery: &Delivery) -> (Event, bool) {
        let headers = || delivery.message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = &delivery.message.body;
        let (event, is_malformed) = match delivery.protocol.decode(headers(), body.clone()) {
            Ok(Some(event)) => (Some(event), false),
            Ok(None) if body.first() == Some(&b'{') => (Event::from_json(body).ok(), false),
            Ok(None) => (None, false),
            Err(_) => (None, true),
        };
        let mut event = event.unwrap_or_else(|| {
            let content_type = headers().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let content_type = content_type.map(|(_, value)| value.to_owned()).filter(|value| is_one_line(value));
            self.plain(&delivery.id, delivery.at, content_type, body.clone())
        });
        // CloudEvents take what says nothing for JSON; Dapr gives a function no data then.
        let media_type = || event.data.as_deref().and_then(media_type).map(str::to_owned);
        event.content_type = event.content_type.clone().or_else(media_type);
        // The extension "distributed tracing" of CloudEvents: where it came from is found again behind the bus.
        for name in ["traceparent", "tracestate"] {
            if let Some((_, value)) = headers().find(|(header, _)| header.eq_ignore_ascii_case(name)) {
                event.attributes.entry(name.to_owned()).or_insert_with(|| value.into());
            }
        }
        if let Some(key) = &delivery.key {
            // The extension "partitioning" of CloudEvents.
            event.attributes.entry("partitionkey".to_owned()).or_insert_with(|| Attribute::Text(key.clone()));
        }
        (event, is_malformed)
    }

    /// An event with some data.
    pub fn plain(&self, id: &str, at: u64, content_type: Option<String>, data: Bytes) -> Event {
        let mut event = Event {
            id: format!("{}{id}", self.prefix),
            source: self.source.clone(),
            type_: self.type_.clone(),
            content_type: content_type.or_else(|| media_type(&data).map(str::to_owned)),
            data: (!data.is_empty()).then_some(data),
            ..Event::default()
        };
        let time = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        event.attributes.extend(time.map(|time| ("time".to_owned(), Attribute::Text(time.to_string()))));
        event
    }
}

/// What data is by its looks.
fn media_type(data: &[u8]) -> Option<&'static str> {
    match std::str::from_utf8(data) {
        Ok("") => None,
        Ok(text) if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() => Some("application/json"),
        Ok(_) => Some("text/plain; charset=utf-8"),
        Err(_) => Some("application/octet-stream"),
    }
}
