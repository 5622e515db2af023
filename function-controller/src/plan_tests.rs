//! The planner: a table of situations, and random sequences of edits, outcomes and faults.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use openfunction_proto::core::{
    Backend, BuilderOutput, BuilderStatus, FunctionRouteStatus, GitRevision, ServingStatus, SourceResult, TrafficTarget,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use controller_runtime::{
    conditions,
    traffic::{self, ROUTE_READY},
};

use crate::status::{READY, SUSPENDED, own};

#[path = "plan/adopt_tests.rs"]
mod adopt;
#[path = "plan/follow_tests.rs"]
mod follow;

/// A cluster as far as one Function is concerned.
#[derive(Clone)]
struct Sim {
    function: Function,
    builders: Vec<Arc<Builder>>,
    servings: Vec<Arc<Serving>>,
    /// Revisions that the HTTPRoute leads to: of the last accepted one, and of the present one.
    accepted: Vec<String>,
    route: Option<Vec<TrafficTarget>>,
    unrouted: BTreeMap<String, Timestamp>,
    settings: Settings,
    has_knative: bool,
    /// Revisions that never run.
    broken: BTreeSet<String>,
    /// The commit that builds get.
    head: String,
    now: Timestamp,
    created: u64,
}

impl Sim {
    fn new(spec: &Value) -> Self {
        let metadata = json!({"name": "hello", "namespace": "shop", "uid": "f", "generation": 1});
        let settings = Settings {
            default_gateway: GatewayRef { name: "openfunction".to_owned(), namespace: "openfunction".to_owned() },
            http_engine: "auto".to_owned(),
            grace: Duration::from_secs(30),
        };
        Self {
            function: serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap(),
            builders: Vec::new(),
            servings: Vec::new(),
            accepted: Vec::new(),
            route: None,
            unrouted: BTreeMap::new(),
            settings,
            has_knative: false,
            broken: BTreeSet::new(),
            head: String::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            created: 0,
        }
    }

    fn plan(&self) -> Plan {
        plan(&World {
            function: &self.function,
            builders: &self.builders,
            servings: &self.servings,
            has_route: self.route.is_some(),
            unrouted: &self.unrouted,
            settings: &self.settings,
            has_knative: self.has_knative,
            now: self.now,
        })
    }

    fn status(&self) -> FunctionStatus {
        self.function.status.clone().unwrap_or_default()
    }

    fn condition(&self, type_: &str) -> (String, String) {
        let status = self.status();
        let condition = conditions::find(&status.conditions, type_).cloned();
        condition.map_or_else(Default::default, |condition| (condition.status, condition.reason))
    }

    fn edit(&mut self, spec: &Value) {
        let spec: FunctionSpec = serde_json::from_value(spec.clone()).unwrap();
        if spec != self.function.spec {
            self.function.spec = spec;
            *self.function.metadata.generation.get_or_insert_default() += 1;
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut FunctionSpec)) {
        let mut spec = self.function.spec.clone();
        change(&mut spec);
        self.edit(&json!(spec));
    }

    fn pin(&mut self, which: usize, splits: bool) {
        let mut names: Vec<_> = self.servings.iter().map(|serving| serving.name_any()).collect();
        names.sort();
        let Some(name) = names.get(which % names.len().max(1)).cloned() else { return };
        let traffic = match splits {
            true => json!([{"revision": name, "percent": 60}, {"latest": true, "percent": 40}]),
            false => json!([{"revision": name, "percent": 100}]),
        };
        self.change(|spec| {
            if let Some(serving) = spec.serving.as_mut() {
                serving.traffic = serde_json::from_value(traffic).unwrap();
            }
        });
    }

    fn stamp(&mut self, metadata: &mut kube::api::ObjectMeta) {
        self.created += 1;
        metadata.uid = Some(format!("u{}", self.created));
        metadata.generation = Some(1);
        let at = self.now + Duration::from_millis(self.created);
        metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
    }

    /// One pass whose writes are lost after so many, as when the process ends in the middle.
    fn pass(&mut self, writes: usize) {
        let plan = self.plan();
        let mut left = writes;
        let mut may_write = || {
            left = left.saturating_sub(1);
            left > 0
        };
        let since: BTreeMap<_, _> = plan
            .unrouted
            .iter()
            .map(|name| (name.clone(), self.unrouted.get(name).copied().unwrap_or(self.now)))
            .collect();
        self.unrouted = since;
        for cancelled in &plan.cancel {
            if !may_write() {
                return;
            }
            for builder in &mut self.builders {
                if builder.name_any() == cancelled.name_any() {
                    let builder = Arc::make_mut(builder);
                    builder.spec = cancelled.spec.clone();
                    builder.metadata.annotations = cancelled.metadata.annotations.clone();
                }
            }
        }
        if let Some(mut builder) = plan.builder {
            if !may_write() {
                return;
            }
            if !self.builders.iter().any(|known| known.name_any() == builder.name_any()) {
                self.stamp(&mut builder.metadata);
                self.builders.push(Arc::new(builder));
            }
        }
        for mut serving in plan.servings {
            if !may_write() {
                return;
            }
            let name = serving.name_any();
            let runs = self.servings.iter().any(|known| known.name_any() == name && !known.spec.suspend);
            assert!(
                !(runs && serving.spec.suspend && self.leads_to().contains(&name)),
                "{name} is parked while a route leads to it"
            );
            match self.servings.iter_mut().find(|known| known.name_any() == serving.name_any()) {
                Some(known) if known.spec != serving.spec => {
                    let known = Arc::make_mut(known);
                    known.spec = serving.spec;
                    *known.metadata.generation.get_or_insert_default() += 1;
                }
                Some(_) => {}
                None => {
                    self.stamp(&mut serving.metadata);
                    self.servings.push(Arc::new(serving));
                }
            }
        }
        if !may_write() {
            return;
        }
        let before = self.status();
        let mut status = plan.status;
        (status.route, status.addresses) = (before.route.clone(), before.addresses.clone());
        if let Some(detected) = before.revision.and_then(|revision| revision.detected) {
            status.revision.get_or_insert_default().detected = Some(detected);
        }
        status.conditions.extend(before.conditions.into_iter().filter(|condition| condition.type_ == ROUTE_READY));
        self.function.status = Some(status);
        for obsolete in &plan.obsolete_builders {
            if !may_write() {
                return;
            }
            self.builders.retain(|builder| builder.name_any() != obsolete.name_any());
        }
        for obsolete in &plan.obsolete_servings {
            if !may_write() {
                return;
            }
            let name = obsolete.name_any();
            // Without pods it answers nothing: one that a user has deleted, and that came back without requests.
            let leads = !obsolete.spec.suspend && self.leads_to().contains(&name);
            assert!(!leads, "{name} is deleted while a route leads to it");
            self.servings.retain(|serving| serving.name_any() != name);
        }
    }

