//! Brokers that are none, and events that are too large.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use e2e::api_server::free_ports;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    jetstream::broker,
    stories::all_of,
    support::{Receiver, eventually, source, trigger, until_ready},
};

/// A server that says nonsense to everybody, and how many have asked.
async fn nonsense() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicUsize::new(0)));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let said: Vec<_> =
                    (0..4096_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
                let mut heard = [0; 1024];
                for _ in 0..8 {
                    if stream.write_all(&said).await.is_err()
                        || stream.read(&mut heard).await.is_ok_and(|read| read == 0)
                    {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_nonsense_is_told_and_asked_again_now_and_then() {
    let redis = |address: &str| json!({"server": {"url": format!("redis://{address}/")}, "key": "k", "group": "g"});
    let mqtt = |address: &str, version: &str| json!({"url": format!("tcp://{address}"), "topic": "t", "clientId": "c", "version": version});
    let bus = |bus: Value| json!({"name": "n-t", "bus": bus, "inputs": {"a": {"topic": "a"}}, "subscribers": [{"condition": "a", "sink": "http://127.0.0.1:1/"}]});
    let from = |from: Value| json!({"name": "n-s", "source": "/s", "sink": "http://127.0.0.1:1/", "events": {"a": {"from": from}}});
    type Configured<'a> = Box<dyn Fn(&str) -> Value + 'a>;
    let triggers: [(&str, Configured); 3] = [
        ("JetStream", Box::new(|address| bus(json!({"jetStream": {"url": format!("nats://{address}")}})))),
        ("Kafka", Box::new(|address| bus(json!({"kafka": {"brokers": address}})))),
        ("Redis Streams", Box::new(|address| bus(json!({"redisStreams": {"url": format!("redis://{address}/")}})))),
    ];
    let sources: [(&str, Configured); 5] = [
        (
            "Kafka",
            Box::new(|address| from(json!({"kafka": {"server": {"brokers": address}, "topics": ["t"], "group": "g"}}))),
        ),
        ("a Redis stream", Box::new(|address| from(json!({"redisStream": redis(address)})))),
        ("a Redis list", Box::new(|address| from(json!({"redisList": redis(address)})))),
        ("MQTT 3.1.1", Box::new(|address| from(json!({"mqtt": mqtt(address, "3.1.1")})))),
        ("MQTT 5", Box::new(|address| from(json!({"mqtt": mqtt(address, "5")})))),
    ];
    let mut running = Vec::new();
    for (is_trigger, what, config) in triggers
        .into_iter()
        .map(|(what, config)| (true, what, config))
        .chain(sources.into_iter().map(|(what, config)| (false, what, config)))
    {
        let (address, asked) = nonsense().await;
        let (program, port) = if is_trigger { trigger(&config(&address)) } else { source(&config(&address)) };
        running.push((what, program, port, asked));
    }
    for (what, _, port, _) in &running {
        let reason = eventually(what, async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/ready")).await.ok()?;
            let status = answer.status().as_u16();
            let reason = answer.text().await.ok()?;
            (status == 503 && !reason.contains("not connected yet")).then_some(reason)
        })
        .await;
        println!("{what}: {}", reason.trim());
    }
    let before: Vec<_> = running.iter().map(|(.., asked)| asked.load(Ordering::Relaxed)).collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    for ((what, program, port, asked), before) in running.iter().zip(before) {
        let live = reqwest::get(format!("http://127.0.0.1:{port}/live")).await;
        assert!(live.is_ok_and(|answer| answer.status() == 200), "{what} has ended");
        let again = asked.load(Ordering::Relaxed) - before;
        println!("{what}: asked {again} times in ten seconds, {} MiB", program.memory() >> 20);
        assert!(again <= 100, "{what}: asked {again} times");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_bus_does_not_take_is_not_confirmed_and_the_next_one_passes() {
    let (broker, letters, [port]) = (broker().await, Receiver::start().await, free_ports().unwrap());
    let config = json!({"name": "shop-source", "source": "/s", "bus": broker.config, "webhookAddress": format!("127.0.0.1:{port}"),
        "events": {"a": {"topic": "shop-source-a", "from": {"webhook": {}}}}});
    let (program, ready) = source(&config);
    until_ready(ready).await;
    let client = reqwest::Client::new();
    let post = async |size: usize| {
        let request = client.post(format!("http://127.0.0.1:{port}/a")).body("x".repeat(size));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let metrics =
        async || reqwest::get(format!("http://127.0.0.1:{ready}/metrics")).await.unwrap().text().await.unwrap();
    // NATS takes one MiB, and a webhook ten.
    let (status, said) = post(10_000_000).await;
    assert_eq!(status, 502, "{said}");
    assert!(metrics().await.contains("openfunction_eventsource_deliveries_total{outcome=\"dropped\"} 1\n"));
    assert_eq!(post(11_000_000).await.0, 413);
    assert_eq!(post(900_000).await.0, 202);
    let mut consumer = broker.bus.subscribe(&all_of("shop-source-a")).await.unwrap();
    assert_eq!(consumer.next().await.unwrap().event().unwrap().data.unwrap().len(), 900_000);
    // With dead letters somebody has it.
    let mut buried = config.clone();
    buried["deadLetterSink"] = json!(letters.url);
    program.configure(&buried);
    eventually("it is a dead letter", async || (post(10_000_000).await.0 == 202).then_some(())).await;
    letters.until(1).await;
    println!("{} MiB", program.memory() >> 20);
    until_ready(ready).await;
}
