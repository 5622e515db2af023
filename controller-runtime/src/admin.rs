//! The port for probes, metrics and the log filter.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, readiness::Readiness, telemetry::Telemetry};

#[derive(Clone)]
struct Admin {
    metrics: Metrics,
    readiness: Readiness,
    telemetry: Option<Telemetry>,
}

/// The routes `/metrics`, `/live`, `/ready` and `/log-filter`.
///
/// `/log-filter` shows what is logged; a PUT from the machine itself (`kubectl port-forward` is) changes it until the
/// next start.
pub fn router(metrics: Metrics, readiness: Readiness, telemetry: Option<Telemetry>) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/live", get(|| async { "live" }))
        .route("/ready", get(ready))
        .route("/log-filter", get(filter).put(set_filter))
        .with_state(Admin { metrics, readiness, telemetry })
}

/// Serves [`router`] until `stop`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn scrape(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], admin.metrics.text())
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.readiness.awaited().as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        awaited => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}\n", awaited.join(", "))),
    }
}

async fn filter(State(admin): State<Admin>) -> String {
    admin.telemetry.map(|telemetry| telemetry.filter() + "\n").unwrap_or_default()
}

async fn set_filter(
    State(admin): State<Admin>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: String,
) -> (StatusCode, String) {
    if !peer.ip().to_canonical().is_loopback() {
        return (
            StatusCode::FORBIDDEN,
            "the log filter can only be changed from the machine itself: use kubectl port-forward\n".to_owned(),
        );
    }
    match admin.telemetry.map(|telemetry| telemetry.set_filter(body.trim())) {
        Some(Ok(())) => (StatusCode::OK, String::new()),
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::connect_info::MockConnectInfo};
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn get(router: Router, path: &str) -> (StatusCode, String) {
        let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_says_what_it_waits_for() {
        let readiness = Readiness::default();
        let gate = readiness.gate("watch of functions");
        let router = router(Metrics::new("test").unwrap(), readiness, None);
        assert_eq!(get(router.clone(), "/live").await, (StatusCode::OK, "live".to_owned()));
        assert_eq!(
            get(router.clone(), "/ready").await,
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for watch of functions\n".to_owned())
        );
        gate.open();
        assert_eq!(get(router.clone(), "/ready").await.0, StatusCode::OK);
        assert!(get(router, "/metrics").await.1.contains("openfunction_test_leader"));
    }

    async fn set_filter_from(peer: &str, filter: &str) -> StatusCode {
        let args = <crate::args::Args as clap::Parser>::parse_from(["test"]).telemetry;
        let (_subscriber, telemetry) = Telemetry::build("test", &args).unwrap();
        let router = router(Metrics::new("test").unwrap(), Readiness::default(), Some(telemetry));
        let peer: SocketAddr = peer.parse().unwrap();
        let request = Request::put("/log-filter").body(Body::from(filter.to_owned())).unwrap();
        router.layer(MockConnectInfo(peer)).oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn only_the_machine_itself_may_change_the_log_filter() {
        assert_eq!(set_filter_from("10.1.2.3:4", "debug").await, StatusCode::FORBIDDEN);
        assert_eq!(set_filter_from("127.0.0.1:4", "kube=loud").await, StatusCode::BAD_REQUEST);
        assert_eq!(set_filter_from("[::1]:4", "debug").await, StatusCode::OK);
    }
}
