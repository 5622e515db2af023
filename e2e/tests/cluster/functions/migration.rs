//! What OpenFunction 1.2 leaves in a cluster is taken over as docs/how-to/migrate-from-openfunction-1.x.md says, under load
//! (core-api §6, core-behaviour §2 to §8, networking §7: the original itself is not at hand).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use e2e::{
    cache::{hex, run},
    demo,
    local::{cluster::Cluster, registry::OPEN},
    product::{self, NAMESPACE, helm},
};
use serde_json::{Value, json};

use super::{GATEWAY, condition_of, controllers::digest, how_to, object_of, product_alone, update::Load};
use crate::{
    gateway::until_served,
    support::{DEADLINE, Namespace, client, eventually, get},
};

const OPENFUNCTION: &str = "core.openfunction.io/v1beta2";
/// The release of the page.
const RELEASE: &str = "openfunction-rs";
/// Functions that are changed at once.
const AT_ONCE: usize = 10;
const CONTOUR: [&str; 4] = ["gateways.gateway.networking.k8s.io", "contour", "-n", "projectcontour"];
/// Annotation of the original with the listeners that it has put there.
const INJECTED: &str = "networking.openfunction.io/injected-listeners";
const RUNTIME_CLASS: &str = "openfunction-crun";
const OFN_GATEWAY: &str = "gateways.networking.openfunction.io";
/// What the Deployment and the webhooks of the original are called.
const MANAGER: &str = "openfunction-controller-manager";
const WEBHOOKS: [(&str, &str); 2] = [
    ("MutatingWebhookConfiguration", "openfunction-mutating-webhook-configuration"),
    ("ValidatingWebhookConfiguration", "openfunction-validating-webhook-configuration"),
];

/// What has become of a Function under the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It runs an image that exists already.
    Served,
    /// It was built, and its Builder is gone.
    Built,
    /// Its last change cannot run; what was before answers.
    Failed,
    /// It has never run within its time.
    TimedOut,
    /// Its build has failed.
    NotBuilt,
    /// Events call it through Dapr's sidecar, and KEDA scales it.
    Events,
    /// It runs as WebAssembly.
    Wasm,
}

impl Kind {
    fn answers(self) -> bool {
        matches!(self, Self::Served | Self::Built | Self::Failed | Self::Wasm)
    }

    fn runs(self) -> bool {
        self.answers() || self == Self::Events
    }
}

/// A Function that the original has left.
pub struct Left {
    name: String,
    kind: Kind,
    spec: Value,
}

fn busybox() -> String {
    format!("{OPEN}/library/busybox:latest")
}

fn gone() -> String {
    format!("{OPEN}/library/gone:latest")
}

impl Left {
    /// A Function; what one that gets events does with them is the caller's.
    pub fn new(kind: Kind, index: usize, serving: Option<Value>) -> Self {
        let name = format!("{}-{index}", format!("{kind:?}").to_lowercase());
        let gateway = json!({"name": "openfunction", "namespace": "openfunction"});
        let http = json!({"http": {"port": 8080, "route": {"gatewayRef": gateway}}});
        let page = demo::sample("ready-image").unwrap()["spec"]["serving"]["template"].clone();
        let mut spec = json!({"version": "v1.0.0", "image": busybox(), "workloadRuntime": "OCIContainer",
            "serving": serving.unwrap_or_else(|| json!({"template": page}))});
        if spec["serving"]["triggers"].is_null() {
            spec["serving"]["triggers"] = http;
            // One that sleeps has no pod that could be compared.
            spec["serving"]["scaleOptions"] = json!({"minReplicas": 1});
        }
        let build =
            json!({"builder": "openfunction/builder-go:latest", "srcRepo": {"url": "https://git.example.com/a.git"}});
        match kind {
            Kind::Built => spec["build"] = build,
            Kind::NotBuilt => {
                spec["build"] = build;
                spec["image"] = json!(format!("{OPEN}/shop/{name}:latest"));
            }
            Kind::Failed => spec["image"] = json!(gone()),
            Kind::TimedOut => {
                spec["image"] = json!(gone());
                spec["serving"]["timeout"] = json!("1s");
            }
            Kind::Wasm => {
                spec["image"] = json!(format!("{OPEN}/samples/wasm-echo:1"));
                spec["workloadRuntime"] = json!("wasmedge");
                spec["serving"]["template"] = json!({"containers": [{"name": "function", "command": ["/echo.wasm"]}]});
            }
            Kind::Events => spec["image"] = json!("python:3"),
            Kind::Served => {}
        }
        Self { name, kind, spec }
    }

