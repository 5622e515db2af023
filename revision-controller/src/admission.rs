//! Admission of the policies of Functions: what means nothing is refused, and what has no effect is warned of.

use std::{sync::Arc, time::Duration};

use controller_runtime::webhook::{BundleTarget, Verdict, Webhooks};
use kube::{ResourceExt, api::DynamicObject, core::admission::AdmissionRequest};
use openfunction_proto::core::{
    Function, RevisionPolicy,
    revision_policy::{PARAMS, SWITCH, unknown},
};
use serde_json::json;

use crate::{ABOUT, target::check};

/// Adds admission to webhooks. Their configuration, which the chart has, is named after the controller's namespace.
pub fn admission(webhooks: Webhooks, namespace: &str, min: Duration) -> Webhooks {
    let configuration = BundleTarget::Validating(format!("{namespace}-{}", ABOUT.name));
    let path = "/validate-core-openfunction-io-v1beta2-function-revision";
    webhooks.admit(path, configuration, Arc::new(move |request| validate(request, min)))
}

fn validate(request: &AdmissionRequest<DynamicObject>, min: Duration) -> Verdict {
    let read = |object: &DynamicObject| serde_json::from_value::<Function>(json!(object)).ok();
    // What cannot be read the CRD refuses.
    let Some(function) = request.object.as_ref().and_then(read) else { return Verdict::default() };
    let said = |function: &Function| {
        let annotation = |key: &str| function.annotations().get(key).cloned();
        (function.spec.revision_policy.clone(), annotation(SWITCH), annotation(PARAMS))
    };
    let is_same = request.old_object.as_ref().and_then(read).is_some_and(|old| said(&old) == said(&function));
    // Finalizers and labels of what was stored before this rule must stay free.
    if function.metadata.deletion_timestamp.is_some() || is_same {
        return Verdict::default();
    }
    let policy = RevisionPolicy::of(&function);
    let denied = policy.as_ref().map_or_else(|why| Some(why.clone()), |policy| check(policy.as_ref()?, min).err());
    let params = function.annotations().get(PARAMS).map(String::as_str).unwrap_or_default();
    let mut warnings: Vec<_> = unknown(params)
        .into_iter()
        .map(|key| format!("metadata.annotations[{PARAMS}].{key}: is not known and has no effect"))
        .collect();
    if function.spec.revision_policy.is_some() && !params.is_empty() {
        warnings.push(format!("metadata.annotations[{PARAMS}]: has no effect beside spec.revisionPolicy"));
    }
    Verdict { denied, warnings, object: None }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn verdict(metadata: &Value, policy: &Value, before: Option<&Value>) -> Verdict {
        let object = |metadata: &Value| {
            let mut metadata = metadata.clone();
            metadata["name"] = json!("f");
            json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": metadata,
                "spec": {"image": "a", "serving": {}, "revisionPolicy": policy}})
        };
        let request = serde_json::from_value(
            json!({"uid": "u", "kind": {"group": "core.openfunction.io", "version": "v1beta2", "kind": "Function"},
            "resource": {"group": "core.openfunction.io", "version": "v1beta2", "resource": "functions"}, "name": "f", "namespace": "n",
            "operation": if before.is_some() { "UPDATE" } else { "CREATE" }, "userInfo": {}, "dryRun": false,
            "object": object(metadata), "oldObject": before.map(object)}),
        );
        validate(&request.unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn rv4_a_policy_that_means_nothing_is_refused_and_one_that_stands_is_left() {
        let params = |params: &str| json!({"annotations": {SWITCH: "enable", PARAMS: params}});
        let none = Value::Null;
        assert_eq!(verdict(&params("type: image"), &none, None).denied, None);
        let bad = params("type: images");
        assert!(verdict(&bad, &none, None).denied.unwrap().contains("supported values: source, source-image, image"));
        assert_eq!(verdict(&bad, &none, Some(&bad)).denied, None, "it was stored before there was a rule");
        let too_often = verdict(&params("polling-interval: 0s"), &none, None).denied.unwrap();
        assert!(too_often.ends_with("must be at least 1s"), "{too_often}");
        let typed = verdict(&json!({}), &json!({"type": "image", "tagPolicy": {"regex": "("}}), None).denied.unwrap();
        assert!(typed.starts_with("spec.revisionPolicy.tagPolicy.regex: Invalid value"), "{typed}");
        let warned = verdict(&params("type: image\nbranch: main"), &none, None).warnings;
        assert_eq!(warned, [format!("metadata.annotations[{PARAMS}].branch: is not known and has no effect")]);
    }
}
