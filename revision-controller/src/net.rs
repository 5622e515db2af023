//! Requests to servers that users name.
//!
//! Nobody may make this controller ask addresses that only machines of a cloud should ask, and no credential follows a
//! redirection to another server.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use ipnet::IpNet;
use jiff::Timestamp;
use reqwest::{
    Certificate, Client, Request, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use crate::problem::{NOT_ALLOWED, NOT_FOUND, Problem, RATE_LIMITED, UNAUTHORIZED, UNEXPECTED, UNREACHABLE};

/// How long one request may take.
const LONGEST: Duration = Duration::from_secs(20);
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer.
pub const MAX_ANSWER: usize = 8 << 20;
/// Redirections that are followed.
const MAX_REDIRECTS: usize = 5;
/// How long a server may want to be left alone.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// Networks that are refused unless they are allowed: the machine itself, its link, and where clouds keep the
/// credentials of their machines.
const REFUSED: [&str; 11] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "::/128",
    "::1/128",
    "fe80::/10",
    "fd00:ec2::/32",
    "fd20:ce::254/128",
];

/// `64:ff9b::/96`
const NAT64: [u8; 12] = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];

/// Headers that no other server gets.
const SECRET_HEADERS: [&str; 4] = ["authorization", "private-token", "job-token", "cookie"];

/// What asks servers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Network {
    guard: Arc<Guard>,
    verified: Client,
    unverified: Client,
}

/// Which addresses may be asked.
#[derive(Debug)]
struct Guard {
    refused: Vec<IpNet>,
    allowed: Vec<IpNet>,
}

/// An answer that was read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Where it came from in the end.
    pub url: Url,
}

impl Network {
    /// Trusts the authorities of a file besides the usual ones, and asks addresses of some networks that are refused
    /// otherwise.
    ///
    /// # Errors
    /// A file that holds no certificates.
    pub fn new(trusted: Option<&Path>, allowed: Vec<IpNet>) -> anyhow::Result<Self> {
        let refused = REFUSED.iter().filter_map(|network| network.parse().ok()).collect();
        let guard = Arc::new(Guard { refused, allowed });
        let authorities = match trusted {
            None => Vec::new(),
            Some(file) => {
                let what = || format!("the certificates of {}", file.display());
                Certificate::from_pem_bundle(&std::fs::read(file).with_context(what)?).with_context(what)?
            }
        };
        let client = |is_verified: bool| {
            let mut builder = Client::builder()
                .user_agent(concat!("openfunction-revision-controller/", env!("CARGO_PKG_VERSION")))
                .timeout(LONGEST)
                .connect_timeout(CONNECT)
                .redirect(redirect::Policy::none())
                .dns_resolver(Guarded(guard.clone()))
                // Looks are far apart: a connection would only be held open, and many servers end one that is idle for 5 s,
                // perhaps while the next request is on its way.
                .pool_max_idle_per_host(1)
                .pool_idle_timeout(Duration::from_secs(2))
                .tls_danger_accept_invalid_certs(!is_verified);
            for authority in &authorities {
                builder = builder.add_root_certificate(authority.clone());
            }
            builder.build()
        };
        Ok(Self { verified: client(true)?, unverified: client(false)?, guard })
    }

    /// Begins a request; `is_verified` says whether the certificate of the server counts.
    pub fn request(&self, method: Method, url: Url, is_verified: bool) -> reqwest::RequestBuilder {
        if is_verified { self.verified.request(method, url) } else { self.unverified.request(method, url) }
    }

    /// Sends a request and reads the answer, whatever its status. Redirections are followed, without credentials if
    /// they lead to another server, and never from HTTPS to HTTP.
    ///
    /// # Errors
    /// A server that does not answer, or an address that may not be asked.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, Problem> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| Problem::unexpected(told(&error)))?;
        for _ in 0..=MAX_REDIRECTS {
            self.guard.check_url(request.url())?;
            let again = request.try_clone();
            let response = client.execute(request).await.map_err(|error| unreachable(&error))?;
            let Some((to, again)) = redirection(&response)?.zip(again) else { return answer(response).await };
            request = redirected(again, to);
        }
        Err(Problem::unexpected(format!("more than {MAX_REDIRECTS} redirections")))
    }

    /// An address of a host that may be asked.
    ///
    /// # Errors
    /// None, or none that may be.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<IpAddr, Problem> {
        let unreachable = |why: String| Problem::new(UNREACHABLE, format!("host {host} is not found: {why}"));
        let found = tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
        let found = found.map_err(|_| unreachable("no answer in time".to_owned()))?;
        let found: Vec<_> = found.map_err(|error| unreachable(error.to_string()))?.collect();
        let address = found.iter().map(|found| found.ip()).find(|address| self.guard.allows(*address));
        address.ok_or_else(|| not_allowed(host))
    }
}

