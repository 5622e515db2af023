//! Group `core.openfunction.io`: Function, Builder and Serving in version `v1beta2`, which is stored,
//! and in version [`v1beta1`], which is served through conversion.

mod build;
mod builder;
mod dapr;
pub mod defaults;
mod function;
pub mod revision_policy;
mod scale;
mod serving;
mod serving_resource;
mod status;
pub mod v1beta1;

pub use build::{
    BuildImpl, BundleContainer, InlineSource, KeyReference, LocalObjectReference, ShipwrightEngine, SourceRepo,
    Strategy, StrategyParam, StrategyParamValue,
};
pub use builder::{BuildFailure, Builder, BuilderOutput, BuilderSpec, BuilderStatus, is_over};
pub use dapr::{
    BulkSubscribe, CircuitBreaker, ComponentMetadata, ComponentPolicies, ComponentSpec, DAPR_INIT_CONTAINERS,
    DAPR_SERVICE_MODE, DaprInput, DaprOutput, DaprTrigger, PolicyNames, Resiliency, ResiliencyPolicies,
    ResiliencyTargets, RetryPolicy, SecretKeyRef, State,
};
pub use function::{
    Function, FunctionAddress, FunctionCondition, FunctionRouteStatus, FunctionSpec, FunctionStatus, RevisionDetected,
    RevisionFollowed, RevisionStatus, RouteTag, TrafficTarget,
};
pub use revision_policy::{Followed, FreezeWindow, RevisionPolicy, TagPolicy};
pub use scale::{
    AdvancedConfig, Fallback, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerConfig, HpaScalingPolicy,
    HpaScalingRules, KedaHttpScaledObject, KedaScaleOptions, KedaScaledJob, KedaScaledObject, KedaTrigger,
    ScaleOptions, ScaledObjectAuthRef, ScalingStrategy,
};
pub use serving::{
    DaprIo, GatewayRef, Hooks, HttpTrigger, Inputs, KnativeServiceMetadata, Outputs, Route, RouteTls, ServingImpl,
    TelemetryExporter, TracingConfig, TracingProvider, TrafficRequest, Triggers,
};
pub use serving_resource::{
    ADOPTED, MAPPED, NOT_READY_YET, NOTES, OPTIONS_IGNORED, PASSED_ON, SCALE_TO_ZERO_UNAVAILABLE, SCALER_UNAVAILABLE,
    SETTINGS_UNREADABLE, ScalingStatus, Serving, ServingSpec, ServingStatus, TRIGGER_MISSING,
};
pub use status::{Backend, Blocker, BundleRevision, GitRevision, SourceResult};
