//! Group `events.openfunction.io`: EventSource, EventBus, ClusterEventBus and Trigger.

/// Annotation of an EventSource or Trigger that says what its handlers are: `native`, which is meant when it is absent, for
/// programs of our own, or `dapr` for functions that Dapr calls, as in OpenFunction 1.x. (addition, goals Q31)
pub const HANDLER: &str = "openfunction.io/event-handler";

mod event_bus;
mod event_source;
mod secret;
mod sink;
mod status;
mod trigger;

pub use event_bus::{
    ClusterEventBus, ClusterEventBusSpec, EventBus, EventBusSpec, EventBusStatus, JetStream, KafkaBus, NatsStreaming,
    NatsStreamingScaleOption, RedisStreams,
};
pub use event_source::{Cron, EventSource, EventSourceSpec, Kafka, KafkaScaleOption, Mqtt, Redis, Webhook};
pub use secret::{SecretKeySelector, Tls};
pub use sink::{Delivery, SinkReference, SinkSpec};
pub use status::{EventsCondition, EventsStatus};
pub use trigger::{Input, Subscriber, Trigger, TriggerSpec};
