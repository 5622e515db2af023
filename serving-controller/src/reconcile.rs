//! The driver of one Serving: reads from the caches, builds, writes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use controller_runtime::{
    apply::{Applier, ApplyError, Converged},
    children::{self, dynamic, json},
    client::{describe, told},
    conditions::{self, NewCondition},
    driver::Failure,
    events::{About, EventType, Events},
    index::Index,
    optional::{OptionalApi, OptionalApis},
    traffic::DRIFT,
    watch::{Shared, Watched},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Event, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::core::{ADOPTED, MAPPED, SETTINGS_UNREADABLE, Serving, ServingStatus};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    ABOUT, SCALED_OBJECTS, adopted,
    dapr::{self, COMPONENTS, Components, Mode, RESILIENCIES, Types},
    engine::{self, Refused, Seen, World},
    globals::Globals,
    knative::is_harmless,
    relatives::Relatives,
    settings::Settings,
    shared::{self, Shared as Wanted},
    status::{self, Observed, READY},
    validate::{Invalid, Valid, validate},
};

/// What a reconcile works with.
pub struct Context {
    /// A client for what is no apply.
    pub client: Client,
    /// Writes.
    pub applier: Applier,
    /// Events of transitions.
    pub events: Events,
    /// Which optional APIs the cluster serves.
    pub apis: OptionalApis,
    /// Children of Servings.
    pub children: Children,
    /// Their Functions' other revisions, and what all of them have in common.
    pub relatives: Relatives,
    /// Pods of revisions.
    pub pods: Shared<Pod>,
    /// Events of sandboxes that cannot be made, by their pods.
    pub sandboxes: Index<Event>,
    /// The API that tells how much CPU pods use.
    pub metrics_api: Shared<APIService>,
    /// The ConfigMap with settings for every function.
    pub config: Shared<ConfigMap>,
    /// Namespace of that ConfigMap.
    pub namespace: String,
    /// Settings of the installation.
    pub settings: Settings,
    /// Features of Knative that were switched on a moment ago.
    pub enabled: Mutex<HashMap<&'static str, Instant>>,
}

/// The children of Servings, of every kind that an engine may make.
#[derive(Default)]
pub struct Children(Vec<Kind>);

struct Kind {
    owned: Ask<Serving, Vec<DynamicObject>>,
    /// The optional API that it is of, and whether all of its objects are known.
    of: Option<(OptionalApi, Ask<(), bool>)>,
}

type Ask<Of, Answer> = Box<dyn Fn(&Of) -> Answer + Send + Sync>;

impl Children {
    /// Adds a kind, of an optional API or not.
    pub fn add<K: Watched + Serialize>(&mut self, shared: &Shared<K>, api: Option<OptionalApi>) {
        let (objects, watched) = (shared.clone(), shared.clone());
        self.0.push(Kind {
            owned: Box::new(move |serving| {
                children::owned(&objects, serving).iter().map(|object| dynamic(&**object)).collect()
            }),
            of: api.map(|api| -> (_, Ask<(), bool>) { (api, Box::new(move |()| watched.is_synced())) }),
        });
    }

    fn of(&self, serving: &Serving) -> Vec<DynamicObject> {
        self.0.iter().flat_map(|kind| (kind.owned)(serving)).collect()
    }

    /// Whether all objects of some optional APIs are known, as far as the cluster serves them.
    fn are_known(&self, needed: &[OptionalApi], apis: &OptionalApis) -> bool {
        let of_optional = self.0.iter().filter_map(|kind| kind.of.as_ref());
        let needed = of_optional.filter(|(api, _)| needed.contains(api) && apis.is_served(*api));
        needed.into_iter().all(|(_, is_known)| is_known(&()))
    }
}

/// Why a Serving does not get what it wants.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec cannot be built.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// An object cannot be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An object was refused, and it is known what to do about it.
    #[error("{}", refused.message)]
    Refused {
        /// What to do about it.
        refused: Refused,
        /// What the API server says; the message has it already.
        error: ApplyError,
    },
}

