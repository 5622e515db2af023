//! What is told of an EventBus: whether it is reached, what of it was mapped, and whether a NATS server keeps events.

use std::{sync::Arc, time::Duration};

use controller_runtime::{apply::ApplyError, conditions::NewCondition};
use kube::{ResourceExt, runtime::controller::Action};
use openfunction_proto::events::{ClusterEventBus, EventBus, EventBusSpec};
use reqwest::Url;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{
    bus::{self, Found},
    problem::Problem,
    reconcile::Context,
    secrets::Secrets,
    status::{Conditioned, Outcome},
};

/// Condition of a bus whose settings were mapped to those of another.
pub const MAPPED: &str = "Mapped";

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
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
        Ok(_) => match look(spec).await {
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
async fn look(spec: &EventBusSpec) -> Result<String, Problem> {
    let EventBusSpec { topic: _, nats_streaming, jet_stream, kafka, redis_streams } = spec;
    let nats = nats_streaming.as_ref().map(|bus| &bus.nats_url).or(jet_stream.as_ref().map(|bus| &bus.url));
    if let Some(url) = nats {
        return look_at_nats(url).await;
    }
    let addresses: Vec<String> = match (kafka, redis_streams) {
        (Some(bus), _) => bus.brokers.split(',').map(|address| address.trim().to_owned()).collect(),
        (None, Some(bus)) => vec![address(&bus.url, 6379)?],
        (None, None) => Vec::new(),
    };
    connect(&addresses).await.map(|(_, address)| format!("{address} answers"))
}

/// A NATS server says at once what it can, before anybody has to say who they are.
async fn look_at_nats(urls: &str) -> Result<String, Problem> {
    let addresses: Result<Vec<_>, _> = urls.split(',').map(|url| address(url.trim(), 4222)).collect();
    let (stream, address) = connect(&addresses?).await?;
    let mut line = String::new();
    let read = timeout(ANSWER, BufReader::new(stream).read_line(&mut line)).await;
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
    Ok(format!("NATS {} with JetStream answers at {address}", info["version"].as_str().unwrap_or_default()))
}

fn not_well(reason: &'static str, message: String) -> Problem {
    Problem { reason, message, is_passing: true }
}

/// Host and port of a URL, which may lack its scheme.
fn address(url: &str, usual: u16) -> Result<String, Problem> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("nats://{url}") };
    let parsed = Url::parse(&with_scheme).ok();
    let address = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port().unwrap_or(usual))));
    match address {
        Some((host, port)) if !host.is_empty() => Ok(format!("{host}:{port}")),
        _ => Err(Problem::configuration(format!(
            "spec: Invalid value: {:?} is no URL of a server",
            without_password(url)
        ))),
    }
}

fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

/// Connects to the first that answers.
async fn connect(addresses: &[String]) -> Result<(TcpStream, String), Problem> {
    let mut failed = Vec::new();
    for address in addresses {
        match timeout(ANSWER, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.clone())),
            Ok(Err(error)) => failed.push(format!("{address}: {error}")),
            Err(_) => failed.push(format!("{address}: no answer within {ANSWER:?}")),
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
        let url = server("INFO {\"version\":\"2.12.0\",\"jetstream\":true} \r\n").await;
        assert!(look_at_nats(&url).await.unwrap().starts_with("NATS 2.12.0 with JetStream answers at 127.0.0.1:"));
        for (says, reason) in [
            ("INFO {\"version\":\"2.12.0\"} \r\n", "JetStreamNotEnabled"),
            ("INFO {\"jetstream\":false}\r\n", "JetStreamNotEnabled"),
            ("HTTP/1.1 400 Bad Request\r\n", "NotNats"),
            ("", "NotNats"),
        ] {
            let problem = look_at_nats(&server(says).await).await.unwrap_err();
            assert_eq!((problem.reason, problem.is_passing), (reason, true), "{says:?}: {problem}");
        }
        assert_eq!(look_at_nats("nats://127.0.0.1:1").await.unwrap_err().reason, "Unreachable");
    }

    #[test]
    fn addresses_are_read_with_and_without_a_scheme() {
        for (url, expected) in [
            ("nats://a:1", "a:1"),
            ("nats://user:secret@a", "a:4222"),
            ("a", "a:4222"),
            ("a:5", "a:5"),
            ("tls://a.b", "a.b:4222"),
        ] {
            assert_eq!(address(url, 4222).unwrap(), expected, "{url}");
        }
        let problem = address("nats://user:secret@", 4222).unwrap_err();
        assert!(!problem.message.contains("secret"), "{problem}");
    }
}
