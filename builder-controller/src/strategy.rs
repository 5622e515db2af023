//! Build strategies: Shipwright's kinds, which serve both engines, and those that we bring.

use std::{collections::BTreeMap, time::Duration};

use controller_runtime::{
    apply::Applier,
    children::{dynamic, json},
    client::describe,
    optional::{OptionalApi, OptionalApis},
    watch::Shared,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, CustomResource, ResourceExt, api::PostParams, runtime::reflector::ObjectRef};
use openfunction_proto::core::defaults::{COMPAT_SMART, WASM_VARIANT, WASMEDGE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{ABOUT, Flags};

/// The kind of strategies for every namespace.
pub const CLUSTER_BUILD_STRATEGIES: OptionalApi =
    OptionalApi { group: "shipwright.io", version: "v1beta1", plural: "clusterbuildstrategies" };
/// The kind of strategies of one namespace.
pub const BUILD_STRATEGIES: OptionalApi =
    OptionalApi { group: "shipwright.io", version: "v1beta1", plural: "buildstrategies" };

/// What a strategy says.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "shipwright.io",
    version = "v1beta1",
    kind = "ClusterBuildStrategy",
    plural = "clusterbuildstrategies",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterBuildStrategySpec {
    /// How an image is built.
    #[serde(flatten)]
    pub strategy: Strategy,
}

/// What a strategy says.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "shipwright.io",
    version = "v1beta1",
    kind = "BuildStrategy",
    plural = "buildstrategies",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct BuildStrategySpec {
    /// How an image is built.
    #[serde(flatten)]
    pub strategy: Strategy,
}

/// How an image is built: steps that share a folder with the source.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Parameters that a build can set.
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    /// Containers that run one after the other.
    #[serde(default)]
    pub steps: Vec<Value>,
    /// Volumes of the steps.
    #[serde(default)]
    pub volumes: Vec<Value>,
    /// User and group of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_context: Option<SecurityContext>,
    /// What else it says.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// A parameter of a strategy.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// Name of the parameter.
    pub name: String,
    /// `string`, which is meant when absent, or `array`.
    #[serde(rename = "type", default)]
    pub type_: String,
    /// Value of a string that no build sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Values of an array that no build sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Vec<String>>,
    /// What else it says; otherwise it would seem to be missing when we compare.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// User and group that get the source and read the results.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// User.
    pub run_as_user: i64,
    /// Group.
    pub run_as_group: i64,
}

/// The strategies that we bring, as their files are.
const OURS: [(&str, &str); 5] = [
    ("buildah", include_str!("../../deploy/strategies/buildah.yaml")),
    ("buildkit", include_str!("../../deploy/strategies/buildkit.yaml")),
    ("kaniko", include_str!("../../deploy/strategies/kaniko.yaml")),
    ("ko", include_str!("../../deploy/strategies/ko.yaml")),
    ("openfunction", include_str!("../../deploy/strategies/openfunction.yaml")),
];

/// The strategies that we bring, with the settings of the installation.
///
/// # Errors
/// A file of ours that is no strategy: a defect.
fn ours(flags: &Flags) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = OURS.iter().map(|(_, file)| serde_saphyr::from_str(file)).collect::<Result<_, _>>()?;
    let buildah = all.iter().find(|strategy| strategy["metadata"]["name"] == "buildah");
    all.extend(buildah.map(wasmedge));
    let images: BTreeMap<_, _> = flags.build_images.iter().filter_map(|pair| pair.split_once('=')).collect();
    for strategy in &mut all {
        let name = strategy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        for parameter in strategy["spec"]["parameters"].as_array_mut().into_iter().flatten() {
            match parameter["name"].as_str() {
                Some("builder-image") if images.contains_key(name.as_str()) => {
                    parameter["default"] = json!(images[name.as_str()]);
                }
                Some("BASH_IMAGE") if images.contains_key("bash") => parameter["default"] = json!(images["bash"]),
                Some("registries-insecure") => parameter["defaults"] = json!(flags.build_insecure_registries),
                Some("registry-mirrors") => parameter["defaults"] = json!(flags.build_registry_mirrors),
                Some("registry-flags") => parameter["defaults"] = json!(kaniko_flags(flags)),
                _ => {}
            }
        }
    }
    Ok(all)
}

/// What kaniko, whose image has no shell that could put lists together, is told of registries.
fn kaniko_flags(flags: &Flags) -> Vec<String> {
    let insecure = flags.build_insecure_registries.iter();
    let insecure =
        insecure.flat_map(|host| ["insecure", "skip-tls-verify"].map(|flag| format!("--{flag}-registry={host}")));
    // kaniko knows Docker Hub by the name of its API.
    let mirrors = flags.build_registry_mirrors.iter().map(|pair| match pair.strip_prefix("docker.io=") {
        Some(mirror) => format!("--registry-map=index.docker.io={mirror}"),
        None => format!("--registry-map={pair}"),
    });
    insecure.chain(mirrors).collect()
}

/// Strategy `wasmedge`: as buildah, with the annotation that a runtime knows a wasm image by (Q16).
fn wasmedge(buildah: &Value) -> Value {
    let mut strategy = buildah.clone();
    strategy["metadata"]["name"] = json!(WASMEDGE);
    for parameter in strategy["spec"]["parameters"].as_array_mut().into_iter().flatten() {
        if parameter["name"] == "annotations" {
            parameter["defaults"] = json!([format!("{WASM_VARIANT}={COMPAT_SMART}")]);
        }
    }
    strategy
}

/// Whether a strategy is one that we bring.
pub fn is_ours(name: &str) -> bool {
    name == WASMEDGE || OURS.iter().any(|(ours, _)| *ours == name)
}

