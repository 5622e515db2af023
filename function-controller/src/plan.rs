//! What a Function needs now: which Builder and Servings should exist, where its traffic goes, and what may go.
//!
//! One pure function of what is observed; it assumes nothing about how that came about.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use controller_runtime::{
    children,
    conditions::{self, NewCondition},
    traffic,
};
use jiff::Timestamp;
use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::core::{
    Builder, BuilderSpec, Function, FunctionCondition, FunctionSpec, FunctionStatus, GatewayRef, NOTES, RevisionStatus,
    Serving, ServingSpec, TrafficTarget, is_over,
};

use crate::{
    ABOUT, names,
    status::{self, BUILD_READY, Ready, SERVING_READY},
};

/// Settings of the installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The OpenFunction Gateway of functions that name none.
    pub default_gateway: GatewayRef,
    /// The engine of HTTP functions that name none.
    pub http_engine: String,
    /// How long a revision is kept after the last route to it has gone.
    pub grace: Duration,
}

/// What is observed.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// The Function.
    pub function: &'a Function,
    /// Its Builders.
    pub builders: &'a [Arc<Builder>],
    /// Its Servings.
    pub servings: &'a [Arc<Serving>],
    /// Whether an HTTPRoute of it exists.
    pub has_route: bool,
    /// Servings that no route leads to, and since when that is known.
    pub unrouted: &'a BTreeMap<String, Timestamp>,
    /// Whether the cluster serves Knative.
    pub has_knative: bool,
    /// Settings of the installation.
    pub settings: &'a Settings,
    /// Now.
    pub now: Timestamp,
}

/// What is to be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Builders that have not ended and shall.
    pub cancel: Vec<Builder>,
    /// The Builder that should exist.
    pub builder: Option<Builder>,
    /// The Servings that should exist as they are here.
    pub servings: Vec<Serving>,
    /// Builders that may go.
    pub obsolete_builders: Vec<Arc<Builder>>,
    /// Servings that may go.
    pub obsolete_servings: Vec<Arc<Serving>>,
    /// Servings that no route leads to.
    pub unrouted: Vec<String>,
    /// The part of the status that this controller owns.
    pub status: FunctionStatus,
    /// When to look again, if nothing changes.
    pub look_again: Option<Duration>,
}

/// Decides.
pub fn plan(world: &World) -> Plan {
    let spec = world.function.spec.with_defaults(&world.settings.default_gateway);
    let before = world.function.status.clone().unwrap_or_default();
    let mut plan = Plan::default();
    let image = build(world, &spec, &before, &mut plan);
    let serving = serve(world, &spec, &before, image.as_deref(), &mut plan);
    retire(world, &spec, &before, &mut plan);
    prune_builders(world, &spec, &mut plan);
    plan.status.serving = Some(serving);
    plan.status.observed_generation = world.function.metadata.generation;
    let ready =
        Ready { function: world.function, spec: &spec, before: &before, traffic: &plan.status.traffic, now: world.now };
    let (ready, wait) = ready.judge(&plan.status);
    plan.look_again = plan.look_again.into_iter().chain(wait).min();
    status::set(world, &mut plan.status, ready);
    status::blocked_by(world.function, &mut plan.status);
    plan
}

