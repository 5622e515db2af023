//! The BuildRun of a build.

use std::collections::BTreeMap;

use controller_runtime::optional::OptionalApi;
use kube::CustomResource;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    native,
    validate::{Invalid, Key, Parameter, Source, Text, Valid, strategy_of},
};

/// Shipwright's runs of builds; where they are served, it is installed.
pub const BUILD_RUNS: OptionalApi = OptionalApi { group: "shipwright.io", version: "v1beta1", plural: "buildruns" };

/// What a BuildRun asks for, of which only we write.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, PartialEq, Serialize)]
#[kube(
    group = "shipwright.io",
    version = "v1beta1",
    kind = "BuildRun",
    plural = "buildruns",
    namespaced,
    status = "BuildRunStatus",
    schema = "disabled",
    derive = "PartialEq"
)]
pub struct BuildRunSpec {
    /// All of it.
    #[serde(flatten)]
    pub all: BTreeMap<String, Value>,
}

/// What Shipwright says of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuildRunStatus {
    /// `Succeeded` is the one that is set.
    pub conditions: Vec<RunCondition>,
    /// The image.
    pub output: Option<Output>,
    /// The source.
    pub source: Option<SourceResult>,
    /// Of a run that failed.
    pub failure_details: Option<FailureDetails>,
    /// When it ended.
    pub completion_time: Option<String>,
}

/// A condition of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunCondition {
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// The image of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Output {
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: i64,
}

/// The source of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceResult {
    /// A git commit.
    pub git: Option<Commit>,
    /// An image.
    pub oci_artifact: Option<Output>,
}

/// A git commit.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Commit {
    /// Its hash.
    pub commit_sha: String,
    /// Its author.
    pub commit_author: String,
    /// Its branch.
    pub branch_name: String,
}

/// Why a run failed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct FailureDetails {
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
    /// Where.
    pub location: Option<Location>,
}

/// Where a run failed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Location {
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
}

/// The BuildRun.
///
/// # Errors
/// What Shipwright cannot do, with its field.
pub fn build_run(valid: &Valid) -> Result<Value, Invalid> {
    let builder = valid.builder;
    let build = &builder.spec.build;
    let (kind, name) = strategy_of(builder);
    let cannot = |field: &'static str, what| Err(Invalid::Engine { field, what });
    if native::secret(build.builder_credentials.as_ref()).is_some() {
        return cannot("spec.builderCredentials", "credentials of the builder image; put them on the nodes");
    }
    if build.resources.is_some() {
        return cannot("spec.resources", "other resources of steps than the strategy's; write them there");
    }
    let credentials = native::secret(build.src_repo.credentials.as_ref());
    let mut source = match valid.source {
        Source::Git { url, revision } => {
            let revision = Some(revision).filter(|revision| !revision.is_empty());
            json!({"type": "Git", "git": without_nulls(json!({"url": url, "revision": revision, "cloneSecret": credentials}))})
        }
        Source::Bundle(image) => {
            json!({"type": "OCI", "ociArtifact": without_nulls(json!({"image": image, "pullSecret": credentials}))})
        }
        Source::Inline(_) => return cannot("spec.srcRepo.inline", "source in the object; use git or a bundle"),
    };
    if !valid.sub_path.is_empty() {
        source["contextDir"] = json!(valid.sub_path);
    }
    let timeout = build.shipwright.as_ref().and_then(|shipwright| shipwright.timeout.clone());
    let variables: Vec<_> =
        build.env.iter().map(|(name, value)| json!({"name": name, "value": native::escaped(value)})).collect();
    let spec = without_nulls(json!({
        "source": source,
        "strategy": {"kind": kind, "name": name},
        "paramValues": valid.given.iter().filter_map(|name| Some(given(name, valid.parameters.get(name)?))).collect::<Vec<_>>(),
        "output": without_nulls(json!({"image": builder.spec.image, "pushSecret": native::secret(builder.spec.image_credentials.as_ref())})),
        "env": variables,
        "timeout": timeout,
        "nodeSelector": Some(&build.node_selector).filter(|selector| !selector.is_empty()),
        "tolerations": Some(&build.tolerations).filter(|tolerations| !tolerations.is_empty()),
    }));
    // An account for each run, since Secrets are added to it (core-behaviour §3.3).
    let spec = json!({"build": {"spec": spec}, "serviceAccount": ".generate"});
    Ok(
        json!({"apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": native::metadata(builder), "spec": spec}),
    )
}

