use event_bus::memory::Memory;
use event_delivery::deliver::{Deliverer, client};
use serde_json::json;

use super::*;

/// A hook of a kind with a secret, whose name is `hook`.
fn hook(kind: Kind, secret: Option<&tempfile::NamedTempFile>) -> Hook {
    let maker = Maker { source: "/sources/s#hook".to_owned(), type_: "plain".to_owned(), prefix: String::new() };
    Hook { kind, secret: secret.map(|file| file.path().into()), index: 0, maker }
}

fn file(secret: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, secret).unwrap();
    file
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// The example of GitHub's documentation, "Validating webhook deliveries".
#[tokio::test]
async fn ev8_the_signature_of_github_is_checked() {
    let secret = file("It's a Secret to Everybody\n");
    let hook = hook(Kind::GitHub, Some(&secret));
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let signed = |signature: &str| headers(&[("x-hub-signature-256", signature)]);
    assert_eq!(hook.is_allowed(&signed(signature), b"Hello, World!").await, Ok(true));
    assert_eq!(hook.is_allowed(&signed(signature), b"Hello, World?").await, Ok(false));
    for wrong in ["", "sha256=", "sha256=7571", "sha1=757107ea", &signature[7..], "sha256=zz", "sha256=é"] {
        let value = HeaderValue::from_bytes(wrong.as_bytes()).unwrap();
        let headers = HeaderMap::from_iter([("x-hub-signature-256".parse().unwrap(), value)]);
        assert_eq!(hook.is_allowed(&headers, b"Hello, World!").await, Ok(false), "{wrong}");
    }
    assert_eq!(hook.is_allowed(&HeaderMap::new(), b"Hello, World!").await, Ok(false));
}

