//! What a Function needs now: which Builder and Servings should exist, where its traffic goes, and what may go.
//!
//! One pure function of what is observed; it assumes nothing about how that came about.

mod adopt;
mod follow;
mod serve;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use controller_runtime::{children, conditions::NewCondition};
use jiff::Timestamp;
use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::core::{
    Builder, BuilderSpec, Function, FunctionCondition, FunctionSpec, FunctionStatus, GatewayRef, RevisionStatus,
    Serving, is_over,
};

use crate::{
    ABOUT, names,
    status::{self, BUILD_READY, Ready, SERVING_READY, SUSPENDED},
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
    /// Servings that have requests, or shall have them.
    running: BTreeSet<String>,
    /// Servings among them that fail.
    failing: Vec<String>,
    /// The Serving of the present spec.
    latest: Option<String>,
    /// The part of the status that this controller owns.
    pub status: FunctionStatus,
    /// When to look again, if nothing changes.
    pub look_again: Option<Duration>,
}

/// The image that may run.
enum Image {
    /// As it was typed, or by the digest of the present build.
    Built(String),
    /// The present build has not ended well.
    Pending,
}

/// Decides.
pub fn plan(world: &World) -> Plan {
    let spec = world.function.spec_with_defaults(&world.settings.default_gateway);
    let before = adopt::of_the_original(world, &spec, world.function.status.clone().unwrap_or_default());
    let mut plan = Plan::default();
    let image = build(world, &spec, &before, &mut plan);
    let serving = serve::serve(world, &spec, &before, &image, &mut plan);
    serve::retire(world, &spec, &before, &mut plan);
    prune_builders(world, &spec, &mut plan);
    plan.status.serving = Some(serving);
    plan.status.observed_generation = world.function.metadata.generation;
    if spec.suspend == Some(true) {
        hold(world, &before, &mut plan);
    }
    let ready =
        Ready { function: world.function, spec: &spec, before: &before, traffic: &plan.status.traffic, now: world.now };
    let (ready, wait) = ready.judge(&plan.status);
    plan.look_again = plan.look_again.into_iter().chain(wait).min();
    status::set(world, &mut plan.status, ready);
    status::blocked_by(world, &plan.failing, &mut plan.status);
    plan
}

/// Nothing is started, changed or taken away as long as the Function is suspended (goals FN36); what is on its way goes
/// on, and is told.
fn hold(world: &World, before: &FunctionStatus, plan: &mut Plan) {
    let builder = plan.builder.take();
    let waits = |wanted: &Builder| !world.builders.iter().any(|builder| builder.name_any() == wanted.name_any());
    if builder.as_ref().is_some_and(waits) || !plan.cancel.is_empty() {
        plan.status.build = before.build.clone();
        plan.status.revision = before.revision.clone();
        status::set(world, &mut plan.status, NewCondition::unknown(BUILD_READY, SUSPENDED, HELD));
    }
    let differs = |wanted: &Serving| world.serving(&wanted.name_any()).is_none_or(|live| live.spec != wanted.spec);
    if plan.servings.iter().any(differs) || plan.status.traffic != before.traffic {
        // What runs goes on being told, and may move.
        plan.status.serving = Some(serve::waiting(world, before.serving.clone().unwrap_or_default()));
        plan.status.traffic = serve::as_now(world, &before.traffic);
        status::set(world, &mut plan.status, NewCondition::unknown(SERVING_READY, SUSPENDED, HELD));
    }
    status::set(world, &mut plan.status, NewCondition::true_(SUSPENDED, SUSPENDED, HELD));
    let told = (std::mem::take(&mut plan.status), std::mem::take(&mut plan.failing));
    *plan = Plan { status: told.0, failing: told.1, ..Plan::default() };
}

const HELD: &str = "spec.suspend is true: nothing is started, changed or removed";

