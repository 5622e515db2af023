//! Handlers of EventSources and Triggers, from their manifests.

use openfunction_proto::{
    core::ScaleOptions,
    events::{EventBusSpec, EventSource, Trigger},
};
use serde_json::{Value, json};

use crate::{
    bus::Found,
    handler::{self, Handler},
    names,
    plan::{Plan, Settings},
    problem::Problem,
    sink::Address,
    source, trigger,
};

fn settings() -> Settings {
    Settings {
        source_image: "source:1".to_owned(),
        trigger_image: "trigger:1".to_owned(),
        dapr_source_image: "dapr-source:1".to_owned(),
        dapr_trigger_image: "dapr-trigger:1".to_owned(),
        ..Settings::default()
    }
}

pub(crate) fn bus(spec: Value) -> Result<Found, Problem> {
    let spec: EventBusSpec = serde_json::from_value(spec).unwrap();
    Ok(Found { kind: "EventBus", name: "depot".to_owned(), spec })
}

pub(crate) fn jetstream() -> Result<Found, Problem> {
    bus(json!({"jetStream": {"url": "nats://nats:4222"}}))
}

pub(crate) fn source_of(spec: Value) -> EventSource {
    let object = json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": "EventSource",
        "metadata": {"name": "parcels", "namespace": "shop", "uid": "u"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// On `bus` if it names one, and with a sink if it has one.
pub(crate) fn plan_of_source(bus: Result<Found, Problem>, source: &EventSource) -> Plan {
    let world = source::World {
        bus: source.spec.event_bus.as_ref().map(|_| bus),
        sink: super::any_sink(source.spec.sink.is_some()),
        ..source::World::default()
    };
    source::plan(source, &world, &settings())
}

fn source(spec: Value) -> Plan {
    plan_of_source(jetstream(), &source_of(spec))
}

pub(crate) fn trigger_of(spec: Value) -> Trigger {
    let object = json!({"apiVersion": "events.openfunction.io/v1alpha1", "kind": "Trigger",
        "metadata": {"name": "dock", "namespace": "shop", "uid": "u"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn trigger_on(bus: Result<Found, Problem>, spec: Value) -> Plan {
    plan_of_trigger(bus, &trigger_of(spec))
}

pub(crate) fn plan_of_trigger(bus: Result<Found, Problem>, trigger: &Trigger) -> Plan {
    let url = |of: &Option<openfunction_proto::events::SinkSpec>| {
        of.as_ref().map(|of| Ok(of.uri.clone().unwrap_or_default().into()))
    };
    let sinks = trigger.spec.subscribers.iter().map(|subscriber| trigger::Sinks {
        sink: url(&subscriber.sink),
        dead_letter_sink: url(&subscriber.dead_letter_sink),
    });
    let world = trigger::World { bus, sinks: sinks.collect(), permission: trigger::Permission::Given, missing: vec![] };
    trigger::plan(trigger, &world, &settings())
}

fn trigger(spec: Value) -> Plan {
    trigger_on(jetstream(), spec)
}

pub(crate) fn problem(plan: &Plan) -> (&str, &str) {
    let problem = plan.problem.as_ref().expect("there is a problem");
    (problem.reason, &problem.message)
}

fn config_of(handler: &Handler) -> &str {
    &handler.serving.params["CONFIG"]
}

fn scale_of(handler: &Handler) -> &ScaleOptions {
    handler.serving.scale_options.as_ref().unwrap()
}

/// What a handler's program reads.
fn config_of_source(plan: &Plan, index: usize) -> event_source::config::Config {
    let config: event_source::config::Config = serde_json::from_str(config_of(&plan.handlers[index])).unwrap();
    config.check().unwrap();
    config
}

fn config_of_trigger(plan: &Plan) -> event_trigger::config::Config {
    assert_eq!(plan.problem, None);
    let config: event_trigger::config::Config = serde_json::from_str(config_of(&plan.handlers[0])).unwrap();
    config.conditions().unwrap();
    config
}

fn kafka(more: Value) -> Value {
    let mut kafka = json!({"brokers": "k1:9092,k2:9092", "topic": "scans", "authRequired": false});
    kafka.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"eventBus": "depot", "kafka": {"scan": kafka}})
}

#[test]
fn ev9_one_name_in_two_kinds_is_two_handlers_and_one_topic() {
    let plan = source(json!({"eventBus": "depot", "cron": {"late": {"schedule": "@every 7s"}},
        "kafka": {"late": {"brokers": "k", "topic": "t", "authRequired": false}}}));
    let names: Vec<_> = plan.handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(names, ["esw-parcels-kafka-late", "esw-parcels-cron-late"]);
    for index in [0, 1] {
        assert_eq!(config_of_source(&plan, index).events["late"].topic.as_deref(), Some("shop-parcels-late"));
    }
}

#[test]
fn a_handler_is_a_function_that_the_others_know() {
    let plan = source(kafka(json!({})));
    let owner = source_of(json!({}));
    let function = handler::function(&owner, names::OF_SOURCE, &plan.handlers[0]);
    let function = controller_runtime::children::json(&function);
    assert_eq!(function["metadata"]["labels"]["controlled-by-eventsource"], "parcels");
    assert_eq!(function["metadata"]["labels"]["openfunction.io/managed"], "true");
    assert_eq!(function["metadata"]["ownerReferences"][0]["kind"], "EventSource");
    assert_eq!(function["spec"]["image"], "source:1");
    let serving = &function["spec"]["serving"];
    let http = json!({"port": 8080, "engine": "native", "route": {"visibility": "None"}});
    assert_eq!(serving["triggers"]["http"], http);
    assert_eq!(
        (&serving["scaleOptions"]["minReplicas"], &serving["scaleOptions"]["maxReplicas"]),
        (&json!(1), &json!(1))
    );
    let container = &serving["template"]["containers"][0];
    assert_eq!(
        (&container["name"], &container["readinessProbe"]["httpGet"]["path"]),
        (&json!("function"), &json!("/ready"))
    );
}

#[test]
fn e33_groups_have_the_name_of_their_event_source() {
    let config = config_of_source(&source(kafka(json!({}))), 0);
    let event_source::config::From::Kafka(kafka) = &config.events["scan"].from else { panic!("{config:?}") };
    assert_eq!((kafka.group.as_str(), kafka.topics.as_slice()), ("shop-parcels-kafka-scan", &["scans".to_owned()][..]));
}

#[test]
fn e12_e13_e16_a_scale_option_counts_and_its_required_fields_are_enough() {
    let plan = source(kafka(json!({"scaleOption": {"lagThreshold": "5"}})));
    let scale = scale_of(&plan.handlers[0]);
    assert_eq!((scale.min_replicas, scale.max_replicas), (Some(0), Some(100)));
    let keda = scale.keda.as_ref().unwrap();
    assert_eq!(keda.triggers[0].type_, "kafka");
    let expected = json!({"bootstrapServers": "k1:9092,k2:9092", "topic": "scans", "consumerGroup": "shop-parcels-kafka-scan-scans", "lagThreshold": "5"});
    assert_eq!(json!(keda.triggers[0].metadata), expected);

    let option = json!({"lagThreshold": "5", "consumerGroup": "mine", "topic": "other", "pollingInterval": 3, "cooldownPeriod": 4,
        "minReplicaCount": 1, "maxReplicaCount": 2, "metadata": {"activationLagThreshold": "7"}, "authRef": {"name": "auth"},
        "advanced": {"restoreToOriginalReplicaCount": true}});
    let plan = source(kafka(json!({"scaleOption": option})));
    let scale = scale_of(&plan.handlers[0]);
    assert_eq!((scale.min_replicas, scale.max_replicas), (Some(1), Some(2)));
    let keda = scale.keda.as_ref().unwrap();
    let object = keda.scaled_object.as_ref().unwrap();
    assert_eq!((object.polling_interval, object.cooldown_period, object.advanced.is_some()), (Some(3), Some(4), true));
    let trigger = &keda.triggers[0];
    assert_eq!((trigger.metadata["topic"].as_str(), trigger.metadata["consumerGroup"].as_str()), ("other", "mine"));
    assert_eq!(trigger.metadata["activationLagThreshold"], "7");
    assert_eq!(trigger.authentication_ref.as_ref().unwrap().name, "auth");
    let wrong =
        source(kafka(json!({"scaleOption": {"lagThreshold": "5", "minReplicaCount": 3, "maxReplicaCount": 2}})));
    assert_eq!(
        problem(&wrong).1,
        "spec.kafka[scan].scaleOption.minReplicaCount: Invalid value: 3: must not be more than maxReplicaCount, 2"
    );
}

#[test]
fn e06_a_client_identifier_that_is_given_counts() {
    for (given, expected) in
        [(json!("mine"), "mine"), (json!(""), "shop-parcels-mqtt-m"), (Value::Null, "shop-parcels-mqtt-m")]
    {
        let plan = source(
            json!({"eventBus": "depot", "mqtt": {"m": {"url": "tcp://m:1883", "topic": "t/#", "consumerID": given}}}),
        );
        let config = config_of_source(&plan, 0);
        let event_source::config::From::Mqtt(mqtt) = &config.events["m"].from else { panic!("{config:?}") };
        assert_eq!(mqtt.client_id, expected);
    }
}

#[test]
fn pl10_secrets_are_mounted_and_their_values_are_nowhere_else() {
    let reference = |key: &str| json!({"name": "kafka", "key": key});
    let plan = source(kafka(
        json!({"authRequired": true, "saslUsername": "u", "saslPasswordSecretRef": reference("password"),
        "saslPassword": "ignored", "tls": {"caCertSecretRef": reference("ca.crt")}}),
    ));
    let config = config_of(&plan.handlers[0]);
    assert!(
        config.contains(r#""saslPassword":"/etc/openfunction/secrets/kafka/password""#) && !config.contains("ignored"),
        "{config}"
    );
    let function = handler::function(&source_of(json!({})), names::OF_SOURCE, &plan.handlers[0]);
    let template = function.spec.serving.unwrap().template.unwrap();
    let items = json!([{"key": "ca.crt", "path": "ca.crt"}, {"key": "password", "path": "password"}]);
    assert_eq!(template["volumes"][0]["secret"], json!({"secretName": "kafka", "items": items}));
    assert_eq!(template["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/openfunction/secrets/kafka");
    // In a manifest of the original they stand as they are, and work.
    let plan = source(kafka(json!({"authRequired": true, "saslUsername": "u", "saslPassword": "plain"})));
    assert!(config_of(&plan.handlers[0]).contains(r#""saslPassword":{"value":"plain"}"#));
    assert!(!format!("{:?}", config_of_source(&plan, 0)).contains("plain\""));
}

#[test]
fn a_password_of_kafka_goes_by_tls_as_with_dapr_unless_it_is_said_otherwise() {
    let is_tls = |more: Value| {
        let mut said = json!({"authRequired": true, "saslUsername": "u", "saslPassword": "p", "scaleOption": {"lagThreshold": "5"}});
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let plan = source(kafka(said));
        let config = config_of_source(&plan, 0);
        let event_source::config::From::Kafka(kafka) = &config.events["scan"].from else { panic!("{config:?}") };
        let scaler = &scale_of(&plan.handlers[0]).keda.as_ref().unwrap().triggers[0];
        assert_eq!(scaler.metadata.contains_key("tls"), kafka.server.tls);
        kafka.server.tls
    };
    assert!(is_tls(json!({})) && is_tls(json!({"disableTls": false})) && is_tls(json!({"tls": {}})));
    assert!(!is_tls(json!({"disableTls": true})) && !is_tls(json!({"authRequired": false})));
}

#[test]
fn ev12_a_sink_and_a_bus_both_get_the_events() {
    let mut spec = kafka(json!({}));
    spec["sink"] = json!({"uri": "http://sink"});
    let config = config_of_source(&source(spec), 0);
    assert!(config.sink.is_some() && config.bus.is_some());
}

#[test]
fn what_is_wrong_with_one_event_leaves_the_others_alone_and_takes_nothing_away() {
    let plan =
        source(json!({"eventBus": "depot", "cron": {"good": {"schedule": "@daily"}, "bad": {"schedule": "never"}}}));
    assert_eq!(plan.handlers.len(), 1);
    assert!(plan.kept.contains("esw-parcels-cron-bad"));
    assert_eq!(problem(&plan).0, "ErrorConfiguration");
}

#[test]
fn without_its_bus_or_sink_what_runs_goes_on() {
    let source_of = source_of(kafka(json!({})));
    let world = source::World { bus: Some(Err(Problem::bus("gone"))), ..source::World::default() };
    let plan = source::plan(&source_of, &world, &settings());
    assert!(plan.handlers.is_empty() && plan.kept.contains("esw-parcels-kafka-scan"));
    assert_eq!(problem(&plan), ("ErrorToFindExistEventBus", "gone"));
    // BUG-E18
    let plan = trigger_on(bus(json!({})), two_inputs(json!([{"condition": "north", "topic": "t"}])));
    assert!(plan.kept.contains("t-dock"));
    assert!(problem(&plan).1.starts_with("no specification found for EventBus \"depot\""));
}

fn two_inputs(subscribers: Value) -> Value {
    json!({"eventBus": "depot", "inputs": {"north": {"eventSource": "dock-north", "event": "arrival"},
        "south": {"namespace": "south", "eventSource": "dock-south", "event": "arrival"}}, "subscribers": subscribers})
}

#[test]
fn e10_e26_e27_e28_every_subscriber_keeps_what_is_its_own() {
    let config = config_of_trigger(&trigger(two_inputs(json!([
        {"condition": "north", "sink": {"uri": "http://a"}, "topic": "t", "deadLetterTopic": "dead"},
        {"condition": "north", "sink": {"uri": "http://b"}, "deadLetterSink": {"uri": "http://dead"}},
        {"condition": "south", "topic": "t"},
    ]))));
    let of: Vec<_> = config
        .subscribers
        .iter()
        .map(|of| {
            [&of.sink, &of.topic, &of.dead_letter_sink, &of.dead_letter_topic]
                .map(|field| field.as_deref().unwrap_or_default())
        })
        .collect();
    assert_eq!(of, [["http://a", "t", "", "dead"], ["http://b", "", "http://dead", ""], ["", "t", "", ""]]);
    let topics: Vec<_> = config.inputs.values().map(|input| input.topic.as_str()).collect();
    assert_eq!(topics, ["shop-dock-north-arrival", "south-dock-south-arrival"]);
    assert_eq!(config.name, "shop-dock");
}

#[test]
fn e15_every_topic_is_watched_and_a_condition_that_remembers_has_one_replica() {
    let scale = json!({"natsServerMonitoringEndpoint": "nats:8222", "lagThreshold": "10", "maxReplicaCount": 5});
    let nats = json!({"natsStreaming": {"natsURL": "nats://nats", "natsStreamingClusterID": "c", "subscriptionType": "queue",
        "durableSubscriptionName": "d", "scaleOption": scale, "ackWaitTime": "7s", "maxInFlight": 3, "deliverAll": true}});
    let plan = trigger_on(bus(nats.clone()), two_inputs(json!([{"condition": "north || south", "topic": "t"}])));
    let config = config_of_trigger(&plan);
    assert_eq!((config.redelivery.as_secs(), config.in_flight, config.from_the_beginning), (7, 3, true));
    let keda = scale_of(&plan.handlers[0]).keda.clone().unwrap();
    let consumers: Vec<_> = keda
        .triggers
        .iter()
        .map(|trigger| {
            (trigger.type_.as_str(), trigger.metadata["stream"].as_str(), trigger.metadata["consumer"].as_str())
        })
        .collect();
    assert_eq!(
        consumers,
        [
            ("nats-jetstream", "shop-dock-north-arrival", "shop-dock-shop-dock-north-arrival"),
            ("nats-jetstream", "south-dock-south-arrival", "shop-dock-south-dock-south-arrival"),
        ]
    );
    assert_eq!((scale_of(&plan.handlers[0]).max_replicas, plan.notes.len()), (Some(5), 0));
    let plan = trigger_on(bus(nats), two_inputs(json!([{"condition": "north && south", "topic": "t"}])));
    assert_eq!((scale_of(&plan.handlers[0]).max_replicas, plan.notes[0].type_), (Some(1), "SingleReplica"));
}

#[test]
fn e25_e39_what_could_never_run_is_told_and_keeps_what_runs() {
    let without_inputs = trigger(json!({"eventBus": "depot", "inputs": {}, "subscribers": [{"condition": "true"}]}));
    assert_eq!(
        problem(&without_inputs),
        ("ErrorConfiguration", "spec.inputs: Required value: must name at least one event")
    );
    let without_subscribers = trigger(two_inputs(json!([])));
    assert_eq!(problem(&without_subscribers).0, "ErrorToFindTriggerSubscribers");
    let bad = trigger(two_inputs(json!([{"condition": "north &&"}])));
    assert!(bad.kept.contains("t-dock") && bad.handlers.is_empty());
    assert!(problem(&bad).1.starts_with("spec.subscribers[0].condition: Invalid value: "));
}

#[test]
fn ev29_without_permission_nothing_runs_and_while_it_is_not_known_what_runs_goes_on() {
    let world = |permission| trigger::World { bus: jetstream(), sinks: vec![], permission, missing: vec![] };
    let of = trigger_of(two_inputs(json!([{"condition": "north", "topic": "t"}])));
    let plan = |permission| trigger::plan(&of, &world(permission), &settings());
    let missing = plan(trigger::Permission::Missing(Problem::permission("no")));
    assert!(missing.handlers.is_empty() && missing.kept.is_empty());
    let unknown = plan(trigger::Permission::Unknown(Problem::permission("no")));
    assert!(unknown.handlers.is_empty() && unknown.kept.contains("t-dock"));
}

#[test]
fn a_configuration_is_as_it_was_written_when_kubernetes_has_read_it() {
    let config = config_of_trigger(&trigger(two_inputs(
        json!([{"condition": "north", "sink": {"uri": "http://a/$(HOME)?b=$$"}}]),
    )));
    assert_eq!(config.subscribers[0].sink.as_deref(), Some("http://a/$(HOME)?b=$$"));
    let plan = trigger(two_inputs(json!([{"condition": "north", "sink": {"uri": "http://a/$(HOME)"}}])));
    assert!(!config_of(&plan.handlers[0]).contains('$'));
}

#[test]
fn a_configuration_that_no_process_could_be_given_is_refused() {
    let uri = format!("http://a/{}", "b".repeat(2000));
    let subscribers: Vec<_> = (0..64).map(|_| json!({"condition": "north", "sink": {"uri": uri}})).collect();
    let plan = trigger(two_inputs(json!(subscribers)));
    assert!(problem(&plan).1.starts_with("spec: Too long: "), "{:?}", plan.problem);
}

#[test]
fn a_sink_whose_host_is_not_found_is_told_and_what_runs_is_not_sent_there() {
    let source = source_of(json!({"sink": {"uri": "http://nobody"}, "cron": {"tick": {"schedule": "@daily"}}}));
    let address = Address { url: "http://nobody".to_owned(), missing: Some(Problem::sink("not found")) };
    let world = source::World { sink: Some(Ok(address)), ..source::World::default() };
    let plan = source::plan(&source, &world, &settings());
    assert_eq!((plan.handlers.len(), plan.is_held), (1, true));
    assert_eq!(problem(&plan), ("ErrorGenerateComponent", "not found"));
}

#[test]
fn a_topic_that_no_bus_could_have_is_refused_and_one_with_dots_is_watched_by_its_stream() {
    for bad in ["a b", "a.>", "a*", ".a", "a..b"] {
        let plan = trigger(two_inputs(json!([{"condition": "north", "topic": bad}])));
        assert!(problem(&plan).1.starts_with("spec.subscribers[0].topic: Invalid value: "), "{bad}");
    }
    let scale = json!({"natsServerMonitoringEndpoint": "nats:8222", "lagThreshold": "10"});
    let bus = bus(json!({"jetStream": {"url": "nats://nats", "scaleOption": scale}}));
    let inputs = json!({"a": {"eventSource": "a.b", "event": "c.d"}});
    let plan = trigger_on(
        bus,
        json!({"eventBus": "depot", "inputs": inputs, "subscribers": [{"condition": "a", "topic": "x.y"}]}),
    );
    let keda = scale_of(&plan.handlers[0]).keda.clone().unwrap();
    assert_eq!(keda.triggers[0].metadata["stream"], "shop-a_b-c_d");
    assert_eq!(config_of_trigger(&plan).subscribers[0].topic.as_deref(), Some("x.y"));
}
