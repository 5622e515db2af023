//! The product itself: its programs, their images, and its Helm chart on a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    cache::{hex, run},
    image::{Content, File, Image, Layer, base, copy},
    local::{
        cluster::Cluster,
        registry::{OPEN, PRIVATE},
    },
    parts,
};

/// The programs that run in pods.
pub const CONTROLLERS: &[&str] = &[
    "function-controller",
    "builder-controller",
    "serving-controller",
    "gateway-controller",
    "events-controller",
    REVISION_CONTROLLER,
];
/// The controller that calls ssh.
const REVISION_CONTROLLER: &str = "revision-controller";
/// The program that runs in the pods of builds.
const BUILD_HELPER: &str = "build-helper";
/// The program between Dapr's sidecar of a function and the function's pods.
const DAPR_PROXY: &str = "dapr-proxy";
/// The programs that run as handlers of events.
const HANDLERS: [&str; 2] = ["event-source", "event-trigger"];
/// Users of build-helper's image.
const USERS: &str =
    "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000:build:/tmp:/bin/sh\nnonroot:x:65532:65532:nonroot:/tmp:/bin/sh\n";

/// Secret of the local cluster with [`WEBHOOK_SECRET`].
const WEBHOOKS: &str = "revision-webhooks";
/// What webhooks show on the local cluster.
pub const WEBHOOK_SECRET: &str = "openfunction-local-webhooks";

/// Namespace, and name of the Helm release, of the product.
pub const NAMESPACE: &str = "openfunction";

/// The chart.
pub fn chart() -> PathBuf {
    crate::root().join("deploy/charts/openfunction")
}

/// Values with which the chart must render, and what it renders must be valid.
pub const CHART_VALUES: &[&[&str]] = &[
    &[],
    &["--set", "global.replicas=2,contour.enabled=true"],
    &["--set", "global.watchNamespaces={shop,office}"],
    &["--set", "gateway-controller.defaultGateway.className=contour,global.domain=functions.example.com"],
    &["--set", "gateway-controller.legacyEntry=true,global.clusterDomain=cluster.local"],
    &["--set", "gateway-controller.enabled=false,gateway-controller.defaultGateway.enabled=false,crds.enabled=false"],
    &[
        "--set",
        "revisionController.enable=true,revision-controller.secretNamespaces={shop},revision-controller.webhooks.secretName=webhooks,revision-controller.webhooks.hostnames={hooks.example.com},revision-controller.webhooks.parentRefs[0].name=public",
    ],
    &[
        "--set",
        "serving-controller.knative.enableFeatures=true,serving-controller.functions.settings.hooks.pre={audit}",
    ],
];

/// Programs of one build.
#[derive(Clone, Debug)]
pub struct Programs {
    folder: PathBuf,
    /// Differs when a program does.
    pub tag: String,
}

