//! New commits and images: what is built and rolled out for them, and what is not.

use openfunction_proto::core::{RevisionDetected, RevisionPolicy};

use super::*;

const URL: &str = "https://git.example.com/a.git";

fn source(policy: Value) -> Value {
    let build = json!({"builder": "b", "srcRepo": {"url": URL, "revision": "main"}});
    json!({"image": "a:v1", "imageCredentials": {"name": "push"}, "version": "v1", "build": build,
        "serving": {"triggers": {"http": {"port": 80}}}, "revisionPolicy": policy})
}

fn image(policy: Value) -> Value {
    json!({"image": "reg:5000/a:v1", "version": "v1", "serving": {"triggers": {"http": {"port": 80}}}, "revisionPolicy": policy})
}

impl Sim {
    /// The revision controller has found something.
    fn finds(&mut self, id: &str, tag: Option<&str>) {
        let policy = RevisionPolicy::of(&self.function).unwrap().unwrap();
        let id = Some(id.to_owned());
        let is_commit = policy.type_ == "source";
        let detected = RevisionDetected {
            of: policy.place(&self.function.spec),
            commit: id.clone().filter(|_| is_commit),
            digest: id.filter(|_| !is_commit),
            tag: tag.map(str::to_owned),
            ..RevisionDetected::default()
        };
        self.function.status.get_or_insert_default().revision.get_or_insert_default().detected = Some(detected);
    }

    /// Another commit is there, and found.
    fn is_pushed_to(&mut self, commit: &str, tag: Option<&str>) {
        self.head = commit.to_owned();
        self.finds(commit, tag);
    }

    /// The builds that there were until everything is done.
    fn builds(&mut self) -> u64 {
        let before: BTreeSet<_> = self.builders.iter().map(|builder| builder.name_any()).collect();
        self.pass(usize::MAX);
        let new = self.builders.iter().filter(|builder| !before.contains(&builder.name_any())).count();
        self.settle();
        new as u64
    }

    /// A user goes back to a revision.
    fn sends_all_to(&mut self, revision: &str) {
        let traffic = json!([{"revision": revision, "percent": 100}]);
        self.change(|spec| spec.serving.as_mut().unwrap().traffic = serde_json::from_value(traffic).unwrap());
    }

    fn sends_all_to_the_latest(&mut self) {
        self.change(|spec| spec.serving.as_mut().unwrap().traffic.clear());
    }

    /// The image that answers requests.
    fn image(&self) -> String {
        let traffic = self.status().traffic;
        assert_eq!(traffic.len(), 1);
        let serving = self.servings.iter().find(|serving| serving.name_any() == traffic[0].revision);
        serving.unwrap().spec.image.clone()
    }

    fn revision(&self) -> RevisionStatus {
        self.status().revision.unwrap_or_default()
    }
}

/// A function that was built from commit `c1`.
fn built_from_c1(policy: Value) -> Sim {
    let mut sim = Sim::new(&source(policy));
    sim.head = "c1".to_owned();
    sim.settle();
    assert_eq!(sim.status().sources[0].git.as_ref().unwrap().commit_sha.as_deref(), Some("c1"));
    sim
}

#[test]
fn rv18_a_new_commit_is_built_and_rolled_out_once() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    let first = sim.image();
    sim.finds("c1", None);
    assert_eq!((sim.builds(), sim.image()), (0, first.clone()), "it is built already");
    sim.is_pushed_to("c2", None);
    assert_eq!(sim.builds(), 1);
    assert_ne!(sim.image(), first);
    let second = sim.image();
    // Neither that it is no longer told, nor that nothing is followed any more, is a reason to build.
    sim.function.status.as_mut().unwrap().revision.as_mut().unwrap().detected = None;
    assert_eq!((sim.builds(), sim.image()), (0, second.clone()));
    sim.change(|spec| spec.revision_policy = None);
    assert_eq!((sim.builds(), sim.image()), (0, second));
}

