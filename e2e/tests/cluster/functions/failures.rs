//! What can go wrong is told on the Function, and what answered before goes on.

use serde_json::{Value, json};

use super::{Deployed, engines::page, source};

/// Prints how fast a failure was told, and checks what was said.
async fn told(deployed: &Deployed, what: &str, reason: &str, parts: &[&str]) {
    let (took, message) = deployed.fails(reason);
    println!("{what}: {reason} after {took:.1?}: {message}");
    for part in parts {
        assert!(message.contains(part), "{what}: {part:?} is not in {message:?}");
    }
    let blocker =
        deployed.namespace.kubectl(&["get", "fn", &deployed.name, "-o", "jsonpath={.status.blockedBy[0].reason}"]);
    assert_eq!(blocker, reason);
    assert_eq!(deployed.answer("/").await, (200, "Hello, World!".to_owned()), "{what}: the old revision answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_told_and_the_old_revision_keeps_answering() {
    let (mut deployed, work, repository) = Deployed::built("failures", "hello-node");
    deployed.is_ready();
    deployed.is_served("/").await;
    let good = deployed.manifest.clone();
    let keeps = "keeps answering";

    deployed.change(|manifest| manifest["spec"]["build"]["srcRepo"]["url"] = json!("http://nowhere.example.com/x.git"));
    told(
        &deployed,
        "a wrong git URL",
        "GitUnreachable",
        &["step source failed", "Could not resolve host", "spec.build.srcRepo.url", keeps],
    )
    .await;

    deployed.change(|manifest| manifest["spec"]["build"]["srcRepo"] = source(&repository, "no-such-branch"));
    told(
        &deployed,
        "a wrong revision",
        "GitRevisionNotFound",
        &["no such revision: no-such-branch", "spec.build.srcRepo.revision", keeps],
    )
    .await;

    deployed.change(|manifest| {
        *manifest = good.clone();
        manifest["spec"]["build"]["dockerfile"] = json!("Containerfile");
    });
    told(
        &deployed,
        "a missing Dockerfile",
        "DockerfileNotFound",
        &["step build-and-push failed", "has no file Containerfile", "spec.build.dockerfile", keeps],
    )
    .await;

    let commit = work.push(&repository, |folder| {
        let path = folder.join("Dockerfile");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, format!("{text}\nUSER 0\nRUN echo no more bread >&2 && exit 7\n")).unwrap();
    });
    deployed.change(|manifest| {
        *manifest = good.clone();
        manifest["spec"]["build"]["srcRepo"] = source(&repository, &commit);
    });
    told(
        &deployed,
        "a failing RUN",
        "InstructionFailed",
        &["did not complete successfully: exit code: 7", "RUN instruction", keeps],
    )
    .await;
    let tail = deployed.namespace.kubectl(&["get", "builders", "-o", "jsonpath={.items[*].status.failure.logTail}"]);
    assert!(tail.contains("no more bread"), "{tail}");

    let template = |container: Value| json!({"containers": [container]});
    deployed.change(|manifest| {
        *manifest = good.clone();
        manifest["spec"]["serving"]["template"] = template(
            json!({"name": "function", "command": ["node", "-e", "console.error('no database'); process.exit(3)"]}),
        );
    });
    told(
        &deployed,
        "an image that does not start",
        "Error",
        &["exit code 3", "no database", "kubectl logs --previous", keeps],
    )
    .await;

    deployed.change(|manifest| {
        *manifest = good.clone();
        manifest["spec"]["serving"]["template"] = template(json!({"name": "function", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "a"}}}]}));
    });
    told(
        &deployed,
        "a missing Secret",
        "CreateContainerConfigError",
        &["ConfigMaps and Secrets that the template names", keeps],
    )
    .await;

    deployed.change(|manifest| {
        *manifest = good.clone();
        manifest["spec"]["serving"]["triggers"]["http"]["route"] =
            json!({"gatewayRef": {"name": "absent", "namespace": "openfunction"}});
    });
    told(
        &deployed,
        "a missing Gateway",
        "GatewayMissing",
        &["OpenFunction Gateway openfunction/absent does not exist", "gatewayRef"],
    )
    .await;

    // And back again: the revision that always answered is met again.
    deployed.change(|manifest| *manifest = good.clone());
    deployed.is_ready();
    assert_eq!(deployed.answer("/").await, (200, "Hello, World!".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn wa10_wa11_a_node_without_a_runtime_for_wasm_is_told_and_wasm_is_left_again() {
    let mut deployed = Deployed::new("wasm", page("native", "one"));
    deployed.is_ready();
    deployed.is_served("/").await;
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "absent"}, "handler": "absent"});
    deployed.namespace.apply(&class.to_string());
    deployed.change(|manifest| {
        manifest["spec"]["workloadRuntime"] = json!("WasmEdge");
        manifest["spec"]["serving"]["template"] = json!({"containers": [], "runtimeClassName": "absent"});
    });
    let (_, message) = deployed.fails("FailedCreatePodSandBox");
    for part in [r#"no runtime for "absent" is configured"#, "runtimeClassName", "keeps answering"] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
    assert_eq!(deployed.answer("/").await, (200, "one".to_owned()));
    deployed.change(|manifest| *manifest = page("native", "one"));
    deployed.is_ready();
    assert_eq!(deployed.answer("/").await, (200, "one".to_owned()));
}