#[tokio::test]
async fn ev8_the_tokens_of_gitlab_and_of_others_are_checked() {
    let secret = file("s3cret");
    let gitlab = hook(Kind::GitLab, Some(&secret));
    assert_eq!(gitlab.is_allowed(&headers(&[("x-gitlab-token", "s3cret")]), b"").await, Ok(true));
    assert_eq!(gitlab.is_allowed(&headers(&[("x-gitlab-token", "s3cre")]), b"").await, Ok(false));
    assert_eq!(gitlab.is_allowed(&HeaderMap::new(), b"").await, Ok(false));
    let plain = hook(Kind::Plain, Some(&secret));
    assert_eq!(plain.is_allowed(&headers(&[("authorization", "Bearer s3cret")]), b"").await, Ok(true));
    for wrong in ["Basic s3cret", "s3cret", "Bearer", "Bearer s3cret2"] {
        assert_eq!(plain.is_allowed(&headers(&[("authorization", wrong)]), b"").await, Ok(false), "{wrong}");
    }
    std::fs::remove_file(secret.path()).unwrap();
    assert!(plain.is_allowed(&HeaderMap::new(), b"").await.unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn ev8_events_of_github_and_gitlab_are_named_as_cloudevents_names_them() {
    let body = Bytes::from(r#"{"ref": "refs/heads/main", "repository": {"url": "https://github.com/o/r"}}"#);
    let of_github = headers(&[("x-github-event", "push"), ("x-github-delivery", "72d3162e")]);
    let event = hook(Kind::GitHub, None).events(&of_github, body.clone(), 0).unwrap().remove(0);
    assert_eq!((&*event.id, &*event.type_, &*event.source), ("72d3162e", "com.github.push", "https://github.com/o/r"));
    assert_eq!(event.data, Some(body.clone()));
    // As a form, which is what a new webhook of GitHub sends.
    let form = "payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D";
    let as_form = [("content-type", "application/x-www-form-urlencoded"), ("x-github-event", "push")];
    let as_form = headers(&[&as_form[..], &[("x-github-delivery", "1")]].concat());
    let event = hook(Kind::GitHub, None).events(&as_form, form.into(), 0).unwrap().remove(0);
    assert_eq!(event.data.as_deref(), Some(&br#"{"ref":"refs/heads/main"}"#[..]));
    let body = Bytes::from(r#"{"object_kind": "push", "project": {"web_url": "https://gitlab.com/o/r"}}"#);
    let of_gitlab = headers(&[("x-gitlab-event", "Push Hook"), ("idempotency-key", "f5e5f430")]);
    let event = hook(Kind::GitLab, None).events(&of_gitlab, body, 0).unwrap().remove(0);
    assert_eq!((&*event.id, &*event.type_, &*event.source), ("f5e5f430", "com.gitlab.push", "https://gitlab.com/o/r"));
    let refused = |kind, headers: &HeaderMap, body| hook(kind, None).events(headers, Bytes::from(body), 0).unwrap_err();
    assert_eq!(refused(Kind::GitHub, &HeaderMap::new(), "{}"), "X-GitHub-Event: Required value");
    assert!(refused(Kind::GitLab, &of_gitlab, "nonsense").starts_with("no JSON: "));
}

/// Of the documentation of MinIO.
#[test]
fn ev6_each_record_of_an_s3_notification_is_an_event() {
    let record = json!({"eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "", "eventName": "s3:ObjectCreated:Put",
        "eventTime": "2026-04-13T21:05:18.104Z",
        "responseElements": {"x-amz-request-id": "1755A11F3B9CCDDB", "x-amz-id-2": "dd9025"},
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": "images"},
            "object": {"key": "my%20photo.jpg", "size": 1024, "sequencer": "1755A11F3BA5CF5D"}}});
    let body = json!({"EventName": "s3:ObjectCreated:Put", "Key": "images/my photo.jpg", "Records": [record, record]});
    let events = hook(Kind::S3, None).events(&HeaderMap::new(), body.to_string().into(), 0).unwrap();
    let [event, _] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.id, "1755A11F3B9CCDDB.dd9025.1755A11F3BA5CF5D");
    assert_eq!((&*event.type_, &*event.source), ("com.amazonaws.s3.ObjectCreated:Put", "minio:s3.images"));
    assert_eq!(event.attributes["subject"], "my%20photo.jpg".into());
    assert_eq!(event.attributes["time"], "2026-04-13T21:05:18.104Z".into());
    let refused = hook(Kind::S3, None).events(&HeaderMap::new(), r#"{"Records": [{}]}"#.into(), 0);
    assert_eq!(refused.unwrap_err(), "Records/eventName: Required value");
}

#[test]
fn a_request_that_is_an_event_stays_one_and_another_gets_a_name() {
    let plain = hook(Kind::Plain, None);
    let ce = headers(&[("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/there"), ("ce-type", "t")]);
    let event = plain.events(&ce, "data".into(), 0).unwrap().remove(0);
    assert_eq!((&*event.id, &*event.source, &*event.type_), ("7", "/there", "t"));
    let event = plain.events(&headers(&[("content-type", "text/csv")]), "a,b".into(), 1_000).unwrap().remove(0);
    assert_eq!(
        (&*event.source, &*event.type_, event.content_type.as_deref()),
        ("/sources/s#hook", "plain", Some("text/csv"))
    );
    assert_eq!(event.attributes["time"], "1970-01-01T00:00:01Z".into());
    let broken = headers(&[("ce-specversion", "1.0"), ("ce-id", "7")]);
    assert_eq!(plain.events(&broken, "data".into(), 0).unwrap_err(), "source: Required value");
}

/// A process that listens, its address, and where its events go.
async fn serving(events: Value) -> (String, Memory, CancellationToken) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = json!({"name": "n-s", "source": "/sources/s", "bus": {"jetStream": {"url": ""}},
        "webhookAddress": address, "events": events});
    let config: Config = serde_json::from_value(config).unwrap();
    config.check().unwrap();
    let (bus, stop) = (Memory::default(), CancellationToken::new());
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let deliverer = Deliverer {
        client: client().unwrap(),
        bus: Some(Arc::new(bus.clone())),
        name: "n-s".to_owned(),
        metrics: metrics.clone(),
    };
    let sender = Arc::new(Sender::new(&config, deliverer));
    serve(&config, sender, Room::default(), metrics, stop.clone()).await.unwrap();
    (format!("http://{address}"), bus, stop)
}

#[tokio::test]
async fn a_request_is_answered_when_its_event_is_on_the_bus() {
    let secret = file("s3cret");
    let events = json!({"one": {"topic": "n-s-one", "from": {"webhook": {"secret": secret.path()}}}});
    let (url, bus, _stop) = serving(events).await;
    let (client, one) = (client().unwrap(), format!("{url}/one"));
    let post = async |secret: &str, body: Vec<u8>| {
        client.post(&one).bearer_auth(secret).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("s3cret", b"hello".to_vec()).await, 202);
    assert_eq!(bus.events("n-s-one").len(), 1);
    assert_eq!(post("wrong", b"hello".to_vec()).await, 401);
    assert_eq!(post("s3cret", vec![b'x'; LARGEST + 1]).await, 413);
    assert_eq!(client.get(&one).send().await.unwrap().status(), 200);
    assert_eq!(client.delete(&one).send().await.unwrap().status(), 405);
    assert_eq!(client.post(format!("{url}/other")).send().await.unwrap().status(), 404);
    assert_eq!(bus.events("n-s-one").len(), 1);
}
