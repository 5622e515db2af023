//! What a Trigger and an EventSource carry, with events of 1 KiB and durable brokers, each beside the broker's own tool.
//!
//! `cargo bench -p e2e --bench events`; `EVENTS=1000000` sends so many. The figures are printed; nothing is asserted. Our
//! process has one thread; the brokers, the tools and the receivers share what the machine has with it.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends there")]

#[allow(dead_code, reason = "it is that of the tests")]
#[path = "../tests/brokers/programs.rs"]
mod programs;
#[allow(dead_code, reason = "it is that of the tests")]
#[path = "../tests/brokers/support.rs"]
mod support;

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use e2e::parts::NATS_CLIENT;
use event_bus::{bus::Bus, jetstream::JetStream, kafka::KafkaBus, wire::Mode};
use futures::{StreamExt, stream};
use programs::{kafka, kafka_class, nats};
use serde_json::{Value, json};
use support::{Program, event, source, trigger, until_ready};

const SIZE: usize = 1024;
const TOPIC: &str = "shop-source-a";

/// How many events are sent, unless `EVENTS` says otherwise.
fn events() -> usize {
    std::env::var("EVENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(200_000)
}

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    println!("{} events of {SIZE} bytes", events());
    trigger_on_jetstream().await;
    kafka_to_jetstream().await;
}

async fn trigger_on_jetstream() {
    println!("\n# NATS JetStream, a file store that is synced every two minutes, as it comes");
    {
        let (_broker, url) = nats("2m");
        let tool = NATS_CLIENT.built().unwrap().join("nats");
        let bench = |what: &[&str]| {
            let number = events().to_string();
            let mut command = Command::new(&tool);
            command.args(["--server", &url, "bench", "js"]).args(what).args(["--msgs", &number, "--no-progress"]);
            told(command);
        };
        println!("nats bench, confirmed in batches of 500, as it comes; then one by one taken and acknowledged:");
        bench(&["pub", "batch", "bench", "--create", "--size", &SIZE.to_string()]);
        bench(&["consume", "--batch", "256", "--acks", "explicit"]);
    }
    let (_broker, url) = nats("2m");
    let bus: Arc<dyn Bus> =
        Arc::new(JetStream::connect(&serde_json::from_value(json!({"url": url})).unwrap()).await.unwrap());
    let config = |name: &str, subscriber: Value| {
        json!({"name": name, "bus": {"jetStream": {"url": url}}, "fromTheBeginning": true, "inFlight": 512,
            "inputs": {"a": {"topic": TOPIC}}, "subscribers": [subscriber]})
    };
    let sink = Sink::start().await;
    publish(&bus, TOPIC).await;
    let (program, port) = trigger(&config("to-sink", json!({"condition": "a", "sink": sink.url})));
    throughput("Trigger, to a sink", &program, port, "openfunction_trigger").await;
    drop(program);
    let (program, port) = trigger(&config("to-topic", json!({"condition": "a", "topic": "out"})));
    throughput("Trigger, to a topic", &program, port, "openfunction_trigger").await;
    drop(program);

    let mut to_sink = config("slowly", json!({"condition": "a", "sink": sink.url}));
    to_sink["fromTheBeginning"] = json!(false);
    let (program, port) = trigger(&to_sink);
    until_ready(port).await;
    for rate in [1_000, 2_500, 5_000, 10_000] {
        sink.latencies.lock().unwrap().clear();
        let sent = paced(&bus, TOPIC, rate, Duration::from_secs(10)).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        sink.tell(&format!("Trigger, to a sink, {rate} events/s"), sent);
    }
    println!("  memory {:.1} MiB", mib(program.memory()));
}

async fn kafka_to_jetstream() {
    println!("\n# Kafka to NATS JetStream");
    let (_kafka, port) = kafka("PLAINTEXT", &[], &[]);
    let brokers = format!("127.0.0.1:{port}");
    let config = serde_json::from_value(json!({"brokers": brokers})).unwrap();
    let bus = support::eventually("Kafka answers", async || KafkaBus::connect(&config).await.ok()).await;
    let number = events().to_string();
    let java = |class: &[&str]| {
        let mut command = Command::new("java");
        command.args(kafka_class(class));
        told(command);
    };
    println!("kafka-producer-perf-test and kafka-consumer-perf-test:");
    let props = format!("bootstrap.servers={brokers}");
    java(&[
        "org.apache.kafka.tools.ProducerPerformance",
        "--topic",
        "bench",
        "--num-records",
        &number,
        "--record-size",
        &SIZE.to_string(),
        "--throughput",
        "-1",
        "--producer-props",
        &props,
        "acks=all",
    ]);
    java(&[
        "org.apache.kafka.tools.ConsumerPerformance",
        "--bootstrap-server",
        &brokers,
        "--topic",
        "bench",
        "--messages",
        &number,
    ]);
    let bus: Arc<dyn Bus> = Arc::new(bus);
    publish(&bus, "orders").await;
    let (_broker, url) = nats("2m");
    let from = json!({"kafka": {"server": {"brokers": brokers}, "topics": ["orders"], "group": "bench"}});
    let (program, port) =
        source(&json!({"name": "shop-source", "source": "/sources/shop", "bus": {"jetStream": {"url": url}},
        "fromTheBeginning": true, "inFlight": 512, "events": {"a": {"topic": TOPIC, "from": from}}}));
    throughput("EventSource, Kafka to JetStream", &program, port, "openfunction_eventsource").await;
}

