//! Revisions: which Servings should exist, which of them get requests, which are kept for a rollback.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use controller_runtime::{
    children,
    conditions::{self, NewCondition},
    traffic,
};
use kube::ResourceExt;
use openfunction_proto::core::{
    Builder, Function, FunctionCondition, FunctionSpec, FunctionStatus, NOT_READY_YET, NOTES, Serving, ServingImpl,
    ServingSpec, ServingStatus, TrafficRequest, TrafficTarget,
};

use super::{BUILD_HASH, Image, Plan, World, adopt, elapsed, follow, newest};
use crate::{
    ABOUT, names,
    status::{self, SERVING_READY},
};

/// Revisions without traffic that are kept for a rollback, unless the Function says otherwise.
const HISTORY: i32 = 3;

/// Annotation of a Builder with the hash of what was to be run when it was made: a change that came in one edit with
/// a change of the source waits for the build, one that came later does not (B-16).
pub(super) const SERVING_HASH: &str = "openfunction.io/serving-hash";

/// Hash of what is to be run, whatever the image.
pub(super) fn asked(function: &Function, spec: &FunctionSpec) -> String {
    let asked = spec.serving.as_ref().map(|serving| revision(spec, serving, ""));
    let hash = |spec: &ServingSpec| names::serving_hash(&function.name_any(), &names::passed_on(function), spec);
    asked.as_ref().map(hash).unwrap_or_default()
}

/// The revision of an image that a Function asks for; its engine is not decided yet.
pub(super) fn revision(spec: &FunctionSpec, serving: &ServingImpl, image: &str) -> ServingSpec {
    ServingSpec {
        version: spec.version.clone(),
        image: image.to_owned(),
        image_credentials: spec.image_credentials.clone(),
        suspend: false,
        serving: ServingImpl { traffic: Vec::new(), ..serving.clone() },
    }
}

/// A share of the requests, with the revision that is meant.
struct Target<'a> {
    name: String,
    request: &'a TrafficRequest,
}

/// Plans the revisions and where requests go.
pub(super) fn serve(
    world: &World,
    spec: &FunctionSpec,
    before: &FunctionStatus,
    image: &Image,
    plan: &mut Plan,
) -> FunctionCondition {
    let old = before.serving.clone().unwrap_or_default();
    let Some(serving) = &spec.serving else {
        status::set(world, &mut plan.status, NewCondition::true_(SERVING_READY, "Skipped", "nothing is to be run"));
        return FunctionCondition { state: Some("Skipped".to_owned()), ..Default::default() };
    };
    // What answers now goes on until all that shall answer can; where it answers may change meanwhile.
    plan.status.traffic = as_now(world, &before.traffic);
    let image_of_now = match image {
        Image::Built(image) => Some(image.clone()),
        Image::Pending => last_image(world, spec, before, plan),
    };
    let latest =
        image_of_now.map(|image| with_engine(world, revision(spec, serving, &image), old.resource_ref.as_deref()));
    let hash = latest.as_ref().map(|(_, hash, _)| hash.clone());
    let latest = latest.map(|(spec, _, name)| (name, spec));
    let all = [TrafficRequest { latest: Some(true), percent: Some(100), ..TrafficRequest::default() }];
    let requests = if serving.traffic.is_empty() { &all[..] } else { &serving.traffic };
    let targets = match targets(world, serving, requests, latest.as_ref().map(|(name, _)| name.as_str())) {
        Ok(targets) => targets,
        Err(problem) => {
            status::set(world, &mut plan.status, problem);
            plan.running = plan.status.traffic.iter().map(|target| target.revision.clone()).collect();
            plan.servings.extend(plan.running.iter().filter_map(|name| running(world, serving, name)));
            return waiting(world, old);
        }
    };
    let of_targets = targets.iter().map(|target| target.name.clone());
    plan.running = of_targets.chain(plan.status.traffic.iter().map(|target| target.revision.clone())).collect();
    plan.latest = latest.as_ref().map(|(name, _)| name.clone());
    if let Some((name, mut spec)) = latest {
        // One that gets no requests has a name to be referred to, and no pods.
        spec.suspend = !plan.running.contains(&name) && world.serving(&name).is_none_or(|live| live.spec.suspend);
        let mut annotations = names::passed_on(world.function);
        annotations.extend(build_hash(world, &spec, &name, image, plan));
        annotations.extend(follow::annotation(plan.status.revision.as_ref()));
        if world.serving(&name).is_none_or(|live| !children::is_of_the_original(live)) {
            plan.servings.push(wanted_serving(world.function, annotations, spec, &name));
        }
    }
    for name in plan.running.iter().filter(|name| plan.latest.as_ref() != Some(*name)) {
        plan.servings.extend(running(world, serving, name));
    }
    if targets.is_empty() {
        let (reason, message) = ("WaitingForBuild", "the image is not built yet");
        status::set(world, &mut plan.status, NewCondition::unknown(SERVING_READY, reason, message));
        return waiting(world, old);
    }
    if targets.iter().filter(|target| target.gets_requests()).all(|target| world.is_ready(&target.name)) {
        // Under a tag answers what answered there before, until the other one can.
        let under_tag = |target: &Target| {
            let mut standing = plan.status.traffic.iter();
            let known = standing.find(|known| known.tag.is_some() && known.tag == target.request.tag)?;
            Some(TrafficTarget { percent: 0, ..known.clone() })
        };
        let can = |target: &Target| {
            if world.is_ready(&target.name) { Some(target.as_status(world)) } else { under_tag(target) }
        };
        plan.status.traffic = targets.iter().filter_map(can).collect();
    }
    // The revision that is meant by "the function": the latest, unless all requests go to others.
    let present = targets
        .iter()
        .filter(|target| target.gets_requests())
        .max_by_key(|target| (plan.latest.as_ref() == Some(&target.name), target.request.percent));
    let present = present.map(|target| target.name.as_str()).unwrap_or_default();
    let of_present = match world.serving(present) {
        Some(live) if plan.latest.as_deref() != Some(present) => Some(hash_of(live)),
        _ => hash,
    };
    let present = mirror(world, present, of_present.as_deref(), old);
    judge(world, &targets, &present, image, plan);
    present
}

