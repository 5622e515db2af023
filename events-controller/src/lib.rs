//! events-controller: EventSources and Triggers become functions that carry events, over an EventBus or without one.
#![warn(missing_docs)]

mod admission;
mod bus;
mod bus_status;
mod dapr;
mod handler;
mod names;
mod plan;
mod problem;
mod reconcile;
mod scale;
mod secrets;
mod sink;
mod source;
mod status;
mod trigger;

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use controller_runtime::{
    children,
    index::Index,
    optional::OptionalApi,
    process::{self, About, Runtime, everything, triggers},
    status_api::Explained,
    watch::{Shared, Watched},
    webhook::Webhooks,
};
use futures::{Stream, StreamExt, stream, stream::BoxStream};
use kube::{
    ResourceExt,
    runtime::{reflector::ObjectRef, watcher},
};
use openfunction_proto::{
    core::Function,
    events::{ClusterEventBus, EventBus, EventSource, EventSourceSpec, SinkSpec, Trigger, TriggerSpec},
    gateway_api::resources::ReferenceGrant,
};

use plan::Settings;
use reconcile::Context;
use sink::Sinks;

/// ReferenceGrants of the Gateway API: who may read EventSources of another namespace.
const REFERENCE_GRANTS: OptionalApi =
    OptionalApi { group: "gateway.networking.k8s.io", version: "v1beta1", plural: "referencegrants" };

/// The controller.
pub const ABOUT: About = About {
    name: "events-controller",
    about: "Turns EventSources and Triggers into functions that carry events.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: &[REFERENCE_GRANTS],
};