/// Plans the build. Returns the image that may run, by digest if it was built.
fn build(world: &World, spec: &FunctionSpec, before: &FunctionStatus, plan: &mut Plan) -> Option<String> {
    let hash = names::build_hash(world.function, spec);
    let old = before.build.clone().unwrap_or_default();
    if spec.build.is_none() {
        plan.cancel = running(world, None);
        plan.status.build = Some(FunctionCondition {
            state: Some("Skipped".to_owned()),
            resource_hash: Some(hash),
            ..Default::default()
        });
        status::set(world, &mut plan.status, NewCondition::true_(BUILD_READY, "Skipped", "nothing is to be built"));
        return Some(spec.image.clone());
    }
    let name = builder_name(world, before, &hash);
    plan.cancel = running(world, Some(&name));
    let is_present = old.resource_ref.as_ref() == Some(&name) && old.resource_hash.as_ref() == Some(&hash);
    let builder = world.builders.iter().find(|builder| builder.name_any() == name);
    let present = match builder {
        Some(builder) => mirror_build(builder, &hash),
        // A Builder that has ended may be gone: it is not built again for that (B-10).
        None if is_present && is_over(old.state.as_deref()) => old,
        // One build at a time.
        None if !plan.cancel.is_empty() => FunctionCondition {
            state: None,
            // Otherwise the spec before would find its cancelled Builder again.
            resource_hash: None,
            reason: Some("Canceling".to_owned()),
            message: Some(format!("waiting for the end of Builder {}", plan.cancel[0].name_any())),
            ..old
        },
        None => FunctionCondition {
            state: Some("Created".to_owned()),
            resource_ref: Some(name.clone()),
            resource_hash: Some(hash.clone()),
            ..Default::default()
        },
    };
    let waits = present.resource_ref.as_ref() != Some(&name);
    if !waits && !is_over(present.state.as_deref()) {
        plan.builder = Some(wanted_builder(world.function, spec, &name, &hash));
    }
    // A finished Builder says what it made; without it, the status still does.
    let output =
        builder.and_then(|builder| builder.status.as_ref()).filter(|_| present.state.as_deref() == Some("Succeeded"));
    plan.status.sources = output.map_or(before.sources.clone(), |status| status.sources.clone());
    let digest = match output {
        // Of this build, or none: never that of another image (B-13).
        Some(status) => status.output.as_ref().and_then(|output| output.digest.clone()),
        None => before.revision.as_ref().and_then(|revision| revision.image_digest.clone()),
    };
    plan.status.revision =
        Some(RevisionStatus { image_digest: digest.clone(), ..Default::default() }).filter(|_| digest.is_some());
    let condition = status::of_build(&present);
    status::set(world, &mut plan.status, condition);
    let is_built = present.state.as_deref() == Some("Succeeded");
    plan.status.build = Some(present);
    is_built.then(|| by_digest(&spec.image, digest.as_deref()))
}

/// The name of the Builder that should exist for a hash.
fn builder_name(world: &World, before: &FunctionStatus, hash: &str) -> String {
    let old = before.build.clone().unwrap_or_default();
    let is_superseded = |name: &str| {
        world
            .builders
            .iter()
            .any(|builder| builder.name_any() == name && builder.annotations().contains_key(SUPERSEDED))
    };
    if let (Some(recorded), Some(name)) = (&old.resource_hash, &old.resource_ref)
        && recorded == hash
        && !is_superseded(name)
    {
        return name.clone();
    }
    // Without `status.build`, either its write was lost, or the revision controller of old took it away to have the
    // same built again (core-behaviour §2.8); then the rest of the status stands.
    let is_reset = before.build.is_none() && before.serving.is_some();
    let goes_on = |builder: &&Arc<Builder>| {
        let state = builder.status.as_ref().and_then(|status| status.state.as_deref());
        builder.annotations().get(RESOURCE_HASH).is_some_and(|recorded| recorded == hash)
            && builder.spec.state.as_deref() != Some("Cancelled")
            && !(is_reset && is_over(state))
    };
    if let (None, Some(builder)) = (&before.build, newest(world.builders.iter().filter(goes_on))) {
        return builder.name_any();
    }
    let newest = newest(world.builders.iter()).map(|builder| builder.name_any()).filter(|_| is_reset);
    let function = world.function.name_any();
    let mut name = names::builder(&function, hash, old.resource_ref.or(newest).as_deref().unwrap_or_default());
    // One that was cancelled on the way will never build anything.
    let is_cancelled = |name: &str| {
        let cancelled = |builder: &Arc<Builder>| builder.spec.state.as_deref() == Some("Cancelled");
        world.builders.iter().any(|builder| builder.name_any() == name && cancelled(builder))
    };
    while is_cancelled(&name) {
        name = names::builder(&function, hash, &name);
    }
    name
}

