use serde_json::{Value, json};

use super::*;
use crate::function::status::addresses;

fn gateway(more: &Value) -> Gateway {
    let mut spec = json!({"domain": "ofn.io", "gatewayRef": {"name": "contour", "namespace": "projectcontour"}, "gatewaySpec": {"listeners": []}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"name": "openfunction", "namespace": "openfunction"}, "spec": spec}))
        .unwrap()
}

fn function(route: &Value) -> Function {
    let http = if route.is_null() { json!({}) } else { json!({ "route": route }) };
    let spec = json!({"image": "a", "serving": {"triggers": {"http": http}}});
    serde_json::from_value(json!({"metadata": {"name": "f", "namespace": "default", "uid": "u"}, "spec": spec}))
        .unwrap()
}

fn target(revision: &str, percent: i32) -> TrafficTarget {
    let backend = Backend {
        kind: "Service".to_owned(),
        namespace: "default".to_owned(),
        name: revision.to_owned(),
        port: 80,
        ..Backend::default()
    };
    TrafficTarget { revision: revision.to_owned(), percent, tag: None, backend: Some(backend) }
}

/// Listeners of the Kubernetes Gateway: an open one, a closed one, the one for short names and one with a certificate.
fn kubernetes() -> KubernetesGateway {
    let all = json!({"namespaces": {"from": "All"}});
    let listeners = json!([
        {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": all},
        {"name": "closed", "port": 81, "protocol": "HTTP"},
        {"name": gateway::certificate_names("safe.example.com")[0], "hostname": "safe.example.com", "port": 443, "protocol": "HTTPS",
            "allowedRoutes": {"namespaces": {"from": "Selector"}}},
    ]);
    serde_json::from_value(
        json!({"metadata": {"name": "contour", "namespace": "projectcontour"}, "spec": {"listeners": listeners}}),
    )
    .unwrap()
}

fn all(route: Value, of_gateway: Value, traffic: &[TrafficTarget], options: &Options) -> Result<Routes, Unroutable> {
    let (function, gateway, kubernetes) = (function(&route), gateway(&of_gateway), kubernetes());
    let spec = function.spec_with_defaults(&Default::default());
    let routed = Routed {
        function: &function,
        spec: &spec,
        gateway: &gateway,
        kubernetes: &kubernetes,
        by_set: false,
        set: None,
        options,
    };
    routed.http_routes(traffic, &BTreeSet::new())
}

fn rendered(route: Value, of_gateway: Value, traffic: &[TrafficTarget]) -> Result<HttpRoute, Unroutable> {
    all(route, of_gateway, traffic, &Options::default()).map(|routes| routes.main)
}

/// Names, hostnames and listeners of routes.
fn told<'a>(routes: impl IntoIterator<Item = &'a HttpRoute>) -> Vec<(String, Vec<String>, Vec<String>)> {
    let sections = |route: &HttpRoute| {
        route.spec.parent_refs.iter().filter_map(|parent| parent.section_name.clone()).collect::<Vec<_>>()
    };
    routes.into_iter().map(|route| (route.name_any(), route.spec.hostnames.clone(), sections(route))).collect()
}

fn is(name: &str, hostnames: &[&str], sections: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    (name.to_owned(), owned(hostnames), owned(sections))
}

/// A listener for hostnames of the domain.
fn with_listeners(protocols: &[(&str, i32)]) -> Value {
    let listener = |(protocol, port): &(&str, i32)| json!({"name": protocol.to_lowercase() + "-ext", "port": port, "protocol": protocol, "tls": (*protocol == "HTTPS").then(|| json!({})), "allowedRoutes": {"namespaces": {"from": "All"}}});
    json!({"gatewaySpec": {"listeners": protocols.iter().map(listener).collect::<Vec<_>>()}})
}

#[test]
fn a_route_is_attached_to_the_listeners_of_its_hostnames() {
    let sections = |route: Value| told([&rendered(route, with_listeners(&[("HTTP", 80)]), &[]).unwrap()]).remove(0).2;
    assert_eq!(sections(Value::Null), ["http-ext", "ofn-http-internal"]);
    assert_eq!(sections(json!({"visibility": "Internal"})), ["ofn-http-internal"]);
    // N35: only the Gateway's own takes the one; the other has a nearer one, which Contour lets nothing else have.
    assert_eq!(sections(json!({"hostnames": ["shop.example.com"]})), ["ofn-http-internal", "http"]);
}