/// Flags of the events-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Image of the handlers of EventSources.
    #[arg(long, env = "EVENT_SOURCE_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/openfunction/event-source:", env!("CARGO_PKG_VERSION")))]
    pub event_source_image: String,
    /// Image of the handlers of Triggers.
    #[arg(long, env = "EVENT_TRIGGER_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/openfunction/event-trigger:", env!("CARGO_PKG_VERSION")))]
    pub event_trigger_image: String,
    /// Image of the handlers of EventSources that ask for Dapr.
    #[arg(
        long,
        env = "DAPR_EVENT_SOURCE_IMAGE",
        value_name = "IMAGE",
        default_value = "openfunction/eventsource-handler:v4"
    )]
    pub dapr_event_source_image: String,
    /// Image of the handlers of Triggers that ask for Dapr.
    #[arg(
        long,
        env = "DAPR_EVENT_TRIGGER_IMAGE",
        value_name = "IMAGE",
        default_value = "openfunction/trigger-handler:v4"
    )]
    pub dapr_event_trigger_image: String,
    /// Domain of the cluster, for the addresses of Services.
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = controller_runtime::args::cluster_domain)]
    pub cluster_domain: String,
    /// Whether the host of a sink's URI must be found before its handler is made. Switch it off where this controller
    /// does not see the names that handlers see.
    #[arg(long, env = "FIND_SINK_HOSTS", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub find_sink_hosts: bool,
}

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A task ended without which the process is of no use.
pub async fn run(mut runtime: Runtime, flags: Flags) -> anyhow::Result<()> {
    let webhooks = admission::admission(Webhooks::new(), &runtime.args.namespace);
    let (sources, event_triggers) = (runtime.shared::<EventSource>(), runtime.shared::<Trigger>());
    let (buses, cluster_buses) = (runtime.shared::<EventBus>(), runtime.shared::<ClusterEventBus>());
    let functions = runtime.shared::<Function>();
    let grants = Shared::<ReferenceGrant>::new(None);
    runtime
        .serve(
            webhooks,
            vec![
                Box::new(Explained::new(sources.clone(), status::explain)),
                Box::new(Explained::new(event_triggers.clone(), status::explain)),
                Box::new(Explained::new(buses.clone(), status::explain)),
            ],
        )
        .await?;
    runtime.follow_optional_apis().await;
    let all = watcher::Config::default;
    runtime.follow(&sources, all(), |_| {});
    runtime.follow(&event_triggers, all(), |_| {});
    runtime.follow(&buses, all(), |_| {});
    runtime.follow_cluster(&cluster_buses, all(), |_| {});
    runtime.follow(&functions, all(), without_what_nobody_reads);
    runtime.follow_optional(&grants, REFERENCE_GRANTS, &[], all(), |_| {});
    runtime.count_objects(&sources, status::state);
    runtime.count_objects(&event_triggers, status::state);
    runtime.count_objects(&buses, status::state);

    let client = runtime.client();
    let otlp_endpoint = runtime.args.telemetry.otlp_endpoint.clone();
    let wakes = Wakes::new(&sources, &event_triggers);
    let context = Arc::new(Context {
        client: client.clone(),
        applier: runtime.applier(),
        events: runtime.events.clone(),
        sources_by_topic: wakes.by_topic.clone(),
        sources: sources.clone(),
        buses: buses.clone(),
        cluster_buses: cluster_buses.clone(),
        functions: functions.clone(),
        grants: grants.clone(),
        apis: runtime.optional_apis.clone(),
        settings: Settings {
            source_image: flags.event_source_image,
            trigger_image: flags.event_trigger_image,
            dapr_source_image: flags.dapr_event_source_image,
            dapr_trigger_image: flags.dapr_event_trigger_image,
            otlp_endpoint,
            cluster_domain: flags.cluster_domain.clone(),
            namespaces: runtime.args.watch_namespaces.clone(),
        },
        sinks: Sinks::new(client, functions.clone(), flags.cluster_domain, flags.find_sink_hosts),
    });
    let driver = runtime.driver(true);
    runtime
        .lead(|token| {
            let (driver, context, wakes) = (&driver, &context, &wakes);
            let (sources, event_triggers) = (&sources, &event_triggers);
            let (buses, cluster_buses) = (&buses, &cluster_buses);
            let of_sources = vec![
                triggers(&functions, children::controller),
                wakes.of_buses(buses, &wakes.sources_by_bus),
                wakes.of_buses(cluster_buses, &wakes.sources_by_bus),
                wakes.of_functions(&functions, &wakes.sources_by_sink),
                wakes.of_sinks(context.sinks.changes(), sources, &wakes.sources_by_sink),
                wakes.of_rivals(sources),
            ];
            let of_triggers = vec![
                triggers(&functions, children::controller),
                wakes.of_buses(buses, &wakes.triggers_by_bus),
                wakes.of_buses(cluster_buses, &wakes.triggers_by_bus),
                wakes.of_functions(&functions, &wakes.triggers_by_sink),
                wakes.of_sinks(context.sinks.changes(), event_triggers, &wakes.triggers_by_sink),
                wakes.of_inputs(sources),
                everything(event_triggers, grants.subscribe().map(drop)),
                everything(event_triggers, context.apis.changes()),
            ];
            async move {
                tokio::join!(
                    driver.run(sources, of_sources, context.clone(), reconcile::source, token.clone()),
                    driver.run(event_triggers, of_triggers, context.clone(), reconcile::trigger, token.clone()),
                    driver.run(buses, vec![], context.clone(), bus_status::event_bus, token.clone()),
                    driver.run(cluster_buses, vec![], context.clone(), bus_status::cluster_event_bus, token),
                );
            }
        })
        .await
}

/// Of functions that are no handlers only the addresses are read.
fn without_what_nobody_reads(function: &mut Function) {
    if function.labels().contains_key(names::MANAGED) {
        return;
    }
    function.spec = Default::default();
    if let Some(status) = &mut function.status {
        let addresses = std::mem::take(&mut status.addresses);
        *status = openfunction_proto::core::FunctionStatus { addresses, ..Default::default() };
    }
}

/// What has an EventSource or Trigger looked at besides its own changes.
struct Wakes {
    by_topic: Index<EventSource>,
    sources_by_bus: Index<EventSource>,
    triggers_by_bus: Index<Trigger>,
    sources_by_sink: Index<EventSource>,
    triggers_by_sink: Index<Trigger>,
    triggers_by_source: Index<Trigger>,
}

impl Wakes {
    fn new(sources: &Shared<EventSource>, triggers: &Shared<Trigger>) -> Self {
        Self {
            by_topic: sources.index(source::topics),
            // BUG-E21: whether it was ever ready or not.
            sources_by_bus: sources.index(|source| source.spec.event_bus.clone().into_iter().collect()),
            triggers_by_bus: triggers.index(|trigger| vec![trigger.spec.event_bus.clone()]),
            sources_by_sink: sources.index(|source| {
                let EventSourceSpec { sink, dead_letter_sink, .. } = &source.spec;
                keys(sink.iter().chain(dead_letter_sink), source)
            }),
            triggers_by_sink: triggers.index(|trigger| {
                let TriggerSpec { subscribers, .. } = &trigger.spec;
                let sinks = subscribers.iter().flat_map(|of| of.sink.iter().chain(&of.dead_letter_sink));
                keys(sinks, trigger)
            }),
            triggers_by_source: triggers.index(|trigger| {
                let own = trigger.namespace().unwrap_or_default();
                let inputs = trigger.spec.inputs.values();
                inputs.map(|input| format!("{}/{}", trigger::namespace_of(input, &own), input.event_source)).collect()
            }),
        }
    }

