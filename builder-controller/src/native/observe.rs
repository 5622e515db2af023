//! What the Pod of a build says.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

use super::pod::{RESULTS_STEP, Results, STEP};

/// The state of a build.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// It goes on.
    Building {
        /// What it does now, in one word.
        reason: String,
        /// What it does now, in a sentence.
        message: String,
    },
    /// The image is pushed.
    Succeeded(Results),
    /// A step failed.
    Failed(Failed),
    /// It took too long.
    TimedOut,
}

/// The step that failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failed {
    /// Its container.
    pub container: String,
    /// Its exit code, if it ran.
    pub exit_code: Option<i32>,
    /// Why, in the kubelet's word, if it did not end by itself.
    pub reason: Option<String>,
    /// What it said last.
    pub log_tail: String,
}

impl Failed {
    /// Its name in the strategy.
    pub fn step(&self) -> &str {
        self.container.trim_start_matches(STEP)
    }
}

/// Reasons of a waiting container that no waiting will mend.
const HOPELESS: &[&str] = &[
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// Looks at the Pod.
pub fn observe(pod: &Pod) -> Observed {
    let Some(status) = &pod.status else { return building("Pending", "the build's pod is being made") };
    // What ended the pod ended its containers, too.
    if let (Some("Failed"), Some(reason)) = (status.phase.as_deref(), &status.reason) {
        let log_tail = status.message.clone().unwrap_or_default();
        return Observed::Failed(Failed {
            container: "pod".to_owned(),
            reason: Some(reason.clone()),
            log_tail,
            exit_code: None,
        });
    }
    let containers: Vec<_> =
        status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten()).collect();
    let ended = |container: &ContainerStatus| container.state.as_ref().and_then(|state| state.terminated.clone());
    for container in &containers {
        match ended(container) {
            Some(end) if end.exit_code != 0 => return Observed::Failed(failed(container, &end)),
            // The last one has told all: whatever else runs in the pod is not ours.
            Some(end) if container.name == RESULTS_STEP => return succeeded(&end),
            _ => {}
        }
    }
    for container in &containers {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.clone()).unwrap_or_default();
        let reason = waiting.reason.unwrap_or_default();
        if HOPELESS.contains(&reason.as_str()) {
            let log_tail = waiting.message.unwrap_or_default();
            return Observed::Failed(Failed {
                container: container.name.clone(),
                exit_code: None,
                reason: Some(reason),
                log_tail,
            });
        }
    }
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
        return building(reason, condition.message.as_deref().unwrap_or_default());
    }
    let named = |container: &ContainerStatus| container.name.trim_start_matches(STEP).to_owned();
    let is_running =
        |container: &ContainerStatus| container.state.as_ref().is_some_and(|state| state.running.is_some());
    if let Some(container) = containers.iter().find(|container| is_running(container)) {
        return building("Building", &format!("step {} runs", named(container)));
    }
    match containers.iter().rev().find(|container| ended(container).is_some()) {
        Some(container) => building("Building", &format!("step {} has ended", named(container))),
        None => building("Pending", "the build's pod starts"),
    }
}

fn succeeded(end: &ContainerStateTerminated) -> Observed {
    let told = end.message.clone().unwrap_or_default();
    serde_json::from_str(&told).map_or_else(
        |_| {
            let log_tail = format!("the results cannot be read: {told}");
            Observed::Failed(Failed { container: RESULTS_STEP.to_owned(), exit_code: None, reason: None, log_tail })
        },
        Observed::Succeeded,
    )
}

fn building(reason: &str, message: &str) -> Observed {
    Observed::Building { reason: reason.to_owned(), message: message.to_owned() }
}

fn failed(container: &ContainerStatus, end: &ContainerStateTerminated) -> Failed {
    // A program that was ended from outside has more to say than its exit code.
    let reason = end.reason.clone().filter(|reason| reason != "Error");
    let log_tail = end.message.clone().unwrap_or_default();
    Failed { container: container.name.clone(), exit_code: Some(end.exit_code), reason, log_tail }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> Observed {
        observe(&serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap())
    }

    fn container(name: &str, state: Value) -> Value {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    #[test]
    fn the_first_step_that_failed_is_told_with_what_it_said() {
        let done = container("source", json!({"terminated": {"exitCode": 0}}));
        let bad =
            container("step-build", json!({"terminated": {"exitCode": 2, "reason": "Error", "message": "oh no"}}));
        let waiting = container("results", json!({"waiting": {"reason": "PodInitializing"}}));
        let status = json!({"phase": "Failed", "initContainerStatuses": [done, bad], "containerStatuses": [waiting]});
        let (container, log_tail) = ("step-build".to_owned(), "oh no".to_owned());
        let expected = Failed { container, exit_code: Some(2), reason: None, log_tail };
        assert_eq!(seen(status), Observed::Failed(expected));
    }

    #[test]
    fn results_are_read_when_all_has_ended_well() {
        let message = json!({"shp-image-digest": "sha256:1"}).to_string();
        let results = container("results", json!({"terminated": {"exitCode": 0, "message": message}}));
        let Observed::Succeeded(results) = seen(json!({"phase": "Succeeded", "containerStatuses": [results]})) else {
            panic!("it succeeded")
        };
        assert_eq!(results["shp-image-digest"], "sha256:1");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_ends_the_build_and_a_full_cluster_does_not() {
        let waiting = |reason: &str| json!({"phase": "Pending", "initContainerStatuses": [container("step-build", json!({"waiting": {"reason": reason, "message": "m"}}))]});
        assert!(
            matches!(seen(waiting("ImagePullBackOff")), Observed::Failed(failed) if failed.reason.as_deref() == Some("ImagePullBackOff"))
        );
        assert!(matches!(seen(waiting("ErrImagePull")), Observed::Building { .. }), "the first try");
        let full = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(
            seen(full),
            Observed::Building { reason: "Unschedulable".to_owned(), message: "0/1 nodes".to_owned() }
        );
    }

    #[test]
    fn an_evicted_pod_is_told_as_such() {
        let killed = container("step-build", json!({"terminated": {"exitCode": 137, "reason": "Error"}}));
        let status = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory", "initContainerStatuses": [killed]});
        assert!(matches!(seen(status), Observed::Failed(failed) if failed.reason.as_deref() == Some("Evicted")));
    }

    #[test]
    fn results_that_cannot_be_read_are_no_success() {
        let results = container("results", json!({"terminated": {"exitCode": 0, "message": "{\"shp-"}}));
        assert!(matches!(seen(json!({"phase": "Succeeded", "containerStatuses": [results]})), Observed::Failed(_)));
    }
}