#[test]
fn n31_short_names_stand_in_a_route_of_their_own() {
    let routes = all(Value::Null, json!({}), &[target("r1", 100)], &Options::default()).unwrap();
    assert_eq!(told(&routes.others), [is("f.short", &["f.default", "f.default.svc"], &["http"])]);
    assert_eq!(routes.others[0].spec.rules, routes.main.spec.rules);
    assert_eq!(routes.hostnames, ["f.default.ofn.io", "f.default.svc.cluster.local"], "they are not told");
}

#[test]
fn n23_the_internal_hostname_behind_sixteen_others_has_a_route_of_its_own() {
    let hostnames: Vec<_> = (0..16).map(|index| format!("h{index}.example.com")).collect();
    let routes = all(json!({ "hostnames": hostnames }), json!({}), &[], &Options::default()).unwrap();
    assert_eq!((routes.main.spec.hostnames.len(), routes.hostnames.len()), (16, 17));
    assert_eq!(told(&routes.others)[0], is("f.more", &["f.default.svc.cluster.local"], &["ofn-http-internal"]));
}

#[test]
fn n40_what_has_an_https_listener_is_sent_there_if_the_gateway_says_so() {
    let mut gateway = with_listeners(&[("HTTP", 80), ("HTTPS", 8443)]);
    let external = "f.default.ofn.io";
    let without = all(Value::Null, gateway.clone(), &[target("r1", 100)], &Options::default()).unwrap();
    assert_eq!(told([&without.main])[0].2, ["http-ext", "https-ext", "ofn-http-internal"]);
    gateway["httpsRedirect"] = json!(true);
    let routes = all(Value::Null, gateway, &[target("r1", 100)], &Options::default()).unwrap();
    assert_eq!(told([&routes.main])[0].2, ["https-ext", "ofn-http-internal"]);
    assert_eq!(told(&routes.others)[0], is("f.redirect", &[external], &["http-ext"]));
    let redirect = json!(routes.others[0].spec.rules[0].filters[0].request_redirect);
    assert_eq!(redirect, json!({"scheme": "https", "port": 8443, "statusCode": 301}));
    let addresses = addresses(&routes.hostnames, &[HttpPathMatch::default()], "cluster.local", &routes.doors);
    let values: Vec<_> = addresses.iter().map(|address| address.value.as_str()).collect();
    assert_eq!(values, ["https://f.default.ofn.io:8443/", "http://f.default.svc.cluster.local/"]);
}

