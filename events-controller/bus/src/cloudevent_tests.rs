use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parsed(json: &Value) -> Event {
    Event::from_json(json.to_string().as_bytes()).unwrap()
}

fn refused(json: &Value) -> String {
    Event::from_json(json.to_string().as_bytes()).unwrap_err().to_string()
}

/// The example of section 1.3 of the specification, in the JSON format.
fn example() -> Value {
    json!({"specversion": "1.0", "type": "com.github.pull_request.opened", "source": "https://github.com/cloudevents/spec/pull",
        "subject": "123", "id": "A234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
        "comexampleothervalue": 5, "datacontenttype": "text/xml", "data": "<much wow=\"xml\"/>"})
}

#[test]
fn ev53_the_examples_of_the_json_format_are_read_and_written() {
    let event = parsed(&example());
    assert_eq!(event.type_, "com.github.pull_request.opened");
    assert_eq!(event.attributes["comexampleothervalue"], Attribute::Integer(5));
    assert_eq!(event.data.as_deref(), Some(&b"<much wow=\"xml\"/>"[..]));
    assert_eq!(serde_json::from_slice::<Value>(&event.to_json()).unwrap(), example());

    // Section 3.1.1: data of JSON is JSON, also without a media type, and what is binary is in base64.
    let mut with = example();
    with["datacontenttype"] = json!("application/json");
    with["data"] = json!({"appinfoA": "abc", "appinfoB": 123, "appinfoC": true});
    let event = parsed(&with);
    assert_eq!(event.data.as_deref(), Some(&br#"{"appinfoA":"abc","appinfoB":123,"appinfoC":true}"#[..]));
    assert_eq!(serde_json::from_slice::<Value>(&event.to_json()).unwrap(), with);
    let mut text = with.clone();
    text["data"] = json!("a text");
    assert_eq!(parsed(&text).data.as_deref(), Some(&b"\"a text\""[..]));
    let mut binary = with;
    binary.as_object_mut().unwrap().remove("data");
    binary["datacontenttype"] = json!("application/octet-stream");
    binary["data_base64"] = json!("AP8=");
    let event = parsed(&binary);
    assert_eq!(event.data.as_deref(), Some(&[0, 255][..]));
    assert_eq!(serde_json::from_slice::<Value>(&event.to_json()).unwrap(), binary);
    // An attribute of null is absent, and so is data.
    let mut absent = binary;
    absent["subject"] = Value::Null;
    absent["data_base64"] = Value::Null;
    assert_eq!((parsed(&absent).attributes.get("subject"), parsed(&absent).data), (None, None));
}

#[test]
fn e34_objects_as_data_of_foreign_events_are_kept() {
    let event = parsed(
        &json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"metadata": {"a": 1}, "userData": "eA=="}}),
    );
    assert_eq!(event.data.as_deref(), Some(&br#"{"metadata":{"a":1},"userData":"eA=="}"#[..]));
}

#[test]
fn e43_binary_data_is_not_damaged() {
    for content_type in [None, Some("text/plain"), Some("application/json"), Some("image/png")] {
        for data in [&b"\xff\xfe\x00"[..], b"null", b"not JSON", b"", b"{\"a\": 1}"] {
            let event = Event {
                id: "1".to_owned(),
                source: "s".to_owned(),
                type_: "t".to_owned(),
                content_type: content_type.map(str::to_owned),
                data: Some(Bytes::from_static(data)),
                ..Event::default()
            };
            assert_eq!(Event::from_json(&event.to_json()).unwrap(), event, "{content_type:?} {data:?}");
        }
    }
}

#[test]
fn what_is_no_event_is_told() {
    let without = |name: &str| {
        let mut event = example();
        event.as_object_mut().unwrap().remove(name);
        refused(&event)
    };
    let with = |name: &str, value: Value| {
        let mut event = example();
        event[name] = value;
        refused(&event)
    };
    assert_eq!(without("id"), "id: Required value");
    assert_eq!(with("source", json!("")), "source: Required value");
    assert!(without("specversion").contains("missing field `specversion`"));
    assert!(with("specversion", json!("0.3")).contains(r#"specversion: Invalid value: must be "1.0", and is 0.3"#));
    assert!(with("id", json!(5)).contains("id: Invalid value: must be a text, and is 5"));
    assert!(
        with("datacontenttype", json!("a/b\r\nce-id: 2")).starts_with("datacontenttype: Invalid value: a media type")
    );
    assert!(with("Upper", json!("a")).contains("Upper: Invalid value: a name of an attribute has lower-case letters"));
    assert!(with("ext", json!({})).contains("ext: must be a text, a number or a boolean"));
    assert!(with("data_base64", json!("AP8=")).contains("it has both data and data_base64"));
    assert!(refused(&json!([1])).starts_with("no event in the JSON format: invalid type: sequence"));
}

/// Any event: attributes of every type, data of every kind.
pub fn any_event() -> impl Strategy<Value = Event> {
    let attribute = prop_oneof![
        "\\PC{0,20}".prop_map(Attribute::Text),
        any::<i32>().prop_map(Attribute::Integer),
        any::<bool>().prop_map(Attribute::Boolean),
    ];
    let name = "[a-z0-9]{1,20}".prop_filter("is said elsewhere", |name| {
        !["id", "source", "type", "specversion", "datacontenttype", "data", "time", "subject", "dataschema"]
            .contains(&name.as_str())
    });
    let json =
        prop_oneof![Just(json!({"a": [1, "b", null, 1.5]})), "\\PC{0,20}".prop_map(Value::String), Just(json!(7))];
    let data = prop_oneof![
        json.prop_map(|value| Some(Bytes::from(value.to_string()))),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Some(Bytes::from(bytes))),
        Just(None),
    ];
    let content_type = prop::option::of(prop::sample::select(
        &["application/json", "text/plain", "a/b+json", "application/octet-stream"][..],
    ));
    (("\\PC{1,20}", "\\PC{1,20}", "\\PC{1,20}"), content_type, prop::collection::btree_map(name, attribute, 0..4), data)
        .prop_map(|((id, source, type_), content_type, attributes, data)| Event {
            id,
            source,
            type_,
            content_type: content_type.map(str::to_owned),
            attributes,
            data,
        })
}

proptest! {
    #[test]
    fn every_event_is_the_same_after_json(event in any_event()) {
        let read = Event::from_json(&event.to_json()).unwrap();
        // White space around JSON says nothing.
        let trimmed = |event: &Event| event.data.as_ref().map(|data| data.trim_ascii().to_vec());
        prop_assert_eq!(trimmed(&read), trimmed(&event));
        prop_assert_eq!(Event { data: None, ..read }, Event { data: None, ..event });
    }

    #[test]
    fn no_event_that_was_damaged_panics(
        event in any_event(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut json = crate::inner::wrapped(&event).to_json();
        for (at, byte) in changes {
            let at = at.index(json.len());
            json[at] = byte;
        }
        if let Ok(event) = Event::from_json(&json) {
            let event = crate::inner::unwrapped(event);
            prop_assert!(Event::from_json(&event.to_json()).is_ok(), "what is read can be written: {event:?}");
        }
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\\[\\]\",:a-z0-9 ]{0,80}") {
        let _ = Event::from_json(&bytes);
        let _ = Event::from_json(text.as_bytes());
        let _ = Event::from_json(format!("{{\"specversion\":\"1.0\",\"data\":{text}}}").as_bytes());
    }
}
