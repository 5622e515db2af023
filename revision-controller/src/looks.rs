//! Who is looked at, when, and what was found.
//!
//! One look serves all Functions that follow the same repository with the same credential: whoever has another one, or
//! none, sees nothing of it. Each repository has a task of its own, so that a server that hangs holds up nobody else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use openfunction_proto::core::{Function, TagPolicy};
use reqwest::Url;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    credentials::Credential,
    forge,
    git::{self, Refs},
    metrics::Looked,
    net::Network,
    problem::{INVALID, NOT_FOUND, Problem},
    registry::{self, Asking},
    tags::{Chosen, MAX_DATED, Rule},
};

/// A repository, of source or of images.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// Git over HTTP.
    Http(Url),
    /// Git over ssh.
    Ssh(git::ssh::Place),
    /// Git by the API of a forge.
    Forge(forge::Place),
    /// A repository of images.
    Images(registry::Place),
}

/// What is wanted of it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Want {
    /// The commit of a branch, tag or ref; empty is the default branch.
    Commit {
        /// The branch, tag or ref.
        revision: String,
        /// Only commits count that changed something here.
        folder: Option<String>,
    },
    /// The digest of a tag.
    Tag {
        /// The tag.
        tag: String,
        /// The key that the image must be signed for.
        key: Option<String>,
    },
    /// The tag that a policy chooses, and its commit or digest.
    Policy {
        /// The policy.
        policy: TagPolicy,
        /// The key that the image must be signed for.
        key: Option<String>,
    },
}

/// What was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The commit, or the digest.
    pub id: String,
    /// The tag that a policy has chosen.
    pub tag: Option<String>,
    /// Why the image may not be run: it is not signed for the key.
    pub refused: Option<String>,
}

/// What a look found for a want.
pub type Answer = Result<Found, Problem>;

type Key = (Place, [u8; 32]);
type Follower = ObjectRef<Function>;

/// All that is looked at.
pub struct Looks {
    network: Network,
    metrics: Looked,
    state: Mutex<State>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

#[derive(Default)]
struct State {
    targets: HashMap<Key, Arc<Target>>,
    of: HashMap<Follower, Key>,
    changes: Option<UnboundedSender<Follower>>,
    stop: CancellationToken,
}

struct Target {
    place: Place,
    credential: Credential,
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    followers: HashMap<Follower, (Want, Duration)>,
    answers: BTreeMap<Want, Answer>,
    succeeded: Option<Timestamp>,
}

/// Looks at one server at the same time.
const PER_HOST: usize = 8;
/// Time between two looks, whoever asks for them.
const PAUSE: Duration = Duration::from_secs(1);
/// Time to the next look at a server that has failed, before it is doubled, unless the interval is shorter: who is told of a
/// push waits for it.
const RETRY: Duration = Duration::from_secs(15);
/// Longest time between two looks at a server that fails, unless the interval is longer.
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Longest time that one look may take.
const LONGEST: Duration = Duration::from_secs(60);

impl Looks {
    /// Nothing is looked at yet.
    pub fn new(network: Network, metrics: Looked) -> Self {
        Self { network, metrics, state: Mutex::default(), hosts: Mutex::default() }
    }

    /// Begins anew, until `stop`. Returns whose answers have changed.
    pub fn begin(&self, stop: CancellationToken) -> UnboundedReceiver<Follower> {
        let (changes, changed) = unbounded();
        *self.lock() = State { changes: Some(changes), stop, ..State::default() };
        changed
    }

