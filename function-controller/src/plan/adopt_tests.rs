//! What the original leaves is taken over.

use openfunction_proto::core::ADOPTED;

use super::*;

/// What the original leaves of a Function that it has built and runs: names with random endings, hashes of its own.
fn of_the_original(builder: Option<&Value>) -> Sim {
    let mut sim = Sim::new(&built("main"));
    sim.function.status =
        Some(left(json!({"build": {"state": "Succeeded", "reason": "Succeeded", "resourceRef": "builder-4p2qq",
        "resourceHash": "15347288654328675453"}, "revision": {"imageDigest": "sha256:aa"}})));
    let builder = builder.map(|spec| {
        let metadata = json!({"name": "builder-4p2qq", "namespace": "shop", "uid": "b", "labels": {"openfunction.io/function": "hello"}});
        let object = json!({"metadata": metadata, "spec": spec, "status": {"state": "Succeeded", "output": {"digest": "sha256:aa"}}});
        Arc::new(serde_json::from_value(object).unwrap())
    });
    sim.builders.extend(builder);
    sim
}

/// Its status of a Function whose revision `serving-lrd8c` runs.
fn left(mut more: Value) -> FunctionStatus {
    more["serving"] = json!({"state": "Running", "resourceRef": "serving-lrd8c", "lastSuccessfulResourceRef": "serving-lrd8c",
        "resourceHash": "1234567890123456789", "service": "serving-lrd8c-ksvc-7pp8q"});
    serde_json::from_value(more).unwrap()
}

/// A revision that it has made.
fn serving(name: &str, spec: &Value) -> Arc<Serving> {
    let owner = json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "name": "hello", "uid": "f", "controller": true});
    let metadata = json!({"name": name, "namespace": "shop", "uid": name, "generation": 1, "ownerReferences": [owner],
        "labels": {"openfunction.io/function": "hello"}});
    let status = json!({"phase": "Serving", "state": "Running", "reason": "Running"});
    Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap())
}

/// What the original leaves of any Function: requests reach what runs.
pub fn left_with_its_route(spec: &Value) -> Sim {
    let mut sim = if spec["serving"].is_null() { Sim::new(spec) } else { runs(spec) };
    if sim.needs_route() {
        sim.accepted = vec!["serving-lrd8c".to_owned()];
        let target = json!({"revision": "serving-lrd8c", "percent": 100});
        sim.route = Some(vec![serde_json::from_value(target).unwrap()]);
        sim.function.status.as_mut().unwrap().route = Some(FunctionRouteStatus::default());
    }
    sim
}

/// A Function that is not built, with the revision that the original has made of it.
fn runs(spec: &Value) -> Sim {
    let mut sim = Sim::new(spec);
    sim.function.status = Some(left(json!({"build": {"state": "Skipped", "resourceHash": "14165285899942527405"}})));
    let mut of_spec = spec["serving"].clone();
    of_spec["image"] = spec["image"].clone();
    sim.servings.push(serving("serving-lrd8c", &of_spec));
    sim
}

#[test]
fn fn22_what_the_original_has_built_is_not_built_again() {
    let spec = |sim: &Sim| {
        let mut builder = json!(sim.function.spec.build);
        builder["image"] = json!(sim.function.spec.image);
        builder["timeout"] = json!("10m0s");
        builder
    };
    let gone = of_the_original(None);
    let same = of_the_original(Some(&spec(&gone)));
    for sim in [gone.clone(), same] {
        let plan = sim.plan();
        assert!(plan.builder.is_none());
        let build = plan.status.build.unwrap();
        assert_eq!((build.state.as_deref(), build.resource_ref.as_deref()), (Some("Succeeded"), Some("builder-4p2qq")));
        assert_eq!(plan.status.revision.unwrap().image_digest.as_deref(), Some("sha256:aa"));
        // The next pass knows it by the hash, and a change builds.
        let mut sim = sim;
        sim.function.status.as_mut().unwrap().build = Some(build);
        sim.function.status.as_mut().unwrap().observed_generation = Some(1);
        assert!(sim.plan().builder.is_none());
        sim.function.spec = serde_json::from_value(built("other")).unwrap();
        assert!(sim.plan().builder.is_some());
    }
    let mut other = spec(&gone);
    other["srcRepo"]["revision"] = json!("before");
    assert!(of_the_original(Some(&other)).plan().builder.is_some(), "it was changed while nobody looked");
    let mut running = gone;
    running.function.status.as_mut().unwrap().build.as_mut().unwrap().state = Some("Building".to_owned());
    assert!(running.plan().builder.is_some(), "what it never ended is begun anew");
}

