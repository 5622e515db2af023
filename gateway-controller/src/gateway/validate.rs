//! What is wrong with an OpenFunction Gateway that its CRD cannot see (networking §4.2, N16).

use std::collections::BTreeMap;

use openfunction_proto::networking::Gateway;

use super::effective;
use crate::template::render;

/// What is wrong, each with its path.
pub fn problems(gateway: &Gateway) -> Vec<String> {
    let mut problems = Vec::new();
    let spec = &gateway.spec;
    // Whatever a function is called, the template must give something.
    let fields = [("Name", "name"), ("Namespace", "namespace"), ("Domain", spec.domain.as_str())];
    for (field, template, fields) in
        [("hostTemplate", &spec.host_template, &fields[..]), ("pathTemplate", &spec.path_template, &fields[..2])]
    {
        if let Err(error) = render(template, fields) {
            problems.push(format!("spec.{field}: Invalid value: {template:?}: {error}"));
        }
    }
    let key = &spec.http_route_label_key;
    let is_name = |name: &str| {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        name.len() <= 63 && is_end(name.chars().next()) && is_end(name.chars().last()) && name.chars().all(is_inner)
    };
    let is_prefix = |prefix: &str| {
        prefix.len() <= 253 && prefix.split('.').all(|label| is_name(label) && label.to_lowercase() == label)
    };
    if !key.rsplit_once('/').map_or_else(|| is_name(key), |(prefix, name)| is_prefix(prefix) && is_name(name)) {
        problems.push(format!("spec.httpRouteLabelKey: Invalid value: {key:?}: must be the key of a label"));
    }
    let mut known = BTreeMap::new();
    for listener in effective(gateway) {
        let path = spec.gateway_spec.listeners.iter().position(|own| own.name == listener.name);
        let path = path
            .map_or_else(|| "spec.gatewaySpec.listeners".to_owned(), |at| format!("spec.gatewaySpec.listeners[{at}]"));
        let address = (listener.port, listener.protocol.clone(), listener.hostname.clone());
        if let Some(other) = known.insert(address, listener.name.clone()) {
            problems.push(format!(
                "{path}: Invalid value: {:?}: has port, protocol and hostname of listener {other:?}",
                listener.name
            ));
        }
        let has_tls = listener.tls.is_some();
        match listener.protocol.as_str() {
            "HTTP" | "TCP" | "UDP" if has_tls => {
                problems.push(format!("{path}.tls: Forbidden: protocol {} has no TLS", listener.protocol));
            }
            "HTTPS" if listener.tls.as_ref().is_some_and(|tls| tls.mode != "Terminate") => {
                problems.push(format!("{path}.tls.mode: Invalid value: protocol HTTPS needs Terminate"));
            }
            "HTTPS" | "TLS" if !has_tls => {
                problems.push(format!("{path}.tls: Required value: protocol {} needs it", listener.protocol));
            }
            _ => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems_of(more: Value) -> Vec<String> {
        let mut spec =
            json!({"domain": "ofn.io", "gatewaySpec": {"listeners": [{"name": "x", "port": 80, "protocol": "HTTP"}]}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        problems(&serde_json::from_value(json!({"metadata": {"name": "o"}, "spec": spec})).unwrap())
    }

    #[test]
    fn what_the_gateway_api_would_refuse_is_told_with_its_path() {
        let listeners = |listeners: Value| json!({"gatewaySpec": {"listeners": listeners}});
        assert_eq!(problems_of(json!({"httpRouteLabelKey": "a b"})).len(), 1);
        assert!(problems_of(json!({"httpRouteLabelKey": "app.example.com/Gateway"})).is_empty());
        let http = |name: &str, port: i32| json!({"name": name, "port": port, "protocol": "HTTP"});
        for (more, expected) in [
            (json!({}), None),
            (
                json!({"hostTemplate": "{{.Nmae}}"}),
                Some("spec.hostTemplate: Invalid value: \"{{.Nmae}}\": at 3: .Nmae"),
            ),
            // N04: the value is that of the path template.
            (
                json!({"pathTemplate": "{{.Domain}}"}),
                Some("spec.pathTemplate: Invalid value: \"{{.Domain}}\": at 3: .Domain"),
            ),
            (
                listeners(json!([http("a", 80), http("b", 80)])),
                Some("spec.gatewaySpec.listeners[1]: Invalid value: \"b\": has port"),
            ),
            (listeners(json!([http("a", 80), http("b", 81)])), None),
            (
                listeners(json!([{"name": "a", "port": 80, "protocol": "HTTP", "tls": {}}])),
                Some("spec.gatewaySpec.listeners[0].tls: Forbidden"),
            ),
            (listeners(json!([{"name": "a", "port": 443, "protocol": "HTTPS"}])), Some("listeners[0].tls: Required")),
            (
                listeners(json!([{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}}])),
                Some("listeners[0].tls.mode"),
            ),
            (listeners(json!([{"name": "a", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}}])), None),
        ] {
            let problems = problems_of(more.clone());
            match expected {
                None => assert!(problems.is_empty(), "{more}: {problems:?}"),
                Some(expected) => {
                    assert!(problems.len() == 1 && problems[0].contains(expected), "{more}: {problems:?}")
                }
            }
        }
    }
}
