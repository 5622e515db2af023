//! Whose routes a Function's may be in conflict with, as the caches know them.

use std::{collections::BTreeSet, sync::Arc};

use controller_runtime::children;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::{core::Function, gateway_api::resources::HttpRoute};

use super::{
    conflict::{self, Others},
    route,
};
use crate::Context;

impl Others for Context {
    fn with_hostname(&self, host: &str) -> Vec<Arc<HttpRoute>> {
        self.by_hostname.get(host)
    }

    fn owner(&self, route: &HttpRoute) -> Option<Arc<Function>> {
        let owner = children::controller::<_, Function>(route).into_iter().next()?;
        self.function(&owner.namespace.unwrap_or_default(), &owner.name)
    }

    fn function(&self, namespace: &str, name: &str) -> Option<Arc<Function>> {
        let function = self.functions.store().get(&ObjectRef::new(name).within(namespace));
        function.filter(|function| function.metadata.deletion_timestamp.is_none())
    }
}

/// The Functions that a change of a route may concern, from what it was to what it is: those that lose to what it
/// claims, and those that have lost something to its owner, which may have given it up.
pub fn rivals(context: &Context, was: Option<&HttpRoute>, is: Option<&HttpRoute>) -> Vec<ObjectRef<Function>> {
    let mut rivals = Vec::new();
    if let Some(is) = is.filter(|is| !route::is_aside(is))
        && let Some(owner) = context.owner(is)
    {
        let hostnames: BTreeSet<_> = is.spec.hostnames.iter().collect();
        for hostname in &hostnames {
            // Their claim is not in their routes yet.
            let mut waiting = context.certified_by_hostname.get(hostname);
            waiting.retain(|other| conflict::age(&owner) < conflict::age(other));
            rivals.extend(waiting.iter().map(|other| ObjectRef::from_obj(&**other)));
        }
        for route in hostnames.into_iter().flat_map(|hostname| context.by_hostname.get(hostname)) {
            let Some(other) = context.owner(&route) else { continue };
            // Between namespaces a hostname may belong to one Function by right, whatever the other claims on it.
            let is_elsewhere = other.namespace() != owner.namespace();
            if is_elsewhere || conflict::age(&owner) < conflict::age(&other) && conflict::meet(is, &route) {
                rivals.push(ObjectRef::from_obj(&*other));
            }
        }
    }
    if let Some(was) = was {
        let owner = children::controller::<_, Function>(was);
        rivals.extend(owner.iter().flat_map(|owner| context.losers.of(owner)));
    }
    rivals
}

/// The Functions that another one concerns which comes or goes: their routes have its internal name, or they have lost
/// something to it.
pub fn claimants(context: &Context, of: &ObjectRef<Function>) -> Vec<ObjectRef<Function>> {
    let mut domains: BTreeSet<_> =
        context.gateways.store().state().iter().map(|gateway| gateway.spec.cluster_domain.clone()).collect();
    domains.insert(context.cluster_domain.clone());
    let namespace = of.namespace.as_deref().unwrap_or_default();
    let short = format!("{}.{namespace}", of.name);
    let names = domains.into_iter().map(|domain| format!("{short}.svc.{domain}"));
    let names = names.chain([format!("{short}.svc"), short.clone()]).collect::<Vec<_>>();
    let routes = names.into_iter().flat_map(|name| context.by_hostname.get(&name));
    let mut claimants: Vec<_> = routes.flat_map(|route| children::controller::<_, Function>(&*route)).collect();
    claimants.retain(|claimant| claimant != of);
    claimants.extend(context.losers.of(of));
    claimants
}
