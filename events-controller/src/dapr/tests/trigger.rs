//! Those of Triggers, and what both have.

use super::*;

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
    let expected = json!({"brokers": "b:9092", "authType": "none", "topics": "t", "publishTopic": "t", "consumerGroup": "shop-my-es-kafka-sample-one", "consumeRetryEnabled": true});
    assert_eq!(settings(kafka), expected);
    assert_eq!(settings(&serving["bindings"]["ts-my-es-shop"]), json!({"url": "http://sink"}));
    assert_eq!(settings(&serving["pubsub"]["ebfes-my-es"]), json!({"natsURL": "nats://nats:4222"}));
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
        (
            component["type"].as_str().unwrap().to_owned(),
            settings(&component),
            !serving["template"]["initContainers"].is_null(),
        )
    };
    // NATS takes no dots.
    let consumer = "shop-ebft-dock_north-all-shop-a-e";
    let streaming = json!({"natsStreaming": {"natsURL": "nats://n:4222", "natsStreamingClusterID": "s", "subscriptionType": "queue",
        "durableSubscriptionName": "d", "ackWaitTime": "5s", "maxInFlight": 7, "deliverAll": true}});
    let expected = json!({"natsURL": "nats://n:4222", "durableName": consumer, "queueGroupName": consumer, "deliverPolicy": "all",
        "ackWait": "5000ms", "maxAckPending": 7});
    assert_eq!(component(streaming), ("pubsub.jetstream".to_owned(), expected, true));
    let one = json!({"jetStream": {"url": "nats://n:4222", "stream": "all"}});
    assert_eq!(component(one.clone()).1["streamName"], "all");
    assert_eq!(component(one.clone()).1["durableName"], "shop-ebft-dock_north-shop-a-e");
    let consumer = "shop-ebft-dock.north";
    let kafka = json!({"kafka": {"brokers": "k:9092"}});
    let expected = json!({"brokers": "k:9092", "authType": "none", "consumerGroup": consumer});
    assert_eq!(component(kafka), ("pubsub.kafka".to_owned(), expected, true));
    let redis = json!({"redisStreams": {"url": "redis://r/3", "username": "u", "passwordSecretRef": {"name": "redis", "key": "p"}}});
    let expected = json!({"redisHost": "r:6379", "redisUsername": "u", "redisPassword": "redis/p", "redisDB": "3", "consumerID": consumer});
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
    assert_eq!(refused(json!({"redisStreams": {"url": "rediss://r"}})), "spec.redisStreams.url");
}

/// A component of JetStream has one consumer, and that one topic.
#[test]
fn e15_each_topic_of_jetstream_is_read_by_a_consumer_of_its_own() {
    let inputs = json!({"a": {"eventSource": "a", "event": "e"}, "b": {"eventSource": "b", "event": "e"}});
    let spec = json!({"eventBus": "depot", "inputs": inputs, "subscribers": [{"condition": "a", "topic": "t"}]});
    let of = |of: Value| first(&trigger_on(bus(of), "dock", spec.clone()));
    let serving = of(json!({"jetStream": {"url": "nats://n", "stream": "all"}}));
    let durable = |key: &str| settings(&serving["pubsub"][key])["durableName"].clone();
    assert_eq!(durable("ebft-dock"), "shop-ebft-dock-shop-a-e");
    assert_eq!(durable("ebft-dock-2"), "shop-ebft-dock-shop-b-e");
    let read: Vec<_> =
        serving["triggers"]["dapr"].as_array().unwrap().iter().map(|of| (&of["name"], &of["topic"])).collect();
    assert_eq!(read, [(&json!("ebft-dock"), &json!("shop-a-e")), (&json!("ebft-dock-2"), &json!("shop-b-e"))]);
    // One component of Kafka reads all.
    assert_eq!(of(json!({"kafka": {"brokers": "k"}}))["pubsub"].as_object().unwrap().len(), 1);
}