    /// Ends with what looks random.
    fn child(&self, of: &str) -> String {
        format!("{of}-{}", &hex(format!("{} {of}", self.name).as_bytes())[..5])
    }

    fn present(&self) -> String {
        self.child("serving")
    }

    fn function(&self) -> Value {
        let mut metadata = json!({"name": self.name});
        if self.kind == Kind::Wasm {
            metadata["annotations"] = json!({"module.wasm.image/variant": "compat-smart"});
        }
        json!({"apiVersion": OPENFUNCTION, "kind": "Function", "metadata": metadata, "spec": self.spec})
    }

    /// Its revisions by name, each with its image.
    fn revisions(&self, digest: &str) -> Vec<(String, String)> {
        let image = self.spec["image"].as_str().unwrap().to_owned();
        match self.kind {
            Kind::NotBuilt => Vec::new(),
            Kind::Built => vec![(self.present(), format!("{image}@{digest}"))],
            Kind::Failed => vec![(self.child("serving-before"), busybox()), (self.present(), image)],
            _ => vec![(self.present(), image)],
        }
    }

    fn state(&self) -> &'static str {
        match self.kind {
            Kind::Failed => "Failed",
            Kind::TimedOut => "Timeout",
            _ => "Running",
        }
    }

    /// Its manifest after an edit, with which it can run.
    fn changed(&self) -> Value {
        let mut changed = self.function();
        changed["spec"]["serving"]["params"]["CHANGED"] = json!("1");
        match self.kind {
            Kind::Failed | Kind::TimedOut => {
                changed["spec"]["image"] = json!(busybox());
                changed["spec"]["serving"]["timeout"] = json!("2m");
            }
            Kind::NotBuilt => changed["spec"]["build"]["srcRepo"]["revision"] = json!("other"),
            _ => {}
        }
        changed
    }

    fn status(&self, namespace: &str, digest: &str) -> Value {
        let skipped = json!({"state": "Skipped", "resourceHash": "14165285899942527405"});
        let present = self.present();
        let mut serving = json!({"state": self.state(), "reason": self.state(), "resourceRef": present, "resourceHash": "10127080653475186063"});
        if self.kind.runs() {
            let runs = self.revisions(digest)[0].0.clone();
            serving["lastSuccessfulResourceRef"] = json!(runs);
            serving["service"] = json!(self.child(&format!("{runs}-ksvc")));
        }
        let host = format!("{}.{namespace}.ofn.io", self.name);
        let accepted = json!({"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2025-01-01T00:00:00Z"});
        let route = json!({"hosts": [host, format!("{}.{namespace}.svc.cluster.local", self.name)],
            "paths": [{"type": "PathPrefix", "value": "/"}], "conditions": [accepted]});
        let built = json!({"state": "Succeeded", "reason": "Succeeded", "resourceRef": self.child("builder"), "resourceHash": "15347288654328675453"});
        match self.kind {
            Kind::NotBuilt => {
                let failed = json!({"state": "Failed", "reason": "Failed", "message": "no such repository", "resourceRef": self.child("builder"), "resourceHash": "15347288654328675453"});
                json!({"build": failed})
            }
            Kind::TimedOut | Kind::Events => json!({"build": skipped, "serving": serving}),
            Kind::Built => {
                json!({"build": built, "serving": serving, "route": route, "revision": {"imageDigest": digest}})
            }
            _ => json!({"build": skipped, "serving": serving, "route": route}),
        }
    }
}

