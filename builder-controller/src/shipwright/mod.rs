//! Engine `shipwright`: one BuildRun, which holds the whole build, run by Shipwright on Tekton.

mod build_run;
mod observe;

pub use build_run::{BUILD_RUNS, BuildRun, build_run};
pub use observe::observe;
