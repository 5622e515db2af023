use proptest::prelude::*;

use super::*;

const SECOND: Millis = 1_000;

fn engine(conditions: &[&str], semantics: Semantics) -> Engine<usize> {
    let compile = |text: &&str| Condition::compile(text, &["a", "b", "c"]).unwrap();
    let topics = [vec![0], vec![1], vec![2]];
    Engine::new(conditions.iter().map(compile).collect(), &topics, WINDOW, semantics)
}

/// What fires on events `(input, second)`; the events are numbered from 0.
fn fires(conditions: &[&str], semantics: Semantics, events: &[(char, u64)]) -> Vec<(usize, usize)> {
    let mut engine = engine(conditions, semantics);
    let arrive = |(number, (input, second)): (usize, &(char, u64))| {
        let topic = "abc".find(*input).unwrap();
        let arrival = engine.arrive(topic, number, second * SECOND);
        arrival.fires.into_iter().map(move |subscriber| (number, subscriber)).collect::<Vec<_>>()
    };
    events.iter().enumerate().flat_map(arrive).collect()
}

/// The events that the only subscriber gets.
fn matched(condition: &str, events: &[(char, u64)]) -> Vec<usize> {
    fires(&[condition], Semantics::Matching, events).into_iter().map(|(event, _)| event).collect()
}

fn as_the_original(condition: &str, events: &[(char, u64)]) -> Vec<usize> {
    fires(&[condition], Semantics::Legacy, events).into_iter().map(|(event, _)| event).collect()
}

#[test]
fn e37_a_condition_is_met_by_events_that_it_names_only() {
    assert_eq!(matched("a", &[('a', 0), ('b', 10), ('a', 20)]), [0, 2]);
    assert_eq!(matched("a || b", &[('a', 0), ('c', 10), ('b', 20)]), [0, 2]);
    assert_eq!(matched("!a", &[('b', 0), ('a', 1)]), [0_usize; 0]);
    assert_eq!(matched("b && !a", &[('b', 0), ('a', 10), ('b', 20), ('b', 70)]), [0, 3]);
    assert_eq!(matched("true", &[('a', 0), ('b', 0), ('c', 0)]), [0, 1, 2]);
}

#[test]
fn q22_a_match_sends_the_event_that_completes_it_and_uses_its_own_up() {
    let events = [('a', 0), ('b', 30), ('a', 50), ('b', 120), ('a', 130)];
    // The third begins anew; the fourth comes when the third does not count any more.
    assert_eq!(matched("a && b", &events), [1, 4]);
    // A subscriber takes nothing from another.
    let both = fires(&["b", "a && b", "a && b"], Semantics::Matching, &events);
    assert_eq!(both, [(1, 0), (1, 1), (1, 2), (3, 0), (4, 1), (4, 2)]);
    assert_eq!(matched("a && b && c", &[('c', 0), ('a', 1), ('c', 2), ('b', 3), ('b', 4)]), [3]);
}

#[test]
fn e44_an_event_counts_for_the_window() {
    assert_eq!(matched("a && b", &[('a', 0), ('b', 59)]), [1]);
    assert_eq!(matched("a && b", &[('a', 0), ('b', 60)]), [0_usize; 0]);
    let conditions = vec![Condition::compile("a && b", &["a", "b"]).unwrap()];
    let mut engine = Engine::new(conditions, &[vec![0], vec![1]], Duration::from_secs(5), Semantics::Matching);
    engine.arrive(0, 0, 0);
    assert_eq!(engine.arrive(1, 1, 5 * SECOND).fires, Vec::<usize>::new());
    assert_eq!(engine.arrive(0, 2, 9 * SECOND).fires, [0]);
}

#[test]
fn two_inputs_that_name_one_event_are_both_there_when_it_comes() {
    let compile = |text| Condition::compile(text, &["a", "b"]).unwrap();
    let conditions = ["a", "b", "a && b", "a || b"].map(compile).to_vec();
    let mut engine = Engine::new(conditions, &[vec![0, 1]], WINDOW, Semantics::Matching);
    assert_eq!(engine.arrive(0, 0, 0), Arrival { fires: vec![0, 1, 2, 3], is_held: false, released: Vec::new() });
}

