//! New commits and images: what a Function makes of what the revision controller has found (goals RV18, RV19).

use std::{collections::BTreeSet, sync::Arc};

use kube::ResourceExt;
use openfunction_proto::core::{
    BuildImpl, Followed, FunctionCondition, FunctionSpec, FunctionStatus, RevisionDetected, RevisionFollowed,
    RevisionPolicy, RevisionStatus, Serving, is_over, revision_policy::place,
};
use serde_json::json;

use super::{World, by_digest, newest};

/// Commits and digests that are remembered as rolled back.
const MAX_IGNORED: usize = 64;

/// What is followed, and what is not rolled out again. All of it outlives the policy, and what was found: that either
/// is taken away is no reason to build or to roll anything out.
pub(super) fn follow(world: &World, spec: &FunctionSpec, before: &FunctionStatus) -> RevisionStatus {
    let mut old = before.revision.clone().unwrap_or_default();
    if before.build.is_none() && before.serving.is_none() {
        // The status is lost, as after a restore from a backup: what was rolled out is.
        old.followed = noted(world);
    }
    let mut revision = RevisionStatus { detected: None, ..old.clone() };
    let kinds = [Followed::Source, Followed::SourceImage, Followed::Image];
    let places: Vec<_> = kinds.into_iter().filter_map(|kind| place(kind, spec)).collect();
    revision.followed.retain(|followed| places.contains(&followed.of));
    let Ok(Some(policy)) = RevisionPolicy::of(world.function) else { return revision };
    let Some(of) = policy.place(spec) else { return revision };
    let index = revision.followed.iter().position(|followed| followed.of == of);
    let mut followed = match index {
        Some(index) => revision.followed.remove(index),
        None => RevisionFollowed { of: of.clone(), ..RevisionFollowed::default() },
    };
    let build = Build::of(before, old.image_digest.clone());
    if let Some(back) = rolled_back(world, spec, before, policy.followed(), &followed, &build) {
        let gone: BTreeSet<_> =
            followed.used.iter().chain(build.digest.iter().filter(|_| spec.build.is_some())).collect();
        revision.ignored.retain(|known| !gone.contains(known));
        revision.ignored.extend(gone.into_iter().cloned());
        let surplus = revision.ignored.len().saturating_sub(MAX_IGNORED);
        revision.ignored.drain(..surplus);
        if policy.followed() == Followed::Image {
            (followed.used, followed.tag) = (back.digest.clone(), back.tag);
        } else {
            // What this build has made is not run again; what another one makes is.
            followed.build = build.hash.cloned();
        }
        revision.image_digest = back.digest;
    }
    let is_wanted = |found: &&RevisionDetected| {
        let is_ignored = |id: &str| [&revision.ignored, &policy.ignore].iter().any(|of| of.iter().any(|one| one == id));
        found.of.as_ref() == Some(&of) && found.not_used.is_none() && !found.id().is_some_and(is_ignored)
    };
    if let Some(found) = old.detected.as_ref().filter(is_wanted)
        && let Some(id) = found.id()
    {
        // Of a part of the repository the newest commit is seldom that which was built.
        let is_partial = policy.only_source_sub_path == Some(true);
        take(&mut followed, policy.followed(), is_partial, id, found.tag.as_ref(), &build);
    }
    if followed.seen.is_some() {
        revision.followed.push(followed);
    }
    revision
}

/// The build that the status speaks of.
struct Build<'a> {
    is_over: bool,
    hash: Option<&'a String>,
    /// The commit, and the digest of the bundle, that it was built from.
    commit: Option<&'a String>,
    bundle: Option<&'a String>,
    /// The digest of its image.
    digest: Option<String>,
}

impl<'a> Build<'a> {
    fn of(status: &'a FunctionStatus, digest: Option<String>) -> Self {
        let (build, source) = (status.build.as_ref(), status.sources.first());
        Self {
            is_over: build.is_none_or(|build| is_over(build.state.as_deref()) || is_skipped(build)),
            hash: build.filter(|build| !is_skipped(build)).and_then(|build| build.resource_hash.as_ref()),
            commit: source.and_then(|source| source.git.as_ref()?.commit_sha.as_ref()),
            bundle: source.and_then(|source| source.bundle.as_ref()?.digest.as_ref()),
            digest,
        }
    }
}