/// The image of before, for as long as there is no other: what runs can be changed whatever becomes of the build
/// (B-16).
fn last_image(world: &World, spec: &FunctionSpec, before: &FunctionStatus, plan: &Plan) -> Option<String> {
    let (old, is_lost) = (before.serving.clone().unwrap_or_default(), before.serving.is_none());
    let asked = asked(world.function, spec);
    let comes_with = |builder: &Builder| builder.annotations().get(SERVING_HASH) == Some(&asked);
    let named = old.resource_ref.as_deref().and_then(|name| world.serving(name));
    // The status is lost, or somebody has deleted the revision: another one that ran has an image that works.
    let is_other = |serving: &&Arc<Serving>| (is_lost && !serving.spec.suspend) || (!is_lost && has_run(serving));
    let Some(present) = named.or_else(|| newest(world.servings.iter().filter(is_other))) else {
        // What was built last stands in the status, and is of this image if its name is.
        let digest = before.revision.as_ref()?.image_digest.as_deref()?;
        return old.last_successful_resource_ref.is_some().then(|| super::by_digest(&spec.image, Some(digest)));
    };
    if !plan.cancel.is_empty() || plan.builder.as_ref().is_some_and(comes_with) {
        // It waits for the build that it came with; what is there already can go on.
        let name = name_of(world, spec, &present.spec.image, old.resource_ref.as_deref())?;
        return world.serving(&name).map(|_| present.spec.image.clone());
    }
    Some(present.spec.image.clone())
}

/// The name of the revision of an image.
pub(super) fn name_of(world: &World, spec: &FunctionSpec, image: &str, present: Option<&str>) -> Option<String> {
    Some(with_engine(world, revision(spec, spec.serving.as_ref()?, image), present).2)
}

/// The revisions that requests name. None, if they mean one that is not built yet.
///
/// # Errors
/// Condition `ServingReady` if they name one that does not exist.
fn targets<'a>(
    world: &World,
    serving: &ServingImpl,
    requests: &'a [TrafficRequest],
    latest: Option<&str>,
) -> Result<Vec<Target<'a>>, NewCondition> {
    if !serving.traffic.is_empty() && serving.http().is_none() {
        let message = "spec.serving.traffic: Forbidden: events go to one revision; only a function with triggers.http can split requests";
        return Err(NewCondition::false_(SERVING_READY, "InvalidTraffic", message));
    }
    let mut targets = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let name = match &request.revision {
            None => match latest {
                Some(latest) => latest.to_owned(),
                None => return Ok(Vec::new()),
            },
            Some(name) if latest == Some(name) || world.serving(name).is_some() => name.clone(),
            Some(name) => {
                let mut known: Vec<_> = world.servings.iter().map(|serving| serving.name_any()).collect();
                known.sort();
                let message = format!(
                    "spec.serving.traffic[{index}].revision: Not found: {name:?}; the revisions are {}",
                    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                );
                return Err(NewCondition::false_(SERVING_READY, "RevisionNotFound", message));
            }
        };
        targets.push(Target { name, request });
    }
    Ok(targets)
}

