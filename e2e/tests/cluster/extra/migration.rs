//! All kinds of Functions that OpenFunction 1.2 leaves, fifty of them, with events and WebAssembly.

use e2e::local::git::NAMESPACE as BROKERS;
use serde_json::json;

use super::{
    async_functions::{COUNTER, component, number},
    keda::redis,
};
use crate::{
    functions::migration::{Kind, Left, migrates},
    support::eventually,
};

/// A function that notes the events of a topic, and that KEDA scales.
fn events(index: usize, topic: &str) -> Left {
    let redis_host = format!("redis.{BROKERS}");
    let bus = component("pubsub.redis", &[("redisHost", &*format!("{redis_host}:6379")), ("redisPassword", "")]);
    let metadata = json!({"timezone": "UTC", "start": "0 0 1 1 *", "end": "59 23 31 12 *", "desiredReplicas": "1"});
    let container = json!({"name": "function", "command": ["python", "-c", COUNTER]});
    let serving = json!({
        "annotations": {"openfunction.io/dapr-service-mode": "sidecar", "dapr.io/app-protocol": "http"},
        "params": {"REDIS": redis_host, "KEY": format!("{topic}:seen")},
        "template": {"containers": [container]},
        "scaleOptions": {"minReplicas": 1, "maxReplicas": 2, "keda": {"triggers": [{"type": "cron", "metadata": metadata}]}},
        "triggers": {"dapr": [{"name": "bus", "topic": topic}]}, "pubsub": {"bus": bus}});
    Left::new(Kind::Events, index, Some(serving))
}

#[test]
fn fn22_fifty_functions_of_every_kind_go_on_and_no_event_is_lost() {
    let topics: Vec<_> = (0..4).map(|index| format!("left-{}-{index}", std::process::id())).collect();
    let kinds = [
        (Kind::Served, 22),
        (Kind::Built, 10),
        (Kind::Failed, 4),
        (Kind::TimedOut, 4),
        (Kind::NotBuilt, 4),
        (Kind::Wasm, 2),
    ];
    let mut functions: Vec<_> = topics.iter().enumerate().map(|(index, topic)| events(index, topic)).collect();
    for (kind, count) in kinds {
        functions.extend((0..count).map(|index| Left::new(kind, index, None)));
    }
    assert_eq!(functions.len(), 50);
    let mut sent = 0;
    migrates("migrations", functions, 1, |namespace, is_last| {
        for topic in &topics {
            for n in sent..sent + 50 {
                redis(namespace, &["XADD", topic, "*", "data", &number(n).to_string()]);
            }
        }
        sent += 50;
        if is_last {
            for topic in &topics {
                let seen = format!("{topic}:seen");
                let is_all = || redis(namespace, &["SCARD", &seen]).trim() == sent.to_string();
                eventually("all events", || is_all().then_some(()));
            }
        }
    });
}

#[test]
fn fn22_what_openfunction_1_leaves_goes_on_under_load_as_docs_how_to_migrate_says() {
    let kinds = [Kind::Served, Kind::Served, Kind::Built, Kind::Failed, Kind::TimedOut, Kind::NotBuilt];
    let functions = kinds.into_iter().enumerate().map(|(index, kind)| Left::new(kind, index, None)).collect();
    migrates("migration", functions, 10, |_, _| {});
}
