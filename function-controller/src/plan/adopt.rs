//! What the original left behind (design §5): its status knows no generation, its hashes are of another kind, and its
//! children have random names. What it has built and what it runs stay as they are until something else is asked for.

use std::sync::Arc;

use controller_runtime::{children::is_of_the_original, contained::difference};
use kube::ResourceExt;
use openfunction_proto::core::{
    Builder, BuilderSpec, FunctionSpec, FunctionStatus, Serving, ServingSpec, TrafficTarget, is_over,
};
use serde_json::{Value, json};

use super::{World, newest, serve::revision};
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
            build.resource_hash = Some(names::build_hash(world.function, spec, None));
        }
    }
    // It says only which revision was the last that ran.
    if status.traffic.is_empty()
        && let Some(name) = status.serving.as_ref().and_then(|serving| serving.last_successful_resource_ref.clone())
        && let Some(live) = world.serving(&name).filter(|live| is_of_the_original(live) && world.is_ready(&name))
    {
        let backend = live.status.as_ref().and_then(|status| status.backend.clone());
        status.traffic = vec![TrafficTarget { revision: name, percent: 100, tag: None, backend }];
    }
    status
}

/// The revision of the original that runs what is asked for, unless it could not be taken over.
pub(super) fn taken_over<'a>(world: &'a World, asked: &ServingSpec) -> Option<&'a Arc<Serving>> {
    let is_asked_for = |live: &&Arc<Serving>| {
        is_of_the_original(live)
            && !live.is_given_up()
            && names::passed_on(&***live) == names::passed_on(world.function)
            && is_same(&pods(asked), &pods(&asked_by(world, live)))
    };
    newest(world.servings.iter().filter(is_asked_for))
}

/// The revision that the Function would have if it asked for what a Serving does, whatever is said or left to defaults.
fn asked_by(world: &World, live: &Serving) -> ServingSpec {
    let mut function = world.function.clone();
    function.spec.version.clone_from(&live.spec.version);
    function.spec.image_credentials.clone_from(&live.spec.image_credentials);
    function.spec.serving = Some(live.spec.serving.clone());
    let spec = function.spec_with_defaults(&world.settings.default_gateway);
    revision(&spec, spec.serving.as_ref().unwrap_or(&live.spec.serving), &live.spec.image)
}

/// What the original's workloads come from: it knows no change in place.
fn pods(spec: &ServingSpec) -> Value {
    let mut pods = spec.revision();
    pods["scaleOptions"] = json!(spec.serving.scale_options);
    if let Some(http) = spec.serving.http() {
        // It knows Knative and KEDA's add-on, which reads hostnames and paths of the route.
        match http.engine.as_deref() {
            None | Some("" | "auto") => pods["triggers"]["http"]["engine"] = json!("knative"),
            Some("keda") => pods["triggers"]["http"]["route"] = json!(http.route),
            Some(_) => {}
        }
    }
    pods
}

fn is_same(one: &Value, other: &Value) -> bool {
    difference(one, other).is_none() && difference(other, one).is_none()
}

/// Whether a Builder asks for the build of a spec, however its values are written.
fn asks_for(builder: &Builder, spec: &FunctionSpec) -> bool {
    let wanted = names::built(&spec.image, spec.image_credentials.as_ref(), spec.build.as_ref());
    let BuilderSpec { image, image_credentials, build, .. } = &builder.spec;
    let live = names::built(image, image_credentials.as_ref(), Some(build));
    is_same(&wanted, &live)
}