impl Failure for Error {
    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(error) => error.reason(),
            Self::Refused { refused, .. } if !refused.features.is_empty() => "KnativeFeatureDisabled",
            Self::Apply(error) | Self::Refused { error, .. } => error.reason(),
        }
    }

    fn is_temporary(&self) -> bool {
        match self {
            Self::Invalid(error) => error.is_temporary(),
            Self::Apply(error) | Self::Refused { error, .. } => error.is_temporary(),
        }
    }
}

impl Error {
    /// Whether the object must tell; anything else passes by itself.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Invalid(_) => true,
            Self::Apply(error) | Self::Refused { error, .. } => error.is_refusal(),
        }
    }
}

/// Time after which a feature that was switched on, and is off again, is switched on again.
const AGAIN: Duration = Duration::from_secs(60);
/// How soon it is looked again at what the caches do not know yet.
const SOON: Duration = Duration::from_secs(1);

/// Brings a Serving one step further.
pub async fn reconcile(serving: Arc<Serving>, context: Arc<Context>) -> Result<Action, Error> {
    if serving.metadata.deletion_timestamp.is_some() || serving.is_given_up() {
        return Ok(Action::await_change());
    }
    // A child that is not known yet would be rendered anew. What other engines make need not be known.
    let needed = engine::named(engine::name_of(&serving)).map(|engine| engine.makes()).unwrap_or_default();
    let waits_for_dapr = !context.relatives.are_known(&context.apis) && !matches!(dapr::mode(&serving), Ok(Mode::Off));
    if !context.children.are_known(needed, &context.apis) || waits_for_dapr {
        return Ok(Action::requeue(SOON));
    }
    let now = Timestamp::now();
    let globals = Globals::read(context.config_map().as_deref(), &context.settings.knative_namespace);
    let outcome = converge(&serving, &context, &globals, now).await;
    let before = serving.status.clone().unwrap_or_default();
    let after = match &outcome {
        Ok((seen, notes, converged)) => status(&serving, seen.as_ref(), notes, converged, now),
        Err(error) if error.is_refusal() => failed(&serving, error, now),
        Err(_) => return outcome.map(|_| Action::await_change()),
    };
    if context.applier.status(&*serving, &before, &after).await? {
        tell(&context.events, &serving, &before, &after);
    }
    let (seen, _, converged) = outcome?;
    Ok(converged.requeue(seen.and_then(|seen| seen.observed.look_again)))
}

/// What is seen of a revision, what a user should know of it, and how writing its objects went.
pub type Outcome = (Option<Seen>, Vec<NewCondition>, Converged);

