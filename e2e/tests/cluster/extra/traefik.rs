//! HTTPRoutes through Traefik.

use crate::{
    functions::routes::{self, Implementation},
    gateway::{route, until_served},
    support::{ECHO, Namespace, client, get},
};

const URL: &str = "http://172.30.0.2/cgi-bin/echo";

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_writes_the_host_too() {
    let namespace = Namespace::new("traefik");
    namespace.serve("hello", ECHO);
    let host = format!("{}.example.com", namespace.name);
    let rules = "
    - filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example.com}}]
      backendRefs: [{name: hello, port: 80}]";
    route(&namespace, "{name: traefik, namespace: traefik}", &host, rules);
    let client = client();
    until_served(&client, URL, &host).await;
    assert_eq!(get(&client, URL, &host).await.unwrap(), (200, "hello inner.example.com".to_owned()));
}

const TRAEFIK: Implementation = Implementation {
    name: "traefik",
    namespace: "traefik",
    address: "http://172.30.0.2",
    not_listed: &["HTTPRouteRequestTimeout"],
};

#[tokio::test(flavor = "multi_thread")]
async fn traefik_routes_by_everything() {
    routes::requests_are_routed_by_everything(TRAEFIK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_serves_a_certificate_of_a_function() {
    routes::a_function_has_a_hostname_with_a_certificate_of_its_own(TRAEFIK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_reaches_a_backend_in_another_namespace() {
    routes::requests_reach_a_backend_in_another_namespace_with_the_host_that_it_wants(TRAEFIK).await;
}
