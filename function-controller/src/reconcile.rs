//! The driver of one Function: reads from the caches, plans, writes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use controller_runtime::{
    apply::{Applier, ApplyError, Converged},
    children::{self, dynamic, json},
    client::describe,
    conditions::NewCondition,
    driver::Failure,
    events::{About, EventType, Events},
    optional::OptionalApis,
    traffic::DRIFT,
    watch::Shared,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt, core::PartialObjectMeta, runtime::controller::Action};
use openfunction_proto::{
    core::{Builder, Function, FunctionCondition, FunctionStatus, Serving},
    gateway_api::resources::HttpRoute,
};

use crate::{
    HTTP_ROUTES, KNATIVE,
    plan::{Plan, Settings, World, plan},
    status::{self, READY, own},
};

/// What a reconcile works with.
pub struct Context {
    /// Writes.
    pub applier: Applier,
    /// Events of transitions.
    pub events: Events,
    /// Which optional APIs the cluster serves.
    pub apis: OptionalApis,
    /// Builders.
    pub builders: Shared<Builder>,
    /// Servings.
    pub servings: Shared<Serving>,
    /// HTTPRoutes of Functions.
    pub routes: Shared<PartialObjectMeta<HttpRoute>>,
    /// Settings of the installation.
    pub settings: Settings,
    /// Servings that no route leads to, by uid of their Function. A restart begins to count anew.
    pub unrouted: Mutex<HashMap<String, BTreeMap<String, Timestamp>>>,
    /// Servings, by uid, that were deleted a moment ago; the cache may still have them.
    pub deleted: Mutex<HashMap<String, Instant>>,
}

/// How soon it is looked again at what the cache does not know yet.
const SOON: Duration = Duration::from_secs(1);
/// How long a deleted Serving is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Brings a Function one step further.
pub async fn reconcile(function: Arc<Function>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if function.metadata.deletion_timestamp.is_some() {
        context.forget(&function);
        return Ok(Action::await_change());
    }
    if context.applier.is_late(&*function) {
        return Ok(Action::requeue(SOON));
    }
    // Until it is known which routes there are, every Function may have one.
    let servings = context.not_deleted(children::owned(&context.servings, &*function));
    let routes_known = !context.apis.is_served(HTTP_ROUTES) || context.routes.is_synced();
    let world = World {
        function: &function,
        builders: &children::owned(&context.builders, &*function),
        servings: &servings,
        has_route: !routes_known || !children::owned(&context.routes, &*function).is_empty(),
        unrouted: &context.unrouted(&function),
        // Its activator is told by a gateway which revision is meant.
        has_knative: context.apis.is_served(KNATIVE) && context.apis.is_served(HTTP_ROUTES),
        settings: &context.settings,
        now: Timestamp::now(),
    };
    let plan = plan(&world);
    context.remember(&function, &plan, world.now);
    let converged = converge(&plan, &world, &context).await;
    // The status says so, too, when converging failed.
    let before = function.status.clone().unwrap_or_default();
    let status = with_failure(&world, plan.status.clone(), &converged);
    let (own_before, own_after) = (own(&before), own(&status));
    // Where requests go must not be decided on an old Function: the cache may be older than our last write.
    let written = if before.traffic == status.traffic {
        context.applier.status(&*function, &own_before, &own_after).await
    } else {
        context.applier.status_as_seen(&*function, &own_before, &own_after).await
    };
    match written {
        Ok(true) => tell(&context.events, &function, &before, &status),
        Ok(false) => {}
        Err(error) if error.is_conflict() => return Ok(Action::requeue(SOON)),
        Err(error) => return Err(error),
    }
    let converged = converged?;
    // What is gone must stand in the status before.
    for builder in &plan.obsolete_builders {
        context.applier.delete(&**builder).await?;
    }
    for serving in &plan.obsolete_servings {
        tracing::info!(serving = serving.name_any(), "a revision goes: no route leads to it");
        context.applier.delete(&**serving).await?;
        context.note_deleted(serving);
    }
    let look_again = plan.look_again.into_iter().chain((!routes_known).then_some(SOON)).min();
    Ok(converged.requeue(look_again))
}

async fn converge(plan: &Plan, world: &World<'_>, context: &Context) -> Result<Converged, ApplyError> {
    let mut converged = Converged::default();
    // One that is refused does not keep the others from theirs.
    let mut refused = None;
    for builder in plan.cancel.iter().chain(&plan.builder) {
        let live = world.builders.iter().find(|live| live.name_any() == builder.name_any());
        refused = refused.or(context.apply(builder, live.map(|live| &**live), &mut converged).await.err());
    }
    for serving in &plan.servings {
        let live = world.servings.iter().find(|live| live.name_any() == serving.name_any());
        refused = refused.or(context.apply(serving, live.map(|live| &**live), &mut converged).await.err());
    }
    refused.map_or(Ok(converged), Err)
}

