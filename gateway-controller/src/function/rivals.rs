//! Whose routes a Function's may be in conflict with, as the caches know them.

use std::{collections::BTreeSet, sync::Arc};

use controller_runtime::{children, traffic::ROUTE_READY};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::{core::Function, gateway_api::resources::HttpRoute};

use super::{
    conflict::{self, Others},
    reconcile::ROUTE_CONFLICT,
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

/// The Functions that a change of a route may concern, from what it was to what it is: those that claim the same, and,
/// if it gave up something, those that have lost something.
pub fn rivals(context: &Context, was: Option<&HttpRoute>, is: Option<&HttpRoute>) -> Vec<ObjectRef<Function>> {
    let mut rivals = Vec::new();
    let both = [was, is];
    let changed: Vec<_> = both.iter().copied().flatten().filter(|route| !route::is_aside(route)).collect();
    let Some(owner) = changed.first().map(|route| children::controller::<_, Function>(*route)) else { return rivals };
    let hostnames: BTreeSet<_> = changed.iter().flat_map(|route| &route.spec.hostnames).collect();
    for route in hostnames.into_iter().flat_map(|hostname| context.by_hostname.get(hostname)) {
        // Between namespaces a hostname may belong to one Function by right, whatever the other claims on it.
        let concerns =
            |changed: &&HttpRoute| conflict::meet(changed, &route) || changed.namespace() != route.namespace();
        if changed.iter().copied().any(|changed| concerns(&changed)) {
            rivals.extend(children::controller::<_, Function>(&*route));
        }
    }
    if was.is_some() {
        rivals.extend(context.losers.get(ROUTE_CONFLICT).iter().map(|function| ObjectRef::from_obj(&**function)));
    }
    rivals.retain(|rival| !owner.contains(rival));
    rivals
}

/// The Functions whose routes have the internal name of another one.
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
    // Those that have lost it look again when it is free.
    claimants.extend(context.losers.get(ROUTE_CONFLICT).iter().map(|function| ObjectRef::from_obj(&**function)));
    claimants
}

/// [`ROUTE_CONFLICT`] for a Function that has lost something, by which such Functions are found.
pub fn losers(function: &Function) -> Vec<String> {
    let mut conditions = function.status.iter().flat_map(|status| &status.conditions);
    let has_lost = conditions.any(|condition| condition.type_ == ROUTE_READY && condition.reason == ROUTE_CONFLICT);
    has_lost.then(|| ROUTE_CONFLICT.to_owned()).into_iter().collect()
}