    /// Revisions that requests may reach now.
    fn leads_to(&self) -> Vec<String> {
        let present = self.route.iter().flatten().map(|target| target.revision.clone());
        self.accepted.iter().cloned().chain(present).collect()
    }

    fn finish_build(&mut self, well: bool) {
        for builder in &mut self.builders {
            let state = builder.status.as_ref().and_then(|status| status.state.clone());
            if is_over(state.as_deref()) {
                continue;
            }
            let cancelled = builder.spec.state.as_deref() == Some("Cancelled");
            let state = if cancelled {
                "Canceled"
            } else if well {
                "Succeeded"
            } else {
                "Failed"
            };
            let digest = format!("sha256:{}", builder.uid().unwrap_or_default());
            Arc::make_mut(builder).status = Some(BuilderStatus {
                state: Some(state.to_owned()),
                reason: Some(state.to_owned()),
                output: (state == "Succeeded").then_some(BuilderOutput { digest: Some(digest), size: None }),
                sources: vec![SourceResult {
                    name: "default".to_owned(),
                    git: Some(GitRevision { commit_sha: Some(self.head.clone()), ..GitRevision::default() }),
                    bundle: None,
                }],
                ..BuilderStatus::default()
            });
        }
    }

    fn finish_servings(&mut self, well: bool) {
        for serving in &mut self.servings {
            let (name, generation) = (serving.name_any(), serving.metadata.generation);
            let state = match (serving.spec.suspend, well && !self.broken.contains(&name)) {
                (true, _) => "Suspended",
                (false, true) => "Running",
                (false, false) => "Failed",
            };
            let before = serving.status.clone().unwrap_or_default();
            // What ran goes on.
            if before.state.as_deref() == Some("Running") && state == "Failed" {
                continue;
            }
            let new = match state {
                "Running" => NewCondition::true_("Ready", state, ""),
                _ => NewCondition::false_("Ready", state, ""),
            };
            let backend = Backend { name: name.clone(), ..Backend::default() };
            let ready = conditions::next(&before.conditions, new, generation, self.now);
            let others = before.conditions.into_iter().filter(|condition| condition.type_ != "Ready");
            Arc::make_mut(serving).status = Some(ServingStatus {
                state: Some(state.to_owned()),
                reason: Some(state.to_owned()),
                url: Some(name),
                first_running_at: before.first_running_at.or_else(|| (state == "Running").then_some(Time(self.now))),
                observed_generation: generation,
                conditions: others.chain([ready]).collect(),
                backend: Some(backend),
                ..ServingStatus::default()
            });
        }
    }

    fn needs_route(&self) -> bool {
        let spec = self.function.spec_with_defaults(&self.settings.default_gateway);
        spec.serving.is_some_and(|serving| serving.needs_route())
    }

    /// The gateway-controller looks at the Function.
    fn render(&mut self) {
        let mut status = self.status();
        let is_of_the_original = status.route.as_ref().is_some_and(|route| route.observed_traffic.is_none());
        if is_of_the_original && self.needs_route() && status.traffic.is_empty() {
            return;
        }
        status.conditions.retain(|condition| condition.type_ != ROUTE_READY);
        if !self.needs_route() || status.traffic.is_empty() {
            (self.route, self.accepted) = (None, Vec::new());
            status.route = status.route.filter(|_| self.needs_route()).map(|_| FunctionRouteStatus {
                observed_traffic: Some(traffic::hash(&status.traffic)),
                ..FunctionRouteStatus::default()
            });
        } else {
            self.route = Some(status.traffic.clone());
            let mut revisions = self.leads_to();
            revisions.sort();
            revisions.dedup();
            let is_accepted = revisions == self.accepted;
            let observed_traffic = Some(traffic::hash(&status.traffic));
            status.route = Some(FunctionRouteStatus { observed_traffic, revisions, ..FunctionRouteStatus::default() });
            let ready = NewCondition {
                status: is_accepted.then_some(true),
                ..NewCondition::true_(ROUTE_READY, "Accepted", "")
            };
            status.conditions.push(conditions::next(&[], ready, self.function.metadata.generation, self.now));
        }
        self.function.status = Some(status);
    }

    /// The gateway takes the present route.
    fn accept(&mut self) {
        let accepted: BTreeSet<_> = self.route.iter().flatten().map(|target| target.revision.clone()).collect();
        self.accepted = accepted.into_iter().collect();
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Everything goes well from now on, until nothing changes any more.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..12 {
            let before = (self.function.status.clone(), self.servings.clone(), self.builders.clone());
            self.pass(usize::MAX);
            self.finish_build(true);
            self.finish_servings(true);
            self.pass(usize::MAX);
            self.render();
            self.accept();
            self.render();
            self.wait(31);
            // Twice, since something may wait for the time.
            quiet = if before == (self.function.status.clone(), self.servings.clone(), self.builders.clone()) {
                quiet + 1
            } else {
                0
            };
            if quiet == 2 {
                break;
            }
        }
        self.pass(usize::MAX);
    }

    /// All goes well up to a new route that the gateway has not taken yet.
    fn progress(&mut self) {
        for _ in 0..2 {
            self.pass(usize::MAX);
            self.finish_build(true);
            self.pass(usize::MAX);
            self.finish_servings(true);
        }
        self.pass(usize::MAX);
        self.render();
    }

    /// Revisions that have pods.
    fn names(&self) -> Vec<String> {
        self.running().iter().map(|serving| serving.name_any()).collect()
    }

    fn running(&self) -> Vec<Arc<Serving>> {
        self.servings.iter().filter(|serving| !serving.spec.suspend).cloned().collect()
    }

    /// Revisions of the history.
    fn parked(&self) -> Vec<String> {
        let parked = self.servings.iter().filter(|serving| serving.spec.suspend);
        parked.map(|serving| serving.name_any()).collect()
    }
}

fn built(revision: &str) -> Value {
    json!({"image": "registry/hello:v1", "build": {"dockerfile": "Dockerfile", "srcRepo": {"url": "u", "revision": revision}}, "serving": {}})
}

