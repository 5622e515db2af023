//! The drivers of EventSources and Triggers: what they meet, what shall run, and what they tell.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use controller_runtime::{
    apply::{APPLIED_PREFIX, Applier, ApplyError, Converged, adopt},
    children::{self, dynamic},
    client::{describe, objects},
    conditions::NewCondition,
    contained,
    events::{About, EventType, Events},
    index::Index,
    optional::OptionalApis,
    watch::Shared,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::DynamicObject,
    core::ApiResource,
    runtime::{controller::Action, reflector::ObjectRef},
};
use openfunction_proto::{
    core::Function,
    events::{ClusterEventBus, EventBus, EventSource, SinkSpec, Trigger},
    gateway_api::resources::ReferenceGrant,
};

use serde_json::Value;

use crate::{
    ABOUT, REFERENCE_GRANTS,
    bus::Found,
    handler, names,
    plan::{Plan, Settings},
    problem::Problem,
    sink::{Address, Sinks},
    source,
    status::{self, CREATED, Conditioned, Outcome},
    trigger::{self, Permission},
};

/// What a reconcile works with.
pub struct Context {
    /// Writes status.
    pub client: Client,
    /// Writes handlers.
    pub applier: Applier,
    /// Events of transitions.
    pub events: Events,
    /// EventSources.
    pub sources: Shared<EventSource>,
    /// EventSources by their topics.
    pub sources_by_topic: Index<EventSource>,
    /// Buses of a namespace.
    pub buses: Shared<EventBus>,
    /// Buses of the cluster.
    pub cluster_buses: Shared<ClusterEventBus>,
    /// Handlers, and functions that are sinks.
    pub functions: Shared<Function>,
    /// Who may read EventSources of another namespace.
    pub grants: Shared<ReferenceGrant>,
    /// The optional APIs that there are.
    pub apis: OptionalApis,
    /// Addresses of sinks.
    pub sinks: Sinks,
    /// What the installation says.
    pub settings: Settings,
}

/// How soon it is looked again at what the cache does not know yet.
const SOON: Duration = Duration::from_secs(1);
/// How soon it is looked again at what time may mend.
const LATER: Duration = Duration::from_secs(15);

/// Words of a kind, as the original has them (events §12).
struct Words {
    created: (&'static str, &'static str),
    ready: (&'static str, &'static str),
    failed: &'static str,
    label: &'static str,
}

const OF_SOURCE: Words = Words {
    created: ("EventSourceFunctionCreated", "EventSource function is created"),
    ready: ("EventSourceIsReady", "EventSource is ready."),
    failed: "ErrorCreatingEventSourceFunction",
    label: names::OF_SOURCE,
};
const OF_TRIGGER: Words = Words {
    created: ("TriggerFunctionCreated", "Trigger function is created"),
    ready: ("TriggerIsReady", "Trigger is ready."),
    failed: "ErrorCreatingTriggerFunction",
    label: names::OF_TRIGGER,
};

/// Brings an EventSource one step further.
pub async fn source(source: Arc<EventSource>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if source.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let world = context.world_of_source(&source).await;
    let plan = source::plan(&source, &world, &context.settings);
    context.run(&*source, plan, &OF_SOURCE).await
}

/// Brings a Trigger one step further.
pub async fn trigger(trigger: Arc<Trigger>, context: Arc<Context>) -> Result<Action, ApplyError> {
    if trigger.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let world = context.world_of_trigger(&trigger).await;
    // Compiling conditions can take a while.
    let plan = tokio::task::block_in_place(|| trigger::plan(&trigger, &world, &context.settings));
    context.run(&*trigger, plan, &OF_TRIGGER).await
}

impl Context {
    async fn world_of_source(&self, source: &EventSource) -> source::World {
        let (namespace, spec) = (source.namespace().unwrap_or_default(), &source.spec);
        let bus = spec.event_bus.as_deref().filter(|name| !name.is_empty());
        let bus = bus.map(|name| self.bus(&namespace, name));
        source::World {
            sink: self.find(spec.sink.as_ref(), &namespace, "spec.sink").await,
            dead_letter_sink: self.find(spec.dead_letter_sink.as_ref(), &namespace, "spec.deadLetterSink").await,
            shared_topic: bus.as_ref().and_then(|bus| self.shared_topic(source, bus.as_ref().ok()?)),
            bus,
        }
    }

