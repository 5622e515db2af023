//! The form that events have in OpenFunction 1.x and its functions frameworks: the data of an event on a bus is an event
//! itself, whose data is `{"metadata": {…}, "userData": "<base64>"}` (events.md §14).

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::cloudevent::{Event, JSON, is_one_line};

#[derive(Deserialize, Serialize)]
struct Inner {
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(rename = "userData")]
    user_data: String,
}

/// The media type of the data. Of the original's events nobody knows it.
const CONTENT_TYPE: &str = "datacontenttype";

/// An event around an event.
pub(crate) fn wrapped(event: &Event) -> Event {
    let inner = Inner {
        metadata: event.content_type.iter().map(|media_type| (CONTENT_TYPE.to_owned(), media_type.clone())).collect(),
        user_data: BASE64_STANDARD.encode(event.data.as_deref().unwrap_or_default()),
    };
    let inner = Event {
        content_type: Some(JSON.to_owned()),
        attributes: BTreeMap::new(),
        // Texts only: nothing of it can fail.
        data: Some(serde_json::to_vec(&inner).unwrap_or_default().into()),
        ..event.clone()
    };
    Event { content_type: Some(JSON.to_owned()), data: Some(inner.to_json().into()), ..event.clone() }
}

/// The event itself, if there is one inside; otherwise the event as it is.
pub fn unwrapped(event: Event) -> Event {
    let Some((data, content_type)) = event.data.as_deref().and_then(read) else { return event };
    Event { data: Some(data.into()), content_type, ..event }
}

fn read(data: &[u8]) -> Option<(Vec<u8>, Option<String>)> {
    let inner: Inner = serde_json::from_slice(&Event::from_json(data).ok()?.data?).ok()?;
    let data = BASE64_STANDARD.decode(inner.user_data).ok()?;
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
    // As the bus of the original is read otherwise: JSON if it is, else bytes (BUG-E43).
    let guessed = || if is_json() { JSON } else { "application/octet-stream" }.to_owned();
    let told = inner.metadata.get(CONTENT_TYPE).filter(|told| is_one_line(told));
    let content_type = told.cloned().unwrap_or_else(guessed);
    Some((data, Some(content_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content_type: Option<&str>, data: &'static [u8]) -> Event {
        Event {
            id: "1".to_owned(),
            source: "/s".to_owned(),
            type_: "t".to_owned(),
            content_type: content_type.map(str::to_owned),
            attributes: [("partitionkey".to_owned(), "k".into())].into(),
            data: Some(data.into()),
        }
    }

    #[test]
    fn ev53_the_form_of_the_original_is_written_as_its_frameworks_read_it() {
        let json: serde_json::Value =
            serde_json::from_slice(&wrapped(&event(Some("text/csv"), b"a,b")).to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "partitionkey": "k",
                "datacontenttype": "application/json",
                "data": {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json",
                    "data": {"metadata": {"datacontenttype": "text/csv"}, "userData": "YSxi"}}})
        );
    }

    #[test]
    fn ev53_what_was_wrapped_is_unwrapped_and_everything_else_stays() {
        for (content_type, data) in
            [(Some("text/csv"), &b"a,b"[..]), (Some(JSON), b"{\"a\":1}"), (Some("x/y"), b"\xff\0")]
        {
            assert_eq!(unwrapped(wrapped(&event(content_type, data))), event(content_type, data));
        }
        let lines = unwrapped(wrapped(&event(Some("a/b\r\nx: y"), b"a,b")));
        assert_eq!(lines.content_type.as_deref(), Some("application/octet-stream"), "it would be another header");
        for data in
            [&b"plain"[..], b"{\"a\":1}", br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":1}}"#]
        {
            assert_eq!(unwrapped(event(Some(JSON), data)), event(Some(JSON), data));
        }
    }

    #[test]
    fn e43_what_the_original_wrapped_is_json_or_bytes() {
        // As functions-framework-go sends it; Dapr gives it as a text.
        let sent = |data| {
            let inner = format!(
                r#"{{"specversion":"1.0","id":"2","source":"n/f","type":"io.openfunction.function.n.f","datacontenttype":"application/json","data":{{"metadata":{{}},"userData":"{data}"}}}}"#
            );
            unwrapped(Event { data: Some(inner.into()), ..event(Some("text/plain"), b"") })
        };
        assert_eq!(
            (sent("eyJhIjoxfQ==").content_type.as_deref(), sent("eyJhIjoxfQ==").data.as_deref()),
            (Some(JSON), Some(&b"{\"a\":1}"[..]))
        );
        assert_eq!(
            (sent("/wA=").content_type.as_deref(), sent("/wA=").data.as_deref()),
            (Some("application/octet-stream"), Some(&b"\xff\0"[..]))
        );
    }
}
