//! What `/ready` waits for.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::Notify;

/// The things that must have happened before a controller is ready. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// By name and number: two gates may have one name.
    awaited: Arc<Mutex<BTreeSet<(String, u32)>>>,
    gates: Arc<AtomicU32>,
    opened: Arc<Notify>,
}

impl Readiness {
    /// Adds something to wait for, for example `watch of functions`.
    #[must_use = "readiness is held back until the gate is opened"]
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let gate = (name.into(), self.gates.fetch_add(1, Ordering::Relaxed));
        self.lock().insert(gate.clone());
        Gate { gate, readiness: self.clone() }
    }

    /// What is still waited for; empty means ready.
    pub fn awaited(&self) -> Vec<String> {
        self.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Completes once nothing is waited for.
    pub async fn ready(&self) {
        loop {
            // Registered before looking, so that an opening in between is noticed.
            let opened = self.opened.notified();
            if self.lock().is_empty() {
                return;
            }
            opened.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, u32)>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that readiness waits for.
#[derive(Clone, Debug)]
pub struct Gate {
    gate: (String, u32),
    readiness: Readiness,
}

impl Gate {
    /// It has happened.
    pub fn open(&self) {
        self.readiness.lock().remove(&self.gate);
        self.readiness.opened.notify_waiters();
    }

    /// It is no longer so; used at shutdown.
    pub fn close(&self) {
        self.readiness.lock().insert(self.gate.clone());
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