/// The table of section 16.4.
#[test]
fn legacy_semantics_are_those_of_the_original() {
    assert_eq!(as_the_original("a", &[('a', 0), ('b', 10)]), [0, 1]);
    assert_eq!(as_the_original("a && b", &[('a', 0), ('b', 30), ('a', 50), ('b', 120)]), [1, 2]);
    assert_eq!(as_the_original("a || b", &[('c', 0), ('a', 1), ('c', 2), ('c', 61)]), [1, 2]);
    assert_eq!(as_the_original("!a", &[('b', 0), ('a', 1), ('b', 2), ('b', 61)]), [0, 3]);
    assert_eq!(as_the_original("true", &[('a', 0), ('b', 1)]), [0, 1]);
    // What is written of `eventB` and `eventA && eventB`.
    let both = fires(&["b", "a && b"], Semantics::Legacy, &[('b', 0), ('a', 10)]);
    assert_eq!(both, [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn what_is_remembered_is_held_until_it_is_used_up_or_too_old_or_comes_again() {
    let mut engine = engine(&["a", "a && b", "a && c"], Semantics::Matching);
    assert_eq!(engine.arrive(0, 1, 0), Arrival { fires: vec![0], is_held: true, released: vec![] });
    assert_eq!(engine.next_expiry(), Some(60 * SECOND));
    // The next one stands for it.
    assert_eq!(engine.arrive(0, 2, SECOND), Arrival { fires: vec![0], is_held: true, released: vec![1] });
    // One of two lets go of it.
    assert_eq!(engine.arrive(1, 3, 2 * SECOND), Arrival { fires: vec![1], is_held: false, released: vec![] });
    assert_eq!(engine.arrive(1, 4, 3 * SECOND), Arrival { fires: vec![], is_held: true, released: vec![] });
    assert_eq!(engine.expire(60 * SECOND), [0_usize; 0]);
    assert_eq!(engine.expire(61 * SECOND), [2]);
    assert_eq!(engine.expire(70 * SECOND), [4]);
    assert_eq!((engine.next_expiry(), engine.held.len()), (None, 0));
    // A restart: what was held comes again, and is as it was.
    engine.arrive(0, 5, 100 * SECOND);
    let mut again = super::tests::engine(&["a && b"], Semantics::Matching);
    again.arrive(0, 5, 100 * SECOND);
    assert_eq!(again.arrive(1, 6, 130 * SECOND), Arrival { fires: vec![0], is_held: false, released: vec![5] });
    // The bus gives an event twice.
    again.arrive(0, 7, 200 * SECOND);
    assert_eq!(again.arrive(0, 7, 200 * SECOND), Arrival { fires: vec![], is_held: true, released: vec![] });
    assert_eq!(again.arrive(1, 8, 201 * SECOND).released, [7]);
}

/// An expression, and what it is written as.
#[derive(Clone, Debug)]
enum Tree {
    Input(usize),
    Constant(bool),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Choice(Box<Tree>, Box<Tree>, Box<Tree>),
    Same(Box<Tree>, Box<Tree>),
}

const INPUTS: [&str; 5] = ["a", "b", "c", "d", "e"];

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Input(input) => INPUTS[*input].to_owned(),
            Self::Constant(value) => value.to_string(),
            Self::Not(tree) => format!("!({})", tree.text()),
            Self::And(one, other) => format!("({} && {})", one.text(), other.text()),
            Self::Or(one, other) => format!("({} || {})", one.text(), other.text()),
            Self::Choice(which, one, other) => format!("({} ? {} : {})", which.text(), one.text(), other.text()),
            Self::Same(one, other) => format!("({} == {})", one.text(), other.text()),
        }
    }

    fn is_met(&self, counts: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::Input(input) => counts(*input),
            Self::Constant(value) => *value,
            Self::Not(tree) => !tree.is_met(counts),
            Self::And(one, other) => one.is_met(counts) && other.is_met(counts),
            Self::Or(one, other) => one.is_met(counts) || other.is_met(counts),
            Self::Choice(which, one, other) => if which.is_met(counts) { one } else { other }.is_met(counts),
            Self::Same(one, other) => one.is_met(counts) == other.is_met(counts),
        }
    }

    fn names(&self, input: usize) -> bool {
        match self {
            Self::Input(named) => *named == input,
            Self::Constant(_) => false,
            Self::Not(tree) => tree.names(input),
            Self::And(one, other) | Self::Or(one, other) | Self::Same(one, other) => {
                one.names(input) || other.names(input)
            }
            Self::Choice(which, one, other) => which.names(input) || one.names(input) || other.names(input),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        9 => (0..INPUTS.len()).prop_map(Tree::Input),
        1 => any::<bool>().prop_map(Tree::Constant),
    ];
    leaf.prop_recursive(4, 16, 3, |tree| {
        let boxed = tree.prop_map(Box::new).boxed();
        prop_oneof![
            2 => boxed.clone().prop_map(Tree::Not),
            4 => (boxed.clone(), boxed.clone()).prop_map(|(one, other)| Tree::And(one, other)),
            4 => (boxed.clone(), boxed.clone()).prop_map(|(one, other)| Tree::Or(one, other)),
            1 => (boxed.clone(), boxed.clone(), boxed.clone()).prop_map(|(which, one, other)| Tree::Choice(which, one, other)),
            1 => (boxed.clone(), boxed).prop_map(|(one, other)| Tree::Same(one, other)),
        ]
    })
}