fn owned(owner: &Value, name: &str, labels: Value) -> Value {
    json!({"name": name, "labels": labels, "ownerReferences": [{"apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]})
}

/// Everything that the original has left in a namespace.
struct Estate {
    namespace: Namespace,
    functions: Vec<Left>,
    digest: String,
}

impl Estate {
    fn list(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.namespace.kubectl(&["get", kind, "-o", "json"])).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn by_name(&self, kind: &str) -> BTreeMap<String, Value> {
        let named = |object: Value| (object["metadata"]["name"].as_str().unwrap().to_owned(), object);
        self.list(kind).into_iter().map(named).collect()
    }

    fn apply(&self, items: &[Value]) {
        self.namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }

    fn write_status(&self, kind: &str, name: &str, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        self.namespace.kubectl(&["patch", kind, name, "--subresource=status", "--type=merge", "-p", &patch]);
    }

    /// Makes it, while no controller of ours runs.
    fn leave(namespace: Namespace, functions: Vec<Left>) -> Self {
        let digest = digest(&namespace.cluster, &busybox());
        let estate = Self { namespace, functions, digest };
        estate.apply(&estate.functions.iter().map(Left::function).collect::<Vec<_>>());
        let functions = estate.by_name("functions");
        let mut children = Vec::new();
        for left in &estate.functions {
            let function = &functions[&left.name];
            let labels = json!({"openfunction.io/function": left.name});
            for (name, image) in left.revisions(&estate.digest) {
                let mut spec = left.spec["serving"].clone();
                (spec["version"], spec["image"]) = (left.spec["version"].clone(), json!(image));
                let mut metadata = owned(function, &name, labels.clone());
                metadata["annotations"] = left.function()["metadata"]["annotations"].clone();
                children
                    .push(json!({"apiVersion": OPENFUNCTION, "kind": "Serving", "metadata": metadata, "spec": spec}));
            }
            if left.kind == Kind::NotBuilt {
                let mut spec = left.spec["build"].clone();
                spec["image"] = left.spec["image"].clone();
                children.push(json!({"apiVersion": OPENFUNCTION, "kind": "Builder", "metadata": owned(function, &left.child("builder"), labels.clone()), "spec": spec}));
            }
            if left.kind.answers() {
                children.extend(estate.way_to(left, function));
            }
        }
        estate.apply(&children);
        let servings = estate.by_name("servings");
        let mut workloads = Vec::new();
        for left in &estate.functions {
            for (name, image) in left.revisions(&estate.digest) {
                workloads.extend(estate.workloads(left, &servings[&name], &image));
            }
        }
        estate.apply(&workloads);
        for left in &estate.functions {
            estate.write_status("functions", &left.name, &left.status(&estate.namespace.name, &estate.digest));
            for (name, _) in left.revisions(&estate.digest) {
                let state = if name == left.present() { left.state() } else { "Running" };
                let refs = match left.kind {
                    Kind::Events => json!({"Async/workload": left.child(&format!("{name}-deployment-v100")),
                        "Async/scaler": left.child(&format!("{name}-scaler")), "dapr.io/component": left.child(&format!("{name}-pubsub-bus"))}),
                    _ => json!({"serving.knative.dev/service": left.child(&format!("{name}-ksvc"))}),
                };
                let status = json!({"phase": "Serving", "state": state, "reason": state, "resourceRef": refs, "url": left.child(&format!("{name}-ksvc"))});
                estate.write_status("servings", &name, &status);
            }
            if left.kind == Kind::NotBuilt {
                let status =
                    json!({"phase": "Build", "state": "Failed", "reason": "Failed", "message": "no such repository"});
                estate.write_status("builders", &left.child("builder"), &status);
            }
        }
        estate
    }

    /// Route and Service of a Function (core-behaviour §2.6).
    fn way_to(&self, left: &Left, function: &Value) -> [Value; 2] {
        let namespace = &self.namespace.name;
        let revision = left.child(&format!("{}-ksvc", left.revisions(&self.digest)[0].0)) + "-v100";
        let host = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": "Host", "value": format!("{revision}.{namespace}.svc.cluster.local")}]}});
        let backend =
            json!({"group": "", "kind": "Service", "name": revision, "namespace": namespace, "port": 80, "weight": 1});
        let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend], "filters": [host]});
        let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "contour", "namespace": "projectcontour"});
        let hosts =
            [format!("{}.{namespace}.ofn.io", left.name), format!("{}.{namespace}.svc.cluster.local", left.name)];
        let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": owned(function, &left.name, json!({"app.kubernetes.io/managed-by": "openfunction.openfunction"})),
            "spec": {"parentRefs": [parent], "hostnames": hosts, "rules": [rule]}});
        let port = json!({"name": "ofn-http-internal", "port": 80, "protocol": "TCP", "targetPort": 80});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": owned(function, &left.name, json!({})),
            "spec": {"type": "ExternalName", "externalName": "gateway.openfunction.svc.cluster.local", "ports": [port]}});
        [route, service]
    }

    /// What runs a revision (core-behaviour §5, §6, §8).
    fn workloads(&self, left: &Left, serving: &Value, image: &str) -> Vec<Value> {
        let name = serving["metadata"]["name"].as_str().unwrap();
        let mut labels = json!({"openfunction.io/serving": name});
        let mut pod = left.spec["serving"]["template"].clone();
        let container = &mut pod["containers"][0];
        (container["image"], container["imagePullPolicy"]) = (json!(image), json!("IfNotPresent"));
        container["ports"] = json!([{"containerPort": 8080}]);
        if left.kind == Kind::Wasm {
            pod["runtimeClassName"] = json!(RUNTIME_CLASS);
        }
        if left.kind != Kind::Events {
            let service = left.child(&format!("{name}-ksvc"));
            labels["version"] = json!("v1.0.0");
            let mut annotations = match left.kind {
                Kind::Wasm => json!({"module.wasm.image/variant": "compat-smart"}),
                _ => json!({}),
            };
            for (key, value) in [
                ("dapr.io/enabled", "false"),
                ("autoscaling.knative.dev/min-scale", "1"),
                ("autoscaling.knative.dev/minScale", "1"),
            ] {
                annotations[key] = json!(value);
            }
            let metadata = json!({"name": format!("{service}-v100"), "labels": labels, "annotations": annotations});
            return vec![json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service",
                "metadata": owned(serving, &service, json!({"openfunction.io/serving": name})), "spec": {"template": {"metadata": metadata, "spec": pod}}})];
        }
        let (workload, component) =
            (left.child(&format!("{name}-deployment-v100")), left.child(&format!("{name}-pubsub-bus")));
        let container = &mut pod["containers"][0];
        container["ports"] = json!([{"name": "function-port", "containerPort": 8080}]);
        let bus = &left.spec["serving"]["pubsub"]["bus"];
        let topic = &left.spec["serving"]["triggers"]["dapr"][0]["topic"];
        let input = json!({"uri": topic, "componentName": component, "componentType": bus["type"]});
        let context = json!({"name": left.name, "version": "v1.0.0", "runtime": "Async", "port": "8080", "inputs": {"bus": input}});
        let params = left.spec["serving"]["params"].as_object().unwrap();
        let env: Vec<_> = params.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        container["env"] = json!([&env[..], &[json!({"name": "FUNC_CONTEXT", "value": context.to_string()})]].concat());
        (labels["openfunction.io/managed"], labels["version"]) = (json!("true"), json!("v1.0.0"));
        let app = format!("{}-{}", left.name, self.namespace.name);
        let annotations = json!({"dapr.io/enabled": "true", "dapr.io/app-id": app, "dapr.io/app-protocol": "http", "dapr.io/app-port": "8080"});
        let template = json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": pod});
        let scaler = left.child(&format!("{name}-scaler"));
        let mut component = json!({"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": owned(serving, &component, labels.clone()), "scopes": [app]});
        component["spec"] = bus.clone();
        let keda = &left.spec["serving"]["scaleOptions"];
        vec![
            component,
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": owned(serving, &workload, labels.clone()),
                "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}),
            json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": owned(serving, &scaler, labels.clone()),
                "spec": {"scaleTargetRef": {"name": workload, "kind": "Deployment", "envSourceContainerName": "function"},
                    "minReplicaCount": keda["minReplicas"], "maxReplicaCount": keda["maxReplicas"], "triggers": keda["keda"]["triggers"]}}),
        ]
    }

    /// Every pod of a function with its restarts. Those that cannot pull their image are none that run.
    fn pods(&self) -> BTreeMap<String, i64> {
        let runs = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running";
        let restarts = |pod: &Value| {
            let containers = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            containers.iter().map(|container| container["restartCount"].as_i64().unwrap_or_default()).sum()
        };
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        let mut pods = self.list("pods");
        pods.retain(|pod| !pod["metadata"]["labels"]["openfunction.io/serving"].is_null() && runs(pod));
        pods.iter().map(|pod| (name(pod), restarts(pod))).collect()
    }

    fn of(&self, which: impl Fn(Kind) -> bool) -> Vec<&Left> {
        self.functions.iter().filter(|left| which(left.kind)).collect()
    }

    fn host(&self, left: &Left) -> String {
        format!("{}.{}.ofn.io", left.name, self.namespace.name)
    }

    fn is_ready(&self, left: &Left, ready: &str) {
        let began = Instant::now();
        loop {
            let function = object_of(&self.namespace, &left.name);
            if condition_of(&function, "Ready")["status"] == ready {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{} does not become Ready={ready}: {function:#}", left.name);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Estate {
    /// An edit does what it should.
    async fn has_changed(&self, left: &Left) {
        let selector = format!("--selector=openfunction.io/function={}", left.name);
        let names = |kind: &str| self.namespace.kubectl(&["get", kind, &selector, "-o", "name"]);
        if left.kind == Kind::NotBuilt {
            return eventually("a build", || names("builders").contains(&format!("/{}-", left.name)).then_some(()));
        }
        self.is_ready(left, "True");
        eventually("what the original has made goes", || {
            let names = names("servings");
            (!names.contains("/serving-") && names.lines().count() == 1).then_some(())
        });
        if left.kind.answers() {
            let answer = get(&client(), &format!("{GATEWAY}/"), &self.host(left)).await.unwrap();
            assert_eq!(answer.0, 200, "{}: {}", left.name, answer.1);
        }
    }
}

/// The OpenFunction Gateway of the original, with its listeners on the Kubernetes Gateway (networking §7).
fn leave_gateway(cluster: &Cluster) {
    let everyone = json!({"namespaces": {"from": "All"}});
    let listener = |name: &str, hostname: &str| json!({"name": name, "hostname": hostname, "protocol": "HTTP", "port": 80, "allowedRoutes": everyone});
    let listeners =
        json!([listener("ofn-http-internal", "*.cluster.local"), listener("ofn-http-external", "*.ofn.io")]);
    let spec = json!({"domain": "ofn.io", "clusterDomain": "cluster.local", "hostTemplate": "{{.Name}}.{{.Namespace}}.{{.Domain}}",
        "pathTemplate": "{{.Namespace}}/{{.Name}}", "httpRouteLabelKey": "app.kubernetes.io/managed-by",
        "gatewayRef": {"name": "contour", "namespace": "projectcontour"}, "gatewaySpec": {"listeners": listeners}});
    let last = json!({"metadata": {"creationTimestamp": null}, "spec": spec, "status": {}}).to_string();
    let gateway = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "openfunction", "namespace": NAMESPACE,
        "finalizers": ["networking.openfunction.io/finalizer"], "annotations": {"networking.openfunction.io/last-applied-configuration": last}}, "spec": spec});
    cluster.apply(&[gateway]).unwrap();
    let all = [&own_listeners(cluster)[..], listeners.as_array().unwrap()].concat();
    patch_gateway(
        cluster,
        &json!({"metadata": {"annotations": {INJECTED: listeners.to_string()}}, "spec": {"listeners": all}}),
    );
    // Its chart has a RuntimeClass, and lets Knative's services name it.
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": RUNTIME_CLASS}, "handler": "wasm"});
    cluster.apply(&[class]).unwrap();
    let feature = r#"{"data":{"kubernetes.podspec-runtimeclassname":"enabled"}}"#;
    run(cluster.kubectl().args([
        "patch",
        "cm",
        "config-features",
        "-n",
        "knative-serving",
        "--type=merge",
        "-p",
        feature,
    ]))
    .unwrap();
}

