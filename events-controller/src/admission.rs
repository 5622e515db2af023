//! Admission of the kinds of events: what could never run is refused, and what is deprecated or may not be meant is
//! warned of. Nothing depends on it: what gets past it becomes a condition.

use std::sync::Arc;

use controller_runtime::webhook::{BundleTarget, Verdict, Webhooks};
use kube::{ResourceExt, api::DynamicObject, core::admission::AdmissionRequest};
use openfunction_proto::events::{
    ClusterEventBus, EventBus, EventBusSpec, EventSource, EventSourceSpec, HANDLER, SinkSpec, Trigger,
};
use serde_json::{Value, json};

use crate::{
    ABOUT, bus,
    dapr::{self, Program},
    problem::Problem,
    sink, source, trigger,
};

/// Adds admission to webhooks. Their configuration, which the chart has, is named after the controller's namespace.
pub fn admission(webhooks: Webhooks, namespace: &str) -> Webhooks {
    let configuration = BundleTarget::Validating(format!("{namespace}-{}", ABOUT.name));
    webhooks.admit("/validate-events-openfunction-io-v1alpha1", configuration, Arc::new(validate))
}

fn validate(request: &AdmissionRequest<DynamicObject>) -> Verdict {
    let Some(object) = &request.object else { return Verdict::default() };
    let said = |object: &DynamicObject| (object.data["spec"].clone(), object.annotations().get(HANDLER).cloned());
    let is_same = request.old_object.as_ref().is_some_and(|old| said(old) == said(object));
    // Finalizers and labels of what was stored before this rule must stay free.
    if object.metadata.deletion_timestamp.is_some() || is_same {
        return Verdict::default();
    }
    let object = json!(object);
    let (denied, warnings) = match request.kind.kind.as_str() {
        "EventSource" => read(object, |of: &EventSource| (of_source(of), warnings_of_source(of))),
        "Trigger" => read(object, |of: &Trigger| (of_trigger(of), warnings_of_trigger(of))),
        "EventBus" => read(object, |of: &EventBus| (None, warnings_of_bus(&of.spec))),
        "ClusterEventBus" => read(object, |of: &ClusterEventBus| (None, warnings_of_bus(&of.spec.bus))),
        _ => (None, Vec::new()),
    };
    Verdict { denied: denied.map(|problem| problem.message), warnings, object: None }
}

/// What cannot be read the CRD refuses.
fn read<K: serde::de::DeserializeOwned>(
    object: Value,
    judge: impl Fn(&K) -> (Option<Problem>, Vec<String>),
) -> (Option<Problem>, Vec<String>) {
    serde_json::from_value(object).map(|object| judge(&object)).unwrap_or_default()
}

fn of_source(source: &EventSource) -> Option<Problem> {
    let EventSourceSpec { sink, dead_letter_sink, .. } = &source.spec;
    let sinks = [(sink, "spec.sink"), (dead_letter_sink, "spec.deadLetterSink")];
    let wrong = sinks.into_iter().find_map(|(of, path)| of_sink(of.as_ref(), path));
    // One without any event, and what cannot be done here, was accepted, and is told by the condition (GAP-E02).
    let checked = || source::check(source).filter(|problem| !problem.is_unsupported());
    wrong.or_else(|| checked().filter(|_| !source::events(&source.spec).is_empty()))
}

fn of_trigger(trigger: &Trigger) -> Option<Problem> {
    let sinks = trigger.spec.subscribers.iter().enumerate().find_map(|(index, subscriber)| {
        let path = |field: &str| format!("spec.subscribers[{index}].{field}");
        of_sink(subscriber.sink.as_ref(), &path("sink"))
            .or_else(|| of_sink(subscriber.dead_letter_sink.as_ref(), &path("deadLetterSink")))
    });
    // One without subscribers was accepted, and is told by its condition.
    let checked = || trigger::check(trigger).filter(|problem| !problem.is_unsupported());
    sinks.or_else(|| checked().filter(|_| !trigger.spec.subscribers.is_empty()))
}

fn of_sink(sink: Option<&SinkSpec>, path: &str) -> Option<Problem> {
    let uri = sink?.uri.as_deref().filter(|uri| !uri.is_empty())?;
    sink::checked(uri, path).err()
}

/// Passwords and the like that can be read by whoever can read the object.
fn plain(path: &str, value: Option<&str>, instead: &str) -> Option<String> {
    value.filter(|value| !value.is_empty())?;
    Some(format!("{path}: can be read by whoever can read the object; write {instead}"))
}

/// Fields that handlers of Dapr do not use, if an object asks for them.
fn unused_by_dapr(object: &impl ResourceExt, unused: impl FnOnce() -> Vec<String>) -> Vec<String> {
    let unused = if Program::of(object) == Ok(Program::Dapr) { unused() } else { Vec::new() };
    unused.into_iter().map(|field| format!("{field}: has no effect: handlers of Dapr do not use it")).collect()
}

