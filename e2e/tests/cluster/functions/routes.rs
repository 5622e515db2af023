//! What routes do on a gateway: the same on each implementation (docs/reference/gateways.md).

use std::time::{Duration, Instant};

use reqwest::{
    Certificate, Client, Method, Url,
    header::{HOST, LOCATION},
    redirect::Policy,
};
use serde_json::{Value, json};

use super::Deployed;
use crate::support::{DEADLINE, Namespace, client, eventually};

/// A Kubernetes Gateway of the local cluster.
#[derive(Clone, Copy)]
pub struct Implementation {
    /// Its name.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: &'static str,
    /// Where its proxies are reached from the machine.
    pub address: &'static str,
    /// Features of the Gateway API that the tests use and its GatewayClass does not list.
    pub not_listed: &'static [&'static str],
}

/// An OpenFunction Gateway of a test on one of them, in a namespace of its own.
pub struct Place {
    pub namespace: Namespace,
    /// Those that it may use.
    allowed: Vec<Implementation>,
}

impl Place {
    pub fn new(test: &str, on: Implementation) -> Self {
        // Not for longer: the Functions of the test ask for it, too, and somebody may wait to have it alone.
        let _installed = super::product();
        let namespace = Namespace::new(&format!("{test}-gateway-{}", on.name));
        let mut place = Self { namespace, allowed: Vec::new() };
        let name = &place.namespace.name;
        let listener =
            json!({"name": name, "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}});
        let gateway = json!({"apiVersion": "networking.openfunction.io/v1alpha1", "kind": "Gateway", "metadata": {"name": "own"}, "spec": {
            "domain": format!("{name}.example.com"), "httpsRedirect": true,
            "gatewayRef": {"name": on.name, "namespace": on.namespace}, "gatewaySpec": {"listeners": [listener]}}});
        place.namespace.apply(&gateway.to_string());
        // Nobody has allowed it yet.
        let refused = r#"--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=RefNotPermitted"#;
        let kind = "gateways.networking.openfunction.io/own";
        place.namespace.kubectl(&["wait", kind, refused, "--timeout=60s"]);
        place.allow(on);
        place.namespace.kubectl(&["wait", kind, "--for=condition=Ready", "--timeout=60s"]);
        place
    }

    /// Lets it use a Gateway of another namespace.
    pub fn allow(&mut self, on: Implementation) {
        let name = &self.namespace.name;
        let grant = json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant", "metadata": {"name": name, "namespace": on.namespace}, "spec": {
            "from": [{"group": "networking.openfunction.io", "kind": "Gateway", "namespace": name}],
            "to": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": on.name}]}});
        self.namespace.cluster.apply(&[grant]).unwrap();
        self.allowed.push(on);
    }

    /// A Function that echoes, with a route here.
    pub fn echo(&self, name: &str, engine: &str, mut route: Value) -> Value {
        route["gatewayRef"] = json!({"name": "own", "namespace": self.namespace.name});
        json!({"apiVersion": "core.openfunction.io/v1beta2", "kind": "Function", "metadata": {"name": name}, "spec": {
            "image": "python", "serving": {"triggers": {"http": {"engine": engine, "route": route}},
                "template": {"containers": [{"name": "function", "command": ["python3", "-c", ECHO]}]}}}})
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let grant = format!("referencegrant/{}", self.namespace.name);
        for on in &self.allowed {
            let _ = self.namespace.cluster.kubectl().args(["-n", on.namespace, "delete", &grant]).output();
        }
    }
}

/// Answers with the request that it got, as JSON.
const ECHO: &str = r#"
import http.server, json
class Echo(http.server.BaseHTTPRequestHandler):
    def answer(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"method": self.command, "path": self.path, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("", 8080), Echo).serve_forever()
"#;

/// What the Function saw; `None` if the gateway does not lead there (yet).
async fn seen(request: reqwest::RequestBuilder) -> Option<Value> {
    let answer = request.send().await.ok()?;
    (answer.status() == 200).then_some(())?;
    answer.json().await.ok()
}

async fn until_seen(client: &Client, url: &str, host: &str) -> Value {
    let began = Instant::now();
    loop {
        if let Some(seen) = seen(client.get(url).header(HOST, host)).await {
            return seen;
        }
        assert!(began.elapsed() < DEADLINE, "{host} is not served at {url}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Rules by path, header, method and query, the Host, a rewritten path.
pub async fn requests_are_routed_by_everything(on: Implementation) {
    let place = Place::new("rules", on);
    let mark = |rule: &str| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-rule", "value": rule}]}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}});
    let rules = json!([
        {"matches": [{"path": {"type": "PathPrefix", "value": "/old"}}], "filters": [mark("rewrite"), rewrite]},
        {"matches": [{"path": {"type": "Exact", "value": "/exact"}}], "filters": [mark("path")]},
        {"matches": [{"headers": [{"name": "x-canary", "value": "yes"}]}], "filters": [mark("header")]},
        {"matches": [{"method": "POST"}], "filters": [mark("method")]},
        {"matches": [{"queryParams": [{"name": "v", "value": "2"}]}], "filters": [mark("query")]},
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "filters": [mark("rest")], "timeouts": {"request": "10s"}},
    ]);
    let deployed = Deployed::new(&format!("rules-{}", on.name), place.echo("echo", "native", json!({"rules": rules})));
    deployed.is_ready();
    let ready = deployed.condition("RouteReady");
    let message = ready["message"].as_str().unwrap();
    assert_eq!(ready["reason"] == "Accepted", on.not_listed.is_empty(), "{ready}");
    assert!(on.not_listed.iter().all(|feature| message.contains(feature)), "{ready}");
    let host = deployed.external_host();
    let client = client();
    let url = |path: &str| format!("{}{path}", on.address);
    let first = until_seen(&client, &url("/"), &host).await;
    assert_eq!(first["headers"]["host"], json!(host), "the function sees the Host of its caller");
    let get = |path: &str| client.get(url(path)).header(HOST, &host);
    for (rule, path, request) in [
        ("rest", "/", get("/")),
        ("rewrite", "/new/a", get("/old/a")),
        ("path", "/exact", get("/exact")),
        ("rest", "/exact/more", get("/exact/more")),
        ("header", "/", get("/").header("x-canary", "yes")),
        ("rest", "/", get("/").header("x-canary", "no")),
        ("method", "/", client.request(Method::POST, url("/")).header(HOST, &host)),
        ("query", "/?v=2", get("/?v=2")),
        ("rest", "/?v=1", get("/?v=1")),
    ] {
        let seen = seen(request).await.unwrap();
        assert_eq!((&seen["headers"]["x-rule"], &seen["path"]), (&json!(rule), &json!(path)), "{seen}");
    }
}

/// A certificate of the Function's own, and the redirect of what comes without it.
pub async fn a_function_has_a_hostname_with_a_certificate_of_its_own(on: Implementation) {
    let place = Place::new("tls", on);
    let host = format!("safe-{}.example.com", on.name);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![host.clone()]).unwrap().self_signed(&key).unwrap();
    let route =
        json!({"hostnames": [host], "rules": [{"matches": [{"path": {"value": "/"}}]}], "tls": {"secretName": "safe"}});
    let deployed = Deployed::new(&format!("tls-{}", on.name), place.echo("safe", "native", route));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "safe"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()}});
    deployed.namespace.apply(&secret.to_string());
    deployed.is_ready();
    assert_eq!(deployed.address("External"), format!("https://{host}/"));
    let ip = Url::parse(on.address).unwrap().host_str().unwrap().parse().unwrap();
    controller_runtime::tls::install_provider();
    let trusting = Client::builder()
        .add_root_certificate(Certificate::from_pem(certificate.pem().as_bytes()).unwrap())
        .resolve(&host, std::net::SocketAddr::new(ip, 443))
        .redirect(Policy::none())
        .build()
        .unwrap();
    let seen = until_seen(&trusting, &format!("https://{host}/"), &host).await;
    assert_eq!(seen["headers"]["host"], json!(host));

