//! NATS Streaming, which is no more: its components and scalers are made as those of `JetStream` (goals TR19, SC10, EV19 to
//! EV21).

use openfunction_proto::core::{ComponentMetadata, ComponentSpec, KedaTrigger};
use serde_json::Value;

/// Type of the components that are mapped.
const STREAMING: &str = "pubsub.natsstreaming";

/// Settings with the same meaning under another name.
const RENAMED: &[(&str, &str)] = &[
    ("natsURL", "natsURL"),
    ("durableSubscriptionName", "durableName"),
    ("queueGroupName", "queueGroupName"),
    ("consumerID", "queueGroupName"),
    ("ackWaitTime", "ackWait"),
    ("maxInFlight", "maxAckPending"),
    ("startAtSequence", "startSequence"),
    ("startAtTime", "startTime"),
];

/// Settings that say where a subscription begins, when they are true or given at all.
const POLICIES: &[(&str, &str)] = &[
    ("startAtSequence", "sequence"),
    ("startAtTime", "time"),
    ("startWithLastReceived", "last"),
    ("deliverNew", "new"),
    ("deliverAll", "all"),
];

/// What a component becomes, and the settings that have no counterpart; none for any other component.
pub fn mapped(spec: &ComponentSpec) -> Option<(ComponentSpec, Vec<String>)> {
    if spec.type_ != STREAMING {
        return None;
    }
    let find = |name: &str| spec.metadata.iter().find(|setting| setting.name == name);
    let is_set = |setting: &ComponentMetadata| {
        !matches!(&setting.value, Some(Value::Bool(false))) && setting.value != Some(Value::from("false"))
    };
    let mut metadata: Vec<ComponentMetadata> = Vec::new();
    for (from, to) in RENAMED {
        if let Some(setting) = find(from)
            && !metadata.iter().any(|known| known.name == *to)
        {
            metadata.push(ComponentMetadata { name: (*to).to_owned(), ..setting.clone() });
        }
    }
    if let Some((_, policy)) = POLICIES.iter().find(|(name, _)| find(name).is_some_and(is_set)) {
        let policy = Some(Value::from(*policy));
        metadata.push(ComponentMetadata { name: "deliverPolicy".to_owned(), value: policy, ..Default::default() });
    }
    let is_known = |name: &str| RENAMED.iter().chain(POLICIES).any(|(known, _)| *known == name);
    let dropped = spec.metadata.iter().map(|setting| setting.name.clone()).filter(|name| !is_known(name)).collect();
    Some((ComponentSpec { type_: "pubsub.jetstream".to_owned(), metadata, ..spec.clone() }, dropped))
}

/// What a scaler becomes; none for any other. The stream is called like the subject: NATS Streaming had no streams.
pub fn scaler(trigger: &KedaTrigger) -> Option<KedaTrigger> {
    if trigger.type_ != "stan" {
        return None;
    }
    let find = |names: &[&str]| names.iter().find_map(|name| trigger.metadata.get(*name).cloned());
    let settings = [
        ("natsServerMonitoringEndpoint", find(&["natsServerMonitoringEndpoint"])),
        ("account", Some("$G".to_owned())),
        ("stream", find(&["stream", "subject"])),
        ("consumer", find(&["consumer", "durableName", "queueGroup"])),
        ("lagThreshold", find(&["lagThreshold"])),
        ("activationLagThreshold", find(&["activationLagThreshold"])),
    ];
    let metadata = settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Some(KedaTrigger { type_: "nats-jetstream".to_owned(), metadata, ..trigger.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tr19_nats_streaming_becomes_jetstream() {
        let setting = |name: &str, value: Value| json!({"name": name, "value": value});
        let of = |metadata: Value| -> ComponentSpec {
            serde_json::from_value(json!({"type": "pubsub.natsstreaming", "version": "v1", "metadata": metadata}))
                .unwrap()
        };
        let spec = of(json!([
            setting("natsURL", json!("nats://nats:4222")),
            setting("natsStreamingClusterID", json!("stan")),
            setting("subscriptionType", json!("queue")),
            setting("durableSubscriptionName", json!("ImDurable")),
            setting("consumerID", json!("c")),
            setting("deliverAll", json!("true")),
            setting("deliverNew", json!("false"))
        ]));
        let (mapped, dropped) = mapped(&spec).unwrap();
        let expected = json!([
            setting("natsURL", json!("nats://nats:4222")),
            setting("durableName", json!("ImDurable")),
            setting("queueGroupName", json!("c")),
            setting("deliverPolicy", json!("all"))
        ]);
        assert_eq!((mapped.type_.as_str(), json!(mapped.metadata)), ("pubsub.jetstream", expected));
        assert_eq!(dropped, ["natsStreamingClusterID", "subscriptionType"]);
        assert_eq!(super::mapped(&ComponentSpec { type_: "pubsub.redis".to_owned(), ..spec }), None);
    }

    #[test]
    fn sc10_a_scaler_of_nats_streaming_becomes_that_of_jetstream() {
        let stan: KedaTrigger = serde_json::from_value(json!({"type": "stan", "name": "lag", "metadata": {
            "natsServerMonitoringEndpoint": "stan:8222", "queueGroup": "grp1", "durableName": "ImDurable", "subject": "Test", "lagThreshold": "10"}}))
        .unwrap();
        assert_eq!(
            json!(scaler(&stan).unwrap()),
            json!({"type": "nats-jetstream", "name": "lag", "metadata": {"natsServerMonitoringEndpoint": "stan:8222",
                "account": "$G", "stream": "Test", "consumer": "ImDurable", "lagThreshold": "10"}})
        );
        assert_eq!(scaler(&KedaTrigger { type_: "kafka".to_owned(), ..stan }), None);
    }
}
