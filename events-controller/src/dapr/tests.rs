//! Handlers that Dapr calls, from manifests with the annotation.

use base64::{Engine, prelude::BASE64_STANDARD};
use controller_runtime::children;
use kube::ResourceExt;
use openfunction_proto::events::HANDLER;
use serde_json::{Value, json};

use crate::{
    bus::Found,
    handler::{self, Handler},
    names,
    plan::{
        Plan,
        tests::{bus, jetstream, plan_of_source, plan_of_trigger, problem, source_of, trigger_of},
    },
    problem::Problem,
};

fn source_on(bus: Result<Found, Problem>, name: &str, spec: Value) -> Plan {
    let mut source = source_of(spec);
    source.metadata.name = Some(name.to_owned());
    source.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    plan_of_source(bus, &source)
}

fn source(spec: Value) -> Plan {
    source_on(jetstream(), "my-es", spec)
}

fn trigger_on(bus: Result<Found, Problem>, name: &str, spec: Value) -> Plan {
    let mut trigger = trigger_of(spec);
    trigger.metadata.name = Some(name.to_owned());
    trigger.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    plan_of_trigger(bus, &trigger)
}

/// With inputs `a` and `b`.
fn trigger(subscribers: Value) -> Plan {
    let inputs =
        json!({"a": {"eventSource": "a", "event": "e"}, "b": {"namespace": "far", "eventSource": "b", "event": "e"}});
    trigger_on(jetstream(), "dock", json!({"eventBus": "depot", "inputs": inputs, "subscribers": subscribers}))
}

fn kafka(more: Value) -> Value {
    let mut kafka = json!({"brokers": "b:9092", "topic": "t", "authRequired": false});
    kafka.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"eventBus": "depot", "kafka": {"sample-one": kafka}})
}

fn serving(handler: &Handler) -> Value {
    children::json(&handler.serving)
}

fn first(plan: &Plan) -> Value {
    assert_eq!(plan.problem, None);
    serving(&plan.handlers[0])
}

/// What the program is told.
fn config(serving: &Value) -> String {
    String::from_utf8(BASE64_STANDARD.decode(serving["params"]["CONFIG"].as_str().unwrap()).unwrap()).unwrap()
}

/// The settings of a component by their names: values, and keys of Secrets.
fn settings(component: &Value) -> Value {
    let setting = |of: &Value| match &of["secretKeyRef"] {
        Value::Null => (of["name"].as_str().unwrap().to_owned(), of["value"].clone()),
        key => {
            (of["name"].as_str().unwrap().to_owned(), json!(format!("{}/{}", key["name"], key["key"]).replace('"', "")))
        }
    };
    Value::Object(component["metadata"].as_array().unwrap().iter().map(setting).collect())
}

#[test]
fn ev16_the_handler_of_an_event_is_the_function_of_the_original() {
    let mut spec = kafka(json!({}));
    spec["sink"] = json!({"uri": "http://sink"});
    let plan = source(spec);
    let owner = source_of(json!({}));
    let function = children::json(&handler::function(&owner, names::OF_SOURCE, &plan.handlers[0]));
    assert_eq!(
        (&function["metadata"]["name"], &function["spec"]["image"]),
        (&json!("esw-my-es-kafka-sample-one"), &json!("dapr-source:1"))
    );
    let serving = first(&plan);
    let input = json!({"name": "esc-kafka-sample-one", "type": "bindings.kafka", "inputName": "esi-sample-one"});
    assert_eq!(serving["triggers"], json!({"dapr": [input]}));
    assert_eq!(
        serving["outputs"],
        json!([
            {"dapr": {"name": "ts-my-es-shop", "type": "bindings.http", "operation": "post", "outputName": "so-es-my-es-1"}},
            {"dapr": {"name": "ebfes-my-es", "type": "pubsub.jetstream", "topic": "shop-my-es-sample-one", "outputName": "ebo-my-es"}},
        ])
    );
    let kafka = &serving["bindings"]["esc-kafka-sample-one"];
    assert_eq!((&kafka["type"], &kafka["version"]), (&json!("bindings.kafka"), &json!("v1")));
    let expected = json!({"brokers": "b:9092", "authType": "none", "topics": "t", "publishTopic": "t", "consumerGroup": "shop-my-es-kafka-sample-one"});
    assert_eq!(settings(kafka), expected);
    assert_eq!(settings(&serving["bindings"]["ts-my-es-shop"]), json!({"url": "http://sink"}));
    let expected = json!({"natsURL": "nats://nats:4222", "durableName": "shop-ebfes-my-es", "queueGroupName": "shop-ebfes-my-es", "deliverPolicy": "new"});
    assert_eq!(settings(&serving["pubsub"]["ebfes-my-es"]), expected);
    assert_eq!(
        config(&serving),
        r#"{"eventBusComponent":"ebfes-my-es","eventBusOutputName":"ebo-my-es","eventBusTopic":"shop-my-es-sample-one","sinkOutputName":"so-es-my-es-1","logLevel":"1"}"#
    );
    assert_eq!(serving["workloadType"], "Deployment");
}