fn warnings_of_source(source: &EventSource) -> Vec<String> {
    let spec = &source.spec;
    let mut warnings = unused_by_dapr(source, || dapr::source::unused(spec));
    if spec.build.is_some() {
        warnings.push("spec.build: has no effect: handlers are not built".to_owned());
    }
    for (event, kafka) in &spec.kafka {
        let path = format!("spec.kafka[{event}]");
        warnings.extend(plain(
            &format!("{path}.saslPassword"),
            kafka.sasl_password.as_deref(),
            "saslPasswordSecretRef",
        ));
        if kafka.max_message_bytes.is_some() {
            warnings.push(format!("{path}.maxMessageBytes: has no effect: the handler sends nothing to this Kafka"));
        }
    }
    for (event, mqtt) in &spec.mqtt {
        let path = format!("spec.mqtt[{event}].clientKey");
        warnings.extend(plain(&path, mqtt.client_key.as_deref(), "tls.clientKeySecretRef"));
    }
    for (event, redis) in &spec.redis {
        let path = format!("spec.redis[{event}]");
        let password = Some(redis.redis_password.as_str());
        warnings.extend(plain(&format!("{path}.redisPassword"), password, "redisPasswordSecretRef"));
        let unused = source::unused_of_redis(redis);
        warnings.extend(unused.into_iter().map(|field| format!("{path}.{field}: has no effect")));
    }
    warnings
}

fn warnings_of_trigger(trigger: &Trigger) -> Vec<String> {
    let subscribers = trigger.spec.subscribers.iter().enumerate();
    let idle = subscribers.filter(|(_, of)| of.sink.is_none() && of.topic.as_deref().unwrap_or_default().is_empty());
    let idle = idle.map(|(index, _)| {
        format!("spec.subscribers[{index}]: has neither sink nor topic: nothing happens when its condition is met")
    });
    idle.chain(unused_by_dapr(trigger, || dapr::trigger::unused(&trigger.spec))).collect()
}