/// Plans the build. Returns the image that may run, by digest if it was built.
fn build(world: &World, spec: &FunctionSpec, before: &FunctionStatus, plan: &mut Plan) -> Image {
    let revision = follow::follow(world, spec, before);
    let hash = names::build_hash(world.function, spec, follow::asks_for_build(&revision, spec));
    let old = before.build.clone().unwrap_or_default();
    if spec.build.is_none() {
        plan.cancel = running(world, None);
        plan.status.build = Some(FunctionCondition {
            state: Some("Skipped".to_owned()),
            resource_hash: Some(hash),
            ..Default::default()
        });
        status::set(world, &mut plan.status, NewCondition::true_(BUILD_READY, "Skipped", "nothing is to be built"));
        let found = follow::image(&revision, spec, None);
        let digest =
            found.as_ref().map(|(_, digest)| digest.clone()).or_else(|| typed_digest(world, spec, before, &revision));
        let image = found.map_or_else(|| spec.image.clone(), |(image, _)| image);
        plan.status.revision = with_digest(revision, digest.clone());
        return Image::Built(by_digest(&image, digest.as_deref()));
    }
    let name = builder_name(world, before, &hash);
    plan.cancel = running(world, Some(&name));
    let is_present = old.resource_ref.as_ref() == Some(&name) && old.resource_hash.as_ref() == Some(&hash);
    let builder = world.builders.iter().find(|builder| builder.name_any() == name);
    let is_lost = before.build.is_none() && before.serving.is_none();
    let restored = follow::newest_that_runs(world, |serving| {
        is_lost && serving.annotations().get(BUILD_HASH) == Some(&hash) && serving.spec.image.contains('@')
    });
    let present = match builder {
        Some(builder) => mirror_build(builder, &hash),
        // A Builder that has ended may be gone: it is not built again for that (B-10).
        None if is_present && is_over(old.state.as_deref()) => old,
        // The status is lost, as after a restore from a backup: what was built still runs.
        None if restored.is_some() => FunctionCondition {
            state: Some("Succeeded".to_owned()),
            reason: Some("Succeeded".to_owned()),
            resource_ref: Some(name.clone()),
            resource_hash: Some(hash.clone()),
            ..Default::default()
        },
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
        plan.builder = Some(wanted_builder(world, spec, &revision, &name, &hash));
    }
    // A finished Builder says what it made; without it, the status still does.
    let output =
        builder.and_then(|builder| builder.status.as_ref()).filter(|_| present.state.as_deref() == Some("Succeeded"));
    plan.status.sources = output.map_or(before.sources.clone(), |status| status.sources.clone());
    let is_ignored = |digest: &String| follow::is_rolled_back(&revision, spec, &hash, digest);
    let output = output.map(|status| status.output.as_ref().and_then(|output| output.digest.clone()));
    let found = follow::image(&revision, spec, Some(&hash)).map(|(_, digest)| digest);
    let digest = match (found, output) {
        (Some(found), _) => Some(found),
        // Of this build, or none: never that of another image (B-13). What was rolled back is none.
        (None, Some(digest)) if !digest.as_ref().is_some_and(is_ignored) => digest,
        (None, _) => revision.image_digest.clone().or_else(|| {
            let (_, digest) = restored?.spec.image.split_once('@')?;
            Some(digest.to_owned())
        }),
    };
    plan.status.revision = with_digest(revision, digest.clone());
    let condition = status::of_build(&present);
    status::set(world, &mut plan.status, condition);
    let is_built = present.state.as_deref() == Some("Succeeded");
    plan.status.build = Some(present);
    if is_built { Image::Built(by_digest(&spec.image, digest.as_deref())) } else { Image::Pending }
}

fn with_digest(revision: RevisionStatus, image_digest: Option<String>) -> Option<RevisionStatus> {
    Some(RevisionStatus { image_digest, ..revision }).filter(|revision| *revision != RevisionStatus::default())
}

