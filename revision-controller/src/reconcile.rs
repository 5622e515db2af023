//! The driver of one Function: what it follows, and what was found of it.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    apply::{Applier, ApplyError},
    conditions,
    events::Events,
    watch::Shared,
};
use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::core::{Function, FunctionStatus, RevisionPolicy};

use crate::{
    credentials::{Credential, DOUBTED, Secrets},
    freeze,
    looks::Looks,
    problem::{CREDENTIALS, INVALID, Problem, UNAUTHORIZED},
    status::{self, Outcome, TRACKING},
    target::{Intervals, target},
};

/// What a reconcile works with.
pub struct Context {
    /// Writes.
    pub applier: Applier,
    /// Events of transitions.
    pub events: Events,
    /// Secrets of Functions.
    pub secrets: Secrets,
    /// What is looked at.
    pub looks: Arc<Looks>,
    /// Functions.
    pub functions: Shared<Function>,
    /// How often.
    pub intervals: Intervals,
}

/// How soon it is looked again at what the cache does not know yet.
const SOON: Duration = Duration::from_secs(1);
/// How often each is looked at, whatever happens.
const HOUR: Duration = Duration::from_secs(3600);

/// Brings what is known of a Function up to date.
pub async fn reconcile(function: Arc<Function>, context: Arc<Context>) -> Result<Action, ApplyError> {
    let follower = ObjectRef::from_obj(&*function);
    if function.metadata.deletion_timestamp.is_some() {
        context.looks.forget(&follower);
        return Ok(Action::await_change());
    }
    if context.applier.is_late(&*function) {
        return Ok(Action::requeue(SOON));
    }
    let (now, policy) = (Timestamp::now(), RevisionPolicy::of(&function));
    let (outcome, again) = match &policy {
        Ok(None) => (Outcome::Off, None),
        Ok(Some(policy)) => context.look(&function, &follower, policy, now).await,
        Err(why) => (Outcome::Failed(Problem::new(INVALID, why.clone())), None),
    };
    if matches!(&outcome, Outcome::Off) || again.is_none() {
        context.looks.forget(&follower);
    }
    // It may have gone meanwhile.
    context.forget_if_gone(&follower);
    let before = function.status.clone().unwrap_or_default();
    let after = status::next(&function, policy.ok().flatten().as_ref(), &outcome, now);
    match context.applier.status(&*function, &status::own(&before), &after).await {
        Ok(true) => tell(&context.events, &function, &before, &after),
        Ok(false) => {}
        Err(error) if error.is_conflict() => return Ok(Action::requeue(SOON)),
        Err(error) => return Err(error),
    }
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

impl Context {
    /// Functions that are deleted follow nothing any more; nobody reconciles them.
    pub async fn forget_those_that_go(self: Arc<Self>) {
        let mut changed = self.functions.subscribe();
        while let Some(function) = changed.next().await {
            self.forget_if_gone(&ObjectRef::from_obj(&*function));
        }
    }

    fn forget_if_gone(&self, follower: &ObjectRef<Function>) {
        if self.functions.store().get(follower).is_none() {
            self.looks.forget(follower);
        }
    }

    /// What was found for a Function, and when to look again at it even if nothing is found; never, if only a change of
    /// the Function can mend it.
    async fn look(
        &self,
        function: &Function,
        follower: &ObjectRef<Function>,
        policy: &RevisionPolicy,
        now: Timestamp,
    ) -> (Outcome, Option<Duration>) {
        let target = match target(function, policy, &self.intervals) {
            Ok(target) => target,
            Err(problem) => return (Outcome::Failed(problem), None),
        };
        let is_doubted = function.status.as_ref().is_some_and(|status| {
            conditions::find(&status.conditions, TRACKING).is_some_and(|condition| condition.reason == UNAUTHORIZED)
        });
        let mut again = HOUR;
        let credential = match &target.secret {
            None => Credential::None,
            Some((name, is_of_git)) => {
                let namespace = function.namespace().unwrap_or_default();
                let (secret, lasts) = self.secrets.get(&namespace, name, is_doubted).await;
                let read = if *is_of_git { Credential::of_git } else { Credential::of_registry };
                // It is read again by then.
                again = lasts;
                match secret.and_then(|secret| read(&secret)) {
                    Ok(credential) => credential,
                    Err(problem) => {
                        // What it held before is no longer to be shown.
                        if problem.reason == CREDENTIALS {
                            self.looks.forget(follower);
                        }
                        return (Outcome::Failed(problem), Some(DOUBTED));
                    }
                }
            }
        };
        let place = target.place(matches!(credential, Credential::Password { .. }));
        let answer = self.looks.follow(follower, place, credential, target.want, target.interval);
        let freeze = freeze::now(&policy.freeze_windows, now);
        let wait = freeze.changes.and_then(|change| Duration::try_from(change.duration_since(now)).ok());
        let again = wait.map_or(again, |wait| again.min(wait + SOON));
        let outcome = match answer {
            None => Outcome::Waiting,
            Some(Ok(found)) => Outcome::Found { of: target.of, found, frozen: freeze.until },
            Some(Err(problem)) => Outcome::Failed(problem),
        };
        (outcome, Some(again))
    }
}

fn tell(events: &Events, function: &Function, before: &FunctionStatus, after: &FunctionStatus) {
    let detected = |status: &FunctionStatus| status.revision.as_ref().and_then(|revision| revision.detected.clone());
    let id = |status: &FunctionStatus| detected(status).and_then(|detected| detected.id().map(str::to_owned));
    if let Some(new) = detected(after).filter(|_| id(before) != id(after)) {
        let (of, id) = (new.of.clone().unwrap_or_default(), new.id().unwrap_or_default());
        let tag = new.tag.as_ref().map(|tag| format!(" (tag {tag})")).unwrap_or_default();
        events.normal(function, "RevisionDetected", format!("{id} was found at {of}{tag}"));
    }
    let (old, new) = (conditions::find(&before.conditions, TRACKING), conditions::find(&after.conditions, TRACKING));
    if let Some(new) = new.filter(|new| new.status == "False" && old.map(|old| &old.reason) != Some(&new.reason)) {
        events.warning(function, &new.reason, new.message.clone());
    }
}