fn ready_made(image: &str) -> Value {
    json!({"image": image, "serving": {}})
}

#[test]
fn a_function_is_built_run_and_routed() {
    let mut sim = Sim::new(&built("main"));
    sim.pass(usize::MAX);
    assert_eq!((sim.builders.len(), sim.servings.len()), (1, 0), "the image is not there yet");
    assert_eq!(sim.condition(READY), ("Unknown".to_owned(), "Reconciling".to_owned()));
    sim.finish_build(true);
    sim.pass(usize::MAX);
    let serving = sim.servings[0].clone();
    assert_eq!(serving.spec.image, "registry/hello:v1@sha256:u1", "FN4: by digest");
    assert_eq!(serving.spec.serving.http().unwrap().engine.as_deref(), Some("native"));
    assert!(sim.status().traffic.is_empty(), "it does not answer yet");
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic[0].revision, serving.name_any());
    sim.render();
    sim.accept();
    sim.render();
    sim.pass(usize::MAX);
    assert_eq!(sim.condition(READY), ("True".to_owned(), "Ready".to_owned()));
}

#[test]
fn an_engine_is_chosen_when_a_revision_is_made_and_stays() {
    let engine = |sim: &Sim| sim.running()[0].spec.serving.http().unwrap().engine.clone().unwrap();
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let native = sim.names();
    assert_eq!(engine(&sim), "native", "the cluster has nothing else");
    sim.has_knative = true;
    sim.settings.http_engine = "knative".to_owned();
    sim.settle();
    assert_eq!(
        (sim.names(), engine(&sim)),
        (native, "native".to_owned()),
        "neither an installation nor a default moves it"
    );
    sim.edit(&ready_made("b"));
    sim.settle();
    let knative = sim.names();
    assert_eq!(engine(&sim), "knative", "another revision is chosen for anew");
    sim.has_knative = false;
    sim.settings.http_engine = "auto".to_owned();
    sim.settle();
    assert_eq!(sim.names(), knative, "an engine that is gone is no reason to move");
}

#[test]
fn what_a_user_should_know_of_the_revision_stands_on_the_function() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let note = json!({"type": "ScaleToZeroUnavailable", "status": "True", "reason": "EngineNative", "message": "one runs", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let conditions = &mut Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap().conditions;
    conditions.push(serde_json::from_value(note).unwrap());
    sim.pass(usize::MAX);
    assert_eq!(sim.condition("ScaleToZeroUnavailable"), ("True".to_owned(), "EngineNative".to_owned()));
    assert_eq!(sim.condition(READY).0, "True", "it runs all the same");
    Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap().conditions.pop();
    sim.pass(usize::MAX);
    assert_eq!(sim.condition("ScaleToZeroUnavailable").0, "", "it goes with the note");
}

#[test]
fn tr18_the_engine_that_is_asked_for_is_another_revision() {
    let with = |engine: &str| json!({"image": "a", "serving": {"triggers": {"http": {"engine": engine}}}});
    let mut sim = Sim::new(&with("native"));
    sim.settle();
    let native = sim.names();
    sim.edit(&with("keda"));
    sim.pass(usize::MAX);
    assert_eq!((sim.names().len(), sim.status().traffic[0].revision.as_str()), (2, native[0].as_str()));
    sim.settle();
    let keda = sim.names();
    assert!(keda.len() == 1 && keda != native, "{keda:?}");
    sim.edit(&with("native"));
    sim.settle();
    assert_eq!(sim.names(), native);
}

#[test]
fn fn27_the_old_revision_answers_until_the_route_has_moved_and_a_while_longer() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let old = sim.names()[0].clone();
    sim.edit(&ready_made("b"));
    sim.pass(usize::MAX);
    assert_eq!((sim.names().len(), sim.status().traffic[0].revision.as_str()), (2, old.as_str()));
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    assert_ne!(sim.status().traffic[0].revision, old, "the new one is ready");
    sim.wait(100);
    sim.pass(usize::MAX);
    assert!(sim.names().contains(&old), "B-26: nobody has rendered the route");
    sim.render();
    sim.wait(100);
    sim.pass(usize::MAX);
    assert!(sim.names().contains(&old), "the gateway has not taken the route");
    sim.accept();
    sim.render();
    sim.pass(usize::MAX);
    assert!(sim.names().contains(&old), "requests may be on their way");
    sim.wait(31);
    sim.pass(usize::MAX);
    assert!(!sim.names().contains(&old), "it may go now");
    assert_eq!(sim.parked(), [old], "FN28: its name stays for a rollback");
}

#[test]
fn a_revision_that_fails_leaves_the_old_one_in_its_place() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let old = sim.names();
    sim.edit(&ready_made("broken"));
    sim.pass(usize::MAX);
    sim.finish_servings(false);
    sim.pass(usize::MAX);
    assert_eq!(sim.condition(READY), ("False".to_owned(), "Failed".to_owned()));
    let status = sim.status();
    assert!(
        conditions::find(&status.conditions, READY)
            .unwrap()
            .message
            .contains(&format!("revision {} keeps answering", old[0]))
    );
    assert_eq!((status.traffic[0].revision.as_str(), status.blocked_by[0].kind.as_str()), (old[0].as_str(), "Serving"));
    sim.edit(&ready_made("a"));
    sim.settle();
    assert_eq!(sim.names(), old, "A → B → A meets its old revision again");
}

#[test]
fn a_build_that_fails_is_not_repeated_and_stops_nothing() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let answering = sim.names();
    sim.edit(&built("v2"));
    sim.pass(usize::MAX);
    sim.finish_build(false);
    for _ in 0..5 {
        sim.pass(usize::MAX);
        sim.wait(60);
    }
    assert_eq!((sim.condition(READY).1.as_str(), sim.names()), ("Failed", answering));
    sim.builders.clear();
    sim.pass(usize::MAX);
    assert!(sim.builders.is_empty(), "B-10: a failed Builder that is gone is not built again");
}

#[test]
fn bu20_a_running_build_is_cancelled_before_the_next_begins() {
    let mut sim = Sim::new(&built("v1"));
    sim.pass(usize::MAX);
    sim.edit(&built("v2"));
    sim.pass(usize::MAX);
    assert_eq!((sim.builders.len(), sim.builders[0].spec.state.as_deref()), (1, Some("Cancelled")));
    sim.finish_build(true);
    sim.pass(usize::MAX);
    let running: Vec<_> = sim.builders.iter().filter(|builder| builder.status.is_none()).collect();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].spec.build.src_repo.revision.as_deref(), Some("v2"));
}

