//! Engine `shipwright`: the same strategies, run by Shipwright on Tekton, with every kind of outcome.

use std::sync::RwLockWriteGuard;

use e2e::{
    cache::run,
    local::{cluster::Cluster, registry::OPEN},
    product::NAMESPACE,
};
use serde_json::{Value, json};

use crate::{
    functions::{
        Deployed, product_alone, source,
        strategies::{built, function, strategy},
    },
    git::Work,
};

const DOCKERFILE: &str = "FROM busybox\nARG WHO=nobody\nRUN echo \"built for $WHO\" >/said\nCMD [\"cat\", \"/said\"]\n";

/// What runs the build of a Function.
fn run_of(deployed: &Deployed) -> Value {
    let builders: Value =
        serde_json::from_str(&deployed.namespace.kubectl(&["get", "builders", "-o", "json"])).unwrap();
    builders.pointer("/items/0/status/resourceRef").cloned().unwrap_or_default()
}

type Alone<'a> = &'a RwLockWriteGuard<'static, ()>;

/// Sets what runs builds.
fn engine(engine: &str) {
    let cluster = Cluster::here().unwrap();
    let kubectl = |arguments: &[&str]| run(cluster.kubectl().args(["-n", NAMESPACE]).args(arguments)).unwrap();
    kubectl(&["set", "env", "deployment/builder-controller", &format!("BUILD_ENGINE={engine}")]);
    kubectl(&["rollout", "status", "deployment/builder-controller", "--timeout=120s"]);
}

fn of_git(alone: Alone, test: &str, files: &[(&str, &str)], mut build: Value) -> (Deployed, String) {
    let repository = format!("{test}-{}", std::process::id());
    let commit = Work::of(test, files).push(&repository, |_| {});
    build["srcRepo"] = source(&repository, &commit);
    // Otherwise the Builder goes when it is done.
    build["successfulBuildsHistoryLimit"] = json!(1);
    let deployed = Deployed::alone(alone, test, function(test, build));
    let image = built(&deployed, &format!("{OPEN}/{test}-{}:v1", std::process::id()));
    let built_of =
        deployed.object().pointer("/status/sources/0/git/commitSha").and_then(Value::as_str).map(str::to_owned);
    assert_eq!(built_of, Some(commit));
    assert!(run_of(&deployed)["shipwright.io/buildRun"].is_string(), "{}", run_of(&deployed));
    (deployed, image)
}

fn is_built_from_a_dockerfile(alone: Alone, name: &str) {
    let params = json!([{"name": "build-args", "values": [{"value": "WHO=me"}]}]);
    let build = json!({"shipwright": {"strategy": strategy(name), "params": params}});
    let (deployed, image) = of_git(alone, &format!("run-{name}"), &[("Dockerfile", DOCKERFILE)], build);
    assert_eq!(deployed.namespace.run_image("built", &image, &[]).trim(), "built for me");
}

fn is_built_by_buildpacks(alone: Alone) {
    let program = "import os\n\n\ndef greet(path):\n    return os.environ.get('BUILD_NOTE', '')\n";
    let env = json!({"FUNC_NAME": "greet", "BUILD_NOTE": "a=b#c, $(HOME) $$ \"q\""});
    let build = json!({"builder": "openfunction/gcp-builder:v1", "env": env});
    let (deployed, image) = of_git(alone, "run-buildpacks", &[("main.py", program)], build);
    deployed.namespace.kubectl(&["run", "built", &format!("--image={image}"), "--port=8080"]);
    deployed.namespace.kubectl(&["wait", "pod/built", "--for=condition=Ready", "--timeout=60s"]);
    let address = deployed.namespace.kubectl(&["get", "pod", "built", "-o", "jsonpath={.status.podIP}"]);
    let ask = format!("until wget -qO- http://{address}:8080/; do sleep 0.5; done");
    let said = deployed.namespace.run_in_pod("asks", &["sh", "-c", &ask]);
    assert_eq!(said.trim(), "a=b#c, $(HOME) $$ \"q\"");
}

fn says_why_it_fails(alone: Alone) {
    let url = "http://git.openfunction-local.svc.cluster.local/no-such.git";
    let build = json!({"srcRepo": {"url": url}, "shipwright": {"strategy": strategy("buildkit")}});
    let deployed = Deployed::alone(alone, "run-fails", function("run-fails", build));
    let message = deployed.eventually("it fails", || {
        let condition = deployed.condition("BuildReady");
        (condition["status"] == "False").then(|| condition["message"].as_str().unwrap_or_default().to_owned())
    });
    assert!(message.contains("source-default"), "{message}");
    assert!(run_of(&deployed)["shipwright.io/buildRun"].is_string(), "{}", run_of(&deployed));
}

#[test]
fn st24_b58_shipwright_builds_by_the_same_strategies_and_a_failure_is_told() {
    let alone = product_alone();
    engine("auto");
    let done = std::panic::catch_unwind(|| {
        is_built_from_a_dockerfile(&alone, "buildkit");
        is_built_from_a_dockerfile(&alone, "buildah");
        is_built_by_buildpacks(&alone);
        says_why_it_fails(&alone);
    });
    engine("native");
    drop(alone);
    done.unwrap();
}
