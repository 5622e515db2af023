//! Which subscribers an event is for. No IO and no clock: who calls says what time it is.
//!
//! A subscriber is looked at when an event arrives of an input that its condition names (one that names none takes every
//! event). It remembers for each of these inputs when the last event came, for the time of the window; if its condition
//! is met by what it remembers, it gets the event that has just arrived and forgets all of them (goals Q22, BUG-E37). A
//! match of one subscriber takes nothing from another.
//!
//! What a subscriber remembers must not be lost, so the event that stands for it is *held*: the bus is not told that it
//! was handled, and gives it again after a restart. At most one event per input is held.

use std::{collections::BTreeMap, time::Duration};

use event_conditions::Condition;

/// How long an event counts, unless a Trigger says otherwise (section 16.3 of the specification, GAP-E44).
pub const WINDOW: Duration = Duration::from_secs(60);

/// How conditions are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// As above.
    #[default]
    Matching,
    /// As the original does it: every event is looked at by every subscriber, all share what they remember, and nothing
    /// is forgotten before its time (section 16.2 and 16.3). Nothing is held: it starts anew after a restart.
    Legacy,
}

/// A point in time, in milliseconds since any beginning.
pub type Millis = u64;

/// The decisions of a Trigger. `T` stands for an event at the bus.
#[derive(Debug)]
pub struct Engine<T> {
    window: Millis,
    semantics: Semantics,
    subscribers: Vec<Subscriber<T>>,
    /// For each topic the subscribers that look at its events, with the bits that it has in their conditions.
    by_topic: Vec<Vec<(usize, Vec<usize>)>>,
    /// How many subscribers remember an event.
    held: BTreeMap<T, usize>,
}

#[derive(Debug)]
struct Subscriber<T> {
    condition: Condition,
    /// For each input of the condition, its last event that still counts.
    seen: Vec<Option<Seen<T>>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen<T> {
    at: Millis,
    event: Option<T>,
}

/// What becomes of an event that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival<T> {
    /// The subscribers that get it, by index, ascending.
    pub fires: Vec<usize>,
    /// Whether it is held: it is handled only once it was released as well.
    pub is_held: bool,
    /// Events that are not held any more.
    pub released: Vec<T>,
}

impl<T: Copy + Ord> Engine<T> {
    /// An engine for the conditions of the subscribers. `topics` says for each topic which inputs its events are: more
    /// than one where inputs name the same event of the same EventSource.
    pub fn new(conditions: Vec<Condition>, topics: &[Vec<usize>], window: Duration, semantics: Semantics) -> Self {
        let is_legacy = semantics == Semantics::Legacy;
        let looks_at = |inputs: &Vec<usize>| {
            let looks = |(index, condition): (usize, &Condition)| {
                let named = condition.inputs();
                let bits: Vec<_> = (0..named.len()).filter(|bit| inputs.contains(&named[*bit])).collect();
                (!bits.is_empty() || named.is_empty() || is_legacy).then_some((index, bits))
            };
            conditions.iter().enumerate().filter_map(looks).collect()
        };
        let by_topic = topics.iter().map(looks_at).collect();
        let subscribers = conditions
            .into_iter()
            .map(|condition| Subscriber { seen: vec![None; condition.inputs().len()], condition });
        let window = Millis::try_from(window.as_millis()).unwrap_or(Millis::MAX);
        Self { window, semantics, subscribers: subscribers.collect(), by_topic, held: BTreeMap::new() }
    }

    /// An event of a topic arrives. Time may go back a little, as between the partitions of a broker.
    pub fn arrive(&mut self, topic: usize, event: T, now: Millis) -> Arrival<T> {
        let mut arrival = Arrival { fires: Vec::new(), is_held: false, released: Vec::new() };
        let forgets = self.semantics == Semantics::Matching;
        for (index, bits) in &self.by_topic[topic] {
            let subscriber = &mut self.subscribers[*index];
            // What stands alone in its condition counts at once or never.
            let holds = forgets && subscriber.seen.len() > 1;
            for bit in bits {
                let seen = Seen { at: now, event: holds.then_some(event) };
                if holds {
                    *self.held.entry(event).or_default() += 1;
                }
                let before = subscriber.seen[*bit].replace(seen);
                release(&mut self.held, before, &mut arrival.released);
            }
            if !subscriber.condition.is_met(subscriber.counts(now, self.window)) {
                continue;
            }
            arrival.fires.push(*index);
            if forgets {
                for seen in &mut subscriber.seen {
                    release(&mut self.held, seen.take(), &mut arrival.released);
                }
            }
        }
        // It may have been remembered by one and forgotten by another.
        arrival.released.retain(|released| *released != event);
        arrival.is_held = self.held.contains_key(&event);
        arrival
    }

    /// Forgets what does not count any more; the events that are not held any more.
    pub fn expire(&mut self, now: Millis) -> Vec<T> {
        let mut released = Vec::new();
        for seen in self.subscribers.iter_mut().flat_map(|subscriber| &mut subscriber.seen) {
            if seen.as_ref().is_some_and(|seen| !counts(seen.at, now, self.window)) {
                release(&mut self.held, seen.take(), &mut released);
            }
        }
        released
    }

    /// When something is to be forgotten next.
    pub fn next_expiry(&self) -> Option<Millis> {
        let seen = self.subscribers.iter().flat_map(|subscriber| subscriber.seen.iter().flatten());
        seen.map(|seen| seen.at.saturating_add(self.window)).min()
    }
}

/// An event of `at` counts up to the end of the window, and no longer.
fn counts(at: Millis, now: Millis, window: Millis) -> bool {
    now.saturating_sub(at) < window
}

fn release<T: Copy + Ord>(held: &mut BTreeMap<T, usize>, seen: Option<Seen<T>>, released: &mut Vec<T>) {
    let Some(event) = seen.and_then(|seen| seen.event) else { return };
    let Some(times) = held.get_mut(&event) else { return };
    *times -= 1;
    if *times == 0 {
        held.remove(&event);
        released.push(event);
    }
}

impl<T> Subscriber<T> {
    /// The inputs whose last event counts now.
    fn counts(&self, now: Millis, window: Millis) -> u64 {
        let bit = |(bit, seen): (usize, &Option<Seen<T>>)| {
            u64::from(seen.as_ref().is_some_and(|seen| counts(seen.at, now, window))) << bit
        };
        self.seen.iter().enumerate().map(bit).fold(0, |set, bit| set | bit)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
