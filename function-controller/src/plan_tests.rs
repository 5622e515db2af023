//! The planner: a table of situations, and random sequences of edits, outcomes and faults.

use openfunction_proto::core::{Backend, BuilderOutput, BuilderStatus, FunctionRouteStatus, ServingStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use controller_runtime::traffic::ROUTE_READY;

use crate::status::{READY, own};

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
            assert!(!self.leads_to().contains(&name), "{name} is deleted while a route leads to it");
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
                ..BuilderStatus::default()
            });
        }
    }

    fn finish_servings(&mut self, well: bool) {
        for serving in &mut self.servings {
            let (name, generation) = (serving.name_any(), serving.metadata.generation);
            let state = if well { "Running" } else { "Failed" };
            let before = serving.status.clone().unwrap_or_default();
            // What ran goes on.
            if before.state.as_deref() == Some("Running") && !well {
                continue;
            }
            let new =
                if well { NewCondition::true_("Ready", state, "") } else { NewCondition::false_("Ready", state, "") };
            let backend = Backend { name: name.clone(), ..Backend::default() };
            Arc::make_mut(serving).status = Some(ServingStatus {
                state: Some(state.to_owned()),
                reason: Some(state.to_owned()),
                url: Some(name),
                observed_generation: generation,
                conditions: vec![conditions::next(&before.conditions, new, generation, self.now)],
                backend: Some(backend),
                ..ServingStatus::default()
            });
        }
    }

    fn needs_route(&self) -> bool {
        let spec = self.function.spec.with_defaults(&self.settings.default_gateway);
        spec.serving.is_some_and(|serving| serving.needs_route())
    }

    /// The gateway-controller looks at the Function.
    fn render(&mut self) {
        let mut status = self.status();
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
        self.accepted = self.route.iter().flatten().map(|target| target.revision.clone()).collect();
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Everything goes well from now on, until nothing changes any more.
    fn settle(&mut self) {
        for _ in 0..12 {
            self.pass(usize::MAX);
            self.finish_build(true);
            self.finish_servings(true);
            self.pass(usize::MAX);
            self.render();
            self.accept();
            self.render();
            self.wait(31);
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

    fn names(&self) -> Vec<String> {
        self.servings.iter().map(|serving| serving.name_any()).collect()
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
    let engine = |sim: &Sim| sim.servings[0].spec.serving.http().unwrap().engine.clone().unwrap();
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
    assert_eq!(sim.condition(READY), ("False".to_owned(), "RouteNotObserved".to_owned()));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_deleted_that_answers_and_all_settles(first in 0..SPECS, story in prop::collection::vec(happening(), 0..40)) {
        let mut sim = Sim::new(&spec(first));
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
        sim.settle();
        let (plan, status) = (sim.plan(), sim.status());
        prop_assert_eq!(own(&plan.status), own(&status), "a settled Function is quiet");
        prop_assert!(plan.cancel.is_empty() && plan.obsolete_servings.is_empty() && plan.obsolete_builders.is_empty());
        let failed_build = status.build.as_ref().is_some_and(|build| build.state.as_deref() == Some("Failed"));
        if sim.function.spec.serving.is_none() {
            prop_assert!(sim.servings.is_empty() && sim.route.is_none(), "{:?}", sim.names());
        } else if !failed_build {
            prop_assert_eq!(sim.names().len(), 1, "one revision is left: {:?}", sim.names());
            prop_assert_eq!(&status.traffic[0].revision, &sim.names()[0]);
        }
        if !failed_build {
            prop_assert_eq!(sim.condition(READY).0, "True", "{:?}", status.conditions);
        }
    }
}
