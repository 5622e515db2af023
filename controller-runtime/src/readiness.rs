//! What `/ready` waits for.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The things that must have happened before a controller is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    awaited: Arc<Mutex<BTreeSet<String>>>,
}

impl Readiness {
    /// Adds something to wait for, for example `watch of functions`.
    #[must_use = "readiness is held back until the gate is opened"]
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        self.lock().insert(name.clone());
        Gate { name, readiness: self.clone() }
    }

    /// What is still waited for; empty means ready.
    pub fn awaited(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that readiness waits for.
#[derive(Clone, Debug)]
pub struct Gate {
    name: String,
    readiness: Readiness,
}

impl Gate {
    /// It has happened.
    pub fn open(&self) {
        self.readiness.lock().remove(&self.name);
    }

    /// It is no longer so; used at shutdown.
    pub fn close(&self) {
        self.readiness.lock().insert(self.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_earned_by_every_gate() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.gate("watch of functions"), readiness.gate("certificates"));
        a.open();
        assert_eq!(readiness.awaited(), ["certificates"]);
        b.open();
        assert!(readiness.awaited().is_empty());
        b.close();
        assert_eq!(readiness.awaited(), ["certificates"]);
    }
}
