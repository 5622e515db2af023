//! Looks at servers that answer as public documents say, and at a real git.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::*;
use crate::{
    forge::{Kind, TokenHeader},
    problem::UNREACHABLE,
};

#[test]
fn r04_r14_looks_are_apart_and_further_apart_while_a_server_fails() {
    let interval = Duration::from_secs(60);
    for _ in 0..100 {
        let usual = pause(interval, 0, None);
        assert!(usual <= interval && usual >= Duration::from_secs(54), "{usual:?}");
        let short = pause(Duration::from_secs(2), 1, None);
        assert!(short <= Duration::from_secs(4) && short >= Duration::from_millis(3600), "{short:?}");
    }
    let day = Duration::from_secs(86_400);
    for interval in [interval, day] {
        let seconds = [1, 2, 3].map(|failures| pause(interval, failures, None).as_secs());
        assert_eq!(seconds, [30, 60, 120], "what failed once is not waited for as long as the interval");
    }
    assert_eq!(pause(interval, 40, None), MAX_PAUSE);
    assert_eq!(pause(interval, 0, Some(Duration::from_secs(600))), Duration::from_secs(600));
    assert_eq!(pause(Duration::ZERO, 0, None), PAUSE);
    assert!(pause(day, 40, None) <= day, "a server that fails is not asked less often than that");
}

async fn serve(router: impl FnOnce(&str) -> Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = router(&address);
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn looks() -> Arc<Looks> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let network = Network::new(None, vec!["127.0.0.0/8".parse().unwrap()]).unwrap();
    Arc::new(Looks::new(network, Looked::new(&prometheus::Registry::new()).unwrap()))
}

const INTERVAL: Duration = Duration::from_secs(3600);

/// What a look finds that nobody has made before.
async fn look(looks: &Arc<Looks>, place: Place, credential: Credential, want: Want) -> Answer {
    let mut changed = looks.begin(CancellationToken::new());
    let follower = ObjectRef::new("f");
    let ask = || looks.follow(&follower, place.clone(), credential.clone(), want.clone(), INTERVAL);
    assert_eq!(ask(), None);
    assert_eq!(changed.next().await.as_ref(), Some(&follower));
    ask().unwrap()
}

fn commit(revision: &str) -> Want {
    Want::Commit { revision: revision.to_owned(), folder: None }
}

fn found(id: &str, tag: Option<&str>) -> Answer {
    Ok(Found { id: id.to_owned(), tag: tag.map(str::to_owned), refused: None })
}

fn password(password: &str) -> Credential {
    Credential::Password { user: None, password: password.to_owned() }
}

