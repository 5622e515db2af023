//! Webhooks as forges and registries send them, and as others would like to.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kube::runtime::reflector::ObjectRef;
use ring::hmac;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::{credentials::Credential, looks::Want, net::Network, registry};

const SECRET: &str = "a secret of webhooks";

/// A receiver whose controller looks at one repository of each kind; nothing answers there.
fn receiver() -> (Router, tempfile::NamedTempFile) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = Looked::new(&prometheus::Registry::new()).unwrap();
    let looks = Arc::new(Looks::new(Network::new(None, Vec::new()).unwrap(), metrics.clone()));
    drop(looks.begin(CancellationToken::new()));
    let commit = || Want::Commit { revision: String::new(), folder: None };
    let http = Place::Http("http://127.0.0.1/acme/a.git".parse().unwrap());
    let image = registry::Place::of("ghcr.io/acme/a", false).unwrap().0;
    let hub = registry::Place::of("acme/a", false).unwrap().0;
    let ssh = crate::git::ssh::Place::parse("git@127.0.0.1:acme/ssh.git").unwrap();
    for (name, place) in [("a", http), ("b", Place::Images(image)), ("c", Place::Images(hub)), ("d", Place::Ssh(ssh))] {
        looks.follow(&ObjectRef::new(name), place, Credential::None, commit(), Duration::from_secs(3600));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    (Receiver::new(file.path(), looks, metrics).unwrap().router(), file)
}

async fn send(router: &Router, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).trim().to_owned())
}

fn signed(body: &[u8]) -> String {
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), body);
    format!("sha256={}", signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

const WOKEN: (u16, &str) = (202, "1 looked at now");

fn is(answer: &(u16, String), expected: (u16, &str)) {
    assert_eq!((answer.0, answer.1.as_str()), expected);
}

#[tokio::test]
async fn rv20_every_sender_has_its_repository_looked_at() {
    let (router, _secret) = receiver();
    let push = bytes(&json!({"ref": "refs/heads/main", "repository": {"clone_url": "https://127.0.0.1/Acme/a.git"}}));
    let github = [("x-github-event", "push"), ("x-github-delivery", "1"), ("x-hub-signature-256", &signed(&push))];
    is(&send(&router, "/github", &github, push).await, WOKEN);
    let package = bytes(&json!({"action": "published", "registry_package": {"name": "a", "owner": {"login": "Acme"}}}));
    let github = [("x-github-event", "registry_package"), ("x-hub-signature-256", &signed(&package))];
    is(&send(&router, "/github", &github, package).await, WOKEN);
    let push =
        bytes(&json!({"object_kind": "push", "project": {"id": 7, "git_http_url": "http://127.0.0.1/acme/a.git"}}));
    is(&send(&router, "/gitlab", &[("x-gitlab-token", SECRET)], push).await, WOKEN);
    let push =
        || bytes(&json!({"hook_name": "push_hooks", "repository": {"git_http_url": "https://127.0.0.1/acme/a.git"}}));
    is(&send(&router, "/gitee", &[("x-gitee-token", SECRET)], push()).await, WOKEN);
    let now = Timestamp::now().as_millisecond().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, format!("{now}\n{SECRET}").as_bytes()));
    is(&send(&router, "/gitee", &[("x-gitee-timestamp", &now), ("x-gitee-token", &signature)], push()).await, WOKEN);
    let pushed = bytes(&json!({"push_data": {"tag": "v1", "pushed_at": 1}, "repository": {"repo_name": "acme/a"}}));
    let path = format!("/dockerhub/{}", SECRET.replace(' ', "%20"));
    is(&send(&router, &path, &[], pushed).await, WOKEN);
    let pushed =
        bytes(&json!({"type": "PUSH_ARTIFACT", "event_data": {"resources": [{"resource_url": "ghcr.io/acme/a:v1"}]}}));
    is(&send(&router, "/harbor", &[("authorization", SECRET)], pushed).await, WOKEN);
    let bearer = format!("Bearer {SECRET}");
    let pushed = bytes(
        &json!({"events": [{"action": "pull"}, {"action": "push", "target": {"repository": "acme/a", "tag": "v1"}, "request": {"host": "ghcr.io"}}]}),
    );
    is(&send(&router, "/distribution", &[("authorization", &bearer)], pushed).await, WOKEN);
    let pushed = bytes(&json!({"git": "git@127.0.0.1:acme/ssh.git", "n": 1}));
    is(&send(&router, "/generic", &[("authorization", &bearer)], pushed).await, WOKEN);
    let pushed = bytes(&json!({"image": "acme/a:v2"}));
    is(&send(&router, "/generic", &[("x-hub-signature-256", &signed(&pushed))], pushed).await, WOKEN);
    let pushed = bytes(&json!({"git": "https://127.0.0.1/somebody/else"}));
    is(&send(&router, "/generic", &[("authorization", &bearer)], pushed).await, (202, "no function follows it"));
    let ping = bytes(&json!({"zen": "Keep it simple."}));
    let github = [("x-github-event", "ping"), ("x-hub-signature-256", &signed(&ping))];
    is(&send(&router, "/github", &github, ping).await, (202, "no function follows it"));
}

