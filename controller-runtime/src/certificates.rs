//! Certificates that a controller makes for itself, and renews before they end.
//!
//! All replicas serve with the same key pair, from one Secret. A certificate authority is replaced in four steps, so
//! that no caller ever meets a certificate that it cannot check: the new authority is added to what callers trust →
//! they have seen it → the certificate is exchanged → the old authority is dropped (design §8).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::names::hash_hex;

/// How long certificates live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of the serving certificate. It is renewed after two thirds.
    pub leaf: Duration,
    /// Of the certificate authority. It is replaced after two thirds.
    pub authority: Duration,
    /// Time for callers, and for the other replicas, to see a change of the authorities; longer than [`LOOK`].
    pub propagation: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            leaf: Duration::from_secs(90 * 86_400),
            authority: Duration::from_secs(5 * 365 * 86_400),
            propagation: Duration::from_secs(900),
        }
    }
}

/// Longest pause between two looks at the Secret.
pub const LOOK: Duration = Duration::from_secs(300);

/// A certificate and its key, as PEM.
#[derive(Clone, Eq, PartialEq)]
struct Pair {
    certificate: String,
    key: String,
    ends: Timestamp,
}

/// What the Secret holds.
#[derive(Clone, Eq, PartialEq)]
struct State {
    authority: Pair,
    leaf: Pair,
    /// An authority that callers shall learn to trust, not used yet.
    next_authority: Option<Pair>,
    /// The certificate of an authority that is no longer used, but still trusted.
    previous_authority: Option<String>,
    /// When the set of authorities last changed.
    since: Timestamp,
    /// The host names that the leaf is for, separated by commas.
    hosts: String,
}

/// What is to be done with the certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Nothing, for this long.
    Wait(Duration),
    /// The authority has ended (the controller was away for years): nothing of before is of use.
    StartAnew,
    RenewLeaf,
    AddAuthority,
    SwapAuthority,
    DropPrevious,
}

impl State {
    fn new(name: &str, hosts: &[String], now: Timestamp, lifetimes: Lifetimes) -> Result<Self, rcgen::Error> {
        let authority = make_authority(name, now, lifetimes)?;
        let leaf = make_leaf(&authority, name, hosts, now, lifetimes)?;
        Ok(Self { authority, leaf, next_authority: None, previous_authority: None, since: now, hosts: hosts.join(",") })
    }