#[test]
fn b14_a_lost_status_write_makes_no_second_builder() {
    let mut sim = Sim::new(&built("v1"));
    sim.pass(2);
    assert!(sim.function.status.is_none() && sim.builders.len() == 1);
    sim.pass(usize::MAX);
    assert_eq!((sim.builders.len(), sim.builders[0].spec.state.as_deref()), (1, None));
}

#[test]
fn bu21_the_annotation_asks_for_the_same_build_again() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let before = sim.names();
    sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "now".to_owned());
    sim.pass(usize::MAX);
    assert_eq!(sim.builders.len(), 1, "another Builder");
    sim.settle();
    assert_ne!(sim.names(), before, "with another digest");
}

#[test]
fn the_reset_of_the_old_revision_controller_builds_again() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    sim.function.status.as_mut().unwrap().build = None;
    sim.pass(usize::MAX);
    assert_eq!(sim.builders.len(), 1);
}

#[test]
fn b27_removing_serving_removes_the_route_first_and_then_the_revision() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let mut spec = built("v1");
    spec.as_object_mut().unwrap().remove("serving");
    sim.edit(&spec);
    sim.pass(usize::MAX);
    assert!(sim.status().traffic.is_empty() && sim.names().len() == 1, "the route is still there");
    sim.render();
    sim.pass(usize::MAX);
    assert!(sim.names().is_empty());
    assert_eq!(
        (sim.condition(READY).0.as_str(), sim.status().serving.unwrap().state.as_deref()),
        ("True", Some("Skipped"))
    );
}

#[test]
fn b12_removing_build_keeps_what_runs() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let old = sim.names();
    sim.edit(&ready_made("registry/hello:v1"));
    sim.pass(usize::MAX);
    assert!(sim.names().contains(&old[0]));
    assert_eq!(sim.status().traffic[0].revision, old[0]);
}

#[test]
fn a_route_that_nobody_renders_is_told() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.pass(usize::MAX);
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    let plan = sim.plan();
    assert_eq!(plan.look_again, Some(Duration::from_secs(30)));
    sim.wait(31);
    sim.pass(usize::MAX);
    for _ in 0..3 {
        assert_eq!(sim.condition(READY), ("False".to_owned(), "RouteNotObserved".to_owned()));
        sim.wait(31);
        sim.pass(usize::MAX);
    }
    sim.render();
    sim.accept();
    sim.render();
    sim.pass(usize::MAX);
    assert_eq!(sim.condition(READY).0, "True");
}

#[test]
fn b25_other_bounds_are_brought_to_the_revision_that_runs() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let before = sim.names();
    sim.edit(&json!({"image": "a", "serving": {"scaleOptions": {"maxReplicas": 4}}}));
    sim.pass(usize::MAX);
    assert_eq!(sim.names(), before);
    assert_eq!(sim.servings[0].spec.serving.scale_options.as_ref().unwrap().max_replicas, Some(4));
}

#[test]
fn b16_a_change_of_serving_does_not_wait_for_a_build_that_failed_or_runs() {
    for ends in [true, false] {
        let mut sim = Sim::new(&built("v1"));
        sim.settle();
        let (old, image) = (sim.names(), sim.running()[0].spec.image.clone());
        sim.edit(&built("v2"));
        sim.pass(usize::MAX);
        if ends {
            sim.finish_build(false);
            sim.pass(usize::MAX);
        }
        let mut spec = built("v2");
        spec["serving"] = json!({"params": {"A": "1"}});
        sim.edit(&spec);
        sim.pass(usize::MAX);
        sim.finish_servings(true);
        sim.pass(usize::MAX);
        let changed = sim.running().into_iter().find(|serving| !old.contains(&serving.name_any())).unwrap();
        assert_eq!(changed.spec.image, image, "the last image goes on");
        assert_eq!(sim.status().traffic[0].revision, changed.name_any());
        assert_ne!(sim.condition(READY).0, "True", "the build is still told");
    }
}

#[test]
fn a_change_that_comes_with_another_source_waits_for_its_image() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let old = sim.names();
    let mut spec = built("v2");
    spec["serving"] = json!({"params": {"A": "1"}});
    sim.edit(&spec);
    sim.pass(usize::MAX);
    sim.pass(usize::MAX);
    assert_eq!((sim.names(), sim.condition(SERVING_READY).1.as_str()), (old.clone(), "WaitingForBuild"));
    sim.settle();
    assert!(sim.names() != old && sim.running()[0].spec.image.contains("u3"), "{:?}", sim.running());
}

#[test]
fn fn28_the_history_has_the_last_revisions_that_answered() {
    let mut sim = Sim::new(&ready_made("v0"));
    sim.settle();
    let mut all = sim.names();
    for version in 1..6 {
        sim.edit(&ready_made(&format!("v{version}")));
        sim.pass(usize::MAX);
        let latest = sim.status().serving.unwrap().resource_ref.unwrap();
        if version == 3 {
            sim.broken.insert(latest);
        } else {
            all.push(latest);
        }
        sim.settle();
    }
    let (present, history) = all.split_last().unwrap();
    let mut parked = sim.parked();
    parked.reverse();
    let newest: Vec<_> = history.iter().rev().take(3).cloned().collect();
    assert_eq!((sim.names(), parked), (vec![present.clone()], newest), "the third failed, and is none");
    sim.edit(&json!({"image": "v5", "serving": {}, "revisionHistoryLimit": 1}));
    sim.settle();
    assert_eq!(sim.parked(), [history.last().unwrap().clone()]);
    sim.edit(&json!({"image": "v5", "serving": {}, "revisionHistoryLimit": 0}));
    sim.settle();
    assert!(sim.parked().is_empty() && sim.names() == [present.clone()]);
}

fn split(image: &str, traffic: &Value) -> Value {
    json!({"image": image, "serving": {"traffic": traffic}})
}

