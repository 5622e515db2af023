//! The build strategies and every kind of source, with the real tools and real pushes.

use e2e::{
    cache::run,
    local::registry::{OPEN, PASSWORD, PRIVATE, TLS, USER},
};
use serde_json::{Value, json};

use super::Deployed;
use crate::git::Work;

/// A value that every way of quoting would hurt.
const AWKWARD: &str = "a=b#c, -x $(HOME) $$ `id` \"q\" 'r'\n  second line;";

/// Who a Dockerfile is built for: any shell that read it would do more than say it.
const WHO: &str = "me; touch /pwned && $(id) `id` \"q\" 'r' # * ~";

const PYTHON: &str = "import os\n\n\ndef greet(path):\n    return os.environ.get('BUILD_NOTE', '') + '|' + path + '|' + ','.join(sorted(os.listdir('.')))\n";

/// A Function that is built.
pub fn function(test: &str, mut build: Value) -> Value {
    if build.get("builder").is_none() {
        build["dockerfile"] = json!("Dockerfile");
    }
    let image = format!("{OPEN}/{test}-{}:v1", std::process::id());
    json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": test}, "spec": {"image": image, "build": build}})
}

/// A Function that is only built, and its image.
fn building(test: &str, build: Value) -> (Deployed, String) {
    let manifest = function(test, build);
    let image = manifest["spec"]["image"].as_str().unwrap().to_owned();
    (Deployed::new(test, manifest), image)
}

/// A Function that is built and runs.
pub fn served(test: &str, build: Value) -> Deployed {
    let mut manifest = function(test, build);
    manifest["spec"]["serving"] = json!({"triggers": {"http": {"engine": "native"}}});
    Deployed::new(test, manifest)
}

/// Waits for a build; the image by its digest.
pub fn built(deployed: &Deployed, image: &str) -> String {
    deployed.eventually("the build ends", || {
        let build = deployed.condition("BuildReady");
        assert_ne!(build["status"], "False", "{build:#}");
        (build["status"] == "True").then_some(())
    });
    deployed.is_ready();
    let digest = deployed.object().pointer("/status/revision/imageDigest").and_then(Value::as_str).unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{digest}");
    format!("{}@{digest}", image.trim_end_matches(":v1"))
}

pub fn strategy(name: &str) -> Value {
    json!({"kind": "ClusterBuildStrategy", "name": name})
}

/// A Dockerfile that needs its build argument and its RUN step.
fn dockerfile(base: &str) -> Value {
    let text = format!("FROM {base}\nARG WHO=nobody\nRUN echo \"built for $WHO\" >/said\nCMD [\"cat\", \"/said\"]\n");
    json!({"inline": {"files": {"app/Dockerfile": text}}, "sourceSubPath": "app"})
}

