//! Traffic moves from one revision to the next, whatever becomes of the controllers meanwhile (design §4).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource, ResourceExt,
    api::{WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;

use super::{HttpRoute, Running, Serving, StandIn, Which, World, function};
use crate::support::eventually;

/// What happened in the order of the API server: versions are the revisions of its store.
#[derive(Default)]
struct Story {
    /// Revisions that the route led to, from a version on.
    routes: BTreeMap<u64, Vec<String>>,
    /// When a Serving was deleted.
    deleted: BTreeMap<u64, String>,
}

impl Story {
    /// A deleted revision must not be in the route, neither then nor later.
    fn check(&self) {
        for (at, gone) in &self.deleted {
            let then = self.routes.range(..at).next_back();
            let later = self.routes.range(at..);
            for (version, revisions) in then.into_iter().chain(later) {
                assert!(!revisions.contains(gone), "the route of version {version} leads to {gone}, deleted at {at}");
            }
        }
    }
}

/// Watches every object of a kind from now on.
async fn follow<K>(api: Api<K>, seen: impl Fn(&K, u64, bool) + Send + 'static) -> tokio::task::JoinHandle<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let list = api.list(&Default::default()).await.unwrap();
    let version = |object: &K| object.resource_version().unwrap().parse::<u64>().unwrap();
    list.items.iter().for_each(|object| seen(object, version(object), false));
    let mut from = list.metadata.resource_version.unwrap();
    tokio::spawn(async move {
        loop {
            let params = WatchParams::default().timeout(290);
            let Ok(events) = api.watch(&params, &from).await else { continue };
            pin_mut!(events);
            while let Some(Ok(event)) = events.next().await {
                let (object, gone) = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                    WatchEvent::Deleted(object) => (object, true),
                    // A watch ends after a while, and what is older than a few minutes cannot be watched from.
                    WatchEvent::Bookmark(bookmark) => {
                        from = bookmark.metadata.resource_version;
                        continue;
                    }
                    WatchEvent::Error(error) => panic!("events are lost: {error}"),
                };
                from = object.resource_version().unwrap();
                seen(&object, version(&object), gone);
            }
        }
    })
}

/// When a controller is away during a hand-over.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// Before the new revision is asked for.
    Asked,
    /// While it starts.
    Starting,
    /// When it has become ready.
    Ready,
    /// While the gateway has not taken the route.
    Routed,
    /// When it has.
    Accepted,
    /// From the beginning to where nothing goes on without it.
    Absent,
}

const POINTS: [Point; 6] = [Point::Asked, Point::Starting, Point::Ready, Point::Routed, Point::Accepted, Point::Absent];

/// How long a controller is away.
const AWAY: Duration = Duration::from_millis(300);

struct Stage<'a> {
    world: &'a World,
    running: Vec<Running>,
}

impl Stage<'_> {
    async fn end(&mut self, which: Which) {
        let place = self.running.iter().position(|running| running.which == which).unwrap();
        self.running.remove(place).end().await;
    }

    async fn begin(&mut self, which: Which) {
        self.running.push(self.world.start(which).await);
    }

    /// Ends a controller and starts it again.
    async fn restart(&mut self, which: Which) {
        self.end(which).await;
        tokio::time::sleep(AWAY).await;
        self.begin(which).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b26_no_route_leads_to_a_deleted_revision_and_none_is_kept_for_ever() {
    let world = World::with_gateway().await;
    let stand_in = StandIn::start(&world);
    let mut stage = Stage { world: &world, running: world.start_all().await };
    world.apply_object(&function("hello", "v0")).await;
    world.is_ready("hello", "True").await;
    // Only now: what starts writes its certificate into the CRDs, which ends watches.
    let story = Arc::new(Mutex::new(Story::default()));
    let noted = story.clone();
    let routes = follow(world.api::<HttpRoute>(), move |route, version, gone| {
        let backends = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs).map(|backend| backend.name.clone());
        noted.lock().unwrap().routes.insert(version, if gone { Vec::new() } else { backends.collect() });
    })
    .await;
    let noted = story.clone();
    let servings = follow(world.api::<Serving>(), move |serving, version, gone| {
        let (mut story, name) = (noted.lock().unwrap(), serving.name_any());
        // One that is parked has no pods any more.
        if (gone || serving.spec.suspend) && !story.deleted.values().any(|known| *known == name) {
            story.deleted.insert(version, name);
        }
    })
    .await;
    let mut version = 0;
    for which in [Which::Function, Which::Serving, Which::Gateway] {
        for point in POINTS {
            version += 1;
            hand_over(&mut stage, &stand_in, which, point, &format!("v{version}")).await;
        }
    }
    let deletions = || async { (story.lock().unwrap().deleted.len() == version).then_some(()) };
    eventually("every deletion is seen", deletions).await;
    routes.abort();
    servings.abort();
    story.lock().unwrap().check();
    for controller in stage.running {
        controller.end().await;
    }
}

async fn hand_over(stage: &mut Stage<'_>, stand_in: &StandIn, which: Which, point: Point, image: &str) {
    let world = stage.world;
    let old = world.servings().await;
    stand_in.pods(false);
    stand_in.routes(false);
    if matches!(point, Point::Absent) {
        stage.end(which).await;
    }
    world.apply_object(&function("hello", image)).await;
    if matches!(point, Point::Asked) {
        stage.restart(which).await;
    }
    if matches!(point, Point::Starting) {
        eventually("the new revision", || async { (world.servings().await.len() == 2).then_some(()) }).await;
        stage.restart(which).await;
    }
    stand_in.pods(true);
    if matches!(point, Point::Ready) {
        stage.restart(which).await;
    }
    if matches!(point, Point::Routed) {
        let route: Api<HttpRoute> = world.api();
        eventually("the new route", || async {
            let route = route.get("hello").await.unwrap();
            let backends = &route.spec.rules[0].backend_refs;
            backends.iter().any(|backend| !old.contains(&backend.name)).then_some(())
        })
        .await;
        stage.restart(which).await;
        assert!(world.servings().await.contains(&old[0]), "{which:?} {point:?}: the gateway may still serve it");
    }
    stand_in.routes(true);
    match point {
        Point::Accepted => stage.restart(which).await,
        Point::Absent => {
            tokio::time::sleep(5 * AWAY).await;
            assert!(world.servings().await.contains(&old[0]), "{which:?} is needed to let it go");
            stage.begin(which).await;
        }
        _ => {}
    }
    let now = eventually(&format!("{which:?} {point:?}: the old revision goes"), || async {
        let now = world.servings().await;
        (now.len() == 1 && now != old).then_some(now)
    })
    .await;
    world.is_ready("hello", "True").await;
    let traffic = world.function("hello").await.status.unwrap().traffic;
    assert_eq!(traffic[0].revision, now[0], "{which:?} {point:?}");
}
