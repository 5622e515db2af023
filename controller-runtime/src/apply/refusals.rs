//! Objects that the API server finds invalid: it would say the same again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::core::Status;

use super::{Key, REMEMBERED};
use crate::backoff;

/// Pause after the first refusal; it doubles with each further one of the same.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What was refused last, of each object.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<Key, Refusal>>);

struct Refusal {
    /// Hash of what was wanted, and resourceVersion of the object that it was to become of.
    of: (String, Option<String>),
    said: Box<Status>,
    at: Instant,
    times: u32,
}

impl Refusals {
    /// What the API server said to the same a while ago, as long as it is not worth asking again.
    pub fn of(&self, key: &Key, hash: &str, version: Option<&str>) -> Option<kube::Error> {
        let all = self.lock();
        let known = all.get(key).filter(|known| known.of.0 == hash && known.of.1.as_deref() == version)?;
        (known.at.elapsed() < backoff::pause(FIRST_PAUSE, known.times - 1))
            .then(|| kube::Error::Api(known.said.clone()))
    }

    /// Notes what the API server said.
    pub fn note(&self, key: &Key, hash: &str, version: Option<&str>, error: &kube::Error) {
        let mut all = self.lock();
        let kube::Error::Api(said) = error else { return };
        if !said.is_invalid() {
            return;
        }
        let of = (hash.to_owned(), version.map(str::to_owned));
        let times = all.get(key).filter(|known| known.of == of).map_or(0, |known| known.times).saturating_add(1);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(key.clone(), Refusal { of, said: said.clone(), at: Instant::now(), times });
    }

    /// The object was taken.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn wait(&self, time: Duration) {
        self.lock().values_mut().for_each(|refusal| refusal.at -= time);
    }
}
