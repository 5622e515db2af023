//! A Serving as it can be built: after this, nobody reads the raw spec.

use controller_runtime::{children, driver::Failure};
use kube::{ResourceExt, api::ObjectMeta};
use openfunction_proto::core::{KedaScaleOptions, KedaTrigger, ScaleOptions, Serving, defaults};
use serde_json::{Map, Value, json};

use crate::{
    ABOUT,
    dapr::{self, Mode},
    engine::{self, Engine},
    pod,
};

/// Why a Serving cannot be built.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Invalid {
    /// The engine is none of ours.
    #[error("spec.triggers.http.engine: Unsupported value: {0:?}: supported values: \"knative\", \"keda\", \"native\"")]
    Engine(String),
    /// What the engine needs is not installed.
    #[error(
        "spec.triggers.http.engine: engine {engine:?} needs {needs}, which the cluster does not have; install it, or choose another engine"
    )]
    Missing {
        /// The engine.
        engine: String,
        /// What it needs.
        needs: &'static str,
    },
    /// Dapr is not installed.
    #[error(
        "spec: Dapr triggers, inputs, outputs, states and configurations need Dapr (components.dapr.io/v1alpha1), which the cluster does not have; install it, or set annotation openfunction.io/enable-dapr: \"false\""
    )]
    NoDapr,
    /// This Dapr has no policies.
    #[error(
        "spec.resiliency and spec.triggers.dapr[].retry need resiliencies.dapr.io/v1alpha1, which the cluster does not have; install a newer Dapr"
    )]
    NoResiliency,
    /// A component is neither declared nor there.
    #[error(
        "{path}: Not found: {name:?}: neither bindings, pubsub, states and configurations of the function nor the namespace have a component of this name"
    )]
    Component {
        /// Path of the field.
        path: String,
        /// Name of the component.
        name: String,
    },
    /// A trigger has no topic.
    #[error("{path}: Required value: a component of type {type_:?} sends events of topics")]
    Topic {
        /// Path of the field.
        path: String,
        /// Type of the component.
        type_: String,
    },
    /// The template is no PodSpec.
    #[error("spec.template{0}")]
    Template(String),
    /// A value that cannot be used, with its path.
    #[error("{path}: Invalid value: {value:?}: {why}")]
    Value {
        /// Path of the field.
        path: String,
        /// The value.
        value: String,
        /// What is wrong with it, and what is allowed.
        why: String,
    },
}

impl Failure for Invalid {
    fn reason(&self) -> &'static str {
        match self {
            Self::Engine(_) | Self::Missing { .. } => "EngineUnavailable",
            Self::NoDapr | Self::NoResiliency => "DaprMissing",
            Self::Component { .. } => "ComponentMissing",
            Self::Template(_) => "InvalidTemplate",
            Self::Topic { .. } | Self::Value { .. } => "InvalidValue",
        }
    }

    fn is_temporary(&self) -> bool {
        false
    }
}

/// A Serving as it can be built.
#[derive(Clone)]
pub struct Valid<'a> {
    /// The object.
    pub serving: &'a Serving,
    /// Name of its Function.
    pub function: String,
    /// What runs it.
    pub engine: &'static dyn Engine,
    /// Whether it has Dapr, and how.
    pub dapr: Mode,
    /// Port of the function's container.
    pub port: i32,
    /// The application protocol of that port, as `appProtocol` of a Service has it, if it is not HTTP/1.1.
    pub app_protocol: Option<&'static str>,
    /// How it is scaled.
    pub scale: ScaleOptions,
    /// Options for KEDA.
    pub keda: KedaScaleOptions,
    /// What KEDA watches, wherever it is written (goals Q8), with the path of each.
    pub triggers: Vec<(String, KedaTrigger)>,
    /// The user's PodSpec.
    pub template: Map<String, Value>,
}

/// Label of workloads, scalers and pods that OpenFunction made (core-api §10.1).
pub const MANAGED: (&str, &str) = ("openfunction.io/managed", "true");

/// Bounds of a function that names none (goals SC2).
pub const MIN_REPLICAS: i32 = 0;
/// Upper bound of a function that names none (goals SC2).
pub const MAX_REPLICAS: i32 = 10;