/// Writes to the Kubernetes Gateway as the original does.
fn patch_gateway(cluster: &Cluster, patch: &Value) {
    let mut kubectl = cluster.kubectl();
    kubectl.arg("patch").args(CONTOUR).args(["--field-manager=manager", "--type=merge", "-p", &patch.to_string()]);
    run(&mut kubectl).unwrap();
}

/// The listeners of the Kubernetes Gateway that are its owner's.
fn own_listeners(cluster: &Cluster) -> Vec<Value> {
    let mut listeners = cluster.get(&CONTOUR, 5).unwrap()["spec"]["listeners"].as_array().unwrap().clone();
    listeners.retain(|listener| !listener["name"].as_str().unwrap().starts_with("ofn-"));
    listeners
}

/// The Deployment of the original, and webhooks that nobody answers once it is gone.
fn leave_manager(cluster: &Cluster) {
    let labels = json!({"control-plane": "controller-manager"});
    let container = json!({"name": "manager", "image": busybox(), "command": ["sleep", "100000"]});
    let manager = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": MANAGER, "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}});
    let rule = json!({"apiGroups": ["core.openfunction.io"], "apiVersions": ["v1beta2"], "operations": ["CREATE", "UPDATE"], "resources": ["functions"]});
    let webhook = json!({"name": "functions.core.openfunction.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "clientConfig": {"service": {"name": "openfunction-webhook-service", "namespace": NAMESPACE}}, "rules": [rule]});
    let webhooks = WEBHOOKS.map(|(kind, name)| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]})
    });
    cluster.apply(&[manager]).unwrap();
    cluster.apply(&webhooks).unwrap();
}

