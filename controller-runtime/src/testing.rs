//! A fake API server for tests of one reconcile: it fails on one call more and on one call less.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use http::{Method, Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// One expected call and its answer.
#[derive(Clone, Debug)]
struct Call {
    method: Method,
    path: String,
    status: u16,
    answer: Value,
}

/// What a caller sent.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path with its query, for example `PATCH /api/v1/namespaces/a/services/b?force=true`.
    pub line: String,
    /// The body, `Null` if there was none.
    pub body: Value,
}

/// A fake API server that answers a list of expected calls, in order.
#[derive(Clone, Default)]
pub struct FakeApi {
    expected: Arc<Mutex<VecDeque<Call>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl FakeApi {
    /// Expects no call at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects a call. `path` is compared without the query.
    #[must_use]
    pub fn expect(self, method: Method, path: &str, answer: Value) -> Self {
        self.push(Call { method, path: path.to_owned(), status: 200, answer })
    }

    /// Expects a call that is answered with an error, for example 404 and `NotFound`.
    #[must_use]
    pub fn expect_failure(self, method: Method, path: &str, code: u16, reason: &str) -> Self {
        let answer = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code});
        self.push(Call { method, path: path.to_owned(), status: code, answer })
    }

    fn push(self, call: Call) -> Self {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).push_back(call);
        self
    }

    /// A client of this server.
    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request| server.clone().answer(request)), "default")
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, tower::BoxError> {
        let (parts, body) = request.into_parts();
        let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or(Value::Null);
        let line = format!("{} {}", parts.method, parts.uri);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { line: line.clone(), body });
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match expected {
            Some(call) if call.method == parts.method && call.path == parts.uri.path() => {
                Ok(Response::builder().status(call.status).body(Body::from(call.answer.to_string().into_bytes()))?)
            }
            Some(call) => Err(format!("{line} instead of {} {}", call.method, call.path).into()),
            None => Err(format!("one call more than expected: {line}").into()),
        }
    }

    /// The calls that were made.
    ///
    /// # Panics
    /// If one was expected and not made, or the other way round.
    pub fn finish(self) -> Vec<Seen> {
        let left = self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(left.is_empty(), "expected calls that were not made: {left:?}");
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