    async fn world_of_trigger(&self, trigger: &Trigger) -> trigger::World {
        let (namespace, spec) = (trigger.namespace().unwrap_or_default(), &trigger.spec);
        let sinks = spec.subscribers.iter().enumerate().map(async |(index, subscriber)| {
            let path = |field: &str| format!("spec.subscribers[{index}].{field}");
            let (sink, letters) = (path("sink"), path("deadLetterSink"));
            let (sink, dead_letter_sink) = tokio::join!(
                self.find(subscriber.sink.as_ref(), &namespace, &sink),
                self.find(subscriber.dead_letter_sink.as_ref(), &namespace, &letters),
            );
            trigger::Sinks { sink, dead_letter_sink }
        });
        let sinks = futures::future::join_all(sinks).await;
        trigger::World {
            bus: self.bus(&namespace, &spec.event_bus),
            sinks,
            permission: self.permission(trigger, &namespace),
            missing: self.missing(trigger, &namespace),
        }
    }

    async fn find(&self, sink: Option<&SinkSpec>, namespace: &str, path: &str) -> Option<Result<Address, Problem>> {
        match sink {
            Some(sink) => Some(self.sinks.find(sink, namespace, path).await),
            None => None,
        }
    }

    /// The bus of a name: that of the namespace, or else that of the cluster (events §7).
    fn bus(&self, namespace: &str, name: &str) -> Result<Found, Problem> {
        if name.is_empty() {
            return Err(Problem::configuration("spec.eventBus: Required value: must set spec.eventBus"));
        }
        if let Some(bus) = self.buses.store().get(&ObjectRef::new(name).within(namespace)) {
            return Ok(Found { kind: "EventBus", name: name.to_owned(), spec: bus.spec.clone() });
        }
        let bus = self.cluster_buses.store().get(&ObjectRef::new(name));
        let bus = bus.map(|bus| Found { kind: "ClusterEventBus", name: name.to_owned(), spec: bus.spec.bus.clone() });
        bus.ok_or_else(|| {
            Problem::bus(format!(
                "spec.eventBus: cannot retrieve eventBus or clusterEventBus {name:?}: neither is in namespace {namespace:?} nor in the cluster"
            ))
        })
    }

    /// A topic of a source that an older one has on the same bus, too, and that one (BUG-E11).
    fn shared_topic(&self, source: &EventSource, bus: &Found) -> Option<(String, String)> {
        let age = |source: &EventSource| (source.creation_timestamp(), source.namespace(), source.name_any());
        source::topics(source).into_iter().find_map(|topic| {
            let mut others = self.sources_by_topic.get(&topic);
            others.retain(|other| {
                let named = other.spec.event_bus.as_deref().unwrap_or_default();
                let their = self.bus(&other.namespace().unwrap_or_default(), named);
                age(other) < age(source) && their.is_ok_and(|their| their.place() == bus.place())
            });
            let oldest = others.iter().min_by_key(|other| age(other))?;
            let namespace = oldest.namespace().unwrap_or_default();
            Some((topic, format!("EventSource \"{namespace}/{}\"", oldest.name_any())))
        })
    }

    fn permission(&self, trigger: &Trigger, own: &str) -> Permission {
        let group = Trigger::group(&());
        for (name, input) in &trigger.spec.inputs {
            let namespace = trigger::namespace_of(input, own);
            if namespace == own {
                continue;
            }
            let wanted = format!(
                "spec.inputs[{name}].namespace: a ReferenceGrant in namespace {namespace:?} must allow it, from group {group:?}, kind \"Trigger\", namespace {own:?} to group {group:?}, kind \"EventSource\""
            );
            let watched = &self.settings.namespaces;
            if !watched.is_empty() && !watched.iter().any(|watched| watched == namespace) {
                let message = format!(
                    "spec.inputs[{name}].namespace: {namespace:?} is none of the namespaces that are watched (watchNamespaces)"
                );
                return Permission::Unknown(Problem::permission(message));
            }
            if !self.apis.is_served(REFERENCE_GRANTS) {
                let message = format!("{wanted}; the cluster serves no {REFERENCE_GRANTS}");
                return Permission::Unknown(Problem::permission(message));
            }
            if !self.grants.is_synced() {
                return Permission::Unknown(Problem { is_passing: true, ..Problem::permission(wanted) });
            }
            let is_granted = self.grants.store().state().iter().any(|grant| {
                let from = grant.spec.from.iter();
                let mut from =
                    from.filter(|from| from.group == group && from.kind == "Trigger" && from.namespace == own);
                let mut to = grant.spec.to.iter().filter(|to| to.group == group && to.kind == "EventSource");
                grant.namespace().as_deref() == Some(namespace)
                    && from.next().is_some()
                    && to.any(|to| to.name.as_ref().is_none_or(|name| *name == input.event_source))
            });
            if !is_granted {
                return Permission::Missing(Problem::permission(wanted));
            }
        }
        Permission::Given
    }