/// Has the product as the other tests expect it, and the Kubernetes Gateway its own listeners, whatever happens.
struct Restored(Cluster, Vec<Value>);

impl Restored {
    fn uninstall(&self, release: &str) {
        let mut uninstall = helm(&self.0.kubeconfig(), self.0.folder()).unwrap();
        run(uninstall.args(["uninstall", release, "-n", NAMESPACE, "--wait", "--timeout=2m", "--ignore-not-found"]))
            .unwrap();
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        for (kind, name) in WEBHOOKS.into_iter().chain([("Deployment", MANAGER)]) {
            let _ = run(self.0.kubectl().args(["delete", kind, name, "-n", NAMESPACE, "--ignore-not-found"]));
        }
        self.uninstall(RELEASE);
        // What this test has put there; nobody may be there to see to finalizers.
        let nothing = r#"{"metadata":{"finalizers":null}}"#;
        let ofn = [OFN_GATEWAY, "openfunction", "-n", NAMESPACE];
        let _ = run(self.0.kubectl().arg("patch").args(ofn).args(["--type=merge", "-p", nothing]));
        let _ = run(self.0.kubectl().arg("delete").args(ofn).arg("--ignore-not-found"));
        let _ = run(self.0.kubectl().args(["delete", "runtimeclass", RUNTIME_CLASS, "--ignore-not-found"]));
        patch_gateway(&self.0, &json!({"metadata": {"annotations": {INJECTED: null}}, "spec": {"listeners": self.1}}));
        product::install_on(&self.0).unwrap();
        let is_back = |gateway: &Value| {
            gateway["metadata"]["deletionTimestamp"].is_null() && !gateway["status"]["conditions"].is_null()
        };
        eventually("the default gateway is back", || {
            self.0.get(&[OFN_GATEWAY, "openfunction", "-n", NAMESPACE], 5).ok().filter(is_back)
        });
    }
}

