//! What a Function is told: `status.revision.detected` and condition `RevisionTracking`.

use controller_runtime::conditions::{self, NewCondition};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use openfunction_proto::core::{Followed, Function, FunctionStatus, RevisionDetected, RevisionPolicy, RevisionStatus};

use crate::{looks::Found, problem::Problem, target::NOTHING};

/// New commits or images are looked for.
pub const TRACKING: &str = "RevisionTracking";

/// What became of a Function.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It has no policy.
    Off,
    /// Nobody has looked yet.
    Waiting,
    /// What was found.
    Found {
        /// As the status says where it is.
        of: String,
        /// It.
        found: Found,
        /// Until when nothing is rolled out.
        frozen: Option<Timestamp>,
    },
    /// Nothing can be found.
    Failed(Problem),
}

/// The part of a status that this controller owns (design §3).
pub fn own(status: &FunctionStatus) -> FunctionStatus {
    let detected = status.revision.as_ref().and_then(|revision| revision.detected.clone());
    FunctionStatus {
        revision: detected.map(|detected| RevisionStatus { detected: Some(detected), ..RevisionStatus::default() }),
        conditions: status.conditions.iter().filter(|condition| condition.type_ == TRACKING).cloned().collect(),
        ..FunctionStatus::default()
    }
}

/// The status that a Function shall have.
pub fn next(function: &Function, policy: Option<&RevisionPolicy>, outcome: &Outcome, now: Timestamp) -> FunctionStatus {
    let before = function.status.clone().unwrap_or_default();
    let mut status = own(&before);
    let condition = match outcome {
        Outcome::Off => return FunctionStatus::default(),
        Outcome::Waiting => match conditions::find(&before.conditions, TRACKING) {
            // A restart is no reason to say something else.
            Some(standing) if standing.observed_generation == function.metadata.generation => return status,
            _ => NewCondition::unknown(TRACKING, "Looking", "it is being looked at for the first time"),
        },
        // What was found before stays: it is no less true.
        Outcome::Failed(problem) => match problem.reason {
            NOTHING => NewCondition::true_(TRACKING, NOTHING, problem.message.clone()),
            _ => NewCondition::false_(TRACKING, problem.reason, problem.message.clone()),
        },
        Outcome::Found { of, found, frozen } => {
            let not_used = not_used(&before, policy, found, *frozen);
            let old = before.revision.and_then(|revision| revision.detected);
            let is_commit = policy.is_some_and(|policy| policy.followed() == Followed::Source);
            let id = || Some(found.id.clone());
            let new = RevisionDetected {
                of: Some(of.clone()),
                commit: id().filter(|_| is_commit),
                digest: id().filter(|_| !is_commit),
                tag: found.tag.clone(),
                since: None,
                not_used,
            };
            let is_same = |old: &RevisionDetected| (&old.of, old.id()) == (&new.of, new.id());
            let since = old.filter(is_same).and_then(|old| old.since).or(Some(Time(now)));
            let message = format!("{of} is looked at");
            status.revision =
                Some(RevisionStatus { detected: Some(RevisionDetected { since, ..new }), ..RevisionStatus::default() });
            NewCondition::true_(TRACKING, "Tracking", message)
        }
    };
    conditions::set(&mut status.conditions, condition, function.metadata.generation, now);
    status
}

/// Why what was found is not rolled out.
fn not_used(
    before: &FunctionStatus,
    policy: Option<&RevisionPolicy>,
    found: &Found,
    frozen: Option<Timestamp>,
) -> Option<String> {
    let rolled_back = before.revision.iter().flat_map(|revision| &revision.ignored).any(|id| *id == found.id);
    if policy.is_some_and(|policy| policy.ignore.contains(&found.id)) {
        return Some("spec.revisionPolicy.ignore names it".to_owned());
    }
    if rolled_back {
        return Some("it was rolled back".to_owned());
    }
    let frozen = frozen.map(|until| format!("nothing is rolled out before {until}"));
    found.refused.clone().or(frozen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn function(status: serde_json::Value) -> Function {
        serde_json::from_value(
            json!({"metadata": {"name": "f", "generation": 2}, "spec": {"image": "a"}, "status": status}),
        )
        .unwrap()
    }

    fn found(id: &str) -> Outcome {
        let found = Found { id: id.to_owned(), tag: None, refused: None };
        Outcome::Found { of: "https://a/b".to_owned(), found, frozen: None }
    }

    fn policy() -> RevisionPolicy {
        RevisionPolicy { type_: "source".to_owned(), ignore: vec!["c9".to_owned()], ..RevisionPolicy::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn detected(status: &FunctionStatus) -> RevisionDetected {
        status.revision.clone().unwrap().detected.unwrap()
    }

    #[test]
    fn what_was_found_keeps_its_time_and_outlives_trouble() {
        let mut function = function(json!({}));
        let first = next(&function, Some(&policy()), &found("c1"), at(10));
        assert_eq!((detected(&first).commit.as_deref(), detected(&first).since), (Some("c1"), Some(Time(at(10)))));
        function.status = Some(first.clone());
        assert_eq!(next(&function, Some(&policy()), &found("c1"), at(20)), first, "a second look writes nothing");
        assert_eq!(next(&function, Some(&policy()), &Outcome::Waiting, at(20)), first, "neither does a restart");
        let failed = Outcome::Failed(Problem::new("Unreachable", "a is not there"));
        let failed = next(&function, Some(&policy()), &failed, at(30));
        assert_eq!(detected(&failed), detected(&first));
        assert_eq!(
            (failed.conditions[0].status.as_str(), failed.conditions[0].reason.as_str()),
            ("False", "Unreachable")
        );
        assert_eq!(detected(&next(&function, Some(&policy()), &found("c2"), at(40))).since, Some(Time(at(40))));
        assert_eq!(next(&function, None, &Outcome::Off, at(50)), FunctionStatus::default());
    }

    #[test]
    fn rv23_rv24_why_something_is_not_rolled_out_is_told() {
        let function = function(json!({"revision": {"ignored": ["c8"]}}));
        let said = |outcome: &Outcome| detected(&next(&function, Some(&policy()), outcome, at(1))).not_used;
        assert_eq!(said(&found("c9")).as_deref(), Some("spec.revisionPolicy.ignore names it"));
        assert_eq!(said(&found("c8")).as_deref(), Some("it was rolled back"));
        assert_eq!(said(&found("c7")), None);
        let with = |refused: Option<&str>, frozen| {
            let found = Found { id: "c7".to_owned(), tag: None, refused: refused.map(str::to_owned) };
            said(&Outcome::Found { of: "a".to_owned(), found, frozen })
        };
        assert_eq!(with(None, Some(at(0))).as_deref(), Some("nothing is rolled out before 1970-01-01T00:00:00Z"));
        assert_eq!(with(Some("the image is not signed"), Some(at(0))).as_deref(), Some("the image is not signed"));
    }
}