fn with_failure(
    world: &World,
    mut status: FunctionStatus,
    converged: &Result<Converged, ApplyError>,
) -> FunctionStatus {
    match converged {
        Err(error) if error.is_refusal() => {
            let failed = NewCondition::false_(READY, Failure::reason(error), describe(error));
            status::set(world, &mut status, failed);
            let (kind, name) = error.object();
            status::blocked_first(world, kind, name, &mut status);
        }
        Ok(Converged { drift: Some(drift), .. }) => {
            status::set(world, &mut status, NewCondition::true_(DRIFT, "ChangedByOthers", drift.clone()));
        }
        _ => {}
    }
    status
}

impl Context {
    async fn apply<K>(&self, wanted: &K, live: Option<&K>, converged: &mut Converged) -> Result<(), ApplyError>
    where
        K: Resource<DynamicType = ()> + serde::Serialize,
    {
        let wanted = dynamic(wanted);
        self.applier.converge(wanted, live.map(|live| json(live)).as_ref(), converged).await
    }

    /// Begins to count anew: another replica may have worked meanwhile.
    pub fn begin(&self) {
        self.unrouted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn note_deleted(&self, serving: &Serving) {
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        deleted.retain(|_, at| at.elapsed() < REMEMBERED);
        deleted.insert(serving.uid().unwrap_or_default(), Instant::now());
    }

    fn not_deleted(&self, servings: Vec<Arc<Serving>>) -> Vec<Arc<Serving>> {
        let deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        let exists = |serving: &Arc<Serving>| {
            serving.metadata.deletion_timestamp.is_none() && !deleted.contains_key(&serving.uid().unwrap_or_default())
        };
        servings.into_iter().filter(exists).collect()
    }

    fn unrouted(&self, function: &Function) -> BTreeMap<String, Timestamp> {
        let all = self.unrouted.lock().unwrap_or_else(PoisonError::into_inner);
        function.uid().and_then(|uid| all.get(&uid).cloned()).unwrap_or_default()
    }

    fn remember(&self, function: &Function, plan: &Plan, now: Timestamp) {
        let Some(uid) = function.uid() else { return };
        let mut all = self.unrouted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(&uid).unwrap_or_default();
        if !plan.unrouted.is_empty() {
            let since = |name: &String| (name.clone(), before.get(name).copied().unwrap_or(now));
            all.insert(uid, plan.unrouted.iter().map(since).collect());
        }
    }

    fn forget(&self, function: &Function) {
        if let Some(uid) = function.uid() {
            self.unrouted.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        }
    }
}

/// Events of transitions (core-behaviour §11): state, reason, note, and whether it is a warning.
const OF_BUILD: &[(&str, &str, &str, bool)] = &[
    ("Building", "BuildStarted", "Build started", false),
    ("Succeeded", "BuildCompleted", "Build completed", false),
    ("Failed", "BuildFailed", "Build failed", true),
    ("Timeout", "BuildTimeout", "Build timed out", true),
    ("Canceled", "BuildCanceled", "Build canceled", true),
];
const OF_SERVING: &[(&str, &str, &str, bool)] = &[
    ("Starting", "Starting", "Serving started", false),
    ("Running", "Running", "Serving is running", false),
    ("Failed", "ServingFailed", "Serving start failed", true),
    ("Timeout", "ServingTimeout", "Serving timed out", true),
];

fn tell(events: &Events, function: &Function, before: &FunctionStatus, after: &FunctionStatus) {
    let parts = [
        (&before.build, &after.build, OF_BUILD, "Build", Builder::kind(&())),
        (&before.serving, &after.serving, OF_SERVING, "Serving", Serving::kind(&())),
    ];
    for (before, after, words, action, kind) in parts {
        let FunctionCondition { state, message, resource_ref, .. } = after.clone().unwrap_or_default();
        if before.as_ref().and_then(|before| before.state.clone()) == state {
            continue;
        }
        let Some((_, reason, note, is_warning)) = words.iter().find(|(word, ..)| Some(*word) == state.as_deref())
        else {
            continue;
        };
        let related = resource_ref.map(|name| ObjectReference {
            api_version: Some(Serving::api_version(&()).into_owned()),
            kind: Some(kind.into_owned()),
            namespace: function.namespace(),
            name: Some(name),
            ..ObjectReference::default()
        });
        let (type_, note) = match is_warning {
            true => (EventType::Warning, format!("{note}: {}", message.unwrap_or_default())),
            false => (EventType::Normal, (*note).to_owned()),
        };
        events.publish(function, &About { action, related }, type_, reason, note);
    }
}
