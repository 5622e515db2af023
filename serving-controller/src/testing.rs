//! What unit tests of engines share: a Serving and what an engine sees around it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use openfunction_proto::core::Serving;
use serde_json::{Value, json};

use crate::{
    dapr::Components,
    engine::World,
    globals::Globals,
    settings::{Settings, tests::defaults},
    validate::{Valid, validate},
};

/// Serving `hello-1` of Function `hello` in namespace `shop`, and the cluster around it.
pub struct Case {
    pub serving: Serving,
    pub live: Vec<DynamicObject>,
    pub pods: Vec<Arc<Pod>>,
    pub settings: Settings,
    pub globals: Globals,
    pub has_metrics: bool,
    pub has_keda: bool,
    pub components: Components,
    pub now: Timestamp,
}

impl Case {
    /// A Serving of image `a` with some more in its spec, a minute after it was made.
    pub fn new(more: Value) -> Self {
        let metadata = json!({"name": "hello-1", "namespace": "shop", "uid": "u", "generation": 1,
            "labels": {"openfunction.io/function": "hello"}, "creationTimestamp": "2026-01-01T00:00:00Z"});
        let mut spec = json!({"image": "a", "triggers": {"http": {}}});
        if let Value::Object(more) = more {
            more.into_iter().for_each(|(field, value)| spec[field] = value);
        }
        Self {
            serving: serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap(),
            live: Vec::new(),
            pods: Vec::new(),
            settings: defaults(),
            globals: Globals::read(None, "knative-serving"),
            has_metrics: false,
            has_keda: false,
            components: Components::default(),
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
        }
    }

    pub fn valid(&self) -> Valid<'_> {
        validate(&self.serving).unwrap()
    }

    pub fn world(&self) -> World<'_> {
        World {
            live: &self.live,
            pods: &self.pods,
            settings: &self.settings,
            globals: &self.globals,
            has_metrics: self.has_metrics,
            has_keda: self.has_keda,
            components: &self.components,
            now: self.now,
        }
    }

    /// The objects that the engine builds.
    pub fn built(&self) -> Vec<Value> {
        let valid = self.valid();
        valid.engine.build(&valid, &self.world()).unwrap()
    }

    /// The object of a kind that the engine builds.
    pub fn built_of(&self, kind: &str) -> Option<Value> {
        self.built().into_iter().find(|object| object["kind"] == kind)
    }

    /// Types of the conditions that the engine adds, with their messages.
    pub fn notes(&self) -> Vec<(String, String)> {
        let valid = self.valid();
        let notes = valid.engine.notes(&valid, &self.world());
        notes.into_iter().map(|note| (note.type_.to_owned(), note.message)).collect()
    }
}
