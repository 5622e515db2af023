//! Webhooks of forges and registries: whoever tells of a push has the repository looked at now.
//!
//! Nothing of a webhook is believed but that: what was pushed is found out by looking. So the worst that a forged one
//! could do is a look, and even for that it needs the secret.

mod senders;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::{
    Router,
    body::to_bytes,
    extract::{Path as Segments, Request, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use tower::limit::GlobalConcurrencyLimitLayer;
use tracing::info;

use self::senders::{Sender, Told};
use crate::{
    forge::path_of,
    looks::{Looks, Place},
    metrics::Looked,
};

/// Largest webhook. Forges send what a push has changed, nearly always less than 1 MiB.
const MAX_BODY: usize = 2 << 20;
/// Webhooks at one time; more wait. A port that the Internet can reach must not fill the memory.
const AT_ONCE: usize = 16;
/// How long one may take to come.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a webhook is remembered, so that nobody can send it again.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Webhooks that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Shortest secret.
const MIN_SECRET: usize = 16;

/// What receives webhooks.
pub struct Receiver {
    /// The file with the secret, which may become another one.
    secret: PathBuf,
    looks: Arc<Looks>,
    metrics: Looked,
    seen: Mutex<HashMap<Vec<u8>, Instant>>,
}

impl Receiver {
    /// Receives webhooks that show the secret of a file.
    ///
    /// # Errors
    /// A file that cannot be read, or holds a secret that can be guessed.
    pub fn new(file: &Path, looks: Arc<Looks>, metrics: Looked) -> anyhow::Result<Self> {
        read(file)?;
        Ok(Self { secret: file.to_owned(), looks, metrics, seen: Mutex::default() })
    }

    /// The HTTP routes: one for each sender, and for those that sign nothing one with the secret in its path.
    pub fn router(self) -> Router {
        Router::new()
            .route("/{sender}", post(receive))
            .route("/{sender}/{token}", post(receive_with_token))
            .layer(GlobalConcurrencyLimitLayer::new(AT_ONCE))
            .with_state(Arc::new(self))
    }

    async fn receive(&self, sender: &str, token: Option<&str>, request: Request) -> (StatusCode, String) {
        let (head, body) = request.into_parts();
        match tokio::time::timeout(LONGEST, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => self.answer(sender, token, &head.headers, &body),
            Ok(Err(_)) => (StatusCode::PAYLOAD_TOO_LARGE, format!("at most {MAX_BODY} bytes\n")),
            Err(_) => (StatusCode::REQUEST_TIMEOUT, format!("at most {}s\n", LONGEST.as_secs())),
        }
    }

    fn answer(&self, sender: &str, token: Option<&str>, headers: &HeaderMap, body: &Bytes) -> (StatusCode, String) {
        let Some(known) = Sender::named(sender) else {
            return (StatusCode::NOT_FOUND, format!("no such sender; there are {}", Sender::NAMES.join(", ")));
        };
        let (status, result, said) = match self.judge(known, token, headers, body) {
            Err((status, why)) => (status, "refused", why.to_owned()),
            Ok(0) => (StatusCode::ACCEPTED, "unknown", "no function follows it".to_owned()),
            Ok(woken) => (StatusCode::ACCEPTED, "woken", format!("{woken} looked at now")),
        };
        info!(sender, result, "webhook: {said}");
        self.metrics.webhook(sender, result);
        (status, said + "\n")
    }

    fn judge(
        &self,
        sender: Sender,
        token: Option<&str>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<usize, (StatusCode, &'static str)> {
        let secret =
            read(&self.secret).map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "there is no secret to compare with"))?;
        if !sender.is_genuine(&secret, token, headers, body, Timestamp::now()) {
            return Err((StatusCode::UNAUTHORIZED, "it does not show the secret"));
        }
        let told = sender.told(headers, body).ok_or((StatusCode::BAD_REQUEST, "it cannot be read"))?;
        if !self.looks.is_active() {
            // Another replica looks.
            return Err((StatusCode::SERVICE_UNAVAILABLE, "this replica does not lead; send it again"));
        }
        if sender.identity(headers, body).is_some_and(|identity| !self.is_new(identity)) {
            return Err((StatusCode::CONFLICT, "it was received before"));
        }
        Ok(told.iter().map(|told| self.looks.wake(|place| is_meant(place, told))).sum())
    }

    fn is_new(&self, identity: Vec<u8>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_REMEMBERED {
            seen.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        if seen.len() >= MAX_REMEMBERED {
            seen.clear();
        }
        let identity = digest(&SHA256, &identity).as_ref().to_vec();
        seen.insert(identity, Instant::now()).is_none_or(|at| at.elapsed() >= REMEMBERED)
    }
}

/// The secret of a file.
fn read(file: &Path) -> anyhow::Result<String> {
    let what = || format!("the secret of webhooks, {}", file.display());
    let secret = std::fs::read_to_string(file).with_context(what)?.trim().to_owned();
    ensure!(secret.len() >= MIN_SECRET, "{}, must have at least {MIN_SECRET} characters", what());
    Ok(secret)
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    Segments(sender): Segments<String>,
    request: Request,
) -> (StatusCode, String) {
    receiver.receive(&sender, None, request).await
}

async fn receive_with_token(
    State(receiver): State<Arc<Receiver>>,
    Segments((sender, token)): Segments<(String, String)>,
    request: Request,
) -> (StatusCode, String) {
    receiver.receive(&sender, Some(&token), request).await
}

/// Whether a push concerns a place, however its URL is written.
fn is_meant(place: &Place, told: &Told) -> bool {
    let same = |a: &str, b: &str| a.trim_matches('/').eq_ignore_ascii_case(b.trim_matches('/'));
    let is_host = |host: &str, of: &str| of.is_empty() || host.eq_ignore_ascii_case(of);
    match (place, told) {
        (Place::Http(url), Told::Source { host, path }) => {
            let own = path_of(url.as_str()).unwrap_or_default();
            is_host(url.host_str().unwrap_or_default(), host) && same(&own, path)
        }
        (Place::Ssh(place), Told::Source { host, path }) => {
            let own = place.path.strip_suffix(".git").unwrap_or(&place.path);
            is_host(&place.host, host) && same(own, path)
        }
        // Its API may be elsewhere; a project of GitLab may be a number.
        (Place::Forge(place), Told::Source { path, .. }) => same(&place.project, path),
        (Place::Forge(place), Told::Project(id)) => place.project == *id,
        (Place::Images(place), Told::Image { registry, repository }) => {
            let is_registry = |of: &str| is_host(&place.registry, of) || is_host(&place.host, of);
            is_registry(registry) && same(&place.repository, repository)
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