/// A parameter that a build sets.
fn given(name: &str, parameter: &Parameter) -> Value {
    let mut value = match parameter {
        Parameter::String(text) => value_of(text),
        Parameter::Array(texts) => json!({"values": texts.iter().map(value_of).collect::<Vec<_>>()}),
    };
    value["name"] = json!(name);
    value
}

fn value_of(text: &Text) -> Value {
    match text {
        // The kubelet reads it in a container's arguments at last.
        Text::Literal(text) => json!({"value": native::escaped(text)}),
        Text::Key(Key { is_secret, name, key, around }) => {
            let field = if *is_secret { "secretValue" } else { "configMapValue" };
            let place = Key::place(*is_secret);
            let mut reference = json!({"name": name, "key": key});
            if *around != Default::default() {
                reference["format"] = json!(format!("{}{place}{}", around.0, around.1));
            }
            json!({field: reference})
        }
    }
}

/// Shipwright tells an absent field from an empty one.
fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use openfunction_proto::core::Builder;

    use super::*;
    use crate::{strategy::Strategy, validate::validate};

    fn rendered(build: Value) -> Result<Value, String> {
        let mut spec = json!({"image": "r.io/a:1", "imageCredentials": {"name": "push"}, "srcRepo": {"url": "https://git.example.com/a.git", "revision": "main", "sourceSubPath": "/sub", "credentials": {"name": "git"}}});
        for (key, value) in build.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata = json!({"name": "hello-0123456789", "namespace": "shop", "uid": "u", "labels": {"openfunction.io/function": "hello"}});
        let builder: Builder = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let strategy: Strategy = serde_json::from_value(json!({
            "parameters": [{"name": "dockerfile", "default": "Dockerfile"}, {"name": "args", "type": "array", "defaults": []}, {"name": "other", "default": ""}],
            "steps": [{"name": "build", "image": "tool"}]}))
        .unwrap();
        build_run(&validate(&builder, &strategy).unwrap()).map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn a_build_run_says_what_the_builder_asks_for_and_leaves_defaults_to_the_strategy() {
        let secret = json!({"name": "s", "key": "k", "format": "A=${SECRET_VALUE}"});
        let params = json!([{"name": "args", "values": [{"value": "$(x)"}, {"secretValue": secret}]}]);
        let strategy = json!({"name": "buildah", "kind": "ClusterBuildStrategy"});
        let run = rendered(
            json!({"dockerfile": "D", "env": {"A": "1"}, "shipwright": {"strategy": strategy, "params": params, "timeout": "5m"}}),
        );
        let run = run.unwrap();
        assert_eq!(run["metadata"]["name"], "hello-0123456789-build");
        assert_eq!(run["spec"]["serviceAccount"], ".generate");
        assert_eq!(
            run["spec"]["build"]["spec"],
            json!({
                "source": {"type": "Git", "git": {"url": "https://git.example.com/a.git", "revision": "main", "cloneSecret": "git"}, "contextDir": "sub"},
                "strategy": {"kind": "ClusterBuildStrategy", "name": "buildah"},
                "paramValues": [{"name": "args", "values": [{"value": "$$(x)"}, {"secretValue": {"name": "s", "key": "k", "format": "A=${SECRET_VALUE}"}}]}, {"name": "dockerfile", "value": "D"}],
                "output": {"image": "r.io/a:1", "pushSecret": "push"},
                "env": [{"name": "A", "value": "1"}],
                "timeout": "5m",
            })
        );
        let bundle = rendered(json!({"srcRepo": {"bundleContainer": {"image": "r.io/b:1"}}})).unwrap();
        assert_eq!(
            bundle.pointer("/spec/build/spec/source"),
            Some(&json!({"type": "OCI", "ociArtifact": {"image": "r.io/b:1"}}))
        );
    }

    #[test]
    fn what_shipwright_cannot_do_is_refused_with_its_name() {
        for (build, said) in [
            (
                json!({"srcRepo": {"inline": {"files": {"a": "b"}}}}),
                "spec.srcRepo.inline: engine shipwright has no source in",
            ),
            (
                json!({"resources": {"limits": {"cpu": "1"}}}),
                "spec.resources: engine shipwright has no other resources",
            ),
            (
                json!({"builderCredentials": {"name": "a"}}),
                "spec.builderCredentials: engine shipwright has no credentials",
            ),
        ] {
            let refused = rendered(build).unwrap_err();
            assert!(refused.starts_with(said), "{refused}");
        }
    }
}