impl Guard {
    fn allows(&self, address: IpAddr) -> bool {
        let address = match address.to_canonical() {
            // What a NAT64 leads to (RFC 6052).
            IpAddr::V6(address) if address.octets().starts_with(&NAT64) => {
                let octets = address.octets();
                IpAddr::from([octets[12], octets[13], octets[14], octets[15]])
            }
            address => address,
        };
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.refused) || is_in(&self.allowed)
    }

    /// An address in a URL is looked up by nobody.
    fn check_url(&self, url: &Url) -> Result<(), Problem> {
        let host = url.host_str().unwrap_or_default();
        if !["http", "https"].contains(&url.scheme()) || host.is_empty() {
            return Err(Problem::new(NOT_FOUND, format!("{} is no address of a server", shown(url))));
        }
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(not_allowed(host)),
            _ => Ok(()),
        }
    }
}

fn not_allowed(host: &str) -> Problem {
    let message = format!(
        "{host} leads to an address of the machine itself, of its link, or of a cloud's metadata; the installation can allow it (allowedNetworks)"
    );
    Problem::new(NOT_ALLOWED, message)
}

/// Looks hosts up, and passes over addresses that may not be asked.
struct Guarded(Arc<Guard>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| guard.allows(address.ip()));
            if good.is_empty() && !bad.is_empty() {
                return Err(Box::new(NotAllowed(name.as_str().to_owned())) as _);
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0} may not be asked")]
struct NotAllowed(String);

fn unreachable(error: &reqwest::Error) -> Problem {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(NotAllowed(host)) = error.downcast_ref() {
            return not_allowed(host);
        }
        next = error.source();
    }
    Problem::new(UNREACHABLE, told(error))
}

/// What an error says, without the URL, which may hold a credential.
fn told(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let host = error.url().and_then(Url::host_str).unwrap_or("the server");
    if error.is_timeout() {
        return format!("{host} does not answer within {}s", LONGEST.as_secs());
    }
    if std::ptr::eq(innermost, error as &dyn std::error::Error) {
        return format!("{host} cannot be asked");
    }
    format!("{host} cannot be asked: {innermost}")
}

/// A URL without credentials and parameters.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

fn redirection(response: &Response) -> Result<Option<Url>, Problem> {
    let status = response.status();
    if ![301, 302, 303, 307, 308].contains(&status.as_u16()) {
        return Ok(None);
    }
    let location = response.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| response.url().join(location).ok());
    let to = to.ok_or_else(|| Problem::unexpected(format!("{status} without a location")))?;
    if response.url().scheme() == "https" && to.scheme() != "https" {
        return Err(Problem::new(NOT_ALLOWED, format!("{} leads to plain HTTP", shown(response.url()))));
    }
    Ok(Some(to))
}

/// Whether what may be shown to one address may be shown to another: it is the same server, or that by HTTPS.
pub fn is_same_server(from: &Url, to: &Url) -> bool {
    let is_upgrade = from.host_str() == to.host_str() && from.scheme() == "http" && to.scheme() == "https";
    from.origin() == to.origin() || is_upgrade
}

fn redirected(mut request: Request, to: Url) -> Request {
    if !is_same_server(request.url(), &to) {
        SECRET_HEADERS.iter().for_each(|name| drop(request.headers_mut().remove(*name)));
    }
    *request.url_mut() = to;
    request
}

async fn answer(mut response: Response) -> Result<Answer, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Problem::unexpected(format!("an answer of more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        url: response.url().clone(),
        body: body.into(),
    })
}

impl Answer {
    /// The answer, if it is a good one.
    ///
    /// # Errors
    /// What its status means; `what` is what was asked for.
    pub fn good(self, what: &str) -> Result<Self, Problem> {
        let status = self.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(self);
        }
        let host = self.url.host_str().unwrap_or_default();
        let is_exhausted = self.header("x-ratelimit-remaining") == Some("0") || self.header("retry-after").is_some();
        let problem = match status.as_u16() {
            429 => Problem::new(RATE_LIMITED, format!("{host} limits requests")),
            403 if is_exhausted => Problem::new(RATE_LIMITED, format!("{host} limits requests")),
            401 | 403 => Problem::new(UNAUTHORIZED, format!("{host} refuses to show {what}: {status}")),
            404 | 410 => Problem::new(NOT_FOUND, format!("{host} does not know {what}, or does not show it: {status}")),
            500.. => Problem::new(UNREACHABLE, format!("{host} fails: {status}")),
            _ => Problem::new(UNEXPECTED, format!("{host} answers {status} to {what}")),
        };
        Err(Problem { retry_after: self.pause(), ..problem })
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the server wants to be left alone (RFC 9110 §10.2.3, and the headers of GitHub and GitLab).
    fn pause(&self) -> Option<Duration> {
        let seconds = |name: &str| self.header(name)?.parse::<u64>().ok();
        let until = |reset: u64| {
            let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
            reset.saturating_sub(now)
        };
        let is_exhausted = self.header("x-ratelimit-remaining") == Some("0");
        let reset = seconds("x-ratelimit-reset").or_else(|| seconds("ratelimit-reset")).filter(|_| is_exhausted);
        let pause = seconds("retry-after").or_else(|| reset.map(until))?;
        Some(Duration::from_secs(pause).min(MAX_PAUSE))
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