/// The digest that the old revision controller has found for an image that is not built here: it takes away state and
/// hash of the serving with it (core-behaviour §2.8). It counts for that image only (B-13).
fn typed_digest(
    world: &World,
    spec: &FunctionSpec,
    before: &FunctionStatus,
    revision: &RevisionStatus,
) -> Option<String> {
    let digest = revision.image_digest.clone()?;
    let serving = before.serving.as_ref()?;
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let (named, image) = (serving.resource_ref.as_deref()?, by_digest(&spec.image, Some(&digest)));
    let is_of_image = |serving: &Arc<Serving>| serving.spec.image.split('@').next() == spec.image.split('@').next();
    let is_told_now =
        is_empty(&serving.state) && is_empty(&serving.resource_hash) && world.serving(named).is_none_or(is_of_image);
    // The revision of it may not be seen yet, or be gone.
    let runs = world.servings.iter().any(|serving| serving.spec.image == image)
        || serve::name_of(world, spec, &image, Some(named)).as_deref() == Some(named);
    (is_told_now || runs).then_some(digest)
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
        builder.annotations().get(RESOURCE_HASH).is_some_and(|recorded| recorded == hash)
            && builder.spec.state.as_deref() != Some("Cancelled")
            && !is_reset
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

/// Annotation of a Serving with the hash of what asked for the build of its image.
const BUILD_HASH: &str = "openfunction.io/build-hash";

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

fn newest<'a, K: ResourceExt + 'a>(objects: impl Iterator<Item = &'a Arc<K>>) -> Option<&'a Arc<K>> {
    objects.max_by_key(|object| (object.creation_timestamp().map(|time| time.0), object.name_any()))
}

fn builder_metadata(function: &Function, name: &str, hash: &str) -> ObjectMeta {
    let mut metadata = children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    metadata.annotations = Some([(RESOURCE_HASH.to_owned(), hash.to_owned())].into());
    metadata
}

fn wanted_builder(world: &World, spec: &FunctionSpec, revision: &RevisionStatus, name: &str, hash: &str) -> Builder {
    let mut metadata = builder_metadata(world.function, name, hash);
    // As it was when the Builder was made.
    let asked = match world.builders.iter().find(|builder| builder.name_any() == name) {
        Some(builder) => builder.annotations().get(serve::SERVING_HASH).cloned(),
        None => Some(serve::asked(world.function, spec)),
    };
    let asked = asked.map(|asked| (serve::SERVING_HASH.to_owned(), asked));
    metadata.annotations.get_or_insert_default().extend(asked);
    let spec = BuilderSpec {
        image: spec.image.clone(),
        image_credentials: spec.image_credentials.clone(),
        state: None,
        build: follow::build(revision, spec),
    };
    Builder { metadata, spec, status: None }
}

/// `repository:tag@sha256:…`
fn by_digest(image: &str, digest: Option<&str>) -> String {
    let name = image.split('@').next().unwrap_or(image);
    digest.map_or_else(|| image.to_owned(), |digest| format!("{name}@{digest}"))
}

/// Finished Builders beyond the limits go, the oldest first, and those that are too old (goals BU17–BU19).
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
    let longest =
        spec.build.as_ref().and_then(|build| build.builder_max_age.as_ref()?.to_std()).filter(|age| !age.is_zero());
    let mut is_young = |builder: &Builder| {
        let Some((longest, created)) = longest.zip(builder.creation_timestamp()) else { return true };
        let left = longest.saturating_sub(elapsed(created.0, world.now));
        plan.look_again = plan.look_again.into_iter().chain(Some(left).filter(|left| !left.is_zero())).min();
        !left.is_zero()
    };
    let (young, old): (Vec<_>, Vec<_>) = over.into_iter().partition(|builder| is_young(builder));
    let (succeeded, failed): (Vec<_>, Vec<_>) =
        young.into_iter().partition(|builder| state(builder).as_deref() == Some("Succeeded"));
    let obsolete = old.into_iter().chain(succeeded.into_iter().skip(good)).chain(failed.into_iter().skip(bad));
    plan.obsolete_builders = obsolete.filter(|builder| is_told(builder)).cloned().collect();
}

/// Time between two points, none if the clock went back.
pub(crate) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
