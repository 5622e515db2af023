//! What a Trigger becomes: one handler that takes its inputs from the bus and delivers to its subscribers.

use std::collections::{BTreeMap, BTreeSet};

use controller_runtime::conditions::NewCondition;
use event_bus::wire::Mode;
use event_conditions::Condition;
use event_delivery::take::{in_flight, redelivery};
use event_trigger::{
    config::{Config, Input, Subscriber},
    engine::WINDOW,
};
use kube::ResourceExt;
use openfunction_proto::{core::ScaleOptions, events::Trigger};

use crate::{
    bus::{Found, Scaling, mechanism},
    dapr::{self, Program},
    handler::{self, Handler, METRICS_PORT, Native},
    names,
    plan::{Plan, Settings, any_bus, any_sink, checked_topic},
    problem::Problem,
    scale::{self, Group, KafkaReader},
    secrets::Secrets,
    sink::Address,
};

/// What a Trigger meets.
#[derive(Clone, Debug)]
pub struct World {
    /// Its bus.
    pub bus: Result<Found, Problem>,
    /// URLs of the sinks and of the sinks of dead letters of its subscribers, in their order.
    pub sinks: Vec<Sinks>,
    /// Whether EventSources of other namespaces may be read (EV29).
    pub permission: Permission,
    /// Inputs whose EventSource or event does not exist, each as a sentence.
    pub missing: Vec<String>,
}

/// URLs of a subscriber's sinks, where it has them.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// Gets the events.
    pub sink: Option<Result<Address, Problem>>,
    /// Gets those that could not be delivered.
    pub dead_letter_sink: Option<Result<Address, Problem>>,
}

/// Whether a Trigger may read what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Given,
    /// It may not: nothing of it may run.
    Missing(Problem),
    /// It is not known.
    Unknown(Problem),
}

/// Condition of a Trigger: whether the events that it reads exist.
pub const INPUTS_FOUND: &str = "InputsFound";
/// Condition of a Trigger that has one replica, whatever waits for it.
pub const SINGLE_REPLICA: &str = "SingleReplica";

/// What shall run for a Trigger.
pub fn plan(trigger: &Trigger, world: &World, settings: &Settings) -> Plan {
    let function = names::trigger_handler(&trigger.name_any());
    let mut plan = Plan::default();
    match &world.permission {
        Permission::Given => {}
        Permission::Missing(problem) => {
            // What others do not allow must end.
            plan.problem = Some(problem.clone());
            return plan;
        }
        Permission::Unknown(problem) => {
            plan.problem = Some(problem.clone());
            plan.kept.insert(function);
            return plan;
        }
    }
    if !world.missing.is_empty() {
        plan.notes.push(NewCondition::false_(INPUTS_FOUND, "EventSourceNotFound", world.missing.join("; ")));
    }
    match handler(trigger, world, settings, function.clone(), &mut plan) {
        Ok(handler) => plan.handlers.push(handler),
        Err(problem) => {
            plan.kept.insert(function);
            plan.problem = Some(problem);
        }
    }
    plan
}

/// Checks what the schema does not say of a Trigger.
pub fn check(trigger: &Trigger) -> Option<Problem> {
    let sinks = trigger.spec.subscribers.iter().map(|subscriber| Sinks {
        sink: any_sink(subscriber.sink.is_some()),
        dead_letter_sink: any_sink(subscriber.dead_letter_sink.is_some()),
    });
    let world = World {
        bus: Ok(any_bus(&trigger.spec.event_bus)),
        sinks: sinks.collect(),
        permission: Permission::Given,
        missing: Vec::new(),
    };
    plan(trigger, &world, &Settings::default()).problem
}

/// The namespace of an input's EventSource; absent is the Trigger's own.
pub fn namespace_of<'a>(input: &'a openfunction_proto::events::Input, own: &'a str) -> &'a str {
    input.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(own)
}

/// The topics of a Trigger's inputs by their names.
fn inputs(trigger: &Trigger) -> BTreeMap<String, Input> {
    let own = trigger.namespace().unwrap_or_default();
    let input = |of: &openfunction_proto::events::Input| Input {
        topic: names::topic(namespace_of(of, &own), &of.event_source, &of.event),
        content_mode: (of.content_mode.as_deref() == Some("inner")).then_some(Mode::Inner),
    };
    trigger.spec.inputs.iter().map(|(name, of)| (name.clone(), input(of))).collect()
}

