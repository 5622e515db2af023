//! Programs and manifests of other projects, each with its version and where it comes from.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cache::{self, run};

/// Kubernetes 1.34 is the newest that takes both cgroup v1 and containerd 1.6 (../shared/cluster.md), and the version
/// of our types.
const KUBERNETES: &str = "v1.34.4";

/// The licence and dependency checker; newest release that builds with our toolchain.
const CARGO_DENY: &str = "0.20.2";

/// CRDs that the objects which we write belong to: module, version, folder in it.
const FOREIGN_CRDS: &[(&str, &str, &str)] = &[
    ("sigs.k8s.io/gateway-api", "v1.4.1", "config/crd/standard"),
    ("knative.dev/serving", "v0.46.6", "config/core/300-resources"),
    ("github.com/kedacore/keda/v2", "v2.21.0", "config/crd/bases"),
    ("github.com/dapr/dapr", "v1.14.0", "charts/dapr/crds"),
    ("github.com/shipwright-io/build", "v0.17.0", "deploy/crds"),
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
    let kubernetes = kubernetes()?;
    Ok(ControlPlane {
        etcd: etcd()?,
        kube_apiserver: kubernetes.join("kube-apiserver"),
        kubectl: kubernetes.join("kubectl"),
    })
}

fn kubernetes() -> Result<PathBuf> {
    let module = crate::root().join("e2e/parts/kubernetes");
    let (go_mod, go_sum) = (fs::read_to_string(module.join("go.mod"))?, fs::read_to_string(module.join("go.sum"))?);
    cache::part("kubernetes", &[KUBERNETES, &go_mod, &go_sum], |folder| {
        let minor = KUBERNETES.split('.').nth(1).context("a version has a minor part")?;
        let base = "k8s.io/component-base/version";
        // Without these, clients see v0.0.0.
        let flags = format!("-s -w -X {base}.gitVersion={KUBERNETES} -X {base}.gitMajor=1 -X {base}.gitMinor={minor}");
        go_build(
            &module,
            folder,
            &["-ldflags", &flags, "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kubectl"],
        )
    })
}

/// Builds with a build cache of its own that is removed afterwards: the caches of all parts would take 40 GB.
fn go_build(module: &Path, into: &Path, what: &[&str]) -> Result<()> {
    let build_cache = into.join(".go-build");
    let built = run(Command::new("go")
        .current_dir(module)
        .env("GOCACHE", &build_cache)
        .env("GOFLAGS", "-mod=readonly")
        .env("CGO_ENABLED", "0")
        .args(["build", "-trimpath", "-o"])
        .arg(into)
        .args(what))
    .context("Go 1.24 or newer is needed");
    let removed = fs::remove_dir_all(&build_cache);
    built?;
    Ok(removed?)
}

fn etcd() -> Result<PathBuf> {
    let folder = cache::part("etcd", &["etcd-server", "debian"], |folder| debian_package("etcd-server", folder))?;
    Ok(folder.join("usr/bin/etcd"))
}

/// Unpacks a Debian package without installing it.
fn debian_package(name: &str, into: &Path) -> Result<()> {
    let download = || run(Command::new("apt-get").current_dir(into).args(["download", name]));
    if download().is_err() {
        // A fresh machine has no package lists.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        download()?;
    }
    let package = fs::read_dir(into)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|e| e == "deb"))
        .with_context(|| format!("apt-get downloaded no {name}"))?;
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(into))?;
    Ok(fs::remove_file(package)?)
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

/// The CRDs of Gateway API, Knative, KEDA, Dapr and Shipwright, as they are released.
///
/// # Errors
/// A module that cannot be downloaded, or a manifest that cannot be read.
pub fn foreign_crds() -> Result<Vec<Value>> {
    let key = format!("{FOREIGN_CRDS:?}");
    let folder = cache::part("foreign-crds", &[&key], |folder| {
        for (number, (module, version, path)) in FOREIGN_CRDS.iter().enumerate() {
            let told = run(Command::new("go").current_dir(folder).args([
                "mod",
                "download",
                "-json",
                &format!("{module}@{version}"),
            ]))?;
            let told: Value = serde_json::from_str(&told)?;
            let source = Path::new(told["Dir"].as_str().context("go told no folder")?).join(path);
            for file in fs::read_dir(&source).with_context(|| format!("{module} {version} has no {path}"))? {
                let file = file?.path();
                if file.extension().is_some_and(|e| e == "yaml") {
                    let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                    // Files of a module are read-only; what is kept shall be removable.
                    fs::write(folder.join(format!("{number}-{name}")), fs::read(&file)?)?;
                }
            }
        }
        Ok(())
    })?;
    let mut files: Vec<_> =
        fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect();
    files.sort();
    let mut crds = Vec::new();
    for file in files {
        let documents = documents(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?;
        crds.extend(documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition"));
    }
    Ok(crds)
}

/// The documents of a YAML file, empty ones left out.
///
/// # Errors
/// Text that is no YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}
