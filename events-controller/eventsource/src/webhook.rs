//! Webhooks: of anybody, of GitHub, of GitLab, and the notifications of S3-compatible servers. A request is answered with
//! success when its events are where they shall go, so that whoever sends them can send them again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use event_bus::{
    bus::{Delivery, Error, Receipt},
    cloudevent::{Attribute, Event, JSON},
    files::Content,
    wire::{Message, Protocol},
};
use event_delivery::{
    metrics::Metrics,
    take::{Room, now},
};
use futures::{FutureExt, future::BoxFuture};
use ring::hmac;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{
    config::{Config, From},
    made::Maker,
    run::{Sender, maker},
};

/// Bytes that a request may have.
const LARGEST: usize = 10 << 20;

/// How long a request may take: GitHub and GitLab wait for ten seconds.
const ANSWER: Duration = Duration::from_secs(9);

/// What asks, and how its requests become events.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    GitHub,
    GitLab,
    S3,
}

/// A webhook.
#[derive(Debug)]
struct Hook {
    kind: Kind,
    secret: Option<Content>,
    /// Index of its event.
    index: usize,
    maker: Maker,
}

#[derive(Debug)]
struct Hooks {
    by_path: HashMap<String, Hook>,
    sender: Arc<Sender>,
    room: Room,
    metrics: Arc<Metrics>,
}

/// Listens for webhooks until it shall stop, if there are any.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(
    config: &Config,
    sender: Arc<Sender>,
    room: Room,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<std::io::Result<()>>>> {
    let mut by_path = HashMap::new();
    for (index, (name, event)) in config.events.iter().enumerate() {
        let kind = match &event.from {
            From::Webhook(_) => Kind::Plain,
            From::GitHub(_) => Kind::GitHub,
            From::GitLab(_) => Kind::GitLab,
            From::S3(_) => Kind::S3,
            From::Kafka(_) | From::RedisStream(_) | From::RedisList(_) | From::Cron(_) | From::Mqtt(_) => continue,
        };
        let Some(hook) = event.from.webhook() else { continue };
        if hook.secret.is_none() {
            warn!(event = name, "there is no secret: anybody who reaches this address may send events");
        }
        let (secret, maker) = (hook.secret.clone(), maker(config, name, event));
        by_path.insert(Config::path(name, hook), Hook { kind, secret, index, maker });
    }
    if by_path.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(config.webhook_address).await;
    let listener = listener.with_context(|| format!("webhookAddress: {}", config.webhook_address))?;
    info!(address = %config.webhook_address, "listening for webhooks");
    let hooks = Arc::new(Hooks { by_path, sender, room, metrics });
    let router = Router::new().fallback(receive).layer(DefaultBodyLimit::max(LARGEST)).with_state(hooks);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    Ok(Some(tokio::spawn(serving.into_future())))
}

async fn receive(
    State(hooks): State<Arc<Hooks>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(hook) = hooks.by_path.get(uri.path()) else { return StatusCode::NOT_FOUND.into_response() };
    if matches!(method, Method::GET | Method::HEAD) {
        // Whether it is there is asked for before anything is sent.
        return StatusCode::OK.into_response();
    }
    if !matches!(method, Method::POST | Method::PUT) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD, POST, PUT")]).into_response();
    }
    match hook.is_allowed(&headers, &body).await {
        Ok(true) => {}
        Ok(false) => return (StatusCode::UNAUTHORIZED, "the secret is another\n").into_response(),
        Err(error) => {
            warn!("{error}");
            return (StatusCode::INTERNAL_SERVER_ERROR, "the secret cannot be read\n").into_response();
        }
    }
    let Some(_room) = hooks.room.of(body.len()).await else { return later() };
    let at = now();
    let events = match hook.events(&headers, body, at) {
        Ok(events) => events,
        Err(reason) => {
            hooks.metrics.malformed();
            return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response();
        }
    };
    for event in events {
        hooks.metrics.received(false);
        match timeout(ANSWER, hooks.sender.send(hook.index, &event, at)).await {
            Ok(true) => {}
            Ok(false) => return (StatusCode::BAD_GATEWAY, "the event was not taken\n").into_response(),
            Err(_) => return later(),
        }
    }
    StatusCode::ACCEPTED.into_response()
}

fn later() -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static("10"))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, "the event could not be sent yet\n").into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}

/// Compares in a time that says nothing of the secret.
fn is_same(secret: &str, given: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::verify(&key, secret.as_bytes(), hmac::sign(&key, given.as_bytes()).as_ref()).is_ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2)).collect()
}

impl Hook {
    async fn is_allowed(&self, headers: &HeaderMap, body: &[u8]) -> Result<bool, Error> {
        let Some(secret) = &self.secret else { return Ok(true) };
        // Read each time: it may have been changed.
        let secret = secret.secret().await?;
        Ok(match self.kind {
            Kind::GitHub => {
                let signature = text(headers, "x-hub-signature-256").and_then(|text| text.strip_prefix("sha256="));
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                signature.and_then(unhex).is_some_and(|signature| hmac::verify(&key, body, &signature).is_ok())
            }
            Kind::GitLab => text(headers, "x-gitlab-token").is_some_and(|given| is_same(&secret, given)),
            Kind::Plain | Kind::S3 => {
                let given = text(headers, "authorization").and_then(|given| given.split_once(' '));
                given.is_some_and(|(scheme, given)| {
                    scheme.eq_ignore_ascii_case("bearer") && is_same(&secret, given.trim())
                })
            }
        })
    }

