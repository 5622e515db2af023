//! The product on the local cluster, as the chart installs it: the main job and what can go wrong with it.

mod children;
pub mod contract;
mod controllers;
mod engines;
pub mod events;
mod failures;
mod how_to;
pub mod migration;
mod reinstall;
mod revisions;
pub mod routes;
mod samples;
pub mod strategies;
mod tracking;
pub mod update;

use std::{
    path::Path,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use e2e::{demo, local::registry::OPEN};
use serde_json::{Value, json};

use crate::{
    gateway::until_served,
    git::Work,
    support::{DEADLINE, Namespace, client, get},
};

/// One test installs the product anew; the others need it meanwhile.
static INSTALLED: RwLock<()> = RwLock::new(());

/// Uses the installed product.
fn product() -> RwLockReadGuard<'static, ()> {
    INSTALLED.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Has the product alone.
pub fn product_alone() -> RwLockWriteGuard<'static, ()> {
    INSTALLED.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A Function of a test.
pub struct Deployed {
    pub namespace: Namespace,
    name: String,
    manifest: Value,
    _installed: Option<RwLockReadGuard<'static, ()>>,
}

impl Deployed {
    /// Applies a manifest in a namespace of its own.
    pub fn new(test: &str, manifest: Value) -> Self {
        let installed = product();
        Self { _installed: Some(installed), ..Self::applied(test, manifest) }
    }

    /// As [`Deployed::new`], for a test that has the product alone.
    pub fn alone(_: &RwLockWriteGuard<()>, test: &str, manifest: Value) -> Self {
        Self::applied(test, manifest)
    }

    fn applied(test: &str, manifest: Value) -> Self {
        let namespace = Namespace::new(test);
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let deployed = Self { namespace, name, manifest, _installed: None };
        deployed.apply();
        deployed
    }

    /// A sample that is built, from a repository of the test; and the repository.
    pub fn built(test: &str, sample: &str) -> (Self, Work, String) {
        let repository = format!("{test}-{}", std::process::id());
        let work = Work::of_folder(test, &demo::samples().join(sample));
        let commit = work.push(&repository, |_| {});
        let mut manifest = demo::sample(sample).unwrap();
        manifest["spec"]["image"] = json!(format!("{OPEN}/{repository}:latest"));
        manifest["spec"]["build"]["srcRepo"] = source(&repository, &commit);
        (Self::new(test, manifest), work, repository)
    }

    fn apply(&self) {
        self.namespace.apply(&self.manifest.to_string());
    }

    /// Changes the manifest and applies it.
    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.manifest);
        self.apply();
    }

    pub fn object(&self) -> Value {
        object_of(&self.namespace, &self.name)
    }

    pub fn condition(&self, type_: &str) -> Value {
        condition_of(&self.object(), type_)
    }

    /// Waits as a user would.
    pub fn is_ready(&self) {
        // Otherwise the condition of the generation before is taken for this one's.
        self.eventually("the new generation is seen", || {
            let object = self.object();
            (object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation")).then_some(())
        });
        self.namespace.kubectl(&["wait", "--for=condition=Ready", &format!("fn/{}", self.name), "--timeout=180s"]);
    }

    /// Waits for a failure; how long it took to be told, and the message.
    pub fn fails(&self, reason: &str) -> (Duration, String) {
        let began = Instant::now();
        let message = self.eventually(reason, || {
            let ready = self.condition("Ready");
            (ready["status"] == "False" && ready["reason"] == reason)
                .then(|| ready["message"].as_str().unwrap().to_owned())
        });
        (began.elapsed(), message)
    }

    pub fn eventually<T>(&self, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = check() {
                return value;
            }
            assert!(began.elapsed() < 2 * DEADLINE, "{what} did not come about: {:#}", self.object()["status"]);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// An address of the status.
    pub fn address(&self, type_: &str) -> String {
        let path = format!(r#"jsonpath={{.status.addresses[?(@.type=="{type_}")].value}}"#);
        self.namespace.kubectl(&["get", "fn", &self.name, "-o", &path])
    }

    pub fn external_host(&self) -> String {
        let address = self.address("External");
        address.trim_start_matches("http://").split('/').next().unwrap().to_owned()
    }

    /// Waits until the gateway's proxy has learned of the first route.
    pub async fn is_served(&self, path: &str) {
        until_served(&client(), &format!("{GATEWAY}{path}"), &self.external_host()).await;
    }

    /// What the Function answers from outside.
    pub async fn answer(&self, path: &str) -> (u16, String) {
        get(&client(), &format!("{GATEWAY}{path}"), &self.external_host()).await.unwrap()
    }

    /// What the Function answers to a pod.
    fn answer_inside(&self) -> String {
        // There is one for each path.
        let addresses = self.address("Internal");
        let address = addresses.split_whitespace().next().unwrap();
        self.namespace.run_in_pod("asks", &["wget", "-qO-", address]).trim().to_owned()
    }
}

/// A Function.
fn object_of(namespace: &Namespace, name: &str) -> Value {
    serde_json::from_str(&namespace.kubectl(&["get", "fn", name, "-o", "json"])).unwrap()
}

/// A condition of a Function that speaks of its present generation.
fn condition_of(object: &Value, type_: &str) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_asked = |c: &Value| c["type"] == type_ && c["observedGeneration"] == object["metadata"]["generation"];
    conditions.into_iter().find(is_asked).unwrap_or_default()
}

/// Where the gateway is reached from the machine.
pub const GATEWAY: &str = "http://172.30.0.1";

/// The source of a repository of the cluster's git server.
pub fn source(repository: &str, revision: &str) -> Value {
    json!({"url": format!("http://git.openfunction-local.svc.cluster.local/{repository}.git"), "revision": revision})
}

/// Puts another greeting into the program of a sample.
fn greet(file: &str, greeting: &str) -> impl FnOnce(&Path) {
    let (file, greeting) = (file.to_owned(), greeting.to_owned());
    move |folder| {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("Hello, World!"), "{text}");
        std::fs::write(path, text.replace("Hello, World!", &greeting)).unwrap();
    }
}