#[test]
fn r17_a_first_look_builds_only_what_is_known_to_be_old() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    sim.function.status.as_mut().unwrap().sources.clear();
    sim.finds("c2", None);
    assert_eq!((sim.builds(), sim.revision().followed[0].seen.as_deref()), (0, Some("c2")));
    // Commits that came before anybody looked.
    let mut sim = built_from_c1(json!({"type": "source"}));
    sim.is_pushed_to("c2", None);
    assert_eq!(sim.builds(), 1);
}

#[test]
fn a_build_that_goes_on_is_cancelled_for_a_newer_commit_only() {
    let mut sim = Sim::new(&source(json!({"type": "source"})));
    sim.pass(usize::MAX);
    // What it gets is not known; the first look waits for its end.
    sim.finds("c2", None);
    sim.pass(usize::MAX);
    assert_eq!((sim.builders.len(), sim.builders[0].spec.state.as_deref()), (1, None));
    sim.head = "c2".to_owned();
    sim.settle();
    assert_eq!(sim.revision().followed[0].used, None);
    sim.is_pushed_to("c3", None);
    sim.pass(usize::MAX);
    sim.is_pushed_to("c4", None);
    sim.pass(usize::MAX);
    let last = sim.builders.last().unwrap();
    assert_eq!(last.spec.state.as_deref(), Some("Cancelled"));
    sim.settle();
    assert_eq!(sim.revision().followed[0].used.as_deref(), Some("c4"));
    assert_eq!(sim.status().sources[0].git.as_ref().unwrap().commit_sha.as_deref(), Some("c4"));
}

#[test]
fn r15_a_failed_build_is_tried_again_with_the_next_commit_or_when_asked_for() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    sim.finds("c1", None);
    sim.settle();
    let good = sim.image();
    sim.finds("c2", None);
    sim.pass(usize::MAX);
    sim.finish_build(false);
    assert_eq!((sim.builds(), sim.image()), (0, good.clone()));
    sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "1".to_owned());
    assert_eq!(sim.builds(), 1);
    assert_ne!(sim.image(), good);
    sim.finds("c3", None);
    assert_eq!(sim.builds(), 1);
}

#[test]
fn rv19_r18_another_image_under_the_same_tag_is_rolled_out_by_its_digest_once() {
    let mut sim = Sim::new(&image(json!({"type": "image"})));
    sim.settle();
    sim.finds("sha256:1", None);
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1", "R17: what runs is not known");
    sim.finds("sha256:2", None);
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1@sha256:2");
    assert_eq!((sim.running().len(), sim.revision().image_digest.as_deref()), (1, Some("sha256:2")));
    sim.function.status.as_mut().unwrap().revision.as_mut().unwrap().detected = None;
    sim.change(|spec| spec.revision_policy = None);
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1@sha256:2");
    // B-13: a digest counts for its image only.
    sim.change(|spec| spec.image = "reg:5000/a:v2".to_owned());
    sim.settle();
    assert_eq!((sim.image().as_str(), sim.revision()), ("reg:5000/a:v2", RevisionStatus::default()));
}

#[test]
fn an_image_that_is_built_here_can_be_replaced_until_the_next_build() {
    let mut sim = built_from_c1(json!({"type": "image"}));
    let own = sim.image();
    let (name, digest) = own.split_once('@').unwrap();
    sim.finds(digest, None);
    sim.settle();
    assert_eq!(sim.image(), own);
    sim.finds("sha256:other", None);
    assert_eq!((sim.builds(), sim.image()), (0, format!("{name}@sha256:other")));
    sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "1".to_owned());
    assert_eq!(sim.builds(), 1);
    assert!(sim.image() != own && !sim.image().ends_with("other"), "{}", sim.image());
}

