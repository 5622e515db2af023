use super::*;

const LIFETIMES: Lifetimes = Lifetimes {
    leaf: Duration::from_secs(300),
    authority: Duration::from_secs(3000),
    propagation: Duration::from_secs(10),
};

/// Callers have had the bundle for long.
const SEEN: Duration = Duration::from_secs(1000);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn hosts() -> Vec<String> {
    vec!["test.openfunction.svc".to_owned()]
}

fn state() -> State {
    State::new("test", &hosts(), at(0), LIFETIMES).unwrap()
}

fn step(state: &State, seconds: i64) -> Step {
    state.step(&hosts(), at(seconds), SEEN, LIFETIMES)
}

fn take(state: State, expected: Step, seconds: i64) -> State {
    assert_eq!(step(&state, seconds), expected, "after {seconds} s");
    state.after(expected, "test", &hosts(), at(seconds), LIFETIMES).unwrap()
}

#[test]
fn the_leaf_is_renewed_after_two_thirds_of_its_life() {
    let state = state();
    assert_eq!(step(&state, 199), Step::Wait(Duration::from_secs(1)));
    let renewed = take(state.clone(), Step::RenewLeaf, 200);
    assert_eq!(renewed.bundle(), state.bundle());
    assert!(renewed.leaf != state.leaf);
}

#[test]
fn two_replicas_with_different_host_names_do_not_fight() {
    let other = ["other.openfunction.svc".to_owned()];
    assert_eq!(state().step(&other, at(1), SEEN, LIFETIMES), Step::RenewLeaf);
    let renewed = state().after(Step::RenewLeaf, "test", &other, at(1), LIFETIMES).unwrap();
    for names in [&other[..], &hosts()[..]] {
        assert!(matches!(renewed.step(names, at(1), SEEN, LIFETIMES), Step::Wait(_)), "{names:?}");
    }
    let later = renewed.after(Step::RenewLeaf, "test", &other, at(250), LIFETIMES).unwrap();
    assert_eq!(later.hosts, other[0], "names of before go with the regular renewal");
}

#[test]
fn an_authority_is_not_exchanged_before_callers_have_seen_it() {
    let added = take(take(state(), Step::RenewLeaf, 2000), Step::AddAuthority, 2000);
    // The process was away since: it cannot know what callers have.
    let just_published = added.step(&hosts(), at(2100), Duration::ZERO, LIFETIMES);
    assert_eq!(just_published, Step::Wait(Duration::from_secs(10)));
}

#[test]
fn an_authority_is_replaced_in_four_steps() {
    let first = take(state(), Step::RenewLeaf, 2000);
    let added = take(first.clone(), Step::AddAuthority, 2000);
    assert!(added.leaf == first.leaf, "callers have not seen the new authority");
    assert_eq!(step(&added, 2009), Step::Wait(Duration::from_secs(1)));
    let swapped = take(added.clone(), Step::SwapAuthority, 2010);
    assert!(swapped.bundle().contains(&first.authority.certificate) && swapped.authority != first.authority);
    let dropped = take(swapped, Step::DropPrevious, 2020);
    assert!(!dropped.bundle().contains(&first.authority.certificate));
    assert!(matches!(step(&dropped, 2020), Step::Wait(_)));
}

#[test]
fn after_years_away_certificates_are_of_use_at_once() {
    let state = take(state(), Step::StartAnew, 4000);
    assert!(matches!(step(&state, 4000), Step::Wait(_)));
}

#[test]
fn the_secret_keeps_every_state() {
    for state in [state(), take(take(state(), Step::RenewLeaf, 2000), Step::AddAuthority, 2000)] {
        assert!(State::from_data(&state.to_data()) == Some(state));
    }
}

#[test]
fn a_damaged_secret_is_noticed() {
    for key in ["ca.crt", "tls.key", "since", "tls.ends"] {
        let mut data = state().to_data();
        data.remove(key);
        assert!(State::from_data(&data).is_none(), "{key}");
    }
    for key in ["tls.crt", "tls.key"] {
        let mut data = state().to_data();
        data.insert(key.to_owned(), ByteString(b"garbage".to_vec()));
        assert!(State::from_data(&data).is_none(), "{key} of garbage");
        data.insert(key.to_owned(), state().to_data()[key].clone());
        assert!(State::from_data(&data).is_none(), "{key} of another pair");
    }
}