/// What the serving-controller says of those that it could take over, and of others.
fn finish(sim: &mut Sim, adopted: bool) {
    sim.finish_servings(adopted);
    for serving in sim.servings.iter_mut().filter(|serving| serving.name_any().starts_with("serving-")) {
        let condition = NewCondition { status: Some(adopted), ..NewCondition::true_(ADOPTED, "AsItIs", "") };
        let condition = conditions::next(&[], condition, Some(1), sim.now);
        Arc::make_mut(serving).status.as_mut().unwrap().conditions.push(condition);
    }
}

fn http(more: Value) -> Value {
    let mut spec = json!({"image": "a", "serving": {"scaleOptions": {"maxReplicas": 3}, "template": {"containers": [
        {"name": "function", "resources": {"limits": {"memory": "64Mi", "cpu": "1"}}}]}, "triggers": {"http": {"port": 8080}}}});
    more.as_object().unwrap().iter().for_each(|(path, value)| *spec.pointer_mut(path).unwrap() = value.clone());
    spec
}

#[test]
fn fn22_what_the_original_runs_as_asked_goes_on_and_a_change_makes_a_revision_of_ours() {
    let mut sim = runs(&http(json!({})));
    sim.has_knative = true;
    sim.pass(usize::MAX);
    finish(&mut sim, true);
    sim.settle();
    assert_eq!(sim.names(), ["serving-lrd8c"]);
    let status = sim.status();
    assert_eq!(status.traffic[0].revision, "serving-lrd8c");
    assert_eq!(status.traffic[0].backend.as_ref().unwrap().name, "serving-lrd8c");
    assert_eq!(sim.condition(READY), ("True".to_owned(), "Ready".to_owned()));
    assert_eq!(status.serving.unwrap().resource_ref.as_deref(), Some("serving-lrd8c"));

    // Both are there until the route has moved; then the old one goes, and is no history: nothing is written to it.
    sim.edit(&http(json!({"/image": "b"})));
    sim.pass(usize::MAX);
    assert_eq!(sim.names().len(), 2);
    assert_eq!(sim.status().traffic[0].revision, "serving-lrd8c");
    sim.settle();
    assert_eq!(sim.names().len(), 1, "{:?}", sim.names());
    assert!(sim.names()[0].starts_with("hello-"));
}

#[test]
fn fn22_only_what_the_original_would_have_put_into_pods_makes_a_revision() {
    let is_new = |edited: Value| {
        let mut sim = runs(&http(json!({})));
        sim.pass(usize::MAX);
        finish(&mut sim, true);
        sim.edit(&edited);
        !sim.plan().servings.is_empty()
    };
    let limits = "/serving/template/containers/0/resources/limits";
    for same in [
        json!({}),
        json!({"/serving/triggers": {"http": {"port": 8080, "route": {"hostnames": ["a.example.com"]}}}}),
        json!({"/serving/triggers": {"http": {"engine": "knative"}}}),
        json!({"/serving/triggers": {"http": {"engine": "auto", "port": 8080}}}),
        json!({limits: {"memory": "65536Ki", "cpu": "1000m"}}),
    ] {
        assert!(!is_new(http(same.clone())), "{same}");
    }
    for other in [
        json!({"/image": "b"}),
        json!({"/serving/triggers": {"http": {"port": 9090}}}),
        json!({"/serving/triggers": {"http": {"engine": "native", "port": 8080}}}),
        json!({"/serving/triggers": {"http": {"engine": "keda", "port": 8080}}}),
        json!({"/serving/triggers": {"dapr": [{"name": "bus", "topic": "t"}]}}),
        json!({"/serving/scaleOptions": {"maxReplicas": 4}}),
        json!({limits: {"memory": "65Mi", "cpu": "1"}}),
    ] {
        assert!(is_new(http(other.clone())), "{other}");
    }
}