/// Makes the children what they should be, and looks at them. A revision that is suspended has none.
async fn converge(serving: &Serving, context: &Context, globals: &Globals, now: Timestamp) -> Result<Outcome, Error> {
    let live = context.children.of(serving);
    let mut converged = Converged::default();
    let namespace = serving.namespace().unwrap_or_default();
    let types = |name: &str| context.relatives.type_of(&namespace, name);
    let nothing = Components::default();
    let mut world = World {
        live: &live,
        pods: &[],
        settings: &context.settings,
        globals,
        has_metrics: context.has_metrics(),
        has_keda: context.apis.is_served(SCALED_OBJECTS),
        components: &nothing,
        now,
    };
    if children::is_of_the_original(serving) {
        let pods = context.pods_of(serving);
        return Ok(adopted::look(serving, context, World { pods: &pods, ..world }).await?);
    }
    let shared = context.share(serving, &world, &types, &mut converged).await?;
    if serving.spec.suspend {
        remove(context, &live, &[], |_| true).await?;
        return Ok((None, Vec::new(), converged));
    }
    let valid = validate(serving)?;
    if valid.dapr != Mode::Off && !context.apis.is_served(COMPONENTS) {
        return Err(Invalid::NoDapr.into());
    }
    if valid.dapr != Mode::Off && !context.apis.is_served(RESILIENCIES) && dapr::resiliency(&valid).is_some() {
        return Err(Invalid::NoResiliency.into());
    }
    let components = Components::of(&valid, &types)?;
    if let Some((api, needs)) = valid.engine.needs()
        && !context.apis.is_served(api)
    {
        return Err(Invalid::Missing { engine: engine::name_of(serving).to_owned(), needs }.into());
    }
    let pods = context.pods_of(serving);
    world.pods = &pods;
    world.components = &components;
    let wanted: Vec<_> = valid.engine.build(&valid, &world)?.iter().map(dynamic).collect();
    // First, since two scalers of one workload are refused.
    remove(context, &live, &wanted, |object| !serves(object)).await?;
    for object in &wanted {
        let is = live.iter().find(|live| is_same(live, object)).map(json);
        match context.applier.converge(object.clone(), is.as_ref(), &mut converged).await {
            Ok(()) => {}
            Err(source) => return Err(refused(&valid, context, globals, source).await),
        }
    }
    let mut seen = valid.engine.observe(&valid, &world);
    // Events and requests to other revisions are none of its business.
    let needs_proxy = shared.receiver.as_deref() == Some(serving.name_any().as_str())
        || (valid.dapr == Mode::Standalone && serving.spec.serving.http().is_some());
    let is_new = seen.observed.state == "Running" && !valid.was_running();
    // Events go the way of requests, which the proxy does not know before the status says it.
    let is_told = dapr::triggers(&serving.spec.serving).is_empty()
        || serving.spec.serving.http().is_none()
        || seen.backend == serving.status.as_ref().and_then(|status| status.backend.clone());
    let is_ready = is_told && dapr::proxy_is_ready(context.relatives.proxy(serving).as_deref());
    if is_new && needs_proxy && !is_ready {
        seen.observed = Observed::waits_for_proxy();
    }
    if seen.observed.state == "Running" {
        remove(context, &live, &wanted, serves).await?;
    }
    seen.resources.extend(dapr::resources(&valid));
    let mut notes = valid.engine.notes(&valid, &world);
    let mapped = dapr::mapped(&serving.spec.serving);
    if !mapped.is_empty() {
        notes.push(NewCondition::true_(MAPPED, "NatsStreaming", mapped.join("; ")));
    }
    let of_map = globals
        .unreadable
        .iter()
        .map(|key| format!("ConfigMap {}/{}: {key}", context.namespace, context.settings.config_map));
    let unreadable: Vec<_> = of_map.chain(crate::context::unreadable(serving)).collect();
    if !unreadable.is_empty() {
        let message = format!("{}; what cannot be read is not used", unreadable.join("; "));
        notes.push(NewCondition::true_(SETTINGS_UNREADABLE, "Unreadable", message));
    }
    Ok((Some(seen), notes, converged))
}

fn is_same(one: &DynamicObject, other: &DynamicObject) -> bool {
    one.types == other.types && one.metadata.name == other.metadata.name
}

/// Whether requests may still be answered by a child.
fn serves(object: &DynamicObject) -> bool {
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    kind.is_some_and(|kind| ["Deployment", "Service", "StatefulSet"].contains(&kind))
}

/// Deletes those children that are not wanted.
async fn remove(
    context: &Context,
    live: &[DynamicObject],
    wanted: &[DynamicObject],
    which: impl Fn(&DynamicObject) -> bool,
) -> Result<(), ApplyError> {
    let is_going = |object: &DynamicObject| object.metadata.deletion_timestamp.is_some();
    let obsolete = live.iter().filter(|live| !wanted.iter().any(|wanted| is_same(live, wanted)));
    for object in obsolete.filter(|object| which(object) && !is_going(object)) {
        context.applier.delete_dynamic(object).await?;
    }
    Ok(())
}

