//! A message through every broker.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{
    cache::run,
    local::{cluster::Cluster, git::NAMESPACE},
};

/// A command in the pod of a broker.
pub fn in_pod(broker: &str, command: &[&str]) -> Command {
    let mut kubectl = Cluster::here().unwrap().kubectl();
    kubectl.args(["-n", NAMESPACE, "exec", "-i", &format!("deployment/{broker}"), "--"]).args(command);
    kubectl
}

/// A name that no other run has.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn redis_keeps_a_list() {
    let list = unique("list");
    run(&mut in_pod("redis", &["redis-cli", "rpush", &list, "hello"])).unwrap();
    assert_eq!(run(&mut in_pod("redis", &["redis-cli", "lpop", &list])).unwrap().trim(), "hello");
}

#[test]
fn mosquitto_keeps_a_message_for_those_who_come_late() {
    let topic = unique("topic");
    run(&mut in_pod("mosquitto", &["mosquitto_pub", "-r", "-t", &topic, "-m", "hello"])).unwrap();
    let read = ["mosquitto_sub", "-t", &topic, "-C", "1", "-W", "30"];
    assert_eq!(run(&mut in_pod("mosquitto", &read)).unwrap().trim(), "hello");
}

#[test]
fn kafka_keeps_a_record() {
    let topic = unique("topic");
    let server = ["--bootstrap-server", "localhost:9092", "--topic", &topic];
    let mut produce = in_pod("kafka", &["kafka", "org.apache.kafka.tools.ConsoleProducer"]);
    let mut child = produce.args(server).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    assert!(child.wait().unwrap().success());
    let mut consume = in_pod("kafka", &["kafka", "org.apache.kafka.tools.consumer.ConsoleConsumer"]);
    consume.args(server).args(["--from-beginning", "--max-messages", "1", "--timeout-ms", "60000"]);
    assert_eq!(run(&mut consume).unwrap().trim(), "hello");
}

/// What NATS answers to a request.
fn ask_nats(subject: &str, payload: &str) -> String {
    let service = Cluster::here().unwrap().get(&["service", "nats", "-n", NAMESPACE], 5).unwrap();
    let mut stream = TcpStream::connect(format!("{}:4222", service["spec"]["clusterIP"].as_str().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // NATS is text: https://docs.nats.io/reference/reference-protocols/nats-protocol
    write!(stream, "CONNECT {{}}\r\nSUB answers 1\r\nPUB {subject} answers {}\r\n{payload}\r\n", payload.len())
        .unwrap();
    BufReader::new(stream).lines().map(Result::unwrap).find(|line| line.starts_with('{')).unwrap()
}

/// Makes a stream for the subject of its name.
pub fn make_stream(name: &str) {
    let stream = format!(r#"{{"name": "{name}", "subjects": ["{name}"]}}"#);
    let created = ask_nats(&format!("$JS.API.STREAM.CREATE.{name}"), &stream);
    assert!(!created.contains("error"), "{created}");
}

#[test]
fn jetstream_keeps_a_message() {
    let (name, ask) = (unique("events"), ask_nats);
    make_stream(&name);
    let acknowledged = ask(&name, "hello");
    assert!(acknowledged.contains(r#""seq":1"#), "{acknowledged}");
    let kept = ask(&format!("$JS.API.STREAM.MSG.GET.{name}"), r#"{"seq": 1}"#);
    // "hello" in base64.
    assert!(kept.contains("aGVsbG8="), "{kept}");
}

#[test]
fn minio_keeps_an_object() {
    let bucket = format!("local/{}", unique("bucket"));
    run(&mut in_pod("minio", &["mc", "mb", &bucket])).unwrap();
    let mut put = in_pod("minio", &["mc", "pipe", &format!("{bucket}/greeting")]);
    let mut child = put.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(run(&mut in_pod("minio", &["mc", "cat", &format!("{bucket}/greeting")])).unwrap(), "hello");
}
