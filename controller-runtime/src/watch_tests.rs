use futures::FutureExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::*;

fn object(name: &str, version: u64) -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("shop".to_owned()),
        uid: Some(name.to_owned()),
        resource_version: Some(version.to_string()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn broken(name: &str) -> DeserializeGuard<ConfigMap> {
    DeserializeGuard(Err(InvalidObject { error: "no".to_owned(), metadata: object(name, 9).metadata }))
}

fn good(name: &str, version: u64) -> DeserializeGuard<ConfigMap> {
    DeserializeGuard(Ok(object(name, version)))
}

fn feed(shared: &Shared<ConfigMap>, events: Vec<Event<DeserializeGuard<ConfigMap>>>) {
    for event in events {
        if shared.relay().take(0, event, &shared.store, |_| {}) {
            shared.synced.send_replace(true);
        }
    }
}

fn started() -> Shared<ConfigMap> {
    let shared = Shared::new(None);
    shared.relay().begin(1);
    shared
}

fn names(shared: &Shared<ConfigMap>) -> Vec<String> {
    let mut names: Vec<_> = shared.store.state().iter().map(|o| o.name_any()).collect();
    names.sort();
    names
}

fn drain(subscription: &mut Subscription<ConfigMap>) -> Vec<String> {
    std::iter::from_fn(|| subscription.next().now_or_never().flatten()).map(|o| o.name_any()).collect()
}

#[test]
fn nothing_is_seen_before_every_source_is_complete() {
    let shared = Shared::<ConfigMap>::new(None);
    let mut subscription = shared.subscribe();
    shared.relay().begin(2);
    feed(&shared, vec![Event::Init, Event::InitApply(good("a", 1)), Event::InitDone]);
    assert!(names(&shared).is_empty() && drain(&mut subscription).is_empty());
    assert!(shared.synced().now_or_never().is_none());
    // Deleted before the second source was complete: must not appear afterwards.
    feed(&shared, vec![Event::Apply(good("b", 2)), Event::Delete(good("a", 3))]);
    assert!(shared.relay().take(1, Event::InitDone, &shared.store, |_| {}), "now it is complete");
    shared.synced.send_replace(true);
    assert_eq!((names(&shared), drain(&mut subscription)), (vec!["b".to_owned()], vec!["b".to_owned()]));
    assert!(shared.synced().now_or_never().is_some());
}

#[test]
fn an_object_that_vanished_during_a_gap_is_told() {
    let shared = started();
    feed(&shared, vec![Event::Init, Event::InitApply(good("a", 1)), Event::InitApply(good("b", 1)), Event::InitDone]);
    let mut subscription = shared.subscribe();
    assert_eq!(drain(&mut subscription).len(), 2);
    feed(&shared, vec![Event::Init, Event::InitApply(good("b", 1)), Event::InitDone]);
    assert_eq!(drain(&mut subscription), ["a"], "b did not change");
    assert_eq!(names(&shared), ["b"]);
}

#[test]
fn an_object_that_does_not_parse_is_reported_and_keeps_its_last_state() {
    let shared = started();
    let mut reports = shared.unreadable();
    feed(&shared, vec![Event::Init, Event::InitApply(good("a", 1)), Event::InitApply(broken("b")), Event::InitDone]);
    feed(&shared, vec![Event::Apply(broken("a")), Event::Init, Event::InitApply(broken("a")), Event::InitDone]);
    assert_eq!(names(&shared), ["a"]);
    let reported: Vec<_> =
        std::iter::from_fn(|| reports.next().now_or_never().flatten()).map(|u| u.object.name).collect();
    assert_eq!(reported, ["b", "a"]);
}

#[test]
fn the_state_of_a_deleted_object_is_not_kept_for_a_new_one_that_does_not_parse() {
    let shared = started();
    feed(&shared, vec![Event::Init, Event::InitApply(good("a", 1)), Event::InitDone]);
    let mut recreated = object("a", 9).metadata;
    recreated.uid = Some("another".to_owned());
    let invalid = DeserializeGuard(Err(InvalidObject { error: "no".to_owned(), metadata: recreated }));
    feed(&shared, vec![Event::Init, Event::InitApply(invalid), Event::InitDone]);
    assert!(names(&shared).is_empty());
}

#[test]
fn who_asks_late_learns_what_cannot_be_read_and_when_it_can_again() {
    let shared = started();
    feed(&shared, vec![Event::Init, Event::InitApply(broken("b")), Event::InitDone]);
    let mut reports = shared.unreadable();
    let mut next = || reports.next().now_or_never().flatten().map(|u| (u.object.name, u.error));
    assert_eq!(next(), Some(("b".to_owned(), Some("no".to_owned()))));
    feed(&shared, vec![Event::Apply(good("b", 10))]);
    assert_eq!((next(), next()), (Some(("b".to_owned(), None)), None));
}

#[test]
fn clearing_tells_every_object() {
    let shared = started();
    feed(&shared, vec![Event::Init, Event::InitApply(good("a", 1)), Event::InitDone]);
    let mut subscription = shared.subscribe();
    drain(&mut subscription);
    shared.clear();
    assert_eq!((drain(&mut subscription), names(&shared)), (vec!["a".to_owned()], vec![]));
    assert!(!shared.is_synced(), "an empty store says nothing");
    // Seen during a list that never completed: no ghost of it later.
    shared.relay().begin(1);
    feed(&shared, vec![Event::Init, Event::InitApply(good("ghost", 2))]);
    shared.clear();
    shared.relay().begin(1);
    feed(&shared, vec![Event::Init, Event::InitApply(good("b", 3)), Event::InitDone]);
    assert_eq!((drain(&mut subscription), names(&shared)), (vec!["b".to_owned()], vec!["b".to_owned()]));
}

/// 10,000 random events, subscribers that read at different speeds and one that comes late: each ends with the last
/// state of every object.
#[tokio::test]
async fn no_subscriber_misses_the_last_state_of_any_object() {
    let shared = started();
    feed(&shared, vec![Event::Init, Event::InitDone]);
    let reader = |pause: usize, mut subscription: Subscription<ConfigMap>, shared: Shared<ConfigMap>| async move {
        // What the subscriber believes: the version of each object, or `None` once the store does not have it.
        let mut believed: HashMap<String, Option<String>> = HashMap::new();
        loop {
            let Some(object) = subscription.next().await else { return believed };
            if object.name_any() == "end" {
                return believed;
            }
            let held = shared.store.get(&ObjectRef::from_obj(&*object));
            believed.insert(object.name_any(), held.and_then(|o| o.resource_version()));
            if pause > 0 && believed.len().is_multiple_of(pause) {
                tokio::task::yield_now().await;
            }
        }
    };
    let mut readers: Vec<_> =
        [0, 1, 3, 7].into_iter().map(|pause| tokio::spawn(reader(pause, shared.subscribe(), shared.clone()))).collect();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for version in 1..=10_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let name = format!("object-{}", seed % 50);
        let event = match (seed >> 16) % 5 {
            0 => Event::Delete(good(&name, version)),
            _ => Event::Apply(good(&name, version)),
        };
        feed(&shared, vec![event]);
        if version == 5_000 {
            readers.push(tokio::spawn(reader(2, shared.subscribe(), shared.clone())));
        }
        if seed.is_multiple_of(11) {
            tokio::task::yield_now().await;
        }
    }
    let expected: HashMap<_, _> = shared.store.state().iter().map(|o| (o.name_any(), o.resource_version())).collect();
    // The last event, behind everything else in every queue.
    feed(&shared, vec![Event::Apply(good("end", 10_001))]);
    for reader in readers {
        let believed: HashMap<_, _> =
            reader.await.unwrap().into_iter().filter(|(_, version)| version.is_some()).collect();
        assert_eq!(believed, expected);
    }
}

