//! The HorizontalPodAutoscaler of a revision.

use std::collections::BTreeMap;

use controller_runtime::conditions::NewCondition;
use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
        HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget, PodsMetricSource,
        ResourceMetricSource,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::ResourceExt;
use openfunction_proto::core::{KedaTrigger, SCALER_UNAVAILABLE};
use serde_json::Value;

use crate::{
    pod,
    validate::{Invalid, Valid},
};

/// Part of the requested CPU that pods shall use, in percent.
const UTILIZATION: i32 = 80;
/// CPU that a pod which requests none shall use.
const AVERAGE: &str = "500m";
/// Annotations of Knative that choose a metric of Kubernetes, the words that its own HPA class has.
const CLASS: &str = "autoscaling.knative.dev/class";
const METRIC: &str = "autoscaling.knative.dev/metric";
const TARGET: &str = "autoscaling.knative.dev/target";
const HPA_CLASS: &str = "hpa.autoscaling.knative.dev";

/// The keys of `scaleOptions.knative` that this engine understands.
pub fn understood(knative: &BTreeMap<String, String>) -> &'static [&'static str] {
    if knative.get(CLASS).is_some_and(|class| class == HPA_CLASS) { &[CLASS, METRIC, TARGET] } else { &[] }
}

/// The autoscaler. It goes by the metric that the user names, else by CPU, relative to what the function requests if it
/// does.
///
/// # Errors
/// A target that is no number.
pub fn autoscaler(valid: &Valid, (min, max): (i32, i32)) -> Result<HorizontalPodAutoscaler, Invalid> {
    let name = valid.serving.name_any();
    let of_triggers = valid.triggers.iter().filter_map(|trigger| of_trigger(valid, trigger));
    let mut metrics = of_triggers.collect::<Result<Vec<_>, _>>()?;
    metrics.extend(of_annotations(valid)?);
    if metrics.is_empty() {
        metrics.push(resource("cpu", cpu(valid)));
    }
    Ok(HorizontalPodAutoscaler {
        metadata: valid.metadata(&[]),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name,
            },
            min_replicas: Some(min),
            max_replicas: max,
            metrics: Some(metrics),
            behavior: behavior(valid),
        }),
        status: None,
    })
}

fn cpu(valid: &Valid) -> MetricTarget {
    if requests(valid, "cpu") { utilization(UTILIZATION) } else { average(AVERAGE) }
}

fn utilization(percent: i32) -> MetricTarget {
    MetricTarget { type_: "Utilization".to_owned(), average_utilization: Some(percent), ..MetricTarget::default() }
}

fn average(value: &str) -> MetricTarget {
    let average_value = Some(Quantity(value.to_owned()));
    MetricTarget { type_: "AverageValue".to_owned(), average_value, ..MetricTarget::default() }
}

fn resource(name: &str, target: MetricTarget) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: name.to_owned(), target }),
        ..MetricSpec::default()
    }
}

/// How fast it scales, as it is said to KEDA.
fn behavior(valid: &Valid) -> Option<HorizontalPodAutoscalerBehavior> {
    let advanced = valid.keda.scaled_object.as_ref()?.advanced.as_ref()?;
    let behavior = advanced.horizontal_pod_autoscaler_config.as_ref()?.behavior.as_ref()?;
    serde_json::from_value(serde_json::json!(behavior)).ok()
}

/// KEDA's triggers `cpu` and `memory` are what Kubernetes can do by itself. Utilization of what nobody requests is
/// measured against the installation's default, so that any load would be too much: it is left out.
fn of_trigger(valid: &Valid, (path, trigger): &(String, KedaTrigger)) -> Option<Result<MetricSpec, Invalid>> {
    if !is_resource(trigger) {
        return None;
    }
    let path = format!("{path}.metadata.value");
    let value = trigger.metadata.get("value").map(String::as_str).unwrap_or_default();
    let target = match is_relative(trigger) {
        false => quantity(&path, value).map(|()| average(value)),
        true => percent(&path, value).map(utilization),
    };
    match target {
        Ok(_) if is_unmeasured(valid, trigger) => None,
        target => Some(target.map(|target| resource(&trigger.type_, target))),
    }
}