    /// Has a Function follow something, and says what was found last; none if nobody has looked yet.
    pub fn follow(
        self: &Arc<Self>,
        follower: &Follower,
        place: Place,
        credential: Credential,
        want: Want,
        interval: Duration,
    ) -> Option<Answer> {
        let key = (place, credential.fingerprint());
        let mut state = self.lock();
        if state.of.get(follower) != Some(&key) {
            forget(&mut state, follower);
            state.of.insert(follower.clone(), key.clone());
        }
        let is_new = !state.targets.contains_key(&key);
        let target = state.targets.entry(key.clone()).or_insert_with(|| {
            let (place, inner) = (key.0.clone(), Mutex::default());
            Arc::new(Target { place, credential, inner, wake: Notify::new() })
        });
        let target = target.clone();
        let answer = {
            let mut inner = target.lock();
            let shortest = inner.followers.values().map(|(_, interval)| *interval).min();
            inner.followers.insert(follower.clone(), (want.clone(), interval));
            let answer = inner.answers.get(&want).cloned();
            // What is new is looked at at once; others wait for no look of theirs, nor one that looks more often than they do
            // for their interval.
            let is_early = answer.is_none() || shortest.is_some_and(|shortest| interval < shortest);
            if is_early && !is_new {
                target.wake.notify_one();
            }
            answer
        };
        if is_new {
            let (looks, stop) = (self.clone(), state.stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = looks.watch(key, target) => {}
                }
            });
        }
        answer
    }

    /// A Function follows nothing any more.
    pub fn forget(&self, follower: &Follower) {
        forget(&mut self.lock(), follower);
    }

    /// Looks at once at the places that somebody has told of; how many there are.
    pub fn wake(&self, is_meant: impl Fn(&Place) -> bool) -> usize {
        let state = self.lock();
        let meant = state.targets.values().filter(|target| is_meant(&target.place));
        meant.map(|target| target.wake.notify_one()).count()
    }

    /// Whether this replica looks at all.
    pub fn is_active(&self) -> bool {
        let state = self.lock();
        state.changes.is_some() && !state.stop.is_cancelled()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at one repository until nobody follows it.
    async fn watch(&self, key: Key, target: Arc<Target>) {
        let (mut memory, mut failures) = (Memory::default(), 0_u32);
        let kind = target.place.kind();
        loop {
            let (wants, interval) = target.wanted();
            let Some(interval) = interval else {
                if self.is_left(&key, &target) {
                    return self.tell(Vec::new());
                }
                continue;
            };
            let began = Instant::now();
            let answers = match self.host(&target.place).acquire_owned().await {
                Ok(_permit) => memory.look(&self.network, &target, &wants).await,
                Err(_) => return,
            };
            let of_server = trouble(&answers);
            failures = if of_server.is_some() { failures.saturating_add(1) } else { 0 };
            let changed = target.take(answers);
            self.metrics.looked(kind, of_server.as_ref().map(|problem| problem.reason), !changed.is_empty());
            if let Some(problem) = &of_server {
                info!(place = %target.place, reason = problem.reason, "a look failed: {problem}");
            } else {
                debug!(place = %target.place, changed = changed.len(), "looked");
            }
            self.tell(changed);
            let retry_after = of_server.and_then(|problem| problem.retry_after);
            let pause = pause(interval, failures, retry_after);
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                // Whoever wakes it, a server that wants to be left alone is.
                () = target.wake.notified() => {
                    tokio::time::sleep_until(began + PAUSE.max(retry_after.unwrap_or_default())).await;
                }
            }
        }
    }

    /// Ends with a repository that nobody follows any more, unless somebody does meanwhile.
    fn is_left(&self, key: &Key, target: &Arc<Target>) -> bool {
        let mut state = self.lock();
        let is_left = target.lock().followers.is_empty();
        // Whoever leads anew begins with others.
        if is_left && state.targets.get(key).is_some_and(|known| Arc::ptr_eq(known, target)) {
            state.targets.remove(key);
        }
        is_left
    }

    fn host(&self, place: &Place) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, host| Arc::strong_count(host) > 1);
        hosts.entry(place.server()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))).clone()
    }

    fn tell(&self, changed: Vec<Follower>) {
        let state = self.lock();
        let ages = state.targets.values().map(|target| (target.place.kind(), target.lock().succeeded));
        self.metrics.targets(ages);
        for follower in changed {
            if let Some(changes) = &state.changes {
                let _ = changes.unbounded_send(follower);
            }
        }
    }
}

fn forget(state: &mut State, follower: &Follower) {
    if let Some(key) = state.of.remove(follower)
        && let Some(target) = state.targets.get(&key)
    {
        let mut inner = target.lock();
        inner.followers.remove(follower);
        if inner.followers.is_empty() {
            target.wake.notify_one();
        }
    }
}

/// Time to the next look: a little less than the interval, so that not all look at once. A server that fails is looked at
/// soon, then less and less often.
fn pause(interval: Duration, failures: u32, retry_after: Option<Duration>) -> Duration {
    let mut byte = [0];
    let random = SystemRandom::new().fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 256.0);
    let usual = interval.mul_f64(1.0 - random / 10.0).max(PAUSE);
    let next = match failures {
        0 => usual,
        _ => usual.min(RETRY).saturating_mul(1 << failures.min(16)).min(MAX_PAUSE.max(usual)),
    };
    next.max(retry_after.unwrap_or_default())
}

