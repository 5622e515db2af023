//! Redis, which syncs every write.

use std::sync::Arc;

use e2e::api_server::free_ports;
use event_bus::{
    redis::{Config, RedisStreams},
    wire::Mode,
};
use redis::AsyncCommands;
use serde_json::json;

use crate::{
    stories::{self, Broker, Origin, publish_one},
    support::{Program, Receiver, event, events, eventually, source},
};

async fn broker() -> Broker {
    let programs = e2e::debian::programs("redis", &["redis-server"]).unwrap();
    let [port] = free_ports().unwrap();
    let program = Program::start(std::path::Path::new("env"), port, |folder| {
        let folder = folder.display().to_string();
        let (libraries, server) = (programs.join("usr/lib/x86_64-linux-gnu"), programs.join("usr/bin/redis-server"));
        let start = [format!("LD_LIBRARY_PATH={}", libraries.display()), server.display().to_string()];
        let words = ["--port", &port.to_string(), "--dir", &folder, "--save", "", "--appendonly", "yes"];
        let words = words.iter().chain(&["--appendfsync", "always"]).map(|word| (*word).to_owned());
        start.into_iter().chain(words).collect()
    });
    let url = format!("redis://127.0.0.1:{port}/");
    let config = Config { url: url.clone(), ..Config::default() };
    let bus = RedisStreams::connect(&config).await.unwrap();
    Broker { program, config: json!({"redisStreams": {"url": url}}), bus: Arc::new(bus) }
}

#[tokio::test(flavor = "multi_thread")]
async fn ev25_no_event_is_lost_whoever_is_killed() {
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
async fn ev4_no_event_of_a_source_is_lost_whoever_is_killed() {
    let broker = broker().await;
    let (bus, url) = (broker.bus.clone(), broker.config["redisStreams"]["url"].clone());
    // A topic of others is there before.
    publish_one(&bus, "orders", event(0, 1024)).await;
    let send = move |event| {
        let bus = bus.clone();
        async move { publish_one(&bus, "orders", event).await }
    };
    let from = json!({"redisStream": {"server": {"url": url}, "key": "orders", "group": "shop-source-redis-a"}});
    stories::none_is_lost_through_a_source(broker, Origin { from, listens: "127.0.0.1:0".to_owned(), send }).await;
}

/// Elements stay in a list of the process until they are handled.
#[tokio::test(flavor = "multi_thread")]
async fn ev4_no_element_of_a_list_is_lost_when_the_process_is_killed() {
    let broker = broker().await;
    let url = broker.config["redisStreams"]["url"].as_str().unwrap().to_owned();
    let mut redis = redis::Client::open(&*url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let number = events();
    for number in 0..number {
        let _: usize = redis.lpush("jobs", event(number, 1024).to_json()).await.unwrap();
    }
    let receiver = Receiver::start().await;
    let from = json!({"redisList": {"server": {"url": url}, "key": "jobs", "group": "shop-source-redis-a"}});
    let config = json!({"name": "shop-source", "source": "/s", "sink": receiver.url, "redelivery": "1s",
        "events": {"a": {"from": from}}});
    let (mut source, _) = source(&config);
    for fifths in [1, 3] {
        receiver.until(number * fifths / 5).await;
        tokio::task::block_in_place(|| source.kill());
    }
    receiver.until(number).await;
    let left = async || {
        let mut redis = redis.clone();
        let keys: Vec<String> = redis.keys("*jobs*").await.unwrap();
        // Which processes there are is all that is left.
        (keys == ["{jobs}:shop-source-redis-a"]).then_some(())
    };
    eventually("every list is empty", left).await;
    let (seen, again) = receiver.counts();
    println!("{seen} elements of a list, the process killed twice, {again} came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn ev53_every_form_of_an_event_is_read_but_one_with_headers_is_refused() {
    let broker = broker().await;
    let refused = broker.bus.publish("t", &event(0, 64), Mode::Binary, "1").await.unwrap_err().to_string();
    assert_eq!(
        refused,
        r#"contentMode: Unsupported value: "binary": an entry of Redis Streams has no headers, use structured"#
    );
    stories::forms(broker, &[Mode::Structured, Mode::Inner]).await;
}
