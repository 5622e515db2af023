//! New commits and images of Functions, on a real API server, with a forge that answers as GitHub's documents say.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use openfunction_proto::core::{Builder, RevisionDetected};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{FUNCTIONS, StandIn, Which, World, end, function, start};
use crate::support::{DEADLINE, eventually};

/// What a forge does with requests for a repository.
#[derive(Clone, Default)]
struct Repository {
    /// Its newest commit.
    head: String,
    /// The token that it wants.
    token: Option<String>,
    /// What it answers instead.
    fails: Option<u16>,
    /// It does not answer.
    hangs: bool,
    /// When it was asked, and whether it said that nothing has changed.
    asked: Vec<(Instant, bool)>,
}

/// A forge with the commits API of GitHub.
#[derive(Clone)]
struct Forge {
    repositories: Arc<Mutex<HashMap<String, Repository>>>,
    url: String,
}

impl Forge {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let forge = Self { repositories: Arc::default(), url };
        let router =
            Router::new().route("/api/v3/repos/{owner}/{name}/commits", get(commits)).with_state(forge.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        forge
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        change(self.repositories.lock().unwrap().entry(name.to_owned()).or_default());
    }

    fn push(&self, name: &str, commit: char) {
        self.change(name, |repository| repository.head = commit.to_string().repeat(40));
    }

    fn asked(&self, name: &str) -> Vec<(Instant, bool)> {
        self.repositories.lock().unwrap().get(name).map(|repository| repository.asked.clone()).unwrap_or_default()
    }

    fn all_asked(&self) -> usize {
        self.repositories.lock().unwrap().values().map(|repository| repository.asked.len()).sum()
    }

    /// A Function that is built from a repository, and follows it.
    fn follows(&self, name: &str, repository: &str, interval: &str) -> Value {
        let mut wanted = function(name, "registry.example.com/a:v1");
        wanted["spec"]["imageCredentials"] = json!({"name": "push"});
        wanted["spec"]["build"] = json!({"dockerfile": "Dockerfile", "srcRepo": {
            "url": format!("{}/acme/{repository}.git", self.url), "revision": "main", "credentials": {"name": "token"}}});
        wanted["spec"]["revisionPolicy"] =
            json!({"type": "source", "repoType": "github", "baseURL": self.url, "pollingInterval": interval});
        wanted
    }
}

