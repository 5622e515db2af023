//! What the original left behind (design §5): its status knows no generation, and its hashes are of another kind.

use controller_runtime::contained::difference;
use kube::ResourceExt;
use openfunction_proto::core::{Builder, BuilderSpec, FunctionSpec, FunctionStatus, is_over};
use serde_json::Value;

use super::World;
use crate::names;

/// A status of the original as if it were ours: what it has built is not built again (FN22, B-21).
pub(super) fn of_the_original(world: &World, spec: &FunctionSpec, mut status: FunctionStatus) -> FunctionStatus {
    let is_original = status.observed_generation.is_none();
    if let Some(build) =
        status.build.as_mut().filter(|build| is_original && spec.build.is_some() && build.resource_hash.is_some())
        && let Some(name) = &build.resource_ref
    {
        // It was deleted as soon as it had succeeded, unless the Function said otherwise: then its state is all there is.
        let is_of_spec = match world.builders.iter().find(|builder| builder.name_any() == *name) {
            Some(builder) => asks_for(builder, spec),
            None => is_over(build.state.as_deref()),
        };
        if is_of_spec {
            build.resource_hash = Some(names::build_hash(world.function, spec));
        }
    }
    status
}

/// Whether a Builder asks for the build of a spec, however its values are written.
fn asks_for(builder: &Builder, spec: &FunctionSpec) -> bool {
    let wanted = names::built(&spec.image, spec.image_credentials.as_ref(), spec.build.as_ref());
    let BuilderSpec { image, image_credentials, build, .. } = &builder.spec;
    let live = names::built(image, image_credentials.as_ref(), Some(build));
    let is_within = |one: &Value, other: &Value| difference(one, other).is_none();
    is_within(&wanted, &live) && is_within(&live, &wanted)
}
