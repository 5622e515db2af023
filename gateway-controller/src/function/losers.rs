//! Functions that have lost something to others, by those that have it: they look again when one of these changes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::runtime::reflector::ObjectRef;
use openfunction_proto::core::Function;

use super::conflict::Lost;

type Reference = ObjectRef<Function>;

/// Who has lost to whom, as the last pass over each Function found. A new process finds out by its first passes.
#[derive(Default)]
pub struct Losers(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_winner: HashMap<Reference, HashSet<Reference>>,
    winners: HashMap<Reference, BTreeSet<(String, String)>>,
}

impl Losers {
    /// What a Function has lost, now that a change of those who have it wakes it.
    ///
    /// `find` runs until it meets what is known by then: a winner that gave up between the look and the note of it
    /// would wake nobody.
    pub fn settle(&self, loser: &Function, mut find: impl FnMut() -> Vec<Lost>) -> Vec<Lost> {
        loop {
            let lost = find();
            if !self.note(loser, &lost) {
                return lost;
            }
        }
    }

    /// Those that have lost something to a Function.
    pub fn of(&self, winner: &Reference) -> Vec<Reference> {
        self.known().by_winner.get(winner).into_iter().flatten().cloned().collect()
    }

    /// The Function is gone.
    pub fn forget(&self, function: &Function) {
        self.note(function, &[]);
    }

    /// Whether others have it than were known.
    fn note(&self, loser: &Function, lost: &[Lost]) -> bool {
        let loser = Reference::from_obj(loser);
        let winners: BTreeSet<_> = lost.iter().map(|lost| lost.winner.clone()).collect();
        let mut known = self.known();
        let before = known.winners.get(&loser).cloned().unwrap_or_default();
        if winners == before {
            return false;
        }
        let reference = |(namespace, name): &(String, String)| Reference::new(name).within(namespace);
        for winner in before.difference(&winners).map(reference) {
            if let Some(losers) = known.by_winner.get_mut(&winner) {
                losers.remove(&loser);
                if losers.is_empty() {
                    known.by_winner.remove(&winner);
                }
            }
        }
        for winner in winners.difference(&before).map(reference) {
            known.by_winner.entry(winner).or_default().insert(loser.clone());
        }
        match winners.is_empty() {
            true => known.winners.remove(&loser),
            false => known.winners.insert(loser, winners),
        };
        true
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn those_that_lost_to_a_function_are_known_as_long_as_they_lose_to_it() {
        let function = |name: &str| -> Function {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"image": "a"}}))
                .unwrap()
        };
        let lost = |to: &[&str]| -> Vec<Lost> {
            let lost =
                |to: &&str| Lost { host: "h".to_owned(), path: None, winner: ("n".to_owned(), (*to).to_owned()) };
            to.iter().map(lost).collect()
        };
        let losers = Losers::default();
        let of = |winner: &str| {
            let mut names: Vec<_> =
                losers.of(&Reference::new(winner).within("n")).into_iter().map(|f| f.name).collect();
            names.sort();
            names
        };
        losers.settle(&function("b"), || lost(&["a"]));
        losers.settle(&function("c"), || lost(&["a", "b"]));
        assert_eq!((of("a"), of("b")), (vec!["b".to_owned(), "c".to_owned()], vec!["c".to_owned()]));
        // `a` gives up after `c` looked, and before it is known that `c` waits for it.
        let mut looks = vec![lost(&["a"])];
        let other = Losers::default();
        assert_eq!(other.settle(&function("c"), || looks.pop().unwrap_or_default()), lost(&[]));
        losers.settle(&function("c"), || lost(&["b"]));
        losers.forget(&function("b"));
        assert_eq!((of("a"), of("b")), (Vec::new(), vec!["c".to_owned()]));
        losers.settle(&function("c"), || lost(&[]));
        assert!(losers.known().by_winner.is_empty() && losers.known().winners.is_empty());
    }
}
