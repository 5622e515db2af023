//! Servers that answer, hang, redirect and lie.

use axum::{
    Router,
    extract::State,
    http::HeaderMap as Headers,
    response::{IntoResponse, Redirect},
    routing::get,
};
use tokio::net::TcpListener;

use super::*;

fn network(allowed: &[&str]) -> Network {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Network::new(None, allowed.iter().map(|network| network.parse().unwrap()).collect()).unwrap()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn ask(network: &Network, url: &str) -> Result<Answer, Problem> {
    let request = network.request(Method::GET, url.parse().unwrap(), true);
    network.send(request.basic_auth("user", Some("secret")).header("private-token", "secret")).await
}

/// What a server sees of credentials.
async fn shown_to(headers: Headers) -> String {
    SECRET_HEADERS.iter().filter(|name| headers.contains_key(**name)).copied().collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn a_redirection_to_another_server_carries_no_credential() {
    let other = serve(Router::new().route("/", get(shown_to))).await;
    let to = |to: String| get(move || async move { Redirect::temporary(&to) });
    let router = Router::new().route("/other", to(other)).route("/same", to("/".to_owned())).route("/", get(shown_to));
    let (first, network) = (serve(router).await, network(&["127.0.0.0/8"]));
    let seen = async |path: &str| ask(&network, &format!("{first}{path}")).await.unwrap().body;
    assert_eq!(seen("/same").await, "authorization,private-token");
    assert_eq!(seen("/other").await, "");
}

#[tokio::test]
async fn addresses_of_the_machine_and_of_metadata_are_refused_unless_allowed() {
    let server = serve(Router::new().route("/", get(|| async { "here" }))).await;
    let port = server.rsplit(':').next().unwrap().to_owned();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "2130706433",
        "169.254.169.254",
        "100.100.100.200",
        "[fe80::1]",
        "[fd00:ec2::23]",
        "[64:ff9b::a9fe:a9fe]",
    ] {
        let problem = ask(&network(&[]), &format!("http://{host}:{port}/")).await.unwrap_err();
        assert_eq!(problem.reason, NOT_ALLOWED, "{host}: {problem}");
    }
    let allowed = network(&["127.0.0.0/8"]);
    assert_eq!(ask(&allowed, &format!("http://localhost:{port}/")).await.unwrap().body, "here");
    let to = Router::new().route("/", get(|| async { Redirect::temporary("http://169.254.169.254/latest/meta-data") }));
    let problem = ask(&allowed, &serve(to).await).await.unwrap_err();
    assert_eq!(problem.reason, NOT_ALLOWED, "{problem}");
    assert_eq!(allowed.resolve("169.254.169.254", 22).await.unwrap_err().reason, NOT_ALLOWED);
    assert_eq!(ask(&allowed, "ftp://127.0.0.1/").await.unwrap_err().reason, NOT_FOUND);
}

#[tokio::test]
async fn endless_answers_and_redirections_end() {
    async fn endless(State(()): State<()>) -> impl IntoResponse {
        vec![b'x'; MAX_ANSWER + 1]
    }
    let router =
        Router::new().route("/large", get(endless)).route("/round", get(|| async { Redirect::temporary("/round") }));
    let (server, network) = (serve(router.with_state(())).await, network(&["127.0.0.0/8"]));
    for (path, expected) in [("large", "an answer of more than"), ("round", "more than 5 redirections")] {
        let problem = ask(&network, &format!("{server}/{path}")).await.unwrap_err();
        assert!(problem.message.starts_with(expected), "{problem}");
    }
}

#[tokio::test]
async fn what_a_status_means_is_told_without_any_credential() {
    async fn answer(headers: Headers, uri: http::Uri) -> impl IntoResponse {
        drop(headers);
        let (status, more) = uri.path().trim_start_matches('/').split_once('/').unwrap_or((uri.path(), ""));
        let headers: Vec<_> = more
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut response =
            StatusCode::from_u16(status.trim_start_matches('/').parse().unwrap()).unwrap().into_response();
        for (name, value) in headers {
            response
                .headers_mut()
                .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        response
    }
    let (server, network) = (serve(Router::new().fallback(answer)).await, network(&["127.0.0.0/8"]));
    let server = server.replace("http://", "http://user:secret@");
    for (path, reason, pause) in [
        ("401", UNAUTHORIZED, None),
        ("403", UNAUTHORIZED, None),
        ("403/x-ratelimit-remaining=0&x-ratelimit-reset=1", RATE_LIMITED, Some(0)),
        ("403/retry-after=7", RATE_LIMITED, Some(7)),
        ("429/retry-after=999999", RATE_LIMITED, Some(3600)),
        ("404", NOT_FOUND, None),
        ("500", UNREACHABLE, None),
        ("418", UNEXPECTED, None),
    ] {
        let problem = ask(&network, &format!("{server}/{path}")).await.unwrap().good("it").unwrap_err();
        assert_eq!((problem.reason, problem.retry_after), (reason, pause.map(Duration::from_secs)), "{path}");
        assert!(!problem.message.contains("secret"), "{problem}");
    }
    let problem = ask(&network, "http://user:secret@127.0.0.1:1/secret").await.unwrap_err();
    assert!(problem.reason == UNREACHABLE && !problem.message.contains("secret"), "{problem}");
}
