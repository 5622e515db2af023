//! How many builds run at once: the oldest come first.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use controller_runtime::{index::Index, watch::Shared};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use openfunction_proto::core::Builder;

use crate::run::{Run, Runs};

/// Reason of a build that waits for others to end.
pub const QUEUED: &str = "Queued";

/// The builds that run, and those that wait.
pub struct Queue {
    /// How many may run at once; 0 is any number.
    limit: usize,
    runs: Runs,
    /// Builders that wait, under [`QUEUED`].
    waiting: Index<Builder>,
    /// Builders whose run is made, but perhaps not seen yet.
    started: Mutex<HashSet<ObjectRef<Builder>>>,
}

impl Queue {
    /// A queue for these builds.
    pub fn new(limit: usize, runs: Runs, builders: &Shared<Builder>) -> Self {
        let keys = |builder: &Builder| is_waiting(builder).then(|| QUEUED.to_owned()).into_iter().collect();
        Self { limit, runs, waiting: builders.index(keys), started: Mutex::default() }
    }

    /// Takes a place for a build; how many run, if there is none for it.
    ///
    /// # Errors
    /// All places are taken, or those that are free belong to older builds.
    pub fn enter(&self, builder: &Builder) -> Result<(), usize> {
        if self.limit == 0 {
            return Ok(());
        }
        let own = ObjectRef::from_obj(builder);
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = self.runs.all();
        // Those that are seen count by what is seen of them.
        let seen: HashSet<_> = runs.iter().filter_map(Run::builder).collect();
        started.retain(|known| !seen.contains(known));
        let mut running: HashSet<_> = runs.iter().filter(|run| run.goes_on()).filter_map(Run::builder).collect();
        running.extend(started.iter().cloned());
        running.remove(&own);
        let older = self.waiting.get(QUEUED);
        let before = older.iter().filter(|other| age(other) < age(builder)).map(|other| ObjectRef::from_obj(&**other));
        let before = before.filter(|other| !running.contains(other)).count();
        if running.len() + before >= self.limit {
            return Err(running.len());
        }
        started.insert(own);
        Ok(())
    }

    /// Gives back the place of a build that did not begin, or has ended.
    pub fn leave(&self, builder: &Builder) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).remove(&ObjectRef::from_obj(builder));
    }

    /// Those that wait.
    pub fn waiting(&self) -> Vec<ObjectRef<Builder>> {
        self.waiting.get(QUEUED).iter().map(|builder| ObjectRef::from_obj(&**builder)).collect()
    }
}

/// Whether a build waits for others to end.
pub fn is_waiting(builder: &Builder) -> bool {
    builder.status.as_ref().and_then(|status| status.reason.as_deref()) == Some(QUEUED)
        && builder.metadata.deletion_timestamp.is_none()
}

fn age(builder: &Builder) -> impl Ord + use<> {
    (builder.creation_timestamp(), builder.namespace(), builder.name_any())
}