fn warnings_of_bus(spec: &EventBusSpec) -> Vec<String> {
    let Some(nats) = &spec.nats_streaming else { return Vec::new() };
    let mut warnings = vec![
        "spec.natsStreaming: NATS Streaming has come to its end; the bus is JetStream at natsURL: write jetStream"
            .to_owned(),
    ];
    warnings.extend(
        bus::not_mapped(nats)
            .into_iter()
            .map(|field| format!("spec.natsStreaming.{field}: has no effect on JetStream")),
    );
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kind: &str, spec: &Value, before: Option<&Value>) -> Verdict {
        let object = |spec: &Value| object(kind, spec, "native");
        ask(kind, object(spec), before.map(object))
    }

    fn object(kind: &str, spec: &Value, handler: &str) -> Value {
        json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": "a", "namespace": "n", "annotations": {HANDLER: handler}}})
    }

    fn ask(kind: &str, object: Value, before: Option<Value>) -> Verdict {
        let request = serde_json::from_value(
            json!({"uid": "u", "kind": {"group": "events.openfunction.io", "version": "v1alpha1", "kind": kind},
            "resource": {"group": "events.openfunction.io", "version": "v1alpha1", "resource": "any"}, "name": "a", "namespace": "n",
            "operation": if before.is_some() { "UPDATE" } else { "CREATE" }, "userInfo": {}, "dryRun": false,
            "object": object, "oldObject": before}),
        );
        validate(&request.unwrap())
    }

    fn denied(kind: &str, spec: Value) -> String {
        let denied = verdict(kind, &spec, None).denied.unwrap_or_default();
        // It may have been stored before there was a rule.
        let again = verdict(kind, &spec, Some(&spec));
        assert!(again.denied.is_none() && again.warnings.is_empty());
        denied
    }

    fn trigger(condition: &str) -> Value {
        json!({"eventBus": "b", "inputs": {"one": {"eventSource": "s", "event": "e"}},
            "subscribers": [{"condition": "one", "topic": "t"}, {"condition": condition, "topic": "t"}]})
    }

    #[test]
    fn e39_a_condition_that_is_wrong_is_refused_with_its_position() {
        for good in ["one", "!one", "true", "one || false"] {
            assert_eq!(denied("Trigger", trigger(good)), "", "{good}");
        }
        for (bad, why) in [("one && two", "column 8: "), ("one &&", "column "), ("1", ""), (" ", "must not be empty")] {
            let said = denied("Trigger", trigger(bad));
            let expected = format!("spec.subscribers[1].condition: Invalid value: {why}");
            assert!(said.starts_with(&expected), "{bad:?}: {said}");
        }
    }

    #[test]
    fn schedules_urls_and_names_are_looked_at() {
        let cron = |schedule: &str, zone: &str| json!({"eventBus": "b", "cron": {"a": {"schedule": schedule, "timeZone": zone}}});
        for good in ["@every 5s", "*/5 * * * *", "0 0 12 * * 1", "@daily"] {
            assert_eq!(denied("EventSource", cron(good, "Europe/Vienna")), "", "{good}");
        }
        for bad in [cron("every day", ""), cron("@daily", "Mars/Olympus")] {
            let said = denied("EventSource", bad);
            assert!(
                said.starts_with("spec.cron[a].schedule: ") || said.starts_with("spec.cron[a].timeZone: "),
                "{said}"
            );
        }
        let named = |name: &str| json!({"eventBus": "b", "cron": {name: {"schedule": "@daily"}}});
        assert_eq!(denied("EventSource", named("Sample.one_2")), "");
        for bad in ["", "a b", "-a", "a/b", &"a".repeat(64)] {
            assert!(denied("EventSource", named(bad)).contains("an event's name has at most 63"), "{bad}");
        }
        let to = |uri: &str| json!({"sink": {"uri": uri}, "cron": {"a": {"schedule": "@daily"}}});
        assert_eq!(denied("EventSource", to("http://a.b/c")), "");
        assert!(denied("EventSource", to("a.b/c")).starts_with("spec.sink.uri: Invalid value: "));
        let kafka = |more: Value| {
            let mut kafka = json!({"brokers": "k:9092", "topic": "t", "authRequired": true});
            kafka.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"eventBus": "b", "kafka": {"a": kafka}})
        };
        assert_eq!(denied("EventSource", kafka(json!({"saslUsername": "u", "saslPassword": "p"}))), "");
        assert!(denied("EventSource", kafka(json!({}))).starts_with("spec.kafka[a].saslUsername: Required value"));
        assert!(
            denied("EventSource", kafka(json!({"topic": "", "authRequired": false})))
                .starts_with("spec.kafka[a].topic: Required value")
        );
        assert_eq!(denied("EventSource", json!({"eventBus": "b"})), "", "GAP-E02");
    }

    #[test]
    fn what_is_deprecated_or_without_effect_is_warned_of() {
        let warned = |kind: &str, spec: Value| -> Vec<String> {
            let warnings = verdict(kind, &spec, None).warnings;
            warnings.iter().map(|warning| warning.split(": ").next().unwrap().to_owned()).collect()
        };
        let source = json!({"eventBus": "b", "build": {}, "cron": {"c": {"schedule": "@daily"}},
            "kafka": {"k": {"brokers": "k", "topic": "t", "authRequired": true, "saslUsername": "u", "saslPassword": "p"}},
            "mqtt": {"m": {"url": "tcp://m", "topic": "t", "clientCert": "c", "clientKey": "k"}},
            "redis": {"r": {"redisHost": "r:6379", "redisPassword": "p", "poolSize": 1}, "q": {"redisHost": "r", "redisPassword": ""}}});
        assert_eq!(
            warned("EventSource", source),
            [
                "spec.build",
                "spec.kafka[k].saslPassword",
                "spec.mqtt[m].clientKey",
                "spec.redis[r].redisPassword",
                "spec.redis[r].poolSize"
            ]
        );
        let nats = json!({"natsStreaming": {"natsURL": "nats://n", "natsStreamingClusterID": "c", "subscriptionType": "queue",
            "durableSubscriptionName": "d", "ackWaitTime": "5s", "startAtSequence": 3}});
        let expected = ["spec.natsStreaming", "spec.natsStreaming.startAtSequence"];
        assert_eq!(warned("EventBus", nats.clone()), expected);
        assert_eq!(warned("ClusterEventBus", nats), expected);
        let mut idle = trigger("one");
        idle["subscribers"][1].as_object_mut().unwrap().remove("topic");
        assert_eq!(warned("Trigger", idle), ["spec.subscribers[1]"]);
    }

    #[test]
    fn what_handlers_are_is_looked_at_when_it_changes() {
        let spec = json!({"eventBus": "b", "delivery": {"retry": 1}, "cron": {"c": {"schedule": "@daily"}}});
        let of = |handler: &str| object("EventSource", &spec, handler);
        let denied = ask("EventSource", of("knative"), Some(of("native"))).denied.unwrap();
        assert!(
            denied.starts_with("metadata.annotations[openfunction.io/event-handler]: Unsupported value: "),
            "{denied}"
        );
        let warned = ask("EventSource", of("dapr"), Some(of("native")));
        assert_eq!(warned.warnings, ["spec.delivery: has no effect: handlers of Dapr do not use it"]);
        assert!(ask("EventSource", of("native"), None).warnings.is_empty());
        assert!(ask("EventSource", of("dapr"), Some(of("dapr"))).warnings.is_empty());
    }
}
