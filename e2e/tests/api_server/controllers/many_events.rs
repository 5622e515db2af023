//! Many EventSources and Triggers: whatever they say, each has its handlers or is told why not, also when the controller
//! is killed at any moment.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use openfunction_proto::{
    core::Function,
    events::{EventSource, HANDLER, Trigger},
};
use serde_json::{Value, json};

use super::{
    FUNCTIONS, Which, World,
    event_sources::object,
    many::{Dice, LONG, from_environment},
};
use crate::support::{api_of, eventually};

/// How many objects there are, unless `EVENT_OBJECTS` says otherwise.
const OBJECTS: usize = 300;
/// How often the controller is killed, unless `KILLS` says otherwise.
const KILLS: usize = 8;

fn source(dice: &mut Dice) -> Value {
    let mut spec = json!({});
    if dice.roll(4) != 0 {
        spec["eventBus"] = json!(dice.mostly(&["depot", "cluster", "empty"], "nothing"));
    }
    let sinks = [
        json!({"uri": "http://sink.shop.svc.cluster.local/a?b=$(c)"}),
        json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "sink"}}),
        json!({"ref": {"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "name": "none"}}),
    ];
    if dice.roll(3) == 0 {
        spec["sink"] = dice.mostly(&sinks, json!({"uri": "mailto:a@b"}));
    }
    let bad = json!("?");
    let secret = json!({"name": "a.b", "key": "k_.-"});
    for kind in ["kafka", "cron", "mqtt", "redis", "webhook", "github", "s3"] {
        for _ in 0..dice.roll(3).saturating_sub(dice.roll(2)) {
            let event = dice.mostly(&["scan", "scan-late", "a.b", "UPPER", "x_y"], "a b");
            spec[kind][event] = match kind {
                "kafka" => {
                    json!({"brokers": "k:9092", "topic": dice.mostly(&["t", "t,u"], ""), "authRequired": dice.mostly(&[false], true),
                    "scaleOption": dice.mostly(&[Value::Null, json!({"lagThreshold": "5", "maxReplicaCount": 3})], json!({"lagThreshold": "5", "advanced": {"horizontalPodAutoscalerConfig": []}}))})
                }
                "cron" => {
                    json!({"schedule": dice.mostly(&["@every 5s", "*/5 * * * *", "0 0 12 * * *"], "never"), "timeZone": dice.mostly(&["Europe/Vienna", ""], "Mars")})
                }
                "mqtt" => {
                    json!({"url": dice.mostly(&["tcp://m:1883", "ssl://m"], "m"), "topic": "a/#", "qos": dice.one_of(&[0, 1, 2]), "tls": {"caCertSecretRef": secret}})
                }
                "redis" => {
                    json!({"redisHost": "r:6379", "redisPassword": "$p", "failover": dice.mostly(&[false], true), "list": dice.one_of(&[Value::Null, json!("l")])})
                }
                _ => json!({"path": dice.mostly(&[Value::Null, json!("/a/b")], bad.clone()), "secretRef": secret}),
            };
        }
    }
    spec
}

fn trigger(dice: &mut Dice) -> Value {
    let conditions = ["a", "b", "a && b", "a || b", "!a", "true", "[a, b].exists(x, x)", "a ? b : a"];
    let subscriber = |dice: &mut Dice| {
        let mut subscriber = json!({"condition": dice.mostly(&conditions, "a &&")});
        if dice.roll(2) == 0 {
            subscriber["sink"] = json!({"uri": dice.mostly(&["http://sink/"], "sink")});
        }
        if dice.roll(2) == 0 {
            subscriber["topic"] = json!("totals");
        }
        if dice.roll(4) == 0 {
            subscriber["deadLetterTopic"] = json!("dead");
            subscriber["delivery"] = json!({"retry": dice.roll(4), "backoffDelay": "10ms", "backoffPolicy": "linear"});
        }
        subscriber
    };
    let subscribers = dice.some(4, subscriber);
    let input = |dice: &mut Dice| json!({"eventSource": dice.one_of(&["s0001", "s0002", "none"]), "event": dice.one_of(&["scan", "tick"]), "namespace": dice.mostly(&[Value::Null], json!("infra"))});
    let (a, b) = (input(dice), input(dice));
    json!({"eventBus": dice.mostly(&["depot", "cluster"], "nothing"), "inputs": {"a": a, "b": b}, "subscribers": subscribers})
}

/// Makes the buses that objects name. Nobody answers there, which keeps no handler from being made.
async fn buses(world: &World) {
    let nats = |port: u16| json!({"jetStream": {"url": format!("nats://127.0.0.1:{port}")}});
    world.apply_object(&object("EventBus", "depot", nats(1))).await;
    world.apply_object(&object("EventBus", "empty", json!({}))).await;
    world.apply_object(&object("ClusterEventBus", "cluster", nats(2))).await;
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sink"}, "spec": {"ports": [{"port": 80}]}});
    world.apply_object(&service).await;
}

/// What each handler is told, by its name.
async fn handlers(world: &World) -> BTreeMap<String, (String, String)> {
    let ours = ListParams::default().labels("openfunction.io/managed=true");
    let list = world.api::<Function>().list(&ours).await.unwrap();
    let told = list.items.into_iter().map(|of| {
        let config = of.spec.serving.as_ref().and_then(|serving| serving.params.get("CONFIG").cloned());
        (of.name_any(), (of.owner_references()[0].name.clone(), config.unwrap_or_default()))
    });
    told.collect()
}

/// Types of the last conditions of all objects; `None` if one has none that speaks of its present.
async fn summaries(world: &World) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for source in world.api::<EventSource>().list(&ListParams::default()).await.unwrap() {
        let status = source.status.clone().unwrap_or_default();
        let last = status.conditions.last().filter(|last| last.observed_generation == source.metadata.generation)?;
        all.insert(format!("EventSource/{}", source.name_any()), last.type_.clone());
    }
    for trigger in world.api::<Trigger>().list(&ListParams::default()).await.unwrap() {
        let status = trigger.status.clone().unwrap_or_default();
        let last = status.conditions.last().filter(|last| last.observed_generation == trigger.metadata.generation)?;
        all.insert(format!("Trigger/{}", trigger.name_any()), last.type_.clone());
    }
    Some(all)
}