#[test]
fn rt21_a_hostname_with_a_certificate_comes_in_by_its_own_listener() {
    let route = json!({"hostnames": ["safe.example.com"], "tls": {"secretName": "safe"}});
    let routes = all(route.clone(), json!({}), &[], &Options::default()).unwrap();
    let [own, _] = gateway::certificate_names("safe.example.com");
    assert_eq!(
        told([&routes.main])[0].2,
        [own.as_str(), "ofn-http-internal"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    let addresses = addresses(&routes.hostnames, &[HttpPathMatch::default()], "cluster.local", &routes.doors);
    assert_eq!(addresses[0].value, "https://safe.example.com/");
    // Who has no certificate of its own does not use somebody's listener.
    let plain = all(json!({"hostnames": ["safe.example.com"]}), json!({}), &[], &Options::default()).unwrap();
    assert!(!told([&plain.main])[0].2.contains(&own));
}

#[test]
fn rt19_a_tagged_revision_has_hostnames_of_its_own() {
    let mut tagged = target("r2", 0);
    tagged.tag = Some("next".to_owned());
    let traffic = [target("r1", 100), tagged];
    let routes = all(Value::Null, with_listeners(&[("HTTP", 80)]), &traffic, &Options::default()).unwrap();
    let hosts = ["next-f.default.ofn.io", "next-f.default.svc.cluster.local"];
    let route = routes.others.iter().find(|route| route.name_any() == "f.tag-next").unwrap();
    assert_eq!(told([route]), [is("f.tag-next", &hosts, &["http-ext", "ofn-http-internal"])]);
    let backends = |route: &HttpRoute| json!(route.spec.rules[0].backend_refs[0])["name"].clone();
    assert_eq!((backends(route), backends(&routes.main)), (json!("r2"), json!("r1")));
    assert_eq!((led_to(route).len(), led_to(&routes.main).len()), (1, 2));
    assert_eq!(backends(&kept(&function(&Value::Null), route, &traffic)), "r2");
}

#[test]
fn rt23_the_address_of_before_0_7_is_served_if_asked_for() {
    let options = Options { legacy_entry: true, ..Options::default() };
    let routes = all(Value::Null, json!({}), &[target("r1", 100)], &options).unwrap();
    let legacy = routes.others.iter().find(|route| route.name_any() == "f.legacy").unwrap();
    assert_eq!(legacy.spec.hostnames, ["openfunction.io.svc.cluster.local"]);
    assert_eq!(json!(legacy.spec.rules[0].matches[0].path)["value"], "/default/f");
}

#[test]
fn a_rule_without_a_timeout_gets_that_of_the_installation() {
    let options = Options { request_timeout: Some("30s".to_owned()), ..Options::default() };
    let timeouts = |route: Value| json!(all(route, json!({}), &[], &options).unwrap().main.spec.rules[0].timeouts);
    assert_eq!(timeouts(Value::Null), json!({"request": "30s"}));
    assert_eq!(timeouts(json!({"rules": [{"timeouts": {"request": "1s"}}]})), json!({"request": "1s"}));
}

/// Route, what the gateway says besides; hosts, paths, addresses.
type Vector = (Value, Value, Vec<&'static str>, Vec<&'static str>, Vec<&'static str>);

/// Hosts, paths and addresses of networking §10.1.
#[test]
fn rt16_hosts_paths_and_addresses_are_those_of_the_vectors() {
    let internal = "f.default.svc.cluster.local";
    let cases: Vec<Vector> = vec![
        (
            Value::Null,
            json!({}),
            vec!["f.default.ofn.io", internal],
            vec!["/"],
            vec!["External http://f.default.ofn.io/", "Internal http://f.default.svc.cluster.local/"],
        ),
        (
            json!({"hostnames": ["sample.ofn.io"]}),
            json!({}),
            vec!["sample.ofn.io", internal],
            vec!["/default/f"],
            vec!["External http://sample.ofn.io/default/f", "Internal http://f.default.svc.cluster.local/default/f"],
        ),
        (
            json!({"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/v2/foo"}}]}]}),
            json!({}),
            vec!["f.default.ofn.io", internal],
            vec!["/v2/foo"],
            vec!["External http://f.default.ofn.io/v2/foo", "Internal http://f.default.svc.cluster.local/v2/foo"],
        ),
        (
            json!({"hostnames": ["sample.ofn.io"], "rules": [{"matches": [{"path": {"value": "/v2/foo"}}]}]}),
            json!({}),
            vec!["sample.ofn.io", internal],
            vec!["/v2/foo"],
            vec!["External http://sample.ofn.io/v2/foo", "Internal http://f.default.svc.cluster.local/v2/foo"],
        ),
        (
            json!({"hostnames": [internal]}),
            json!({}),
            vec![internal],
            vec!["/default/f"],
            vec!["Internal http://f.default.svc.cluster.local/default/f"],
        ),
        (
            json!({"rules": [{"matches": [{"path": {"value": "/a"}}, {"path": {"value": "/b"}}]}]}),
            json!({}),
            vec!["f.default.ofn.io", internal],
            vec!["/a", "/b"],
            vec![
                "External http://f.default.ofn.io/a",
                "External http://f.default.ofn.io/b",
                "Internal http://f.default.svc.cluster.local/a",
                "Internal http://f.default.svc.cluster.local/b",
            ],
        ),
        (
            json!({"hostnames": ["x.ofn.io"]}),
            json!({"pathTemplate": "/fn/{{.Name}}"}),
            vec!["x.ofn.io", internal],
            vec!["/fn/f"],
            vec!["External http://x.ofn.io/fn/f", "Internal http://f.default.svc.cluster.local/fn/f"],
        ),
    ];
    for (route, of_gateway, hosts, paths, expected) in cases {
        let routes = all(route.clone(), of_gateway, &[target("r1", 100)], &Options::default()).unwrap();
        let spec = routes.main.spec;
        let found: Vec<_> = spec.rules.iter().flat_map(|rule| &rule.matches).filter_map(|m| m.path.as_ref()).collect();
        assert_eq!(spec.hostnames, hosts, "{route}");
        assert_eq!(found.iter().map(|path| path.value.as_str()).collect::<Vec<_>>(), paths, "{route}");
        let paths: Vec<_> = found.into_iter().cloned().collect();
        let addresses = addresses(&spec.hostnames, &paths, "cluster.local", &routes.doors);
        assert_eq!(
            addresses.iter().map(|a| format!("{} {}", a.type_, a.value)).collect::<Vec<_>>(),
            expected,
            "{route}"
        );
    }
}

