use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use http::{Request, Response};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

/// An API server that holds one Lease, and a network in front of it.
struct Server {
    lease: Mutex<Option<Lease>>,
    version: AtomicU64,
    changed: broadcast::Sender<()>,
    random: Mutex<u64>,
    /// Whether requests get lost, late or answered with errors.
    rough: bool,
    down: Mutex<Option<(Instant, Instant)>>,
}

impl Server {
    fn new(seed: u64, rough: bool) -> Arc<Self> {
        let random = Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Arc::new(Self {
            lease: Mutex::default(),
            version: AtomicU64::new(1),
            changed: broadcast::channel(64).0,
            random,
            rough,
            down: Mutex::default(),
        })
    }

    fn dice(&self, sides: u64) -> u64 {
        let mut seed = self.random.lock().unwrap();
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 8) % sides
    }

    fn is_down(&self) -> bool {
        self.down.lock().unwrap().is_some_and(|(from, to)| (from..to).contains(&Instant::now()))
    }

    /// The way to the server or back: late now and then, and for ever sometimes.
    async fn travel(&self) {
        while self.is_down() {
            sleep(Duration::from_millis(100)).await;
        }
        if self.rough {
            match self.dice(20) {
                0 => sleep(Duration::from_secs(3600)).await,
                1..4 => sleep(Duration::from_millis(self.dice(9_000))).await,
                _ => sleep(Duration::from_millis(self.dice(50))).await,
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, tower::BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await?;
        self.travel().await;
        if self.rough && self.dice(15) == 0 {
            return Ok(failure(500, "InternalError"));
        }
        let response = self.handle(parts.method.as_str(), &body);
        self.travel().await; // The write has happened, whether or not the answer arrives.
        Ok(response)
    }

    fn handle(&self, method: &str, body: &[u8]) -> Response<Body> {
        let mut held = self.lease.lock().unwrap();
        let wanted: Option<Lease> = serde_json::from_slice(body).ok();
        match (method, &*held, wanted) {
            ("GET", None, _) => failure(404, "NotFound"),
            ("GET", Some(lease), _) => success(lease),
            ("POST", Some(_), _) => failure(409, "AlreadyExists"),
            ("PUT", None, _) => failure(404, "NotFound"),
            ("PUT", Some(lease), Some(wanted))
                if wanted.metadata.resource_version != lease.metadata.resource_version =>
            {
                failure(409, "Conflict")
            }
            (_, _, Some(mut wanted)) => {
                wanted.metadata.resource_version = Some(self.version.fetch_add(1, Ordering::Relaxed).to_string());
                *held = Some(wanted.clone());
                let _ = self.changed.send(());
                success(&wanted)
            }
            (method, _, None) => panic!("unexpected {method}"),
        }
    }

    fn client(self: &Arc<Self>) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request| server.clone().answer(request)), "openfunction")
    }

    fn candidate(self: &Arc<Self>, identity: &str) -> Elector {
        let config = LeaseConfig { name: "lease".to_owned(), identity: identity.to_owned(), duration: DURATION };
        Elector::new(Api::namespaced(self.client(), "openfunction"), config)
    }

    fn events(&self) -> impl Stream<Item = ()> + use<> {
        tokio_stream::wrappers::BroadcastStream::new(self.changed.subscribe()).map(drop)
    }
}

fn success(lease: &Lease) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(lease).unwrap()))
}

fn failure(code: u16, reason: &str) -> Response<Body> {
    let status: Value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code});
    Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
}

/// Counts the holders; a second one is a failure of the test.
#[derive(Clone, Default)]
struct Holders {
    now: Arc<AtomicUsize>,
    terms: Arc<AtomicUsize>,
}

struct Term(Holders);

