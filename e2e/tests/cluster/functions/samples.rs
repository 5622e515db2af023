//! The samples of docs/samples.

use e2e::demo;

use super::Deployed;

async fn is_built_and_answers(test: &str, sample: &str) {
    let (deployed, ..) = Deployed::built(test, sample);
    deployed.is_ready();
    deployed.is_served("/").await;
    assert_eq!(deployed.answer("/").await, (200, "Hello, World!".to_owned()));
    assert_eq!(deployed.answer_inside(), "Hello, World!");
    let status = deployed.object()["status"].clone();
    let commit = status.pointer("/sources/0/git/commitSha").unwrap().clone();
    assert_eq!(Some(&commit), deployed.manifest.pointer("/spec/build/srcRepo/revision"));
    assert!(status.pointer("/revision/imageDigest").unwrap().as_str().unwrap().starts_with("sha256:"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_in_go_is_built_and_answers_inside_and_outside() {
    is_built_and_answers("sample-go", "hello-go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_in_javascript_is_built_and_answers_inside_and_outside() {
    is_built_and_answers("sample-node", "hello-node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_in_python_is_built_and_answers_inside_and_outside() {
    is_built_and_answers("sample-python", "hello-python").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_runs_from_a_ready_image() {
    let deployed = Deployed::new("sample-ready", demo::sample("ready-image").unwrap());
    deployed.is_ready();
    deployed.is_served("/").await;
    let (status, body) = deployed.answer("/").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(deployed.answer_inside(), body);

    // What kubectl shows (FN25).
    let table = deployed.namespace.kubectl(&["get", "fn"]);
    let columns: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns, ["NAME", "BUILDSTATE", "SERVINGSTATE", "BUILDER", "SERVING", "ADDRESS", "AGE"]);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    let revision = deployed.object().pointer("/status/serving/resourceRef").unwrap().as_str().unwrap().to_owned();
    assert_eq!(
        row[..5],
        [deployed.name.as_str(), "Skipped", "Running", revision.as_str(), deployed.address("Internal").as_str()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_a_hostname_and_paths_of_its_own() {
    let deployed = Deployed::new("sample-route", demo::sample("custom-route").unwrap());
    deployed.is_ready();
    assert_eq!(deployed.external_host(), "greetings.example.com");
    deployed.is_served("/hello").await;
    for path in ["/hello", "/status"] {
        assert_eq!(deployed.answer(path).await.0, 200, "{path}");
    }
    assert_eq!(deployed.answer("/elsewhere").await.0, 404);
    assert_eq!(deployed.answer_inside(), deployed.answer("/hello").await.1.trim(), "its internal address answers, too");
}