#[test]
fn fn29_a_rollback_starts_the_old_revision_before_requests_move_to_it() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    sim.edit(&ready_made("b"));
    sim.settle();
    let b = sim.names().remove(0);
    assert_eq!(sim.parked(), std::slice::from_ref(&a));
    sim.edit(&split("b", &json!([{"revision": a, "percent": 100}])));
    sim.pass(usize::MAX);
    assert_eq!((sim.names().len(), sim.status().traffic[0].revision.as_str()), (2, b.as_str()), "it has no pods yet");
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic[0].revision, a);
    sim.settle();
    assert_eq!((sim.names(), sim.parked()), (vec![a.clone()], vec![b.clone()]));
    assert_eq!(sim.condition(READY).0, "True");
    assert_eq!(sim.status().serving.unwrap().resource_ref.as_ref(), Some(&a));
    // Another image is another latest revision, which has a name, and neither pods nor requests.
    sim.edit(&split("c", &json!([{"revision": a, "percent": 100}])));
    sim.settle();
    assert_eq!((sim.names(), sim.parked().len()), (vec![a], 2));
    sim.edit(&ready_made("b"));
    sim.settle();
    assert_eq!(sim.names(), [b]);
}

#[test]
fn fn30_requests_are_split_once_all_that_shall_have_some_are_ready() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    sim.edit(&split("b", &json!([{"revision": a, "percent": 90}, {"latest": true, "percent": 10, "tag": "next"}])));
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic.iter().map(|target| target.percent).collect::<Vec<_>>(), [100]);
    sim.settle();
    let told: Vec<_> = sim.status().traffic.into_iter().map(|t| (t.revision, t.percent, t.tag)).collect();
    let b = sim.names().into_iter().find(|name| *name != a).unwrap();
    assert_eq!(told, [(a.clone(), 90, None), (b.clone(), 10, Some("next".to_owned()))]);
    assert!(sim.status().traffic.iter().all(|target| target.backend.is_some()));
    // A tag without requests waits for nobody, and nobody waits for it.
    sim.edit(&split("broken", &json!([{"revision": a, "percent": 100}, {"latest": true, "tag": "next"}])));
    sim.pass(usize::MAX);
    sim.finish_servings(false);
    sim.pass(usize::MAX);
    let told: Vec<_> = sim.status().traffic.into_iter().map(|t| (t.revision, t.percent)).collect();
    assert_eq!(told, [(a.clone(), 100), (b, 0)], "what answered there before goes on");
    assert_eq!(sim.status().blocked_by[0].kind, "Serving", "it is told");
    sim.finish_servings(true);
    sim.settle();
    assert_eq!((sim.status().traffic.len(), sim.condition(READY).0.as_str()), (2, "True"));
}

#[test]
fn a_revision_that_does_not_exist_is_told_and_requests_stay() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let (a, before) = (sim.names(), sim.status().traffic);
    sim.edit(&split("b", &json!([{"revision": "hello-nothing", "percent": 100}])));
    sim.settle();
    assert_eq!((sim.names(), sim.status().traffic), (a.clone(), before));
    assert_eq!(sim.condition(READY), ("False".to_owned(), "RevisionNotFound".to_owned()));
    let blocker = sim.status().blocked_by.remove(0);
    assert!(
        blocker.message.starts_with("spec.serving.traffic[0].revision: Not found: \"hello-nothing\""),
        "{blocker:?}"
    );
    assert!(blocker.message.contains(&a[0]) && blocker.field.is_some() && blocker.hint.is_some(), "{blocker:?}");
    sim.edit(&json!({"image": "b", "serving": {"triggers": {"dapr": [{"name": "a", "type": "bindings.cron"}]}, "traffic": [{"latest": true, "percent": 100}]}}));
    sim.pass(usize::MAX);
    assert_eq!(sim.condition(SERVING_READY).1, "InvalidTraffic");
}

#[test]
fn fn36_a_suspended_function_starts_nothing_and_stops_nothing() {
    let suspended = |mut spec: Value, suspend: bool| {
        spec["suspend"] = json!(suspend);
        spec
    };
    let mut sim = Sim::new(&suspended(built("v1"), true));
    sim.settle();
    assert!(sim.builders.is_empty() && sim.servings.is_empty());
    assert_eq!(sim.condition(SUSPENDED).0, "True");
    assert_eq!(sim.condition(READY), ("Unknown".to_owned(), "Suspended".to_owned()));
    sim.edit(&suspended(built("v1"), false));
    sim.settle();
    let old = sim.names();
    assert_eq!((sim.condition(SUSPENDED).0.as_str(), sim.condition(READY).0.as_str()), ("", "True"));
    sim.edit(&suspended(built("v1"), true));
    sim.settle();
    assert_eq!(sim.condition(READY).0, "True", "nothing waits");
    sim.edit(&suspended(ready_made("other"), true));
    sim.settle();
    assert_eq!((sim.names(), sim.condition(READY).1.as_str()), (old.clone(), "Suspended"));
    sim.edit(&suspended(ready_made("other"), false));
    sim.settle();
    assert!(sim.names() != old && sim.condition(READY).0 == "True");
}

#[test]
fn bu19_a_builder_that_is_too_old_goes_and_is_not_built_again() {
    let mut spec = built("v1");
    spec["build"]["builderMaxAge"] = json!("1h");
    let mut sim = Sim::new(&spec);
    sim.pass(usize::MAX);
    sim.finish_build(false);
    sim.pass(usize::MAX);
    let wait = sim.plan().look_again.unwrap();
    assert!(wait > Duration::from_secs(3590) && wait <= Duration::from_secs(3600), "{wait:?}");
    sim.wait(3601);
    for _ in 0..3 {
        sim.pass(usize::MAX);
        assert!(sim.builders.is_empty(), "B-10");
    }
    assert_eq!(sim.condition(READY), ("False".to_owned(), "Failed".to_owned()));
}

#[test]
fn b13_a_digest_that_the_old_revision_controller_found_counts_for_its_image_only() {
    let mut sim = Sim::new(&ready_made("a:v1"));
    sim.settle();
    let status = sim.function.status.as_mut().unwrap();
    let serving = status.serving.as_mut().unwrap();
    (serving.state, serving.resource_hash) = (Some(String::new()), Some(String::new()));
    let new = || with_digest(RevisionStatus::default(), Some("sha256:new".to_owned()));
    status.revision = new();
    sim.settle();
    assert_eq!(sim.running()[0].spec.image, "a:v1@sha256:new");
    assert_eq!(sim.status().revision, new());
    sim.edit(&ready_made("a:v2"));
    sim.settle();
    assert_eq!((sim.running()[0].spec.image.as_str(), sim.status().revision), ("a:v2", None));
}

