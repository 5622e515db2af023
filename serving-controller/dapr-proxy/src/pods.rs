//! The pods of a function: a request goes to one of them, and to another if that one cannot take it.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request::Parts, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// How long addresses are taken for those of today: pods come and go.
const FRESH: Duration = Duration::from_millis(500);
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Status of gRPC that says that nothing was done: the server is about to go.
const UNAVAILABLE: &str = "14";

type Bytes = axum::body::Bytes;

/// The pods.
pub struct Pods {
    target: String,
    headers: HeaderMap,
    client: Client<HttpConnector, Full<Bytes>>,
    is_grpc: bool,
    timeout: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    since: Option<Instant>,
    next: usize,
}

impl Pods {
    /// The pods behind a name and port, and headers that requests to them must have.
    pub fn new(target: String, headers: HeaderMap, is_grpc: bool, timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .http2_only(is_grpc)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { target, headers, client, is_grpc, timeout, known: Mutex::default() }
    }

    /// Passes a request on until a pod takes it. One that was sent whole and answered is never sent again, except when the
    /// answer is that nothing was done.
    ///
    /// # Errors
    /// No pod took it in time; the reason of the last attempt.
    pub async fn pass(&self, parts: &Parts, body: Bytes) -> Result<Response<Body>, String> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let failed = match self.attempt(parts, body.clone()).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if began.elapsed() + pause > self.timeout {
                return Err(format!("no pod of the function took it within {:?}: {failed}", self.timeout));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, parts: &Parts, body: Bytes) -> Result<Response<Body>, String> {
        let address = self.next().await.map_err(|error| format!("{}: {error}", self.target))?;
        let request = self.request(parts, address, body).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| explain(&error))?;
        let is_unavailable = match self.is_grpc {
            true => response.headers().get("grpc-status").is_some_and(|status| status == UNAVAILABLE),
            false => response.status() == StatusCode::SERVICE_UNAVAILABLE,
        };
        if is_unavailable {
            return Err(format!("{address} is unavailable"));
        }
        let (mut parts, body) = response.into_parts();
        parts.headers = end_to_end(&parts.headers);
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    fn request(&self, parts: &Parts, address: SocketAddr, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme("http").authority(address.to_string()).path_and_query(path).build()?;
        let mut request = Request::builder().method(Method::clone(&parts.method)).uri(uri);
        request = request.version(if self.is_grpc { Version::HTTP_2 } else { Version::HTTP_11 });
        let mut request = request.body(Full::new(body))?;
        *request.headers_mut() = end_to_end(&parts.headers);
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }

    /// An address of a pod, each in its turn.
    async fn next(&self) -> io::Result<SocketAddr> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known().since.is_some_and(|since| since.elapsed() < FRESH);
        if !is_fresh || known().addresses.is_empty() {
            let mut addresses: Vec<_> = tokio::net::lookup_host(&self.target).await?.collect();
            addresses.sort();
            let mut known = known();
            known.addresses = addresses;
            known.since = Some(Instant::now());
        }
        let mut known = known();
        known.next = known.next.wrapping_add(1);
        let found = known.addresses.get(known.next % known.addresses.len().max(1)).copied();
        found.ok_or_else(|| io::Error::other("the function has no pod that is ready"))
    }
}

/// Headers without those of one connection (RFC 9110, 7.6.1).
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in
        ["connection", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length"]
    {
        headers.remove(name);
    }
    headers
}

/// An error with what lies beneath it.
fn explain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    said
}

/// Longest event. Dapr's own limit is 4 MiB, unless it is told otherwise.
const LARGEST: usize = 64 << 20;

/// The whole body of a request.
///
/// # Errors
/// A body that ends early, or is too long.
pub async fn whole(body: Body) -> Result<Bytes, String> {
    Ok(Limited::new(body, LARGEST).collect().await.map_err(|error| error.to_string())?.to_bytes())
}