    // The route that redirects is another one, of which the proxy learns at another moment.
    let deadline = Instant::now() + DEADLINE;
    loop {
        let plain = Client::builder().redirect(Policy::none()).build().unwrap();
        let answer = plain.get(on.address).header(HOST, &host).send().await.unwrap();
        let location = answer.headers().get(LOCATION).map(|location| location.to_str().unwrap().to_owned());
        if (answer.status().as_u16(), &location) == (301, &Some(format!("https://{host}/"))) {
            break;
        }
        assert!(Instant::now() < deadline, "{} {location:?}", answer.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A backend in another namespace that wants a Host of its own, as the interceptor of KEDA's HTTP add-on: a stand-in
/// that echoes.
pub async fn requests_reach_a_backend_in_another_namespace_with_the_host_that_it_wants(on: Implementation) {
    let place = Place::new("keda", on);
    let cluster = &place.namespace.cluster;
    let command = json!(["python3", "-c", ECHO]);
    let interceptor = json!([
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "interceptor", "namespace": "keda"}, "spec": {
            "selector": {"matchLabels": {"app": "interceptor"}}, "template": {"metadata": {"labels": {"app": "interceptor"}},
                "spec": {"containers": [{"name": "echo", "image": "python", "command": command}]}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "keda-add-ons-http-interceptor-proxy", "namespace": "keda"}, "spec": {
            "selector": {"app": "interceptor"}, "ports": [{"port": 8080}]}},
    ]);
    let mut objects = interceptor.as_array().unwrap().clone();
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}}));
    let crds = e2e::parts::foreign_crds().unwrap();
    objects.extend(crds.into_iter().filter(|crd| crd["spec"]["group"] == "http.keda.sh"));
    cluster.apply(&objects).unwrap();
    let deployed = Deployed::new(&format!("elsewhere-{}", on.name), place.echo("elsewhere", "keda", json!({})));
    deployed.is_ready();
    let host = deployed.external_host();
    let seen = until_seen(&client(), on.address, &host).await;
    let revision = deployed.object().pointer("/status/serving/resourceRef").unwrap().as_str().unwrap().to_owned();
    assert_eq!(seen["headers"]["host"], json!(format!("{revision}.{}.svc.cluster.local", deployed.namespace.name)));
    let grant = format!("referencegrant/openfunction-{}", deployed.namespace.name);
    let is_granted = || cluster.kubectl().args(["-n", "keda", "get", &grant]).output().unwrap().status.success();
    assert!(is_granted());
    deployed.namespace.kubectl(&["delete", "fn", "elsewhere"]);
    eventually("the ReferenceGrant goes with the last Function", || (!is_granted()).then_some(()));
}

pub const CONTOUR: Implementation =
    Implementation { name: "contour", namespace: "projectcontour", address: super::GATEWAY, not_listed: &[] };

#[tokio::test(flavor = "multi_thread")]
async fn contour_routes_by_everything() {
    requests_are_routed_by_everything(CONTOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contour_serves_a_certificate_of_a_function() {
    a_function_has_a_hostname_with_a_certificate_of_its_own(CONTOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contour_reaches_a_backend_in_another_namespace() {
    requests_reach_a_backend_in_another_namespace_with_the_host_that_it_wants(CONTOUR).await;
}
