//! Group `core.openfunction.io`: Function, Builder and Serving in version `v1beta2`, which is stored,
//! and in version [`v1beta1`], which is served through conversion.

mod build;
mod builder;
mod dapr;
mod function;
mod scale;
mod serving;
mod serving_resource;
mod status;
pub mod v1beta1;

pub use build::{
    BuildImpl, BundleContainer, InlineSource, KeyReference, LocalObjectReference, ShipwrightEngine, SourceRepo,
    Strategy, StrategyParam, StrategyParamValue,
};
pub use builder::{BuildFailure, Builder, BuilderOutput, BuilderSpec, BuilderStatus};
pub use dapr::{ComponentMetadata, ComponentSpec, DaprInput, DaprOutput, DaprTrigger, SecretKeyRef, State};
pub use function::{
    Function, FunctionAddress, FunctionCondition, FunctionRouteStatus, FunctionSpec, FunctionStatus, RevisionDetected,
    RevisionPolicy, RevisionStatus, RouteTag, TrafficTarget,
};
pub use scale::{
    AdvancedConfig, Fallback, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerConfig, HpaScalingPolicy,
    HpaScalingRules, KedaHttpScaledObject, KedaScaleOptions, KedaScaledJob, KedaScaledObject, KedaTrigger,
    ScaleOptions, ScaledObjectAuthRef, ScalingStrategy,
};
pub use serving::{
    DaprIo, GatewayRef, Hooks, HttpTrigger, Inputs, Outputs, Route, ServingImpl, TelemetryExporter, TracingConfig,
    TracingProvider, TrafficRequest, Triggers,
};
pub use serving_resource::{Serving, ServingSpec, ServingStatus};
pub use status::{Backend, Blocker, BundleRevision, GitRevision, SourceResult};