/// What a user should know of triggers that go by utilization of what is not requested.
pub fn without_requests(valid: &Valid) -> Option<NewCondition> {
    let knative = valid.scale.knative.clone().unwrap_or_default();
    let by_cpu = knative.get(METRIC).is_none_or(|metric| metric == "cpu") && knative.contains_key(TARGET);
    if !understood(&knative).is_empty() && by_cpu && !requests(valid, "cpu") {
        let message = format!(
            "spec.scaleOptions.knative[{TARGET}]: utilization needs resources.requests.cpu of every container in spec.template; without them, pods shall use {AVERAGE} each"
        );
        return Some(NewCondition::true_(SCALER_UNAVAILABLE, "RequestsMissing", message));
    }
    let (path, trigger) =
        valid.triggers.iter().find(|(_, trigger)| is_resource(trigger) && is_unmeasured(valid, trigger))?;
    let message = format!(
        "{path}: utilization needs resources.requests.{} of every container in spec.template; without them, this trigger does not count",
        trigger.type_
    );
    Some(NewCondition::true_(SCALER_UNAVAILABLE, "RequestsMissing", message))
}

/// Whether a trigger goes by the share of what is requested.
fn is_relative(trigger: &KedaTrigger) -> bool {
    trigger.metric_type.as_deref() != Some("AverageValue")
}

/// Whether a trigger goes by the share of what nobody requests.
fn is_unmeasured(valid: &Valid, trigger: &KedaTrigger) -> bool {
    is_relative(trigger) && !requests(valid, &trigger.type_)
}

/// Whether a trigger of KEDA goes by what Kubernetes can tell of pods.
pub fn is_resource(trigger: &KedaTrigger) -> bool {
    ["cpu", "memory"].contains(&trigger.type_.as_str())
}

fn of_annotations(valid: &Valid) -> Result<Option<MetricSpec>, Invalid> {
    let knative = valid.scale.knative.clone().unwrap_or_default();
    if understood(&knative).is_empty() {
        return Ok(None);
    }
    let path = format!("spec.scaleOptions.knative[{TARGET}]");
    let metric = knative.get(METRIC).map_or("cpu", String::as_str);
    let target = knative.get(TARGET).map(String::as_str);
    Ok(Some(match (metric, target) {
        ("cpu", None) => resource("cpu", cpu(valid)),
        // As for the triggers.
        ("cpu", Some(target)) if !requests(valid, "cpu") => {
            percent(&path, target).map(|_| resource("cpu", cpu(valid)))?
        }
        ("cpu", Some(target)) => resource("cpu", utilization(percent(&path, target)?)),
        // As Knative has it: mebibytes.
        ("memory", Some(target)) => resource("memory", average(&format!("{}Mi", percent(&path, target)?))),
        (_, None) => {
            let why = format!("is required for metric {metric:?}");
            return Err(Invalid::Value { path, value: String::new(), why });
        }
        (name, Some(target)) => MetricSpec {
            type_: "Pods".to_owned(),
            pods: Some(PodsMetricSource {
                metric: MetricIdentifier { name: name.to_owned(), selector: None },
                target: average(&percent(&path, target)?.to_string()),
            }),
            ..MetricSpec::default()
        },
    }))
}

fn percent(path: &str, value: &str) -> Result<i32, Invalid> {
    value.parse().ok().filter(|number| *number > 0).ok_or_else(|| Invalid::Value {
        path: path.to_owned(),
        value: value.to_owned(),
        why: "must be a whole number above 0".to_owned(),
    })
}

fn quantity(path: &str, value: &str) -> Result<(), Invalid> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (is_number, suffix) = (number.parse::<f64>().is_ok_and(|number| number > 0.0), &value[number.len()..]);
    let known = ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    (is_number && known.contains(&suffix)).then_some(()).ok_or_else(|| Invalid::Value {
        path: path.to_owned(),
        value: value.to_owned(),
        why: "must be a quantity above 0, such as 500m or 200Mi".to_owned(),
    })
}

/// Utilization is only known if every container of the pod requests the resource. What the installation requests by
/// default is no measure of what the function needs.
fn requests(valid: &Valid, name: &str) -> bool {
    let containers = valid.template.get("containers").and_then(Value::as_array).cloned().unwrap_or_default();
    let requests = |container: &Value| {
        let of = |kind: &str| container.pointer(&format!("/resources/{kind}/{name}")).is_some();
        of("requests") || of("limits")
    };
    containers.iter().any(|container| container["name"] == pod::FUNCTION) && containers.iter().all(requests)
}