fn handler(
    trigger: &Trigger,
    world: &World,
    settings: &Settings,
    function: String,
    plan: &mut Plan,
) -> Result<Handler, Problem> {
    let spec = &trigger.spec;
    if spec.inputs.is_empty() {
        // BUG-E25
        return Err(Problem::configuration("spec.inputs: Required value: must name at least one event"));
    }
    if spec.subscribers.is_empty() {
        return Err(Problem::subscribers("spec.subscribers: Required value: no subscriber found"));
    }
    let program = Program::of(trigger)?;
    let bus = world.bus.as_ref().map_err(Clone::clone)?;
    let mut secrets = Secrets::default();
    let reading = bus.reading();
    let name = format!("{}-{}", trigger.namespace().unwrap_or_default(), trigger.name_any());
    let config = Config {
        name: name.clone(),
        bus: bus.config(&mut secrets)?,
        inputs: inputs(trigger),
        subscribers: subscribers(trigger, world, plan)?,
        window: spec
            .window
            .as_ref()
            .and_then(|window| window.to_std())
            .filter(|window| !window.is_zero())
            .unwrap_or(WINDOW),
        legacy_semantics: spec.legacy_semantics == Some(true),
        in_flight: reading.in_flight.unwrap_or(in_flight()),
        redelivery: reading.redelivery.unwrap_or(redelivery()),
        from_the_beginning: reading.from_the_beginning,
    };
    // BUG-E39: a condition that is wrong must not be found by the handler.
    let conditions = config.conditions().map_err(|invalid| {
        Problem::configuration(format!(
            "spec.subscribers[{}].condition: Invalid value: {}",
            invalid.subscriber, invalid.reason
        ))
    })?;
    if program == Program::Dapr {
        plan.notes.extend(dapr::ignored(dapr::trigger::unused(spec)));
        if let Some(position) = conditions.iter().position(|condition| !condition.is_typed()) {
            return Err(dapr::not_supported(
                &format!("spec.subscribers[{position}].condition"),
                "handlers of Dapr combine true and false only, by &&, ||, !, ==, !=, ?:, exists and all",
            ));
        }
        let consumer = dapr::trigger::consumer(trigger, bus);
        // Every event counts for every condition (BUG-E37).
        let remembers = config.inputs.len() > 1;
        let scale = scaling(bus, &config, (&consumer, Group::OfAll(&consumer)), remembers, &mut plan.notes)?;
        let serving = dapr::trigger::serving(trigger, bus, &config, scale, settings)?;
        return Ok(Handler { name: function, image: settings.dapr_trigger_image.clone(), serving });
    }
    let remembers = config.legacy_semantics || conditions.iter().any(remembers);
    let native = Native {
        scale: scaling(bus, &config, (&name, Group::OfEach(&name)), remembers, &mut plan.notes)?,
        config: handler::config(&config)?,
        port: METRICS_PORT,
        visibility: "None".to_owned(),
        secrets,
        log_filter: handler::log_filter(spec.log_level.as_deref()),
        otlp_endpoint: settings.otlp_endpoint.clone(),
    };
    Ok(Handler { name: function, image: settings.trigger_image.clone(), serving: native.serving() })
}

/// Whether a condition is decided by more than the event that comes.
fn remembers(condition: &Condition) -> bool {
    let inputs = u32::try_from(condition.inputs().len()).unwrap_or(u32::MAX);
    // One that is met by each event alone needs no other.
    !(0..inputs).all(|input| condition.is_met(1 << input))
}

fn subscribers(trigger: &Trigger, world: &World, plan: &mut Plan) -> Result<Vec<Subscriber>, Problem> {
    let subscribers = trigger.spec.subscribers.iter().zip(&world.sinks).enumerate();
    let subscribers = subscribers.map(|(index, (of, sinks))| {
        let path = |field: &str| format!("spec.subscribers[{index}].{field}");
        Ok(Subscriber {
            condition: of.condition.clone(),
            sink: plan.url(&sinks.sink)?,
            topic: checked_topic(of.topic.as_ref(), &path("topic"))?,
            dead_letter_sink: plan.url(&sinks.dead_letter_sink)?,
            dead_letter_topic: checked_topic(of.dead_letter_topic.as_ref(), &path("deadLetterTopic"))?,
            delivery: handler::policy(of.delivery.as_ref()),
        })
    });
    subscribers.collect()
}

fn scaling(
    bus: &Found,
    config: &Config,
    (name, group): (&str, Group),
    remembers: bool,
    notes: &mut Vec<NewCondition>,
) -> Result<ScaleOptions, Problem> {
    let Some(scaling) = bus.scaling() else { return Ok(scale::one()) };
    let most = remembers.then_some(1);
    if remembers {
        let message =
            "a condition depends on several events, which one handler must see: it is not scaled beyond one replica";
        notes.push(NewCondition::true_(SINGLE_REPLICA, "ConditionRemembers", message));
    }
    let topics: BTreeSet<_> = config.inputs.values().map(|input| input.topic.clone()).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let path = format!("{} {:?}: scaleOption", bus.kind, bus.name);
    match scaling {
        Scaling::JetStream(option) => {
            let stream = bus.spec.jet_stream.as_ref().and_then(|bus| bus.stream.as_deref());
            scale::by_jetstream(option, (&topics, name, stream), &path, most)
        }
        Scaling::Kafka(option) => {
            let Some(kafka) = &bus.spec.kafka else { return Ok(scale::one()) };
            let sasl = kafka.sasl_username.is_some().then(|| scale::sasl(mechanism(kafka.sasl_mechanism.as_deref())));
            let reader =
                KafkaReader { brokers: &kafka.brokers, topics: &topics, group, sasl, tls: kafka.tls.is_some() };
            scale::by_kafka(option, &reader, &path, most)
        }
    }
}