#[test]
fn a_failed_watch_says_what_is_missing_and_what_to_do() {
    let failed = |code: u16, reason: &str| {
        let status = kube::core::Status::failure("User \"a\" cannot list", reason).with_code(code);
        explain::<openfunction_proto::core::Function>(&watcher::Error::InitialListFailed(kube::Error::Api(Box::new(
            status,
        ))))
    };
    let missing = failed(404, "NotFound");
    assert!(
        missing.contains("does not serve functions.core.openfunction.io in version v1beta2: install the CRDs"),
        "{missing}"
    );
    let forbidden = failed(403, "Forbidden");
    assert!(
        forbidden.contains("no permission to list and watch functions.core.openfunction.io: the ClusterRole"),
        "{forbidden}"
    );
    assert!(forbidden.contains("cannot list"), "{forbidden}");
}

#[test]
fn an_index_finds_objects_by_what_they_are_now() {
    let shared = started();
    let with = |name: &str, version: u64, data: &str| {
        let mut object = object(name, version);
        object.data = Some([("host".to_owned(), data.to_owned())].into());
        DeserializeGuard(Ok(object))
    };
    let found = |index: &Index<ConfigMap>, key: &str| {
        let mut found: Vec<_> = index.get(key).iter().map(|object| object.name_any()).collect();
        found.sort();
        found
    };
    let by_host = |object: &ConfigMap| object.data.iter().flat_map(|data| data.values().cloned()).collect();
    let early = shared.index(by_host);
    feed(&shared, vec![Event::Init, Event::InitApply(with("a", 1, "x")), Event::InitApply(with("b", 1, "x"))]);
    assert!(found(&early, "x").is_empty(), "the list is not complete");
    feed(&shared, vec![Event::InitDone]);
    let late = shared.index(by_host);
    for index in [&early, &late] {
        assert_eq!(found(index, "x"), ["a", "b"]);
        assert!(found(index, "y").is_empty());
    }
    feed(&shared, vec![Event::Apply(with("a", 2, "y")), Event::Delete(with("b", 3, "z"))]);
    for index in [&early, &late] {
        assert!(found(index, "x").is_empty() && found(index, "z").is_empty());
        assert_eq!(found(index, "y"), ["a"]);
    }
    // Deleted while nobody looked; then the API goes.
    feed(&shared, vec![Event::Init, Event::InitApply(with("c", 4, "y")), Event::InitDone]);
    assert_eq!(found(&early, "y"), ["c"]);
    shared.clear();
    assert!(found(&early, "y").is_empty());
}