/// What the subscribers of trees get, by looking through all that has happened each time.
struct Model {
    trees: Vec<Tree>,
    semantics: Semantics,
    events: Vec<(usize, Millis)>,
    /// For each subscriber the number of events that there were when it last matched.
    used_up: Vec<usize>,
}

impl Model {
    fn arrive(&mut self, input: usize, now: Millis) -> Vec<usize> {
        self.events.push((input, now));
        let is_legacy = self.semantics == Semantics::Legacy;
        let mut fires = Vec::new();
        for (index, tree) in self.trees.iter().enumerate() {
            let names_any = (0..INPUTS.len()).any(|input| tree.names(input));
            if !is_legacy && names_any && !tree.names(input) {
                continue;
            }
            let own = &self.events[if is_legacy { 0 } else { self.used_up[index] }..];
            let counts = |wanted: usize| own.iter().any(|(input, at)| *input == wanted && now - at < 60 * SECOND);
            if tree.is_met(&counts) {
                fires.push(index);
                self.used_up[index] = self.events.len();
            }
        }
        fires
    }
}

/// How many sequences are tried, unless `SEQUENCES` says otherwise.
fn sequences() -> u32 {
    std::env::var("SEQUENCES").ok().and_then(|number| number.parse().ok()).unwrap_or(1_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: sequences(), ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_of_events_fires_what_the_model_says_and_holds_what_counts(
        trees in prop::collection::vec(tree(), 1..4),
        events in prop::collection::vec((0..INPUTS.len(), 0_u64..40), 0..40),
        is_legacy in any::<bool>(),
        expires in any::<bool>(),
    ) {
        let semantics = if is_legacy { Semantics::Legacy } else { Semantics::Matching };
        let conditions = trees.iter().map(|tree| Condition::compile(&tree.text(), &INPUTS).unwrap()).collect();
        let topics: Vec<_> = (0..INPUTS.len()).map(|input| vec![input]).collect();
        let mut engine = Engine::new(conditions, &topics, WINDOW, semantics);
        let mut model = Model { used_up: vec![0; trees.len()], trees, semantics, events: Vec::new() };
        let (mut now, mut held) = (0, std::collections::BTreeSet::new());
        for (number, (input, seconds)) in events.into_iter().enumerate() {
            now += seconds * SECOND;
            if expires {
                for event in engine.expire(now) {
                    prop_assert!(held.remove(&event), "released, and was not held");
                }
            }
            let arrival = engine.arrive(input, number, now);
            prop_assert_eq!(&arrival.fires, &model.arrive(input, now));
            for event in &arrival.released {
                prop_assert!(held.remove(event), "released, and was not held");
            }
            if arrival.is_held {
                held.insert(number);
            }
            prop_assert!(held.len() <= INPUTS.len() && (!is_legacy || held.is_empty()));
        }
        held.retain(|event| !engine.expire(now + 60 * SECOND).contains(event) && engine.held.contains_key(event));
        prop_assert!(held.is_empty() && engine.held.is_empty(), "nothing is held for ever");
    }
}
