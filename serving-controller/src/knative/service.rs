//! The Knative Service of a revision.

use std::collections::BTreeMap;

use kube::ResourceExt;
use openfunction_proto::core::ScalingStatus;
use serde_json::{Value, json};

use crate::{
    engine::World,
    foreign::KnativeService,
    pod::{self, Shape},
    rendered::rendered,
    validate::{Invalid, MAX_REPLICAS, MIN_REPLICAS, Valid},
};

/// Prefix of what Knative's autoscaler reads.
const AUTOSCALING: &str = "autoscaling.knative.dev/";
const MIN_SCALE: &str = "autoscaling.knative.dev/min-scale";
const MAX_SCALE: &str = "autoscaling.knative.dev/max-scale";
/// Not of Knative, but in use: becomes `containerConcurrency`.
const CONTAINER_CONCURRENCY: &str = "autoscaling.knative.dev/container-concurrency";
/// How long Knative waits for a revision.
const PROGRESS_DEADLINE: &str = "serving.knative.dev/progress-deadline";
/// How long it does by itself.
const DEFAULT_DEADLINE: u64 = 600;
/// Who reaches a Knative Service: requests come through the function's own route, so Knative shall not open another way.
const VISIBILITY: &str = "networking.knative.dev/visibility";

/// The Knative Service. Its template has no name, so that each change makes a revision of Knative (B-84).
///
/// # Errors
/// A container concurrency that is no number.
pub fn service(valid: &Valid, world: &World) -> Result<Value, Invalid> {
    let spec = &valid.serving.spec.serving;
    let name = valid.serving.name_any();
    let live = world.find::<KnativeService>(&name);
    let (mut template, mut annotations) =
        rendered(valid, live, || pod::template(valid, world, Shape { has_proxy: true, is_job: false }));
    let mut scaling = scaling(valid);
    if let Some(written) = scaling.remove(CONTAINER_CONCURRENCY) {
        template["spec"]["containerConcurrency"] = json!(container_concurrency(valid, &written)?);
    }
    let mut of_template: BTreeMap<String, String> =
        serde_json::from_value(template["metadata"]["annotations"].take()).unwrap_or_default();
    of_template.retain(|key, _| !key.starts_with(AUTOSCALING));
    of_template.extend(scaling);
    // Otherwise Knative would give up before the user does.
    if let Some(timeout) = spec.timeout.as_ref().and_then(|timeout| timeout.to_std())
        && timeout.as_secs() > DEFAULT_DEADLINE
    {
        of_template.entry(PROGRESS_DEADLINE.to_owned()).or_insert_with(|| format!("{}s", timeout.as_secs()));
    }
    template["metadata"]["annotations"] = json!(of_template);

    let own = spec.knative_service.clone().unwrap_or_default();
    let mut metadata = valid.metadata(&[]);
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(VISIBILITY.to_owned(), "cluster-local".to_owned());
    let is_ours = |key: &str| key.starts_with("openfunction.io/");
    labels.extend(own.labels.into_iter().filter(|(key, _)| !is_ours(key)));
    // An empty one takes the label away: Knative knows no word for "public".
    labels.retain(|key, value| key != VISIBILITY || !value.is_empty());
    annotations.extend(own.annotations.into_iter().filter(|(key, _)| !is_ours(key)));
    metadata.annotations = Some(annotations);
    Ok(json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": metadata,
        "spec": {"template": template},
    }))
}

/// Annotations for Knative's autoscaler: bounds for every engine, then what is said to Knative, then annotations of the
/// pods; the later wins (goals Q7, SC19, B-80).
fn scaling(valid: &Valid) -> BTreeMap<String, String> {
    let spec = &valid.serving.spec.serving;
    let annotations = spec.annotations.iter().filter(|(key, _)| key.starts_with(AUTOSCALING));
    let said: BTreeMap<_, _> = valid
        .scale
        .knative
        .iter()
        .flatten()
        .chain(annotations)
        .map(|(key, value)| (canonical(key), value.clone()))
        .collect();
    let min = valid.scale.min_replicas.unwrap_or(MIN_REPLICAS);
    let number = |key: &str| said.get(key).and_then(|value| value.parse::<i32>().ok());
    let max = valid.scale.max_replicas.unwrap_or_else(|| MAX_REPLICAS.max(number(MIN_SCALE).unwrap_or(min)));
    let mut scaling: BTreeMap<_, _> =
        [(MIN_SCALE.to_owned(), min.to_string()), (MAX_SCALE.to_owned(), max.to_string())].into();
    scaling.extend(said);
    scaling
}

/// The bounds that count.
pub fn bounds(valid: &Valid) -> ScalingStatus {
    let scaling = scaling(valid);
    let number = |key: &str| scaling.get(key).and_then(|value| value.parse().ok()).unwrap_or_default();
    ScalingStatus { min_replicas: number(MIN_SCALE), max_replicas: number(MAX_SCALE) }
}

/// Knative knows its older annotations by two names; with both, it would be open which one counts.
fn canonical(key: &str) -> String {
    let Some(name) = key.strip_prefix(AUTOSCALING) else { return key.to_owned() };
    let kebab = |letter: char| {
        let dash = letter.is_ascii_uppercase().then_some('-');
        dash.into_iter().chain([letter.to_ascii_lowercase()])
    };
    format!("{AUTOSCALING}{}", name.chars().flat_map(kebab).collect::<String>())
}

fn container_concurrency(valid: &Valid, written: &str) -> Result<i64, Invalid> {
    written.parse().ok().filter(|number| (0..=1000).contains(number)).ok_or_else(|| {
        let is_annotation = valid.serving.spec.serving.annotations.contains_key(CONTAINER_CONCURRENCY);
        let field = if is_annotation { "spec.annotations" } else { "spec.scaleOptions.knative" };
        Invalid::Value {
            path: format!("{field}[{CONTAINER_CONCURRENCY}]"),
            value: written.to_owned(),
            why: "must be a whole number from 0, which means no limit, to 1000".to_owned(),
        }
    })
}
