//! The status of a Builder.

use controller_runtime::{
    conditions::{self, NewCondition},
    status_api,
};
use jiff::Timestamp;
use kube::ResourceExt;
use openfunction_proto::{
    GoDuration,
    core::{self, Builder, BuilderOutput, BuilderStatus, BundleRevision, GitRevision, SourceResult},
    status_api::{BuildDetail, ObjectStatus, object_status},
};

use crate::{
    failure,
    native::{self, Observed, Results},
};

/// The image is built and pushed.
const SUCCEEDED: &str = "Succeeded";

/// Whether a build has ended, well or not.
pub fn is_over(builder: &Builder) -> bool {
    let state = builder.status.as_ref().and_then(|status| status.state.as_deref());
    core::is_over(state)
}

/// The status for what the build came to.
pub fn of(builder: &Builder, observed: &Observed, now: Timestamp) -> BuilderStatus {
    match observed {
        Observed::Building { reason, message } => {
            let condition = NewCondition::unknown(SUCCEEDED, reason.clone(), message.clone());
            status(builder, "Building", condition, now)
        }
        Observed::Succeeded(results) => BuilderStatus {
            output: Some(BuilderOutput {
                digest: results.get("shp-image-digest").cloned().filter(|digest| !digest.is_empty()),
                size: results.get("shp-image-size").and_then(|size| size.parse().ok()),
            }),
            sources: sources(results),
            ..status(builder, "Succeeded", NewCondition::true_(SUCCEEDED, "Succeeded", "Succeeded"), now)
        },
        Observed::Failed(failed) => {
            let (reason, details) = failure::explain(failed);
            let condition = NewCondition::false_(SUCCEEDED, reason, details.message.clone().unwrap_or_default());
            BuilderStatus { failure: Some(details), ..status(builder, "Failed", condition, now) }
        }
        Observed::TimedOut => {
            let timeout = builder.spec.build.timeout.clone().unwrap_or_default().0;
            let condition = NewCondition::false_(SUCCEEDED, "Timeout", format!("the build took longer than {timeout}"));
            status(builder, "Timeout", condition, now)
        }
    }
}

/// The same of a build that Shipwright runs.
pub fn by_shipwright(mut status: BuilderStatus) -> BuilderStatus {
    status.resource_ref =
        status.resource_ref.into_values().map(|name| ("shipwright.io/buildRun".to_owned(), name)).collect();
    status
}

/// The status of a build that was cancelled.
pub fn canceled(builder: &Builder, now: Timestamp) -> BuilderStatus {
    status(builder, "Canceled", NewCondition::false_(SUCCEEDED, "Canceled", "the build was cancelled"), now)
}

/// The status of a build that cannot start; `is_final` says whether it never will.
pub fn refused(builder: &Builder, reason: &str, message: String, is_final: bool, now: Timestamp) -> BuilderStatus {
    if is_final {
        return status(builder, "Failed", NewCondition::false_(SUCCEEDED, reason, message), now);
    }
    status(builder, "Building", NewCondition::unknown(SUCCEEDED, reason, message), now)
}

fn status(builder: &Builder, state: &str, condition: NewCondition, now: Timestamp) -> BuilderStatus {
    let before = builder.status.clone().unwrap_or_default();
    let generation = builder.metadata.generation;
    let age = builder.creation_timestamp().map_or(0, |created| now.duration_since(created.0).as_secs());
    BuilderStatus {
        phase: Some("Build".to_owned()),
        state: Some(state.to_owned()),
        reason: Some(condition.reason.clone()),
        message: Some(condition.message.clone()),
        build_duration: (state != "Building").then(|| GoDuration::from_secs(u64::try_from(age).unwrap_or(0))),
        resource_ref: [("native/pod".to_owned(), native::name(&builder.name_any()))].into(),
        observed_generation: generation,
        conditions: vec![conditions::next(&before.conditions, condition, generation, now)],
        ..BuilderStatus::default()
    }
}

fn sources(results: &Results) -> Vec<SourceResult> {
    let result =
        |name: &str| results.get(&format!("shp-source-default-{name}")).cloned().filter(|text| !text.is_empty());
    let git = GitRevision {
        commit_sha: result("commit-sha"),
        commit_author: result("commit-author"),
        branch_name: result("branch-name"),
    };
    let git = Some(git).filter(|git| git.commit_sha.is_some());
    let bundle = result("image-digest").map(|digest| BundleRevision { digest: Some(digest) });
    // Source that the Function holds itself has no revision.
    let is_known = git.is_some() || bundle.is_some();
    is_known.then(|| SourceResult { name: "default".to_owned(), git, bundle }).into_iter().collect()
}

/// What the status API says of a Builder.
pub fn explain(builder: &Builder) -> ObjectStatus {
    let status = builder.status.clone().unwrap_or_default();
    let tail = status.failure.and_then(|failure| failure.log_tail).unwrap_or_default();
    let detail = BuildDetail {
        log_tail: tail.lines().map(str::to_owned).collect(),
        image_digest: status.output.and_then(|output| output.digest).unwrap_or_default(),
        ..BuildDetail::default()
    };
    ObjectStatus {
        detail: Some(object_status::Detail::Build(detail)),
        ..status_api::object_status(builder, status.observed_generation, &status.conditions)
    }
}
