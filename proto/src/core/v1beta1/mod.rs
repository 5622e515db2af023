//! Version `v1beta1` of the group `core.openfunction.io`: served, converted, never stored (core-api §12).

mod builder;
mod function;
mod serving;

pub use builder::{Builder, BuilderSpec, BuilderStatus};
pub use function::{
    BuildImpl, Function, FunctionCondition, FunctionRouteStatus, FunctionSpec, FunctionStatus, RevisionStatus, Route,
    SourceRepo,
};
pub use serving::{
    KedaScaleOptions, KedaScaledJob, KedaScaledObject, ScaleOptions, Serving, ServingImpl, ServingSpec, ServingStatus,
    ShipwrightEngine, TargetedTrigger,
};