    /// Inputs that nobody sends.
    fn missing(&self, trigger: &Trigger, own: &str) -> Vec<String> {
        let mut missing = Vec::new();
        for (name, input) in &trigger.spec.inputs {
            let namespace = trigger::namespace_of(input, own);
            let source = self.sources.store().get(&ObjectRef::new(&input.event_source).within(namespace));
            let said = format!("EventSource \"{namespace}/{}\"", input.event_source);
            let wrong = match source {
                None => format!("{said} does not exist"),
                Some(source) if !source::events(&source.spec).contains(input.event.as_str()) => {
                    format!("{said} has no event {:?}", input.event)
                }
                Some(source) => match source.spec.event_bus.as_deref().filter(|bus| !bus.is_empty()) {
                    None => format!("{said} names no eventBus"),
                    // One that is missing is told by the others.
                    Some(name) => match (self.bus(namespace, name), self.bus(own, &trigger.spec.event_bus)) {
                        (Ok(their), Ok(ours)) if their.place() != ours.place() => {
                            format!("{said} sends to another bus, {} {name:?}", their.kind)
                        }
                        _ => continue,
                    },
                },
            };
            missing.push(format!("spec.inputs[{name}]: {wrong}"));
        }
        missing
    }

    /// Has handlers run as they are planned, and tells of it.
    async fn run<K: Conditioned>(&self, owner: &K, mut plan: Plan, words: &Words) -> Result<Action, ApplyError> {
        let rendered = plan.handlers.iter().map(|handler| dynamic(&handler::function(owner, words.label, handler)));
        let wanted: Vec<_> = rendered.collect();
        let converged = self.converge(owner, &plan, &wanted).await;
        let outcome = self.outcome(&plan, &wanted, &converged, words);
        if plan.problem.is_none() && converged.is_ok() {
            plan.notes.push(NewCondition::true_(CREATED, words.created.0, words.created.1));
        }
        let is_passing = plan.problem.as_ref().is_some_and(|problem| problem.is_passing);
        let written = self.tell(owner, plan.notes, outcome).await?;
        if !written {
            return Ok(Action::requeue(SOON));
        }
        Ok(converged?.requeue(is_passing.then_some(LATER)))
    }

