//! What a revision sees of its Function's other revisions, and of what all of them have in common.

use std::{collections::BTreeSet, sync::Arc};

use controller_runtime::{
    children::{self, dynamic},
    index::Index,
    optional::OptionalApis,
    process,
    watch::{Shared, Watched},
};
use futures::stream::BoxStream;
use k8s_openapi::api::{apps::v1::Deployment, policy::v1::PodDisruptionBudget};
use kube::{Resource, ResourceExt, api::DynamicObject, runtime::reflector::ObjectRef};
use openfunction_proto::core::Serving;
use serde::Serialize;

use crate::{
    ABOUT,
    dapr::{self, COMPONENTS, Mode, PROXY, RESILIENCIES},
    foreign::{Component, Resiliency},
};

/// The caches of it.
pub struct Relatives {
    servings: Shared<Serving>,
    by_function: Index<Serving>,
    components: Shared<Component>,
    components_of: Index<Component>,
    resiliencies: Shared<Resiliency>,
    resiliencies_of: Index<Resiliency>,
    deployments: Shared<Deployment>,
    proxies_of: Index<Deployment>,
    budgets_of: Index<PodDisruptionBudget>,
}

/// The caches that it looks at.
pub struct Caches<'a> {
    /// All revisions.
    pub servings: &'a Shared<Serving>,
    /// Components, also those of others.
    pub components: &'a Shared<Component>,
    /// Our Resiliencies.
    pub resiliencies: &'a Shared<Resiliency>,
    /// Our Deployments.
    pub deployments: &'a Shared<Deployment>,
    /// Our PodDisruptionBudgets.
    pub budgets: &'a Shared<PodDisruptionBudget>,
}

/// Leaves of a Component that is not ours what is asked of it: its type.
pub fn forget_of_others(component: &mut Component) {
    if !is_ours(component) {
        component.spec.retain(|field, _| field == "type");
        component.rest.clear();
    }
}

fn is_ours(component: &Component) -> bool {
    component.labels().get(children::MANAGED_BY).map(String::as_str) == Some(ABOUT.name)
}

fn key(namespace: Option<&str>, function: &str) -> String {
    format!("{}/{function}", namespace.unwrap_or_default())
}

/// The Function that an object is of, by a label.
fn of<K: Resource>(object: &K, label: &str) -> Vec<String> {
    let function = object.labels().get(label);
    function.map(|function| key(object.meta().namespace.as_deref(), function)).into_iter().collect()
}

/// The Function that an object of ours is of.
fn of_ours(component: &Component) -> Vec<String> {
    if is_ours(component) { of(component, children::FUNCTION) } else { Vec::new() }
}

/// What an index has under a key.
fn found<K: Watched + Serialize>(index: &Index<K>, key: &str) -> Vec<DynamicObject> {
    index.get(key).iter().map(|object| dynamic(&**object)).collect()
}

impl Relatives {
    /// Indexes the caches.
    pub fn new(caches: &Caches) -> Self {
        Self {
            servings: caches.servings.clone(),
            by_function: caches.servings.index(|serving| of(serving, children::FUNCTION)),
            components: caches.components.clone(),
            components_of: caches.components.index(of_ours),
            resiliencies: caches.resiliencies.clone(),
            resiliencies_of: caches.resiliencies.index(|resiliency| of(resiliency, children::FUNCTION)),
            deployments: caches.deployments.clone(),
            proxies_of: caches.deployments.index(|deployment| of(deployment, PROXY)),
            budgets_of: caches.budgets.index(|budget| of(budget, PROXY)),
        }
    }

    /// Whether all that is of Dapr is known, as far as the cluster serves it.
    pub fn are_known(&self, apis: &OptionalApis) -> bool {
        (self.components.is_synced() || !apis.is_served(COMPONENTS))
            && (self.resiliencies.is_synced() || !apis.is_served(RESILIENCIES))
    }

    /// Every revision of a Serving's Function, in the order of their names.
    pub fn revisions(&self, serving: &Serving) -> Vec<Arc<Serving>> {
        let mut revisions: Vec<_> =
            of(serving, children::FUNCTION).iter().flat_map(|function| self.by_function.get(function)).collect();
        revisions.retain(|revision| !children::is_of_the_original(revision));
        if revisions.is_empty() {
            // Made by hand, without a Function.
            revisions.push(Arc::new(serving.clone()));
        }
        revisions.sort_by_key(|revision| revision.name_any());
        revisions
    }

    /// What the Function's revisions have in common, as it is.
    pub fn live(&self, serving: &Serving) -> Vec<DynamicObject> {
        let functions = of(serving, children::FUNCTION);
        let all = functions.iter().flat_map(|function| {
            let of_dapr = [found(&self.components_of, function), found(&self.resiliencies_of, function)];
            let of_proxy = [found(&self.proxies_of, function), found(&self.budgets_of, function)];
            of_dapr.into_iter().chain(of_proxy).flatten()
        });
        all.collect()
    }

    /// The proxy of the Function.
    pub fn proxy(&self, serving: &Serving) -> Option<Arc<Deployment>> {
        of(serving, children::FUNCTION).iter().flat_map(|function| self.proxies_of.get(function)).next()
    }

    /// The type of a component that is there.
    pub fn type_of(&self, namespace: &str, name: &str) -> Option<String> {
        self.components.store().get(&ObjectRef::new(name).within(namespace))?.type_().map(str::to_owned)
    }

    /// Servings that a change concerns: those of the Function of a Component of ours, a Resiliency or a proxy; for any other
    /// Component, those of its namespace that name it; and for a Serving with Dapr the others of its Function.
    pub fn triggers(&self) -> Vec<BoxStream<'static, ObjectRef<Serving>>> {
        let by_function = self.by_function.clone();
        let relatives = move |functions: Vec<String>| -> Vec<ObjectRef<Serving>> {
            let servings: BTreeSet<_> = functions
                .iter()
                .flat_map(|function| by_function.get(function))
                .map(|serving| (serving.namespace().unwrap_or_default(), serving.name_any()))
                .collect();
            servings.into_iter().map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
        };
        let (of_component, of_resiliency) = (relatives.clone(), relatives.clone());
        let (of_proxy, of_serving) = (relatives.clone(), relatives);
        let servings = self.servings.clone();
        let components = process::triggers(&self.components, move |component: &Component| {
            let functions = of_ours(component);
            if !functions.is_empty() {
                return of_component(functions);
            }
            let names_it = |serving: &Arc<Serving>| {
                serving.namespace() == component.namespace()
                    && dapr::speaks_of(&serving.spec.serving, &component.name_any())
            };
            let all = servings.store().state();
            all.iter().filter(|serving| names_it(serving)).map(|serving| ObjectRef::from_obj(&**serving)).collect()
        });
        let resiliencies =
            process::triggers(&self.resiliencies, move |resiliency| of_resiliency(of(resiliency, children::FUNCTION)));
        let proxies = process::triggers(&self.deployments, move |deployment| of_proxy(of(deployment, PROXY)));
        let revisions = process::triggers(&self.servings, move |serving| match dapr::mode(serving) {
            Ok(Mode::Off) => Vec::new(),
            _ => of_serving(of(serving, children::FUNCTION)),
        });
        vec![components, resiliencies, proxies, revisions]
    }
}
