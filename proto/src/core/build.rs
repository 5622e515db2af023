//! How an image is built: `Function.spec.build`, and inlined in `Builder.spec`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::GoDuration;

/// An object of a fixed kind in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectReference {
    /// Name of the object.
    #[schemars(length(max = 253))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How the image is built from source.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.builder) || has(self.dockerfile)")
        .field_path(".builder").reason(Reason::FieldValueRequired)
        .message("must be specified when dockerfile is not: name a builder image, or the path of a Dockerfile in the source"),
)]
pub struct BuildImpl {
    /// Image of the builder: a Cloud Native Buildpacks builder, or the image of the build tool (buildah, kaniko, a Go image for ko).
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// Secret with the credentials to pull the builder image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_credentials: Option<LocalObjectReference>,
    /// Path of the Dockerfile in the source, for strategies that read one; they assume `Dockerfile` when it is absent.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// Environment variables of the build, for example `FUNC_NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where the source is.
    pub src_repo: SourceRepo,
    /// Which build strategy runs, and with which parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipwright: Option<ShipwrightEngine>,
    /// How long the whole build may take, from the creation of the Builder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// How many finished, successful Builders are kept; absent means 0.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful_builds_history_limit: Option<i32>,
    /// How many finished Builders that did not succeed are kept; absent means 1.
    #[schemars(range(min = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_builds_history_limit: Option<i32>,
    /// Finished Builders that are older than this, counted from their creation, are deleted; absent or 0 keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder_max_age: Option<GoDuration>,
    /// Compute resources of every build step. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that the node of the build must have. (addition)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Node taints that the build tolerates. (addition)
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Platforms the image is built for, for example `linux/amd64`; absent is the platform of the build node. (addition)
    #[schemars(length(max = 16), inner(length(max = 64), regex(pattern = r"^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?$")))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
}

/// Where the source of an image comes from: git, a bundle image, or the Function object itself.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.url) && self.url != '') || has(self.bundleContainer) || has(self.inline)")
        .reason(Reason::FieldValueRequired).message("must specify one of: url, bundleContainer or inline"),
)]
pub struct SourceRepo {
    /// URL of a git repository; ignored when `bundleContainer` is given.
    #[schemars(length(max = 2048))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// An image that holds the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_container: Option<BundleContainer>,
    /// Source files inside the object, for tiny functions. (addition)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline: Option<InlineSource>,
    /// Branch, tag, commit or ref; absent or empty means the default branch of the repository.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Directory of the source that is built; absent means its root.
    #[schemars(length(max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_sub_path: Option<String>,
    /// Secret with the credentials of the git server or of the bundle's registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<LocalObjectReference>,
}

/// An image that holds source files.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleContainer {
    /// Reference of the image.
    #[schemars(length(min = 1, max = 1024))]
    pub image: String,
}

/// Source files given in the object. (addition)
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineSource {
    /// Content of each file by its relative path.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub files: BTreeMap<String, String>,
}

/// Settings of the build strategy. The name is Shipwright's; the native build engine reads the same.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipwrightEngine {
    /// The build strategy; absent is the installation's default, `openfunction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Parameters of the strategy: a list of `name` with `value`, `values`, `configMapValue` or `secretValue`,
    /// or (as older manifests write it) a map of names to values. The map is ours. (addition)
    #[schemars(schema_with = "crate::schema::any")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// How long the build run may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
}

/// A build strategy by name.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Name of the strategy.
    #[schemars(length(max = 253))]
    pub name: String,
    /// `ClusterBuildStrategy`, or `BuildStrategy` (of the Function's namespace), which is meant when absent.
    #[schemars(extend("enum" = ["BuildStrategy", "ClusterBuildStrategy"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// One entry of `shipwright.params` in its list form.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StrategyParam {
    /// Name of the parameter as its strategy declares it.
    pub name: String,
    /// The value of a parameter of type string.
    #[serde(flatten)]
    pub value: StrategyParamValue,
    /// The values of a parameter of type array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<StrategyParamValue>>,
}

/// A literal value, or one from a ConfigMap or Secret.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StrategyParamValue {
    /// The value itself. `null` is read as absent and never written (core-api §13.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Key of a ConfigMap that holds the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_value: Option<KeyReference>,
    /// Key of a Secret that holds the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_value: Option<KeyReference>,
}

/// One key of a ConfigMap or Secret.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyReference {
    /// Name of the ConfigMap or Secret.
    pub name: String,
    /// Key in its data.
    pub key: String,
    /// Text around the value, with `${CONFIGMAP_VALUE}` or `${SECRET_VALUE}` in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl ShipwrightEngine {
    /// Parameters of the build strategy: a list, or a map as manifests for `v1beta1` write it. A null is no value
    /// (core-api §13.3).
    ///
    /// # Errors
    /// What is wrong with one, by its name.
    pub fn parameters(&self) -> Result<Vec<StrategyParam>, String> {
        let list: Vec<StrategyParam> = match &self.params {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(map)) => map.iter().map(from_map).collect::<Result<_, _>>()?,
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|error| format!("must be a list of name and value: {error}"))?,
        };
        for (index, StrategyParam { name, value, values }) in list.iter().enumerate() {
            let wrong = |what: &str| Err(format!("{name:?}: {what}"));
            if list[..index].iter().any(|other| other.name == *name) {
                return wrong("is given twice");
            }
            let given = values.as_deref().unwrap_or(std::slice::from_ref(value));
            for StrategyParamValue { value, config_map_value, secret_value } in given {
                match [value.is_some(), config_map_value.is_some(), secret_value.is_some()]
                    .iter()
                    .filter(|is| **is)
                    .count()
                {
                    0 => return wrong("has no value"),
                    1 => {}
                    _ => return wrong("must have one of value, configMapValue and secretValue"),
                }
            }
        }
        Ok(list)
    }
}

fn from_map((name, value): (&String, &Value)) -> Result<StrategyParam, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return Err(format!("the value of {name:?} must be a text")),
    };
    let value = StrategyParamValue { value: Some(text), ..StrategyParamValue::default() };
    Ok(StrategyParam { name: name.clone(), value, values: None })
}
