//! When a route may leave a Gateway that its Functions have moved from (GW23).

use std::time::Duration;

use controller_runtime::apply::Converged;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::gateway_api::resources::{HttpRoute, ParentReference};

use super::{
    route::Routed,
    service::{self, name_of},
    status,
};
use crate::{
    Context,
    gateway::{self, LISTENER_SET, is_of},
};

/// Time after which it is looked again whether the entry has moved, which wakes nobody.
const SOON: Duration = Duration::from_secs(1);

/// Whether a route may leave the Gateway that it comes from: the new one has accepted it, the function is entered by
/// the new one, and whoever has the old address in a cache has had time to forget it (GW23).
pub fn may_leave(
    routed: Routed<'_>,
    context: &Context,
    main: &HttpRoute,
    asked: &[ParentReference],
    converged: &mut Converged,
) -> bool {
    let function = routed.function;
    let target = gateway::target(routed.gateway).unwrap_or_default();
    let has_other = main.spec.parent_refs.iter().any(|parent| !is_of(parent, &target) && exists(context, parent));
    if !has_other {
        return true;
    }
    let entry = context.entry_name(routed.gateway);
    let at = |name: &str, namespace: Option<String>| {
        context.services.store().get(&ObjectRef::new(name).within(&namespace.unwrap_or_default()))
    };
    let leads_there =
        at(&entry, routed.gateway.namespace()).is_some_and(|service| gateway::leads_to(&service, &target));
    let through = service::through(function, &function.name_any(), routed.gateway, &entry);
    let is_entered =
        at(&function.name_any(), function.namespace()).is_some_and(|live| name_of(&live) == name_of(&through));
    let is_there = status::is_accepted_by(main, asked) && leads_there && is_entered;
    let key = format!("move of route {}", main.uid().unwrap_or_default());
    let since = context.since(&key, &format!("{target:?} {is_there}"));
    if is_there && since >= context.move_time {
        return true;
    }
    converged.look_again(if is_there { context.move_time.saturating_sub(since) } else { SOON });
    false
}

/// Whether there is what a parent of a route means.
pub fn exists(context: &Context, parent: &ParentReference) -> bool {
    let (name, namespace) = (parent.name.as_str(), parent.namespace.as_deref().unwrap_or_default());
    if parent.kind == LISTENER_SET {
        return context.listener_sets.store().get(&ObjectRef::new(name).within(namespace)).is_some();
    }
    context.kubernetes_gateways.store().get(&ObjectRef::new(name).within(namespace)).is_some()
}
