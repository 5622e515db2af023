//! What was handled of a partition. Kafka keeps one offset per group and partition; events are handled in any order, and
//! some are held for long. So the offset that is committed is that of the first event that is not handled, and its
//! metadata has the ranges after it that are, as Confluent's Parallel Consumer does it: after a restart they are skipped.

use std::collections::BTreeMap;

/// The offsets of a partition that were handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// All before it are handled.
    base: i64,
    /// Ranges at or after the base that are handled, by their first offset, with the one after their last. They do not
    /// touch.
    handled: BTreeMap<i64, i64>,
    /// The offset after the last that was given.
    given: i64,
}

/// The broker takes no longer metadata by default (`offset.metadata.max.bytes`). What does not fit is given twice.
const MAX_METADATA: usize = 4_000;

impl Ledger {
    /// That of a partition whose group has committed an offset with metadata.
    pub fn committed(offset: i64, metadata: &str) -> Self {
        let mut ledger = Self { base: offset, given: offset, ..Self::default() };
        for range in metadata.split(',') {
            let range =
                range.split_once('+').and_then(|(start, length)| Some((start.parse().ok()?, length.parse().ok()?)));
            if let Some((start, length)) = range.filter(|(start, length): &(i64, i64)| *start > 0 && *length > 0) {
                let start = offset.saturating_add(start);
                ledger.insert(start, start.saturating_add(length));
            }
        }
        ledger
    }

    /// With what another one of the partition has as handled.
    #[must_use]
    pub fn with(mut self, other: &Self) -> Self {
        self.insert(0, other.base);
        other.handled.iter().for_each(|(start, end)| self.insert(*start, *end));
        self.given = self.base;
        self
    }

    /// The broker gives an offset; whether it was handled before. What is left out between two is not there any more.
    pub fn give(&mut self, offset: i64) -> bool {
        if self.given < offset {
            self.insert(self.given, offset);
        }
        self.given = self.given.max(offset + 1);
        offset < self.base || self.handled.range(..=offset).next_back().is_some_and(|(_, end)| *end > offset)
    }

    /// An offset was handled.
    pub fn handle(&mut self, offset: i64) {
        self.insert(offset, offset + 1);
    }

    fn insert(&mut self, mut start: i64, mut end: i64) {
        start = start.max(self.base);
        if start >= end {
            return;
        }
        if let Some((before, its_end)) = self.handled.range(..=start).next_back().map(|(start, end)| (*start, *end))
            && its_end >= start
        {
            start = before;
            end = end.max(its_end);
        }
        while let Some((after, its_end)) = self.handled.range(start..=end).next().map(|(start, end)| (*start, *end)) {
            self.handled.remove(&after);
            end = end.max(its_end);
        }
        if start == self.base {
            self.base = end;
        } else {
            self.handled.insert(start, end);
        }
    }

    /// The offset to be committed, and its metadata.
    pub fn commit(&self) -> (i64, String) {
        let mut metadata = String::new();
        for (start, end) in &self.handled {
            let range = format!("{}{}+{}", if metadata.is_empty() { "" } else { "," }, start - self.base, end - start);
            if metadata.len() + range.len() > MAX_METADATA {
                break;
            }
            metadata += &range;
        }
        (self.base, metadata)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_handled_after_one_that_was_not_is_skipped_after_a_restart() {
        let mut ledger = Ledger::committed(100, "");
        assert!((100..110).all(|offset| !ledger.give(offset)));
        for offset in [101, 102, 105, 100] {
            ledger.handle(offset);
        }
        assert_eq!(ledger.commit(), (103, "2+1".to_owned()));
        let mut again = Ledger::committed(103, "2+1");
        let given: Vec<_> = (103..110).filter(|offset| !again.give(*offset)).collect();
        assert_eq!(given, [103, 104, 106, 107, 108, 109]);
        // Of a compacted topic some offsets never come.
        let mut compacted = Ledger::committed(0, "");
        assert!(!compacted.give(0) && !compacted.give(7));
        compacted.handle(7);
        assert_eq!(compacted.commit(), (0, "1+7".to_owned()));
        compacted.handle(0);
        compacted.handle(3);
        assert_eq!(compacted.commit(), (8, String::new()));
    }

    #[test]
    fn what_was_handled_before_a_partition_came_back_stays_handled() {
        let mut before = Ledger::committed(10, "");
        [10, 11, 14].into_iter().for_each(|offset| before.handle(offset));
        assert_eq!(Ledger::committed(10, "6+2").with(&before).commit(), (12, "2+1,4+2".to_owned()));
        // Another consumer was further.
        assert_eq!(Ledger::committed(13, "").with(&before).commit(), (13, "1+1".to_owned()));
        let mut again = Ledger::committed(10, "").with(&before);
        assert!(!again.give(12) && !again.give(13) && again.give(14));
        assert_eq!(Ledger::committed(10, "").with(&Ledger::default()).commit(), (10, String::new()));
    }

    #[test]
    fn metadata_of_others_says_nothing_and_ours_is_not_too_long() {
        for metadata in
            ["anything", "1+", "+1", "-1+5", "0+1", "5+-1", "9223372036854775807+9223372036854775807", "1+1,x,3+1"]
        {
            let mut ledger = Ledger::committed(10, metadata);
            assert!(!ledger.give(10), "{metadata}");
        }
        let mut ledger = Ledger::committed(0, "");
        (1..4_000).step_by(2).for_each(|offset| ledger.handle(offset));
        let (offset, metadata) = ledger.commit();
        assert!(offset == 0 && metadata.len() <= MAX_METADATA && metadata.ends_with("+1"));
    }

    proptest! {
        #[test]
        fn it_knows_what_a_set_knows(offsets in prop::collection::vec(0_i64..60, 0..80), restart in 0_usize..80) {
            let (mut ledger, mut set) = (Ledger::committed(0, ""), BTreeSet::new());
            let give_all = |ledger: &mut Ledger| (0..60).filter(|offset| ledger.give(*offset)).count();
            give_all(&mut ledger);
            for (number, offset) in offsets.iter().enumerate() {
                ledger.handle(*offset);
                set.insert(*offset);
                if number == restart {
                    let (base, metadata) = ledger.commit();
                    prop_assert_eq!(base, (0..).find(|offset| !set.contains(offset)).unwrap());
                    ledger = Ledger::committed(base, &metadata);
                    give_all(&mut ledger);
                }
                for offset in 0..60 {
                    prop_assert_eq!(ledger.clone().give(offset), set.contains(&offset));
                }
            }
        }
    }
}
