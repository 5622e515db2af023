//! Options that the engine of a function does not use: they do no harm, and the user is told.

use controller_runtime::conditions::NewCondition;
use openfunction_proto::core::OPTIONS_IGNORED;

use crate::validate::Valid;

/// Paths of the options that a user has set and that only some engines use, as far as one does not.
pub fn ignored(valid: &Valid, is_ignored: impl Fn(&str) -> bool) -> Vec<String> {
    let spec = &valid.serving.spec.serving;
    let keda = &valid.keda;
    let knative = valid.scale.knative.iter().flatten().map(|(key, _)| format!("spec.scaleOptions.knative[{key}]"));
    let flags = [
        ("spec.scaleOptions.keda.httpScaledObject", keda.http_scaled_object.is_some()),
        ("spec.scaleOptions.keda.scaledObject", keda.scaled_object.is_some()),
        ("spec.scaleOptions.keda.scaledJob", keda.scaled_job.is_some()),
        ("spec.scaleOptions.keda.triggers", !keda.triggers.is_empty()),
        ("spec.knativeService", spec.knative_service.is_some()),
    ];
    let set = knative.chain(flags.iter().filter(|(_, is_set)| *is_set).map(|(path, _)| (*path).to_owned()));
    // What requests call is a Deployment, or what is as good as one.
    let workload = spec.workload_type.as_deref().filter(|kind| !["", "Deployment"].contains(kind));
    set.filter(|path| is_ignored(path)).chain(workload.map(|_| "spec.workloadType".to_owned())).collect()
}

/// The condition that says so.
pub fn condition(engine: &str, ignored: Vec<String>) -> Option<NewCondition> {
    (!ignored.is_empty()).then(|| {
        let message = format!("engine {engine} does not use {}", ignored.join(", "));
        NewCondition::true_(OPTIONS_IGNORED, "NotUsedByEngine", message)
    })
}
