//! What a BuildRun says.

use super::build_run::{BuildRun, BuildRunStatus};
use crate::native::{Failed, Observed, Results, STEP};

/// Looks at the BuildRun.
pub fn observe(run: &BuildRun) -> Observed {
    let building =
        |reason: &str, message: &str| Observed::Building { reason: reason.to_owned(), message: message.to_owned() };
    let Some(status) = &run.status else { return building("Pending", "Shipwright has not seen the build yet") };
    let Some(condition) = status.conditions.iter().find(|condition| condition.type_ == "Succeeded") else {
        return building("Pending", "Shipwright has not begun the build yet");
    };
    match (condition.status.as_str(), condition.reason.as_str()) {
        ("True", _) => Observed::Succeeded(results(status)),
        ("False", "BuildRunTimeout") => Observed::TimedOut,
        ("False", reason) => Observed::Failed(failed(status, reason, &condition.message)),
        (_, reason) => building(reason, &condition.message),
    }
}

/// The results under the names that steps give them.
fn results(status: &BuildRunStatus) -> Results {
    let source = status.source.clone().unwrap_or_default();
    let output = status.output.clone().unwrap_or_default();
    let git = source.git.unwrap_or_default();
    let size = Some(output.size).filter(|size| *size > 0).map(|size| size.to_string());
    let all = [
        ("shp-image-digest", output.digest),
        ("shp-image-size", size.unwrap_or_default()),
        ("shp-source-default-commit-sha", git.commit_sha),
        ("shp-source-default-commit-author", git.commit_author),
        ("shp-source-default-branch-name", git.branch_name),
        ("shp-source-default-image-digest", source.oci_artifact.unwrap_or_default().digest),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).map(|(name, text)| (name.to_owned(), text)).collect()
}

fn failed(status: &BuildRunStatus, reason: &str, message: &str) -> Failed {
    let details = status.failure_details.clone().unwrap_or_default();
    let container = details.location.map(|location| location.container).filter(|container| !container.is_empty());
    // The condition only says that a step failed; the details say why, if the strategy told.
    let told = [details.message.as_str(), message].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    let reason = [details.reason.as_str(), reason].into_iter().find(|text| !["", "Failed", "Error"].contains(text));
    Failed {
        container: container.unwrap_or_else(|| format!("{STEP}shipwright")),
        exit_code: None,
        reason: reason.map(str::to_owned),
        log_tail: told.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn observed(status: Value) -> Observed {
        let run = json!({"apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": {"name": "r"}, "spec": {}, "status": status});
        observe(&serde_json::from_value(run).unwrap())
    }

    fn succeeded(status: &str, reason: &str) -> Value {
        json!([{"type": "Succeeded", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    }

    #[test]
    fn the_states_of_a_run_become_those_of_a_build() {
        let building =
            |reason: &str, message: &str| Observed::Building { reason: reason.to_owned(), message: message.to_owned() };
        assert_eq!(observed(Value::Null), building("Pending", "Shipwright has not seen the build yet"));
        assert_eq!(observed(json!({"conditions": succeeded("Unknown", "Running")})), building("Running", "m"));
        assert_eq!(observed(json!({"conditions": succeeded("False", "BuildRunTimeout")})), Observed::TimedOut);
        let source = json!({"git": {"commitSha": "c", "branchName": "main"}});
        let done = json!({"conditions": succeeded("True", "Succeeded"), "output": {"digest": "sha256:1", "size": 7}, "source": source});
        let Observed::Succeeded(results) = observed(done) else { panic!("it has succeeded") };
        assert_eq!(
            json!(results),
            json!({"shp-image-digest": "sha256:1", "shp-image-size": "7", "shp-source-default-commit-sha": "c", "shp-source-default-branch-name": "main"})
        );
    }

    #[test]
    fn b56_b58_a_failed_run_says_where_and_why() {
        let details = json!({"reason": "Error", "message": "no such revision: v9", "location": {"pod": "p", "container": "step-source-default"}});
        let Observed::Failed(failed) =
            observed(json!({"conditions": succeeded("False", "Failed"), "failureDetails": details}))
        else {
            panic!("it has failed")
        };
        assert_eq!(
            (failed.step(), failed.reason.as_deref(), failed.log_tail.as_str()),
            ("source-default", None, "no such revision: v9")
        );
        let Observed::Failed(failed) = observed(json!({"conditions": succeeded("False", "BuildRegistrationFailed")}))
        else {
            panic!("it has failed")
        };
        assert_eq!((failed.reason.as_deref(), failed.log_tail.as_str()), (Some("BuildRegistrationFailed"), "m"));
    }
}