impl Target<'_> {
    fn gets_requests(&self) -> bool {
        self.request.percent.unwrap_or_default() > 0
    }

    fn as_status(&self, world: &World) -> TrafficTarget {
        let status = world.serving(&self.name).and_then(|serving| serving.status.as_ref());
        TrafficTarget {
            revision: self.name.clone(),
            percent: self.request.percent.unwrap_or_default(),
            tag: self.request.tag.clone(),
            backend: status.and_then(|status| status.backend.clone()),
        }
    }
}

impl World<'_> {
    /// A revision.
    pub(crate) fn serving(&self, name: &str) -> Option<&Arc<Serving>> {
        self.servings.iter().find(|serving| serving.name_any() == name)
    }

    /// Whether a revision answers, as it shall be now.
    pub(super) fn is_ready(&self, name: &str) -> bool {
        let Some(serving) = self.serving(name) else { return false };
        let status = serving.status.clone().unwrap_or_default();
        !serving.spec.suspend
            && status.observed_generation == serving.metadata.generation
            && conditions::is_true(&status.conditions, "Ready", status.observed_generation)
    }
}

/// A traffic with its backends as they are now; what is gone gets none.
pub(super) fn as_now(world: &World, traffic: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let as_now = |target: &TrafficTarget| {
        let status = world.serving(&target.revision)?.status.as_ref();
        let moved = status.and_then(|status| status.backend.clone()).filter(|_| world.is_ready(&target.revision));
        Some(TrafficTarget { backend: moved.or(target.backend.clone()), ..target.clone() })
    };
    traffic.iter().filter_map(as_now).collect()
}

/// What the status says while it is not known what shall run: what is there.
pub(super) fn waiting(world: &World, old: FunctionCondition) -> FunctionCondition {
    match old.resource_ref.clone() {
        Some(name) if world.serving(&name).is_some() => mirror(world, &name, None, old),
        // It is gone: that it runs is no longer true.
        Some(_) => {
            FunctionCondition { state: Some("Created".to_owned()), reason: None, message: None, service: None, ..old }
        }
        None => FunctionCondition { state: Some("Created".to_owned()), ..FunctionCondition::default() },
    }
}

/// What the status says of the present revision.
fn mirror(world: &World, name: &str, hash: Option<&str>, old: FunctionCondition) -> FunctionCondition {
    let status = world.serving(name).and_then(|serving| serving.status.clone());
    // One that was parked begins anew.
    let status = status.filter(|status| !matches!(status.state.as_deref(), None | Some("" | "Suspended")));
    let status = status.unwrap_or_else(|| ServingStatus {
        state: Some("Starting".to_owned()),
        reason: Some("Starting".to_owned()),
        message: Some(NOT_READY_YET.to_owned()),
        ..ServingStatus::default()
    });
    let is_ready = world.is_ready(name);
    FunctionCondition {
        state: status.state,
        reason: status.reason,
        message: status.message,
        resource_ref: Some(name.to_owned()),
        last_successful_resource_ref: if is_ready { Some(name.to_owned()) } else { old.last_successful_resource_ref },
        resource_hash: hash.map(names::decimal).or(old.resource_hash),
        service: if is_ready { status.url } else { old.service },
        build_duration: None,
    }
}

