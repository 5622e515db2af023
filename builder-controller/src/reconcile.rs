//! The driver of one Builder: reads from the caches, starts, observes, tells.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    apply::{Applier, ApplyError},
    children::{self, dynamic},
    client::describe,
    driver::Failure,
    events::{About, EventType, Events},
    watch::Shared,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::core::{Builder, BuilderStatus};

use crate::{
    native::{self, Observed},
    status,
    strategy::{self, BuildStrategy, ClusterBuildStrategy, Strategy},
    validate::{Invalid, strategy_of, validate},
};

/// What a reconcile works with.
pub struct Context {
    /// Writes.
    pub applier: Applier,
    /// Events of transitions.
    pub events: Events,
    /// Pods of builds.
    pub pods: Shared<Pod>,
    /// Strategies for every namespace.
    pub cluster_strategies: Shared<ClusterBuildStrategy>,
    /// Strategies of one namespace.
    pub strategies: Shared<BuildStrategy>,
    /// Image of build-helper.
    pub helper_image: String,
}

/// Time in which a strategy must appear: it may be applied together with the Function.
const STRATEGY_PATIENCE: Duration = Duration::from_secs(30);

/// Brings a Builder one step further.
pub async fn reconcile(builder: Arc<Builder>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if builder.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    if status::is_over(&builder) {
        context.end_what_goes_on(&builder).await?;
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let (after, look_again) = match advance(&builder, &context, now).await {
        Ok(next) => next,
        Err(error) if !error.is_refusal() => return Err(error),
        Err(error) => {
            // A quota, or an admission webhook that does not want the pod, is tried again; a pod that is wrong in
            // itself will always be.
            let is_final = error.is_invalid();
            let after = status::refused(&builder, Failure::reason(&error), describe(&error), is_final, now);
            context.write(&builder, &after).await?;
            return if is_final { Ok(Action::await_change()) } else { Err(error) };
        }
    };
    context.write(&builder, &after).await?;
    Ok(look_again.map_or_else(Action::await_change, Action::requeue))
}

/// The next status, and when to look again.
async fn advance(
    builder: &Builder,
    context: &Context,
    now: Timestamp,
) -> Result<(BuilderStatus, Option<Duration>), ApplyError> {
    let namespace = builder.namespace().unwrap_or_default();
    let pod = context.pods.store().get(&ObjectRef::new(&native::name(&builder.name_any())).within(&namespace));
    let is_own = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_none()
            && pod.owner_references().iter().any(|owner| Some(&owner.uid) == builder.uid().as_ref())
    };
    if builder.spec.state.as_deref() == Some("Cancelled") {
        context.end(pod.as_deref().filter(|pod| is_own(pod))).await?;
        return Ok((status::canceled(builder, now), None));
    }
    let age = builder
        .creation_timestamp()
        .map_or(Duration::ZERO, |created| Duration::try_from(now.duration_since(created.0)).unwrap_or_default());
    // Counted here, since the deadline of a pod begins only when it was scheduled, and never changes.
    let left = builder
        .spec
        .build
        .timeout
        .as_ref()
        .and_then(|timeout| timeout.to_std())
        .map(|timeout| timeout.saturating_sub(age));
    let is_late = left == Some(Duration::ZERO);
    if let Some(former) = pod.as_deref().filter(|pod| !is_own(pod) && !is_late) {
        // Names are deterministic: it may be that of an earlier Builder, or have been deleted by hand.
        let message = format!("waiting for the end of pod {}", former.name_any());
        let waits = Observed::Building { reason: "Pending".to_owned(), message };
        return Ok((status::of(builder, &waits, now), left));
    }
    if let Some(pod) = pod.filter(|pod| is_own(pod)) {
        let mut observed = native::observe(&pod);
        if is_late && matches!(observed, Observed::Building { .. }) {
            context.end(Some(&pod)).await?;
            observed = Observed::TimedOut;
        }
        return Ok((status::of(builder, &observed, now), left));
    }
    if is_late {
        return Ok((status::of(builder, &Observed::TimedOut, now), None));
    }
    start(builder, context, age, now, left).await
}

