//! What is told of an EventBus: whether it is reached, what of it was mapped, and whether a NATS server keeps events.

use std::{sync::Arc, time::Duration};

use controller_runtime::{apply::ApplyError, conditions::NewCondition};
use kube::{ResourceExt, runtime::controller::Action};
use openfunction_proto::events::{ClusterEventBus, EventBus, EventBusSpec};
use reqwest::Url;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{
    bus::{self, Found},
    problem::Problem,
    reconcile::Context,
    secrets::Secrets,
    sink::without_password,
    status::{Conditioned, Outcome},
};

/// Condition of a bus whose settings were mapped to those of another.
pub const MAPPED: &str = "Mapped";

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(8);
const GREETING: Duration = Duration::from_secs(3);
/// Bytes of what a NATS server says at first.
const MAX_GREETING: u64 = 64 << 10;
/// How often a bus that is well is looked at, and one that is not.
const WELL: Duration = Duration::from_secs(60);
const NOT_WELL: Duration = Duration::from_secs(10);

/// Tells of an EventBus.
pub async fn event_bus(bus: Arc<EventBus>, context: Arc<Context>) -> Result<Action, ApplyError> {
    reconcile(&*bus, &bus.spec, "EventBus", &context).await
}

/// Tells of a ClusterEventBus.
pub async fn cluster_event_bus(bus: Arc<ClusterEventBus>, context: Arc<Context>) -> Result<Action, ApplyError> {
    reconcile(&*bus, &bus.spec.bus, "ClusterEventBus", &context).await
}

async fn reconcile<K: Conditioned>(
    object: &K,
    spec: &EventBusSpec,
    kind: &'static str,
    context: &Context,
) -> Result<Action, ApplyError> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let found = Found { kind, name: object.name_any(), spec: spec.clone() };
    let outcome = match found.config(&mut Secrets::default()) {
        Err(problem) => Outcome::Failed(problem),
        Ok(_) => match look(&found, object.namespace().as_deref(), &context.settings.cluster_domain).await {
            Ok(message) => Outcome::Ready { reason: "EventBusIsReady", message },
            Err(problem) => Outcome::Failed(problem),
        },
    };
    let look_again = match &outcome {
        Outcome::Failed(problem) if !problem.is_passing => None,
        Outcome::Failed(_) | Outcome::Pending { .. } => Some(NOT_WELL),
        Outcome::Ready { .. } => Some(WELL),
    };
    let notes = spec.nats_streaming.as_ref().map(mapped).into_iter().collect();
    if !context.tell(object, notes, outcome).await? {
        return Ok(Action::requeue(Duration::from_secs(1)));
    }
    Ok(look_again.map_or_else(Action::await_change, Action::requeue))
}

fn mapped(nats: &openfunction_proto::events::NatsStreaming) -> NewCondition {
    let not = bus::not_mapped(nats);
    let rest = match not.is_empty() {
        true => String::new(),
        false => format!("; without effect: {}", not.join(", ")),
    };
    let message = format!(
        "NATS Streaming has come to its end: the bus is JetStream at {}{rest}",
        without_password(&nats.nats_url)
    );
    NewCondition::true_(MAPPED, "NatsStreamingToJetStream", message)
}

/// Looks whether the broker of a bus answers; what is to be told of it.
///
/// Handlers find a short name in their own namespace, which is that of an EventBus; one of the cluster has none.
async fn look(bus: &Found, namespace: Option<&str>, cluster_domain: &str) -> Result<String, Problem> {
    let Some((broker, urls)) = bus.place() else { return Ok(String::new()) };
    let usual = match broker {
        "kafka" => 9092,
        "redis" => 6379,
        _ => 4222,
    };
    let mut addresses = Vec::new();
    for url in urls.split(',') {
        let (host, port) = address(url.trim(), usual)?;
        addresses.push(match (host.contains(['.', ':']), namespace) {
            (true, _) => (host, port),
            (false, Some(namespace)) => (format!("{host}.{namespace}.svc.{cluster_domain}"), port),
            (false, None) => return Ok(format!("host {host:?} means another in each namespace, and is not looked at")),
        });
    }
    let looking = async {
        let (stream, address) = connect(&addresses).await?;
        if broker == "nats" { greeted(stream, &address).await } else { Ok(format!("{address} answers")) }
    };
    let late = || Err(not_well("Unreachable", format!("no answer within {ANSWER:?}")));
    timeout(ANSWER, looking).await.unwrap_or_else(|_| late())
}