#[test]
fn rv21_the_tag_that_a_policy_has_chosen_is_built_and_run() {
    let mut sim = Sim::new(&image(json!({"type": "image", "tagPolicy": {"semver": ">=1"}})));
    sim.settle();
    sim.finds("sha256:1", Some("v1"));
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1", "it is the one that the spec names");
    sim.finds("sha256:2", Some("v1.2.0"));
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1.2.0@sha256:2");
    let mut first = Sim::new(&image(json!({"type": "image", "tagPolicy": {"semver": ">=1"}})));
    first.settle();
    first.finds("sha256:2", Some("v1.2.0"));
    first.settle();
    assert_eq!(first.image(), "reg:5000/a:v1.2.0@sha256:2", "it is known to be another one");

    let mut sim = built_from_c1(json!({"type": "source", "tagPolicy": {"semver": ">=1"}}));
    sim.is_pushed_to("c2", Some("v1.2.0"));
    sim.pass(usize::MAX);
    let revisions: Vec<_> = sim.builders.iter().map(|of| of.spec.build.src_repo.revision.as_deref()).collect();
    assert_eq!(revisions.last(), Some(&Some("v1.2.0")));
}

#[test]
fn rv6_another_bundle_is_built_by_its_digest() {
    let mut spec = source(json!({"type": "source-image"}));
    spec["build"]["srcRepo"] = json!({"bundleContainer": {"image": "reg/source:v1"}});
    let mut sim = Sim::new(&spec);
    sim.settle();
    sim.finds("sha256:1", None);
    assert_eq!(sim.builds(), 0, "R17");
    sim.finds("sha256:2", None);
    sim.pass(usize::MAX);
    let bundle = sim.builders.last().unwrap().spec.build.src_repo.bundle_container.clone().unwrap();
    assert_eq!(bundle.image, "reg/source:v1@sha256:2");
}

#[test]
fn rv23_what_is_not_to_be_used_is_not() {
    let mut sim = built_from_c1(json!({"type": "source", "ignore": ["c2"]}));
    sim.finds("c1", None);
    sim.settle();
    sim.finds("c2", None);
    assert_eq!(sim.builds(), 0, "the user says so");
    sim.finds("c3", None);
    let detected = |sim: &mut Sim| {
        sim.function.status.as_mut().unwrap().revision.as_mut().unwrap().detected.as_mut().unwrap().not_used.take()
    };
    let revision = sim.function.status.as_mut().unwrap().revision.as_mut().unwrap();
    revision.detected.as_mut().unwrap().not_used = Some("frozen".to_owned());
    assert_eq!(sim.builds(), 0, "the revision controller says so");
    detected(&mut sim);
    assert_eq!(sim.builds(), 1, "the window is over");
    sim.finds("c4", None);
    sim.function.status.as_mut().unwrap().revision.as_mut().unwrap().detected.as_mut().unwrap().of =
        Some("https://elsewhere".to_owned());
    assert_eq!(sim.builds(), 0, "it was found before the spec has changed");
}

#[test]
fn rv23_what_was_rolled_back_does_not_come_back_until_something_newer_does() {
    let mut sim = Sim::new(&image(json!({"type": "image"})));
    sim.settle();
    for digest in ["sha256:1", "sha256:2"] {
        sim.finds(digest, None);
        sim.settle();
    }
    let bad = sim.image();
    let first = sim.servings.iter().find(|serving| serving.spec.image == "reg:5000/a:v1").unwrap().name_any();
    sim.sends_all_to(&first);
    sim.settle();
    assert_eq!((sim.image().as_str(), sim.revision().ignored), ("reg:5000/a:v1", vec!["sha256:2".to_owned()]));
    sim.sends_all_to_the_latest();
    sim.settle();
    assert_eq!(sim.image(), "reg:5000/a:v1");
    sim.finds("sha256:3", None);
    sim.settle();
    assert!(sim.image() != bad && sim.image().ends_with("@sha256:3"), "{}", sim.image());
}