impl Target {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wanted, and how often; never if nobody wants anything.
    fn wanted(&self) -> (BTreeSet<Want>, Option<Duration>) {
        let inner = self.lock();
        let wants = inner.followers.values().map(|(want, _)| want.clone()).collect();
        (wants, inner.followers.values().map(|(_, interval)| *interval).min())
    }

    /// Keeps answers; returns who has another one than before.
    fn take(&self, answers: BTreeMap<Want, Answer>) -> Vec<Follower> {
        let mut inner = self.lock();
        if trouble(&answers).is_none() {
            inner.succeeded = Some(Timestamp::now());
        }
        let is_changed = |want: &Want| answers.contains_key(want) && inner.answers.get(want) != answers.get(want);
        let changed = inner.followers.iter().filter(|(_, (want, _))| is_changed(want));
        let changed = changed.map(|(follower, _)| follower.clone()).collect();
        inner.answers = answers;
        changed
    }
}

/// What is remembered of a repository from look to look.
#[derive(Default)]
struct Memory {
    http: git::http::Repository,
    ssh: git::ssh::Repository,
    forge: forge::Repository,
    images: registry::Repository,
}

impl Memory {
    /// What is found for each want; why it is not, if it is not.
    async fn look(&mut self, network: &Network, target: &Target, wants: &BTreeSet<Want>) -> BTreeMap<Want, Answer> {
        let credential = &target.credential;
        let refs = match &target.place {
            Place::Http(url) => in_time(self.http.look(network, url, credential, &prefixes(wants))).await,
            Place::Ssh(place) => in_time(self.ssh.look(network, place, credential, &prefixes(wants))).await,
            Place::Forge(_) | Place::Images(_) => return self.look_one_by_one(network, target, wants).await,
        };
        let answer = |want: &Want| of_refs(refs.as_ref().map_err(Clone::clone)?, want);
        wants.iter().map(|want| (want.clone(), answer(want))).collect()
    }

    async fn look_one_by_one(
        &mut self,
        network: &Network,
        target: &Target,
        wants: &BTreeSet<Want>,
    ) -> BTreeMap<Want, Answer> {
        let credential = &target.credential;
        let (mut answers, mut down) = (BTreeMap::new(), None);
        for want in wants {
            let answer = match (&down, &target.place, want) {
                // It would say the same.
                (Some(problem), ..) => Err(Problem::clone(problem)),
                (None, Place::Forge(place), Want::Commit { revision, folder }) => {
                    let commit = self.forge.commit(network, place, credential, revision, folder.as_deref());
                    in_time(commit).await.map(|id| Found { id, tag: None, refused: None })
                }
                (None, Place::Images(place), want) => {
                    let mut asking = Asking { repository: &mut self.images, network, place, credential };
                    in_time(of_images(&mut asking, want)).await
                }
                _ => Err(Problem::new(INVALID, "it has no such thing")),
            };
            down = answer.as_ref().err().filter(|problem| problem.is_outage()).cloned();
            answers.insert(want.clone(), answer);
        }
        answers
    }
}

/// One want may take its time, and no more: others are behind it.
async fn in_time<T>(look: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let late = |_| Err(Problem::unexpected(format!("no answer within {}s", LONGEST.as_secs())));
    tokio::time::timeout(LONGEST, look).await.unwrap_or_else(late)
}

/// What is wrong with the server as a whole, rather than with something that one of many wants of it.
fn trouble(answers: &BTreeMap<Want, Answer>) -> Option<Problem> {
    let mut problems = answers.values().filter_map(|answer| answer.as_ref().err());
    let outage = problems.clone().find(|problem| problem.is_outage());
    let is_all = answers.values().all(|answer| answer.as_ref().is_err_and(Problem::is_of_server));
    outage.or_else(|| problems.next().filter(|_| is_all)).cloned()
}

fn prefixes(wants: &BTreeSet<Want>) -> Vec<String> {
    let revisions = wants.iter().filter_map(|want| match want {
        Want::Commit { revision, .. } => Some(revision.as_str()),
        _ => None,
    });
    git::prefixes(revisions, wants.iter().any(|want| matches!(want, Want::Policy { .. })))
}