async fn make(world: &World, objects: Vec<Value>) -> usize {
    let made = futures::stream::iter(objects).map(|object| async move {
        let api = api_of(&world.client, &object, FUNCTIONS).await;
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.is_ok()
    });
    let made: Vec<bool> = made.buffer_unordered(8).collect().await;
    made.iter().filter(|made| **made).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_random_event_sources_and_triggers_each_has_handlers_or_a_reason_and_a_second_pass_writes_nothing() {
    let world = World::new().await;
    let all = from_environment("EVENT_OBJECTS").unwrap_or(OBJECTS);
    buses(&world).await;
    let mut dice = Dice(from_environment("SEED").unwrap_or(7) as u64);
    let objects = (0..all).map(|index| {
        let mut object = match index % 2 {
            0 => object("EventSource", &format!("s{index:04}"), source(&mut dice)),
            _ => object("Trigger", &format!("t{index:04}"), trigger(&mut dice)),
        };
        if dice.roll(4) == 0 {
            object["metadata"]["annotations"][HANDLER] = dice.mostly(&["dapr"], "knative").into();
        }
        object
    });
    let objects: Vec<_> = objects.collect();
    let running = world.start(Which::Events).await;
    let made = make(&world, objects).await;
    assert!((all / 3..all).contains(&made), "{made} of {all} are let in");
    let began = Instant::now();
    let told = loop {
        let told = summaries(&world).await;
        // A Service is looked for once it is named.
        if let Some(told) = told.filter(|_| running.metrics.queue_depth() == 0) {
            break told;
        }
        assert!(began.elapsed() < LONG, "not all are told of after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    println!("{made} objects are told of after {:?}", began.elapsed());
    assert_eq!(told.len(), made);
    let before = eventually("nothing changes any more", || async {
        let before = (handlers(&world).await, summaries(&world).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        ((handlers(&world).await, summaries(&world).await) == before).then_some(before)
    })
    .await;
    let (there, told) = (&before.0, before.1.as_ref().unwrap());
    for (name, summary) in told {
        let (kind, name) = name.split_once('/').unwrap();
        let has_handler = there
            .iter()
            .any(|(handler, (owner, _))| owner == name && handler.starts_with("esw-") == (kind == "EventSource"));
        assert!(has_handler || summary == "Error", "{kind} {name} has no handler and is {summary}");
    }
    assert!(there.len() > made / 4 && told.values().any(|summary| summary == "Pending"), "{} handlers", there.len());
    running.end().await;

    let again = world.start(Which::Events).await;
    let began = Instant::now();
    // Half of them are of each kind.
    while !(again.passes() >= made / 3 && again.metrics.queue_depth() == 0) {
        assert!(began.elapsed() < LONG, "{} of {made} objects are looked at", again.passes());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("all are looked at again after {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((handlers(&world).await, summaries(&world).await), before);
    let mut writes = again.writes();
    writes.retain(|labels, _| !labels.contains("webhookconfigurations"));
    assert!(writes.is_empty(), "{writes:?}");
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_at_any_moment_leaves_the_same_behind() {
    const EACH: usize = 6;
    let world = World::new().await;
    buses(&world).await;
    let mut dice = Dice(11);
    let good = |version: usize, kind: &str| match kind {
        "EventSource" => {
            json!({"eventBus": "depot", "kafka": {"scan": {"brokers": format!("k{version}:9092"), "topic": "t", "authRequired": false}},
            "cron": {format!("tick{}", version % 3): {"schedule": "@daily"}}})
        }
        _ => json!({"eventBus": "depot", "inputs": {"a": {"eventSource": "e0", "event": "scan"}},
            "subscribers": [{"condition": "a", "topic": format!("totals{version}")}]}),
    };
    let (mut last, mut ends) = (BTreeMap::<(&str, String), Value>::new(), [0; EACH]);
    for _ in 0..from_environment("KILLS").unwrap_or(KILLS) {
        let running = world.start(Which::Events).await;
        for _ in 0..4 {
            let kind = dice.one_of(&["EventSource", "Trigger"]);
            let number = dice.roll(EACH);
            let name = format!("e{number}-{}", ends[number]);
            let wanted = object(kind, &name, good(dice.roll(100), kind));
            if dice.roll(5) == 0 {
                let api = api_of(&world.client, &wanted, FUNCTIONS).await;
                let _ = api.delete(&name, &DeleteParams::default()).await;
                last.remove(&(kind, name));
                // Nobody collects here what it has left: none may come again.
                ends[number] += 1;
                last.retain(|(_, name), _| {
                    name.ends_with(&format!("-{}", ends[number])) || !name.starts_with(&format!("e{number}-"))
                });
                continue;
            }
            let api = api_of(&world.client, &wanted, FUNCTIONS).await;
            let params = PatchParams::apply("test").force();
            api.patch(&name, &params, &Patch::Apply(&wanted)).await.unwrap();
            last.insert((kind, name), wanted["spec"].clone());
        }
        let pause = dice.roll(1500) as u64;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        running.task.abort();
        let _ = running.task.await;
    }
    let running = world.start(Which::Events).await;
    eventually("the end is as it must be", || async {
        let there = handlers(&world).await;
        let owned = |kind: &str, name: &str| {
            let ours = there.iter().filter(|(handler, (owner, _))| {
                owner == name && handler.starts_with("esw-") == (kind == "EventSource")
            });
            ours.map(|(handler, (_, config))| (handler.clone(), config.clone())).collect::<Vec<_>>()
        };
        let is_right = last.iter().all(|((kind, name), spec)| {
            let (ours, count) = (owned(kind, name), if *kind == "EventSource" { 2 } else { 1 });
            let of = match *kind {
                "EventSource" => spec["kafka"]["scan"]["brokers"].as_str(),
                _ => spec["subscribers"][0]["topic"].as_str(),
            };
            ours.len() == count && ours.iter().any(|(_, config)| config.contains(&format!("\"{}\"", of.unwrap())))
        });
        is_right.then_some(())
    })
    .await;
    let api: Api<Function> = world.api();
    let all = api.list(&ListParams::default()).await.unwrap().items.len();
    println!("{} objects, {all} handlers", last.len());
    running.end().await;
}
