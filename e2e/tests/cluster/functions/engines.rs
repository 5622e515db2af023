//! Engine `knative` with real Knative, and changes of engines and bounds under load.

use std::time::{Duration, Instant};

use e2e::demo;
use serde_json::{Value, json};

use super::{Deployed, GATEWAY, update::Load};
use crate::support::DEADLINE;

/// Requests in a second while something changes.
const PER_SECOND: u32 = 100;

/// A page that says a word, under an engine.
pub fn page(engine: &str, word: &str) -> Value {
    let mut manifest = demo::sample("scale-to-zero").unwrap();
    manifest["spec"]["serving"]["scaleOptions"] = json!({"minReplicas": 1, "maxReplicas": 3});
    says(&mut manifest, word);
    runs_on(&mut manifest, engine);
    manifest
}

pub fn says(manifest: &mut Value, word: &str) {
    let script = manifest.pointer_mut("/spec/serving/template/containers/0/command/2").unwrap();
    let text = script.as_str().unwrap();
    let line = text.lines().find(|line| line.starts_with("echo ")).unwrap();
    *script = json!(text.replace(line, &format!("echo '{word}' >/tmp/www/index.html")));
}

fn runs_on(manifest: &mut Value, engine: &str) {
    manifest["spec"]["serving"]["triggers"]["http"]["engine"] = json!(engine);
}