#[test]
fn the_configuration_is_byte_for_byte_that_of_the_original() {
    let mut source =
        source_of(json!({"eventBus": "depot", "sink": {"uri": "http://a"}, "cron": {"tick": {"schedule": "@daily"}}}));
    source.metadata.name = Some("es1".to_owned());
    source.metadata.namespace = Some("prod".to_owned());
    source.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    let serving = first(&plan_of_source(jetstream(), &source));
    assert_eq!(
        serving["params"]["CONFIG"],
        "eyJldmVudEJ1c0NvbXBvbmVudCI6ImViZmVzLWVzMSIsImV2ZW50QnVzT3V0cHV0TmFtZSI6ImViby1lczEiLCJldmVudEJ1c1RvcGljIjoicHJvZC1lczEtdGljayIsInNpbmtPdXRwdXROYW1lIjoic28tZXMtZXMxLTEiLCJsb2dMZXZlbCI6IjEifQ=="
    );
    let input = |source: &str| json!({"eventSource": source, "event": "sample-five"});
    let mut trigger = trigger_of(json!({"eventBus": "depot", "logLevel": "2",
        "inputs": {"eventA": input("eventsource-a"), "eventB": input("eventsource-b")},
        "subscribers": [{"condition": "eventB", "sink": {"uri": "http://a"}}, {"condition": "eventA && eventB", "topic": "metrics"}]}));
    trigger.metadata.name = Some("condition-trigger".to_owned());
    trigger.metadata.namespace = Some("default".to_owned());
    trigger.annotations_mut().insert(HANDLER.to_owned(), "dapr".to_owned());
    let serving = first(&plan_of_trigger(jetstream(), &trigger));
    assert_eq!(
        serving["params"]["CONFIG"],
        "eyJldmVudEJ1c0NvbXBvbmVudCI6ImViZnQtY29uZGl0aW9uLXRyaWdnZXIiLCJpbnB1dHMiOlt7Im5hbWUiOiJldmVudEEiLCJuYW1lc3BhY2UiOiJkZWZhdWx0IiwiZXZlbnRTb3VyY2UiOiJldmVudHNvdXJjZS1hIiwiZXZlbnQiOiJzYW1wbGUtZml2ZSJ9LHsibmFtZSI6ImV2ZW50QiIsIm5hbWVzcGFjZSI6ImRlZmF1bHQiLCJldmVudFNvdXJjZSI6ImV2ZW50c291cmNlLWIiLCJldmVudCI6InNhbXBsZS1maXZlIn1dLCJzdWJzY3JpYmVycyI6eyJldmVudEEgXHUwMDI2XHUwMDI2IGV2ZW50QiI6eyJldmVudEJ1c091dHB1dE5hbWUiOiJlYm8tbWV0cmljcyJ9LCJldmVudEIiOnsic2lua091dHB1dE5hbWUiOiJzby10LWNvbmRpdGlvbi10cmlnZ2VyLTEifX0sImxvZ0xldmVsIjoiMiJ9"
    );
}

