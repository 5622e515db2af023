//! Handlers: ordinary Functions that run the programs of events.

use std::collections::BTreeMap;

use controller_runtime::children;
use event_bus::wire::Mode;
use event_delivery::deliver::{BackoffPolicy, Policy};
use k8s_openapi::api::core::v1::{
    Capabilities, HTTPGetAction, Probe, ResourceRequirements, SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use kube::Resource;
use openfunction_proto::{
    core::{Function, FunctionSpec, HttpTrigger, Route, ScaleOptions, ServingImpl, Triggers},
    events::Delivery,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{ABOUT, names, problem::Problem, secrets::Secrets};

/// Port of metrics and probes.
pub const METRICS_PORT: i32 = 8080;
/// Port of webhooks.
pub const WEBHOOK_PORT: i32 = 8081;

/// Bytes of a configuration: Linux takes 128 KiB of an environment variable.
const MAX_CONFIG: usize = 120 << 10;

/// What a handler is.
#[derive(Clone, Debug, PartialEq)]
pub struct Handler {
    /// Name of the Function.
    pub name: String,
    /// Its image.
    pub image: String,
    /// How it runs.
    pub serving: ServingImpl,
}

/// A handler of our own: a program that takes events from where they are by itself.
#[derive(Clone, Debug)]
pub struct Native {
    /// Its configuration, as [`config`] writes it.
    pub config: String,
    /// Port that its Service leads to.
    pub port: i32,
    /// Who can reach it.
    pub visibility: String,
    /// Secrets that it reads.
    pub secrets: Secrets,
    /// How many there are.
    pub scale: ScaleOptions,
    /// What it logs.
    pub log_filter: &'static str,
    /// Where its traces go.
    pub otlp_endpoint: Option<String>,
}

impl Native {
    /// How it runs.
    pub fn serving(self) -> ServingImpl {
        let template = self.template();
        let mut params: BTreeMap<_, _> =
            [("CONFIG".to_owned(), self.config), ("LOG_FILTER".to_owned(), self.log_filter.to_owned())].into();
        params.extend(self.otlp_endpoint.map(|url| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url)));
        let route = Route { visibility: Some(self.visibility), ..Route::default() };
        let http = HttpTrigger { port: Some(self.port), engine: Some("native".to_owned()), route: Some(route) };
        ServingImpl {
            triggers: Some(Triggers { http: Some(http), ..Triggers::default() }),
            scale_options: Some(self.scale),
            params,
            annotations: [
                ("prometheus.io/scrape", "true".to_owned()),
                ("prometheus.io/port", METRICS_PORT.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            template: Some(template),
            ..ServingImpl::default()
        }
    }

    fn template(&self) -> Value {
        let probe = |path: &str, seconds| Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::Int(METRICS_PORT),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(seconds),
            timeout_seconds: Some(5),
            ..Probe::default()
        };
        let mut container = confined("function");
        container["readinessProbe"] = json!(probe("/ready", 2));
        container["livenessProbe"] = json!(probe("/live", 10));
        let mut pod = json!({ "automountServiceAccountToken": false });
        self.secrets.mount(&mut pod, &mut container);
        pod["containers"] = json!([container]);
        pod
    }
}

/// A container of one of our programs, which may do nothing that it need not.
pub fn confined(name: &str) -> Value {
    let security = SecurityContext {
        run_as_non_root: Some(true),
        read_only_root_filesystem: Some(true),
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..SecurityContext::default()
    };
    let quantities = |of: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        of.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
    };
    let resources = ResourceRequirements {
        requests: Some(quantities(&[("cpu", "10m"), ("memory", "32Mi")])),
        limits: Some(quantities(&[("memory", "128Mi")])),
        claims: None,
    };
    json!({"name": name, "securityContext": security, "resources": resources})
}

/// A configuration as text. Kubernetes would replace `$(NAME)` in it.
///
/// # Errors
/// It is too long.
pub fn config(config: &impl Serialize) -> Result<String, Problem> {
    fitting(without_nothing(children::json(config)).to_string().replace('$', "\\u0024"))
}

/// A configuration that a process can be given.
///
/// # Errors
/// It is too long.
pub fn fitting(text: String) -> Result<String, Problem> {
    match text.len() {
        ..=MAX_CONFIG => Ok(text),
        length => Err(Problem::configuration(format!(
            "spec: Too long: the handler's configuration takes {length} bytes; at most {MAX_CONFIG} are allowed: make conditions shorter, or several objects of this one"
        ))),
    }
}

/// JSON without fields that say nothing.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nothing(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(without_nothing).collect(),
        other => other,
    }
}

/// What our own say in detail; the clients of brokers would drown it.
const DEBUG: &str = "info,event_source=debug,event_trigger=debug,event_delivery=debug,event_bus=debug";
const TRACE: &str = "info,event_source=trace,event_trigger=trace,event_delivery=trace,event_bus=trace";

/// What is logged at a level of the original: a number of klog, or a word, as before v3 (events §14).
pub fn log_filter(level: Option<&str>) -> &'static str {
    match level.unwrap_or_default() {
        "error" => "error",
        "warn" | "warning" => "warn",
        "debug" => DEBUG,
        "trace" => TRACE,
        number => match number.parse::<i32>() {
            Ok(..0) => "error",
            Ok(3..=4) => DEBUG,
            Ok(5..) => TRACE,
            _ => "info",
        },
    }
}

/// How a handler delivers.
pub fn policy(delivery: Option<&Delivery>) -> Policy {
    let (Delivery { retry, backoff_policy, backoff_delay, timeout, content_mode }, default) =
        (delivery.cloned().unwrap_or_default(), Policy::default());
    Policy {
        retry: retry.and_then(|number| u32::try_from(number).ok()).unwrap_or(default.retry),
        backoff_policy: match backoff_policy.as_deref() {
            Some("linear") => BackoffPolicy::Linear,
            _ => BackoffPolicy::Exponential,
        },
        backoff_delay: backoff_delay.and_then(|time| time.to_std()).unwrap_or(default.backoff_delay),
        timeout: timeout.and_then(|time| time.to_std()).filter(|time| !time.is_zero()).unwrap_or(default.timeout),
        content_mode: match content_mode.as_deref() {
            Some("binary") => Some(Mode::Binary),
            Some("structured") => Some(Mode::Structured),
            Some("inner") => Some(Mode::Inner),
            _ => None,
        },
    }
}

/// The Function of a handler, which goes with its owner.
pub fn function<K: Resource<DynamicType = ()>>(owner: &K, label: &str, handler: &Handler) -> Function {
    let owner_name = names::label(owner.meta().name.as_deref().unwrap_or_default());
    let labels = [(names::MANAGED, "true"), (label, owner_name.as_str())];
    let mut function = Function::new(
        &handler.name,
        FunctionSpec {
            version: Some(ABOUT.version.to_owned()),
            image: handler.image.clone(),
            workload_runtime: "OCIContainer".to_owned(),
            serving: Some(handler.serving.clone()),
            // What was another handler is of no use.
            revision_history_limit: Some(0),
            ..FunctionSpec::default()
        },
    );
    function.metadata = children::metadata(owner, &handler.name, ABOUT.name, &labels);
    function
}