/// <https://docs.github.com/en/rest/commits/commits#list-commits>
async fn commits(
    State(forge): State<Forge>,
    Path((_, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    assert_eq!((query["sha"].as_str(), query["per_page"].as_str()), ("main", "1"));
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let known = forge.repositories.lock().unwrap().get(&name).cloned();
    let Some(repository) = known else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("W/\"{}\"", repository.head);
    let is_same = header("if-none-match").as_ref() == Some(&tag);
    forge.change(&name, |repository| repository.asked.push((Instant::now(), is_same)));
    if repository.hangs {
        std::future::pending::<()>().await;
    }
    let refusal = |status: u16| StatusCode::from_u16(status).unwrap();
    if let Some(status) = repository.fails {
        return (refusal(status), [("retry-after", "3600")]).into_response();
    }
    if repository.token.is_some_and(|token| header("authorization") != Some(format!("Bearer {token}"))) {
        return (refusal(401), Json(json!({"message": "Bad credentials"}))).into_response();
    }
    match is_same {
        true => refusal(304).into_response(),
        false => {
            ([("etag", tag)], Json(json!([{"sha": repository.head, "node_id": "MDY6", "commit": {"message": "m"}}])))
                .into_response()
        }
    }
}

impl World {
    async fn token(&self, token: &str) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"password": token}});
        self.apply_object(&secret).await;
    }

    async fn detected(&self, name: &str) -> Option<RevisionDetected> {
        self.function(name).await.status?.revision?.detected
    }

    /// Waits until a commit was found for a Function.
    async fn finds(&self, name: &str, commit: char) -> RevisionDetected {
        let wanted = commit.to_string().repeat(40);
        let found = || async { self.detected(name).await.filter(|found| found.commit.as_ref() == Some(&wanted)) };
        eventually("the commit is found", found).await
    }

    async fn tracking(&self, name: &str, status: &str) -> (String, String) {
        self.condition(name, "RevisionTracking", status).await
    }

    async fn builders(&self) -> usize {
        self.api::<Builder>().list(&ListParams::default()).await.unwrap().items.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rv18_a_push_becomes_a_build_under_the_roles_of_the_chart() {
    let (world, forge) = (World::new().await, Forge::start().await);
    world.token("secret-token").await;
    forge.change("a", |repository| repository.token = Some("secret-token".to_owned()));
    forge.push("a", 'a');
    let running = start(&world, &[Which::Function, Which::Revision]).await;
    world.apply_object(&forge.follows("f", "a", "1s")).await;
    let found = world.finds("f", 'a').await;
    assert_eq!(found.of.unwrap(), format!("{}/acme/a.git#main", forge.url));
    let (reason, message) = world.tracking("f", "True").await;
    assert!(reason == "Tracking" && !message.contains("secret-token"), "{message}");
    // The build that goes on has it, or something newer; the first look is no reason for another (R17).
    let first = || async { (world.builders().await == 1).then_some(()) };
    eventually("the build", first).await;
    // It ends: from now on every other commit is one that it has not got.
    let builders = world.api::<Builder>();
    let name = builders.list(&ListParams::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let git = json!({"commitSha": "a".repeat(40)});
    let status = json!({"phase": "Build", "state": "Succeeded", "sources": [{"name": "default", "git": git}]});
    builders.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    eventually("it is over", || async {
        let status = world.function("f").await.status?;
        (status.build?.state? == "Succeeded" && status.revision?.followed.first()?.seen.is_some()).then_some(())
    })
    .await;
    let pushed = Instant::now();
    forge.push("a", 'b');
    world.finds("f", 'b').await;
    eventually("a new build", || async {
        let status = world.function("f").await.status?;
        let build = status.build?;
        (build.resource_ref? != name && build.state? != "Succeeded").then_some(())
    })
    .await;
    assert!(pushed.elapsed() < Duration::from_secs(10), "{:?}", pushed.elapsed());
    // Requests that find nothing new are conditional (GAP-R14).
    eventually("nothing new", || async { forge.asked("a").last().is_some_and(|(_, same)| *same).then_some(()) }).await;
    let events: Api<Event> = Api::namespaced(world.client.clone(), FUNCTIONS);
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let notes: Vec<_> = events.iter().map(|event| json!(event).to_string()).collect();
    assert!(notes.iter().any(|note| note.contains("RevisionDetected")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("secret-token")));
    assert!(!json!(world.function("f").await.status).to_string().contains("secret-token"));
    // Switched off, nothing is asked and told any more.
    let mut off = forge.follows("f", "a", "1s");
    off["spec"].as_object_mut().unwrap().remove("revisionPolicy");
    world.apply_object(&off).await;
    eventually("nothing is told", || async { world.detected("f").await.is_none().then_some(()) }).await;
    let conditions = world.function("f").await.status.unwrap().conditions;
    assert!(!conditions.iter().any(|condition| condition.type_ == "RevisionTracking"));
    let asked = forge.asked("a").len();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(forge.asked("a").len(), asked);
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_r21_what_is_wrong_is_told_and_mended_without_touching_the_function() {
    let (world, forge) = (World::new().await, Forge::start().await);
    forge.change("a", |repository| repository.token = Some("good".to_owned()));
    forge.push("a", 'a');
    let running = start(&world, &[Which::Revision]).await;
    world.apply_object(&forge.follows("f", "a", "1s")).await;
    let (reason, message) = world.tracking("f", "False").await;
    assert_eq!((reason.as_str(), message.as_str()), ("CredentialsUnusable", "Secret token does not exist"));
    world.token("bad").await;
    eventually("it is refused", || async { (world.tracking("f", "False").await.0 == "Unauthorized").then_some(()) })
        .await;
    world.token("good").await;
    world.finds("f", 'a').await;
    assert_eq!(world.tracking("f", "True").await.0, "Tracking");
    // What cannot be followed.
    let mut wanted = forge.follows("g", "nothing", "1s");
    wanted["spec"].as_object_mut().unwrap().remove("revisionPolicy");
    let annotations = |params: &str| json!({"openfunction.io/revision-controller": "enable", "openfunction.io/revision-controller-params": params});
    for (params, status, reason) in [
        ("type: svn", "False", "InvalidParameters"),
        ("type: source-image", "True", "NothingToFollow"),
        (&format!("repo-type: gitlab\nbase-url: {}\nproject-id: 1", forge.url), "False", "NotFound"),
    ] {
        wanted["metadata"]["annotations"] = annotations(params);
        world.apply_object(&wanted).await;
        eventually("it is told", || async { (world.tracking("g", status).await.0 == reason).then_some(()) }).await;
    }
    // A metadata service of a cloud.
    wanted["spec"]["build"]["srcRepo"]["url"] = json!("http://169.254.169.254/acme/a");
    wanted["metadata"]["annotations"] = annotations("type: source");
    world.apply_object(&wanted).await;
    eventually("it is refused", || async {
        (world.tracking("g", "False").await.0 == "AddressNotAllowed").then_some(())
    })
    .await;
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_fires_nothing_and_a_second_pass_makes_no_request() {
    let (world, forge) = (World::new().await, Forge::start().await);
    world.token("t").await;
    let _stand_in = StandIn::start(&world);
    let running = start(&world, &[Which::Function, Which::Revision]).await;
    for (name, repository) in [("f", "a"), ("g", "b")] {
        forge.push(repository, 'a');
        world.apply_object(&forge.follows(name, repository, "1s")).await;
        world.finds(name, 'a').await;
    }
    let image = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": "h"},
        "spec": {"image": "127.0.0.1:1/a:v1", "serving": {}, "revisionPolicy": {"type": "image", "pollingInterval": "1s"}}});
    world.apply_object(&image).await;
    assert_eq!(world.tracking("h", "False").await.0, "Unreachable");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, asked) = (running[1].requests(), forge.all_asked());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(running[1].requests(), before, "looks that find nothing new are no matter of the API server");
    assert!(forge.all_asked() > asked);
    let builders = world.builders().await;
    let statuses = |world: &World| {
        let api = world.api::<openfunction_proto::core::Function>();
        async move {
            let list = api.list(&ListParams::default()).await.unwrap().items;
            list.into_iter().map(|function| json!(function.status)).collect::<Vec<_>>()
        }
    };
    let told = statuses(&world).await;
    end(running).await;
    let running = start(&world, &[Which::Function, Which::Revision]).await;
    let asked = forge.all_asked();
    eventually("it is looked again", || async { (forge.all_asked() > asked + 4).then_some(()) }).await;
    assert_eq!(running[1].writes(), BTreeMap::new());
    assert_eq!((world.builders().await, statuses(&world).await), (builders, told));
    // Of those that are deleted nobody asks any more.
    let api = world.api::<openfunction_proto::core::Function>();
    for name in ["f", "g", "h"] {
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = forge.all_asked();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(forge.all_asked(), asked);
    assert!(!running[1].metrics.text().contains("revision_controller_repositories{"), "{}", running[1].metrics.text());
    end(running).await;
}

/// Functions of the test below; 1,000 by hand.
fn followers() -> usize {
    std::env::var("FOLLOWERS").ok().and_then(|count| count.parse().ok()).unwrap_or(100)
}

/// goals: one poll per repository, branch and credential.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn r14_many_functions_of_few_repositories_ask_once_for_each() {
    const REPOSITORIES: usize = 20;
    const INTERVAL: Duration = Duration::from_secs(10);
    let (world, forge) = (World::new().await, Forge::start().await);
    world.token("t").await;
    for index in 0..REPOSITORIES {
        forge.push(&format!("r{index}"), 'a');
    }
    // One that hangs holds up nobody else.
    forge.change("r0", |repository| repository.hangs = true);
    let api = world.api::<openfunction_proto::core::Function>();
    for index in 0..followers() {
        let wanted = forge.follows(&format!("f{index}"), &format!("r{}", index % REPOSITORIES), "10s");
        api.create(&PostParams::default(), &serde_json::from_value(wanted).unwrap()).await.unwrap();
    }
    let running = start(&world, &[Which::Revision]).await;
    let began = Instant::now();
    let found = || async {
        let functions = api.list(&ListParams::default()).await.unwrap().items;
        let detected = functions.iter().filter(|function| {
            function
                .status
                .as_ref()
                .is_some_and(|status| status.revision.as_ref().is_some_and(|of| of.detected.is_some()))
        });
        (detected.count() == followers() - followers() / REPOSITORIES).then_some(())
    };
    tokio::time::timeout(DEADLINE * 4, async {
        while found().await.is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await
        }
    })
    .await
    .expect("all but those of the one that hangs are told");
    println!("{} functions told after {:?}", followers(), began.elapsed());
    tokio::time::sleep(INTERVAL).await;
    let (from, before) = (Instant::now(), forge.all_asked());
    tokio::time::sleep(INTERVAL).await;
    let asked = forge.all_asked() - before;
    // The interval is shortened by up to a tenth, so that some are asked at both of its ends.
    println!("{asked} requests in {:?}", from.elapsed());
    assert!((REPOSITORIES - 1..=2 * REPOSITORIES).contains(&asked), "{asked}");
    let per_repository: Vec<_> = (1..REPOSITORIES).map(|index| forge.asked(&format!("r{index}"))).collect();
    for asked in per_repository {
        let last: Vec<_> = asked.iter().rev().take(2).map(|(at, _)| *at).collect();
        assert!(last[0] - last[1] > INTERVAL.mul_f64(0.85), "{:?}", last[0] - last[1]);
    }
    // A forge that has had enough is left alone.
    forge.change("r1", |repository| repository.fails = Some(429));
    eventually("it is told", || async { (world.tracking("f1", "False").await.0 == "RateLimited").then_some(()) }).await;
    let asked = forge.asked("r1").len();
    tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
    assert_eq!(forge.asked("r1").len(), asked);
    end(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_credential_finds_nobody_else_is_told() {
    let (world, forge) = (World::new().await, Forge::start().await);
    world.token("good").await;
    forge.change("private", |repository| repository.token = Some("good".to_owned()));
    forge.push("private", 'a');
    let running = start(&world, &[Which::Revision]).await;
    world.apply_object(&forge.follows("mine", "private", "1s")).await;
    world.finds("mine", 'a').await;
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}, "stringData": {"password": "guessed"}});
    world.apply_object(&other).await;
    let mut theirs = forge.follows("theirs", "private", "1s");
    theirs["spec"]["build"]["srcRepo"]["credentials"] = json!({"name": "other"});
    world.apply_object(&theirs).await;
    assert_eq!(world.tracking("theirs", "False").await.0, "Unauthorized");
    assert_eq!(world.detected("theirs").await, None);
    // Its Secret is deleted, and with it what it may see; what was found stays.
    world.api::<Secret>().delete("token", &DeleteParams::default()).await.unwrap();
    assert!(world.detected("mine").await.is_some());
    end(running).await;
}