/// Reads a Serving.
///
/// # Errors
/// What cannot be built, with its field.
pub fn validate(serving: &Serving) -> Result<Valid<'_>, Invalid> {
    let spec = &serving.spec.serving;
    let name = engine::name_of(serving);
    let engine = engine::named(name).ok_or_else(|| Invalid::Engine(name.to_owned()))?;
    let template = match spec.template.clone().unwrap_or_else(|| json!({})) {
        Value::Object(template) => template,
        other => return Err(Invalid::Template(format!(": must be an object, not {other}"))),
    };
    let containers = template.get("containers").and_then(Value::as_array).into_iter().flatten();
    for (index, container) in containers.enumerate() {
        if !container["name"].is_string() {
            return Err(Invalid::Template(format!(".containers[{index}].name: Required value")));
        }
    }
    dapr::validate_prepared(spec, &template)?;
    let scale = spec.scale_options.clone().unwrap_or_default();
    let keda = scale.keda.clone().unwrap_or_default();
    let listed = |path: &'static str, triggers: Vec<KedaTrigger>| {
        triggers.into_iter().enumerate().map(move |(index, trigger)| (format!("{path}[{index}]"), trigger))
    };
    let deprecated = keda.scaled_object.as_ref().map(|object| object.triggers.clone()).unwrap_or_default();
    let triggers: Vec<_> = listed("spec.scaleOptions.keda.triggers", keda.triggers.clone())
        .chain(listed("spec.scaleOptions.keda.scaledObject.triggers", deprecated))
        .map(|(path, trigger)| (path, dapr::scaler(&trigger).unwrap_or(trigger)))
        .collect();
    let port = spec.http().and_then(|http| http.port).filter(|port| *port != 0).unwrap_or(defaults::PORT);
    let valid = Valid {
        serving,
        function: serving.labels().get(children::FUNCTION).cloned().unwrap_or_else(|| serving.name_any()),
        engine,
        dapr: dapr::mode(serving)?,
        port,
        app_protocol: pod::app_protocol(&template, port),
        scale,
        keda,
        triggers,
        template,
    };
    dapr::validate_retries(&valid)?;
    Ok(valid)
}

impl Valid<'_> {
    /// Metadata of the revision's object of a kind, which is named after the Serving, with some labels besides.
    pub fn metadata(&self, more: &[(&str, &str)]) -> ObjectMeta {
        let name = self.serving.name_any();
        let labels = [(children::FUNCTION, self.function.as_str()), (children::SERVING, name.as_str())];
        children::metadata(self.serving, name.clone(), ABOUT.name, &[&labels, more].concat())
    }

    /// Whether the revision ran when it was last looked at.
    pub fn was_running(&self) -> bool {
        self.serving.status.as_ref().and_then(|status| status.state.as_deref()) == Some("Running")
    }

    /// The bounds that every engine understands.
    pub fn bounds(&self) -> (i32, i32) {
        let min = self.scale.min_replicas.unwrap_or(MIN_REPLICAS);
        (min, self.scale.max_replicas.unwrap_or(MAX_REPLICAS).max(min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(serving: &Value) -> String {
        let mut spec = json!({"image": "a", "triggers": {"http": {}}});
        for (key, value) in serving.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let serving: Serving = serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap();
        validate(&serving).err().expect("it is refused").to_string()
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_its_field() {
        for (serving, said) in [
            (
                json!({"triggers": {"http": {"engine": "lambda"}}}),
                "spec.triggers.http.engine: Unsupported value: \"lambda\": supported values: \"knative\"",
            ),
            (
                json!({"annotations": {"openfunction.io/enable-dapr": "true", "openfunction.io/dapr-service-mode": "shared"}}),
                "spec.annotations[openfunction.io/dapr-service-mode]: Invalid value: \"shared\": must be standalone or sidecar",
            ),
            (json!({"template": []}), "spec.template: must be an object, not []"),
            (json!({"template": {"containers": [{}]}}), "spec.template.containers[0].name: Required value"),
        ] {
            assert!(refused(&serving).starts_with(said), "{serving}");
        }
    }
}
