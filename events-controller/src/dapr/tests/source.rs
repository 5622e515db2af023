//! Those of EventSources.

use super::*;

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
    let expected = json!({"url": "ssl://m:1883", "topic": "t/#", "consumerID": "shop-my-es-mqtt-m", "retain": true, "caCert": "certs/ca.crt", "clientCert": "PEM"});
    assert_eq!(settings(mqtt), expected);
    let url = |more: Value| {
        let mut mqtt = json!({"topic": "t"});
        mqtt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings(&serving(json!({"eventBus": "depot", "mqtt": {"m": mqtt}}))["bindings"]["esc-mqtt-m"])["url"].clone()
    };
    for (said, tls, expected) in [
        ("mqtt://m", Value::Null, "tcp://m:1883"),
        ("tcp://u:p@m:7", Value::Null, "tcp://u:p@m:7"),
        ("tcp://m", json!({}), "ssl://m:8883"),
        ("mqtts://m", Value::Null, "ssl://m:8883"),
    ] {
        assert_eq!(url(json!({"url": said, "tls": tls})), expected);
    }
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