fn is_skipped(build: &FunctionCondition) -> bool {
    build.state.as_deref() == Some("Skipped")
}

/// Annotation of a revision with what was found when it was made, as `followed` of the status has it.
pub(super) const FOLLOWED: &str = "openfunction.io/followed";

/// What was found for a revision.
pub(super) fn annotation(revision: Option<&RevisionStatus>) -> Option<(String, String)> {
    let used = revision?.followed.iter().filter(|followed| followed.used.is_some());
    let used: Vec<_> =
        used.map(|followed| RevisionFollowed { seen: followed.used.clone(), ..followed.clone() }).collect();
    (!used.is_empty()).then(|| (FOLLOWED.to_owned(), json!(used).to_string()))
}

/// The newest of some revisions that run; if none does, of those that are parked.
pub(super) fn newest_that_runs<'a>(world: &'a World, is_one: impl Fn(&Serving) -> bool) -> Option<&'a Arc<Serving>> {
    let of = |is_parked| newest(world.servings.iter().filter(|one| one.spec.suspend == is_parked && is_one(one)));
    of(false).or_else(|| of(true))
}

/// What was found for the newest revision.
fn noted(world: &World) -> Vec<RevisionFollowed> {
    let noted = newest_that_runs(world, |_| true).and_then(|serving| serving.annotations().get(FOLLOWED));
    noted.and_then(|noted| serde_json::from_str(noted).ok()).unwrap_or_default()
}

/// Takes note of what was found, and says whether it is to be rolled out.
fn take(
    followed: &mut RevisionFollowed,
    kind: Followed,
    is_partial: bool,
    id: &str,
    tag: Option<&String>,
    build: &Build,
) {
    let is_seen = followed.seen.as_deref() == Some(id);
    let is_first = followed.seen.is_none();
    let built = match kind {
        Followed::Source => build.commit,
        Followed::SourceImage => build.bundle,
        Followed::Image => build.digest.as_ref(),
    };
    let is_built = built.is_some_and(|built| built == id);
    let is_new = match kind {
        _ if is_seen => return,
        // What a build gets that goes on is not known: it is looked at when it is over.
        Followed::Source if !build.is_over && is_first => return,
        // One that began with an older commit would be out of date at its end.
        Followed::Source if !build.is_over => true,
        Followed::Source if is_first => built.is_some() && !is_built && !is_partial,
        Followed::Source => !is_built,
        // A build pushes this image, too.
        Followed::Image if !build.is_over => return,
        // The digest of what runs is not known, or that of another manifest of the same index (BUG-R17, GAP-R22).
        Followed::SourceImage | Followed::Image if is_first => tag.is_some_and(|tag| !is_tag_of(tag, &followed.of)),
        Followed::SourceImage | Followed::Image => !is_built,
    };
    followed.seen = Some(id.to_owned());
    if is_new {
        followed.used = Some(id.to_owned());
        followed.tag = tag.cloned();
        followed.build = build.hash.filter(|_| kind == Followed::Image).cloned();
    } else if kind == Followed::Source && is_built {
        // The next build is of it, too, whatever asks for that one.
        followed.tag = tag.cloned();
    }
}

fn is_tag_of(tag: &str, image: &str) -> bool {
    tag_at(image).is_some_and(|at| &image[at + 1..] == tag)
}

/// Where the tag of an image begins, after the port of its registry.
fn tag_at(image: &str) -> Option<usize> {
    image.rfind(':').filter(|at| !image[*at..].contains('/'))
}

/// The revision that a user has gone back to, away from what was found.
struct Back {
    digest: Option<String>,
    tag: Option<String>,
}

