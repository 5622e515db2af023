//! New commits and images: found at the cluster's git server and registries, and rolled out by themselves.

use std::time::Instant;

use e2e::{
    cache::run,
    demo,
    local::{
        cluster::Cluster,
        git::NAMESPACE as LOCAL,
        node,
        registry::{OPEN, PASSWORD, PRIVATE, TLS, USER},
    },
    product::{NAMESPACE, WEBHOOK_SECRET},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Deployed, GATEWAY, greet, object_of, product, source, update::Load};
use crate::{
    git::Work,
    images::copy_busybox,
    support::{Namespace, client, eventually},
};

/// Tells the controller of a push.
async fn tell(what: &Value, secret: &str) -> StatusCode {
    let service =
        Cluster::here().unwrap().get(&["service", "revision-controller-webhooks", "-n", NAMESPACE], 5).unwrap();
    let url = format!("http://{}/generic", service["spec"]["clusterIP"].as_str().unwrap());
    client().post(url).bearer_auth(secret).body(what.to_string()).send().await.unwrap().status()
}

fn detected(function: &Value, field: &str) -> Option<String> {
    function.pointer(&format!("/status/revision/detected/{field}"))?.as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn rv18_rv19_rv20_a_push_reaches_the_answer_and_no_request_is_lost() {
    let repository = format!("tracked-{}", std::process::id());
    let work = Work::of_folder("tracked", &demo::samples().join("hello-node"));
    work.push(&repository, |_| {});
    let mut manifest = demo::sample("hello-node").unwrap();
    let image = format!("{OPEN}/{repository}:latest");
    manifest["spec"]["image"] = json!(image);
    manifest["spec"]["build"]["srcRepo"] = source(&repository, "main");
    // It would find nothing by itself in this test.
    manifest["spec"]["revisionPolicy"] = json!({"type": "source", "pollingInterval": "1h"});
    let mut deployed = Deployed::new("tracked", manifest);
    deployed.is_ready();
    deployed.is_served("/").await;
    // Another Function runs what is built there.
    let serving = json!({"triggers": {"http": {"engine": "native"}}});
    let policy = json!({"type": "image", "pollingInterval": "2s", "insecureRegistry": true});
    let follower = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "follower"},
        "spec": {"image": image, "serving": serving, "revisionPolicy": policy}});
    deployed.namespace.apply(&follower.to_string());
    let first =
        eventually("its image is looked at", || detected(&object_of(&deployed.namespace, "follower"), "digest"));
    let load = Load::begin(GATEWAY, deployed.external_host(), 50);
    let commit = work.push(&repository, greet("server.js", "Good evening!"));
    let url = source(&repository, "main")["url"].clone();
    assert_eq!(tell(&json!({"git": url}), "a secret that is guessed").await, StatusCode::UNAUTHORIZED);
    let began = Instant::now();
    assert_eq!(tell(&json!({ "git": url }), WEBHOOK_SECRET).await, StatusCode::ACCEPTED);
    deployed.eventually("the commit is found", || {
        (detected(&deployed.object(), "commit") == Some(commit.clone())).then_some(())
    });
    let found = began.elapsed();
    let answers = async |deployed: &Deployed, expected: &str| {
        while deployed.answer("/").await != (200, expected.to_owned()) {
            assert!(began.elapsed().as_secs() < 240, "{:#}", deployed.object()["status"]);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    answers(&deployed, "Good evening!").await;
    println!("from the webhook to the commit {found:.1?}, to the answer {:.1?}", began.elapsed());
    // By polling.
    deployed.change(|manifest| manifest["spec"]["revisionPolicy"]["pollingInterval"] = json!("2s"));
    let began_again = Instant::now();
    let commit = work.push(&repository, |folder| {
        let path = folder.join("server.js");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text.replace("Good evening!", "Good night!")).unwrap();
    });
    deployed.eventually("the commit is found", || {
        (detected(&deployed.object(), "commit") == Some(commit.clone())).then_some(())
    });
    let found = began_again.elapsed();
    answers(&deployed, "Good night!").await;
    println!("polling each 2 s: from the push to the commit {found:.1?}, to the answer {:.1?}", began_again.elapsed());
    println!("{} requests, none failed", load.end().await);
    // What was built has another digest under the same tag (RV19); it runs by that, and nothing goes round (BUG-R18).
    let digest = deployed.object().pointer("/status/revision/imageDigest").unwrap().as_str().unwrap().to_owned();
    assert_ne!(digest, first);
    deployed.eventually("the follower runs it", || {
        let follower = object_of(&deployed.namespace, "follower");
        let revision = follower.pointer("/status/revision/imageDigest")?.as_str()?.to_owned();
        (revision == digest).then_some(())
    });
    deployed.namespace.kubectl(&["wait", "--for=condition=Ready", "fn/follower", "--timeout=120s"]);
    let revisions =
        || deployed.namespace.kubectl(&["get", "servings", "-l", "openfunction.io/function=follower", "-o", "name"]);
    let before = revisions();
    assert!(before.lines().count() <= 3, "{before}");
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(revisions(), before);
}