/// What it means that an object was refused; features of Knative are switched on if the installation says so.
async fn refused(valid: &Valid<'_>, context: &Context, globals: &Globals, source: ApplyError) -> Error {
    if !source.is_refusal() {
        return source.into();
    }
    let Some(mut refused) = valid.engine.explain(&source, &context.settings, &globals.knative_features) else {
        return source.into();
    };
    if context.settings.knative_enable_features
        && let Err(error) = context.enable(&refused.features, &globals.knative_features).await
    {
        refused.message = format!("{}; the ConfigMap cannot be changed: {}", refused.message, told(&error));
    }
    Error::Refused { refused, error: source }
}

impl Context {
    /// Brings what the revisions of a Function have in common to what they want together.
    async fn share(
        &self,
        serving: &Serving,
        world: &World<'_>,
        types: &Types<'_>,
        converged: &mut Converged,
    ) -> Result<Wanted, Error> {
        if !self.apis.is_served(COMPONENTS) || !self.relatives.are_known(&self.apis) {
            return Ok(Wanted::default());
        }
        let live = self.relatives.live(serving);
        let mut wanted = shared::wanted(&self.relatives.revisions(serving), world, types);
        let can_be = |object: &Value| object["kind"] != "Resiliency" || self.apis.is_served(RESILIENCIES);
        wanted.objects.retain(can_be);
        let objects: Vec<_> = wanted.objects.iter().map(dynamic).collect();
        for object in &objects {
            let is = live.iter().find(|live| is_same(live, object)).map(json);
            let done = self.applier.converge(object.clone(), is.as_ref(), converged).await;
            // What another revision alone wants, and cannot have, is for that one to tell.
            let is_ours = object.owner_references().iter().any(|owner| Some(&owner.uid) == serving.uid().as_ref());
            done.or_else(|error| if is_ours { Err(error) } else { Ok(()) })?;
        }
        if wanted.is_complete {
            remove(self, &live, &objects, |_| true).await?;
        }
        Ok(wanted)
    }

    /// Whether the cluster has an API for metrics. That it does not answer now is no reason to stop scaling.
    fn has_metrics(&self) -> bool {
        !self.metrics_api.store().is_empty()
    }

    fn config_map(&self) -> Option<Arc<ConfigMap>> {
        self.config.store().get(&ObjectRef::new(&self.settings.config_map).within(&self.namespace))
    }

    fn pods_of(&self, serving: &Serving) -> Vec<Arc<Pod>> {
        let (namespace, name) = (serving.namespace(), serving.name_any());
        let is_of = |pod: &Pod| pod.namespace() == namespace && pod.labels().get(children::SERVING) == Some(&name);
        let with_reason =
            |pod: Arc<Pod>| match status::with_reason(&pod, &self.sandboxes.get(&pod.uid().unwrap_or_default())) {
                Some(pod) => Arc::new(pod),
                None => pod,
            };
        self.pods.store().state().into_iter().filter(|pod| is_of(pod)).map(with_reason).collect()
    }