#[test]
fn a_restore_without_status_builds_and_restarts_nothing() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let (names, traffic) = (sim.names(), sim.status().traffic);
    assert!(sim.builders.is_empty(), "it went when it had succeeded");
    sim.function.status = None;
    sim.settle();
    assert!(sim.builders.is_empty());
    assert_eq!((sim.names(), sim.status().traffic), (names, traffic));
    assert_eq!(sim.condition(READY).0, "True");
}

#[test]
fn a_to_b_to_a_meets_a_again_whatever_became_of_it() {
    for (limit, well) in [(3, true), (0, true), (3, false)] {
        let with = |image: &str| json!({"image": image, "serving": {}, "revisionHistoryLimit": limit});
        let mut sim = Sim::new(&with("z"));
        sim.settle();
        sim.edit(&with("a"));
        sim.pass(usize::MAX);
        let a = sim.status().serving.unwrap().resource_ref.unwrap();
        sim.broken.extend(Some(a.clone()).filter(|_| !well));
        sim.settle();
        sim.edit(&with("b"));
        sim.settle();
        assert_eq!(sim.parked().contains(&a), well && limit > 0);
        sim.broken.clear();
        sim.edit(&with("a"));
        sim.settle();
        assert_eq!((sim.names(), sim.condition(READY).0.as_str()), (vec![a], "True"));
    }
}

#[test]
fn what_answers_is_not_parked_when_a_status_is_lost_without_a_gateway() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names();
    sim.edit(&ready_made("b"));
    sim.pass(usize::MAX);
    // The Service leads straight to the revision.
    (sim.route, sim.accepted, sim.function.status) = (None, Vec::new(), None);
    sim.pass(usize::MAX);
    sim.pass(usize::MAX);
    assert!(sim.names().contains(&a[0]) && sim.names().len() == 2);
}

#[test]
fn what_answers_under_a_tag_stays_until_its_successor_can() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    let tagged = |image: &str| split(image, &json!([{"revision": a, "percent": 100}, {"latest": true, "tag": "next"}]));
    sim.edit(&tagged("b"));
    sim.settle();
    let before = sim.status().traffic;
    sim.edit(&tagged("c"));
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic, before, "c has no pods yet");
    sim.settle();
    assert_ne!(sim.status().traffic[1].revision, before[1].revision);
    // Bounds that change in place are no reason to take it away for a moment.
    let before = sim.status().traffic;
    let mut spec = tagged("c");
    spec["serving"]["scaleOptions"] = json!({"maxReplicas": 4});
    sim.edit(&spec);
    sim.pass(usize::MAX);
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic, before);
}

#[test]
fn b16_what_is_taken_back_during_a_build_goes_back_at_once() {
    let with = |revision: &str, value: &str| {
        let mut spec = built(revision);
        spec["serving"] = json!({"params": {"A": value}});
        spec
    };
    let mut sim = Sim::new(&with("v1", "0"));
    sim.settle();
    let first = sim.names().remove(0);
    sim.edit(&with("v2", "0"));
    sim.pass(usize::MAX);
    sim.edit(&with("v2", "1"));
    sim.pass(usize::MAX);
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    assert_ne!(sim.status().traffic[0].revision, first);
    sim.edit(&with("v2", "0"));
    sim.pass(usize::MAX);
    sim.finish_servings(true);
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic[0].revision, first);
}

#[test]
fn a_reset_of_the_old_revision_controller_during_a_build_builds_the_newer_commit() {
    let mut sim = Sim::new(&built("main"));
    sim.settle();
    sim.function.status.as_mut().unwrap().build = None;
    sim.pass(usize::MAX);
    let first = sim.builders[0].name_any();
    sim.function.status.as_mut().unwrap().build = None;
    sim.pass(usize::MAX);
    assert_eq!(sim.builders[0].spec.state.as_deref(), Some("Cancelled"));
    sim.finish_build(true);
    sim.pass(usize::MAX);
    assert!(sim.builders.iter().any(|builder| builder.name_any() != first && builder.status.is_none()));
}

#[test]
fn a_restore_without_status_and_with_a_failed_build_goes_on_with_what_runs() {
    let mut sim = Sim::new(&built("v1"));
    sim.settle();
    let (names, traffic) = (sim.names(), sim.status().traffic);
    sim.edit(&built("v2"));
    sim.pass(usize::MAX);
    sim.finish_build(false);
    sim.pass(usize::MAX);
    sim.function.status = None;
    sim.pass(usize::MAX);
    sim.pass(usize::MAX);
    assert_eq!((sim.names(), sim.status().traffic), (names, traffic));
    assert_eq!(sim.condition(READY), ("False".to_owned(), "Failed".to_owned()));
}

#[test]
fn fn28_revisions_that_never_ran_are_no_history() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    sim.edit(&ready_made("b"));
    sim.settle();
    let b = sim.names().remove(0);
    for image in ["c", "d", "e", "f", "g"] {
        sim.edit(&split(image, &json!([{"revision": a, "percent": 100}])));
        sim.settle();
    }
    assert_eq!((sim.names(), sim.parked().len()), (vec![a], 2), "b, and the latest");
    assert!(sim.parked().contains(&b));
}

#[test]
fn fn28_a_revision_that_ran_is_history_though_it_fails_when_another_takes_its_place() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap().state = Some("Failed".to_owned());
    sim.edit(&ready_made("b"));
    sim.settle();
    assert_eq!(sim.parked(), vec![a]);
}

#[test]
fn fn28_other_bounds_make_no_history_of_a_revision_that_never_ran() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    let a = sim.names().remove(0);
    let pinned = |image: &str, bounds: i64| {
        let mut spec = split(image, &json!([{"revision": a, "percent": 100}]));
        spec["serving"]["scaleOptions"] = json!({"maxReplicas": bounds});
        spec
    };
    for spec in [pinned("c", 3), pinned("c", 4), pinned("d", 4)] {
        sim.edit(&spec);
        sim.settle();
    }
    assert_eq!((sim.names(), sim.parked().len()), (vec![a], 1), "the latest only");
}

#[test]
fn fn32_a_revision_that_is_deleted_while_its_successor_is_built_or_fails_comes_back() {
    for ends in [true, false] {
        let mut sim = Sim::new(&built("v1"));
        sim.settle();
        let image = sim.running()[0].spec.image.clone();
        sim.edit(&built("v2"));
        sim.pass(usize::MAX);
        if ends {
            sim.finish_build(false);
            sim.pass(usize::MAX);
        }
        sim.servings.clear();
        sim.pass(usize::MAX);
        assert_eq!(sim.running().iter().map(|serving| serving.spec.image.clone()).collect::<Vec<_>>(), [image]);
        sim.finish_servings(true);
        sim.pass(usize::MAX);
        assert_eq!(sim.status().traffic.len(), 1);
    }
}