/// Leaves what the original would, moves as the page says, and looks that nothing was restarted, built or lost; then changes
/// each. `happens` is called under load: before the move, after it, and, with `true`, after the changes.
pub fn migrates(test: &str, functions: Vec<Left>, per_second: u32, happens: impl FnMut(&Namespace, bool)) {
    let _alone = product_alone();
    tokio::runtime::Runtime::new().unwrap().block_on(migrate(test, functions, per_second, happens));
}

async fn migrate(test: &str, functions: Vec<Left>, per_second: u32, mut happens: impl FnMut(&Namespace, bool)) {
    let cluster = Cluster::here().unwrap();
    let programs = product::build().unwrap();
    product::publish(&cluster, &programs).unwrap();
    let values = std::env::temp_dir().join(format!("{test}-values.json"));
    std::fs::write(&values, product::local_values(&cluster, &programs.tag).unwrap().to_string()).unwrap();
    let restored = Restored(cluster.clone(), own_listeners(&cluster));
    restored.uninstall(NAMESPACE);
    leave_gateway(&cluster);
    let estate = Estate::leave(Namespace::new(test), functions);
    leave_manager(&cluster);
    let answering = estate.of(Kind::answers);
    let running = estate.of(Kind::runs);
    // Many begin at once.
    let began = Instant::now();
    while estate.pods().len() < running.len() {
        assert!(began.elapsed() < 4 * DEADLINE, "{} of {} run", estate.pods().len(), running.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for left in &answering {
        until_served(&client(), &format!("{GATEWAY}/"), &estate.host(left)).await;
    }
    let (pods, builders) = (estate.pods(), estate.list("builders").len());

    let load: Vec<_> = answering.iter().map(|left| Load::begin(GATEWAY, estate.host(left), per_second)).collect();
    happens(&estate.namespace, false);
    let began = Instant::now();
    let with_values = format!("--namespace openfunction --wait --values {}", values.display());
    how_to::play("migrate-from-openfunction-1.x.md", &estate.namespace, |commands| {
        commands.replace("--namespace openfunction --wait", &with_values)
    });
    for left in &estate.functions {
        estate.is_ready(left, if left.kind.runs() && left.kind != Kind::Failed { "True" } else { "False" });
    }
    println!("{} functions taken over in {:.1?}", estate.functions.len(), began.elapsed());
    happens(&estate.namespace, false);
    tokio::time::sleep(Duration::from_secs(60).saturating_sub(began.elapsed())).await;
    let mut requests = 0;
    for load in load {
        requests += load.end().await;
    }
    assert_eq!(estate.pods(), pods, "no pod is restarted");
    assert_eq!(estate.list("builders").len(), builders, "nothing is built");
    assert_eq!(
        estate.list("servings").len(),
        estate.functions.iter().map(|left| left.revisions("").len()).sum::<usize>()
    );
    println!("{} pods stayed, {requests} requests, none lost", pods.len());

    let load: Vec<_> = answering.iter().map(|left| Load::begin(GATEWAY, estate.host(left), per_second)).collect();
    // A node has room for so many pods only.
    for some in estate.functions.chunks(AT_ONCE) {
        estate.apply(&some.iter().map(Left::changed).collect::<Vec<_>>());
        for left in some {
            estate.has_changed(left).await;
        }
    }
    happens(&estate.namespace, true);
    let mut requests = 0;
    for load in load {
        requests += load.end().await;
    }
    println!("each changed; {requests} requests, none lost");
    std::fs::remove_file(values).unwrap();
}
