//! serving-controller: a Serving becomes a workload, and its status tells where requests for it go.
#![warn(missing_docs)]

mod adopted;
mod asynchronous;
mod budget;
mod context;
mod dapr;
mod deployment;
mod engine;
mod floors;
mod foreign;
mod globals;
mod ignored;
mod keda;
mod knative;
mod native;
mod pod;
mod reconcile;
mod relatives;
mod rendered;
mod rollout;
mod service;
mod settings;
mod shared;
mod status;
#[cfg(test)]
mod testing;
mod validate;

use std::{process::ExitCode, sync::Arc};

use controller_runtime::{
    children,
    optional::OptionalApi,
    process::{self, About, Runtime, everything, triggers},
    status_api::Explained,
    watch::{Shared, Watched},
    webhook::Webhooks,
};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::Job,
        core::v1::{ConfigMap, Event, Pod, Service},
        policy::v1::PodDisruptionBudget,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Resource, ResourceExt,
    core::NamespaceScope,
    runtime::{reflector::ObjectRef, watcher},
};
use openfunction_proto::core::{Serving, v1beta1};
use serde::Serialize;

use dapr::{COMPONENTS, RESILIENCIES};
use foreign::{Component, HttpScaledObject, KnativeService, Resiliency, ScaledJob, ScaledObject};
use keda::HTTP_SCALED_OBJECTS;
use knative::SERVICES;
use reconcile::{Children, Context, reconcile};
use relatives::{Caches, Relatives};
pub use settings::{Interceptor, Settings};

/// KEDA's ScaledObjects.
const SCALED_OBJECTS: OptionalApi = OptionalApi { group: "keda.sh", version: "v1alpha1", plural: "scaledobjects" };

/// KEDA's ScaledJobs.
const SCALED_JOBS: OptionalApi = OptionalApi { group: "keda.sh", version: "v1alpha1", plural: "scaledjobs" };

/// The controller.
pub const ABOUT: About = About {
    name: "serving-controller",
    about: "Runs the revisions of functions.",
    version: env!("CARGO_PKG_VERSION"),
    commit: controller_runtime::COMMIT,
    optional_apis: &[SERVICES, HTTP_SCALED_OBJECTS, SCALED_OBJECTS, SCALED_JOBS, COMPONENTS, RESILIENCIES],
};

/// The API that tells how much CPU pods use; without it, no HorizontalPodAutoscaler can work.
const METRICS_API: &str = "v1beta1.metrics.k8s.io";

/// Runs the controller.
pub fn main() -> ExitCode {
    process::main(ABOUT, run)
}

/// The children of Servings, and what happens to them.
struct Family<'a> {
    runtime: &'a mut Runtime,
    children: Children,
    triggers: Vec<Box<dyn Fn() -> BoxStream<'static, ObjectRef<Serving>> + Send + Sync>>,
}

impl Family<'_> {
    /// Follows a kind that every cluster has.
    fn follow<K>(&mut self, prune: fn(&mut K)) -> Shared<K>
    where
        K: Watched + Serialize + Resource<Scope: NamespaceScope>,
    {
        let shared = self.runtime.shared::<K>();
        self.runtime.follow(&shared, ours(), prune);
        self.children.add(&shared, None);
        let watched = shared.clone();
        self.triggers.push(Box::new(move || triggers(&watched, children::controller)));
        shared
    }

    /// Follows a kind whenever the cluster has it.
    fn follow_optional<K>(&mut self, api: OptionalApi)
    where
        K: Watched + Serialize + Resource<Scope: NamespaceScope>,
    {
        let shared = Shared::<K>::new(None);
        self.runtime.follow_optional(&shared, api, &[], ours(), |_| {});
        self.children.add(&shared, Some(api));
        self.triggers.push(Box::new(move || triggers(&shared, children::controller)));
    }
}

fn ours() -> watcher::Config {
    watcher::Config::default().labels(&children::selector(ABOUT.name))
}