#[tokio::test]
async fn what_is_forged_replayed_oversized_or_malformed_is_refused() {
    let (router, _secret) = receiver();
    let push = || bytes(&json!({"repository": {"clone_url": "https://127.0.0.1/acme/a.git"}}));
    let refused = (401, "it does not show the secret");
    for (path, headers) in [
        ("/github", vec![]),
        ("/github", vec![("x-hub-signature-256", "sha256=00")]),
        ("/github", vec![("x-hub-signature-256", "sha256=\u{e4}\u{e4}")]),
        ("/github", vec![("x-hub-signature", "sha1=whatever")]),
        ("/gitlab", vec![("x-gitlab-token", "a secret of webhook")]),
        ("/gitlab", vec![("x-gitlab-token", "")]),
        ("/gitee", vec![("x-gitee-timestamp", "1"), ("x-gitee-token", "AAAA")]),
        ("/gitee", vec![("x-gitee-timestamp", "-9223372036854775808"), ("x-gitee-token", "AAAA")]),
        ("/dockerhub", vec![]),
        ("/dockerhub/guess", vec![]),
        ("/harbor", vec![("authorization", "Bearer")]),
        ("/distribution", vec![]),
        ("/generic", vec![("authorization", "Basic abc")]),
    ] {
        is(&send(&router, path, &headers, push()).await, refused);
    }
    let old = (Timestamp::now().as_millisecond() - 600_000).to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = STANDARD.encode(hmac::sign(&key, format!("{old}\n{SECRET}").as_bytes()));
    is(&send(&router, "/gitee", &[("x-gitee-timestamp", &old), ("x-gitee-token", &signature)], push()).await, refused);
    let signature = signed(&push());
    let github = [("x-github-event", "push"), ("x-github-delivery", "1"), ("x-hub-signature-256", signature.as_str())];
    is(&send(&router, "/github", &github, push()).await, WOKEN);
    let again = [("x-github-event", "push"), ("x-github-delivery", "2"), ("x-hub-signature-256", signature.as_str())];
    is(&send(&router, "/github", &again, push()).await, (409, "it was received before"));
    for body in
        [&b"{"[..], b"[]", b"", b"{}", br#"{"repository": {"clone_url": 1}}"#, br#"{"repository": {"clone_url": "x"}}"#]
    {
        let github = [("x-github-event", "push"), ("x-hub-signature-256", &*signed(body))];
        is(&send(&router, "/github", &github, body.to_vec()).await, (400, "it cannot be read"));
    }
    let large = vec![b' '; MAX_BODY + 1];
    assert_eq!(send(&router, "/github", &[], large).await.0, 413);
    let unknown = send(&router, "/svn", &[], push()).await;
    assert!(unknown.0 == 404 && unknown.1.contains("github, gitlab, gitee"), "{unknown:?}");
}

#[test]
fn a_secret_that_can_be_guessed_is_refused() {
    let metrics = Looked::new(&prometheus::Registry::new()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "short\n").unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let looks = Arc::new(Looks::new(Network::new(None, Vec::new()).unwrap(), metrics.clone()));
    assert!(Receiver::new(file.path(), looks, metrics).is_err());
}