/// Runs a tool, and prints what it says of its figures.
fn told(mut command: Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    // The figures of Kafka's consumer stand under their heading, and begin with the time.
    let is_told = |line: &&str| ["sec", "error"].iter().any(|word| line.contains(word)) || line.starts_with("20");
    for line in String::from_utf8_lossy(&said).lines().filter(is_told) {
        println!("  {}", line.trim());
    }
}

/// Publishes all events.
async fn publish(bus: &Arc<dyn Bus>, topic: &str) {
    let began = Instant::now();
    stream::iter(0..events())
        .for_each_concurrent(512, |number| async move {
            let event = event(number, SIZE);
            bus.publish(topic, &event, Mode::Structured, &event.id).await.unwrap();
        })
        .await;
    told_rate(&format!("publishing to {topic}, confirmed"), events(), began.elapsed());
}

/// Publishes at a pace; how many.
async fn paced(bus: &Arc<dyn Bus>, topic: &'static str, rate: u32, during: Duration) -> usize {
    let (mut ticks, began, mut sent) = (tokio::time::interval(Duration::from_millis(2)), Instant::now(), 0);
    let mut running = tokio::task::JoinSet::new();
    while began.elapsed() < during {
        ticks.tick().await;
        while f64::from(sent) < began.elapsed().as_secs_f64() * f64::from(rate) {
            sent += 1;
            let bus = bus.clone();
            running.spawn(async move {
                let mut event = event(sent as usize, SIZE);
                event.id = format!("{rate}-{sent}");
                event.attributes.insert("sent".to_owned(), now().as_nanos().to_string().as_str().into());
                bus.publish(topic, &event, Mode::Structured, &event.id).await.unwrap();
            });
        }
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
    sent as usize
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A receiver that measures how long events were on their way.
#[derive(Clone, Default)]
struct Sink {
    latencies: Arc<Mutex<Vec<Duration>>>,
    url: String,
}

impl Sink {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self { url: format!("http://{}/", listener.local_addr().unwrap()), ..Self::default() };
        let take = async |State(sink): State<Sink>, headers: HeaderMap, _: axum::body::Bytes| {
            let sent = headers.get("ce-sent").and_then(|sent| sent.to_str().ok()?.parse().ok());
            if let Some(sent) = sent.map(Duration::from_nanos) {
                sink.latencies.lock().unwrap().push(now().saturating_sub(sent));
            }
        };
        let router = Router::new().route("/", post(take)).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        sink
    }

    fn tell(&self, what: &str, sent: usize) {
        let mut latencies = self.latencies.lock().unwrap().clone();
        latencies.sort();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        println!("{what}: p50 {:.1?}, p99 {:.1?}, {} of {sent} came", at(0.5), at(0.99), latencies.len());
    }
}

/// How fast a process delivers what waits.
async fn throughput(what: &str, program: &Program, port: u16, prefix: &str) {
    let line = format!("{prefix}_deliveries_total{{outcome=\"delivered\"}} ");
    let delivered = async || -> Option<usize> {
        let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.ok()?.text().await.ok()?;
        text.lines().find_map(|of| of.strip_prefix(&line))?.parse().ok()
    };
    let mut first = None;
    loop {
        let (Some(number), time) = (delivered().await, Instant::now()) else { continue };
        match first {
            None if number > 0 => first = Some((number, time, cpu(program))),
            Some((before, began, used)) if number >= events() => {
                let (took, cpu) = (began.elapsed(), cpu(program) - used);
                told_rate(what, number - before, took);
                let of_cpu = (number - before) as f64 / cpu.as_secs_f64();
                println!("  {of_cpu:.0} events in a second of its processor, memory {:.1} MiB", mib(program.memory()));
                return;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Time that a process had a processor.
fn cpu(program: &Program) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.id())).unwrap();
    // After the name, which may have spaces: proc(5), fields 14 and 15, in hundredths of a second.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn told_rate(what: &str, number: usize, took: Duration) {
    println!("{what}: {:.0} events/s", number as f64 / took.as_secs_f64());
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
