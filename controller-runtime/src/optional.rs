//! APIs that a cluster may or may not serve: Gateway API, Knative, KEDA, Dapr, Shipwright and others.
//!
//! Their CRDs are seen by a metadata watch; whether a version is really served is asked of discovery. What depends on
//! such an API starts when it appears and stops when it goes ([`OptionalApis::while_served`]).

use std::{collections::BTreeSet, fmt, time::Duration};

use futures::{Stream, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use tokio::sync::watch;
use tracing::{info, warn};

/// How often an API is looked for, [`FAST_LOOK`] apart, whose CRD is there. A CRD may lack the wanted version for ever.
const LOOKS: u32 = 30;
/// How many of these looks are made in any case: discovery may be late.
const SETTLING: u32 = 5;
const FAST_LOOK: Duration = Duration::from_secs(1);
const SLOW_LOOK: Duration = Duration::from_secs(60);

/// An API that may be absent.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct OptionalApi {
    /// Group, for example `serving.knative.dev`.
    pub group: &'static str,
    /// Version, for example `v1`.
    pub version: &'static str,
    /// Plural of the kind, for example `services`.
    pub plural: &'static str,
}

impl OptionalApi {
    /// Name of its CRD: plural and group.
    pub fn crd_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}

impl fmt::Display for OptionalApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}/{}", self.plural, self.group, self.version)
    }
}

/// Which optional APIs the cluster serves now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OptionalApis {
    wanted: &'static [OptionalApi],
    served: watch::Sender<Option<BTreeSet<OptionalApi>>>,
}

impl OptionalApis {
    /// Nothing is known yet; [`OptionalApis::follow`] finds out.
    pub fn new(wanted: &'static [OptionalApi]) -> Self {
        Self { wanted, served: watch::Sender::new(None) }
    }

    /// Completes once it is known what the cluster serves.
    pub async fn known(&self) {
        // The sender is `self`.
        let _ = self.served.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether an API is served now.
    pub fn is_served(&self, api: OptionalApi) -> bool {
        self.served.borrow().as_ref().is_some_and(|served| served.contains(&api))
    }

    /// The APIs that are served now, and those that are not.
    pub fn found_and_missing(&self) -> (Vec<OptionalApi>, Vec<OptionalApi>) {
        self.wanted.iter().copied().partition(|api| self.is_served(*api))
    }

    /// An item for each change of what is served.
    pub fn changes(&self) -> impl Stream<Item = ()> + use<> {
        tokio_stream::wrappers::WatchStream::from_changes(self.served.subscribe()).map(drop)
    }

    /// Runs `work` whenever the API is served, and drops it when it is no longer; for ever.
    pub async fn while_served<W: Future<Output = ()>>(&self, api: OptionalApi, mut work: impl FnMut() -> W) {
        let mut served = self.served.subscribe();
        let is = |wanted: bool| {
            move |served: &Option<BTreeSet<OptionalApi>>| served.as_ref().is_some_and(|s| s.contains(&api)) == wanted
        };
        loop {
            if served.wait_for(is(true)).await.is_err() {
                return;
            }
            tokio::select! {
                () = async { work().await; std::future::pending().await } => {}
                _ = served.wait_for(is(false)) => {}
            }
        }
    }

    /// Watches the CRDs; for ever.
    pub async fn follow(&self, client: &Client) {
        let crds: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
        let mut events = watcher(crds, watcher::Config::default()).default_backoff().boxed();
        let (mut existing, mut listing) = (BTreeSet::new(), None::<BTreeSet<String>>);
        let mut looks_left = 0_u32;
        loop {
            // A CRD and its API do not change at the same time: look again for a while, and, as long as an API is
            // expected, now and then.
            let expected = self.wanted.iter().any(|api| existing.contains(&api.crd_name()) && !self.is_served(*api));
            let again = match looks_left {
                0 => expected.then_some(SLOW_LOOK),
                left => (expected || left > LOOKS - SETTLING).then_some(FAST_LOOK),
            };
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {
                    looks_left = looks_left.saturating_sub(1);
                    self.look(client, &existing).await;
                    continue;
                }
            };
            match event {
                // What was there before counts until the new list is complete.
                Some(Ok(Event::Init)) => {
                    listing = Some(BTreeSet::new());
                    continue;
                }
                Some(Ok(Event::InitApply(crd))) => {
                    if self.is_wanted(&crd.name_any()) {
                        listing.get_or_insert_default().insert(crd.name_any());
                    }
                    continue;
                }
                Some(Ok(Event::InitDone)) => existing = listing.take().unwrap_or_default(),
                Some(Ok(Event::Apply(crd))) if self.is_wanted(&crd.name_any()) => {
                    existing.insert(crd.name_any());
                }
                Some(Ok(Event::Delete(crd))) if self.is_wanted(&crd.name_any()) => {
                    existing.remove(&crd.name_any());
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    warn!(
                        "customresourcedefinitions cannot be watched, trying again: {}",
                        crate::client::describe(&error)
                    );
                    continue;
                }
                None => return,
            }
            looks_left = LOOKS;
            self.look(client, &existing).await;
        }
    }

    fn is_wanted(&self, crd: &str) -> bool {
        self.wanted.iter().any(|api| api.crd_name() == crd)
    }

    async fn look(&self, client: &Client, existing: &BTreeSet<String>) {
        let mut found = BTreeSet::new();
        for api in self.wanted.iter().filter(|api| existing.contains(&api.crd_name())) {
            // An API server that is busy says nothing about its APIs.
            if is_served(client, *api).await.unwrap_or_else(|| self.is_served(*api)) {
                found.insert(*api);
            }
        }
        let found = Some(found);
        self.served.send_if_modified(|served| {
            let changed = *served != found;
            if changed {
                let (before, now) = (served.take().unwrap_or_default(), found.clone().unwrap_or_default());
                now.difference(&before).for_each(|api| info!(%api, "the cluster serves an optional API"));
                before.difference(&now).for_each(|api| info!(%api, "an optional API is gone"));
                *served = found;
            }
            changed
        });
    }
}

/// `None` if it could not be found out.
async fn is_served(client: &Client, api: OptionalApi) -> Option<bool> {
    match client.list_api_group_resources(&format!("{}/{}", api.group, api.version)).await {
        Ok(list) => Some(list.resources.iter().any(|resource| resource.name == api.plural)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Some(false),
        Err(error) => {
            warn!(%api, "it cannot be found out whether an API is served: {}", crate::client::describe(&error));
            None
        }
    }
}
