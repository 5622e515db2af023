//! Revisions that the original has made (FN22, design §5): they stay as they are, so that no pod is restarted, until the
//! Function asks for something else. Nothing of theirs is rendered: it is looked at, and told of.

use controller_runtime::{
    apply::{ApplyError, Converged},
    children::MANAGED_BY,
    conditions::NewCondition,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use openfunction_proto::core::{ADOPTED, ScalingStatus, Serving};
use serde_json::json;

use crate::{
    ABOUT,
    dapr::{self, Components},
    engine::{Seen, World},
    foreign::{HttpScaledObject, KnativeService, ScaledJob, ScaledObject},
    reconcile::{Context, Outcome},
    status::Observed,
    validate::validate,
};

/// Key of `status.resourceRef` for the proxy (core-api §6.3).
const PROXY: &str = "dapr-proxy";
/// Keys for what has the pods of the function.
const WORKLOADS: [&str; 3] = ["serving.knative.dev/service", "http.keda.sh/deployment", "Async/workload"];

/// An object that the original has made for a revision.
struct Part {
    key: &'static str,
    resource: ApiResource,
    name: String,
}

impl Part {
    fn is(&self, object: &DynamicObject) -> bool {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind == Some(&self.resource.kind) && object.name_any() == self.name
    }
}

/// What the original's status of a revision names, but Components: nobody looks at those.
fn parts(serving: &Serving) -> Vec<Part> {
    fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }
    let (workload, scaler) = match serving.spec.serving.workload_type.as_deref() {
        Some("StatefulSet") => (of::<StatefulSet>(), of::<ScaledObject>()),
        Some("Job") => (of::<Job>(), of::<ScaledJob>()),
        _ => (of::<Deployment>(), of::<ScaledObject>()),
    };
    let kinds = [
        ("serving.knative.dev/service", of::<KnativeService>()),
        ("http.keda.sh/deployment", of::<Deployment>()),
        ("http.keda.sh/httpscaledobject", of::<HttpScaledObject>()),
        ("Async/workload", workload),
        ("Async/scaler", scaler),
        (PROXY, of::<Deployment>()),
    ];
    let named = serving.status.as_ref().map(|status| &status.resource_ref);
    let part = |(key, resource)| Some(Part { key, resource, name: named?.get(key)?.clone() });
    kinds.into_iter().filter_map(part).collect()
}

/// Looks at a revision of the original.
///
/// # Errors
/// What the API server answers when its objects are put among those that are watched.
pub async fn look(serving: &Serving, context: &Context, world: World<'_>) -> Result<Outcome, ApplyError> {
    let parts = parts(serving);
    let mut live = Vec::new();
    for part in &parts {
        match world.live.iter().find(|object| part.is(object)) {
            Some(object) => live.push(object.clone()),
            None => live.extend(take_over(serving, context, part).await?),
        }
    }
    let (seen, adopted) = judge(serving, &parts, &live, world);
    Ok((Some(seen), vec![adopted], Converged::default()))
}

/// Puts an object among those that are watched. That changes no pod: templates have labels of their own.
async fn take_over(serving: &Serving, context: &Context, part: &Part) -> Result<Option<DynamicObject>, ApplyError> {
    let failed = |source| ApplyError::Api {
        kind: part.resource.kind.clone(),
        name: part.name.clone(),
        source: Box::new(source),
    };
    let namespace = serving.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &part.resource);
    let found = api.get_opt(&part.name).await.map_err(failed)?;
    let is_owned =
        |object: &DynamicObject| object.owner_references().iter().any(|o| Some(&o.uid) == serving.uid().as_ref());
    if !found.is_some_and(|object| is_owned(&object)) {
        return Ok(None);
    }
    let label = json!({"metadata": {"labels": {MANAGED_BY: ABOUT.name}}});
    let params = PatchParams { field_manager: Some(ABOUT.name.to_owned()), ..PatchParams::default() };
    match api.patch(&part.name, &params, &Patch::Merge(&label)).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