#[test]
fn one_revision_is_the_only_backend_and_two_share_by_weight() {
    let backends = |traffic: &[TrafficTarget]| {
        let route = rendered(Value::Null, json!({}), traffic).unwrap();
        let refs =
            route.spec.rules[0].backend_refs.iter().map(|b| (b.name.clone(), b.weight, b.port)).collect::<Vec<_>>();
        (refs, route.annotations()[REVISIONS].clone())
    };
    assert_eq!(backends(&[target("r1", 100)]), (vec![("r1".to_owned(), 1, Some(80))], "r1".to_owned()));
    let two = vec![("r1".to_owned(), 90, Some(80)), ("r2".to_owned(), 10, Some(80))];
    assert_eq!(backends(&[target("r1", 90), target("r2", 10)]), (two, "r1,r2".to_owned()));
}

#[test]
fn q25_a_backend_gets_the_host_and_the_headers_that_it_needs() {
    let mut needy = target("r1", 100);
    let backend = needy.backend.as_mut().unwrap();
    backend.host = Some("inner.example.com".to_owned());
    backend.headers.insert("Knative-Serving-Revision".to_owned(), "r1".to_owned());
    let alone = rendered(Value::Null, json!({}), &[needy.clone()]).unwrap();
    let types = |filters: &[HttpRouteFilter]| filters.iter().map(|f| f.type_.clone()).collect::<Vec<_>>();
    assert_eq!(types(&alone.spec.rules[0].filters), ["RequestHeaderModifier", "URLRewrite"]);
    needy.percent = 50;
    let shared = rendered(Value::Null, json!({}), &[needy, target("r2", 50)]).unwrap();
    assert!(shared.spec.rules[0].filters.is_empty(), "not for the other one");
    assert_eq!(types(&shared.spec.rules[0].backend_refs[0].filters), ["RequestHeaderModifier", "URLRewrite"]);
}

#[test]
fn n38_a_redirect_has_no_backend() {
    let rules = json!([{"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}]);
    let route = rendered(json!({ "rules": rules }), json!({}), &[target("r1", 100)]).unwrap();
    assert!(route.spec.rules[0].backend_refs.is_empty());
}

#[test]
fn n39_a_template_that_gives_no_hostname_is_told() {
    let unroutable =
        |template: &str| rendered(Value::Null, json!({"hostTemplate": template}), &[]).unwrap_err().message;
    assert!(
        unroutable("{{.Nmae}}").contains("spec.hostTemplate: at 3: .Nmae is not known"),
        "{}",
        unroutable("{{.Nmae}}")
    );
    assert!(unroutable("{{.Name}}_x").contains("\"f_x\" is no hostname"));
}

#[test]
fn rt22_an_internal_function_has_no_other_hostname() {
    let route = rendered(json!({"visibility": "Internal"}), json!({}), &[]).unwrap();
    assert_eq!(route.spec.hostnames, ["f.default.svc.cluster.local"]);
}

#[test]
fn the_label_names_the_gateway() {
    let route = rendered(Value::Null, json!({}), &[]).unwrap();
    assert_eq!(route.labels()["app.kubernetes.io/managed-by"], "openfunction.openfunction");
}

/// As on Knative: the backend wants a header that names the revision.
fn on_knative(revision: &str) -> TrafficTarget {
    let mut target = target(revision, 100);
    let headers = &mut target.backend.as_mut().unwrap().headers;
    headers.insert("Knative-Serving-Revision".to_owned(), revision.to_owned());
    target
}

fn headers(filters: &[HttpRouteFilter]) -> Vec<String> {
    let set =
        filters.iter().filter_map(|filter| filter.request_header_modifier.as_ref()).flat_map(|filter| &filter.set);
    set.map(|header| header.value.clone()).collect()
}

#[test]
fn a_rule_that_sets_headers_itself_leaves_those_of_the_engine_to_the_backend() {
    let own = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-team", "value": "blue"}]}});
    let route = rendered(json!({"rules": [{"filters": [own]}]}), json!({}), &[on_knative("r1")]).unwrap();
    let rule = &route.spec.rules[0];
    assert_eq!(headers(&rule.filters), ["blue"], "a rule has one filter of a kind at most");
    assert_eq!(headers(&rule.backend_refs[0].filters), ["r1"]);
}

#[test]
fn a_route_that_is_kept_loses_what_the_backend_before_asked_for() {
    let live = rendered(Value::Null, json!({}), &[on_knative("r1")]).unwrap();
    assert_eq!(headers(&live.spec.rules[0].filters), ["r1"]);
    let kept = kept(&function(&Value::Null), &live, &[on_knative("r2")]);
    assert_eq!(headers(&kept.spec.rules[0].filters), ["r2"]);
}
