//! The pods of a revision: the user's PodSpec with the function in it.

use std::collections::BTreeMap;

use controller_runtime::children;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use crate::{
    ABOUT, context,
    dapr::{self, Mode},
    engine::World,
    globals,
    validate::Valid,
};

/// The container that runs the function's image.
pub const FUNCTION: &str = "function";

/// Time for which a pod that shall end still answers, since gateways and proxies learn late that it does.
const DRAIN_SECONDS: u64 = 5;

/// The first port that needs no privilege.
const UNPRIVILEGED: i32 = 1024;

/// What an engine leaves to others.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Something else (Knative's queue-proxy) finds out whether the container listens, and drains it.
    pub has_proxy: bool,
    /// It ends by itself, and nobody calls it.
    pub is_job: bool,
}

impl Shape {
    /// Of engines that leave nothing to others.
    pub const PLAIN: Self = Self { has_proxy: false, is_job: false };
}

/// The application protocol that the name of a port stands for, by the convention that Knative, Istio and others share.
pub fn app_protocol(template: &Map<String, Value>, port: i32) -> Option<&'static str> {
    let mut containers = template.get("containers").and_then(Value::as_array)?.iter();
    let function = containers.rfind(|container| container["name"] == FUNCTION)?;
    let ports = function["ports"].as_array()?;
    let name = ports.iter().find(|listed| listed["containerPort"] == port)?["name"].as_str()?;
    match name.split('-').next().unwrap_or_default() {
        "h2c" | "http2" | "grpc" => Some("kubernetes.io/h2c"),
        _ => None,
    }
}

/// Labels that select the pods of a revision. They never change.
pub fn selector(valid: &Valid) -> BTreeMap<String, String> {
    [(children::SERVING.to_owned(), valid.serving.name_any())].into()
}

