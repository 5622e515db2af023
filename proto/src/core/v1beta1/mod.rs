//! Version `v1beta1` of the group `core.openfunction.io`: served, converted, never stored (core-api §12).

mod builder;
mod convert;
mod function;
mod kept;
mod serving;

pub use builder::{Builder, BuilderSpec, BuilderStatus};
pub use convert::{KEPT_OF_V1BETA1, KEPT_OF_V1BETA2, convert};
pub use function::{
    BuildImpl, Function, FunctionCondition, FunctionRouteStatus, FunctionSpec, FunctionStatus, RevisionStatus, Route,
    SourceRepo,
};
pub use serving::{
    KedaScaleOptions, KedaScaledJob, KedaScaledObject, ScaleOptions, Serving, ServingImpl, ServingSpec, ServingStatus,
    ShipwrightEngine, TargetedTrigger,
};