/// Annotation of a Builder with the hash of what asked for it.
const RESOURCE_HASH: &str = "openfunction.io/resource-hash";

/// Annotation of a Builder that was cancelled for another one; without it, a user has cancelled it.
const SUPERSEDED: &str = "openfunction.io/superseded";

fn mirror_build(builder: &Builder, hash: &str) -> FunctionCondition {
    let status = builder.status.clone().unwrap_or_default();
    FunctionCondition {
        state: status.state.filter(|state| !state.is_empty()).or_else(|| Some("Created".to_owned())),
        reason: status.reason,
        message: status.message,
        build_duration: status.build_duration,
        resource_ref: Some(builder.name_any()),
        resource_hash: Some(hash.to_owned()),
        ..Default::default()
    }
}

/// Builders, other than one, that have not ended, as they are when they are cancelled.
fn running(world: &World, but: Option<&str>) -> Vec<Builder> {
    let runs = |builder: &&Arc<Builder>| {
        let state = builder.status.as_ref().and_then(|status| status.state.as_deref());
        !is_over(state) && Some(builder.name_any().as_str()) != but
    };
    let cancelled = |builder: &Arc<Builder>| {
        let hash = builder.annotations().get(RESOURCE_HASH).cloned().unwrap_or_default();
        let mut metadata = builder_metadata(world.function, &builder.name_any(), &hash);
        metadata.annotations.get_or_insert_default().insert(SUPERSEDED.to_owned(), "true".to_owned());
        let spec = BuilderSpec { state: Some("Cancelled".to_owned()), ..builder.spec.clone() };
        Builder { metadata, spec, status: None }
    };
    world.builders.iter().filter(runs).map(cancelled).collect()
}

fn newest<'a>(builders: impl Iterator<Item = &'a Arc<Builder>>) -> Option<&'a Arc<Builder>> {
    builders.max_by_key(|builder| (builder.creation_timestamp().map(|time| time.0), builder.name_any()))
}

fn builder_metadata(function: &Function, name: &str, hash: &str) -> ObjectMeta {
    let mut metadata = children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    metadata.annotations = Some([(RESOURCE_HASH.to_owned(), hash.to_owned())].into());
    metadata
}

fn wanted_builder(function: &Function, spec: &FunctionSpec, name: &str, hash: &str) -> Builder {
    let metadata = builder_metadata(function, name, hash);
    let spec = BuilderSpec {
        image: spec.image.clone(),
        image_credentials: spec.image_credentials.clone(),
        state: None,
        build: spec.build.clone().unwrap_or_default(),
    };
    Builder { metadata, spec, status: None }
}

/// `repository:tag@sha256:…`
fn by_digest(image: &str, digest: Option<&str>) -> String {
    let name = image.split('@').next().unwrap_or(image);
    digest.map_or_else(|| image.to_owned(), |digest| format!("{name}@{digest}"))
}

/// Finished Builders beyond the limits go, the oldest first (goals BU17, BU18).
fn prune_builders(world: &World, spec: &FunctionSpec, plan: &mut Plan) {
    let state = |builder: &Builder| builder.status.as_ref().and_then(|status| status.state.clone());
    let mut over: Vec<_> = world.builders.iter().filter(|builder| is_over(state(builder).as_deref())).collect();
    over.sort_by_key(|builder| {
        std::cmp::Reverse((builder.creation_timestamp().map(|time| time.0), builder.name_any()))
    });
    let limit =
        |limit: Option<Option<i32>>, default: i32| usize::try_from(limit.flatten().unwrap_or(default)).unwrap_or(0);
    let good = limit(spec.build.as_ref().map(|build| build.successful_builds_history_limit), 0);
    let bad = limit(spec.build.as_ref().map(|build| build.failed_builds_history_limit), 1);
    // What a Builder says must stand in the status before it goes.
    let is_told = |builder: &Builder| {
        let told = world.function.status.as_ref().and_then(|status| status.build.as_ref());
        told.is_none_or(|told| {
            told.resource_ref.as_deref() != Some(&builder.name_any()) || told.state == state(builder)
        })
    };
    let (succeeded, failed): (Vec<_>, Vec<_>) =
        over.into_iter().partition(|builder| state(builder).as_deref() == Some("Succeeded"));
    let obsolete = succeeded.into_iter().skip(good).chain(failed.into_iter().skip(bad));
    plan.obsolete_builders = obsolete.filter(|builder| is_told(builder)).cloned().collect();
}