#[tokio::test(flavor = "multi_thread")]
async fn st3_b52_buildpacks_build_a_function_and_its_variables_arrive_unchanged() {
    let env = json!({"FUNC_NAME": "greet", "FUNC_CLEAR_SOURCE": "true", "BUILD_NOTE": AWKWARD, "EMPTY": ""});
    let source = json!({"inline": {"files": {"main.py": PYTHON}}});
    let mut deployed =
        served("buildpacks", json!({"builder": "openfunction/gcp-builder:v1", "env": env, "srcRepo": source}));
    built(&deployed, "");
    deployed.is_served("/").await;
    assert_eq!(deployed.answer("/a").await, (200, format!("{AWKWARD}|/a|")), "FUNC_CLEAR_SOURCE leaves nothing");

    // `ENV_VARS` in both forms, which `env` wins over.
    deployed.change(|manifest| {
        manifest["spec"]["build"]["env"] = json!({"FUNC_NAME": "greet"});
        manifest["spec"]["build"]["shipwright"] =
            json!({"params": {"ENV_VARS": "BUILD_NOTE=x=y,z,FUNC_NAME=wrong", "PROCESS_TYPE": "web"}});
    });
    deployed.is_ready();
    assert_eq!(deployed.answer("/").await, (200, "x=y,z|/|main.py".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bu23_a_function_in_javascript_is_built_by_its_builder() {
    let source = json!({"inline": {"files": {"index.js": "exports.hello = path => 'Hello, ' + path;\n"}}});
    let deployed = served(
        "builder-node",
        json!({"builder": "openfunction/builder-node:v2-16.15", "env": {"FUNC_NAME": "hello"}, "srcRepo": source}),
    );
    built(&deployed, "");
    deployed.is_served("/").await;
    assert_eq!(deployed.answer("/you").await, (200, "Hello, /you".to_owned()));
}

fn is_built_from_a_dockerfile(name: &str, build: Value) {
    let (deployed, image) = building(&format!("by-{name}"), build);
    assert_eq!(says(&deployed, &image), format!("built for {WHO}"));
}

/// What a program that was built says.
fn says(deployed: &Deployed, image: &str) -> String {
    let image = built(deployed, image);
    deployed.namespace.run_image("built", &image, &[]).trim().to_owned()
}

#[test]
fn st11_buildah_builds_a_dockerfile_without_privileges() {
    let shipwright = json!({"strategy": strategy("buildah"), "params": [
        {"name": "build-args", "values": [{"value": format!("WHO={WHO}")}]}, {"name": "registry-search", "value": "docker.io"},
        {"name": "registry-insecure", "value": OPEN}, {"name": "registry-block", "value": "blocked.example.com"}]});
    is_built_from_a_dockerfile("buildah", json!({"srcRepo": dockerfile("busybox"), "shipwright": shipwright}));
}

#[test]
fn st15_kaniko_builds_a_dockerfile_without_privileges() {
    let shipwright = json!({"strategy": strategy("kaniko"), "params": [{"name": "flags", "values": [{"value": format!("--build-arg=WHO={WHO}")}]}]});
    is_built_from_a_dockerfile("kaniko", json!({"srcRepo": dockerfile("busybox"), "shipwright": shipwright}));
}

#[test]
fn st22_buildkit_builds_a_dockerfile() {
    let params = json!([{"name": "build-args", "values": [{"value": format!("WHO={WHO}")}]}]);
    let shipwright = json!({"strategy": strategy("buildkit"), "params": params});
    is_built_from_a_dockerfile("buildkit", json!({"srcRepo": dockerfile("busybox"), "shipwright": shipwright}));
}

#[test]
fn wa4_an_image_of_the_wasm_strategy_carries_its_annotation() {
    let source = json!({"inline": {"files": {"Dockerfile": "FROM scratch\nCOPY app.wasm /\nCMD [\"/app.wasm\"]\n", "app.wasm": "\u{0}asm".trim_start_matches('\u{0}')}}});
    let (deployed, image) =
        building("by-wasmedge", json!({"srcRepo": source, "shipwright": {"strategy": strategy("wasmedge")}}));
    let image = built(&deployed, &image);
    let mut skopeo = e2e::local::node::program("skopeo").unwrap();
    let place = image.replace(OPEN, "docker://172.30.0.1:5000");
    let manifest = run(skopeo.args(["inspect", "--raw", "--tls-verify=false", &place])).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["annotations"]["module.wasm.image/variant"], "compat-smart", "{manifest}");
}

#[test]
fn st16_ko_builds_a_go_program() {
    let program =
        "package main\n\nimport \"fmt\"\n\nvar tag string\n\nfunc main() { fmt.Println(\"Hello from ko\") }\n";
    let source =
        json!({"inline": {"files": {"go.mod": "module example.com/hello\n\ngo 1.24\n", "cmd/hello/main.go": program}}});
    let params = json!({"go-flags": "-trimpath", "ko-version": "latest", "package-directory": "cmd/hello", "target-platform": "linux/amd64"});
    let (deployed, image) = building(
        "by-ko",
        json!({"builder": "ghcr.io/ko-build/ko:v0.19.1", "dockerfile": "Dockerfile", "srcRepo": source, "env": {"KO_DEFAULTBASEIMAGE": format!("{OPEN}/library/busybox:latest")},
            "shipwright": {"strategy": strategy("ko"), "params": params}}),
    );
    assert_eq!(says(&deployed, &image), "Hello from ko");
}

#[test]
fn bu5_bu7_a_folder_is_pushed_as_a_bundle_and_built() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("app")).unwrap();
    let text = dockerfile("busybox").pointer("/inline/files/app~1Dockerfile").unwrap().as_str().unwrap().to_owned();
    std::fs::write(folder.path().join("app/Dockerfile"), text).unwrap();
    let name = format!("bundle-{}", std::process::id());
    let docker = tempfile::tempdir().unwrap();
    let auth = json!({"auths": {"172.30.0.1:5001": {"username": USER, "password": PASSWORD}}});
    std::fs::write(docker.path().join("config.json"), auth.to_string()).unwrap();
    let mut bundle = std::process::Command::new(e2e::product::build_helper().unwrap());
    bundle.env("DOCKER_CONFIG", docker.path()).args(["bundle", "--insecure"]).arg(folder.path());
    let pushed = run(bundle.arg(format!("172.30.0.1:5001/{name}:v1"))).unwrap();
    let digest = pushed.trim().rsplit('@').next().unwrap().to_owned();

    let build = json!({"srcRepo": {"bundleContainer": {"image": format!("{PRIVATE}/{name}:v1")}, "sourceSubPath": "/app", "credentials": {"name": "bundle"}},
        "shipwright": {"strategy": strategy("buildkit"), "params": [{"name": "build-args", "values": [{"value": "WHO=me"}]}]}});
    let (deployed, image) = building("bundle", build);
    // Without its Secret first: which one is missing is told.
    let (_, message) = deployed.fails("CredentialsInvalid");
    assert!(message.contains("step source failed") && message.contains("dockerconfigjson"), "{message}");
    let create = |password: &str| {
        let password = format!("--docker-password={password}");
        let server = format!("--docker-server={PRIVATE}");
        deployed.namespace.kubectl(&[
            "create",
            "secret",
            "docker-registry",
            "bundle",
            &server,
            &format!("--docker-username={USER}"),
            &password,
        ]);
        deployed.namespace.kubectl(&[
            "annotate",
            "fn/bundle",
            "--overwrite",
            &format!("openfunction.io/rebuild={}", password.len()),
        ]);
    };
    create("wrong-password");
    let (_, message) = deployed.fails("RegistryUnauthorized");
    assert!(message.contains("step source failed"), "{message}");
    assert!(!message.contains("wrong-password"), "{message}");
    deployed.namespace.kubectl(&["delete", "secret", "bundle"]);
    create(PASSWORD);
    // The build before has failed until another one begins.
    deployed.eventually("it builds again", || (deployed.condition("BuildReady")["status"] != "False").then_some(()));
    built(&deployed, &image);
    let source =
        deployed.object().pointer("/status/sources/0/bundle/digest").and_then(Value::as_str).map(str::to_owned);
    assert_eq!(source, Some(digest));
}