    /// PEM certificates that callers must trust.
    fn bundle(&self) -> String {
        let next = self.next_authority.as_ref().map(|pair| pair.certificate.as_str());
        [Some(self.authority.certificate.as_str()), next, self.previous_authority.as_deref()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// What is due. `seen_for` is how long callers are known to have had the present bundle.
    fn step(&self, hosts: &[String], now: Timestamp, seen_for: Duration, lifetimes: Lifetimes) -> Step {
        let (authority, leaf) = (until(self.authority.ends, now), until(self.leaf.ends, now));
        if authority.is_zero() {
            return Step::StartAnew;
        }
        // A replica of another version may need other names; each keeps what the other asked for.
        let has = |host: &String| self.hosts.split(',').any(|held| held == host);
        if leaf <= lifetimes.leaf / 3 || !hosts.iter().all(has) {
            return Step::RenewLeaf;
        }
        let leaf_due = leaf - lifetimes.leaf / 3;
        let seen_in =
            remaining(self.since, lifetimes.propagation, now).max(lifetimes.propagation.saturating_sub(seen_for));
        match (&self.next_authority, &self.previous_authority) {
            (Some(_), _) if seen_in.is_zero() => Step::SwapAuthority,
            (None, Some(_)) if seen_in.is_zero() => Step::DropPrevious,
            (None, None) if authority <= lifetimes.authority / 3 => Step::AddAuthority,
            (None, None) => Step::Wait((authority - lifetimes.authority / 3).min(leaf_due)),
            _ => Step::Wait(seen_in.min(leaf_due)),
        }
    }

    fn after(
        mut self,
        step: Step,
        name: &str,
        hosts: &[String],
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Self, rcgen::Error> {
        match step {
            Step::Wait(_) => {}
            Step::StartAnew => self = Self::new(name, hosts, now, lifetimes)?,
            Step::RenewLeaf => {
                let is_old = until(self.leaf.ends, now) <= lifetimes.leaf / 3;
                let mut names: Vec<String> = hosts.to_vec();
                // Names of before go with the regular renewal.
                let before = self.hosts.split(',').filter(|held| !is_old && !held.is_empty());
                names.extend(before.filter(|held| hosts.iter().all(|host| host != held)).map(str::to_owned));
                self.leaf = make_leaf(&self.authority, name, &names, now, lifetimes)?;
                self.hosts = names.join(",");
            }
            Step::AddAuthority => {
                self.next_authority = Some(make_authority(name, now, lifetimes)?);
                self.since = now;
            }
            Step::SwapAuthority => {
                if let Some(next) = self.next_authority.take() {
                    self.previous_authority = Some(std::mem::replace(&mut self.authority, next).certificate);
                    let names: Vec<String> = self.hosts.split(',').map(str::to_owned).collect();
                    self.leaf = make_leaf(&self.authority, name, &names, now, lifetimes)?;
                    self.since = now;
                }
            }
            Step::DropPrevious => {
                self.previous_authority = None;
                self.since = now;
            }
        }
        Ok(self)
    }

    fn to_data(&self) -> BTreeMap<String, ByteString> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let mut data = BTreeMap::from([
            ("ca.crt".to_owned(), bytes(&self.authority.certificate)),
            ("ca.key".to_owned(), bytes(&self.authority.key)),
            ("ca.ends".to_owned(), bytes(&self.authority.ends.to_string())),
            ("tls.crt".to_owned(), bytes(&self.leaf.certificate)),
            ("tls.key".to_owned(), bytes(&self.leaf.key)),
            ("tls.ends".to_owned(), bytes(&self.leaf.ends.to_string())),
            ("since".to_owned(), bytes(&self.since.to_string())),
            ("hosts".to_owned(), bytes(&self.hosts)),
        ]);
        if let Some(next) = &self.next_authority {
            data.insert("next-ca.crt".to_owned(), bytes(&next.certificate));
            data.insert("next-ca.key".to_owned(), bytes(&next.key));
            data.insert("next-ca.ends".to_owned(), bytes(&next.ends.to_string()));
        }
        if let Some(previous) = &self.previous_authority {
            data.insert("previous-ca.crt".to_owned(), bytes(previous));
        }
        data
    }

    /// `None` if something is missing or cannot be read: then it is made anew.
    fn from_data(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        let pair = |prefix: &str| {
            Some(Pair {
                certificate: text(&format!("{prefix}.crt"))?,
                key: text(&format!("{prefix}.key"))?,
                ends: text(&format!("{prefix}.ends"))?.parse().ok()?,
            })
        };
        Some(Self {
            authority: pair("ca")?,
            leaf: pair("tls")?,
            next_authority: pair("next-ca"),
            previous_authority: text("previous-ca.crt"),
            since: text("since")?.parse().ok()?,
            hosts: text("hosts").unwrap_or_default(),
        })
        .filter(|state: &Self| state.certified_key().is_ok_and(|key| key.keys_match().is_ok()))
    }

    fn certified_key(&self) -> anyhow::Result<CertifiedKey> {
        let chain = CertificateDer::pem_slice_iter(self.leaf.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.leaf.key.as_bytes())?;
        Ok(CertifiedKey::new(chain, rustls::crypto::ring::sign::any_supported_type(&key)?))
    }
}

fn remaining(since: Timestamp, length: Duration, now: Timestamp) -> Duration {
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    length.saturating_sub(passed)
}

fn until(end: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default()
}

/// Clocks of callers may be behind ours.
const BACKDATED: Duration = Duration::from_secs(300);

fn dated(mut params: CertificateParams, now: Timestamp, lifetime: Duration) -> (CertificateParams, Timestamp) {
    let now = SystemTime::from(now);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + lifetime).into();
    (params, Timestamp::try_from(now + lifetime).unwrap_or(Timestamp::MAX))
}

fn authority_params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("{name} CA"));
    Ok(params)
}

fn make_authority(name: &str, now: Timestamp, lifetimes: Lifetimes) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let (params, ends) = dated(authority_params(name)?, now, lifetimes.authority);
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem(), ends })
}

fn make_leaf(
    authority: &Pair,
    name: &str,
    hosts: &[String],
    now: Timestamp,
    lifetimes: Lifetimes,
) -> Result<Pair, rcgen::Error> {
    let issuer = Issuer::new(authority_params(name)?, KeyPair::from_pem(&authority.key)?);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts.to_vec())?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let (params, ends) = dated(params, now, lifetimes.leaf);
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem(), ends })
}

/// The serving certificate of a running process, exchanged without a restart.
#[derive(Default)]
pub struct ServingCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServingCertificate")
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The certificates of a controller: kept in a Secret, served by every replica.
pub struct Certificates {
    secrets: Api<Secret>,
    secret: String,
    name: String,
    hosts: Vec<String>,
    lifetimes: Lifetimes,
    serving: Arc<ServingCertificate>,
    bundle: watch::Sender<Option<String>>,
    rotate: Notify,
    /// The bundle that was last published, and since when callers have it.
    published: Mutex<Option<(String, Instant)>>,
}

