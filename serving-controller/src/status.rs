//! The state of a revision, from what its pods really do.

use std::{sync::Arc, time::Duration};

use controller_runtime::status_api;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};
use kube::ResourceExt;
use openfunction_proto::{
    core::{Serving, ServingStatus},
    status_api::ObjectStatus,
};

use crate::validate::Valid;

/// A revision's Ready condition.
pub const READY: &str = "Ready";

/// What is seen of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// `Starting`, `Running`, `Failed`, `Timeout` or `Suspended`.
    pub state: &'static str,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// When this may change by itself.
    pub look_again: Option<Duration>,
}

impl Observed {
    /// A state with its reason.
    pub fn new(state: &'static str, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { state, reason: reason.into(), message: message.into(), look_again: None }
    }

    /// It runs.
    pub fn running() -> Self {
        Self::new("Running", "Running", "Running")
    }

    /// It runs, and the proxy through which it is called does not answer yet.
    pub fn waits_for_proxy() -> Self {
        let message =
            "the Dapr proxy of the function does not answer yet (kubectl get pods --selector=openfunction.io/proxy)";
        Self::new("Starting", "DaprProxyNotReady", message)
    }

    /// It may change by itself at a time.
    pub fn look_again_at(&mut self, at: Timestamp, now: Timestamp) {
        let left = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        self.look_again = self.look_again.into_iter().chain([left]).min();
    }
}

/// What a state becomes when the time of the revision is over, or when that will be (goals FN16).
pub fn late(mut observed: Observed, valid: &Valid, now: Timestamp) -> Observed {
    let Some(timeout) = valid.serving.spec.serving.timeout.as_ref().and_then(|timeout| timeout.to_std()) else {
        return observed;
    };
    let activated = valid.serving.status.as_ref().and_then(|status| status.activated_at.clone());
    let since = activated.or_else(|| valid.serving.creation_timestamp());
    let age = since.map_or(Duration::ZERO, |since| Duration::try_from(now.duration_since(since.0)).unwrap_or_default());
    match timeout.checked_sub(age) {
        Some(left) if !left.is_zero() => {
            observed.look_again = observed.look_again.into_iter().chain([left]).min();
            observed
        }
        _ => {
            let why = if observed.state == "Failed" {
                format!("{}: {}", observed.reason, observed.message)
            } else {
                observed.message
            };
            Observed::new("Timeout", "Timeout", format!("not ready within {timeout:?}: {why}"))
        }
    }
}

/// Pods that are not on their way out, in the order of their names.
fn that_stay<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<&'a Pod> {
    let mut pods: Vec<_> = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    pods.sort_by_key(|pod| pod.name_any());
    pods
}

/// Why pods do not come up: that of the first one of which it is known, in the order of their names.
pub fn failure_of_pods<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<(String, String)> {
    that_stay(pods).into_iter().find_map(failure_of_pod)
}