#[test]
fn bu4_private_git_is_read_over_http_and_ssh_with_submodules() {
    let host = "git.openfunction-local.svc.cluster.local";
    let inner = format!("inner-{}", std::process::id());
    let outer = format!("outer-{}", std::process::id());
    let module = Work::of(&inner, &[("said", "from a submodule\n")]);
    module.push(&inner, |_| {});
    let work = Work::of(&outer, &[("Dockerfile", "FROM busybox\nCOPY module/said /said\nCMD [\"cat\", \"/said\"]\n")]);
    // Its URL is relative, as that of users' often is.
    work.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        &format!("http://{}/{inner}.git", crate::git::address()),
        "module",
    ])
    .unwrap();
    work.push(&outer, |folder| {
        let file = folder.join(".gitmodules");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .map(|line| if line.contains("url =") { format!("\turl = ../{inner}.git") } else { line.to_owned() });
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    });
    let key = std::fs::read_to_string(e2e::local::cluster::Cluster::here().unwrap().path("git/user")).unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = other.path().join("key");
    run(std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&other)).unwrap();
    let other = std::fs::read_to_string(other).unwrap();
    let basic = |password: &str| json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": USER, "password": password}});
    let ssh = |key: &str| json!({"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": key}});
    for (name, url, wrong, right) in [
        ("git-basic", format!("http://{host}:8080/{outer}.git"), basic("wrong-password"), basic(PASSWORD)),
        ("git-ssh", format!("ssh://git@{host}/{outer}.git"), ssh(&other), ssh(&key)),
    ] {
        let (deployed, image) = building(name, json!({"srcRepo": {"url": url, "credentials": {"name": "git"}}}));
        let put = |mut secret: Value, round: &str| {
            secret["apiVersion"] = json!("v1");
            secret["kind"] = json!("Secret");
            secret["metadata"] = json!({"name": "git"});
            deployed.namespace.apply(&secret.to_string());
            // The build may have begun before its Secret was there.
            deployed.namespace.kubectl(&[
                "annotate",
                "--overwrite",
                &format!("fn/{name}"),
                &format!("openfunction.io/rebuild={round}"),
            ]);
        };
        put(wrong, "1");
        let (_, message) = deployed.fails("GitAuthenticationFailed");
        assert!(!message.contains("wrong-password") && message.contains("srcRepo.credentials"), "{message}");
        put(right, "2");
        deployed.eventually("it is built anew", || {
            (deployed.condition("BuildReady")["reason"] != "GitAuthenticationFailed").then_some(())
        });
        assert_eq!(says(&deployed, &image), "from a submodule");
    }
}