/// A Function that follows something, and of which nothing is built or run.
fn follows(namespace: &Namespace, name: &str, spec: Value) {
    let mut spec = spec;
    spec["suspend"] = json!(true);
    spec["revisionPolicy"]["pollingInterval"] = json!("1s");
    let function = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": name}, "spec": spec});
    namespace.apply(&function.to_string());
}

fn finds(namespace: &Namespace, name: &str, field: &str, expected: &str) {
    eventually(&format!("{name} finds {expected}"), || {
        let found = detected(&object_of(namespace, name), field)?;
        (found == expected).then_some(())
    });
}

fn says(namespace: &Namespace, name: &str, reason: &str) -> String {
    eventually(&format!("{name} says {reason}"), || {
        let condition = super::condition_of(&object_of(namespace, name), "RevisionTracking");
        (condition["reason"] == reason).then(|| condition["message"].as_str().unwrap_or_default().to_owned())
    })
}

#[test]
fn rv15_rv17_r11_every_way_to_a_git_server_is_followed() {
    let _product = product();
    let namespace = Namespace::new("tracks-git");
    let (repository, host) = (format!("ways-{}", std::process::id()), format!("git.{LOCAL}.svc.cluster.local"));
    let work = Work::of("ways", &[("a", "1")]);
    let first = work.push(&repository, |_| {});
    work.git(&["tag", "v1.0.0"]).unwrap();
    let remote = format!("http://{}/{repository}.git", crate::git::address());
    work.git(&["push", "--quiet", &remote, "v1.0.0"]).unwrap();
    let secret = |name: &str, data: Value| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        namespace.apply(&secret.to_string());
    };
    let key = std::fs::read_to_string(Cluster::here().unwrap().path("git/user")).unwrap();
    secret("basic", json!({"username": USER, "password": PASSWORD}));
    secret("wrong", json!({"username": USER, "password": "wrong-password"}));
    secret("ssh", json!({"ssh-privatekey": key}));
    secret(
        "unknown",
        json!({"ssh-privatekey": key, "known_hosts": "elsewhere ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEL8SfzGqZEQF0lC8vCkdFYYYzEYjZ9uZ4Jm3rJrM4bK\n"}),
    );
    let plain = format!("http://{host}/{repository}.git");
    let (closed, ssh) = (format!("http://{host}:8080/{repository}.git"), format!("ssh://git@{host}/{repository}.git"));
    let spec = |url: &str, credentials: Option<&str>, policy: Value| {
        let mut policy = policy;
        policy["type"] = json!("source");
        let mut repository = json!({"url": url, "revision": "main"});
        if let Some(name) = credentials {
            repository["credentials"] = json!({ "name": name });
        }
        json!({"image": "a", "imageCredentials": {"name": "push"}, "build": {"dockerfile": "Dockerfile", "srcRepo": repository}, "revisionPolicy": policy})
    };
    follows(&namespace, "public", spec(&plain, None, json!({})));
    follows(&namespace, "basic", spec(&closed, Some("basic"), json!({"repoType": "github"})));
    follows(&namespace, "ssh", spec(&ssh, Some("ssh"), json!({})));
    follows(&namespace, "tags", spec(&plain, None, json!({"tagPolicy": {"semver": ">=1"}})));
    let mut default = spec(&plain, None, json!({}));
    default["build"]["srcRepo"].as_object_mut().unwrap().remove("revision");
    follows(&namespace, "default", default);
    for name in ["public", "basic", "ssh", "tags", "default"] {
        finds(&namespace, name, "commit", &first);
    }
    follows(&namespace, "nobody", spec(&closed, None, json!({})));
    follows(&namespace, "wrong", spec(&closed, Some("wrong"), json!({})));
    follows(&namespace, "unknown", spec(&ssh, Some("unknown"), json!({})));
    for name in ["nobody", "wrong", "unknown"] {
        let message = says(&namespace, name, "Unauthorized");
        assert!(!message.contains("wrong-password"), "{message}");
    }
    follows(&namespace, "gone", spec(&format!("http://{host}/gone-{repository}.git"), None, json!({})));
    says(&namespace, "gone", "NotFound");
    let mut branch = spec(&plain, None, json!({}));
    branch["build"]["srcRepo"]["revision"] = json!("deadbeef");
    follows(&namespace, "branch", branch);
    assert!(says(&namespace, "branch", "NotFound").contains("no branch or tag \"deadbeef\""), "BUG-R07");
    let second = work.push(&repository, |folder| std::fs::write(folder.join("a"), "2").unwrap());
    work.git(&["tag", "--annotate", "--message", "two", "v1.10.0"]).unwrap();
    work.git(&["push", "--quiet", &remote, "v1.10.0", "main:deadbeef"]).unwrap();
    for name in ["public", "basic", "ssh", "tags", "default", "branch"] {
        finds(&namespace, name, "commit", &second);
    }
    assert_eq!(detected(&object_of(&namespace, "tags"), "tag").as_deref(), Some("v1.10.0"));
    // The default branch of a repository has another name (revision §9).
    work.commit("trunk");
    work.git(&["push", "--quiet", &remote, "main:trunk"]).unwrap();
    let head = format!("git -C /srv/git/{repository}.git symbolic-ref HEAD refs/heads/trunk");
    run(Cluster::here().unwrap().kubectl().args([
        "-n",
        LOCAL,
        "exec",
        "deployment/git",
        "-c",
        "http",
        "--",
        "sh",
        "-c",
        &head,
    ]))
    .unwrap();
    // No credential is logged, nor told.
    let mut log = Cluster::here().unwrap().kubectl();
    log.args(["-n", NAMESPACE, "logs", "deployment/revision-controller", "--tail=-1"]);
    let told = run(&mut log).unwrap() + &namespace.kubectl(&["get", "functions,events", "-o", "yaml"]);
    assert!(told.contains("Unauthorized"));
    for secret in ["wrong-password", key.lines().nth(1).unwrap(), WEBHOOK_SECRET] {
        assert!(!told.contains(secret), "a secret is told");
    }
    let third = work.git(&["rev-parse", "HEAD"]).unwrap().trim().to_owned();
    finds(&namespace, "default", "commit", &third);
}