    /// Writes the conditions; `false` if the object is another one by now, and will be looked at again.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn tell<K: Conditioned>(
        &self,
        object: &K,
        notes: Vec<NewCondition>,
        outcome: Outcome,
    ) -> Result<bool, ApplyError> {
        let generation = object.meta().generation;
        let after = status::conditions(object.conditions(), notes, outcome, generation, Timestamp::now());
        match status::write(&self.client, object, &after).await {
            Ok(false) => Ok(true),
            Ok(true) => {
                let summary = |conditions: &[openfunction_proto::events::EventsCondition]| {
                    conditions.last().map(|last| (last.type_.clone(), last.reason.clone()))
                };
                if let Some(last) = after.last().filter(|_| summary(object.conditions()) != summary(&after)) {
                    let type_ = if last.type_ == status::ERROR { EventType::Warning } else { EventType::Normal };
                    let (reason, note) =
                        (last.reason.clone().unwrap_or_default(), last.message.clone().unwrap_or_default());
                    self.events.publish(object, &About::default(), type_, &reason, note);
                }
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn converge<K: Conditioned>(
        &self,
        owner: &K,
        plan: &Plan,
        wanted: &[DynamicObject],
    ) -> Result<Converged, ApplyError> {
        let (mut converged, mut refused) = (Converged::default(), None);
        let live = children::owned(&self.functions, owner);
        for handler in wanted {
            if plan.is_held && live.iter().any(|live| live.name_any() == handler.name_any()) {
                continue;
            }
            // One that is refused does not keep the others from theirs.
            let applied = self.apply(owner, handler, &mut converged).await;
            refused = refused.or(applied.err());
        }
        // What is not asked for any more goes last (BUG-E32).
        let is_wanted = |name: &String| plan.kept.contains(name) || plan.handlers.iter().any(|of| of.name == *name);
        let mut obsolete =
            live.iter().filter(|live| !is_wanted(&live.name_any()) && live.metadata.deletion_timestamp.is_none());
        let obsolete: Vec<_> = obsolete.by_ref().collect();
        if !obsolete.is_empty() && !self.is_present(owner).await? {
            converged.look_again(SOON);
            return refused.map_or(Ok(converged), Err);
        }
        for function in obsolete {
            tracing::info!(handler = function.name_any(), "a handler goes: nothing asks for it");
            self.applier.delete(&**function).await?;
        }
        refused.map_or(Ok(converged), Err)
    }

    /// Whether an object is as the cache has it: what it does not ask for any more may be asked for again.
    async fn is_present<K: Conditioned>(&self, object: &K) -> Result<bool, ApplyError> {
        let name = object.name_any();
        let resource = ApiResource::erase::<K>(&());
        let api = objects(&self.client, &resource, object.namespace().as_deref());
        let live = api.get_metadata_opt(&name).await;
        let live =
            live.map_err(|source| ApplyError::Api { kind: resource.kind.clone(), name, source: Box::new(source) })?;
        Ok(live.is_some_and(|live| live.metadata.generation == object.meta().generation && live.uid() == object.uid()))
    }

    async fn apply<K: Conditioned>(
        &self,
        owner: &K,
        wanted: &DynamicObject,
        converged: &mut Converged,
    ) -> Result<(), ApplyError> {
        let live = self.live(wanted);
        if let Some(live) = live.as_ref().filter(|live| is_of_the_original(live, owner)) {
            self.take_over(live).await?;
        }
        let live = live.map(|live| children::json(&*live));
        self.applier.converge(wanted.clone(), live.as_ref(), converged).await
    }

    /// The Function that has the name of a handler.
    fn live(&self, wanted: &DynamicObject) -> Option<Arc<Function>> {
        let namespace = wanted.namespace().unwrap_or_default();
        self.functions.store().get(&ObjectRef::new(&wanted.name_any()).within(&namespace))
    }

    /// Makes the fields ours that the original has written, so that those which are not wanted any more go.
    async fn take_over(&self, function: &Function) -> Result<(), ApplyError> {
        let (name, namespace) = (function.name_any(), function.namespace().unwrap_or_default());
        let failed =
            |source| ApplyError::Api { kind: "Function".to_owned(), name: name.clone(), source: Box::new(source) };
        let api: Api<Function> = Api::namespaced(self.client.clone(), &namespace);
        let Some(live) = api.get_opt(&name).await.map_err(failed)? else { return Ok(()) };
        tracing::info!(handler = name, "a handler of the original is taken over");
        let managers: BTreeSet<_> = live
            .managed_fields()
            .iter()
            .filter(|entry| entry.operation.as_deref() == Some("Update") && entry.subresource.is_none())
            .filter_map(|entry| entry.manager.clone())
            .collect();
        let managers: Vec<_> = managers.iter().map(String::as_str).collect();
        adopt(&api, &live, &managers, ABOUT.name, None).await.map_err(failed)
    }

    fn outcome(
        &self,
        plan: &Plan,
        wanted: &[DynamicObject],
        converged: &Result<Converged, ApplyError>,
        words: &Words,
    ) -> Outcome {
        let failed = |reason, message| Outcome::Failed(Problem { reason, message, is_passing: false });
        match converged {
            Err(error) if error.is_refusal() => return failed(words.failed, describe(error)),
            Err(error) => return Outcome::Pending { message: describe(error) },
            Ok(Converged { drift: Some(drift), .. }) => return failed(words.failed, drift.clone()),
            _ => {}
        }
        if let Some(problem) = &plan.problem {
            return Outcome::Failed(problem.clone());
        }
        let mut waits = Vec::new();
        for handler in wanted {
            let coming = || State::Coming("is being made".to_owned());
            match self.live(handler).map_or_else(coming, |live| state(&live, &handler.data["spec"])) {
                State::Ready => {}
                State::Coming(what) => waits.push(format!("Function {:?} {what}", handler.name_any())),
                State::Failed(why) => {
                    return failed("HandlerFailed", format!("Function {:?}: {why}", handler.name_any()));
                }
            }
        }
        match waits.is_empty() {
            true => Outcome::Ready { reason: words.ready.0, message: words.ready.1.to_owned() },
            false => Outcome::Pending { message: waits.join("; ") },
        }
    }
}

/// Whether a handler was made by the original for the same owner: it has not been applied by us.
fn is_of_the_original<K: Resource>(function: &Function, owner: &K) -> bool {
    let is_owned = function
        .owner_references()
        .iter()
        .any(|of| of.controller == Some(true) && Some(&of.uid) == owner.meta().uid.as_ref());
    is_owned && !function.annotations().contains_key(&format!("{APPLIED_PREFIX}{}", ABOUT.name))
}

/// How a handler is.
enum State {
    Ready,
    Coming(String),
    Failed(String),
}

fn state(live: &Function, spec: &Value) -> State {
    if contained::difference(spec, &children::json(&live.spec)).is_some() {
        return State::Coming("is being changed".to_owned());
    }
    let status = live.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let Some(ready) = ready.filter(|ready| ready.observed_generation == live.metadata.generation) else {
        return State::Coming("is being started".to_owned());
    };
    let said = format!("{}: {}", ready.reason, ready.message);
    let has_failed = status.serving.as_ref().and_then(|serving| serving.state.as_deref());
    match (ready.status.as_str(), has_failed) {
        ("True", _) => State::Ready,
        (_, Some("Failed" | "Timeout")) => State::Failed(said),
        _ => State::Coming(format!("is not ready: {said}")),
    }
}