/// The strategies as their files are, by their names.
#[cfg(test)]
pub fn of_files() -> impl Iterator<Item = (&'static str, Strategy)> {
    OURS.iter().map(|(name, file)| {
        let file: Value = serde_saphyr::from_str(file).unwrap();
        (*name, serde_json::from_value(file["spec"].clone()).unwrap())
    })
}

/// How long a failure is waited out.
const PAUSE: Duration = Duration::from_secs(5);

/// Makes the kinds of strategies, if the cluster lacks them, and keeps our strategies as they are here; for ever.
pub async fn keep(
    client: &Client,
    applier: &Applier,
    apis: &OptionalApis,
    strategies: &Shared<ClusterBuildStrategy>,
    flags: &Flags,
) {
    while let Err(error) = ensure_kinds(client).await {
        warn!("the kinds of build strategies cannot be made, trying again: {}", describe(&error));
        tokio::time::sleep(PAUSE).await;
    }
    apis.while_served(CLUSTER_BUILD_STRATEGIES, || async {
        strategies.synced().await;
        let mut changes = strategies.subscribe();
        loop {
            if let Err(error) = apply(applier, strategies, flags).await {
                warn!("the build strategies cannot be applied, trying again: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            futures::StreamExt::next(&mut changes).await;
        }
    })
    .await;
}

async fn apply(applier: &Applier, strategies: &Shared<ClusterBuildStrategy>, flags: &Flags) -> anyhow::Result<()> {
    for strategy in ours(flags)? {
        let strategy = dynamic(&strategy);
        let live = strategies.store().get(&ObjectRef::new(&strategy.name_any())).map(|live| json(&*live));
        applier.apply(strategy, live.as_ref()).await?;
    }
    Ok(())
}

/// Creates the kinds that do not exist. They are never changed: when Shipwright is installed, they are its own.
async fn ensure_kinds(client: &Client) -> kube::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (kind, plural, scope) in [
        ("ClusterBuildStrategy", "clusterbuildstrategies", "Cluster"),
        ("BuildStrategy", "buildstrategies", "Namespaced"),
    ] {
        match api.create(&PostParams::default(), &kind_of_strategies(kind, plural, scope)).await {
            Ok(_) => info!(kind, "a kind of build strategies was made: Shipwright is not installed"),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kind_of_strategies(kind: &str, plural: &str, scope: &str) -> CustomResourceDefinition {
    let schema = json!({"type": "object", "description": "A build strategy of Shipwright (https://shipwright.io/docs/build/buildstrategies/).",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    serde_json::from_value(json!({
        "metadata": {"name": format!("{plural}.shipwright.io"), "labels": {"openfunction.io/managed-by": ABOUT.name}},
        "spec": {
            "group": "shipwright.io", "scope": scope,
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    }))
    .expect("the literal is a CRD")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> Flags {
        Flags {
            build_engine: crate::Engine::Auto,
            build_concurrency: 0,
            build_cache: true,
            build_helper_image: "helper".to_owned(),
            build_images: vec!["buildkit=mirror/buildkit:1".to_owned(), "bash=mirror/bash:1".to_owned()],
            build_insecure_registries: vec!["registry.example:5000".to_owned()],
            build_registry_mirrors: vec!["docker.io=registry.example:5000".to_owned()],
            build_http_proxy: String::new(),
            build_https_proxy: String::new(),
            build_no_proxy: String::new(),
            build_ca_certificates: String::new(),
        }
    }

    fn parameter(strategy: &str, name: &str) -> Parameter {
        let all = ours(&flags()).unwrap();
        let found = all.into_iter().find(|known| known["metadata"]["name"] == strategy).unwrap();
        let found: ClusterBuildStrategy = serde_json::from_value(found).unwrap();
        found.spec.strategy.parameters.into_iter().find(|known| known.name == name).unwrap()
    }

    #[test]
    fn our_strategies_take_the_settings_of_the_installation() {
        for strategy in ours(&flags()).unwrap() {
            assert!(is_ours(strategy["metadata"]["name"].as_str().unwrap()));
        }
        assert_eq!(parameter("buildkit", "builder-image").default.as_deref(), Some("mirror/buildkit:1"));
        assert_eq!(parameter("openfunction", "BASH_IMAGE").default.as_deref(), Some("mirror/bash:1"));
        for strategy in ["buildkit", "buildah", "wasmedge", "ko", "openfunction"] {
            let insecure = parameter(strategy, "registries-insecure").defaults;
            assert_eq!(insecure, Some(vec!["registry.example:5000".to_owned()]), "{strategy}");
        }
        assert_eq!(
            parameter("kaniko", "registry-flags").defaults.unwrap().join(" "),
            "--insecure-registry=registry.example:5000 --skip-tls-verify-registry=registry.example:5000 --registry-map=index.docker.io=registry.example:5000"
        );
        assert_eq!(
            parameter("wasmedge", "annotations").defaults,
            Some(vec!["module.wasm.image/variant=compat-smart".to_owned()]),
            "B-122"
        );
    }

    #[test]
    fn b121_parameters_of_both_variants_of_the_original_are_known() {
        let known = [
            (
                "openfunction",
                "PROCESS_TYPE RUN_IMAGE CACHE_IMAGE SKIP_RESTORE USER_ID GROUP_ID PLATFORM_DIR ENV_VARS BASH_IMAGE",
            ),
            (
                "buildah",
                "registry-search registry-insecure registry-block build-args registries-search registries-insecure registries-block",
            ),
            ("ko", "go-flags go-version ko-version package-directory target-platform"),
            ("wasmedge", "build-args registries-search registries-insecure registries-block"),
        ];
        for (strategy, names) in known {
            for name in names.split(' ') {
                assert_eq!(parameter(strategy, name).name, name);
            }
        }
    }
}