#[test]
fn a_clock_and_mqtt_are_components_too() {
    let reference = json!({"name": "certs", "key": "ca.crt"});
    let serving = |spec: Value| first(&source(spec));
    let clock = |of: Value| {
        let clock = serving(json!({"eventBus": "depot", "cron": {"c": of}}));
        settings(&clock["bindings"]["esc-cron-c"])["schedule"].clone()
    };
    assert_eq!(clock(json!({"schedule": "@every 5s"})), "@every 5s");
    assert_eq!(clock(json!({"schedule": "@every 5s", "timeZone": "Europe/Vienna"})), "CRON_TZ=Europe/Vienna @every 5s");
    // One zone, that of the field.
    let twice = json!({"schedule": "CRON_TZ=Asia/Tokyo 0 9 * * *", "timeZone": "Europe/Vienna"});
    assert_eq!(clock(twice), "CRON_TZ=Europe/Vienna 0 9 * * *");
    let mqtt = serving(
        json!({"eventBus": "depot", "mqtt": {"m": {"url": "tcp://m:1883", "topic": "t/#", "retain": true, "clientCert": "PEM",
        "tls": {"caCertSecretRef": reference}}}}),
    );
    let mqtt = &mqtt["bindings"]["esc-mqtt-m"];
    assert_eq!(mqtt["type"], "bindings.mqtt3");
    let expected = json!({"url": "tcp://m:1883", "topic": "t/#", "consumerID": "shop-my-es-mqtt-m", "retain": true, "caCert": "certs/ca.crt", "clientCert": "PEM"});
    assert_eq!(settings(mqtt), expected);
    let mine = serving(
        json!({"eventBus": "depot", "mqtt": {"m": {"url": "tcp://m:1883", "topic": "t", "consumerID": "mine"}}}),
    );
    assert_eq!(settings(&mine["bindings"]["esc-mqtt-m"])["consumerID"], "mine", "BUG-E06");
}

#[test]
fn kafka_is_spoken_to_as_it_is_said_and_passwords_stay_in_secrets() {
    let key = |key: &str| json!({"name": "kafka", "key": key});
    let tls = |more: Value| {
        let mut tls = json!({"caCertSecretRef": key("ca")});
        tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tls
    };
    let of = |more: Value| settings(&first(&source(kafka(more)))["bindings"]["esc-kafka-sample-one"]);
    let login = |more: Value| {
        let mut login = json!({"authRequired": true, "saslUsername": "u", "saslPasswordSecretRef": key("password")});
        login.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(login)
    };
    let plain = login(json!({}));
    assert_eq!(
        (&plain["authType"], &plain["saslPassword"], &plain["saslMechanism"], &plain["disableTls"]),
        (&json!("password"), &json!("kafka/password"), &json!("PLAINTEXT"), &Value::Null)
    );
    let scram = login(json!({"saslMechanism": "SCRAM-SHA-512", "disableTls": true}));
    assert_eq!((&scram["saslMechanism"], &scram["disableTls"]), (&json!("SHA-512"), &json!(true)));
    assert_eq!(login(json!({"tls": tls(json!({}))}))["caCert"], "kafka/ca");
    assert_eq!(of(json!({"tls": tls(json!({}))}))["authType"], "certificate");
    let both = json!({"clientCertSecretRef": key("crt"), "clientKeySecretRef": key("key")});
    let mutual = of(json!({"tls": tls(both.clone())}));
    assert_eq!((&mutual["authType"], &mutual["clientKey"]), (&json!("mtls"), &json!("kafka/key")));
    let refused = |more: Value| {
        let plan = source(kafka(more));
        let (reason, message) = problem(&plan);
        assert_eq!(reason, "NotSupported");
        assert!(plan.kept.contains("esw-my-es-kafka-sample-one"));
        message.split(": ").next().unwrap().to_owned()
    };
    assert_eq!(refused(json!({"tls": {}})), "spec.kafka[sample-one].tls");
    let login = json!({"authRequired": true, "saslUsername": "u", "saslPassword": "p", "tls": tls(both)});
    assert_eq!(refused(login), "spec.kafka[sample-one].tls.clientCertSecretRef");
}

