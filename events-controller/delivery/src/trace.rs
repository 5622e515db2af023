//! Spans of what happens to an event, so that its trace goes on behind brokers and processes. Their names and attributes
//! are OpenTelemetry's for messaging and for CloudEvents.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use event_bus::cloudevent::{Attribute, Event};
use openfunction_telemetry::tracer;
use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// What is done to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It came from where it happens.
    Receive,
    /// It is decided who gets it.
    Process,
    /// It goes to a topic.
    Publish,
    /// It goes to a sink.
    Post,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Process => "process",
            Self::Publish | Self::Post => "send",
        }
    }

    fn kind(self) -> SpanKind {
        match self {
            Self::Receive | Self::Process => SpanKind::Consumer,
            Self::Publish => SpanKind::Producer,
            Self::Post => SpanKind::Client,
        }
    }
}

/// A span. It ends when this is dropped; it costs nothing if traces are not sent.
#[derive(Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// Begins one: a child of what the event carries.
    pub fn begin(operation: Operation, place: &str, event: &Event) -> Self {
        let Some(tracer) = tracer() else { return Self::default() };
        let span = tracer
            .span_builder(format!("{} {place}", operation.name()))
            .with_kind(operation.kind())
            .with_attributes([
                KeyValue::new("messaging.operation.type", operation.name()),
                KeyValue::new("messaging.destination.name", place.to_owned()),
                KeyValue::new("cloudevents.event_id", event.id.clone()),
                KeyValue::new("cloudevents.event_source", event.source.clone()),
                KeyValue::new("cloudevents.event_type", event.type_.clone()),
            ])
            .start_with_context(tracer, &TraceContextPropagator::new().extract(&Carrier(&event.attributes)));
        Self(Some(Context::new().with_span(span)))
    }

    /// The event as it goes on: what happens to it next is a child of this.
    pub fn carried<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        let Some(context) = &self.0 else { return Cow::Borrowed(event) };
        let mut event = event.clone();
        TraceContextPropagator::new().inject_context(context, &mut Carrier(&mut event.attributes));
        // A state of nothing says nothing.
        event.attributes.retain(|name, value| name != "tracestate" || *value != Attribute::Text(String::new()));
        Cow::Owned(event)
    }

    /// As [`Span::carried`], of an event that is shared.
    pub fn shared(&self, event: Arc<Event>) -> Arc<Event> {
        match self.carried(&event) {
            Cow::Owned(carried) => Arc::new(carried),
            Cow::Borrowed(_) => event,
        }
    }

    /// Something went wrong.
    pub fn failed(&self, reason: &str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(reason.to_owned()));
        }
    }
}

/// The extension "distributed tracing" of CloudEvents.
struct Carrier<T>(T);

impl Extractor for Carrier<&BTreeMap<String, Attribute>> {
    fn get(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

impl Injector for Carrier<&mut BTreeMap<String, Attribute>> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), Attribute::Text(value));
    }
}