/// Runs the controller in a process that was started.
///
/// # Errors
/// A task ended without which the process is of no use.
pub async fn run(mut runtime: Runtime, settings: Settings) -> anyhow::Result<()> {
    let webhooks = Webhooks::new().convert("Serving", "servings.core.openfunction.io", Arc::new(v1beta1::convert));
    let servings = runtime.shared::<Serving>();
    let (pods, metrics_api, config) =
        (runtime.shared::<Pod>(), runtime.shared::<APIService>(), runtime.shared::<ConfigMap>());
    runtime.serve(webhooks, vec![Box::new(Explained::new(servings.clone(), status::explain))]).await?;
    runtime.follow_optional_apis().await;
    runtime.follow(&servings, watcher::Config::default(), |_| {});
    // Those of the original, too, whose labels are those of their template.
    runtime.follow(&pods, watcher::Config::default().labels(children::SERVING), |pod| pod.spec = None);
    let sandboxes = runtime.shared::<Event>();
    let of_sandboxes = format!("reason={},involvedObject.kind=Pod", status::SANDBOX);
    runtime.follow(&sandboxes, watcher::Config::default().fields(&of_sandboxes), |_| {});
    runtime.count_objects(&servings, |serving| serving.status.as_ref()?.state.as_deref());
    let mut family = Family { runtime: &mut runtime, children: Children::default(), triggers: Vec::new() };
    let deployments = family.follow::<Deployment>(deployment::remember_who_scales);
    family.follow::<StatefulSet>(deployment::remember_who_scales);
    family.follow::<Job>(|_| {});
    family.follow::<Service>(|service| service.status = None);
    family.follow::<HorizontalPodAutoscaler>(|autoscaler| autoscaler.status = None);
    let budgets = family.follow::<PodDisruptionBudget>(|budget| budget.status = None);
    family.follow_optional::<KnativeService>(SERVICES);
    family.follow_optional::<ScaledObject>(SCALED_OBJECTS);
    family.follow_optional::<ScaledJob>(SCALED_JOBS);
    family.follow_optional::<HttpScaledObject>(HTTP_SCALED_OBJECTS);
    let (children, of_children) = (family.children, family.triggers);
    let components = Shared::<Component>::new(None);
    // Those of others, too: a function may name one.
    runtime.follow_optional(&components, COMPONENTS, &[], watcher::Config::default(), relatives::forget_of_others);
    let resiliencies = Shared::<Resiliency>::new(None);
    runtime.follow_optional(&resiliencies, RESILIENCIES, &[], ours(), |_| {});
    let relatives = Relatives::new(&Caches {
        servings: &servings,
        components: &components,
        resiliencies: &resiliencies,
        deployments: &deployments,
        budgets: &budgets,
    });
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (metrics, only, client) = (metrics_api.clone(), named(METRICS_API), runtime.client());
    runtime.spawn_essential("the watch of the metrics API", async move {
        metrics.follow_cluster(&client, only, |_| {}).await;
    });
    let (map, only, client) = (config.clone(), named(&settings.config_map), runtime.client());
    let namespace = runtime.args.namespace.clone();
    runtime.spawn_essential("the watch of the settings", async move {
        map.follow(&client, &[namespace], only, |_| {}).await;
    });

    let context = Arc::new(Context {
        client: runtime.client(),
        applier: runtime.applier(),
        events: runtime.events.clone(),
        apis: runtime.optional_apis.clone(),
        children,
        relatives,
        pods: pods.clone(),
        sandboxes: sandboxes.index(|event| event.involved_object.uid.iter().cloned().collect()),
        metrics_api: metrics_api.clone(),
        config: config.clone(),
        namespace: runtime.args.namespace.clone(),
        settings,
        enabled: Default::default(),
    });
    let driver = runtime.driver(true);
    runtime
        .lead(|token| {
            let (driver, servings, context) = (&driver, &servings, context.clone());
            let mut triggers: Vec<_> = of_children.iter().map(|subscribe| subscribe()).collect();
            triggers.push(process::triggers(&pods, serving_of));
            let known = pods.clone();
            triggers.push(process::triggers(&sandboxes, move |event| serving_of_event(event, &known)));
            triggers.extend(context.relatives.triggers());
            let of_all = [
                metrics_api.subscribe().map(drop).boxed(),
                config.subscribe().map(drop).boxed(),
                context.apis.changes().boxed(),
            ];
            triggers.push(everything(servings, futures::stream::select_all(of_all)));
            async move { driver.run(servings, triggers, context, reconcile, token).await }
        })
        .await
}

/// The Serving that a pod is of.
fn serving_of(pod: &Pod) -> Vec<ObjectRef<Serving>> {
    let namespace = pod.namespace().unwrap_or_default();
    pod.labels().get(children::SERVING).map(|name| ObjectRef::new(name).within(&namespace)).into_iter().collect()
}

/// The Serving that the pod of an Event is of.
fn serving_of_event(event: &Event, pods: &Shared<Pod>) -> Vec<ObjectRef<Serving>> {
    let of = &event.involved_object;
    let pod =
        ObjectRef::new(of.name.as_deref().unwrap_or_default()).within(of.namespace.as_deref().unwrap_or_default());
    pods.store().get(&pod).map(|pod| serving_of(&pod)).unwrap_or_default()
}