    /// Those that name a bus that has changed; one of a namespace concerns only those there.
    fn of_buses<B: Watched, K: Watched>(
        &self,
        buses: &Shared<B>,
        index: &Index<K>,
    ) -> BoxStream<'static, ObjectRef<K>> {
        let index = index.clone();
        let named = move |bus: Arc<B>| {
            let mut users = index.get(&bus.name_any());
            users.retain(|user| bus.namespace().is_none() || bus.namespace() == user.namespace());
            stream::iter(references(users))
        };
        buses.subscribe().flat_map(named).boxed()
    }

    /// Those that name a function as a sink.
    fn of_functions<K: Watched>(
        &self,
        functions: &Shared<Function>,
        index: &Index<K>,
    ) -> BoxStream<'static, ObjectRef<K>> {
        let index = index.clone();
        let named = move |function: Arc<Function>| {
            let namespace = function.namespace().unwrap_or_default();
            let key = sink::key("core.openfunction.io/v1beta2", "Function", &namespace, &function.name_any());
            stream::iter(references(index.get(&key)))
        };
        functions.subscribe().flat_map(named).boxed()
    }

    /// Those that name a sink whose address may be another.
    fn of_sinks<K: Watched>(
        &self,
        changes: impl Stream<Item = Option<String>> + Send + 'static,
        all: &Shared<K>,
        index: &Index<K>,
    ) -> BoxStream<'static, ObjectRef<K>> {
        let (index, store) = (index.clone(), all.store().clone());
        let named = move |key: Option<String>| {
            let users = match key {
                None => store.state(),
                // All of a kind in a namespace.
                Some(key) if key.ends_with('/') => {
                    index.keys(&key).iter().flat_map(|name| index.get(&format!("{key}{name}"))).collect()
                }
                Some(key) => index.get(&key),
            };
            stream::iter(references(users))
        };
        changes.flat_map(named).boxed()
    }

    /// Those that have a topic of an EventSource that has changed.
    fn of_rivals(&self, sources: &Shared<EventSource>) -> BoxStream<'static, ObjectRef<EventSource>> {
        let (index, store, mut known) = (self.by_topic.clone(), sources.store().clone(), HashMap::new());
        let rivals = move |source: Arc<EventSource>| {
            let (key, mut topics) = (ObjectRef::from_obj(&*source), source::topics(&source));
            let before = match store.get(&key) {
                Some(_) => known.insert(key, topics.clone()),
                None => known.remove(&key),
            };
            // Also those that it has given up.
            topics.extend(before.into_iter().flatten());
            let mut rivals: Vec<_> = topics.iter().flat_map(|topic| index.get(topic)).collect();
            rivals.retain(|rival| ObjectRef::from_obj(&**rival) != ObjectRef::from_obj(&*source));
            stream::iter(references(rivals))
        };
        sources.subscribe().flat_map(rivals).boxed()
    }

    /// Triggers that read an EventSource that has changed.
    fn of_inputs(&self, sources: &Shared<EventSource>) -> BoxStream<'static, ObjectRef<Trigger>> {
        let index = self.triggers_by_source.clone();
        let readers = move |source: Arc<EventSource>| {
            let key = format!("{}/{}", source.namespace().unwrap_or_default(), source.name_any());
            stream::iter(references(index.get(&key)))
        };
        sources.subscribe().flat_map(readers).boxed()
    }
}

fn keys<'a>(sinks: impl Iterator<Item = &'a SinkSpec>, owner: &impl ResourceExt) -> Vec<String> {
    let namespace = owner.namespace().unwrap_or_default();
    sinks.filter_map(|sink| sink::key_of(sink, &namespace)).collect()
}

fn references<K: Watched>(objects: Vec<Arc<K>>) -> Vec<ObjectRef<K>> {
    objects.iter().map(|object| ObjectRef::from_obj(&**object)).collect()
}