#[test]
fn each_bus_is_a_component_and_what_dapr_cannot_is_told() {
    let of = |spec: Value| {
        let inputs = json!({"a": {"eventSource": "a", "event": "e"}});
        trigger_on(
            bus(spec),
            "dock.north",
            json!({"eventBus": "depot", "inputs": inputs, "subscribers": [{"condition": "a", "topic": "t"}]}),
        )
    };
    let component = |spec: Value| {
        let serving = first(&of(spec));
        let component = serving["pubsub"]["ebft-dock.north"].clone();
        (component["type"].as_str().unwrap().to_owned(), settings(&component), !serving["template"].is_null())
    };
    let consumer = names::label("shop-ebft-dock.north");
    assert!(!consumer.contains('.'), "NATS takes none");
    let streaming = json!({"natsStreaming": {"natsURL": "nats://n:4222", "natsStreamingClusterID": "s", "subscriptionType": "queue",
        "durableSubscriptionName": "d", "ackWaitTime": "5s", "maxInFlight": 7, "deliverAll": true}});
    let expected = json!({"natsURL": "nats://n:4222", "durableName": consumer, "queueGroupName": consumer, "deliverPolicy": "all",
        "ackWait": "5000ms", "maxAckPending": 7});
    assert_eq!(component(streaming), ("pubsub.jetstream".to_owned(), expected, true));
    let one = json!({"jetStream": {"url": "nats://n:4222", "stream": "all"}});
    assert_eq!(component(one.clone()).1["streamName"], "all");
    let kafka = json!({"kafka": {"brokers": "k:9092"}});
    let expected = json!({"brokers": "k:9092", "authType": "none", "consumerGroup": consumer});
    assert_eq!(component(kafka), ("pubsub.kafka".to_owned(), expected, true));
    let redis = json!({"redisStreams": {"url": "rediss://r/3", "username": "u", "passwordSecretRef": {"name": "redis", "key": "p"}}});
    let expected = json!({"redisHost": "r:6379", "redisUsername": "u", "redisPassword": "redis/p", "redisDB": "3", "enableTLS": true, "consumerID": consumer});
    assert_eq!(component(redis), ("pubsub.redis".to_owned(), expected, false));

    let refused = |spec: Value| problem(&of(spec)).1.split(": ").nth(1).unwrap().to_owned();
    let key = json!({"name": "s", "key": "k"});
    assert_eq!(refused(json!({"jetStream": {"url": "nats://n", "tls": {}}})), "spec.jetStream.tls");
    assert_eq!(
        refused(json!({"jetStream": {"url": "nats://n", "credentialsSecretRef": key}})),
        "spec.jetStream.credentialsSecretRef"
    );
    assert_eq!(
        refused(json!({"redisStreams": {"url": "rediss://r", "tls": {"caCertSecretRef": key}}})),
        "spec.redisStreams.tls"
    );
    assert_eq!(refused(json!({"redisStreams": {"url": "redis://:p@r"}})), "spec.redisStreams.url");
    let two = json!({"a": {"eventSource": "a", "event": "e"}, "b": {"eventSource": "b", "event": "e"}});
    let plan = trigger_on(
        bus(one),
        "dock",
        json!({"eventBus": "depot", "inputs": two, "subscribers": [{"condition": "a", "topic": "t"}]}),
    );
    assert_eq!(problem(&plan), ("NotSupported", problem(&plan).1));
    assert!(problem(&plan).1.starts_with("spec.inputs: "));
}