#[test]
fn rv16_rv17_every_way_to_a_registry_is_followed() {
    let _product = product();
    let namespace = Namespace::new("tracks-images");
    let repository = &namespace.name;
    let credentials = format!("{USER}:{PASSWORD}");
    let copy = |port: u16, tag: &str, arguments: &[&str]| {
        copy_busybox(&format!("docker://172.30.0.1:{port}/{repository}:{tag}"), arguments)
    };
    copy(5000, "v1.0.0", &["--dest-tls-verify=false"]);
    copy(5001, "v1", &["--dest-tls-verify=false", "--dest-creds", &credentials]);
    copy(5002, "v1", &[]);
    let (server, user, password) = (
        format!("--docker-server={PRIVATE}"),
        format!("--docker-username={USER}"),
        format!("--docker-password={PASSWORD}"),
    );
    namespace.kubectl(&["create", "secret", "docker-registry", "pull", &server, &user, &password]);
    // A copy is packed anew, so each has a digest of its own.
    let digest_of = |port: u16, tag: &str, arguments: &[&str]| {
        let mut skopeo = node::program("skopeo").unwrap();
        skopeo.args(["--insecure-policy", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]).args(arguments);
        run(skopeo.arg(format!("docker://172.30.0.1:{port}/{repository}:{tag}"))).unwrap().trim().to_owned()
    };
    let digest = digest_of(5000, "v1.0.0", &[]);
    let spec = |image: &str, credentials: Option<&str>, policy: Value| {
        let mut policy = policy;
        policy["type"] = json!("image");
        let mut spec = json!({"image": image, "serving": {}, "revisionPolicy": policy});
        if let Some(name) = credentials {
            spec["imageCredentials"] = json!({ "name": name });
        }
        spec
    };
    let insecure = json!({"insecureRegistry": true});
    follows(&namespace, "open", spec(&format!("{OPEN}/{repository}:v1.0.0"), None, insecure.clone()));
    follows(&namespace, "private", spec(&format!("{PRIVATE}/{repository}:v1"), Some("pull"), insecure.clone()));
    follows(&namespace, "own-authority", spec(&format!("{TLS}/{repository}:v1"), None, json!({})));
    let mut tags = insecure.clone();
    tags["tagPolicy"] = json!({"semver": "^1"});
    follows(&namespace, "tags", spec(&format!("{OPEN}/{repository}:v1.0.0"), None, tags));
    let mut newest = insecure.clone();
    newest["tagPolicy"] = json!({"order": "Newest"});
    follows(&namespace, "newest", spec(&format!("{OPEN}/{repository}:v1.0.0"), None, newest));
    for name in ["open", "tags", "newest"] {
        finds(&namespace, name, "digest", &digest);
    }
    finds(&namespace, "private", "digest", &digest_of(5001, "v1", &["--creds", &credentials]));
    finds(&namespace, "own-authority", "digest", &digest_of(5002, "v1", &[]));
    follows(&namespace, "nobody", spec(&format!("{PRIVATE}/{repository}:v1"), None, insecure.clone()));
    says(&namespace, "nobody", "Unauthorized");
    follows(&namespace, "gone", spec(&format!("{OPEN}/{repository}:v9"), None, insecure.clone()));
    says(&namespace, "gone", "NotFound");
    // Without TLS, as nobody said that it may be so.
    follows(&namespace, "plain", spec(&format!("{OPEN}/{repository}:v1.0.0"), None, json!({})));
    says(&namespace, "plain", "Unreachable");
    // Not signed.
    let mut signed = insecure;
    signed["publicKey"] = json!(
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
    );
    follows(&namespace, "signed", spec(&format!("{OPEN}/{repository}:v1.0.0"), None, signed));
    finds(&namespace, "signed", "digest", &digest);
    finds(&namespace, "signed", "notUsed", "the image is not signed");
    copy(5000, "v1.10.0", &["--dest-tls-verify=false"]);
    finds(&namespace, "tags", "tag", "v1.10.0");
}