async fn start(
    builder: &Builder,
    context: &Context,
    age: Duration,
    now: Timestamp,
    left: Option<Duration>,
) -> Result<(BuilderStatus, Option<Duration>), ApplyError> {
    let strategy = match context.strategy(builder) {
        Ok(strategy) => strategy,
        Err(missing) => {
            let (kind, name) = strategy_of(builder);
            let patience = STRATEGY_PATIENCE.saturating_sub(age);
            let is_ours = kind == "ClusterBuildStrategy" && strategy::is_ours(name);
            let waits = is_ours || !patience.is_zero() || !context.knows_strategies();
            let look_again = (!patience.is_zero()).then_some(patience);
            return Ok((status::refused(builder, missing.reason(), missing.to_string(), !waits, now), look_again));
        }
    };
    match validate(builder, &strategy) {
        Err(invalid) => Ok((status::refused(builder, invalid.reason(), invalid.to_string(), true, now), None)),
        Ok(valid) => {
            let pod = dynamic(&native::pod(&valid, &context.helper_image));
            context.applier.create(&pod).await?;
            let building = Observed::Building {
                reason: "Building".to_owned(),
                message: "the build's pod is being made".to_owned(),
            };
            Ok((status::of(builder, &building, now), left))
        }
    }
}

impl Context {
    /// Whether the strategies that exist are known.
    fn knows_strategies(&self) -> bool {
        self.cluster_strategies.is_synced() && self.strategies.is_synced()
    }

    /// A build that has ended otherwise must not push an image later.
    async fn end_what_goes_on(&self, builder: &Builder) -> Result<(), ApplyError> {
        for pod in children::owned(&self.pods, builder) {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            let goes_on = !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none();
            let succeeded = builder.status.as_ref().is_some_and(|status| status.state.as_deref() == Some("Succeeded"));
            if goes_on && !succeeded {
                self.applier.delete(&*pod).await?;
            }
        }
        Ok(())
    }

    /// The strategy that a Builder asks for.
    fn strategy(&self, builder: &Builder) -> Result<Strategy, Invalid> {
        let (kind, name) = strategy_of(builder);
        let namespace = builder.namespace().unwrap_or_default();
        let (found, mut existing): (Option<Strategy>, Vec<String>) = if kind == "ClusterBuildStrategy" {
            let store = self.cluster_strategies.store();
            let found = store.get(&ObjectRef::new(name)).map(|strategy| strategy.spec.strategy.clone());
            (found, store.state().iter().map(|strategy| strategy.name_any()).collect())
        } else {
            let store = self.strategies.store();
            let found =
                store.get(&ObjectRef::new(name).within(&namespace)).map(|strategy| strategy.spec.strategy.clone());
            let here = store.state().into_iter().filter(|strategy| strategy.namespace().as_deref() == Some(&namespace));
            (found, here.map(|strategy| strategy.name_any()).collect())
        };
        existing.sort();
        let existing = if existing.is_empty() { "none".to_owned() } else { existing.join(", ") };
        found.ok_or_else(|| Invalid::NoStrategy { kind: kind.to_owned(), name: name.to_owned(), existing })
    }

    /// Ends the pod of a build.
    async fn end(&self, pod: Option<&Pod>) -> Result<(), ApplyError> {
        match pod {
            Some(pod) => self.applier.delete(pod).await,
            None => Ok(()),
        }
    }

    async fn write(&self, builder: &Builder, after: &BuilderStatus) -> Result<(), ApplyError> {
        let before = builder.status.clone().unwrap_or_default();
        if self.applier.status(builder, &before, after).await? && before.state != after.state {
            self.tell(builder, after);
        }
        Ok(())
    }

    /// Events of transitions (core-behaviour §11).
    fn tell(&self, builder: &Builder, after: &BuilderStatus) {
        let Some(state) = after.state.as_deref() else { return };
        let (type_, reason, note) = match state {
            "Building" => (EventType::Normal, "Started", "Build started"),
            "Succeeded" => (EventType::Normal, "Completed", "Build completed"),
            state => (EventType::Warning, state, after.message.as_deref().unwrap_or_default()),
        };
        let about = About { action: "Build", ..About::default() };
        self.events.publish(builder, &about, type_, reason, note.to_owned());
    }
}