/// The pod template.
pub fn template(valid: &Valid, world: &World, shape: Shape) -> Value {
    let spec = &valid.serving.spec;
    let is_ours = |key: &str| key.starts_with("openfunction.io/");
    // Otherwise a user's label could break the selector (B-104).
    let mut labels: BTreeMap<_, _> =
        spec.serving.labels.iter().filter(|(key, _)| !is_ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    if let Some(version) = spec.version.clone().filter(|version| !version.is_empty()) {
        labels.entry("app.kubernetes.io/version".to_owned()).or_insert(version);
    }
    labels.extend(selector(valid));
    labels.insert(children::FUNCTION.to_owned(), valid.function.clone());
    labels.insert(children::MANAGED_BY.to_owned(), ABOUT.name.to_owned());
    labels.insert("openfunction.io/managed".to_owned(), "true".to_owned());
    let mut metadata = json!({ "labels": labels });
    let annotations = dapr::annotations(valid, valid.dapr == Mode::Sidecar, shape.has_proxy);
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    json!({ "metadata": metadata, "spec": pod_spec(valid, world, shape) })
}

fn pod_spec(valid: &Valid, world: &World, shape: Shape) -> Map<String, Value> {
    let mut pod = valid.template.clone();
    if valid.dapr == Mode::Standalone {
        // They are in the pod of the proxy.
        dapr::taken(valid, &mut pod);
    }
    if let Some(name) = valid.serving.spec.image_credentials.as_ref().and_then(|credentials| credentials.name.clone()) {
        let secrets = pod.entry("imagePullSecrets").or_insert_with(|| json!([]));
        let secret = json!({ "name": name });
        if let Some(secrets) = secrets.as_array_mut().filter(|secrets| !secrets.contains(&secret)) {
            secrets.push(secret);
        }
    }
    let containers = pod.entry("containers").or_insert_with(|| json!([]));
    if let Some(containers) = containers.as_array_mut() {
        match containers.iter().rposition(|container| container["name"] == FUNCTION) {
            Some(place) => fill_in(valid, world, shape, &mut containers[place]),
            None => {
                let mut container = json!({ "name": FUNCTION });
                fill_in(valid, world, shape, &mut container);
                containers.push(container);
            }
        }
        containers.extend(dapr::relay(valid, world));
    }
    pod
}

fn fill_in(valid: &Valid, world: &World, shape: Shape, container: &mut Value) {
    let spec = &valid.serving.spec;
    container["image"] = json!(spec.image);
    let mut default = |field: &str, value: Value| {
        if container[field].is_null() {
            container[field] = value;
        }
    };
    default("imagePullPolicy", json!("IfNotPresent"));
    // Why it ended is told in the status.
    default("terminationMessagePolicy", json!("FallbackToLogsOnError"));
    if !world.settings.default_resources.is_empty() {
        default("resources", json!(world.settings.default_resources));
    }
    let mut ports = container["ports"].as_array().cloned().unwrap_or_default();
    if shape.has_proxy {
        // It takes requests at one port and knows two names of it (B-81).
        ports.retain(|port| port["containerPort"] == valid.port);
        let name = if valid.app_protocol.is_some() { "h2c" } else { "http1" };
        ports.iter_mut().for_each(|port| port["name"] = json!(name));
    } else if !shape.is_job {
        if container["readinessProbe"].is_null() {
            // A function that does not listen yet must get no requests.
            container["readinessProbe"] = json!({"tcpSocket": {"port": valid.port}, "periodSeconds": 1});
        }
        // Kubernetes refuses a hook that takes longer than the pod has.
        let grace = valid.template.get("terminationGracePeriodSeconds").and_then(Value::as_u64);
        let drain = grace.map_or(DRAIN_SECONDS, |grace| grace.min(DRAIN_SECONDS));
        if drain > 0 && container["lifecycle"]["preStop"].is_null() {
            container["lifecycle"]["preStop"] = json!({"sleep": {"seconds": drain}});
        }
    }
    if !ports.iter().any(|port| port["containerPort"] == valid.port) {
        ports.push(json!({"containerPort": valid.port, "protocol": "TCP"}));
    }
    container["ports"] = json!(ports);
    secure(valid, world, shape, container);
    container["env"] = json!(environment(valid, world, container["env"].as_array()));
    if !spec.serving.params_from.is_empty() {
        let mut sources = container["envFrom"].as_array().cloned().unwrap_or_default();
        sources.extend(spec.serving.params_from.iter().map(|source| json!(source)));
        container["envFrom"] = json!(sources);
    }
}

/// Takes privileges that the user has said nothing of.
fn secure(valid: &Valid, world: &World, shape: Shape, container: &mut Value) {
    let mode = world.settings.secure_pod_defaults.as_str();
    let of_pod = valid.template.get("securityContext").cloned().unwrap_or_default();
    if mode == "disabled" || container["securityContext"]["privileged"] == true {
        return;
    }
    let mut context = container["securityContext"].as_object().cloned().unwrap_or_default();
    let mut default = |field: &str, value: Value| {
        if of_pod[field].is_null() {
            context.entry(field).or_insert(value);
        }
    };
    default("allowPrivilegeEscalation", json!(false));
    default("seccompProfile", json!({"type": "RuntimeDefault"}));
    match valid.port < UNPRIVILEGED {
        false => default("capabilities", json!({"drop": ["ALL"]})),
        // Knative allows no capability to be added.
        true if shape.has_proxy => {}
        true => default("capabilities", json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    }
    if mode == "enabled" {
        default("runAsNonRoot", json!(true));
    }
    container["securityContext"] = Value::Object(context);
}

/// The user's variables, then ours. A later one of the same name wins, as it always has; it stands there alone, since
/// a list with one name twice cannot be applied.
fn environment(valid: &Valid, world: &World, users: Option<&Vec<Value>>) -> Vec<Value> {
    let spec = &valid.serving.spec.serving;
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let contexts = context::contexts(valid, world);
    let mut ours = vec![value("APP_PROTOCOL", &dapr::protocol(valid))];
    ours.extend(skywalking(valid, world).iter().map(|(name, text)| value(name, text)));
    ours.extend([
        value("FUNC_CONTEXT", &literal(&contexts.v1beta1)),
        value("FUNC_CONTEXT_V1BETA2", &literal(&contexts.v1beta2)),
    ]);
    ours.extend(spec.params.iter().map(|(name, param)| value(name, param)));
    ours.push(json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}));
    ours.push(value("POD_NAMESPACE", &valid.serving.namespace().unwrap_or_default()));
    ours.extend(dapr::variables(valid, world).iter().map(|(name, text)| value(name, text)));
    let mut variables: Vec<Value> = Vec::new();
    for variable in users.into_iter().flatten().cloned().chain(ours) {
        variables.retain(|known| known["name"] != variable["name"]);
        variables.push(variable);
    }
    variables
}