/// <https://docs.gitlab.com/api/commits> and <https://gitee.com/api/v5/swagger>
#[tokio::test]
async fn rv10_rv14_the_forges_are_understood_also_when_they_refuse() {
    async fn gitlab(uri: http::Uri, headers: HeaderMap) -> Response {
        assert!(uri.path().starts_with("/api/v4/projects/group%2Fa/repository/commits"), "{uri}");
        match headers.get("private-token").map(|token| token.to_str().unwrap()) {
            Some("good") => Json(json!([{"id": "a".repeat(40), "short_id": "aaaaaaaa", "title": "t"}])).into_response(),
            Some("empty") => Json(json!([])).into_response(),
            Some("odd") => Json(json!({"message": "202"})).into_response(),
            Some("html") => "<html>".into_response(),
            Some("limited") => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")]).into_response(),
            Some("broken") => StatusCode::BAD_GATEWAY.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
    let address = serve(|_| Router::new().fallback(gitlab)).await;
    let base = format!("http://{address}");
    let place = forge::Place::new(Kind::GitLab(TokenHeader::Private), "x", Some(&base), Some("group/a")).unwrap();
    let of = async |token: &str| look(&looks(), Place::Forge(place.clone()), password(token), commit("main")).await;
    assert_eq!(of("good").await, found(&"a".repeat(40), None));
    for (token, reason) in [
        ("empty", NOT_FOUND),
        ("odd", "UnexpectedAnswer"),
        ("html", "UnexpectedAnswer"),
        ("limited", "RateLimited"),
        ("broken", UNREACHABLE),
        ("bad", NOT_FOUND),
    ] {
        let problem = of(token).await.unwrap_err();
        assert_eq!(problem.reason, reason, "{token}: {problem}");
        assert!(!problem.message.contains(token), "{problem}");
    }
    async fn gitee(Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Response {
        assert_eq!((query["sha"].as_str(), query["path"].as_str()), ("main", "fn/a"));
        assert_eq!(headers["authorization"], "Bearer good");
        Json(json!([{"sha": "b".repeat(40), "url": "https://gitee.com"}])).into_response()
    }
    let address = serve(|_| Router::new().route("/api/v5/repos/acme/a/commits", get(gitee))).await;
    let base = format!("http://{address}");
    let place = forge::Place::new(Kind::Gitee, "https://gitee.com/acme/a.git", Some(&base), None).unwrap();
    let want = Want::Commit { revision: "main".to_owned(), folder: Some("fn/a".to_owned()) };
    assert_eq!(look(&looks(), Place::Forge(place), password("good"), want).await, found(&"b".repeat(40), None));
}

/// A registry with the tags `old` and `new`, in two pages, that wants a token
/// (<https://distribution.github.io/distribution/spec/auth/token/>).
fn registry(address: &str) -> Router {
    let own = address.to_owned();
    let challenge = format!(r#"Bearer realm="http://{own}/token",service="reg",scope="repository:a/b:pull""#);
    let manifest = |made: &str| json!({"config": {"digest": format!("sha256:{}", made.repeat(64))}}).to_string();
    let answer = move |Path(path): Path<String>, request: Request| {
        let challenge = challenge.clone();
        async move {
            if request.headers().get("authorization").is_none_or(|token| token != "Bearer t") {
                return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
            }
            let digest = |text: &str| [("docker-content-digest", registry::sha256(text.as_bytes()))];
            match (path.as_str(), request.uri().query().unwrap_or_default()) {
                ("tags/list", query) if query.contains("last=old") => {
                    Json(json!({"tags": ["new", "sha256-1.sig"]})).into_response()
                }
                ("tags/list", _) => {
                    let link = r#"</v2/a/b/tags/list?n=1000&last=old>; rel="next""#;
                    ([("link", link)], Json(json!({"tags": ["old"]}))).into_response()
                }
                ("manifests/old", _) => (digest(&manifest("1")), manifest("1")).into_response(),
                ("manifests/new", _) => (digest(&manifest("2")), manifest("2")).into_response(),
                // As some registries do, it says nothing of the digest.
                ("manifests/silent", _) => manifest("2").into_response(),
                (path, _) if path == format!("manifests/{}", registry::sha256(manifest("1").as_bytes())) => {
                    manifest("1").into_response()
                }
                (path, _) if path == format!("manifests/{}", registry::sha256(manifest("2").as_bytes())) => {
                    manifest("2").into_response()
                }
                (path, _) if path.starts_with("blobs/sha256:1") => {
                    r#"{"created": "2026-01-01T00:00:00Z"}"#.into_response()
                }
                (path, _) if path.starts_with("blobs/sha256:2") => {
                    r#"{"created": "2026-02-01T00:00:00Z"}"#.into_response()
                }
                _ => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let token = |Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap| async move {
        assert_eq!((query["service"].as_str(), query["scope"].as_str()), ("reg", "repository:a/b:pull"));
        match headers.get("authorization").map(|basic| basic.to_str().unwrap()) {
            Some("Basic dTpw") => Json(json!({"token": "t", "expires_in": 300})).into_response(),
            _ => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    Router::new().route("/v2/a/b/{*path}", get(answer)).route("/token", get(token))
}

#[tokio::test]
async fn rv17_rv21_a_registry_gives_a_token_pages_of_tags_and_the_times_of_images() {
    let address = serve(registry).await;
    let of = |image: &str| registry::Place::of(&format!("{address}/{image}"), true).unwrap();
    let credential = |pair: &str| {
        let config = json!({"auths": {&address: {"username": pair, "password": "p"}}});
        Credential::Docker(config.to_string())
    };
    let tag = |tag: &str| Want::Tag { tag: tag.to_owned(), key: None };
    let newest = |made: &str| {
        registry::sha256(json!({"config": {"digest": format!("sha256:{}", made.repeat(64))}}).to_string().as_bytes())
    };
    let ask = async |want: Want| look(&looks(), Place::Images(of("a/b").0), credential("u"), want).await;
    assert_eq!(ask(tag("old")).await, found(&newest("1"), None));
    assert_eq!(ask(tag("silent")).await, found(&newest("2"), None));
    assert_eq!(ask(tag("gone")).await.unwrap_err().reason, NOT_FOUND);
    let policy = |order: &str| {
        let policy = TagPolicy { order: Some(order.to_owned()), ..TagPolicy::default() };
        Want::Policy { policy, key: None }
    };
    assert_eq!(ask(policy("Newest")).await, found(&newest("2"), Some("new")));
    assert_eq!(ask(policy("Alphabetical")).await, found(&newest("1"), Some("old")));
    let refused = look(&looks(), Place::Images(of("a/b").0), credential("nobody"), tag("old")).await.unwrap_err();
    assert_eq!(refused.reason, "Unauthorized", "{refused}");
    let refused = look(&looks(), Place::Images(of("a/b").0), Credential::None, tag("old")).await.unwrap_err();
    assert_eq!(refused.reason, "Unauthorized", "{refused}");
}

/// git's own server behind HTTP.
async fn git_server(folder: std::path::PathBuf, asked: Arc<Mutex<Vec<String>>>) -> String {
    let answer = move |request: Request| {
        let (folder, asked) = (folder.clone(), asked.clone());
        async move {
            let (head, body) = request.into_parts();
            asked.lock().unwrap().push(format!("{} {}", head.method, head.uri.path()));
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            let mut git = tokio::process::Command::new("git");
            git.arg("http-backend").env("GIT_PROJECT_ROOT", &folder).env("GIT_HTTP_EXPORT_ALL", "1");
            git.env("PATH_INFO", head.uri.path()).env("QUERY_STRING", head.uri.query().unwrap_or_default());
            git.env("REQUEST_METHOD", head.method.as_str()).env("CONTENT_TYPE", header("content-type"));
            git.env("CONTENT_LENGTH", body.len().to_string()).env("GIT_PROTOCOL", header("git-protocol"));
            let mut git = git.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            git.stdin.take().unwrap().write_all(&body).await.unwrap();
            let out = git.wait_with_output().await.unwrap().stdout;
            let end = out.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
            let status = if out.starts_with(b"Status: 404") { StatusCode::NOT_FOUND } else { StatusCode::OK };
            (status, Bytes::copy_from_slice(&out[end + 4..])).into_response()
        }
    };
    serve(|_| Router::new().fallback(answer)).await
}

#[tokio::test]
async fn rv15_one_request_finds_all_branches_of_a_repository_for_all_who_follow_it() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(folder.path()).args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments);
        let output = git.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main", "."]);
    let mut commits = HashSet::new();
    for branch in ["main", "dev", "feature/x"] {
        git(&["checkout", "--quiet", "-B", branch]);
        git(&["commit", "--quiet", "--allow-empty", "-m", branch]);
        commits.insert(git(&["rev-parse", "HEAD"]));
    }
    git(&["checkout", "--quiet", "main"]);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let address = git_server(folder.path().to_owned(), asked.clone()).await;
    let (looks, stop) = (looks(), CancellationToken::new());
    let mut changed = looks.begin(stop.clone());
    let place = Place::Http(format!("http://{address}/.git").parse().unwrap());
    let follow = |name: &str, revision: &str| {
        looks.follow(&ObjectRef::new(name), place.clone(), Credential::None, commit(revision), Duration::from_secs(1))
    };
    for index in 0..30 {
        follow(&format!("f{index}"), ["main", "dev", "feature/x"][index % 3]);
    }
    for _ in 0..30 {
        changed.next().await.unwrap();
    }
    let answers: Vec<_> =
        (0..30).map(|index| follow(&format!("f{index}"), ["main", "dev", "feature/x"][index % 3]).unwrap()).collect();
    assert_eq!(answers.iter().map(|answer| answer.clone().unwrap().id).collect::<HashSet<_>>(), commits);
    // What the server can do is asked once; then a look is one request.
    let before = asked.lock().unwrap().len();
    git(&["commit", "--quiet", "--allow-empty", "-m", "next"]);
    let next = git(&["rev-parse", "HEAD"]);
    for _ in 0..10 {
        changed.next().await.unwrap();
    }
    assert_eq!(follow("f0", "main"), Some(found(&next, None)));
    let later = asked.lock().unwrap()[before..].to_vec();
    assert!(!later.is_empty() && later.iter().all(|asked| asked == "POST /.git/git-upload-pack"), "{later:?}");
    assert!(later.len() <= 3, "{later:?}");
    assert_eq!(follow("f0", "none"), None);
    assert_eq!(changed.next().await, Some(ObjectRef::new("f0")));
    assert_eq!(follow("f0", "none").unwrap().unwrap_err().message, "the repository has no branch or tag \"none\"");
    // Nobody follows it any more: nobody asks.
    for index in 0..30 {
        looks.forget(&ObjectRef::new(&format!("f{index}")));
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = asked.lock().unwrap().len();
    assert!(looks.lock().targets.is_empty() && looks.lock().of.is_empty());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(asked.lock().unwrap().len(), before);
    stop.cancel();
    assert!(!looks.is_active());
}

#[tokio::test]
async fn rv24_a_signature_is_looked_for_in_the_registry() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let pair = Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref()).unwrap();
    let der = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], pair.public_key().as_ref()]
        .concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(der));
    let image = "{}".to_owned();
    let digest = registry::sha256(image.as_bytes());
    let payload = json!({"critical": {"image": {"docker-manifest-digest": digest}}}).to_string();
    let signature = STANDARD.encode(pair.sign(payload.as_bytes()));
    let layer = json!({"digest": registry::sha256(payload.as_bytes()), "annotations": {crate::signature::ANNOTATION: signature}});
    let signed: Value = json!({ "layers": [layer] });
    let beside = format!("manifests/{}", crate::signature::tag(&digest));
    let answer = move |Path((name, path)): Path<(String, String)>| {
        let (image, payload, signed, beside) = (image.clone(), payload.clone(), signed.clone(), beside.clone());
        async move {
            match path.as_str() {
                "manifests/v1" => image.into_response(),
                // Only one of two repositories has signatures.
                path if path == beside && name == "signed" => Json(signed).into_response(),
                path if path.starts_with("blobs/") => payload.into_response(),
                _ => StatusCode::NOT_FOUND.into_response(),
            }
        }
    };
    let address = serve(|_| Router::new().route("/v2/{name}/{*path}", get(answer))).await;
    let ask = async |name: &str, key: &str| {
        let (place, _) = registry::Place::of(&format!("{address}/{name}:v1"), true).unwrap();
        let want = Want::Tag { tag: "v1".to_owned(), key: Some(key.to_owned()) };
        look(&looks(), Place::Images(place), Credential::None, want).await.unwrap().refused
    };
    assert_eq!(ask("signed", &pem).await, None);
    assert_eq!(ask("plain", &pem).await.as_deref(), Some("the image is not signed"));
    let other = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
    assert_eq!(ask("signed", other).await.as_deref(), Some("no signature of the image is for publicKey"));
}

/// A repository that has moved to another server is read there, and its credential is not shown to it.
#[tokio::test]
async fn a_repository_that_has_moved_takes_no_credential_along() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let noted = shown.clone();
    let refs = format!("{} refs/heads/main\n", "a".repeat(40));
    let refs = format!("{:04x}{refs}0000", refs.len() + 4);
    let elsewhere = serve(move |_| {
        Router::new().fallback(move |request: Request| {
            let (noted, refs) = (noted.clone(), refs.clone());
            async move {
                noted.lock().unwrap().push(request.headers().contains_key("authorization"));
                if request.uri().path().ends_with("info/refs") { "000eversion 2\n0000".to_owned() } else { refs }
            }
        })
    })
    .await;
    let to = format!("http://{elsewhere}/moved.git/info/refs?service=git-upload-pack");
    let first =
        serve(move |_| Router::new().fallback(move || async move { axum::response::Redirect::temporary(&to) })).await;
    let place = Place::Http(format!("http://{first}/a.git").parse().unwrap());
    assert_eq!(look(&looks(), place, password("secret"), commit("main")).await, found(&"a".repeat(40), None));
    assert_eq!(*shown.lock().unwrap(), [false, false]);
}

/// What one wants in vain is no matter of the others (and a token that lasts for ever is no reason to panic).
#[tokio::test]
async fn a_want_that_fails_leaves_the_others_what_they_find() {
    let digest = format!("sha256:{}", "1".repeat(64));
    let told = digest.clone();
    let answer = move |Path(path): Path<String>, headers: HeaderMap| {
        let told = told.clone();
        async move {
            match path.as_str() {
                _ if !headers.contains_key("authorization") => (
                    StatusCode::UNAUTHORIZED,
                    [(
                        "www-authenticate",
                        format!("Bearer realm=\"http://{}/token\"", headers["host"].to_str().unwrap()),
                    )],
                )
                    .into_response(),
                "manifests/v1" => ([("docker-content-digest", told)], "{}").into_response(),
                _ => StatusCode::FORBIDDEN.into_response(),
            }
        }
    };
    let token = || async { Json(json!({"token": "t", "expires_in": u64::MAX})) };
    let address = serve(|_| Router::new().route("/v2/a/{*path}", get(answer)).route("/token", get(token))).await;
    let (place, _) = registry::Place::of(&format!("{address}/a:v1"), true).unwrap();
    let looks = looks();
    let mut changed = looks.begin(CancellationToken::new());
    let follow = |name: &str, want: Want| {
        looks.follow(&ObjectRef::new(name), Place::Images(place.clone()), Credential::None, want, INTERVAL)
    };
    let (tag, tags) =
        (|| Want::Tag { tag: "v1".to_owned(), key: None }, || Want::Policy { policy: TagPolicy::default(), key: None });
    follow("good", tag());
    follow("bad", tags());
    changed.next().await.unwrap();
    changed.next().await.unwrap();
    assert_eq!(follow("good", tag()), Some(found(&digest, None)));
    assert_eq!(follow("bad", tags()).unwrap().unwrap_err().reason, "Unauthorized");
}