/// Plans the present revision and where requests go.
fn serve(
    world: &World,
    spec: &FunctionSpec,
    before: &FunctionStatus,
    image: Option<&str>,
    plan: &mut Plan,
) -> FunctionCondition {
    let old = before.serving.clone().unwrap_or_default();
    let Some(serving) = &spec.serving else {
        status::set(world, &mut plan.status, NewCondition::true_(SERVING_READY, "Skipped", "nothing is to be run"));
        return FunctionCondition { state: Some("Skipped".to_owned()), ..Default::default() };
    };
    // What answers now goes on until the new revision can take over.
    let exists = |target: &TrafficTarget| world.servings.iter().any(|serving| serving.name_any() == target.revision);
    plan.status.traffic = before.traffic.iter().filter(|target| exists(target)).cloned().collect();
    let Some(image) = image else {
        let (reason, message) = ("WaitingForBuild", "the image is not built yet");
        status::set(world, &mut plan.status, NewCondition::unknown(SERVING_READY, reason, message));
        in_place(world, spec, None, plan);
        return old;
    };
    let mut revision = ServingSpec {
        version: spec.version.clone(),
        image: image.to_owned(),
        image_credentials: spec.image_credentials.clone(),
        suspend: false,
        serving: serving.clone(),
    };
    revision.serving.traffic.clear();
    let (revision, hash, name) = with_engine(world, revision, old.resource_ref.as_deref());
    let latest = world.servings.iter().find(|serving| serving.name_any() == name);
    plan.servings.push(wanted_serving(world.function, revision, &name));
    in_place(world, spec, Some(&name), plan);

    let status = latest.and_then(|latest| latest.status.clone()).unwrap_or_default();
    let is_current = latest.is_some_and(|latest| status.observed_generation == latest.metadata.generation);
    let is_ready = is_current && conditions::is_true(&status.conditions, "Ready", status.observed_generation);
    if is_ready {
        let backend = status.backend.clone();
        plan.status.traffic = vec![TrafficTarget { revision: name.clone(), percent: 100, tag: None, backend }];
    }
    // What a user should know of the revision stands where users look.
    for note in &status.conditions {
        if let Some(type_) = NOTES.iter().find(|type_| note.type_ == **type_ && note.status == "True") {
            let note = NewCondition::true_(type_, note.reason.clone(), note.message.clone());
            status::set(world, &mut plan.status, note);
        }
    }
    let present = FunctionCondition {
        state: status.state.filter(|state| !state.is_empty()).or_else(|| Some("Created".to_owned())),
        reason: status.reason,
        message: status.message,
        resource_ref: Some(name.clone()),
        last_successful_resource_ref: if is_ready { Some(name) } else { old.last_successful_resource_ref },
        resource_hash: Some(names::decimal(&hash)),
        service: if is_ready { status.url } else { old.service },
        build_duration: None,
    };
    status::set(world, &mut plan.status, status::of_serving(&present, is_ready));
    present
}

fn wanted_serving(function: &Function, spec: ServingSpec, name: &str) -> Serving {
    let mut metadata = children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    let passed = names::passed_on(function);
    metadata.annotations = Some(passed).filter(|passed| !passed.is_empty());
    Serving { metadata, spec, status: None }
}

