//! Which features of the Gateway API a route needs beyond the core ones, and which an implementation lists.

use std::collections::BTreeSet;

use openfunction_proto::gateway_api::{
    HttpRouteFilter,
    resources::{GatewayClass, HttpRoute},
};

/// Headers for each of several backends.
pub const BACKEND_HEADERS: &str = "HTTPRouteBackendRequestHeaderModification";

/// The features that routes need and the class of their Gateway does not list; none if it lists none at all.
pub fn missing<'a>(class: Option<&GatewayClass>, routes: impl Iterator<Item = &'a HttpRoute>) -> Vec<&'static str> {
    let listed = class.and_then(|class| class.status.as_ref()).map(|status| status.supported_features.as_slice());
    let listed: BTreeSet<_> = listed.unwrap_or_default().iter().map(|feature| feature.name.as_str()).collect();
    // Who says nothing of HTTPRoutes is not known to lack anything.
    if !listed.iter().any(|name| name.starts_with("HTTPRoute")) {
        return Vec::new();
    }
    let needed: BTreeSet<_> = routes.flat_map(needed).collect();
    needed.into_iter().filter(|name| !listed.contains(name)).collect()
}

/// Names of the features as GatewayClasses list them, see
/// <https://github.com/kubernetes-sigs/gateway-api/blob/main/pkg/features/httproute.go>.
fn needed(route: &HttpRoute) -> BTreeSet<&'static str> {
    let mut needed = BTreeSet::new();
    for rule in &route.spec.rules {
        for matched in &rule.matches {
            needed.extend((!matched.query_params.is_empty()).then_some("HTTPRouteQueryParamMatching"));
            needed.extend(matched.method.as_ref().map(|_| "HTTPRouteMethodMatching"));
        }
        rule.filters.iter().for_each(|filter| of_filter(filter, &mut needed));
        let mirrors = rule.filters.iter().filter(|filter| filter.request_mirror.is_some()).count();
        needed.extend((mirrors > 1).then_some("HTTPRouteRequestMultipleMirrors"));
        if let Some(timeouts) = &rule.timeouts {
            needed.extend(timeouts.request.as_ref().map(|_| "HTTPRouteRequestTimeout"));
            needed.extend(timeouts.backend_request.as_ref().map(|_| "HTTPRouteBackendTimeout"));
        }
        let of_backends = rule.backend_refs.iter().flat_map(|backend| &backend.filters);
        needed
            .extend(of_backends.filter_map(|filter| filter.request_header_modifier.as_ref()).map(|_| BACKEND_HEADERS));
    }
    needed
}

fn of_filter(filter: &HttpRouteFilter, needed: &mut BTreeSet<&'static str>) {
    needed.extend(filter.response_header_modifier.as_ref().map(|_| "HTTPRouteResponseHeaderModification"));
    if let Some(rewrite) = &filter.url_rewrite {
        needed.extend(rewrite.hostname.as_ref().map(|_| "HTTPRouteHostRewrite"));
        needed.extend(rewrite.path.as_ref().map(|_| "HTTPRoutePathRewrite"));
    }
    if let Some(mirror) = &filter.request_mirror {
        needed.insert("HTTPRouteRequestMirror");
        needed.extend(
            (mirror.percent.is_some() || mirror.fraction.is_some()).then_some("HTTPRouteRequestPercentageMirror"),
        );
    }
    if let Some(redirect) = &filter.request_redirect {
        needed.extend(redirect.scheme.as_ref().map(|_| "HTTPRouteSchemeRedirect"));
        needed.extend(redirect.port.map(|_| "HTTPRoutePortRedirect"));
        needed.extend(redirect.path.as_ref().map(|_| "HTTPRoutePathRedirect"));
        needed.extend(match redirect.status_code {
            303 => Some("HTTPRoute303RedirectStatusCode"),
            307 => Some("HTTPRoute307RedirectStatusCode"),
            308 => Some("HTTPRoute308RedirectStatusCode"),
            _ => None,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn missing_of(features: &[&str], rule: Value) -> Vec<&'static str> {
        let features: Vec<_> = features.iter().map(|name| json!({ "name": name })).collect();
        let class = json!({"metadata": {"name": "c"}, "spec": {"controllerName": "c"}, "status": {"supportedFeatures": features}});
        let route: HttpRoute =
            serde_json::from_value(json!({"metadata": {"name": "f"}, "spec": {"rules": [rule]}})).unwrap();
        missing(Some(&serde_json::from_value(class).unwrap()), [route].iter())
    }

    #[test]
    fn what_an_implementation_does_not_list_is_named() {
        let rewrite = json!({"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a"}}], "matches": [{"method": "GET"}]});
        assert_eq!(missing_of(&["HTTPRouteMethodMatching"], rewrite.clone()), ["HTTPRouteHostRewrite"]);
        assert!(missing_of(&["HTTPRouteMethodMatching", "HTTPRouteHostRewrite"], rewrite.clone()).is_empty());
        assert!(missing_of(&["Gateway"], rewrite.clone()).is_empty(), "it says nothing of HTTPRoutes");
        assert!(missing_of(&[], rewrite).is_empty());
        let header =
            json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}});
        let backends = json!({"backendRefs": [{"name": "a", "port": 80, "filters": [header]}]});
        assert_eq!(missing_of(&["HTTPRouteMethodMatching"], backends), [BACKEND_HEADERS]);
    }
}
