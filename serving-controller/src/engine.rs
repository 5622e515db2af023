//! What runs revisions: an engine turns a Serving into objects, and tells what has become of them.

use std::sync::Arc;

use controller_runtime::{apply::ApplyError, conditions::NewCondition, optional::OptionalApi};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt, api::DynamicObject};
use openfunction_proto::core::{Backend, ScalingStatus, Serving};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    asynchronous,
    dapr::Components,
    globals::Globals,
    keda, knative, native,
    settings::Settings,
    status::Observed,
    validate::{Invalid, Valid},
};

/// What an engine sees besides the Serving.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// The children that the Serving has, of every kind.
    pub live: &'a [DynamicObject],
    /// Its pods.
    pub pods: &'a [Arc<Pod>],
    /// Settings of the installation.
    pub settings: &'a Settings,
    /// Settings that apply to every function.
    pub globals: &'a Globals,
    /// Whether the cluster tells how much CPU and memory pods use.
    pub has_metrics: bool,
    /// Whether the cluster serves KEDA's ScaledObjects and ScaledJobs.
    pub has_keda: bool,
    /// The Dapr components that the function speaks of.
    pub components: &'a Components,
    /// Now.
    pub now: Timestamp,
}

impl World<'_> {
    /// A child as it is.
    pub fn find<K: Resource<DynamicType = ()>>(&self, name: &str) -> Option<&DynamicObject> {
        let is = |object: &&DynamicObject| {
            let types = object.types.as_ref();
            types.is_some_and(|types| types.kind == K::kind(&()) && types.api_version == K::api_version(&()))
        };
        self.live.iter().filter(is).find(|object| object.name_any() == name)
    }

    /// A child as it is, as a typed object.
    pub fn typed<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, name: &str) -> Option<K> {
        self.find::<K>(name).and_then(|object| object.clone().try_parse().ok())
    }
}

/// What an engine sees of a revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The state.
    pub observed: Observed,
    /// Where requests go, once something could take them.
    pub backend: Option<Backend>,
    /// The bounds of its replicas that count.
    pub scaling: ScalingStatus,
    /// The objects that run the revision, by what they are (core-api §6.3).
    pub resources: Vec<(&'static str, String)>,
    /// Name of the revision's Service.
    pub url: String,
}

/// What runs the revisions of functions.
pub trait Engine: Sync {
    /// The API without which it cannot run anything.
    fn needs(&self) -> Option<(OptionalApi, &'static str)> {
        None
    }

    /// The optional APIs whose objects it makes.
    fn makes(&self) -> &'static [OptionalApi];

    /// The objects of a revision, in the order in which they are written. What the Serving owns besides is obsolete.
    ///
    /// # Errors
    /// What the spec asks for and cannot be built, with its field.
    fn build(&self, valid: &Valid, world: &World) -> Result<Vec<Value>, Invalid>;

    /// Looks at what has become of them.
    fn observe(&self, valid: &Valid, world: &World) -> Seen;

    /// What a user should know, though the revision may well run.
    fn notes(&self, _valid: &Valid, _world: &World) -> Vec<NewCondition> {
        Vec::new()
    }

    /// What the user can do about an object that was refused. `features` is the ConfigMap with Knative's features.
    fn explain(&self, _error: &ApplyError, _settings: &Settings, _features: &(String, String)) -> Option<Refused> {
        None
    }
}

/// Why an object was refused, in words that say what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// A sentence.
    pub message: String,
    /// Features of Knative that are switched off and needed.
    pub features: Vec<&'static str>,
}

/// The engine of a name that a Serving may carry.
pub fn named(name: &str) -> Option<&'static dyn Engine> {
    match name {
        "knative" => Some(&knative::Knative),
        "keda" => Some(&keda::Keda),
        // A Serving that somebody has made by hand may say nothing, or `auto`.
        "native" | "auto" => Some(&native::Native),
        ASYNCHRONOUS => Some(&asynchronous::Asynchronous),
        _ => None,
    }
}

/// The engine of functions that only events call; no Serving can name it.
const ASYNCHRONOUS: &str = "";

/// Name of the engine that a Serving asks for.
pub fn name_of(serving: &Serving) -> &str {
    match serving.spec.serving.http() {
        Some(http) => http.engine.as_deref().filter(|engine| !engine.is_empty()).unwrap_or("native"),
        None => ASYNCHRONOUS,
    }
}