impl Deployed {
    pub fn pods(&self) -> Vec<String> {
        let pods: Value = serde_json::from_str(&self.namespace.kubectl(&["get", "pods", "-o", "json"])).unwrap();
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let names = pods["items"].as_array().unwrap().iter().filter(stays);
        names.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn backend(&self) -> String {
        let object = self.object();
        object.pointer("/status/traffic/0/backend/name").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Waits until the route leads to the backend of the status, and nowhere else.
    fn route_has_moved(&self) {
        self.eventually("the route has moved", || {
            let path = "jsonpath={.items[*].spec.rules[0].backendRefs[*].name}";
            let backends = self.namespace.kubectl(&["get", "httproutes", "-o", path]);
            // That of the function and that of its short names.
            (backends.split_whitespace().eq([self.backend().as_str(); 2])).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sc20_a_function_goes_to_zero_answers_from_there_and_goes_back() {
    let deployed = Deployed::new("zero", demo::sample("scale-to-zero").unwrap());
    deployed.is_ready();
    deployed.is_served("/").await;
    deployed.eventually("no pod is left", || deployed.pods().is_empty().then_some(()));
    assert_eq!(deployed.object().pointer("/status/serving/state").unwrap(), "Running", "it sleeps, and that is well");
    let began = Instant::now();
    assert_eq!(deployed.answer("/").await, (200, "Awake.".to_owned()));
    println!("the first answer from zero: {:.1?}", began.elapsed());
    assert_eq!(deployed.answer_inside(), "Awake.");
    deployed.eventually("no pod is left", || deployed.pods().is_empty().then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tr18_updates_bounds_and_engines_change_under_load_and_no_request_fails() {
    let mut deployed = Deployed::new("engines", page("knative", "one"));
    deployed.is_ready();
    deployed.is_served("/").await;
    let load = Load::begin(GATEWAY, deployed.external_host(), PER_SECOND);

    deployed.change(|manifest| says(manifest, "two"));
    deployed.is_ready();
    deployed.route_has_moved();
    let began = Instant::now();
    while deployed.answer("/").await != (200, "two".to_owned()) {
        assert!(began.elapsed() < DEADLINE, "the proxy does not learn of the update");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // Other bounds: another revision of Knative in the same Knative Service.
    let (revision, backend) = (deployed.object().pointer("/status/serving/resourceRef").cloned(), deployed.backend());
    deployed.change(|manifest| manifest["spec"]["serving"]["scaleOptions"]["minReplicas"] = json!(2));
    deployed.eventually("another backend", || (deployed.backend() != backend).then_some(()));
    deployed.is_ready();
    deployed.route_has_moved();
    assert_eq!(deployed.object().pointer("/status/serving/resourceRef").cloned(), revision);

    deployed.change(|manifest| runs_on(manifest, "native"));
    deployed.is_ready();
    deployed.route_has_moved();
    deployed.eventually("the Knative Service goes", || {
        deployed.namespace.kubectl(&["get", "ksvc", "-o", "name"]).is_empty().then_some(())
    });

    // A version that fails takes nothing from the one that answers.
    let good = deployed.manifest.clone();
    deployed.change(|manifest| {
        runs_on(manifest, "knative");
        let command = manifest.pointer_mut("/spec/serving/template/containers/0/command").unwrap();
        *command = json!(["sh", "-c", "echo no bread >&2; exit 3"]);
    });
    // The words of the container come after its end.
    deployed.eventually("the failure is told", || {
        let ready = deployed.condition("Ready");
        let message = ready["message"].as_str()?;
        let is_told = ["exit code 3", "no bread", "keeps answering"].iter().all(|part| message.contains(part));
        (ready["status"] == "False" && ready["reason"] == "Error" && is_told).then_some(())
    });
    deployed.change(|manifest| *manifest = good);
    deployed.is_ready();

    deployed.change(|manifest| runs_on(manifest, "knative"));
    deployed.is_ready();
    deployed.route_has_moved();
    deployed.eventually("the Deployment of before goes", || {
        let path = r"jsonpath={.items[?(@.metadata.labels.openfunction\.io/managed)].metadata.ownerReferences[*].kind}";
        (!deployed.namespace.kubectl(&["get", "deployments", "-o", path]).contains("Serving")).then_some(())
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests = load.end().await;
    println!("{requests} requests, none failed");
    assert!(requests > 2000, "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_revision_of_knative_from_starting_is_told_in_the_pods_words() {
    let mut deployed = Deployed::new("kn-failures", page("knative", "well"));
    deployed.is_ready();
    deployed.is_served("/").await;
    let good = deployed.manifest.clone();
    let container = "/spec/serving/template/containers/0";
    for (what, field, value, reason, parts) in [
        (
            "an image that is not there",
            "image",
            json!("registry.ofn.local:5000/nothing:here"),
            "",
            &["nothing:here"][..],
        ),
        (
            "a missing ConfigMap",
            "envFrom",
            json!([{"configMapRef": {"name": "absent"}}]),
            "CreateContainerConfigError",
            &["configmap \"absent\" not found"],
        ),
        (
            "a pod that no node can take",
            "resources",
            json!({"requests": {"memory": "900Gi"}}),
            "Unschedulable",
            &["Insufficient memory"],
        ),
        ("a quota", "quota", json!({"pods": "1"}), "", &["exceeded quota"]),
        (
            "a bad option",
            "option",
            json!("many"),
            "ApplyFailed",
            &["spec.scaleOptions.knative[autoscaling.knative.dev/target]", "many"],
        ),
    ] {
        if field == "quota" {
            let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": {"hard": value}});
            deployed.namespace.apply(&quota.to_string());
        }
        deployed.change(|manifest| {
            *manifest = good.clone();
            match field {
                "image" => manifest["spec"]["image"] = value.clone(),
                "option" => {
                    manifest["spec"]["serving"]["scaleOptions"]["knative"] =
                        json!({"autoscaling.knative.dev/target": value})
                }
                "quota" => says(manifest, "more"),
                _ => manifest.pointer_mut(container).unwrap()[field] = value.clone(),
            }
        });
        let began = Instant::now();
        let message = deployed.eventually(what, || {
            let ready = deployed.condition("Ready");
            let message = ready["message"].as_str().unwrap_or_default().to_owned();
            let is_told = ready["status"] == "False" && (reason.is_empty() || ready["reason"] == reason);
            (is_told && parts.iter().all(|part| message.contains(part))).then_some(message)
        });
        println!("{what}: after {:.1?}: {message}", began.elapsed());
        assert_eq!(deployed.answer("/").await, (200, "well".to_owned()), "{what}: the old revision answers");
        deployed.namespace.kubectl(&["delete", "resourcequota", "--all"]);
    }
}
