//! Objects of a shared kind by something that several may have in common, so that a pass does not look at all of them.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::runtime::reflector::{ObjectRef, Store};

use crate::watch::Watched;

/// The keys that an object is found by.
type Keys<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;
type References<K> = BTreeMap<String, HashSet<ObjectRef<K>>>;

/// An index over the objects of a [`crate::watch::Shared`] kind. Cheap to clone.
pub struct Index<K: Watched>(Arc<Inner<K>>);

struct Inner<K: Watched> {
    keys: Keys<K>,
    store: Store<K>,
    by_key: Mutex<References<K>>,
}

impl<K: Watched> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Watched> Index<K> {
    pub(crate) fn new(store: Store<K>, keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        let index = Self(Arc::new(Inner { keys: Box::new(keys), store, by_key: Mutex::default() }));
        for object in index.0.store.state() {
            index.changed(None, Some(&object));
        }
        index
    }

    /// The objects that have a key, in no order.
    pub fn get(&self, key: &str) -> Vec<Arc<K>> {
        let references: Vec<_> = self.by_key().get(key).into_iter().flatten().cloned().collect();
        let mut objects: Vec<_> = references.iter().filter_map(|reference| self.0.store.get(reference)).collect();
        // The store may be ahead of the index.
        objects.retain(|object| (self.0.keys)(object).iter().any(|has| has == key));
        objects
    }

    /// The keys with a prefix that objects have, without the prefix, in order.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let by_key = self.by_key();
        let after = by_key.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        after.map_while(|(key, _)| key.strip_prefix(prefix)).map(ToOwned::to_owned).collect()
    }

    /// An object is not as it was.
    pub(crate) fn changed(&self, was: Option<&K>, is: Option<&K>) {
        let keys = |object: Option<&K>| object.map(&self.0.keys).unwrap_or_default();
        let (before, after) = (keys(was), keys(is));
        if before.is_empty() && after.is_empty() {
            return;
        }
        let mut by_key = self.by_key();
        for key in before {
            let Some(references) = by_key.get_mut(&key) else { continue };
            references.retain(|reference| was.is_none_or(|was| *reference != ObjectRef::from_obj(was)));
            if references.is_empty() {
                by_key.remove(&key);
            }
        }
        for (key, is) in after.into_iter().zip(std::iter::repeat(is).flatten()) {
            by_key.entry(key).or_default().insert(ObjectRef::from_obj(is));
        }
    }

    fn by_key(&self) -> MutexGuard<'_, References<K>> {
        self.0.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
