//! What runs a build: a Pod of the native engine, or a BuildRun of Shipwright. Both have the same name.

use std::sync::Arc;

use controller_runtime::{
    apply::{Applier, ApplyError},
    children,
    watch::Shared,
};
use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::core::Builder;

use crate::{
    native::{self, Observed},
    shipwright::{self, BuildRun},
};

/// What runs a build.
#[derive(Clone, Debug)]
pub enum Run {
    /// A pod of ours.
    Pod(Arc<Pod>),
    /// Shipwright.
    BuildRun(Arc<BuildRun>),
}

impl Run {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Pod(pod) => pod.meta(),
            Self::BuildRun(run) => run.meta(),
        }
    }

    /// Kind and name.
    pub fn title(&self) -> String {
        let kind = if matches!(self, Self::Pod(_)) { "pod" } else { "BuildRun" };
        format!("{kind} {}", self.meta().name.clone().unwrap_or_default())
    }

    /// When it was made.
    pub fn began(&self) -> Option<Time> {
        self.meta().creation_timestamp.clone()
    }

    /// Whether it is that of a Builder, and stays.
    pub fn is_of(&self, builder: &Builder) -> bool {
        let owners = self.meta().owner_references.iter().flatten();
        self.meta().deletion_timestamp.is_none()
            && owners.map(|owner| Some(&owner.uid)).any(|uid| uid == builder.uid().as_ref())
    }

    /// The Builder that it belongs to.
    pub fn builder(&self) -> Option<ObjectRef<Builder>> {
        let owners = match self {
            Self::Pod(pod) => children::controller::<_, Builder>(&**pod),
            Self::BuildRun(run) => children::controller::<_, Builder>(&**run),
        };
        owners.into_iter().next()
    }

    /// What became of the build.
    pub fn observe(&self) -> Observed {
        match self {
            Self::Pod(pod) => native::observe(pod),
            Self::BuildRun(run) => shipwright::observe(run),
        }
    }

    /// Whether it is at work.
    pub fn goes_on(&self) -> bool {
        match self {
            Self::Pod(pod) => {
                let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                !matches!(phase, Some("Succeeded" | "Failed"))
            }
            Self::BuildRun(run) => run.status.as_ref().is_none_or(|status| status.completion_time.is_none()),
        }
    }

    /// Ends it: Shipwright cancels what a BuildRun that goes has begun.
    ///
    /// # Errors
    /// What the API server answers.
    pub async fn end(&self, applier: &Applier) -> Result<(), ApplyError> {
        match self {
            Self::Pod(pod) => applier.delete(&**pod).await,
            Self::BuildRun(run) => applier.delete(&**run).await,
        }
    }
}

/// All that runs, as the caches know it.
#[derive(Clone)]
pub struct Runs {
    /// Pods of ours.
    pub pods: Shared<Pod>,
    /// BuildRuns of ours.
    pub build_runs: Shared<BuildRun>,
}

impl Runs {
    /// What has the name of a Builder's run: its own, or one that was there before.
    pub fn named(&self, builder: &Builder) -> Option<Run> {
        let (name, namespace) = (native::name(&builder.name_any()), builder.namespace().unwrap_or_default());
        let pod = self.pods.store().get(&ObjectRef::new(&name).within(&namespace)).map(Run::Pod);
        pod.or_else(|| self.build_runs.store().get(&ObjectRef::new(&name).within(&namespace)).map(Run::BuildRun))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Run> {
        let pods = self.pods.store().state().into_iter().map(Run::Pod);
        pods.chain(self.build_runs.store().state().into_iter().map(Run::BuildRun)).collect()
    }
}
