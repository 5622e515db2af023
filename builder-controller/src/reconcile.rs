//! The driver of one Builder: reads from the caches, starts, observes, tells.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    apply::{Applier, ApplyError},
    children::dynamic,
    client::describe,
    driver::Failure,
    events::{About, EventType, Events},
    optional::OptionalApis,
    watch::Shared,
};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::core::{Builder, BuilderStatus};

use crate::{
    failure,
    native::{self, Observed},
    queue::{self, QUEUED, Queue},
    run::{Run, Runs},
    shipwright::{self, BUILD_RUNS},
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
    /// What runs builds.
    pub runs: Runs,
    /// Which engine is asked for.
    pub engine: Engine,
    /// The APIs that are there.
    pub apis: OptionalApis,
    /// Strategies for every namespace.
    pub cluster_strategies: Shared<ClusterBuildStrategy>,
    /// Strategies of one namespace.
    pub strategies: Shared<BuildStrategy>,
    /// How many builds run at once.
    pub queue: Queue,
    /// What the installation says about pods of builds.
    pub settings: native::Settings,
}

/// What runs builds.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Engine {
    /// Shipwright where it is installed and can do it, else pods of ours.
    Auto,
    /// Pods of ours.
    Native,
    /// Shipwright.
    Shipwright,
}

/// Time in which a strategy must appear: it may be applied together with the Function.
const STRATEGY_PATIENCE: Duration = Duration::from_secs(30);

/// Brings a Builder one step further.
pub async fn reconcile(builder: Arc<Builder>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if builder.metadata.deletion_timestamp.is_some() {
        context.queue.leave(&builder);
        return Ok(Action::await_change());
    }
    if status::is_over(&builder) {
        context.queue.leave(&builder);
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
            let message = failure::with_hint(describe(&error));
            let after = status::refused(&builder, Failure::reason(&error), message, is_final, now);
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
    let run = context.runs.named(builder);
    let own = run.clone().filter(|run| run.is_of(builder));
    if builder.spec.state.as_deref() == Some("Cancelled") {
        if let Some(own) = own {
            own.end(&context.applier).await?;
        }
        return Ok((status::canceled(builder, now), None));
    }
    // Counted here, since the deadline of a pod begins only when it was scheduled, and never changes. Waiting for other
    // builds is no part of it.
    let began = match &own {
        Some(own) => own.began(),
        None if queue::is_waiting(builder) => None,
        None => builder.creation_timestamp(),
    };
    let age = began.map_or(Duration::ZERO, |began| Duration::try_from(now.duration_since(began.0)).unwrap_or_default());
    let shipwright = builder.spec.build.shipwright.as_ref();
    let timeouts = [&builder.spec.build.timeout, &shipwright.and_then(|shipwright| shipwright.timeout.clone())];
    let timeout = timeouts.iter().filter_map(|timeout| timeout.as_ref()?.to_std()).min();
    let left = timeout.map(|timeout| timeout.saturating_sub(age));
    let is_late = left == Some(Duration::ZERO);
    if let Some(own) = own {
        let mut observed = own.observe();
        if is_late && matches!(observed, Observed::Building { .. }) {
            own.end(&context.applier).await?;
            observed = Observed::TimedOut;
        }
        let after = status::of(builder, &observed, now);
        return Ok((if let Run::BuildRun(_) = own { status::by_shipwright(after) } else { after }, left));
    }
    if is_late {
        return Ok((status::of(builder, &Observed::TimedOut, now), None));
    }
    if let Some(former) = run {
        // Names are deterministic: it may be that of an earlier Builder, or have been deleted by hand.
        let message = format!("waiting for the end of {}", former.title());
        let waits = Observed::Building { reason: "Pending".to_owned(), message };
        return Ok((status::of(builder, &waits, now), left));
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
    let run = match context.render(builder, &strategy) {
        Ok(run) => run,
        Err(invalid) => return Ok((status::refused(builder, invalid.reason(), invalid.to_string(), true, now), None)),
    };
    if let Err(running) = context.queue.enter(builder) {
        let message = format!("{running} other builds run; this one begins when one of them has ended");
        return Ok((status::refused(builder, QUEUED, message, false, now), None));
    }
    if let Err(error) = context.applier.create(&dynamic(&run)).await {
        context.queue.leave(builder);
        return Err(error);
    }
    let building =
        Observed::Building { reason: "Building".to_owned(), message: "the build's pod is being made".to_owned() };
    let after = status::of(builder, &building, now);
    Ok((if run["kind"] == "BuildRun" { status::by_shipwright(after) } else { after }, left))
}

impl Context {
    /// What shall run a build.
    fn render(&self, builder: &Builder, strategy: &Strategy) -> Result<serde_json::Value, Invalid> {
        let builder = self.settings.with_proxies(builder);
        let shipwright = || shipwright::build_run(&validate(&builder, strategy)?);
        let by_shipwright = match self.engine {
            Engine::Native => None,
            Engine::Shipwright => Some(shipwright()),
            // What Shipwright cannot do, pods can.
            Engine::Auto if self.apis.is_served(BUILD_RUNS) => Some(shipwright()).filter(Result::is_ok),
            Engine::Auto => None,
        };
        by_shipwright.unwrap_or_else(|| {
            let builder = self.settings.with_trust(&builder);
            let valid = validate(&builder, strategy)?;
            let valid = if self.settings.keeps_cache { valid.with_cache() } else { valid };
            Ok(native::pod(&valid, &self.settings))
        })
    }

    /// Whether the strategies that exist are known.
    fn knows_strategies(&self) -> bool {
        self.cluster_strategies.is_synced() && self.strategies.is_synced()
    }

    /// A build that has ended otherwise must not push an image later.
    async fn end_what_goes_on(&self, builder: &Builder) -> Result<(), ApplyError> {
        let succeeded = builder.status.as_ref().is_some_and(|status| status.state.as_deref() == Some("Succeeded"));
        match self.runs.named(builder).filter(|run| run.is_of(builder) && run.goes_on() && !succeeded) {
            Some(run) => run.end(&self.applier).await,
            None => Ok(()),
        }
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