#[test]
fn bu29_an_image_is_pushed_with_the_right_credentials_and_no_others() {
    let name = format!("pushed-{}", std::process::id());
    let (mut deployed, _) = building("pushed", json!({"srcRepo": dockerfile("busybox")}));
    let put = |deployed: &Deployed, password: &str| {
        let _ = deployed.namespace.command(&["delete", "secret", "push"]).output();
        let (server, user) = (format!("--docker-server={PRIVATE}"), format!("--docker-username={USER}"));
        let password = format!("--docker-password={password}");
        deployed.namespace.kubectl(&["create", "secret", "docker-registry", "push", &server, &user, &password]);
    };
    let to_private = |tag: &str| {
        let image = format!("{PRIVATE}/{name}:{tag}");
        move |manifest: &mut Value| {
            manifest["spec"]["image"] = json!(image);
            manifest["spec"]["imageCredentials"] = json!({"name": "push"});
        }
    };
    deployed.change(to_private("v1"));
    let (_, message) = deployed.fails("CredentialsInvalid");
    assert!(message.contains("the push credentials are missing"), "{message}");
    put(&deployed, "wrong-password");
    deployed.change(to_private("v2"));
    let (_, message) = deployed.fails("RegistryUnauthorized");
    assert!(!message.contains("wrong-password"), "{message}");
    put(&deployed, PASSWORD);
    deployed.change(to_private("v3"));
    let image = built(&deployed, &format!("{PRIVATE}/{name}"));
    let mut skopeo = e2e::local::node::program("skopeo").unwrap();
    let place = image.replace(PRIVATE, "docker://172.30.0.1:5001");
    run(skopeo.args(["inspect", "--raw", "--tls-verify=false", "--creds", &format!("{USER}:{PASSWORD}"), &place]))
        .unwrap();
}

#[test]
fn a_registry_whose_authority_the_installation_names_is_trusted() {
    let repository = format!("trusted-{}", std::process::id());
    let (mut deployed, _) = building("trusted", json!({"srcRepo": dockerfile("busybox")}));
    for strategy_name in ["buildkit", "buildah"] {
        let image = format!("{TLS}/{repository}:{strategy_name}");
        deployed.change(|manifest| {
            manifest["spec"]["image"] = json!(image);
            manifest["spec"]["build"]["shipwright"] = json!({"strategy": strategy(strategy_name)});
        });
        let digest = built(&deployed, &image).rsplit('@').next().unwrap().to_owned();
        // The node trusts it as well.
        let image = format!("{TLS}/{repository}@{digest}");
        assert_eq!(deployed.namespace.run_image("built", &image, &[]).trim(), "built for nobody");
    }
}

/// A BuildStrategy whose only step pushes and tells nothing.
const SILENT: &str = r#"
apiVersion: shipwright.io/v1beta1
kind: BuildStrategy
metadata:
  name: silent
spec:
  parameters:
    - name: dockerfile
      description: Path of the Dockerfile.
      default: Dockerfile
  steps:
    - name: build
      image: kaniko-project/executor:VERSION
      args: [--context=$(params.shp-source-context), --dockerfile=$(params.dockerfile), --destination=$(params.shp-output-image),
             --insecure-registry=REGISTRY, --insecure, --insecure-pull, --registry-mirror=REGISTRY]
"#;

#[test]
fn the_digest_that_a_strategy_does_not_tell_is_asked_of_the_registry() {
    let silent = SILENT.replace("VERSION", e2e::parts::KANIKO.version).replace("REGISTRY", OPEN);
    let build = json!({"srcRepo": dockerfile("busybox"), "shipwright": {"strategy": {"name": "silent"}}});
    let (deployed, image) = building("silent", build);
    deployed.namespace.apply(&silent);
    assert_eq!(says(&deployed, &image), "built for nobody");
}