/// Condition `ServingReady`, what fails, and what else a user should know of the revisions.
fn judge(world: &World, targets: &[Target], present: &FunctionCondition, image: &Image, plan: &mut Plan) {
    for name in targets.iter().map(|target| &target.name).collect::<BTreeSet<_>>() {
        let status = world.serving(name).and_then(|serving| serving.status.as_ref());
        for note in status.into_iter().flat_map(|status| &status.conditions) {
            if let Some(type_) = NOTES.iter().find(|type_| note.type_ == **type_ && note.status == "True") {
                let note = NewCondition::true_(type_, note.reason.clone(), note.message.clone());
                status::set(world, &mut plan.status, note);
            }
        }
    }
    let told = |target: &Target| {
        let is_ready = world.is_ready(&target.name);
        status::of_serving(&mirror(world, &target.name, None, FunctionCondition::default()), is_ready)
    };
    let is_present = |target: &Target| Some(&target.name) == present.resource_ref.as_ref();
    // What fails is told first, then what is on its way.
    let asked = targets.iter().filter(|target| target.gets_requests());
    let worst = asked.map(|target| (told(target), target)).min_by_key(|(condition, target)| {
        let order = [Some(false), None, Some(true)];
        (order.iter().position(|status| *status == condition.status), !is_present(target))
    });
    let Some((mut condition, target)) = worst else { return };
    if !is_present(target) {
        condition.message = format!("revision {}: {}", target.name, condition.message);
    }
    if matches!(image, Image::Pending) && condition.status != Some(false) {
        condition = NewCondition::unknown(SERVING_READY, "WaitingForBuild", "the image is not built yet");
    }
    status::set(world, &mut plan.status, condition);
    let failing = targets.iter().filter(|target| told(target).status == Some(false));
    plan.failing = failing.map(|target| target.name.clone()).collect();
}

/// The hash that a revision was named by.
fn hash_of(serving: &Serving) -> String {
    let function = serving.labels().get(children::FUNCTION).map(String::as_str).unwrap_or_default();
    names::serving_hash(function, &names::passed_on(serving), &serving.spec)
}

type Annotations = BTreeMap<String, String>;

fn wanted_serving(function: &Function, annotations: Annotations, spec: ServingSpec, name: &str) -> Serving {
    let mut metadata = children::metadata(function, name, ABOUT.name, &[(children::FUNCTION, &function.name_any())]);
    metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    Serving { metadata, spec, status: None }
}

/// The build that the image of a revision comes from.
fn build_hash(world: &World, spec: &ServingSpec, name: &str, image: &Image, plan: &Plan) -> Option<(String, String)> {
    let of_present = || plan.status.build.as_ref()?.resource_hash.clone().filter(|_| spec.image.contains('@'));
    let known = || world.serving(name)?.annotations().get(BUILD_HASH).cloned();
    let hash = if let Image::Built(_) = image { of_present() } else { known() };
    Some((BUILD_HASH.to_owned(), hash?))
}

/// A revision that is there, with another spec. What it was made of stays.
fn kept(world: &World, live: &Serving, spec: ServingSpec) -> Serving {
    let mut annotations = names::passed_on(live);
    let kept = [BUILD_HASH, follow::FOLLOWED].into_iter().filter_map(|key| live.annotations().get_key_value(key));
    annotations.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
    wanted_serving(world.function, annotations, spec, &live.name_any())
}

/// A revision as it was made, running, with what changes in place.
fn running(world: &World, serving: &ServingImpl, name: &str) -> Option<Serving> {
    let live = world.serving(name).filter(|live| !children::is_of_the_original(live))?;
    let mut spec = ServingSpec { suspend: false, ..live.spec.clone() };
    spec.serving.scale_options = serving.scale_options.clone();
    spec.serving.timeout = serving.timeout.clone();
    spec.serving.knative_service = serving.knative_service.clone();
    let http = spec.serving.triggers.as_mut().and_then(|triggers| triggers.http.as_mut());
    if let (Some(http), Some(wanted)) = (http, serving.http()) {
        http.route = wanted.route.clone();
    }
    Some(kept(world, live, spec))
}

/// A revision with its engine, its hash and its name. The engine is decided once, when the revision is made: one that is
/// there keeps its own, whatever the cluster or the installation's default has become (design §7).
fn with_engine(world: &World, revision: ServingSpec, present: Option<&str>) -> (ServingSpec, String, String) {
    let (function, annotations) = (world.function.name_any(), names::passed_on(world.function));
    if let Some(live) = adopt::taken_over(world, &revision) {
        return (live.spec.clone(), hash_of(live), live.name_any());
    }
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
    let exists = |name: &str| world.serving(name).is_some();
    let known: Vec<_> = choice.iter().map(|engine| named(Some(engine))).filter(|(_, _, name)| exists(name)).collect();
    let is_present = |(_, _, name): &&(ServingSpec, String, String)| present == Some(name);
    known.iter().find(is_present).or(known.first()).cloned().unwrap_or_else(|| {
        let default = if world.has_knative { "knative" } else { "native" };
        let engine = asked.unwrap_or(&world.settings.http_engine);
        named(Some(if engine == "auto" { default } else { engine }))
    })
}