#[test]
fn fn36_a_suspended_function_tells_what_becomes_of_what_runs() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    sim.edit(&json!({"image": "b", "serving": {}, "suspend": true}));
    sim.pass(usize::MAX);
    let status = Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap();
    status.backend = Some(Backend { name: "moved".to_owned(), ..Backend::default() });
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic[0].backend.as_ref().unwrap().name, "moved");
    let status = Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap();
    (status.state, status.conditions) = (Some("Failed".to_owned()), Vec::new());
    sim.pass(usize::MAX);
    assert_eq!(sim.status().serving.unwrap().state.as_deref(), Some("Failed"));
}

/// BU17 and BU18: how many Builders that succeeded and that failed are kept, the newest of them.
#[test]
fn bu17_bu18_finished_builders_are_kept_as_the_limits_say() {
    for (good, bad, kept) in [(None, None, (0, 1)), (Some(2), Some(0), (2, 0)), (Some(0), Some(2), (0, 2))] {
        let mut sim = Sim::new(&built("v0"));
        for version in 0..6 {
            let mut spec = built(&format!("v{version}"));
            spec["build"]["successfulBuildsHistoryLimit"] = json!(good);
            spec["build"]["failedBuildsHistoryLimit"] = json!(bad);
            sim.edit(&spec);
            sim.pass(usize::MAX);
            sim.finish_build(version % 2 == 0);
            for _ in 0..3 {
                sim.pass(usize::MAX);
            }
        }
        let of = |state: &str| {
            let has = |builder: &&Arc<Builder>| builder.status.as_ref().unwrap().state.as_deref() == Some(state);
            sim.builders.iter().filter(has).count()
        };
        assert_eq!((of("Succeeded"), of("Failed")), kept, "limits {good:?} and {bad:?}");
        let revision = |builder: &Arc<Builder>| builder.spec.build.src_repo.revision.clone();
        let last = sim.builders.iter().map(revision).max().flatten();
        let newest = if kept.1 > 0 { "v5" } else { "v4" };
        assert_eq!(last.as_deref(), Some(newest), "the newest stay");
    }
}

#[test]
fn where_a_revision_answers_is_followed_while_another_one_fails() {
    let mut sim = Sim::new(&ready_made("a"));
    sim.settle();
    sim.edit(&ready_made("b"));
    sim.pass(usize::MAX);
    let latest = sim.status().serving.unwrap().resource_ref.unwrap();
    sim.broken.insert(latest);
    sim.finish_servings(true);
    Arc::make_mut(&mut sim.servings[0]).status.as_mut().unwrap().backend =
        Some(Backend { name: "moved".to_owned(), ..Backend::default() });
    sim.pass(usize::MAX);
    assert_eq!(sim.status().traffic[0].backend.as_ref().unwrap().name, "moved");
}

/// The rows of docs/explanation/function-lifecycle.md: what is edited, and what it says of build and revision.
fn rows() -> Vec<[String; 4]> {
    let page = include_str!("../../docs/explanation/function-lifecycle.md");
    let table = page.lines().skip_while(|line| !line.starts_with("| Edit |")).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    table.take_while(|line| line.starts_with('|')).map(|line| cells(line).try_into().unwrap()).collect()
}

/// FN6, FN7, TR18, B-12, B-16, B-27 to B-31: every row of the table is played.
#[test]
fn each_edit_does_what_the_page_about_the_life_of_a_function_says() {
    let dapr = json!({"triggers": {"dapr": [{"name": "a", "type": "bindings.cron"}]}});
    let set = |mut spec: Value, pointer: &str, value: Value| {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        spec.pointer_mut(parent).unwrap()[field] = value;
        spec
    };
    let without = |mut spec: Value, field: &str| {
        spec.as_object_mut().unwrap().remove(field);
        spec
    };
    let plain = || ready_made("registry/hello:v1");
    let edits: Vec<(&str, Value, Value)> = vec![
        ("`build` is added", plain(), built("v1")),
        ("source, strategy or another field of `build` is changed", built("v1"), built("v2")),
        (
            "`timeout`, history limits or `builderMaxAge` of `build` are changed",
            built("v1"),
            set(built("v1"), "/build/timeout", json!("9m")),
        ),
        ("`build` is removed", built("v1"), plain()),
        ("annotation `openfunction.io/rebuild` has another value", built("v1"), built("v1")),
        ("`serving` is added", without(built("v1"), "serving"), built("v1")),
        (
            "pod template, parameters or triggers are changed",
            plain(),
            set(plain(), "/serving/params", json!({"A": "1"})),
        ),
        ("`engine` is changed", plain(), set(plain(), "/serving/triggers", json!({"http": {"engine": "keda"}}))),
        (
            "bounds, `timeout` or route are changed",
            plain(),
            set(plain(), "/serving/scaleOptions", json!({"maxReplicas": 7})),
        ),
        ("HTTP trigger becomes a Dapr trigger", plain(), set(plain(), "/serving", dapr)),
        ("`serving` is removed", built("v1"), without(built("v1"), "serving")),
        ("`image` is changed, without `build`", plain(), ready_made("registry/hello:v2")),
        ("the spec becomes what it was before", built("v1"), built("v1")),
        ("`suspend` is set", built("v1"), set(built("v1"), "/suspend", json!(true))),
    ];
    let rows = rows();
    assert_eq!(
        rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(),
        edits.iter().map(|edit| edit.0).collect::<Vec<_>>()
    );
    for ([edit, build, revision, requests], (_, before, after)) in rows.iter().zip(&edits) {
        let mut sim = Sim::new(before);
        sim.settle();
        let old = sim.names();
        if edit.starts_with("annotation") {
            sim.function.annotations_mut().insert(names::REBUILD.to_owned(), "now".to_owned());
        }
        if edit.starts_with("the spec becomes") {
            sim.edit(&set(built("v1"), "/serving/params", json!({"A": "1"})));
            sim.settle();
        }
        let answered = sim.leads_to();
        sim.edit(after);
        sim.pass(usize::MAX);
        let starts_a_build = sim.builders.iter().any(|builder| builder.status.is_none());
        assert_eq!(starts_a_build, build.starts_with("a Builder is made"), "{edit}: {build}");
        let stay = !answered.is_empty() && !requests.starts_with("end") && !requests.starts_with("the route goes");
        if stay {
            assert_eq!(sim.leads_to(), answered, "{edit}: {requests}");
        }
        sim.settle();
        let now = sim.names();
        match revision.as_str() {
            none if none.starts_with("none") => assert_eq!(now, old, "{edit}"),
            "all go, when the route has gone" => assert!(sim.servings.is_empty(), "{edit}"),
            "the old one again, if the history has it" => assert_eq!(now, old, "{edit}"),
            _ => assert!(now.len() == 1 && now != old, "{edit}: {revision}: {now:?}"),
        }
        if !starts_a_build {
            assert!(sim.builders.is_empty(), "{edit}: a build came later");
        }
        assert_eq!(sim.condition(READY).0, "True", "{edit}");
        assert_eq!(sim.route.is_some(), sim.needs_route(), "{edit}");
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Edit(usize),
    Pass(usize),
    FinishBuild(bool),
    FinishServings(bool),
    Render,
    Accept,
    /// All goes well up to a new route that the gateway has not taken yet.
    Progress,
    Wait(u64),
    Restart,
    LoseBuilder,
    LoseServing,
    LoseStatus,
    /// Requests are sent to one of the revisions that there are, or split with the latest.
    Pin(usize, bool),
    Suspend(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..SPECS).prop_map(Happening::Edit),
        8 => (0_usize..6).prop_map(Happening::Pass),
        6 => Just(Happening::Pass(usize::MAX)),
        3 => any::<bool>().prop_map(Happening::FinishBuild),
        3 => any::<bool>().prop_map(Happening::FinishServings),
        3 => Just(Happening::Render),
        3 => Just(Happening::Accept),
        5 => Just(Happening::Progress),
        4 => (20_u64..60).prop_map(Happening::Wait),
        1 => Just(Happening::Restart),
        1 => Just(Happening::LoseBuilder),
        1 => Just(Happening::LoseServing),
        1 => Just(Happening::LoseStatus),
        3 => (0_usize..4, any::<bool>()).prop_map(|(which, splits)| Happening::Pin(which, splits)),
        1 => any::<bool>().prop_map(Happening::Suspend),
    ]
}