#[test]
fn rv23_a_commit_that_was_rolled_back_is_not_run_again() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    let good = sim.image();
    let first = sim.running()[0].name_any();
    sim.finds("c1", None);
    sim.settle();
    sim.is_pushed_to("c2", None);
    sim.settle();
    let bad = sim.image();
    assert_ne!(bad, good);
    sim.sends_all_to(&first);
    sim.settle();
    assert_eq!(sim.image(), good);
    let digest = bad.split_once('@').unwrap().1;
    assert_eq!(sim.revision().ignored, ["c2", digest]);
    sim.sends_all_to_the_latest();
    assert_eq!((sim.builds(), sim.image()), (0, good.clone()));
    sim.is_pushed_to("c3", None);
    assert_eq!(sim.builds(), 1);
    assert!(![good, bad].contains(&sim.image()));
}

#[test]
fn a_status_that_is_lost_is_no_reason_to_build() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    sim.finds("c1", None);
    sim.settle();
    sim.is_pushed_to("c2", None);
    sim.settle();
    let image = sim.image();
    let detected = sim.revision().detected;
    sim.function.status = None;
    sim.settle();
    sim.function.status.as_mut().unwrap().revision.as_mut().unwrap().detected = detected;
    assert_eq!((sim.builds(), sim.image()), (0, image));
}

#[test]
fn rv23_what_is_found_while_requests_go_elsewhere_is_not_rolled_back() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    let (good, first) = (sim.image(), sim.running()[0].name_any());
    sim.finds("c1", None);
    sim.settle();
    sim.is_pushed_to("c2", None);
    sim.settle();
    sim.sends_all_to(&first);
    sim.settle();
    sim.is_pushed_to("c3", None);
    assert_eq!((sim.builds(), sim.image()), (1, good.clone()), "requests stay where they were sent");
    assert!(!sim.revision().ignored.contains(&"c3".to_owned()), "{:?}", sim.revision().ignored);
    sim.sends_all_to_the_latest();
    sim.settle();
    assert!(sim.image() != good, "it is newer than what was rolled back");
}

#[test]
fn rv23_an_image_in_the_place_of_one_that_is_built_here_can_be_rolled_back() {
    let mut sim = built_from_c1(json!({"type": "image"}));
    let (own, first) = (sim.image(), sim.running()[0].name_any());
    sim.finds(own.split_once('@').unwrap().1, None);
    sim.settle();
    sim.finds("sha256:other", None);
    sim.settle();
    sim.sends_all_to(&first);
    sim.settle();
    assert_eq!((sim.image(), sim.revision().ignored), (own.clone(), vec!["sha256:other".to_owned()]));
    sim.sends_all_to_the_latest();
    sim.settle();
    assert_eq!(sim.image(), own);
}

#[test]
fn rv23_what_the_user_builds_again_is_run_although_it_was_rolled_back() {
    let mut sim = built_from_c1(json!({"type": "source"}));
    let first = sim.running()[0].name_any();
    sim.finds("c1", None);
    sim.settle();
    sim.is_pushed_to("c2", None);
    sim.settle();
    sim.sends_all_to(&first);
    sim.settle();
    sim.sends_all_to_the_latest();
    sim.settle();
    let good = sim.image();
    sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "1".to_owned());
    assert_eq!(sim.builds(), 1);
    assert_ne!(sim.image(), good);
}

#[test]
fn rv22_the_first_look_at_a_folder_builds_nothing() {
    let mut sim = built_from_c1(json!({"type": "source", "repoType": "github", "onlySourceSubPath": true}));
    sim.finds("c0", None);
    assert_eq!(sim.builds(), 0, "the branch has a newer commit, elsewhere");
    sim.is_pushed_to("c2", None);
    assert_eq!(sim.builds(), 1);
}

#[test]
fn rv21_a_tag_whose_commit_is_built_already_is_built_the_next_time() {
    let mut sim = built_from_c1(json!({"type": "source", "tagPolicy": {"semver": ">=1"}}));
    sim.finds("c1", Some("v1.0.0"));
    assert_eq!(sim.builds(), 0);
    sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "1".to_owned());
    sim.pass(usize::MAX);
    let revision = sim.builders.last().unwrap().spec.build.src_repo.revision.clone();
    assert_eq!(revision.as_deref(), Some("v1.0.0"));
}