    /// Switches features of Knative on (B-61), those that give nobody more rights.
    async fn enable(&self, features: &[&'static str], (namespace, name): &(String, String)) -> kube::Result<()> {
        let mut features: Vec<_> = features.iter().copied().filter(|feature| is_harmless(feature)).collect();
        {
            // Knative takes a moment to learn of it.
            let mut enabled = self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
            enabled.retain(|_, since| since.elapsed() < AGAIN);
            features.retain(|feature| !enabled.contains_key(feature));
            enabled.extend(features.iter().map(|feature| (*feature, Instant::now())));
        }
        if features.is_empty() {
            return Ok(());
        }
        let data: serde_json::Map<_, _> =
            features.iter().map(|feature| ((*feature).to_owned(), Value::from("enabled"))).collect();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        tracing::info!(namespace, name, ?features, "switching on features of Knative");
        // Merged, not applied: one function's features must not take away those of another.
        let params = PatchParams { field_manager: Some(ABOUT.name.to_owned()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(json!({ "data": data }))).await.map(drop)
    }
}

fn status(
    serving: &Serving,
    seen: Option<&Seen>,
    notes: &[NewCondition],
    converged: &Converged,
    now: Timestamp,
) -> ServingStatus {
    let before = serving.status.clone().unwrap_or_default();
    let suspended = || Observed::new(SUSPENDED, SUSPENDED, "no traffic leads to this revision");
    let observed = seen.map_or_else(suspended, |seen| seen.observed.clone());
    let ready = match observed.state {
        "Running" => NewCondition::true_(READY, "Running", ""),
        "Starting" => NewCondition::unknown(READY, observed.reason.clone(), observed.message.clone()),
        _ => NewCondition::false_(READY, observed.reason.clone(), observed.message.clone()),
    };
    let drift = converged.drift.clone().map(|drift| NewCondition::true_(DRIFT, "ChangedByOthers", drift));
    let wanted = std::iter::once(ready).chain(notes.iter().cloned()).chain(drift);
    let generation = serving.metadata.generation;
    ServingStatus {
        phase: Some("Serving".to_owned()),
        state: Some(observed.state.to_owned()),
        reason: Some(observed.reason),
        message: Some(observed.message),
        resource_ref: seen
            .iter()
            .flat_map(|seen| &seen.resources)
            .map(|(kind, name)| ((*kind).to_owned(), name.clone()))
            .collect(),
        url: seen.map(|seen| seen.url.clone()),
        observed_generation: generation,
        activated_at: activated_at(serving, now),
        first_running_at: before.first_running_at.or_else(|| (observed.state == "Running").then_some(Time(now))),
        conditions: wanted.map(|new| conditions::next(&before.conditions, new, generation, now)).collect(),
        backend: seen.and_then(|seen| seen.backend.clone()),
        scaling: seen.map(|seen| seen.scaling),
    }
}

/// When the revision was last started after it was parked.
fn activated_at(serving: &Serving, now: Timestamp) -> Option<Time> {
    let before = serving.status.clone().unwrap_or_default();
    let starts = before.state.as_deref() == Some(SUSPENDED) && !serving.spec.suspend;
    if starts { Some(Time(now)) } else { before.activated_at }
}

/// State of a revision that is parked.
const SUSPENDED: &str = "Suspended";

/// The status of a Serving that cannot be built or written. What it made before stays.
fn failed(serving: &Serving, error: &Error, now: Timestamp) -> ServingStatus {
    let before = serving.status.clone().unwrap_or_default();
    let message = describe(error);
    let ready = NewCondition::false_(READY, error.reason(), message.clone());
    let generation = serving.metadata.generation;
    // What else was known of it still holds.
    let mut standing = before.conditions.clone();
    conditions::set(&mut standing, ready, generation, now);
    ServingStatus {
        phase: Some("Serving".to_owned()),
        state: Some("Failed".to_owned()),
        reason: Some(error.reason().to_owned()),
        message: Some(message),
        observed_generation: generation,
        activated_at: activated_at(serving, now),
        conditions: standing,
        ..before
    }
}

/// Events of transitions (core-behaviour §11), and of what a user should know.
fn tell(events: &Events, serving: &Serving, before: &ServingStatus, after: &ServingStatus) {
    if before.state != after.state {
        let (state, message) =
            (after.state.as_deref().unwrap_or_default(), after.message.as_deref().unwrap_or_default());
        let type_ = if ["Failed", "Timeout"].contains(&state) { EventType::Warning } else { EventType::Normal };
        let about = About { action: "Serving", ..About::default() };
        events.publish(serving, &about, type_, state, message.to_owned());
    }
    let is_new = |type_: &str| conditions::find(&before.conditions, type_).is_none();
    let is_told = |type_: &str| ![READY, ADOPTED].contains(&type_) && is_new(type_);
    for note in after.conditions.iter().filter(|note| is_told(&note.type_)) {
        events.warning(serving, &note.type_, &note.message);
    }
}
