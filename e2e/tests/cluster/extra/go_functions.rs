//! Functions of OpenFunction's functions framework for Go, built by buildpacks. Not among the core: compiling takes all of
//! two cores for minutes, beside tests that count requests.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
};

use e2e::{
    cache::run,
    go::module_folder,
    local::{go_modules::PROXY, node, registry::OPEN},
    parts::FUNCTIONS_FRAMEWORK,
};
use reqwest::header::HOST;
use serde_json::{Value, json};

use crate::{
    functions::{
        Deployed, GATEWAY,
        strategies::{built, served},
    },
    support::{client, eventually},
};

/// The sums of everything that programs of the framework are built from.
fn sums() -> String {
    fs::read_to_string(e2e::demo::samples().join("function-go/go.sum")).unwrap()
}

/// A build with source that holds a module.
fn build(builder: &str, name: &str, require: &str, mut files: Value) -> Value {
    files["go.mod"] = json!(format!("module example.com/function\n\ngo 1.24\n{require}"));
    files["go.sum"] = json!(sums());
    let env = json!({"FUNC_NAME": name, "FUNC_GOPROXY": PROXY, "FUNC_CLEAR_SOURCE": "true"});
    json!({"builder": builder, "env": env, "srcRepo": {"inline": {"files": files}}})
}

/// Posts as an HTTP client does; status and body.
async fn post(deployed: &Deployed, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
    let mut request = client().post(format!("{GATEWAY}{path}")).header(HOST, deployed.external_host());
    for (name, value) in headers.iter().chain(&[("content-type", "application/json")]) {
        request = request.header(*name, *value);
    }
    let answer = request.body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn bu22_the_frameworks_own_sample_answers_with_every_signature() {
    let (module, version) = (FUNCTIONS_FRAMEWORK.module, FUNCTIONS_FRAMEWORK.version);
    let sample = module_folder(module, version).unwrap().join("test/declarative/sync-http-variables");
    let file = |name: &str| json!(fs::read_to_string(sample.join(name)).unwrap());
    let files = json!({"main.go": file("main.go"), "http.go": file("http.go")});
    let require = format!("\nrequire {module} {version}\n");
    let deployed = served("go-variables", build("openfunction/builder-go:v2.4.0", "Hello", &require, files));
    built(&deployed, "");
    deployed.is_served("/hello/you").await;
    assert_eq!(deployed.answer("/hello/you").await, (200, r#"{"hello":"you"}"#.to_owned()));
    let (status, said) = post(&deployed, "/bar/you", &[], &json!({"data": "hi"})).await;
    assert_eq!((status, said.as_str()), (200, r#"{"hi":"you"}"#), "OpenFunction signature");
    let event = [("ce-specversion", "1.0"), ("ce-type", "test"), ("ce-source", "test"), ("ce-id", "1")];
    let (status, said) = post(&deployed, "/foo/you", &event, &json!({"data": "event"})).await;
    assert_eq!(status, 200, "CloudEvent signature: {said}");
    let log = || deployed.namespace.kubectl(&["logs", "--selector=openfunction.io/serving", "--tail=-1"]);
    eventually("the event is in the log", || log().contains(r#"cloudevent - Data: {"event":"you"}"#).then_some(()));
    // What is no event is not taken for one.
    let (status, _) = post(&deployed, "/foo/you", &[], &json!({"data": "event"})).await;
    assert!((400..500).contains(&status), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bu22_a_function_that_knows_nothing_of_the_framework_is_put_into_it() {
    let program = "package function\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc Plain(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"plain\") }\n";
    let deployed =
        served("go-plain", build("openfunction/builder-go:v2.4.0-1.17", "Plain", "", json!({"plain.go": program})));
    built(&deployed, "");
    deployed.is_served("/").await;
    assert_eq!(deployed.answer("/").await, (200, "plain".to_owned()));
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The root file system of an image, and its environment.
fn unpacked(image: &str, folder: &Path) -> Vec<String> {
    let place = image.replace(OPEN, "docker://172.30.0.1:5000");
    let copy = folder.join("image");
    let mut skopeo = node::program("skopeo").unwrap();
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &place]);
    run(skopeo.arg(format!("dir:{}", copy.display()))).unwrap();
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(copy.join(name)).unwrap()).unwrap() };
    let manifest = read("manifest.json");
    let blob = |descriptor: &Value| descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let root = folder.join("root");
    fs::create_dir(&root).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(copy.join(blob(layer)))).unwrap();
    }
    let config = read(&blob(&manifest["config"]));
    let variables = config.pointer("/config/Env").unwrap().as_array().unwrap().iter();
    variables.map(|variable| variable.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bu27_the_sample_answers_in_the_cluster_and_its_image_outside() {
    let (deployed, _, repository) = Deployed::built("function-go", "function-go");
    let image = built(&deployed, &format!("{OPEN}/{repository}:v1"));
    deployed.is_served("/").await;
    assert_eq!(deployed.answer("/").await, (200, "Hello, World!".to_owned()));

    let folder = tempfile::tempdir().unwrap();
    let variables = unpacked(&image, folder.path());
    // A network of its own, so that whatever uses port 8080 here is left alone.
    let mut outside = Command::new("unshare");
    outside.args([
        "--net",
        "sh",
        "-c",
        r#"ip link set lo up && exec chroot --userspec=1000:1000 "$1" /cnb/process/web"#,
        "sh",
    ]);
    outside.arg(folder.path().join("root"));
    outside.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
    outside.env("CONTEXT_MODE", "self-host").env(
        "FUNC_CONTEXT",
        json!({"name": "HelloWorld", "version": "v1.0.0", "port": "8080", "runtime": "Knative"}).to_string(),
    );
    let outside = Running(outside.spawn().unwrap());
    let network = format!("--net=/proc/{}/ns/net", outside.0.id());
    let ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').read().decode())";
    let said = eventually("it answers", || run(Command::new("nsenter").args([&network, "python3", "-c", ask])).ok());
    assert_eq!(said.trim(), "Hello, World!");
}
