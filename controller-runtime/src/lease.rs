//! Leader election over a `Lease`.
//!
//! At most one candidate leads, without trusting anybody's wall clock: a holder counts its time from *before* it sent
//! the last renewal that succeeded, a candidate counts from *after* it saw that renewal, and the holder stops earlier
//! than the candidate takes over. Every write carries the resourceVersion that it was decided on.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How a lease is held.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Name of the Lease.
    pub name: String,
    /// Name of this candidate, unique among the candidates.
    pub identity: String,
    /// Time after which a lease that was not renewed may be taken over.
    pub duration: Duration,
}

impl LeaseConfig {
    /// Time without a renewal after which a holder stops its work.
    fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Time that the work has to stop after that, before it is dropped: still well before anybody may take over.
    fn stop_limit(&self) -> Duration {
        self.duration / 6
    }

    /// Pause between two tries.
    pub fn retry_period(&self) -> Duration {
        self.duration / 7
    }
}

/// How leading ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It was asked to, or the work ended by itself; the lease was released.
    Stopped,
    /// Somebody else holds the lease, or it could not be renewed in time.
    Lost,
}

/// Why the work no longer runs as before.
enum End {
    /// The lease could not be renewed, or somebody else has it.
    Lost,
    /// We were asked to stop.
    Asked,
    /// The work ended by itself.
    Done,
}

/// A candidate for a lease.
pub struct Elector {
    api: Api<Lease>,
    config: LeaseConfig,
    /// The resourceVersion of the last record that was seen of somebody else, and when we saw it first.
    seen: Option<(Option<String>, Instant)>,
    /// The lease as we last wrote it.
    held: Option<Lease>,
}

impl Elector {
    /// A candidate. The client of `api` should not try again by itself ([`crate::client::Clients::lease`]).
    pub fn new(api: Api<Lease>, config: LeaseConfig) -> Self {
        Self { api, config, seen: None, held: None }
    }