#[test]
fn the_topics_are_there_before_the_handler_starts() {
    let key = json!({"name": "kafka", "key": "password"});
    let plan = trigger_on(
        bus(json!({"kafka": {"brokers": "k:9092", "saslUsername": "u", "saslPasswordSecretRef": key}})),
        "dock",
        json!({"eventBus": "depot", "inputs": {"a": {"eventSource": "a", "event": "e"}}, "subscribers": [{"condition": "a", "topic": "t", "deadLetterTopic": "d"}]}),
    );
    let template = &first(&plan)["template"];
    let container = &template["initContainers"][0];
    assert_eq!(container["image"], "source:1");
    let told: event_delivery::process::Topics =
        serde_json::from_str(container["env"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(Vec::from_iter(&told.topics), ["d", "shop-a-e", "t"]);
    assert_eq!(container["volumeMounts"][0]["name"], template["volumes"][0]["name"]);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn e26_e27_e28_e10_each_subscriber_has_its_own_outputs() {
    let plan = trigger(json!([
        {"condition": "a", "sink": {"uri": "http://one"}, "deadLetterSink": {"uri": "http://dead"}, "topic": "t"},
        {"condition": "a", "sink": {"uri": "http://two"}, "topic": "t", "deadLetterTopic": "d"},
        {"condition": "a", "sink": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": "far"}}},
        {"condition": "a && b", "sink": {"uri": "http://three"}},
    ]));
    let serving = first(&plan);
    let config: Value = serde_json::from_str(&config(&serving)).unwrap();
    assert_eq!(
        config["subscribers"],
        json!({
            "a": {"sinkOutputName": "so-t-dock-1", "dlSinkOutputName": "so-t-dock-2", "eventBusOutputName": "ebo-t"},
            "(a)": {"sinkOutputName": "so-t-dock-3", "eventBusOutputName": "ebo-t", "dlEventBusOutputName": "ebo-d"},
            "((a))": {"sinkOutputName": "so-t-dock-4"},
            "a && b": {"sinkOutputName": "so-t-dock-5"},
        })
    );
    assert_eq!(config["inputs"][1], json!({"name": "b", "namespace": "far", "eventSource": "b", "event": "e"}));
    let outputs: Vec<_> = serving["outputs"].as_array().unwrap().iter().map(|of| &of["dapr"]).collect();
    let to = |output: &str| {
        let output = outputs.iter().find(|of| of["outputName"] == output).unwrap();
        let key = output["name"].as_str().unwrap();
        (key.to_owned(), settings(&serving["bindings"][key])["url"].as_str().unwrap().to_owned())
    };
    assert_eq!(to("so-t-dock-1"), ("ts-dock-shop".to_owned(), "http://one".to_owned()));
    assert_eq!(to("so-t-dock-2").1, "http://dead");
    assert_eq!(to("so-t-dock-3"), ("ts-dock-shop-3".to_owned(), "http://two".to_owned()));
    assert_eq!(to("so-t-dock-4").0, "ts-dock-far-4");
    assert_eq!(to("so-t-dock-5").1, "http://three");
    assert_eq!(outputs.iter().filter(|of| of["outputName"] == "ebo-t").count(), 1);
    let inputs: Vec<_> = serving["triggers"]["dapr"].as_array().unwrap().iter().map(|of| &of["inputName"]).collect();
    assert_eq!(inputs, ["ti-far-b-e", "ti-shop-a-e"]);
}

#[test]
fn what_a_handler_does_not_use_is_told() {
    let told = |plan: &Plan| {
        let note = plan.notes.iter().find(|note| note.type_ == "OptionsIgnored");
        note.map_or_else(String::new, |note| note.message.clone())
    };
    assert_eq!(told(&source(kafka(json!({})))), "");
    let plan = source(json!({"eventBus": "depot", "deadLetterTopic": "d", "delivery": {"retry": 1},
        "cron": {"c": {"schedule": "@daily", "startingDeadlineSeconds": 5}}, "mqtt": {"m": {"url": "tcp://m", "topic": "t", "qos": 0}}}));
    let fields = "spec.deadLetterTopic, spec.delivery, spec.cron[c].startingDeadlineSeconds, spec.mqtt[m].qos";
    assert_eq!(told(&plan), format!("handlers of Dapr do not use {fields}"));
    let plan = trigger_on(
        jetstream(),
        "dock",
        json!({"eventBus": "depot", "window": "1m", "legacySemantics": false, "inputs": {"a": {"eventSource": "a", "event": "e", "contentMode": "inner"}},
            "subscribers": [{"condition": "a", "topic": "t", "deadLetterTopic": "d", "delivery": {"retry": 1}}]}),
    );
    let fields = "spec.window, spec.legacySemantics, spec.inputs[a].contentMode, spec.subscribers[0].delivery, spec.subscribers[0].deadLetterTopic";
    assert_eq!(told(&plan), format!("handlers of Dapr do not use {fields}"));
}

#[test]
fn events_that_dapr_does_not_bring_are_told_and_the_others_run() {
    let plan = source(json!({"eventBus": "depot", "cron": {"c": {"schedule": "@daily"}}, "webhook": {"w": {}},
        "redis": {"r": {"redisHost": "r:6379", "redisPassword": ""}}}));
    assert_eq!(plan.handlers.iter().map(|handler| &handler.name).collect::<Vec<_>>(), ["esw-my-es-cron-c"]);
    assert_eq!(Vec::from_iter(&plan.kept), ["esw-my-es-redis-r", "esw-my-es-webhook-w"]);
    let (reason, message) = problem(&plan);
    assert_eq!(reason, "NotSupported");
    assert!(message.starts_with("spec.redis[r]: Dapr brings events of kafka, cron and mqtt only"), "{message}");
    for (more, field) in [(json!({"version": "5"}), "version"), (json!({"username": "u"}), "username")] {
        let mut mqtt = json!({"url": "tcp://m", "topic": "t"});
        mqtt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = source(json!({"eventBus": "depot", "mqtt": {"m": mqtt}}));
        assert!(problem(&plan).1.starts_with(&format!("spec.mqtt[m].{field}: ")), "{:?}", plan.problem);
    }
}

#[test]
fn scalers_watch_the_consumer_that_dapr_has() {
    let plan = source(kafka(json!({"topic": "t,u", "scaleOption": {"lagThreshold": "5"}})));
    let triggers = first(&plan)["scaleOptions"]["keda"]["triggers"].clone();
    let watched: Vec<_> = triggers
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (&of["metadata"]["topic"], &of["metadata"]["consumerGroup"]))
        .collect();
    let group = json!("shop-my-es-kafka-sample-one");
    assert_eq!(watched, [(&json!("t"), &group), (&json!("u"), &group)]);
    let scale = json!({"natsServerMonitoringEndpoint": "nats:8222", "lagThreshold": "10", "maxReplicaCount": 5});
    let on = |inputs: Value| {
        let bus = bus(json!({"jetStream": {"url": "nats://n", "scaleOption": scale}}));
        let plan = trigger_on(
            bus,
            "dock",
            json!({"eventBus": "depot", "inputs": inputs, "subscribers": [{"condition": "a", "topic": "t"}]}),
        );
        first(&plan)["scaleOptions"].clone()
    };
    let input = |source: &str| json!({"eventSource": source, "event": "e"});
    let one = on(json!({"a": input("a")}));
    let metadata = &one["keda"]["triggers"][0]["metadata"];
    assert_eq!((&metadata["stream"], &metadata["consumer"]), (&json!("shop-a-e"), &json!("shop-ebft-dock")));
    assert_eq!(one["maxReplicas"], 5);
    // BUG-E37: every event counts for every condition, and one replica must see all.
    assert_eq!(on(json!({"a": input("a"), "b": input("b")}))["maxReplicas"], 1);
}

#[test]
fn an_annotation_that_says_something_else_is_refused_and_keeps_what_runs() {
    let said = |value: &str| {
        let mut source = source_of(kafka(json!({})));
        source.annotations_mut().insert(HANDLER.to_owned(), value.to_owned());
        plan_of_source(jetstream(), &source)
    };
    assert!(first(&said("native"))["triggers"]["http"].is_object());
    let wrong = said("Dapr");
    assert!(wrong.kept.contains("esw-parcels-kafka-sample-one"));
    let expected =
        "metadata.annotations[openfunction.io/event-handler]: Unsupported value: \"Dapr\": must be native or dapr";
    assert_eq!(problem(&wrong), ("ErrorConfiguration", expected));
}
