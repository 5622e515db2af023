//! Whose routes a Function's may be in conflict with, as the caches know them.

use std::sync::Arc;

use controller_runtime::{children, traffic::ROUTE_READY};
use kube::runtime::reflector::ObjectRef;
use openfunction_proto::{core::Function, gateway_api::resources::HttpRoute};

use super::{
    conflict::{self, Others},
    reconcile::ROUTE_CONFLICT,
    route,
};
use crate::Context;

impl Others for Context {
    fn with_hostname(&self, host: &str) -> Vec<Arc<HttpRoute>> {
        let mut routes = self.routes.store().state();
        routes.retain(|route| route.spec.hostnames.iter().any(|other| other == host));
        routes
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
    let changed: Vec<_> = both.iter().copied().flatten().filter(|route| !route::is_short(route)).collect();
    let Some(owner) = changed.first().map(|route| children::controller::<_, Function>(*route)) else { return rivals };
    for route in context.routes.store().state() {
        if changed.iter().any(|changed| conflict::meet(changed, &route)) {
            rivals.extend(
                children::controller::<_, Function>(&*route).into_iter().filter(|rival| !owner.contains(rival)),
            );
        }
    }
    if was.is_some() {
        let has_lost = |function: &Arc<Function>| {
            let mut conditions = function.status.iter().flat_map(|status| &status.conditions);
            conditions.any(|condition| condition.type_ == ROUTE_READY && condition.reason == ROUTE_CONFLICT)
        };
        let losers = context.functions.store().state().into_iter().filter(has_lost);
        rivals.extend(losers.map(|function| ObjectRef::from_obj(&*function)).filter(|loser| !owner.contains(loser)));
    }
    rivals
}