impl Holders {
    fn begin(&self, context: &str) -> Term {
        let others = self.now.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "two holders in {context}");
        self.terms.fetch_add(1, Ordering::SeqCst);
        Term(self.clone())
    }

    fn count(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    async fn wait_for(&self, count: usize) -> Duration {
        let began = Instant::now();
        while self.count() != count {
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Work that goes on until it is told to stop, and then takes its time.
async fn work(holders: Holders, context: String, token: CancellationToken, stubborn: Duration) {
    let _term = holders.begin(&context);
    token.cancelled().await;
    sleep(stubborn).await;
}

#[tokio::test(start_paused = true)]
async fn two_hundred_random_schedules_never_have_two_holders() {
    let mut terms = 0;
    for seed in 0..200 {
        let (server, holders) = (Server::new(seed, true), Holders::default());
        let candidates: Vec<_> = (0..2)
            .map(|number| {
                let (server, holders) = (server.clone(), holders.clone());
                tokio::spawn(async move {
                    // A process comes back under a new name after it ended, crashed or lost the lease.
                    for life in 0.. {
                        let context = format!("schedule {seed}, candidate {number}, life {life}");
                        let stop = CancellationToken::new();
                        let stubborn = Duration::from_millis(server.dice(20_000));
                        let elector = server.candidate(&format!("{number}-{life}"));
                        let run = elector.run(stop.clone(), server.events(), |token| {
                            work(holders.clone(), context, token, stubborn)
                        });
                        let life = Duration::from_millis(1 + server.dice(90_000));
                        if server.dice(2) == 0 {
                            let _ = timeout(life, run).await; // A crash.
                        } else {
                            let asked = async {
                                sleep(life).await;
                                stop.cancel();
                            };
                            tokio::join!(run, asked);
                        }
                        sleep(Duration::from_millis(server.dice(3_000))).await;
                    }
                })
            })
            .collect();
        sleep(Duration::from_secs(600)).await;
        for candidate in candidates {
            assert!(!candidate.is_finished(), "schedule {seed} failed");
            candidate.abort();
        }
        terms += holders.terms.load(Ordering::SeqCst);
    }
    assert!(terms > 1000, "only {terms} terms: the schedules test nothing");
}

#[tokio::test(start_paused = true)]
async fn a_release_hands_over_at_once() {
    let (server, holders) = (Server::new(1, false), Holders::default());
    let stop = CancellationToken::new();
    let run = |name: &str, stop: CancellationToken| {
        let holders = holders.clone();
        tokio::spawn(
            server
                .candidate(name)
                .run(stop, server.events(), |token| work(holders, String::new(), token, Duration::ZERO)),
        )
    };
    let first = run("a", stop.clone());
    holders.wait_for(1).await;
    run("b", CancellationToken::new());
    sleep(Duration::from_secs(30)).await;
    stop.cancel();
    assert_eq!(first.await.unwrap(), Ended::Stopped);
    assert!(holders.wait_for(1).await < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn a_crash_hands_over_within_the_lease_time_and_one_retry() {
    let (server, holders) = (Server::new(1, false), Holders::default());
    let run = |name: &str| {
        let holders = holders.clone();
        let elector = server.candidate(name);
        tokio::spawn(elector.run(CancellationToken::new(), server.events(), |token| {
            work(holders, String::new(), token, Duration::ZERO)
        }))
    };
    let first = run("a");
    holders.wait_for(1).await;
    run("b");
    sleep(Duration::from_secs(31)).await;
    first.abort();
    holders.wait_for(0).await;
    let retry = LeaseConfig { name: String::new(), identity: String::new(), duration: DURATION }.retry_period();
    assert!(holders.wait_for(1).await <= DURATION + retry);
}

#[tokio::test(start_paused = true)]
async fn losing_the_api_server_for_thirty_seconds_makes_no_second_holder() {
    let (server, holders) = (Server::new(1, false), Holders::default());
    let run = |name: &str| {
        let holders = holders.clone();
        let elector = server.candidate(name);
        tokio::spawn(elector.run(CancellationToken::new(), server.events(), |token| {
            work(holders, String::new(), token, Duration::from_secs(60))
        }))
    };
    let first = run("a");
    holders.wait_for(1).await;
    let second = run("b");
    sleep(Duration::from_secs(20)).await;
    let now = Instant::now();
    *server.down.lock().unwrap() = Some((now, now + Duration::from_secs(30)));
    // The holder stops by itself, although its work does not want to.
    assert!(holders.wait_for(0).await < DURATION);
    assert_eq!(first.await.unwrap(), Ended::Lost);
    holders.wait_for(1).await;
    assert!(!second.is_finished());
}
