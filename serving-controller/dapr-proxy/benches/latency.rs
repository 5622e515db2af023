//! What the proxy adds to an event: how long a call of a function takes directly, as by a sidecar in its pod, and by way of
//! the proxy; and how much memory the proxy takes.
//!
//! `cargo bench --package dapr-proxy`. The figures are printed; nothing is asserted.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, header::CONTENT_TYPE},
    routing,
    serve::ListenerExt,
};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::{TcpListener, TcpStream};

/// Calls that are measured.
const CALLS: usize = 20_000;
/// Calls before, so that connections stand and code is warm.
const WARM: usize = 1_000;
/// Bytes of an event.
const EVENT: usize = 1024;
/// Callers at the same time, for the second figure.
const AT_ONCE: usize = 16;

type Caller = Client<HttpConnector, Full<Bytes>>;

#[tokio::main]
async fn main() {
    for protocol in ["http", "grpc"] {
        let function = function().await;
        let (port, probe_port) = (free_port().await, free_port().await);
        let proxy_process = Proxy::start(protocol, port, probe_port, function);
        until_ready(probe_port).await;
        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for at_once in [1, AT_ONCE] {
            for (way, address) in [("direct", function), ("proxy", proxy)] {
                let mut times = calls(protocol, address, at_once).await;
                times.sort();
                let of = |share: f64| times[(times.len() as f64 * share) as usize];
                println!("{protocol}, {at_once} at once, {way}: p50 {:.0?}, p99 {:.0?}", of(0.5), of(0.99));
            }
        }
        println!("{protocol}: the proxy takes {}", proxy_process.memory());
    }
}

/// A function that takes every event; where it listens.
async fn function() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let takes = async |body: Bytes| {
        assert_eq!(body.len(), EVENT);
        ([(CONTENT_TYPE, "application/json")], r#"{"status":"SUCCESS"}"#)
    };
    let router = Router::new().fallback(routing::post(takes));
    tokio::spawn(async move { axum::serve(listener.tap_io(nodelay), router).await });
    address
}

fn nodelay(connection: &mut TcpStream) {
    connection.set_nodelay(true).expect("an option of TCP");
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// The proxy; it ends with this.
struct Proxy(Child);

impl Proxy {
    fn start(protocol: &str, port: u16, probe_port: u16, function: SocketAddr) -> Self {
        let variables = [
            ("APP_PROTOCOL", protocol.to_owned()),
            ("PORT", port.to_string()),
            ("PROBE_PORT", probe_port.to_string()),
            ("TARGET", function.to_string()),
            ("FUNC_CONTEXT_V1BETA2", "{}".to_owned()),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_dapr-proxy"));
        Self(command.envs(variables).stdout(Stdio::null()).spawn().expect("the proxy"))
    }

    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap_or("unknown").trim().to_owned()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until_ready(port: u16) {
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long each of many calls takes.
async fn calls(protocol: &str, address: SocketAddr, at_once: usize) -> Vec<Duration> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Caller = Client::builder(TokioExecutor::new()).http2_only(protocol == "grpc").build(connector);
    let callers = (0..at_once).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for call in 0..(WARM + CALLS) / at_once {
                let began = Instant::now();
                let event = Full::from(Bytes::from_static(&[b'e'; EVENT]));
                let uri = format!("http://{address}/event");
                let request =
                    Request::post(uri).header(CONTENT_TYPE, "application/json").body(event).expect("a request");
                let response = client.request(request).await.expect("an answer");
                assert!(response.status().is_success(), "{}", response.status());
                Body::new(response.into_body()).collect().await.expect("a body");
                if call >= WARM / at_once {
                    times.push(began.elapsed());
                }
            }
            times
        })
    });
    let mut all = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        all.extend(caller.await.expect("its times"));
    }
    all
}
