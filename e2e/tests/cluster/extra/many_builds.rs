//! Many builds at once, and a controller that is killed while it builds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use e2e::{
    cache::run,
    local::{cluster::Cluster, node, registry::OPEN},
    product::NAMESPACE,
};
use serde_json::{Value, json};

use crate::{
    functions::{Deployed, product_alone, strategies::function},
    support::Namespace,
};

/// Builds at once, of which the installation runs ten.
const BUILDS: usize = 20;
const AT_ONCE: usize = 10;
/// Most memory that the controller may take with them, in bytes.
const MEMORY: u64 = 30_000_000;

/// A build that takes some seconds, told apart from others by a word.
fn build(word: &str, seconds: u32) -> Value {
    let dockerfile = format!("FROM busybox\nRUN sleep {seconds} && echo {word} >/word\nCMD [\"cat\", \"/word\"]\n");
    json!({"dockerfile": "Dockerfile", "srcRepo": {"inline": {"files": {"Dockerfile": dockerfile}}}, "successfulBuildsHistoryLimit": 10})
}

fn list(namespace: &Namespace, what: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&namespace.kubectl(&["get", what, "-o", "json"])).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Memory of the processes of a name, in bytes: the node's processes are this machine's.
fn memory(program: &str) -> u64 {
    let of = |process: fs::DirEntry| {
        let told = fs::read_to_string(process.path().join("status")).ok()?;
        // The kernel keeps 15 letters of a name.
        told.starts_with(&format!("Name:\t{}\n", &program[..15])).then_some(())?;
        let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    };
    fs::read_dir("/proc").unwrap().filter_map(|process| of(process.ok()?)).max().expect("the controller runs")
}

#[test]
fn twenty_builds_at_once_wait_for_each_other_and_none_is_lost() {
    let _alone = product_alone();
    let namespace = Namespace::new("many-builds");
    let functions: Vec<_> =
        (0..BUILDS).map(|index| function(&format!("many-{index}"), build(&format!("word-{index}"), 1))).collect();
    let began = Instant::now();
    namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": functions}).to_string());
    let (mut most_memory, mut most_queued) = (0, 0);
    let digests = loop {
        let pods = list(&namespace, "pods");
        let goes_on = |pod: &&Value| !["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""));
        let running = pods.iter().filter(goes_on).count();
        assert!(running <= AT_ONCE, "{running} builds run");
        most_memory = most_memory.max(memory("builder-controller"));
        let builders = list(&namespace, "builders");
        most_queued = most_queued.max(builders.iter().filter(|b| b["status"]["reason"] == "Queued").count());
        let digest = |function: &Value| {
            let digest = function.pointer("/status/revision/imageDigest").and_then(Value::as_str).map(str::to_owned);
            digest.filter(|_| function.pointer("/status/build/state") == Some(&json!("Succeeded")))
        };
        let functions = list(&namespace, "functions");
        let digests: BTreeSet<_> = functions.iter().filter_map(digest).collect();
        if digests.len() == BUILDS {
            break digests;
        }
        let states: Vec<_> = functions.iter().map(|function| function.pointer("/status/build/state")).collect();
        assert!(began.elapsed() < Duration::from_secs(500), "{states:?}");
        std::thread::sleep(Duration::from_millis(500));
    };
    println!(
        "{} builds in {:.0?}; {most_queued} waited; builder-controller took {:.1} MB",
        digests.len(),
        began.elapsed(),
        most_memory as f64 / 1e6
    );
    assert!(most_queued >= BUILDS - AT_ONCE - 1, "{most_queued} were seen to wait");
    assert!(most_memory < MEMORY, "{most_memory}");
}

/// Kills of the controller, and the builds that they fall into.
const KILLS: u32 = 20;
const ROUNDS: u32 = 4;

/// Kills the controller; whoever was the leader says nothing before.
fn kill(cluster: &Cluster) {
    let name = "--selector=app.kubernetes.io/name=builder-controller";
    let mut delete = cluster.kubectl();
    run(delete.args(["-n", NAMESPACE, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false"])).unwrap();
}

#[test]
fn a_build_ends_once_with_its_digest_whenever_the_controller_is_killed() {
    let alone = product_alone();
    let cluster = Cluster::here().unwrap();
    let mut deployed = Deployed::alone(&alone, "killed", function("killed", build("word-0", 30)));
    let repository = format!("killed-{}", std::process::id());
    // Pods by their names, as long as they are seen.
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut kills = 0;
    for round in 0..ROUNDS {
        let word = format!("word-{round}");
        deployed.change(|manifest| manifest["spec"]["build"] = build(&word, 30));
        let until = (round + 1) * KILLS / ROUNDS;
        let mut next = Instant::now();
        let began = Instant::now();
        loop {
            if kills < until && next <= Instant::now() {
                kill(&cluster);
                kills += 1;
                next = Instant::now() + Duration::from_millis(RandomState::new().hash_one(kills) % 20_000);
            }
            for pod in list(&deployed.namespace, "pods") {
                let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap().to_owned();
                seen.entry(text("/metadata/name")).or_default().insert(text("/metadata/uid"));
            }
            let ready = deployed.condition("BuildReady");
            assert_ne!(ready["status"], "False", "{ready}");
            if ready["status"] == "True" && kills >= until {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(300), "round {round}: {ready}");
            std::thread::sleep(Duration::from_millis(200));
        }
        let digest = deployed.eventually("the digest is told", || {
            let object = deployed.object();
            object.pointer("/status/revision/imageDigest").and_then(Value::as_str).map(str::to_owned)
        });
        let mut skopeo = node::program("skopeo").unwrap();
        let place = format!("docker://172.30.0.1:5000/{repository}:v1");
        let pushed = run(skopeo.args(["inspect", "--format={{.Digest}}", "--tls-verify=false", &place])).unwrap();
        assert_eq!(digest, pushed.trim(), "round {round}");
        let said =
            deployed.namespace.run_image(&format!("says-{round}"), &format!("{OPEN}/{repository}@{digest}"), &[]);
        assert_eq!(said.trim(), word);
    }
    seen.retain(|name, _| !name.starts_with("says-"));
    println!("{kills} kills, builds: {seen:?}");
    assert_eq!(seen.len(), ROUNDS as usize);
    assert!(seen.values().all(|pods| pods.len() == 1), "a build has run twice: {seen:?}");
    // The next test meets a controller that works.
    run(cluster.kubectl().args([
        "-n",
        NAMESPACE,
        "rollout",
        "status",
        "deployment/builder-controller",
        "--timeout=120s",
    ]))
    .unwrap();
}