const SPECS: usize = 7;

fn spec(index: usize) -> Value {
    let mut only_built = built("v1");
    only_built.as_object_mut().unwrap().remove("serving");
    let mut tuned = built("v1");
    tuned["serving"] = json!({"params": {"A": "1"}, "scaleOptions": {"maxReplicas": 3}});
    let hidden = json!({"image": "a", "serving": {"triggers": {"http": {"route": {"visibility": "None"}}}}});
    [built("v1"), built("v2"), tuned, only_built, ready_made("a"), ready_made("b"), hidden][index].clone()
}

/// How many stories are played, unless `STORIES` says otherwise.
fn stories() -> u32 {
    std::env::var("STORIES").ok().and_then(|number| number.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: stories(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_deleted_that_answers_and_all_settles(first in 0..SPECS, is_left in any::<bool>(), story in prop::collection::vec(happening(), 0..40)) {
        let mut sim = if is_left { adopt::left_with_its_route(&spec(first)) } else { Sim::new(&spec(first)) };
        for happening in story {
            match happening {
                Happening::Edit(index) => sim.edit(&spec(index)),
                Happening::Pass(writes) => sim.pass(writes),
                Happening::FinishBuild(well) => sim.finish_build(well),
                Happening::FinishServings(well) => sim.finish_servings(well),
                Happening::Render => sim.render(),
                Happening::Accept => sim.accept(),
                Happening::Progress => sim.progress(),
                Happening::Wait(seconds) => sim.wait(seconds),
                Happening::Restart => sim.unrouted.clear(),
                Happening::LoseBuilder => drop(sim.builders.pop()),
                Happening::LoseStatus => sim.function.status = None,
                Happening::Pin(which, splits) => sim.pin(which, splits),
                Happening::Suspend(suspend) => sim.change(|spec| spec.suspend = Some(suspend)),
                Happening::LoseServing => {
                    // By hand; a user may do that even to what answers.
                    if let Some(lost) = sim.servings.pop() {
                        sim.accepted.retain(|name| *name != lost.name_any());
                        if let Some(route) = &mut sim.route {
                            route.retain(|target| target.revision != lost.name_any());
                        }
                    }
                }
            }
            let running = sim.builders.iter().filter(|builder| builder.status.is_none() && builder.spec.state.is_none());
            prop_assert!(running.count() <= 1, "one build at a time");
        }
        sim.change(|spec| spec.suspend = None);
        sim.settle();
        let (plan, status) = (sim.plan(), sim.status());
        prop_assert_eq!(own(&plan.status), own(&status), "a settled Function is quiet");
        prop_assert!(plan.cancel.is_empty() && plan.obsolete_servings.is_empty() && plan.obsolete_builders.is_empty());
        let failed_build = status.build.as_ref().is_some_and(|build| build.state.as_deref() == Some("Failed"));
        let known = |name: &String| sim.servings.iter().any(|serving| serving.name_any() == *name);
        let requests = sim.function.spec.serving.clone().map(|serving| serving.traffic).unwrap_or_default();
        let named: Vec<_> = requests.iter().filter_map(|request| request.revision.clone()).collect();
        let is_split = requests.iter().any(|request| request.latest == Some(true));
        if sim.function.spec.serving.is_none() {
            prop_assert!(sim.servings.is_empty() && sim.route.is_none(), "{:?}", sim.servings);
        } else if !named.iter().all(known) {
            prop_assert_eq!(sim.condition(SERVING_READY).1, "RevisionNotFound");
            return Ok(());
        } else if !failed_build {
            let mut told: Vec<_> = status.traffic.iter().map(|target| target.revision.clone()).collect();
            told.sort();
            told.dedup();
            let mut running = sim.names();
            running.sort();
            prop_assert_eq!(&running, &told, "what has requests runs, and nothing else");
            prop_assert!(named.iter().all(|name| told.contains(name)), "{:?} {:?}", named, told);
            prop_assert!(!named.is_empty() || told.len() == 1);
            prop_assert!(told.len() <= named.len() + usize::from(is_split || named.is_empty()));
            prop_assert!(sim.parked().len() <= 4, "three of the history, and the latest");
        }
        if !failed_build {
            prop_assert_eq!(sim.condition(READY).0, "True", "{:?}", status.conditions);
        }
    }
}
