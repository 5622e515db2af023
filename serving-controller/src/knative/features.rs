//! What Knative refuses and why: features that are switched off in its ConfigMap, and values of annotations (B-61, B-82).

use controller_runtime::{apply::ApplyError, client::told};

use crate::{engine::Refused, settings::Settings};

/// What Knative says of a field or use that a feature allows, and the feature.
/// (Knative Serving, `pkg/apis/serving/fieldmask.go` and `k8s_validation.go`.)
const FEATURES: &[(&str, &str)] = &[
    (".fieldRef", "kubernetes.podspec-fieldref"),
    (".resourceFieldRef", "kubernetes.podspec-fieldref"),
    ("template.spec.affinity", "kubernetes.podspec-affinity"),
    ("template.spec.topologySpreadConstraints", "kubernetes.podspec-topologyspreadconstraints"),
    ("template.spec.hostAliases", "kubernetes.podspec-hostaliases"),
    ("template.spec.nodeSelector", "kubernetes.podspec-nodeselector"),
    ("template.spec.runtimeClassName", "kubernetes.podspec-runtimeclassname"),
    ("template.spec.tolerations", "kubernetes.podspec-tolerations"),
    ("template.spec.securityContext", "kubernetes.podspec-securitycontext"),
    ("template.spec.shareProcessNamespace", "kubernetes.podspec-shareprocessnamespace"),
    ("template.spec.priorityClassName", "kubernetes.podspec-priorityclassname"),
    ("template.spec.schedulerName", "kubernetes.podspec-schedulername"),
    ("template.spec.initContainers", "kubernetes.podspec-init-containers"),
    ("template.spec.dnsPolicy", "kubernetes.podspec-dnspolicy"),
    ("template.spec.dnsConfig", "kubernetes.podspec-dnsconfig"),
    ("template.spec.hostIPC", "kubernetes.podspec-hostipc"),
    ("template.spec.hostPID", "kubernetes.podspec-hostpid"),
    ("template.spec.hostNetwork", "kubernetes.podspec-hostnetwork"),
    (".capabilities.add", "kubernetes.containerspec-addcapabilities"),
    ("multi-container is off", "multi-container"),
    ("init-containers is off", "kubernetes.podspec-init-containers"),
    (".readinessProbe", "multi-container-probing"),
    (".livenessProbe", "multi-container-probing"),
    ("Volume Mount Propagation support is disabled", "kubernetes.podspec-volumes-mount-propagation"),
    ("EmptyDir volume support is disabled", "kubernetes.podspec-volumes-emptydir"),
    ("HostPath volume support is disabled", "kubernetes.podspec-volumes-hostpath"),
    ("CSI volume support is disabled", "kubernetes.podspec-volumes-csi"),
    ("Image volume support is disabled", "kubernetes.podspec-volumes-image"),
    ("Persistent volume claim support is disabled", "kubernetes.podspec-persistent-volume-claim"),
    ("Persistent volume write support is disabled", "kubernetes.podspec-persistent-volume-write"),
    (".mountPropagation", "kubernetes.podspec-volumes-mount-propagation"),
];

/// Features that give a pod rights on its node: whoever may write a Function must not switch them on for all.
const POWERS: &[&str] = &[
    "kubernetes.podspec-hostipc",
    "kubernetes.podspec-hostpid",
    "kubernetes.podspec-hostnetwork",
    "kubernetes.podspec-volumes-hostpath",
    "kubernetes.podspec-volumes-mount-propagation",
    "kubernetes.containerspec-addcapabilities",
];

/// Whether a feature may be switched on because a function needs it.
pub fn is_harmless(feature: &str) -> bool {
    !POWERS.contains(&feature)
}

/// Where an annotation of the template stands in Knative's words.
const ANNOTATIONS: &str = "spec.template.metadata.annotations.";

/// What the user can do about a refusal of Knative's.
pub fn explain(error: &ApplyError, settings: &Settings, config: &(String, String)) -> Option<Refused> {
    let ApplyError::Api { source, .. } = error else { return None };
    explain_words(&told(source), settings.knative_enable_features, config)
}

fn explain_words(said: &str, may_enable: bool, (namespace, name): &(String, String)) -> Option<Refused> {
    let mut features: Vec<_> = FEATURES.iter().filter(|(words, _)| said.contains(words)).map(|(_, f)| *f).collect();
    features.dedup();
    if !features.is_empty()
        && (said.contains("must not set the field") || said.contains("is disabled") || said.contains("is off"))
    {
        let keys: Vec<_> = features.iter().map(|feature| format!("{feature}: enabled")).collect();
        let todo = if may_enable && features.iter().all(|feature| is_harmless(feature)) {
            format!("switching on {} in ConfigMap {namespace}/{name}", keys.join(", "))
        } else {
            let todo = format!("set {} in ConfigMap {namespace}/{name}, or choose engine native", keys.join(", "));
            if may_enable {
                format!("{todo} (what gives rights on a node is not switched on by itself)")
            } else {
                format!("{todo}; value serving-controller.knative.enableFeatures lets the controller do it")
            }
        };
        return Some(Refused {
            message: format!("Knative has features switched off that the function needs: {todo}; {said}"),
            features,
        });
    }
    let key = said.split_once(ANNOTATIONS)?.1.split([',', ' ', '\n']).next()?;
    Some(Refused {
        message: format!("spec.scaleOptions.knative[{key}] (or spec.annotations): {said}"),
        features: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(said: &str, may_enable: bool) -> Option<Refused> {
        explain_words(said, may_enable, &("knative-serving".to_owned(), "config-features".to_owned()))
    }

    #[test]
    fn b61_features_that_are_off_are_named_with_their_config_map() {
        let said = "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: must not set the field(s): spec.template.spec.containers[0].env[3].valueFrom.fieldRef, spec.template.spec.runtimeClassName";
        let refused = explained(said, false).unwrap();
        assert_eq!(refused.features, ["kubernetes.podspec-fieldref", "kubernetes.podspec-runtimeclassname"]);
        assert!(
            refused.message.contains("set kubernetes.podspec-fieldref: enabled, kubernetes.podspec-runtimeclassname: enabled in ConfigMap knative-serving/config-features"),
            "{}",
            refused.message
        );
        assert!(explained(said, true).unwrap().message.contains("switching on "));
        let host = "must not set the field(s): spec.template.spec.hostNetwork";
        let refused = explained(host, true).unwrap();
        assert!(refused.message.contains("is not switched on by itself"), "{}", refused.message);
        assert!(!is_harmless(refused.features[0]));
        let sidecar = "must not set the field(s): spec.template.spec.containers[1].readinessProbe";
        assert_eq!(explained(sidecar, true).unwrap().features, ["multi-container-probing"]);
        let fixed = "must not set the field(s): spec.template.spec.restartPolicy";
        assert_eq!(explained(fixed, true), None, "no feature helps here");
    }

    #[test]
    fn a_bad_annotation_is_told_by_the_path_that_the_user_knows() {
        let said =
            "validation failed: invalid value: abc: spec.template.metadata.annotations.autoscaling.knative.dev/target";
        let refused = explained(said, true).unwrap();
        assert!(
            refused.message.starts_with("spec.scaleOptions.knative[autoscaling.knative.dev/target]"),
            "{}",
            refused.message
        );
        assert!(refused.features.is_empty());
    }
}
