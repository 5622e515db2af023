use proptest::prelude::*;

use super::*;
use crate::cloudevent::tests::any_event;

const ALL: [Protocol; 4] = [Protocol::Http, Protocol::Kafka, Protocol::Nats, Protocol::Mqtt];

fn headers(message: &Message) -> impl Iterator<Item = (&str, &str)> {
    message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn decoded(protocol: Protocol, headers: &[(&str, &str)], body: &'static str) -> Result<Option<Event>, Error> {
    protocol.decode(headers.iter().copied(), Bytes::from_static(body.as_bytes()))
}

/// The event of the examples in section 3.1.4 of the HTTP binding, 3.2.5 of Kafka's, and 3.1.4 of MQTT's.
fn example() -> Event {
    let mut event = Event {
        id: "1234-1234-1234".to_owned(),
        source: "/mycontext/subcontext".to_owned(),
        type_: "com.example.someevent".to_owned(),
        content_type: Some("application/json; charset=utf-8".to_owned()),
        data: Some(Bytes::from_static(b"{\"a\":1}")),
        ..Event::default()
    };
    event.set("time", "2018-04-05T03:56:24Z".into()).unwrap();
    event
}

#[test]
fn ev53_the_examples_of_the_bindings_are_read_and_written() {
    for (protocol, names) in [
        (Protocol::Http, ["ce-specversion", "ce-type", "ce-time", "ce-id", "ce-source", "Content-Type"]),
        (Protocol::Nats, ["ce-specversion", "ce-type", "ce-time", "ce-id", "ce-source", "content-type"]),
        (Protocol::Kafka, ["ce_specversion", "ce_type", "ce_time", "ce_id", "ce_source", "content-type"]),
        (Protocol::Mqtt, ["specversion", "type", "time", "id", "source", "content-type"]),
    ] {
        let values = [
            "1.0",
            "com.example.someevent",
            "2018-04-05T03:56:24Z",
            "1234-1234-1234",
            "/mycontext/subcontext",
            "application/json; charset=utf-8",
        ];
        let mut expected: Vec<_> = names.into_iter().zip(values).collect();
        assert_eq!(decoded(protocol, &expected, "{\"a\":1}").unwrap(), Some(example()), "{protocol:?}");
        let message = protocol.encode(&example(), Mode::Binary);
        let mut headers: Vec<_> = headers(&message).collect();
        headers.sort_unstable();
        expected.last_mut().unwrap().0 = "content-type";
        expected.sort_unstable();
        assert_eq!((headers, &message.body[..]), (expected, &b"{\"a\":1}"[..]));
        // Structured: the body says it all.
        let message = protocol.encode(&example(), Mode::Structured);
        assert_eq!(
            message.headers,
            [("content-type".to_owned(), "application/cloudevents+json; charset=UTF-8".to_owned())]
        );
        let headers = self::headers(&message);
        assert_eq!(protocol.decode(headers, message.body.clone()).unwrap(), Some(example()));
    }
}

/// Section 3.1.3.2 of the HTTP binding.
#[test]
fn ev53_values_of_headers_are_percent_encoded() {
    let mut event = example();
    event.set("subject", "Euro \u{20ac} \u{1f600} 100% \"q\"".into()).unwrap();
    let message = Protocol::Http.encode(&event, Mode::Binary);
    let subject = headers(&message).find(|(name, _)| *name == "ce-subject").unwrap().1;
    assert_eq!(subject, "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25%20%22q%22");
    let subject = |value: &'static str| {
        let headers =
            [("CE-SpecVersion", "1.0"), ("Ce-Id", "1"), ("ce-source", "s"), ("ce-type", "t"), ("ce-subject", value)];
        decoded(Protocol::Http, &headers, "").unwrap().unwrap().attributes["subject"].to_string()
    };
    assert_eq!(subject("Euro%20%e2%82%ac%20%F0%9F%98%80"), "Euro \u{20ac} \u{1f600}");
    assert_eq!(subject(r#""a \"b\" \\ %63""#), r#"a "b" \ c"#);
    assert_eq!(subject("100% %zz"), "100% %zz");
}

#[test]
fn a_message_of_something_else_is_no_event_and_a_broken_event_is_told() {
    assert_eq!(
        decoded(Protocol::Http, &[("Content-Type", "application/json"), ("ce-agent", "x")], "{}").unwrap(),
        None
    );
    assert_eq!(decoded(Protocol::Kafka, &[], "anything").unwrap(), None);
    // `type` and `id` are plain words of MQTT's users.
    assert_eq!(decoded(Protocol::Mqtt, &[("type", "t"), ("Some Thing", "x")], "").unwrap(), None);
    let broken = decoded(Protocol::Nats, &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t")], "");
    assert_eq!(broken, Err(Error::Missing("source")));
    // A broker with binary headers has what no header of others can be.
    let lines = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "s"),
        ("ce_type", "t"),
        ("content-type", "a/b\nx: y"),
    ];
    assert!(
        decoded(Protocol::Kafka, &lines, "").unwrap_err().to_string().starts_with("datacontenttype: Invalid value")
    );
    let broken = decoded(Protocol::Http, &[("ce-specversion", "0.3")], "");
    assert!(broken.unwrap_err().to_string().starts_with("specversion: Invalid value"));
    let broken = decoded(Protocol::Http, &[("content-type", "Application/CloudEvents+JSON; charset=utf-8")], "{");
    assert!(matches!(broken, Err(Error::Json(_))));
}

proptest! {
    #[test]
    fn every_event_is_the_same_after_every_wire(event in any_event(), structured in any::<bool>()) {
        let mode = if structured { Mode::Structured } else { Mode::Binary };
        for protocol in ALL {
            let message = protocol.encode(&event, mode);
            if protocol.is_percent_encoded() {
                prop_assert!(headers(&message).all(|(name, value)| name == CONTENT_TYPE || value.bytes().all(|byte| (0x21..=0x7e).contains(&byte))));
            }
            let read = protocol.decode(headers(&message), message.body.clone()).unwrap().unwrap();
            let named = |event: &Event| event.named().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>();
            prop_assert_eq!(named(&read), named(&event));
            prop_assert_eq!(&read.content_type, &event.content_type);
            let data = |event: &Event| event.data.clone().unwrap_or_default().trim_ascii().to_vec();
            prop_assert_eq!(data(&read), data(&event));
        }
    }

    #[test]
    fn no_header_panics(headers in prop::collection::vec(("(ce[-_])?\\PC{0,10}", "\\PC{0,20}"), 0..6), body in prop::collection::vec(any::<u8>(), 0..40)) {
        for protocol in ALL {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain([("ce-specversion", "1.0")]);
            let _ = protocol.decode(headers, Bytes::from(body.clone()));
        }
    }
}