#[test]
fn the_topics_are_there_before_the_handler_starts() {
    let key = json!({"name": "kafka", "key": "password"});
    let plan = trigger_on(
        bus(json!({"kafka": {"brokers": "k:9092", "saslUsername": "u", "saslPasswordSecretRef": key}})),
        "dock",
        json!({"eventBus": "depot", "inputs": {"a": {"eventSource": "a", "event": "e"}}, "subscribers": [{"condition": "a", "topic": "t", "deadLetterTopic": "d"}]}),
    );
    let serving = first(&plan);
    let template = &serving["template"];
    let annotations =
        json!({"openfunction.io/dapr-service-mode": "standalone", "openfunction.io/dapr-init-containers": "topics"});
    assert_eq!(serving["annotations"], annotations);
    let container = &template["initContainers"][0];
    assert_eq!(container["image"], "source:1");
    let told: event_delivery::process::Topics =
        serde_json::from_str(container["env"][0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(Vec::from_iter(&told.topics), ["d", "shop-a-e", "t"]);
    assert_eq!(container["volumeMounts"][0]["name"], template["volumes"][0]["name"]);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(template["automountServiceAccountToken"], false);
}

#[test]
fn a_consumer_that_exists_gets_the_limits_of_its_bus() {
    let nats = json!({"natsStreaming": {"natsURL": "nats://n", "natsStreamingClusterID": "s", "subscriptionType": "queue",
        "durableSubscriptionName": "d", "ackWaitTime": "5s", "maxInFlight": 7}});
    let spec = json!({"eventBus": "depot", "inputs": {"a": {"eventSource": "a", "event": "e"}}, "subscribers": [{"condition": "a", "topic": "t"}]});
    let serving = first(&trigger_on(bus(nats), "dock", spec));
    let told = serving.pointer("/template/initContainers/0/env/0/value").unwrap().as_str().unwrap();
    let told: event_delivery::process::Topics = serde_json::from_str(told).unwrap();
    assert_eq!(told.consumers, [("shop-a-e".to_owned(), "shop-ebft-dock-shop-a-e".to_owned())].into());
    assert_eq!((told.in_flight, told.redelivery.unwrap().0), (Some(7), Duration::from_secs(5)));
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
            "(a\n)": {"sinkOutputName": "so-t-dock-3", "eventBusOutputName": "ebo-t", "dlEventBusOutputName": "ebo-d"},
            "((a\n)\n)": {"sinkOutputName": "so-t-dock-4"},
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
fn e28_sinks_whose_components_would_have_one_name_stay_apart() {
    let sink =
        |namespace: &str| json!({"ref": {"apiVersion": "v1", "kind": "Service", "name": "s", "namespace": namespace}});
    let subscribers = json!([
        {"condition": "a", "sink": sink("shop-2")}, {"condition": "b", "sink": {"uri": "http://two"}}, {"condition": "true", "sink": {"uri": "http://three"}}]);
    let serving = first(&trigger(subscribers));
    let urls: BTreeSet<_> =
        serving["bindings"].as_object().unwrap().values().map(|of| settings(of)["url"].to_string()).collect();
    assert_eq!((serving["bindings"].as_object().unwrap().len(), urls.len()), (3, 3));
    let names: BTreeSet<_> =
        serving["outputs"].as_array().unwrap().iter().map(|of| of["dapr"]["outputName"].to_string()).collect();
    assert_eq!(names.len(), 3);
}

#[test]
fn e39_what_only_our_conditions_say_is_told() {
    let refused = |condition: &str| {
        let plan = trigger(json!([{"condition": "a", "topic": "t"}, {"condition": condition, "topic": "t"}]));
        plan.problem.map(|problem| (problem.reason, problem.message.split(": ").next().unwrap().to_owned()))
    };
    for good in ["a && !b", "a ? b : true", "[a, b].exists(x, x)", "[a, b].all(x, !x || a)", "a == b"] {
        assert_eq!(refused(good), None, "{good}");
    }
    for bad in ["a == 1", "a || a == null", "[1, 2].exists(x, x == 1)"] {
        assert_eq!(refused(bad), Some(("NotSupported", "spec.subscribers[1].condition".to_owned())), "{bad}");
    }
    let inputs = json!({"a": {"eventSource": "a", "event": "e"}, "b": {"eventSource": "a", "event": "e"}});
    let spec = json!({"eventBus": "depot", "inputs": inputs, "subscribers": [{"condition": "a", "topic": "t"}]});
    let plan = trigger_on(jetstream(), "dock", spec);
    assert!(problem(&plan).1.starts_with("spec.inputs[b]: is the same event as a"), "{:?}", plan.problem);
}

#[test]
fn what_a_handler_does_not_use_is_told() {
    let told = |plan: &Plan| {
        let note = plan.notes.iter().find(|note| note.type_ == "OptionsIgnored");
        note.map_or_else(String::new, |note| note.message.clone())
    };
    assert_eq!(told(&source(kafka(json!({})))), "");
    let plan = source(json!({"eventBus": "depot", "deadLetterTopic": "d", "delivery": {"retry": 1},
        "cron": {"c": {"schedule": "@daily", "startingDeadlineSeconds": 5}}, "mqtt": {"m": {"url": "tcp://m", "topic": "t", "qos": 0, "retain": false}}}));
    let fields = "spec.deadLetterTopic, spec.delivery, spec.cron[c].startingDeadlineSeconds, spec.mqtt[m].qos, spec.mqtt[m].retain";
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
    assert_eq!((&metadata["stream"], &metadata["consumer"]), (&json!("shop-a-e"), &json!("shop-ebft-dock-shop-a-e")));
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
