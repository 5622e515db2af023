//! HTTPRoutes through Contour and Envoy.

use std::{collections::BTreeMap, time::Instant};

use reqwest::{Method, header::HOST};

use crate::support::{ECHO, Namespace, client, get};

/// Applies a route of a gateway and waits until every parent has accepted it.
pub fn route(namespace: &Namespace, parent: &str, host: &str, rules: &str) {
    namespace.apply(&format!(
        r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  parentRefs: [{parent}]
  hostnames: [{host}]
  rules:
{rules}
"#
    ));
    let accepted = r#"--for=jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].status}=True"#;
    namespace.kubectl(&["wait", "httproute/route", accepted, "--timeout=60s"]);
}

const CONTOUR: &str = "{name: contour, namespace: projectcontour}";
const URL: &str = "http://172.30.0.1/cgi-bin/echo";

/// Envoy learns of a route a moment after it was accepted.
pub async fn until_served(client: &reqwest::Client, url: &str, host: &str) {
    let deadline = Instant::now() + crate::support::DEADLINE;
    while get(client, url, host).await.map_or(0, |(status, _)| status) != 200 {
        assert!(Instant::now() < deadline, "{host} is not served");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Weights, and a Host that the route writes, on a Gateway whose proxies answer at a URL.
pub async fn requests_are_split(test: &str, parent: &str, url: &str) {
    let namespace = Namespace::new(test);
    namespace.serve("many", ECHO);
    namespace.serve("few", ECHO);
    let host = format!("{}.example.com", namespace.name);
    route(
        &namespace,
        parent,
        &host,
        "
    - filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example.com}}]
      backendRefs: [{name: many, port: 80, weight: 70}, {name: few, port: 80, weight: 30}]",
    );
    let client = client();
    until_served(&client, url, &host).await;
    let mut counted = BTreeMap::new();
    for _ in 0..1000 {
        let (status, body) = get(&client, url, &host).await.unwrap();
        assert_eq!(status, 200, "{body}");
        *counted.entry(body).or_insert(0) += 1;
    }
    let (many, few) = (counted["many inner.example.com"], counted["few inner.example.com"]);
    assert_eq!(many + few, 1000, "{counted:?}");
    // Five standard deviations: a right split fails once in two million runs.
    assert!((628..=772).contains(&many), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_split_by_weight_and_carry_the_host_that_the_route_writes() {
    requests_are_split("weights", CONTOUR, URL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_matched_by_header_and_method() {
    let namespace = Namespace::new("matches");
    for name in ["rest", "by-header", "by-method"] {
        namespace.serve(name, ECHO);
    }
    let host = format!("{}.example.com", namespace.name);
    route(
        &namespace,
        CONTOUR,
        &host,
        "
    - matches: [{headers: [{name: x-canary, value: 'yes'}]}]
      backendRefs: [{name: by-header, port: 80}]
    - matches: [{method: POST}]
      backendRefs: [{name: by-method, port: 80}]
    - backendRefs: [{name: rest, port: 80}]",
    );
    let client = client();
    until_served(&client, URL, &host).await;
    let send = async |method: Method, canary: &str| {
        let request = client.request(method, URL).header(HOST, &host).header("x-canary", canary);
        let answer = request.send().await.unwrap().text().await.unwrap();
        answer.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(send(Method::GET, "yes").await, "by-header");
    assert_eq!(send(Method::GET, "no").await, "rest");
    assert_eq!(send(Method::POST, "no").await, "by-method");
}
