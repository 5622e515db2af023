//! Settings of the installation: the flags of the controller.

use serde_json::{Map, Value};

/// Flags of the serving-controller.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// DNS suffix of the cluster. `auto` asks the resolver of the Pod.
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local", value_parser = controller_runtime::args::cluster_domain)]
    pub cluster_domain: String,
    /// Name of the ConfigMap, in the controller's namespace, with settings that apply to every function.
    #[arg(long, env = "CONFIG_MAP", value_name = "NAME", default_value = "openfunction-config")]
    pub config_map: String,
    /// Resources, as JSON, of a function's container that names none.
    #[arg(long, env = "DEFAULT_RESOURCES", value_name = "JSON", default_value = "{}", value_parser = object)]
    pub default_resources: Object,
    /// What pods may do that do not say otherwise: `root-allowed` takes all privileges but those of the image's user,
    /// `enabled` refuses to run as root, too, `disabled` changes nothing.
    #[arg(long, env = "SECURE_POD_DEFAULTS", value_name = "MODE", default_value = "root-allowed", value_parser = ["root-allowed", "enabled", "disabled"])]
    pub secure_pod_defaults: String,
    /// Whether features of Knative that a function needs are switched on in its ConfigMap.
    #[arg(long, env = "KNATIVE_ENABLE_FEATURES", value_name = "BOOL", default_value = "false", action = clap::ArgAction::Set)]
    pub knative_enable_features: bool,
    /// Namespace of Knative Serving.
    #[arg(long, env = "KNATIVE_NAMESPACE", value_name = "NAMESPACE", default_value = "knative-serving")]
    pub knative_namespace: String,
    /// Service of the KEDA HTTP add-on's interceptor, as `namespace/name:port`.
    #[arg(
        long,
        env = "KEDA_HTTP_INTERCEPTOR",
        value_name = "SERVICE",
        default_value = "keda/keda-add-ons-http-interceptor-proxy:8080"
    )]
    pub keda_http_interceptor: Interceptor,
    /// Image of the proxy between Dapr's sidecar of a function and its pods.
    #[arg(long, env = "DAPR_PROXY_IMAGE", value_name = "IMAGE", default_value = concat!("ghcr.io/openfunction/dapr-proxy:", env!("CARGO_PKG_VERSION")))]
    pub dapr_proxy_image: String,
    /// How many pods the Dapr proxy of a function has.
    #[arg(long, env = "DAPR_PROXY_REPLICAS", value_name = "PODS", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub dapr_proxy_replicas: i32,
    /// Resources, as JSON, of the Dapr proxy's container.
    #[arg(long, env = "DAPR_PROXY_RESOURCES", value_name = "JSON", default_value = "{}", value_parser = object)]
    pub dapr_proxy_resources: Object,
}

/// A JSON object on the command line.
pub type Object = Map<String, Value>;

fn object(text: &str) -> Result<Object, String> {
    serde_json::from_str(if text.is_empty() { "{}" } else { text }).map_err(|error| error.to_string())
}

/// Where the interceptor of the KEDA HTTP add-on answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Interceptor {
    /// Namespace of its Service.
    pub namespace: String,
    /// Name of its Service.
    pub name: String,
    /// Port of its Service.
    pub port: i32,
}

impl std::str::FromStr for Interceptor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = || {
            let (namespace, rest) = text.split_once('/')?;
            let (name, port) = rest.split_once(':')?;
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            (!namespace.is_empty() && !name.is_empty()).then(|| Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                port: port.into(),
            })
        };
        parts().ok_or_else(|| "must be namespace/name:port".to_owned())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The settings of an installation that says nothing.
    pub fn defaults() -> Settings {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            settings: Settings,
        }
        <Line as clap::Parser>::parse_from(["test"]).settings
    }

    #[test]
    fn an_interceptor_is_a_service_with_its_port() {
        let interceptor = defaults().keda_http_interceptor;
        assert_eq!((interceptor.namespace.as_str(), interceptor.port), ("keda", 8080));
        for wrong in ["", "a:1", "a/b", "a/b:0", "a/b:x", "/b:1"] {
            assert!(wrong.parse::<Interceptor>().is_err(), "{wrong}");
        }
    }
}
