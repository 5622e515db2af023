//! Group `events.openfunction.io`: EventSource, EventBus, ClusterEventBus and Trigger.

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