/// What agents of SkyWalking read (core-api §10.3).
fn skywalking(valid: &Valid, world: &World) -> Vec<(&'static str, String)> {
    let tracing = globals::merged(valid.serving.spec.serving.tracing.as_ref(), world.globals.tracing.as_ref());
    let provider = tracing.map(|tracing| tracing.provider).filter(|provider| provider.name == "skywalking");
    let Some(server) = provider.and_then(|provider| provider.oap_server).filter(|server| !server.is_empty()) else {
        return Vec::new();
    };
    vec![
        ("SW_AGENT_COLLECTOR_BACKEND_SERVICES", server),
        ("SW_AGENT_NAME", valid.function.clone()),
        ("SW_AGENT_NAMESPACE", valid.serving.namespace().unwrap_or_default()),
        ("SW_AGENT_KEEP_TRACING", "true".to_owned()),
    ]
}

/// A value in which the kubelet finds no variables.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Case;

    fn rendered(spec: Value) -> Value {
        of(&Case::new(spec))
    }

    fn of(case: &Case) -> Value {
        template(&case.valid(), &case.world(), Shape::PLAIN)
    }

    fn variable(pod: &Value, name: &str) -> Option<Value> {
        let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    }

    #[test]
    fn a_function_without_template_gets_a_container() {
        let pod = rendered(json!({"image": "a@sha256:1", "version": "v1", "triggers": {"http": {"port": 9000}}}));
        let container = &pod["spec"]["containers"][0];
        assert_eq!((&container["name"], &container["image"]), (&json!("function"), &json!("a@sha256:1")));
        assert_eq!(container["ports"], json!([{"containerPort": 9000, "protocol": "TCP"}]));
        assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 9000);
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/version"], "v1");
    }

    #[test]
    fn what_the_user_says_of_the_container_stays() {
        let probe = json!({"httpGet": {"path": "/up", "port": 8080}});
        let template = json!({"containers": [{"name": "side", "image": "s"}, {"name": "function", "image": "ignored", "readinessProbe": probe,
            "ports": [{"containerPort": 8080, "name": "web"}], "resources": {"limits": {"memory": "64Mi"}}}]});
        let pod = rendered(json!({"image": "a", "triggers": {"http": {}}, "template": template}));
        let containers = pod["spec"]["containers"].as_array().unwrap();
        assert_eq!((containers.len(), &containers[0]["image"], &containers[1]["image"]), (2, &json!("s"), &json!("a")));
        assert_eq!(
            (&containers[1]["readinessProbe"], &containers[1]["ports"]),
            (&probe, &json!([{"containerPort": 8080, "name": "web"}]))
        );
        assert_eq!(containers[1]["resources"]["limits"]["memory"], "64Mi");
    }

    #[test]
    fn a_variable_of_one_name_stands_there_once_and_the_last_wins() {
        let template = json!({"containers": [{"name": "function", "env": [{"name": "A", "value": "1"}, {"name": "POD_NAME", "value": "x"}]}]});
        let pod = rendered(json!({"image": "a", "triggers": {"http": {}}, "params": {"A": "2"}, "template": template}));
        let variables = pod["spec"]["containers"][0]["env"].as_array().unwrap().clone();
        let of = |name: &str| variables.iter().filter(|v| v["name"] == name).cloned().collect::<Vec<_>>();
        assert_eq!(of("A"), [json!({"name": "A", "value": "2"})]);
        assert_eq!((of("POD_NAME").len(), &of("POD_NAME")[0]["value"]), (1, &Value::Null));
    }

    #[test]
    fn b104_a_users_label_cannot_break_the_selector() {
        let pod = rendered(
            json!({"image": "a", "triggers": {"http": {}}, "labels": {"openfunction.io/serving": "x", "team": "blue"}}),
        );
        assert_eq!(
            (&pod["metadata"]["labels"]["openfunction.io/serving"], &pod["metadata"]["labels"]["team"]),
            (&json!("hello-1"), &json!("blue"))
        );
    }

    #[test]
    fn fn10_credentials_are_added_once() {
        let spec = |template: Value| json!({"image": "a", "imageCredentials": {"name": "push"}, "triggers": {"http": {}}, "template": template});
        let with = json!({"imagePullSecrets": [{"name": "push"}, {"name": "own"}]});
        assert_eq!(rendered(spec(with.clone()))["spec"]["imagePullSecrets"], with["imagePullSecrets"]);
        assert_eq!(rendered(spec(json!({})))["spec"]["imagePullSecrets"], json!([{"name": "push"}]));
    }

    #[test]
    fn privileges_that_the_user_says_nothing_of_are_taken() {
        let context = |spec: Value| rendered(spec)["spec"]["containers"][0]["securityContext"].clone();
        let with =
            |security: Value| json!({"template": {"containers": [{"name": "function", "securityContext": security}]}});
        assert_eq!(
            context(json!({})),
            json!({"allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"drop": ["ALL"]}})
        );
        let port = context(json!({"triggers": {"http": {"port": 80}}}));
        assert_eq!(port["capabilities"], json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}));
        let own = context(with(json!({"capabilities": {"add": ["NET_ADMIN"]}, "allowPrivilegeEscalation": true})));
        assert_eq!(
            (&own["capabilities"], &own["allowPrivilegeEscalation"]),
            (&json!({"add": ["NET_ADMIN"]}), &json!(true))
        );
        assert_eq!(context(with(json!({"privileged": true}))), json!({"privileged": true}));
        let mut case = Case::new(
            json!({"template": {"containers": [], "securityContext": {"seccompProfile": {"type": "Unconfined"}}}}),
        );
        assert_eq!(
            of(&case)["spec"]["containers"][0]["securityContext"]["seccompProfile"],
            Value::Null,
            "the pod's counts"
        );
        case.settings.secure_pod_defaults = "enabled".to_owned();
        assert_eq!(of(&case)["spec"]["containers"][0]["securityContext"]["runAsNonRoot"], true);
        case.settings.secure_pod_defaults = "disabled".to_owned();
        assert_eq!(of(&case)["spec"]["containers"][0]["securityContext"], Value::Null);
    }

    #[test]
    fn default_resources_are_those_of_a_container_that_names_none() {
        let mut case = Case::new(json!({}));
        let requests = json!({"requests": {"cpu": "10m"}});
        case.settings.default_resources = requests.as_object().unwrap().clone();
        assert_eq!(of(&case)["spec"]["containers"][0]["resources"], requests);
        let own = json!({"limits": {"memory": "64Mi"}});
        case.serving.spec.serving.template = Some(json!({"containers": [{"name": "function", "resources": own}]}));
        assert_eq!(of(&case)["spec"]["containers"][0]["resources"], own);
    }

    #[test]
    fn b93_agents_of_skywalking_are_told_where_to_send() {
        let tracing = json!({"enabled": true, "provider": {"name": "skywalking", "oapServer": "oap:11800"}});
        let pod = rendered(json!({"tracing": tracing}));
        assert_eq!(variable(&pod, "SW_AGENT_COLLECTOR_BACKEND_SERVICES"), Some(json!("oap:11800")));
        assert_eq!(variable(&pod, "SW_AGENT_NAME"), Some(json!("hello")));
        let off = json!({"enabled": false, "provider": {"name": "skywalking", "oapServer": "oap:11800"}});
        assert_eq!(variable(&rendered(json!({"tracing": off})), "SW_AGENT_NAME"), None);
    }

    #[test]
    fn fn15_values_of_secrets_and_config_maps_become_variables() {
        let sources =
            json!([{"secretRef": {"name": "credentials"}, "prefix": "DB_"}, {"configMapRef": {"name": "settings"}}]);
        let pod = rendered(json!({"paramsFrom": sources}));
        let listed = pod["spec"]["containers"][0]["envFrom"].as_array().unwrap();
        assert_eq!((&listed[0]["secretRef"]["name"], &listed[0]["prefix"]), (&json!("credentials"), &json!("DB_")));
        assert_eq!(listed[1]["configMapRef"]["name"], "settings");
    }

    #[test]
    fn the_name_of_a_port_says_what_is_spoken_there() {
        let of = |name: &str| {
            let template =
                json!({"containers": [{"name": "function", "ports": [{"containerPort": 9000, "name": name}]}]});
            app_protocol(template.as_object().unwrap(), 9000)
        };
        assert_eq!(
            (of("h2c"), of("grpc-api"), of("http1"), of("web")),
            (Some("kubernetes.io/h2c"), Some("kubernetes.io/h2c"), None, None)
        );
    }
}
