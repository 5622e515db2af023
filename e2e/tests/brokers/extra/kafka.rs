//! Kafka.

use std::sync::Arc;

use event_bus::{
    bus::{Bus, Error, Owner, Subscription},
    kafka::{Config, KafkaBus, Mechanism},
    wire::Mode,
};
use serde_json::json;

use crate::{
    programs::kafka,
    stories::{self, Broker, Origin, publish_one},
    support::{event, eventually},
};

async fn broker() -> Broker {
    let (program, port) = kafka("PLAINTEXT", &[], &[]);
    let brokers = format!("127.0.0.1:{port}");
    let config = Config { brokers: brokers.clone(), ..Config::default() };
    let bus = crate::support::eventually("Kafka answers", async || KafkaBus::connect(&config).await.ok()).await;
    Broker { program, config: json!({"kafka": {"brokers": brokers}}), bus: Arc::new(bus) }
}

#[tokio::test(flavor = "multi_thread")]
async fn ev24_no_event_is_lost_whoever_is_killed() {
    stories::none_is_lost(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev31_what_a_condition_remembers_survives_the_end_of_its_process() {
    stories::conditions_remember(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev39_ev40_what_a_sink_refuses_is_a_dead_letter_and_what_it_fails_is_not() {
    stories::dead_letters(broker().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev1_no_event_of_a_source_is_lost_whoever_is_killed() {
    let broker = broker().await;
    let (bus, url) = (broker.bus.clone(), broker.config["kafka"]["brokers"].clone());
    // A topic of others is there before.
    publish_one(&bus, "orders", event(0, 1024)).await;
    let send = move |event| {
        let bus = bus.clone();
        async move { publish_one(&bus, "orders", event).await }
    };
    let from = json!({"kafka": {"server": {"brokers": url}, "topics": ["orders"], "group": "shop-source-kafka-a"}});
    stories::none_is_lost_through_a_source(broker, Origin { from, listens: "127.0.0.1:0".to_owned(), send }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ev1_kafka_is_spoken_to_with_tls_and_every_mechanism_of_sasl() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (ca, others) = (write("ca.crt", &own.cert.pem()), write("other.crt", &other.cert.pem()));
    // The certificate and its key in one file.
    let store = write("store.pem", &format!("{}{}", own.signing_key.serialize_pem(), own.cert.pem()));
    let (password, wrong) = (write("password", "s3cret\n"), write("wrong", "wrong"));
    let jaas = "listener.name.sasl_ssl";
    let module = "org.apache.kafka.common.security";
    let more = [
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        format!("{jaas}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_shop=\"s3cret\";"),
        format!("{jaas}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;"),
        format!("{jaas}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;"),
        "ssl.keystore.type=PEM".to_owned(),
        format!("ssl.keystore.location={}", store.display()),
    ];
    let users = ["SCRAM-SHA-256=[name=shop,password=s3cret]", "SCRAM-SHA-512=[name=shop,password=s3cret]"];
    let users: Vec<_> = users.iter().flat_map(|user| ["--add-scram", user]).collect();
    let (_program, port) = kafka("SASL_SSL", &more, &users);
    let right = Config {
        brokers: format!("127.0.0.1:{port}"),
        tls: true,
        ca: Some(ca.into()),
        sasl_username: Some("shop".to_owned()),
        sasl_password: Some(password.into()),
        ..Config::default()
    };
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let config = Config { sasl_mechanism: mechanism, ..right.clone() };
        let connect = async || KafkaBus::connect(&config).await.ok();
        let bus: Arc<dyn Bus> = Arc::new(eventually("Kafka lets us in", connect).await);
        let topic = format!("orders-{mechanism:?}").to_lowercase();
        publish_one(&bus, &topic, event(7, 10)).await;
        let mut consumer = bus.subscribe(&stories::all_of(&topic)).await.unwrap();
        assert_eq!(consumer.next().await.unwrap().event().unwrap().id, event(7, 10).id);
        let config = Config { sasl_password: Some(wrong.clone().into()), ..config };
        let error = KafkaBus::connect(&config).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{mechanism:?}: {error}");
    }
    let error = KafkaBus::connect(&Config { ca: Some(others.into()), ..right.clone() }).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let error = KafkaBus::connect(&Config { sasl_password: None, ..right.clone() }).await.unwrap_err();
    assert_eq!(error, Error::Refused("saslPassword: Required value: saslUsername is set".to_owned()));
    // Of others a topic is not made.
    let bus = KafkaBus::connect(&right).await.unwrap();
    let missing = Subscription { owner: Owner::Others, ..stories::all_of("nobodys") };
    let error = bus.subscribe(&missing).await.err().unwrap();
    assert!(error.to_string().starts_with("topic \"nobodys\": "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ev53_every_form_of_an_event_is_read() {
    stories::forms(broker().await, &[Mode::Binary, Mode::Structured, Mode::Inner]).await;
}