/// A NATS server says at once what it can, before anybody has to say who they are.
async fn greeted(stream: TcpStream, address: &str) -> Result<String, Problem> {
    let mut line = String::new();
    let read = timeout(GREETING, BufReader::new(stream.take(MAX_GREETING)).read_line(&mut line)).await;
    if read.is_err() {
        // One that wants TLS first waits for us.
        return Ok(format!("{address} answers"));
    }
    let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<serde_json::Value>(info).ok());
    let Some(info) = info else {
        return Err(not_well("NotNats", format!("{address} is no NATS server")));
    };
    if info["jetstream"] != true {
        let message = format!(
            "JetStream is not enabled at {address}: start the NATS server with it (`jetstream {{}}` in its configuration, or `-js`)"
        );
        return Err(not_well("JetStreamNotEnabled", message));
    }
    let version: String = info["version"].as_str().unwrap_or_default().chars().take(32).collect();
    Ok(format!("NATS {version} with JetStream answers at {address}"))
}

fn not_well(reason: &'static str, message: String) -> Problem {
    Problem { reason, message, is_passing: true }
}

/// Host and port of a URL, which may lack its scheme.
fn address(url: &str, usual: u16) -> Result<(String, u16), Problem> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("nats://{url}") };
    let parsed = Url::parse(&with_scheme).ok();
    let address = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port().unwrap_or(usual))));
    match address {
        Some((host, port)) if !host.is_empty() => Ok((host.trim_matches(['[', ']']).to_owned(), port)),
        _ => Err(Problem::configuration(format!(
            "spec: Invalid value: {:?} is no address of a server",
            without_password(url)
        ))),
    }
}

/// Connects to the first that answers.
async fn connect(addresses: &[(String, u16)]) -> Result<(TcpStream, String), Problem> {
    let mut failed = Vec::new();
    for (host, port) in addresses {
        match TcpStream::connect((host.as_str(), *port)).await {
            Ok(stream) => return Ok((stream, format!("{host}:{port}"))),
            Err(error) => failed.push(format!("{host}:{port}: {error}")),
        }
    }
    Err(not_well("Unreachable", failed.join("; ")))
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn server(says: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(says.as_bytes()).await.unwrap();
        });
        url
    }

    #[tokio::test]
    async fn a_nats_server_without_jetstream_is_told() {
        let look_at = async |url: &str| {
            let spec: EventBusSpec = serde_json::from_value(serde_json::json!({"jetStream": {"url": url}})).unwrap();
            look(&Found { kind: "EventBus", name: "b".to_owned(), spec }, Some("n"), "cluster.local").await
        };
        let url = server("INFO {\"version\":\"2.12.0\",\"jetstream\":true} \r\n").await;
        assert!(look_at(&url).await.unwrap().starts_with("NATS 2.12.0 with JetStream answers at 127.0.0.1:"));
        for (says, reason) in [
            ("INFO {\"version\":\"2.12.0\"} \r\n", "JetStreamNotEnabled"),
            ("INFO {\"jetstream\":false}\r\n", "JetStreamNotEnabled"),
            ("HTTP/1.1 400 Bad Request\r\n", "NotNats"),
            ("", "NotNats"),
        ] {
            let problem = look_at(&server(says).await).await.unwrap_err();
            assert_eq!((problem.reason, problem.is_passing), (reason, true), "{says:?}: {problem}");
        }
        assert_eq!(look_at("nats://127.0.0.1:1").await.unwrap_err().reason, "Unreachable");
    }

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for (url, expected) in [
            ("nats://a:1", ("a", 1)),
            ("nats://user:secret@a", ("a", 4222)),
            ("a", ("a", 4222)),
            ("a:5", ("a", 5)),
            ("tls://a.b", ("a.b", 4222)),
            ("redis://[::1]:7/0", ("::1", 7)),
        ] {
            let (host, port) = address(url, 4222).unwrap();
            assert_eq!((host.as_str(), port), expected, "{url}");
        }
        let problem = address("nats://user:secret@", 4222).unwrap_err();
        assert!(!problem.message.contains("secret"), "{problem}");
    }
}