/// A revision with its engine, its hash and its name. The engine is decided once, when the revision is made: one that is
/// there keeps its own, whatever the cluster or the installation's default has become (design §7).
fn with_engine(world: &World, revision: ServingSpec, present: Option<&str>) -> (ServingSpec, String, String) {
    let (function, annotations) = (world.function.name_any(), names::passed_on(world.function));
    let named = |engine: Option<&str>| {
        let mut revision = revision.clone();
        if let Some(http) = revision.serving.triggers.as_mut().and_then(|triggers| triggers.http.as_mut()) {
            http.engine = engine.map(str::to_owned);
        }
        let hash = names::serving_hash(&function, &annotations, &revision);
        let name = names::serving(&function, &hash);
        (revision, hash, name)
    };
    let Some(http) = revision.serving.http() else { return named(None) };
    let asked = http.engine.as_deref();
    let choice: &[&str] = match asked {
        None => &["knative", "native", "keda"],
        Some("auto") => &["knative", "native"],
        Some(engine) => return named(Some(engine)),
    };
    let exists = |name: &str| world.servings.iter().any(|serving| serving.name_any() == name);
    let known: Vec<_> = choice.iter().map(|engine| named(Some(engine))).filter(|(_, _, name)| exists(name)).collect();
    let is_present = |(_, _, name): &&(ServingSpec, String, String)| present == Some(name);
    known.iter().find(is_present).or(known.first()).cloned().unwrap_or_else(|| {
        let default = if world.has_knative { "knative" } else { "native" };
        let engine = asked.unwrap_or(&world.settings.http_engine);
        named(Some(if engine == "auto" { default } else { engine }))
    })
}

/// Other revisions with traffic get what changes in place, too.
fn in_place(world: &World, spec: &FunctionSpec, latest: Option<&str>, plan: &mut Plan) {
    let Some(serving) = &spec.serving else { return };
    for other in world.servings {
        let name = other.name_any();
        let has_traffic = plan.status.traffic.iter().any(|target| target.revision == name);
        if !has_traffic || Some(name.as_str()) == latest {
            continue;
        }
        let mut revision = other.spec.clone();
        revision.serving.scale_options = serving.scale_options.clone();
        revision.serving.timeout = serving.timeout.clone();
        revision.serving.knative_service = serving.knative_service.clone();
        let http = revision.serving.triggers.as_mut().and_then(|triggers| triggers.http.as_mut());
        if let (Some(http), Some(wanted)) = (http, serving.http()) {
            http.route = wanted.route.clone();
        }
        plan.servings.push(wanted_serving(world.function, revision, &name));
    }
}

/// Plans which Servings may go: those that no route leads to any more, after a while (design §4, B-26).
fn retire(world: &World, spec: &FunctionSpec, before: &FunctionStatus, plan: &mut Plan) {
    let needs_route = spec.serving.as_ref().is_some_and(|serving| serving.needs_route());
    let targets = plan.status.traffic.clone();
    let kept = |name: &str| {
        plan.servings.iter().any(|serving| serving.name_any() == name)
            || targets.iter().any(|target| target.revision == name)
    };
    let route = before.route.clone().unwrap_or_default();
    let is_observed = before.traffic == targets && route.observed_traffic.as_deref() == Some(&traffic::hash(&targets));
    // Without a build there is no present revision to compare with: everything is kept until there is one.
    let waits_for_build = spec.serving.is_some() && plan.servings.is_empty() && targets.is_empty();
    for serving in world.servings {
        let name = serving.name_any();
        if kept(&name) || waits_for_build {
            continue;
        }
        // Nothing leads there, and nothing will: the traffic that was written does not.
        if !world.has_route && before.traffic == targets && (!needs_route || targets.is_empty()) {
            plan.obsolete_servings.push(serving.clone());
            continue;
        }
        if !needs_route || !is_observed || route.revisions.contains(&name) {
            continue;
        }
        let since = world.unrouted.get(&name).copied().unwrap_or(world.now);
        let left = world.settings.grace.saturating_sub(elapsed(since, world.now));
        plan.unrouted.push(name);
        if left.is_zero() {
            plan.obsolete_servings.push(serving.clone());
        } else {
            plan.look_again = plan.look_again.into_iter().chain([left]).min();
        }
    }
}

/// Time between two points, none if the clock went back.
pub(crate) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