    /// Waits to lead, then runs `work` until it ends, `stop` is cancelled or the lease is lost. The token that `work`
    /// gets is cancelled in the last two cases; work that has not stopped shortly after is dropped.
    ///
    /// A candidate tries again after every event of `changed` (see [`changes`]), and in any case after the retry period.
    pub async fn run<W: Future<Output = ()>>(
        mut self,
        stop: CancellationToken,
        changed: impl Stream<Item = ()>,
        work: impl FnOnce(CancellationToken) -> W,
    ) -> Ended {
        let mut changed = std::pin::pin!(changed.fuse());
        let mut held_since = loop {
            let asked_at = Instant::now();
            match timeout(self.config.renew_deadline(), self.acquire_or_renew()).await {
                Ok(Ok(true)) => break asked_at,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => warn!(
                    lease = self.config.name,
                    "the lease cannot be asked for: {}",
                    crate::client::describe(&error)
                ),
                Err(_) => warn!(lease = self.config.name, "the lease cannot be asked for: no answer"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                () = sleep(self.config.retry_period()) => {}
                Some(()) = changed.next() => {}
            }
        };
        info!(lease = self.config.name, identity = self.config.identity, "leading");
        let token = stop.child_token();
        let mut work = Box::pin(work(token.clone()));
        let end = loop {
            let deadline = held_since + self.config.renew_deadline();
            tokio::select! {
                biased;
                () = sleep_until(deadline) => break End::Lost,
                () = stop.cancelled() => break End::Asked,
                () = &mut work => break End::Done,
                renewed = self.renew_after_pause(deadline) => match renewed {
                    Some(asked_at) => held_since = asked_at,
                    None => break End::Lost,
                }
            }
        };
        token.cancel();
        match end {
            End::Lost => {
                warn!(lease = self.config.name, "the lease is lost, work stops");
                // No work goes on beyond the time at which somebody else may begin, or when somebody else has begun.
                if self.held.is_some() {
                    let limit = held_since + self.config.renew_deadline() + self.config.stop_limit();
                    let _ = timeout_at(limit, work).await;
                }
                return Ended::Lost;
            }
            End::Asked => self.drain(work, held_since).await,
            End::Done => {}
        }
        self.release().await;
        Ended::Stopped
    }

    /// Lets the work end while the lease is still renewed. It is gone when this returns, before the lease is.
    async fn drain<W: Future<Output = ()>>(&mut self, mut work: Pin<Box<W>>, mut held_since: Instant) {
        loop {
            let deadline = held_since + self.config.renew_deadline();
            tokio::select! {
                biased;
                () = sleep_until(deadline) => break,
                () = &mut work => return,
                renewed = self.renew_after_pause(deadline) => match renewed {
                    Some(asked_at) => held_since = asked_at,
                    None => break,
                }
            }
        }
        if self.held.is_some() {
            let _ = timeout_at(held_since + self.config.renew_deadline() + self.config.stop_limit(), work).await;
        }
    }

    /// Renews after the retry period, again and again until it succeeds (then: when it was asked for) or somebody else
    /// holds the lease or `deadline` passes (then: `None`).
    async fn renew_after_pause(&mut self, deadline: Instant) -> Option<Instant> {
        loop {
            timeout_at(deadline, sleep(self.config.retry_period())).await.ok()?;
            let asked_at = Instant::now();
            match timeout_at(deadline, self.acquire_or_renew()).await.ok()? {
                Ok(true) => return Some(asked_at),
                Ok(false) if self.held.is_none() => return None,
                Ok(false) => {}
                Err(error) => {
                    warn!(lease = self.config.name, "the lease is not renewed: {}", crate::client::describe(&error))
                }
            }
        }
    }

    /// One round: `Ok(true)` if we hold the lease now.
    async fn acquire_or_renew(&mut self) -> kube::Result<bool> {
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else {
            // Somebody deleted the Lease of a holder who works on until it notices.
            if self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() < self.config.duration) {
                return Ok(false);
            }
            let metadata = ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.record(&LeaseSpec::default())) };
            return self.wrote(self.api.create(&PostParams::default(), &lease).await);
        };
        let old = lease.spec.clone().unwrap_or_default();
        let holder = old.holder_identity.as_deref().unwrap_or_default();
        if holder != self.config.identity {
            self.held = None;
            if !holder.is_empty() && !self.is_expired(&lease, &old) {
                return Ok(false);
            }
        }
        lease.spec = Some(self.record(&old));
        self.wrote(self.api.replace(&self.config.name, &PostParams::default(), &lease).await)
    }

    fn wrote(&mut self, answer: kube::Result<Lease>) -> kube::Result<bool> {
        match answer {
            Ok(lease) => {
                (self.held, self.seen) = (Some(lease), None);
                Ok(true)
            }
            // Somebody was faster.
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the holder's record has stood unchanged for its duration since we first saw it.
    fn is_expired(&mut self, lease: &Lease, old: &LeaseSpec) -> bool {
        match &self.seen {
            Some((seen, since)) if *seen == lease.metadata.resource_version => {
                let seconds = old.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
                since.elapsed() >= seconds.map_or(self.config.duration, Duration::from_secs).max(self.config.duration)
            }
            _ => {
                self.seen = Some((lease.metadata.resource_version.clone(), Instant::now()));
                false
            }
        }
    }

    /// Our record, in the place of `old`.
    fn record(&self, old: &LeaseSpec) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let is_ours = old.holder_identity.as_deref() == Some(&self.config.identity);
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(self.config.duration.as_secs_f64().ceil() as i32),
            acquire_time: old.acquire_time.clone().filter(|_| is_ours).or_else(|| now.clone()),
            renew_time: now,
            lease_transitions: Some(old.lease_transitions.unwrap_or(-1) + i32::from(!is_ours)),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, so that the next candidate need not wait.
    async fn release(&mut self) {
        let Some(held) = self.held.take() else { return };
        match timeout(self.config.retry_period(), self.vacate(held)).await {
            Ok(Ok(())) => info!(lease = self.config.name, "the lease is released"),
            Ok(Err(error)) => {
                warn!(lease = self.config.name, "the lease is not released: {}", crate::client::describe(&error));
            }
            Err(_) => warn!(lease = self.config.name, "the lease is not released: no answer"),
        }
    }

    async fn vacate(&self, mut lease: Lease) -> kube::Result<()> {
        loop {
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            match self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
                // A renewal whose answer we did not wait for may have been written.
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    lease = self.api.get(&self.config.name).await?
                }
                other => return other.map(drop),
            }
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            if holder != Some(&self.config.identity) {
                return Ok(());
            }
        }
    }
}

/// Changes of a Lease, so that a candidate sees at once that it was released.
pub fn changes(api: Api<Lease>, name: &str) -> impl Stream<Item = ()> + use<> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    watcher(api, config).default_backoff().filter_map(|event| async move { event.is_ok().then_some(()) })
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
