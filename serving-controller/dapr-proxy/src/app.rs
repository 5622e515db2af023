//! What Dapr's sidecar asks of an application (Dapr's `AppCallback` service, and its HTTP application channel): the proxy
//! answers what the function subscribes to, and everything else is for the function's pods.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing,
};
use prost::Message;
use serde_json::{Value, json};

use crate::{
    context::{FunctionContext, Trigger},
    pods::{Pods, whole},
};

/// The function, as Dapr's sidecar sees it.
pub struct App {
    context: FunctionContext,
    pods: Pods,
}

/// `dapr.proto.runtime.v1.ListTopicSubscriptionsResponse`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Subscriptions {
    #[prost(message, repeated, tag = "1")]
    subscriptions: Vec<Subscription>,
}

/// `dapr.proto.runtime.v1.TopicSubscription`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Subscription {
    #[prost(string, tag = "1")]
    pubsub_name: String,
    #[prost(string, tag = "2")]
    topic: String,
    #[prost(string, tag = "6")]
    dead_letter_topic: String,
    #[prost(message, optional, tag = "7")]
    bulk_subscribe: Option<BulkSubscribe>,
}

/// `dapr.proto.runtime.v1.BulkSubscribeConfig`.
#[derive(Clone, PartialEq, Message)]
struct BulkSubscribe {
    #[prost(bool, tag = "1")]
    enabled: bool,
    #[prost(int32, tag = "2")]
    max_messages_count: i32,
    #[prost(int32, tag = "3")]
    max_await_duration_ms: i32,
}

/// `dapr.proto.runtime.v1.ListInputBindingsResponse`.
#[derive(Clone, PartialEq, Message)]
struct Bindings {
    #[prost(string, repeated, tag = "1")]
    bindings: Vec<String>,
}

impl App {
    /// The function of a context, in its pods.
    pub fn new(context: FunctionContext, pods: Pods) -> Arc<Self> {
        Arc::new(Self { context, pods })
    }

    /// The application over gRPC.
    pub fn grpc(self: Arc<Self>) -> Router {
        let subscriptions = async |State(app): State<Arc<Self>>| message(&app.subscriptions());
        let bindings = async |State(app): State<Arc<Self>>| message(&Bindings { bindings: app.context.bindings() });
        let healthy = async || message(&());
        Router::new()
            .route("/dapr.proto.runtime.v1.AppCallback/ListTopicSubscriptions", routing::post(subscriptions))
            .route("/dapr.proto.runtime.v1.AppCallback/ListInputBindings", routing::post(bindings))
            .route("/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck", routing::post(healthy))
            .fallback(async |State(app): State<Arc<Self>>, request: Request| app.pass(request, refused_over_grpc).await)
            .with_state(self)
    }

    /// The application over HTTP.
    pub fn http(self: Arc<Self>) -> Router {
        let subscriptions =
            async |State(app): State<Arc<Self>>| Json(app.context.topics().map(subscription).collect::<Vec<_>>());
        // Dapr asks by OPTIONS whether a binding is wanted.
        let pass = async |State(app): State<Arc<Self>>, request: Request| app.pass(request, refused_over_http).await;
        let wanted = async |State(app): State<Arc<Self>>, Path(name): Path<String>| {
            if app.context.bindings().contains(&name) { StatusCode::OK } else { StatusCode::NOT_FOUND }
        };
        Router::new()
            .route("/dapr/subscribe", routing::get(subscriptions))
            .route("/dapr/config", routing::get(async || StatusCode::NOT_FOUND))
            .route("/{name}", routing::options(wanted).fallback(pass))
            .fallback(pass)
            .with_state(self)
    }

    fn subscriptions(&self) -> Subscriptions {
        let subscription = |trigger: &Trigger| Subscription {
            pubsub_name: trigger.name.clone(),
            topic: trigger.topic.clone(),
            dead_letter_topic: trigger.dead_letter_topic.clone().unwrap_or_default(),
            // Dapr takes 0 for its default.
            bulk_subscribe: trigger.bulk_subscribe.as_ref().map(|bulk| BulkSubscribe {
                enabled: true,
                max_messages_count: bulk.max_messages_count.unwrap_or(0),
                max_await_duration_ms: bulk.max_await_duration_ms.unwrap_or(0),
            }),
        };
        Subscriptions { subscriptions: self.context.topics().map(subscription).collect() }
    }

    /// Passes a request on to a pod.
    async fn pass(&self, request: Request, refused: fn(&str) -> Response) -> Response {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let passed = match whole(body).await {
            Ok(body) => self.pods.pass(&parts, body).await,
            Err(error) => Err(error),
        };
        passed.unwrap_or_else(|why| {
            tracing::warn!(path, "{why}");
            refused(&why)
        })
    }
}

/// A subscription as Dapr's HTTP application channel has it.
fn subscription(trigger: &Trigger) -> Value {
    let mut subscription =
        json!({"pubsubname": trigger.name, "topic": trigger.topic, "route": format!("/{}", trigger.topic)});
    if let Some(topic) = &trigger.dead_letter_topic {
        subscription["deadLetterTopic"] = json!(topic);
    }
    if let Some(bulk) = &trigger.bulk_subscribe {
        subscription["bulkSubscribe"] = json!(bulk);
        subscription["bulkSubscribe"]["enabled"] = json!(true);
    }
    subscription
}

/// A response of gRPC with one message: five bytes of frame before it, and the status behind it.
fn message(message: &impl Message) -> Response {
    let body = message.encode_to_vec();
    let mut framed = vec![0];
    framed.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(body);
    let body = http_body_util::Full::new(axum::body::Bytes::from(framed));
    let trailers = async { Some(Ok(http::HeaderMap::from_iter([status("0")]))) };
    let body = http_body_util::BodyExt::with_trailers(body, trailers);
    ([(CONTENT_TYPE, GRPC)], Body::new(body)).into_response()
}

const GRPC: &str = "application/grpc";

fn status(code: &'static str) -> (http::HeaderName, HeaderValue) {
    (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(code))
}

/// The event is not lost: Dapr does not acknowledge it to the broker.
fn refused_over_grpc(why: &str) -> Response {
    let said: String = why.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
    let message = HeaderValue::from_str(&said).unwrap_or(HeaderValue::from_static("unavailable"));
    let mut response = ([(CONTENT_TYPE, GRPC)], Body::empty()).into_response();
    response.headers_mut().extend([status("14"), (http::HeaderName::from_static("grpc-message"), message)]);
    response
}

fn refused_over_http(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tr16_a_subscription_says_what_its_trigger_says() {
        let trigger = |more: Value| {
            let mut trigger = json!({"name": "bus", "type": "pubsub.redis", "topic": "paid"});
            more.as_object().unwrap().iter().for_each(|(field, value)| trigger[field] = value.clone());
            serde_json::from_value::<Trigger>(trigger).unwrap()
        };
        let plain = json!({"pubsubname": "bus", "topic": "paid", "route": "/paid"});
        assert_eq!(subscription(&trigger(json!({}))), plain);
        let said =
            subscription(&trigger(json!({"deadLetterTopic": "unpaid", "bulkSubscribe": {"maxMessagesCount": 5}})));
        assert_eq!(said["deadLetterTopic"], "unpaid");
        assert_eq!(said["bulkSubscribe"], json!({"enabled": true, "maxMessagesCount": 5}));
    }
}