fn of_refs(refs: &Refs, want: &Want) -> Answer {
    match want {
        Want::Commit { revision, .. } => {
            let commit = refs.commit(revision).map(str::to_owned);
            let id = commit.ok_or_else(|| match revision.as_str() {
                "" => Problem::new(NOT_FOUND, "the repository has no default branch"),
                _ => Problem::new(NOT_FOUND, format!("the repository has no branch or tag {revision:?}")),
            })?;
            Ok(Found { id, tag: None, refused: None })
        }
        Want::Policy { policy, .. } => {
            let rule = Rule::new(policy).map_err(|why| Problem::new(INVALID, why))?;
            match rule.chosen(refs.tags().map(|(tag, _)| tag)) {
                Chosen::One(Some(tag)) => {
                    let commit = refs.tags().find(|(known, _)| *known == tag).map(|(_, commit)| commit.to_owned());
                    Ok(Found { id: commit.unwrap_or_default(), tag: Some(tag.to_owned()), refused: None })
                }
                Chosen::One(None) => Err(no_tag()),
                Chosen::Of(_) => Err(Problem::new(INVALID, "tagPolicy.order: Invalid value: tags of git have no time")),
            }
        }
        Want::Tag { .. } => Err(Problem::new(INVALID, "a repository of git has no images")),
    }
}

fn no_tag() -> Problem {
    Problem::new(NOT_FOUND, "there is no tag that tagPolicy allows")
}

async fn of_images(asking: &mut Asking<'_>, want: &Want) -> Answer {
    let (found, key) = match want {
        Want::Commit { .. } => return Err(Problem::new(INVALID, "a repository of images has no commits")),
        Want::Tag { tag, key } => (Found { id: asking.digest(tag).await?, tag: None, refused: None }, key),
        Want::Policy { policy, key } => {
            let rule = Rule::new(policy).map_err(|why| Problem::new(INVALID, why))?;
            let tags = asking.tags().await?;
            // What cosign puts beside images is none.
            let images = tags.iter().map(String::as_str).filter(|tag| !tag.starts_with("sha256-"));
            let (tag, id) = match rule.chosen(images) {
                Chosen::One(None) => return Err(no_tag()),
                Chosen::One(Some(tag)) => (tag.to_owned(), asking.digest(tag).await?),
                Chosen::Of(tags) if tags.len() > MAX_DATED => {
                    let message = format!(
                        "{} tags match, more than the {MAX_DATED} whose times are compared; narrow tagPolicy.regex",
                        tags.len()
                    );
                    return Err(Problem::new(INVALID, message));
                }
                Chosen::Of(tags) => newest(asking, tags).await?,
            };
            (Found { id, tag: Some(tag), refused: None }, key)
        }
    };
    let refused = match key {
        Some(key) => asking.verify(&found.id, key).await?.err(),
        None => None,
    };
    Ok(Found { refused, ..found })
}

async fn newest(asking: &mut Asking<'_>, tags: Vec<&str>) -> Result<(String, String), Problem> {
    let mut newest = None;
    for tag in tags {
        let digest = asking.digest(tag).await?;
        let made = asking.made(&digest).await?;
        newest = newest.max(Some((made, tag.to_owned(), digest)));
    }
    newest.map(|(_, tag, digest)| (tag, digest)).ok_or_else(no_tag)
}

impl Place {
    /// What it is, as a label of metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "git",
            Self::Ssh(_) => "ssh",
            Self::Forge(place) => match place.kind {
                forge::Kind::GitHub => "github",
                forge::Kind::GitLab(_) => "gitlab",
                forge::Kind::Gitee => "gitee",
            },
            Self::Images(_) => "registry",
        }
    }

    /// The server with its port.
    fn server(&self) -> String {
        let of_url =
            |url: &Url| format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
        match self {
            Self::Http(url) => of_url(url),
            Self::Ssh(place) => format!("{}:{}", place.host, place.port),
            Self::Forge(place) => of_url(&place.api),
            Self::Images(place) => place.host.clone(),
        }
    }

    /// The server.
    pub fn host(&self) -> &str {
        match self {
            Self::Http(url) => url.host_str().unwrap_or_default(),
            Self::Ssh(place) => &place.host,
            Self::Forge(place) => place.api.host_str().unwrap_or_default(),
            Self::Images(place) => &place.host,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http(url) => f.write_str(&crate::net::shown(url)),
            Self::Ssh(place) => write!(f, "ssh://{}:{}/{}", place.host, place.port, place.path.trim_start_matches('/')),
            Self::Forge(place) => write!(f, "{} {}", place.api, place.project),
            Self::Images(place) => write!(f, "{}/{}", place.registry, place.repository),
        }
    }
}

#[cfg(test)]
#[path = "looks_tests.rs"]
mod tests;