/// Plans what becomes of revisions that no route leads to any more, after a while (design §4, B-26): those that have
/// answered are parked, as many as the history may have; the others go.
pub(super) fn retire(world: &World, spec: &FunctionSpec, before: &FunctionStatus, plan: &mut Plan) {
    let needs_route = spec.serving.as_ref().is_some_and(|serving| serving.needs_route());
    let targets = plan.status.traffic.clone();
    let route = before.route.clone().unwrap_or_default();
    let is_observed = before.traffic == targets && route.observed_traffic.as_deref() == Some(&traffic::hash(&targets));
    // Without a build there is no present revision to compare with: everything is kept until there is one.
    let waits_for_build = spec.serving.is_some() && plan.latest.is_none();
    let mut gone = Vec::new();
    for serving in world.servings {
        let name = serving.name_any();
        if plan.running.contains(&name) || waits_for_build {
            continue;
        }
        // What the original has made has its events until ours can have them.
        let is_replaced = !children::is_of_the_original(serving) || !targets.is_empty() || spec.serving.is_none();
        // Nothing leads there, and nothing will: the traffic that was written does not.
        let is_free = is_replaced
            && !world.has_route
            && before.traffic == targets
            && (!needs_route || (targets.is_empty() && has_failed(serving)));
        if serving.spec.suspend || is_free {
            gone.push(serving.clone());
            continue;
        }
        if !needs_route || !is_observed || route.revisions.contains(&name) {
            continue;
        }
        let since = world.unrouted.get(&name).copied().unwrap_or(world.now);
        let left = world.settings.grace.saturating_sub(elapsed(since, world.now));
        plan.unrouted.push(name);
        if left.is_zero() {
            gone.push(serving.clone());
        } else {
            plan.look_again = plan.look_again.into_iter().chain([left]).min();
        }
    }
    let limit = spec.serving.as_ref().map_or(0, |_| spec.revision_history_limit.unwrap_or(HISTORY));
    let mut left = usize::try_from(limit).unwrap_or_default();
    let named = |serving: &Serving| {
        let (name, mut requests) = (serving.name_any(), spec.serving.iter().flat_map(|serving| &serving.traffic));
        let is_latest = plan.latest.as_ref() == Some(&name) && !children::is_of_the_original(serving);
        is_latest || requests.any(|request| request.revision.as_ref() == Some(&name))
    };
    // The latest keeps its name to be referred to, and one that is asked for waits for its turn; neither is history.
    let (kept, mut gone): (Vec<_>, Vec<_>) = gone.into_iter().partition(|serving| named(serving));
    kept.iter().filter(|serving| !children::is_of_the_original(serving)).for_each(|serving| park(world, serving, plan));
    gone.sort_by_key(|serving| std::cmp::Reverse((last_started(serving), serving.name_any())));
    for serving in gone {
        if has_run(&serving) && !children::is_of_the_original(&serving) && left > 0 {
            left -= 1;
            park(world, &serving, plan);
        } else {
            plan.obsolete_servings.push(serving);
        }
    }
}

fn has_failed(serving: &Serving) -> bool {
    let state = serving.status.as_ref().and_then(|status| status.state.as_deref());
    state.is_some_and(|state| ["Failed", "Timeout"].contains(&state))
}

/// Whether a revision is worth to be gone back to: it has run, whatever became of it since.
fn has_run(serving: &Serving) -> bool {
    serving.status.as_ref().is_some_and(|status| status.first_running_at.is_some())
}

fn last_started(serving: &Serving) -> Option<jiff::Timestamp> {
    let activated = serving.status.as_ref().and_then(|status| status.activated_at.as_ref());
    activated.or(serving.metadata.creation_timestamp.as_ref()).map(|time| time.0)
}

/// Takes the workload from a revision and leaves its object.
fn park(world: &World, serving: &Serving, plan: &mut Plan) {
    plan.servings.retain(|wanted| wanted.name_any() != serving.name_any());
    plan.servings.push(kept(world, serving, ServingSpec { suspend: true, ..serving.spec.clone() }));
}