#[test]
fn fn22_the_add_on_reads_the_route_so_another_makes_a_revision() {
    let keda = |hostname: &str| {
        http(
            json!({"/serving/triggers": {"http": {"engine": "keda", "port": 8080, "route": {"hostnames": [hostname]}}}}),
        )
    };
    let mut sim = runs(&keda("a.example.com"));
    sim.pass(usize::MAX);
    assert_eq!(sim.names(), ["serving-lrd8c"]);
    sim.edit(&keda("b.example.com"));
    sim.pass(usize::MAX);
    assert_eq!(sim.names().len(), 2);
}

#[test]
fn fn22_what_cannot_be_taken_over_answers_until_a_revision_of_ours_does() {
    let mut sim = runs(&http(json!({})));
    sim.broken.insert("serving-lrd8c".to_owned());
    sim.pass(usize::MAX);
    assert_eq!(sim.names().len(), 1);
    finish(&mut sim, false);
    sim.pass(usize::MAX);
    assert_eq!(sim.names().len(), 2);
    sim.settle();
    assert_eq!(sim.names().len(), 1);
    assert!(sim.names()[0].starts_with("hello-"));
}

#[test]
fn fn22_with_a_failed_change_the_last_that_ran_goes_on_with_the_requests() {
    let mut sim = runs(&http(json!({})));
    let mut failing = http(json!({"/image": "gone"}));
    sim.function.spec = serde_json::from_value(failing.clone()).unwrap();
    let status = sim.function.status.as_mut().unwrap().serving.as_mut().unwrap();
    (status.state, status.resource_ref) = (Some("Failed".to_owned()), Some("serving-zzzzz".to_owned()));
    let mut spec = failing["serving"].take();
    spec["image"] = json!("gone");
    sim.servings.push(serving("serving-zzzzz", &spec));
    sim.broken.insert("serving-zzzzz".to_owned());
    sim.pass(usize::MAX);
    Arc::make_mut(&mut sim.servings[1]).status.as_mut().unwrap().state = Some("Failed".to_owned());
    finish(&mut sim, true);
    sim.pass(usize::MAX);
    sim.render();
    sim.wait(60);
    sim.pass(usize::MAX);
    assert_eq!(sim.names(), ["serving-lrd8c", "serving-zzzzz"], "no other is made, and none goes");
    let status = sim.status();
    assert_eq!(status.traffic[0].revision, "serving-lrd8c");
    let serving = status.serving.unwrap();
    assert_eq!((serving.state.as_deref(), serving.resource_ref.as_deref()), (Some("Failed"), Some("serving-zzzzz")));
    assert_eq!(serving.last_successful_resource_ref.as_deref(), Some("serving-lrd8c"));
    // To take the change back brings the revision before, at once.
    sim.edit(&http(json!({})));
    sim.settle();
    assert_eq!(sim.names(), ["serving-lrd8c"]);
}

#[test]
fn fn22_a_wasm_function_of_the_original_goes_on() {
    let annotations = json!({"module.wasm.image/variant": "compat-smart"});
    let mut sim =
        runs(&json!({"image": "a", "workloadRuntime": "WasmEdge", "serving": {"triggers": {"http": {"port": 8080}}}}));
    sim.function.metadata.annotations = serde_json::from_value(annotations.clone()).unwrap();
    Arc::make_mut(&mut sim.servings[0]).metadata.annotations = serde_json::from_value(annotations).unwrap();
    assert!(sim.plan().servings.is_empty());
}

#[test]
fn fn22_what_the_original_runs_has_its_events_until_ours_can_have_them() {
    let events =
        |image: &str| json!({"image": image, "serving": {"triggers": {"dapr": [{"name": "bus", "topic": "t"}]}}});
    let mut sim = runs(&events("a"));
    sim.edit(&events("b"));
    sim.pass(usize::MAX);
    sim.pass(usize::MAX);
    assert_eq!(sim.names().len(), 2);
    sim.settle();
    assert_eq!(sim.names().len(), 1);
    assert!(!sim.names().contains(&"serving-lrd8c".to_owned()), "{:?}", sim.names());
}