impl Certificates {
    /// Certificates of the controller `name` for these host names, in the Secret `<name>-certificates` of `namespace`.
    pub fn new(client: Client, namespace: &str, name: &str, hosts: Vec<String>, lifetimes: Lifetimes) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            secret: format!("{name}-certificates"),
            name: name.to_owned(),
            hosts,
            lifetimes,
            serving: Arc::default(),
            bundle: watch::Sender::new(None),
            rotate: Notify::new(),
            published: Mutex::default(),
        }
    }

    /// What a TLS server serves with.
    pub fn serving(&self) -> Arc<ServingCertificate> {
        self.serving.clone()
    }

    /// The PEM certificates that callers must trust; `None` before the Secret was read for the first time.
    pub fn bundle(&self) -> watch::Receiver<Option<String>> {
        self.bundle.subscribe()
    }

    /// Begins to replace the certificate authority now.
    pub fn rotate(&self) {
        self.rotate.notify_one();
    }

    /// Keeps the certificates; for ever. `publish` brings the bundle to callers and is called before each step, and
    /// every few minutes, since a Helm upgrade may take the bundle away again.
    pub async fn keep<P: Future<Output = anyhow::Result<()>>>(&self, publish: impl Fn(String) -> P) {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.secret));
        let mut changes = watcher(self.secrets.clone(), config).default_backoff().boxed();
        let mut rotation_asked = false;
        loop {
            let pause = match self.round(&publish, &mut rotation_asked).await {
                Ok(pause) => pause.min(LOOK),
                Err(error) => {
                    warn!("the certificates are not in order, trying again: {error:#}");
                    Duration::from_secs(2)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.next() => {}
                () = self.rotate.notified() => rotation_asked = true,
            }
        }
    }

    /// Reads the Secret, serves and publishes what it holds, and takes the next step; returns how long nothing is due.
    async fn round<P: Future<Output = anyhow::Result<()>>>(
        &self,
        publish: &impl Fn(String) -> P,
        rotation_asked: &mut bool,
    ) -> anyhow::Result<Duration> {
        let now = Timestamp::now();
        let Some(secret) = self.secrets.get_opt(&self.secret).await? else {
            self.write(None, &State::new(&self.name, &self.hosts, now, self.lifetimes)?).await?;
            return Ok(Duration::ZERO);
        };
        let Some(state) = secret.data.as_ref().and_then(State::from_data) else {
            warn!(secret = self.secret, "the Secret does not hold certificates, they are made anew");
            self.write(Some(&secret), &State::new(&self.name, &self.hosts, now, self.lifetimes)?).await?;
            return Ok(Duration::ZERO);
        };
        self.serve(&state)?;
        let published = publish(state.bundle()).await;
        let seen_for = self.seen_for(&state.bundle(), published.is_ok());
        let mut step = state.step(&self.hosts, now, seen_for, self.lifetimes);
        let is_between = state.next_authority.is_some() || state.previous_authority.is_some();
        if *rotation_asked && !is_between && matches!(step, Step::Wait(_)) {
            *rotation_asked = false;
            step = Step::AddAuthority;
        }
        if let Step::Wait(pause) = step {
            return published.map(|()| pause);
        }
        info!(secret = self.secret, ?step, "renewing certificates");
        self.write(Some(&secret), &state.after(step, &self.name, &self.hosts, now, self.lifetimes)?).await?;
        Ok(Duration::ZERO)
    }

    /// How long callers have had this bundle without a break.
    fn seen_for(&self, bundle: &str, is_published: bool) -> Duration {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_published {
            *published = None;
            return Duration::ZERO;
        }
        match &*published {
            Some((held, since)) if held == bundle => since.elapsed(),
            _ => {
                *published = Some((bundle.to_owned(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn serve(&self, state: &State) -> anyhow::Result<()> {
        let key = Arc::new(state.certified_key()?);
        *self.serving.0.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
        let bundle = Some(state.bundle());
        self.bundle.send_if_modified(|now| {
            let changed = *now != bundle;
            *now = bundle;
            changed
        });
        Ok(())
    }

    /// Writes the Secret as it was decided; that another replica was faster is no error.
    async fn write(&self, old: Option<&Secret>, state: &State) -> kube::Result<()> {
        let mut secret = old.cloned().unwrap_or_default();
        secret.metadata.name = Some(self.secret.clone());
        secret.data = Some(state.to_data());
        let written = match old {
            None => self.secrets.create(&PostParams::default(), &secret).await,
            Some(old) => {
                secret.metadata.managed_fields = None;
                self.secrets.replace(&old.name_any(), &PostParams::default(), &secret).await
            }
        };
        match written {
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// A short name of a bundle for logs: the beginning of its hash.
pub fn fingerprint(bundle: &str) -> String {
    hash_hex(&bundle)[..8].to_owned()
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
mod tests;