/// Builds the programs as they are released. They are static, so that an image needs nothing besides.
///
/// # Errors
/// A program that cannot be compiled.
pub fn build() -> Result<Programs> {
    let version = run(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc tells its host")?;
    let mut build = crate::cargo();
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").args(["build", "--quiet", "--release", "--target", host]);
    for program in programs() {
        build.args(["-p", program]);
    }
    if !build.status().context("cargo cannot be run")?.success() {
        bail!("the controllers cannot be built");
    }
    let metadata = run(crate::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"].as_str().context("cargo tells its target directory")?;
    let folder = Path::new(target).join(host).join("release");
    let mut sums = String::new();
    for program in programs() {
        sums += &run(Command::new("sha256sum").arg(folder.join(program)))?;
    }
    // Where they were built is no difference.
    let sums: Vec<_> = sums.lines().filter_map(|line| line.split_whitespace().next()).collect();
    Ok(Programs { folder, tag: hex(sums.concat().as_bytes())[..12].to_owned() })
}

/// build-helper, as it is released.
///
/// # Errors
/// As [`build`].
pub fn build_helper() -> Result<PathBuf> {
    Ok(build()?.folder.join(BUILD_HELPER))
}

fn programs() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().copied().chain([BUILD_HELPER, DAPR_PROXY]).chain(HANDLERS)
}

impl Programs {
    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The images of the programs.
    pub fn images(&self) -> Vec<Image> {
        let name = |program: &str| format!("{NAMESPACE}/{program}:{}", self.tag);
        let plain =
            CONTROLLERS.iter().filter(|name| **name != REVISION_CONTROLLER).chain([&DAPR_PROXY]).chain(&HANDLERS);
        let plain = plain.map(|program| Image::of_program(name(program), &self.folder.join(program)));
        let with_tools = [
            (BUILD_HELPER, &["git", "openssh-client", "ca-certificates", "dash", "sed", "coreutils", "grep"][..]),
            (REVISION_CONTROLLER, &["openssh-client"][..]),
        ];
        let with_tools = with_tools.map(|(program, packages)| {
            let path = format!("/usr/bin/{program}");
            Image {
                name: name(program),
                layers: vec![
                    Layer::Debian(packages),
                    base(),
                    // ssh wants a name for its user: those that strategies commonly run as have one.
                    Layer::Files(vec![File("/etc/passwd".to_owned(), Content::Text(USERS.to_owned()))]),
                    Layer::Files(vec![copy(&path, self.folder.join(program))]),
                ],
                entrypoint: vec![path],
                user: "65532:65532",
                ..Image::default()
            }
        });
        plain.chain(with_tools).collect()
    }
}

/// Values of the chart for the local cluster.
///
/// # Errors
/// A cluster that is not up has no authority.
pub fn local_values(cluster: &Cluster, tag: &str) -> Result<Value> {
    let build = json!({
        "engine": "native",
        "insecureRegistries": [OPEN, PRIVATE],
        "registryMirrors": {"docker.io": [OPEN]},
        "caCertificates": fs::read_to_string(cluster.path("credentials/ca.crt"))?,
    });
    Ok(json!({
        "global": {"image": {"registry": OPEN, "repository": NAMESPACE, "tag": tag}},
        "builder-controller": {"build": build},
        "serving-controller": {"knative": {"enableFeatures": true}},
        "revisionController": {"enable": true},
        "revision-controller": {
            "caCertificates": fs::read_to_string(cluster.path("credentials/ca.crt"))?,
            // A cluster to try things on.
            "secretNamespaces": ["*"],
            "webhooks": {"secretName": WEBHOOKS},
        },
        // What part `wasm` of the local cluster is called.
        "wasm": {"runtimeClass": {"handler": "wasm"}},
    }))
}

/// Helm, which keeps its files in a folder of ours.
///
/// # Errors
/// Helm cannot be built.
pub fn helm(kubeconfig: &Path, home: &Path) -> Result<Command> {
    let mut helm = Command::new(parts::HELM.built()?.join("helm"));
    for (variable, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
    {
        helm.env(variable, home.join("helm").join(folder));
    }
    helm.env("KUBECONFIG", kubeconfig);
    Ok(helm)
}

/// Installs the chart, or brings what is installed up to date, and waits until the controllers are ready.
///
/// # Errors
/// What Helm says.
pub fn install(kubeconfig: &Path, home: &Path, values: &Value) -> Result<()> {
    fs::create_dir_all(home)?;
    let file = home.join("values.json");
    fs::write(&file, values.to_string())?;
    let mut helm = helm(kubeconfig, home)?;
    helm.args(["upgrade", "--install", NAMESPACE]).arg(chart()).arg("--values").arg(&file);
    // The CRDs may have been applied by hand before.
    helm.args(["--namespace", NAMESPACE, "--create-namespace", "--take-ownership", "--wait", "--timeout=3m"]);
    run(&mut helm).map(drop)
}

/// Makes what the values of the local cluster name.
///
/// # Errors
/// What the API server says.
pub fn prepare(cluster: &Cluster) -> Result<()> {
    cluster.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": WEBHOOKS, "namespace": NAMESPACE},
            "stringData": {"token": WEBHOOK_SECRET}}),
    ])
}

/// Builds the product and installs it on the local cluster.
///
/// # Errors
/// As [`build`] and [`install`].
pub fn install_on(cluster: &Cluster) -> Result<()> {
    let programs = build()?;
    publish(cluster, &programs)?;
    prepare(cluster)?;
    install(&cluster.kubeconfig(), cluster.folder(), &local_values(cluster, &programs.tag)?)
}

/// Puts the images into the local cluster's registry.
///
/// # Errors
/// A full disk.
pub fn publish(cluster: &Cluster, programs: &Programs) -> Result<()> {
    programs.images().iter().try_for_each(|image| image.publish(&cluster.registry_storage()))
}