    /// The events of a request that came at a time.
    fn events(&self, headers: &HeaderMap, body: Bytes, at: u64) -> Result<Vec<Event>, String> {
        match self.kind {
            Kind::Plain => self.plain(headers, body, at).map(|event| vec![event]),
            Kind::GitHub => self.github(headers, body, at).map(|event| vec![event]),
            Kind::GitLab => self.gitlab(headers, body, at).map(|event| vec![event]),
            Kind::S3 => self.s3(&body, at),
        }
    }

    fn plain(&self, headers: &HeaderMap, body: Bytes, at: u64) -> Result<Event, String> {
        let headers = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let headers: Vec<_> = headers.collect();
        // What is sent again has the same name, if whoever sends it gives one.
        let id = headers.iter().find(|(name, _)| name == "idempotency-key").map(|(_, id)| id.clone());
        let delivery = Delivery {
            message: Message { headers, body },
            protocol: Protocol::Http,
            id: id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            key: None,
            at,
            is_again: false,
            receipt: Box::new(Request),
        };
        match self.maker.event(&delivery) {
            (event, false) => Ok(event),
            (_, true) => Err(delivery.event().err().map_or_else(String::new, |error| error.to_string())),
        }
    }

    /// As the adapter of CloudEvents for GitHub names it.
    fn github(&self, headers: &HeaderMap, body: Bytes, at: u64) -> Result<Event, String> {
        let type_ = text(headers, "x-github-event").ok_or("X-GitHub-Event: Required value")?;
        let id = text(headers, "x-github-delivery").ok_or("X-GitHub-Delivery: Required value")?;
        let json = json(headers, &body)?;
        let mut event = self.maker.plain(id, at, Some(JSON.to_owned()), json.0);
        event.type_ = format!("com.github.{type_}");
        if let Some(url) = json.1.pointer("/repository/url").and_then(Value::as_str) {
            event.source = url.to_owned();
        }
        Ok(event)
    }

    /// As the adapter of CloudEvents for GitLab names it.
    fn gitlab(&self, headers: &HeaderMap, body: Bytes, at: u64) -> Result<Event, String> {
        let name = text(headers, "x-gitlab-event").ok_or("X-Gitlab-Event: Required value")?;
        // The first is the same when GitLab sends it again.
        let id = text(headers, "idempotency-key").or_else(|| text(headers, "x-gitlab-event-uuid"));
        let id = id.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let json = json(headers, &body)?;
        let mut event = self.maker.plain(&id, at, Some(JSON.to_owned()), json.0);
        let kind = json.1.get("object_kind").and_then(Value::as_str).map(str::to_owned);
        event.type_ = format!("com.gitlab.{}", kind.unwrap_or_else(|| name.to_lowercase().replace(' ', "_")));
        let url = ["/project/web_url", "/repository/homepage"].iter().find_map(|at| json.1.pointer(at)?.as_str());
        if let Some(url) = url {
            event.source = url.to_owned();
        }
        Ok(event)
    }

    /// As the adapter of CloudEvents for Amazon S3 names them, one event for each record.
    fn s3(&self, body: &Bytes, at: u64) -> Result<Vec<Event>, String> {
        if body.is_empty() {
            // MinIO asks whether somebody is there.
            return Ok(Vec::new());
        }
        let notification: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON: {error}"))?;
        let records = notification.get("Records").and_then(Value::as_array).ok_or("Records: Required value")?;
        records.iter().map(|record| self.record(record, at)).collect()
    }

    fn record(&self, record: &Value, at: u64) -> Result<Event, String> {
        let text = |path: &str| record.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
        let required = |path: &'static str| text(path).ok_or_else(|| format!("Records{path}: Required value"));
        let (name, bucket, key) = (required("/eventName")?, required("/s3/bucket/name")?, required("/s3/object/key")?);
        let id = ["/responseElements/x-amz-request-id", "/responseElements/x-amz-id-2", "/s3/object/sequencer"];
        let id: Vec<_> = id.iter().filter_map(|path| text(path)).collect();
        let id = if id.is_empty() { Uuid::new_v4().to_string() } else { id.join(".") };
        let mut event = self.maker.plain(&id, at, Some(JSON.to_owned()), record.to_string().into());
        event.type_ = format!("com.amazonaws.s3.{}", name.trim_start_matches("s3:"));
        let (of, region) = (text("/eventSource").unwrap_or("aws:s3"), text("/awsRegion").unwrap_or_default());
        event.source =
            [of, region, bucket].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(".");
        event.attributes.insert("subject".to_owned(), Attribute::Text(key.to_owned()));
        if let Some(time) = text("/eventTime") {
            event.attributes.insert("time".to_owned(), Attribute::Text(time.to_owned()));
        }
        Ok(event)
    }
}

/// The JSON of a body, as it is and parsed. GitHub can send it in a form.
fn json(headers: &HeaderMap, body: &Bytes) -> Result<(Bytes, Value), String> {
    let is_form =
        text(headers, "content-type").is_some_and(|type_| type_.starts_with("application/x-www-form-urlencoded"));
    let json = match is_form {
        false => body.clone(),
        true => {
            // As the query of a URL is read.
            let query = std::str::from_utf8(body).map_err(|error| error.to_string())?;
            let url = reqwest::Url::parse(&format!("http://form/?{query}")).map_err(|error| error.to_string())?;
            let payload = url.query_pairs().find(|(name, _)| name == "payload");
            payload.ok_or("payload: Required value")?.1.into_owned().into()
        }
    };
    let value = serde_json::from_slice(&json).map_err(|error| format!("no JSON: {error}"))?;
    Ok((json, value))
}

/// The request itself is answered.
#[derive(Debug)]
struct Request;

impl Receipt for Request {
    fn handled(self: Box<Self>) -> BoxFuture<'static, Result<(), Error>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
