//! HTTPRoutes through Traefik.

use crate::{
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