/// What is seen of a revision of the original, and whether it can stay.
fn judge(serving: &Serving, parts: &[Part], live: &[DynamicObject], world: World<'_>) -> (Seen, NewCondition) {
    let resources = parts.iter().map(|part| (part.key, part.name.clone())).collect();
    match observe(serving, parts, live, world) {
        Ok(seen) => {
            let message = "runs as OpenFunction 1.x has made it; what is changed next makes a revision of its own";
            (Seen { resources, ..seen }, NewCondition::true_(ADOPTED, "AsItIs", message))
        }
        Err((reason, message)) => {
            let seen = Seen {
                observed: Observed::new("Failed", reason, message.clone()),
                backend: None,
                scaling: ScalingStatus::default(),
                resources,
                url: String::new(),
            };
            (seen, NewCondition::false_(ADOPTED, reason, message))
        }
    }
}

fn observe(
    serving: &Serving,
    parts: &[Part],
    live: &[DynamicObject],
    world: World<'_>,
) -> Result<Seen, (&'static str, String)> {
    let find = |key: &str| {
        let part = parts.iter().find(|part| part.key == key)?;
        live.iter().find(|object| part.is(object))
    };
    if !WORKLOADS.iter().any(|key| find(key).is_some()) {
        return Err(("WorkloadMissing", "it has no workload".to_owned()));
    }
    if let Some(part) = parts.iter().find(|part| find(part.key).is_none()) {
        return Err(("WorkloadMissing", format!("{} {} is gone", part.resource.kind, part.name)));
    }
    // It knows Knative where nothing is said, and names nothing after the revision.
    let mut named = serving.clone();
    let http = named.spec.serving.triggers.as_mut().and_then(|triggers| triggers.http.as_mut());
    if let Some(http) = http.filter(|http| http.engine.as_deref() != Some("keda")) {
        http.engine = Some("knative".to_owned());
    }
    let of_revision = parts.iter().filter(|part| part.key != PROXY).filter_map(|part| find(part.key));
    let live: Vec<_> = of_revision
        .map(|object| {
            let mut object = object.clone();
            object.metadata.name = serving.metadata.name.clone();
            object
        })
        .collect();
    let components = Components::default();
    let world = World { live: &live, components: &components, ..world };
    let valid = validate(&named).map_err(|error| ("InvalidSpec", error.to_string()))?;
    let mut seen = valid.engine.observe(&valid, &world);
    let before = serving.status.clone().unwrap_or_default();
    seen.url = before.url.unwrap_or_default();
    if let Some(backend) = seen.backend.as_mut().filter(|backend| backend.host.is_some()) {
        // The add-on knows it by hostnames of its route; without one, nobody could reach it (B-91, B-92).
        let object = find("http.keda.sh/httpscaledobject");
        let host = object.and_then(|object| object.data.pointer("/spec/hosts/0")).and_then(|host| host.as_str());
        let host = host.ok_or_else(|| ("Unreachable", "KEDA's add-on knows no hostname of it".to_owned()))?;
        backend.host = Some(host.to_owned());
    }
    let proxy = find(PROXY).and_then(|object| object.clone().try_parse().ok());
    let waits = proxy.is_some() && !valid.was_running() && !dapr::proxy_is_ready(proxy.as_ref());
    if waits && seen.observed.state == "Running" {
        seen.observed = Observed::waits_for_proxy();
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use controller_runtime::children;
    use serde_json::Value;

    use super::*;
    use crate::testing::Case;

    /// What the original leaves of a revision: its spec, its status, and its objects with their names and kinds.
    fn judged(spec: Value, refs: Value, objects: &[Value]) -> (Seen, NewCondition) {
        let mut case = Case::new(spec);
        let status = json!({"state": "Running", "resourceRef": refs, "url": "serving-1-abcde"});
        case.serving.status = Some(serde_json::from_value(status).unwrap());
        let live: Vec<_> = objects.iter().map(children::dynamic).collect();
        judge(&case.serving, &parts(&case.serving), &live, case.world())
    }

    fn deployment(name: &str, available: i32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "generation": 1}, "spec": {"replicas": 1},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}})
    }

    #[test]
    fn fn22_a_knative_service_of_the_original_answers_by_the_revision_that_is_ready() {
        let service = json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "hello-1-ksvc-7pp8q", "generation": 1},
            "status": {"observedGeneration": 1, "latestReadyRevisionName": "hello-1-ksvc-7pp8q-v100", "latestCreatedRevisionName": "hello-1-ksvc-7pp8q-v100",
                "conditions": [{"type": "ConfigurationsReady", "status": "True"}]}});
        let refs = json!({"serving.knative.dev/service": "hello-1-ksvc-7pp8q", "dapr.io/component": "a,b"});
        let (seen, adopted) = judged(json!({}), refs, &[service]);
        assert_eq!((seen.observed.state, adopted.status), ("Running", Some(true)));
        let backend = seen.backend.unwrap();
        assert_eq!((backend.name.as_str(), backend.port), ("hello-1-ksvc-7pp8q-v100", 80));
        assert_eq!(backend.headers["Knative-Serving-Revision"], "hello-1-ksvc-7pp8q-v100");
        assert_eq!(seen.resources, [("serving.knative.dev/service", "hello-1-ksvc-7pp8q".to_owned())]);
        assert_eq!(seen.url, "serving-1-abcde", "as the original says it");
    }

    #[test]
    fn fn22_the_add_on_knows_a_revision_of_the_original_by_a_hostname_of_its_route() {
        let spec = json!({"triggers": {"http": {"engine": "keda"}}});
        let refs = json!({"http.keda.sh/deployment": "d", "http.keda.sh/httpscaledobject": "h"});
        let object = |hosts: Value| json!({"apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"name": "h"}, "spec": {"hosts": hosts}});
        let known = judged(
            spec.clone(),
            refs.clone(),
            &[deployment("d", 1), object(json!(["a.example.com", "b.example.com"]))],
        );
        let backend = known.0.backend.unwrap();
        assert_eq!((backend.host.as_deref(), known.1.status), (Some("a.example.com"), Some(true)));
        // B-91 without the object, B-92 without a hostname.
        for (refs, object) in [(refs, object(json!([]))), (json!({"http.keda.sh/deployment": "d"}), Value::Null)] {
            let objects: Vec<_> = [deployment("d", 1), object].into_iter().filter(|object| !object.is_null()).collect();
            let (seen, adopted) = judged(spec.clone(), refs, &objects);
            assert_eq!((adopted.status, adopted.reason.as_str(), seen.backend), (Some(false), "Unreachable", None));
        }
    }

    #[test]
    fn fn22_a_function_with_events_waits_for_the_proxy_of_the_original() {
        let spec = json!({"triggers": {"dapr": [{"name": "bus", "topic": "t"}]}, "pubsub": {"bus": {"type": "pubsub.redis", "version": "v1", "metadata": []}}});
        let refs = json!({"Async/workload": "d", "dapr-proxy": "p"});
        let state = |proxy: i32, before: &str| {
            let mut case = Case::new(spec.clone());
            case.serving.status = Some(serde_json::from_value(json!({"state": before, "resourceRef": refs})).unwrap());
            let live = [deployment("d", 1), deployment("p", proxy)].map(|object| children::dynamic(&object));
            judge(&case.serving, &parts(&case.serving), &live, case.world()).0.observed.state
        };
        assert_eq!(
            (state(1, "Starting"), state(0, "Starting"), state(0, "Running")),
            ("Running", "Starting", "Running")
        );
    }

    #[test]
    fn fn22_without_one_of_its_objects_a_revision_of_the_original_cannot_stay() {
        let spec = json!({"triggers": {"dapr": [{"name": "bus", "topic": "t"}]}});
        let refs = json!({"Async/workload": "d", "Async/scaler": "s"});
        let (seen, adopted) = judged(spec.clone(), refs, &[deployment("d", 1)]);
        assert_eq!((adopted.status, adopted.message.as_str()), (Some(false), "ScaledObject s is gone"));
        assert_eq!((seen.observed.state, seen.observed.reason.as_str()), ("Failed", "WorkloadMissing"));
        assert_eq!(judged(spec, json!({}), &[]).1.message, "it has no workload");
    }
}