/// Whether all requests are sent away from what was found, to revisions of before (goals RV23).
fn rolled_back(
    world: &World,
    spec: &FunctionSpec,
    before: &FunctionStatus,
    kind: Followed,
    followed: &RevisionFollowed,
    build: &Build,
) -> Option<Back> {
    let used = followed.used.as_ref()?;
    let bad = if kind == Followed::Image { used } else { build.digest.as_ref()? };
    let requests = &spec.serving.as_ref()?.traffic;
    let asked = || requests.iter().filter(|request| request.percent.unwrap_or_default() > 0);
    let named: Vec<_> = asked().filter_map(|request| world.serving(request.revision.as_deref()?)).collect();
    let (name, digest) = (
        |image: &str| image.split('@').next().unwrap_or_default().to_owned(),
        |image: &str| image.split_once('@').map(|(_, digest)| digest.to_owned()),
    );
    let is_bad = |image: &str| digest(image).as_ref() == Some(bad);
    if named.is_empty() || named.len() != asked().count() || named.iter().any(|serving| is_bad(&serving.spec.image)) {
        return None;
    }
    // It had requests: one that never got any is nothing to go back from.
    let had_requests = before.traffic.iter().filter(|target| target.percent > 0);
    if !had_requests.filter_map(|target| world.serving(&target.revision)).any(|serving| is_bad(&serving.spec.image)) {
        return None;
    }
    let image = &named.first()?.spec.image;
    let tag = tag_at(&name(image)).map(|at| name(image)[at + 1..].to_owned());
    Some(Back { digest: digest(image), tag: tag.filter(|tag| !is_tag_of(tag, &spec.image)) })
}

fn followed<'a>(revision: &'a RevisionStatus, kind: Followed, spec: &FunctionSpec) -> Option<&'a RevisionFollowed> {
    let of = place(kind, spec)?;
    revision.followed.iter().find(|followed| followed.of == of)
}

/// The new commit or bundle that asks for a build.
pub(super) fn asks_for_build<'a>(revision: &'a RevisionStatus, spec: &FunctionSpec) -> Option<&'a str> {
    let of = |kind| followed(revision, kind, spec)?.used.as_deref();
    of(Followed::Source).or_else(|| of(Followed::SourceImage))
}

/// Whether what a build has made was rolled back.
pub(super) fn is_rolled_back(revision: &RevisionStatus, spec: &FunctionSpec, build: &str, digest: &str) -> bool {
    let kinds = [Followed::Source, Followed::SourceImage].into_iter();
    let mut builds = kinds.filter_map(|kind| followed(revision, kind, spec)?.build.as_deref());
    builds.any(|of| of == build) && revision.ignored.iter().any(|ignored| ignored == digest)
}

/// The build, with the source that was found.
pub(super) fn build(revision: &RevisionStatus, spec: &FunctionSpec) -> BuildImpl {
    let mut build = spec.build.clone().unwrap_or_default();
    if let Some(tag) = followed(revision, Followed::Source, spec).and_then(|followed| followed.tag.as_ref()) {
        build.src_repo.revision = Some(tag.clone());
    }
    if let Some(followed) = followed(revision, Followed::SourceImage, spec)
        && let (Some(used), Some(bundle)) = (&followed.used, &mut build.src_repo.bundle_container)
    {
        bundle.image = by_digest(&with_tag(&bundle.image, followed.tag.as_deref()), Some(used));
    }
    build
}

/// The image that was found in the place of the one that is named, or that the build of this hash has made, and its
/// digest.
pub(super) fn image(
    revision: &RevisionStatus,
    spec: &FunctionSpec,
    build: Option<&String>,
) -> Option<(String, String)> {
    let followed = followed(revision, Followed::Image, spec)?;
    let used = followed.used.as_ref().filter(|_| followed.build.as_ref() == build)?;
    Some((with_tag(&spec.image, followed.tag.as_deref()), used.clone()))
}

/// An image with another tag.
fn with_tag(image: &str, tag: Option<&str>) -> String {
    let name = image.split('@').next().unwrap_or(image);
    match tag {
        None => name.to_owned(),
        Some(tag) => format!("{}:{tag}", &name[..tag_at(name).unwrap_or(name.len())]),
    }
}