/// What pods wait for that run and are not ready: what is wrong with a probe stands in Events alone.
pub fn not_ready<'a>(pods: impl Iterator<Item = &'a Pod>) -> Option<String> {
    that_stay(pods).into_iter().find_map(|pod| {
        let runs = |container: &&ContainerStatus| {
            !container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        let container = pod.status.as_ref()?.container_statuses.iter().flatten().find(runs)?;
        let (pod, container) = (pod.name_any(), &container.name);
        Some(format!(
            "pod {pod}, container {container}: it runs, and its probe does not succeed yet (kubectl describe pod {pod})"
        ))
    })
}

fn failure_of_pod(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    if let Some((reason, message)) = containers.into_iter().find_map(failure_of_container) {
        return Some((reason, format!("pod {}, {message}", pod.name_any())));
    }
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let reason = unscheduled.reason.clone().unwrap_or_default();
    // A pod gate holds a pod back on purpose.
    (reason == "Unschedulable").then(|| {
        let message = unscheduled.message.clone().unwrap_or_default();
        (reason, format!("pod {}: {message}", pod.name_any()))
    })
}

/// What stands in Events alone: that a node cannot make the sandbox of a pod, for example since it does not have the runtime
/// of the pod's RuntimeClass (WA11). Its containers say only that they wait.
pub const SANDBOX: &str = "FailedCreatePodSandBox";

/// A pod whose containers say why they wait.
pub fn with_reason(pod: &Pod, events: &[Arc<Event>]) -> Option<Pod> {
    let last = events.iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    let mut pod = pod.clone();
    let status = pod.status.as_mut()?;
    let has_begun = |c: &PodCondition| c.type_ == "PodReadyToStartContainers" && c.status == "True";
    if status.conditions.iter().flatten().any(has_begun) {
        return None;
    }
    let waiting = status.init_container_statuses.iter_mut().chain(&mut status.container_statuses).flatten();
    let waiting = waiting.filter_map(|container| container.state.as_mut()?.waiting.as_mut());
    let says_nothing = |reason: &str| ["ContainerCreating", "PodInitializing"].contains(&reason);
    for waiting in waiting.filter(|waiting| waiting.reason.as_deref().is_some_and(says_nothing)) {
        waiting.reason = Some(SANDBOX.to_owned());
        waiting.message.clone_from(&last.message);
    }
    Some(pod)
}

/// Reasons of a waiting container that are a failure, each with what to do about it.
const FAILURES: &[(&str, &str)] = &[
    ("ErrImagePull", PULL),
    ("ImagePullBackOff", PULL),
    ("ErrImageNeverPull", "the node has no such image; change imagePullPolicy"),
    ("InvalidImageName", "correct spec.image"),
    ("CreateContainerConfigError", "check that the ConfigMaps and Secrets that the template names exist"),
    ("CreateContainerError", "check command, volumes and mounts of the template"),
    ("RunContainerError", "check command, volumes and mounts of the template"),
    (
        SANDBOX,
        "if it is a runtime that is missing, no node or not every node has the one of the template's runtimeClassName",
    ),
    ("CrashLoopBackOff", "read its log: kubectl logs --previous"),
];
const PULL: &str = "check the name of the image, and that spec.imageCredentials names a Secret that may pull it";

fn failure_of_container(container: &ContainerStatus) -> Option<(String, String)> {
    let name = &container.name;
    let state = container.state.as_ref();
    let ended = state
        .and_then(|state| state.terminated.as_ref())
        .or(container.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let said = ended.map(|ended| {
        let words = ended.message.as_deref().unwrap_or_default().trim();
        let tail = words.lines().next_back().map(|line| format!(": {line}")).unwrap_or_default();
        format!("it ended with exit code {} ({}){tail}", ended.exit_code, ended.reason.as_deref().unwrap_or_default())
    });
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let hint = FAILURES.iter().find(|(known, _)| *known == reason)?.1;
        let message = said.or_else(|| waiting.message.clone()).unwrap_or_default();
        return Some((reason.to_owned(), format!("container {name}: {message}; {hint}")));
    }
    // The first end is known before the kubelet calls it a loop.
    let ended = ended.filter(|ended| ended.exit_code != 0)?;
    let is_up = container.ready;
    (!is_up).then(|| {
        let reason = ended.reason.clone().unwrap_or_else(|| "Error".to_owned());
        (reason, format!("container {name}: {}; read its log: kubectl logs --previous", said.unwrap_or_default()))
    })
}

/// What the status API says of a Serving.
pub fn explain(serving: &Serving) -> ObjectStatus {
    let ServingStatus { observed_generation, conditions, .. } = serving.status.clone().unwrap_or_default();
    status_api::object_status(serving, observed_generation, &conditions)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn wa11_a_node_without_the_runtime_is_told() {
        let pod = |waiting: Value| -> Pod {
            let container = json!({"name": "function", "image": "a", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": waiting}});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [container]}}))
                .unwrap()
        };
        let event = |second: u32, message: &str| -> Arc<Event> {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": SANDBOX, "message": message,
                "lastTimestamp": format!("2026-01-01T00:00:{second:02}Z")});
            Arc::new(serde_json::from_value(event).unwrap())
        };
        let events = [event(2, "no runtime for \"crun\" is configured"), event(1, "no network yet")];
        let waits = pod(json!({"reason": "ContainerCreating"}));
        assert_eq!(with_reason(&waits, &[]), None);
        let (reason, message) = failure_of_pod(&with_reason(&waits, &events).unwrap()).unwrap();
        assert_eq!(reason, "FailedCreatePodSandBox");
        assert!(message.contains("no runtime for \"crun\" is configured; if it is a runtime"), "{message}");
        // It has come further since.
        let mut pulls_long = waits.clone();
        let begun = json!([{"type": "PodReadyToStartContainers", "status": "True"}]);
        pulls_long.status.as_mut().unwrap().conditions = serde_json::from_value(begun).unwrap();
        assert_eq!(with_reason(&pulls_long, &events), None);
        let pulls = pod(json!({"reason": "ErrImagePull", "message": "not found"}));
        assert_eq!(failure_of_pod(&with_reason(&pulls, &events).unwrap()).unwrap().0, "ErrImagePull");
    }
}
