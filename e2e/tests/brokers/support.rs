//! Brokers and handlers as child processes that can be killed, and receivers that remember what they got.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use e2e::api_server::free_ports;
use event_bus::cloudevent::Event;
use serde_json::Value;

/// Time in which a condition must come about.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until a check gives a value.
pub async fn eventually<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A program that runs until this is dropped, and that can be killed as `kill -9` does and started again.
pub struct Program {
    program: PathBuf,
    arguments: Vec<String>,
    /// Port that answers when it is up.
    port: u16,
    child: Child,
    folder: tempfile::TempDir,
}

impl Program {
    /// Starts it; it may keep what it needs in a folder of its own.
    pub fn start(program: &Path, port: u16, arguments: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments(folder.path());
        let child = spawn(program, &arguments);
        let mut started = Self { program: program.to_owned(), arguments, port, child, folder };
        started.until_up();
        started
    }

    /// Gives it another configuration, if it is one of ours.
    pub fn configure(&self, config: &Value) {
        std::fs::write(self.folder.path().join("config.json"), config.to_string()).unwrap();
    }

    /// Ends it at once, and starts it again.
    pub fn kill(&mut self) {
        self.end();
        self.child = spawn(&self.program, &self.arguments);
        self.until_up();
    }

    pub fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn until_up(&mut self) {
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(began.elapsed() < DEADLINE, "{} does not come up", self.program.display());
            assert!(self.child.try_wait().unwrap().is_none(), "{} has ended", self.program.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bytes of memory that are its own and resident.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, arguments: &[String]) -> Child {
    let output = || if std::env::var_os("SHOW").is_some() { Stdio::inherit() } else { Stdio::null() };
    Command::new(program).args(arguments).stdout(output()).stderr(output()).spawn().unwrap()
}

/// A Trigger's process with a configuration, and its port.
pub fn trigger(config: &Value) -> (Program, u16) {
    traced_trigger(config, "")
}

/// As [`trigger`], and it sends its traces somewhere.
pub fn traced_trigger(config: &Value, endpoint: &str) -> (Program, u16) {
    handler(env!("CARGO_BIN_EXE_event-trigger-under-test"), config, endpoint)
}

/// An EventSource's process with a configuration, and its port.
pub fn source(config: &Value) -> (Program, u16) {
    traced_source(config, "")
}

/// As [`source`], and it sends its traces somewhere.
pub fn traced_source(config: &Value, endpoint: &str) -> (Program, u16) {
    handler(env!("CARGO_BIN_EXE_event-source-under-test"), config, endpoint)
}

fn handler(program: &str, config: &Value, endpoint: &str) -> (Program, u16) {
    // Another test may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let [port] = free_ports().unwrap();
    let started = Program::start(Path::new(program), port, |folder| {
        let file = folder.join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let address = format!("--metrics-address=127.0.0.1:{port}");
        vec![format!("--config-file={}", file.display()), address, format!("--otlp-endpoint={endpoint}")]
    });
    (started, port)
}

/// Waits until a process is ready.
pub async fn until_ready(port: u16) {
    let url = format!("http://127.0.0.1:{port}/ready");
    let began = Instant::now();
    loop {
        let said = match reqwest::get(&url).await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => format!("{error:?}"),
        };
        assert!(began.elapsed() < DEADLINE, "not ready within {DEADLINE:?}: {said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Takes events, and remembers how often each of them.
#[derive(Clone, Default)]
pub struct Receiver {
    seen: Arc<Mutex<HashMap<String, usize>>>,
    asked: Arc<AtomicUsize>,
    /// The status that it gives, or [`FLAKY`].
    status: Arc<AtomicU16>,
    pub url: String,
}

/// A status of [`Receiver`]: each tenth request fails, and each hundredth is answered late.
pub const FLAKY: u16 = 0;

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let receiver = Self { url, status: Arc::new(AtomicU16::new(200)), ..Self::default() };
        let router = Router::new().route("/", post(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// How often it was asked, whatever it said.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many events it has got, and how many of them again.
    pub fn counts(&self) -> (usize, usize) {
        let seen = self.seen.lock().unwrap();
        (seen.len(), seen.values().map(|times| times - 1).sum())
    }

    /// Identifiers of the events that it has got.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.seen.lock().unwrap().keys().cloned().collect();
        ids.sort();
        ids
    }

    /// Waits for a number of events.
    pub async fn until(&self, number: usize) {
        let began = Instant::now();
        let mut last = (0, Instant::now());
        loop {
            let now = self.counts().0;
            if now >= number {
                return;
            }
            if now > last.0 {
                last = (now, Instant::now());
            }
            assert!(last.1.elapsed() < DEADLINE, "{now} of {number} after {:?}", began.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap) -> StatusCode {
    let number = receiver.asked.fetch_add(1, Ordering::Relaxed);
    let status = match receiver.status.load(Ordering::Relaxed) {
        FLAKY if number % 10 == 3 => StatusCode::SERVICE_UNAVAILABLE,
        FLAKY => StatusCode::OK,
        status => StatusCode::from_u16(status).unwrap(),
    };
    if receiver.status.load(Ordering::Relaxed) == FLAKY && number % 100 == 7 {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if status.is_success() {
        let id = headers["ce-id"].to_str().unwrap().to_owned();
        *receiver.seen.lock().unwrap().entry(id).or_default() += 1;
    }
    status
}

/// An event by its number, with a body of a size.
pub fn event(number: usize, size: usize) -> Event {
    Event {
        id: format!("{number:06}"),
        source: "/tests".to_owned(),
        type_: "test".to_owned(),
        content_type: Some("text/plain".to_owned()),
        data: Some("x".repeat(size).into()),
        ..Event::default()
    }
}

/// How many events are sent, unless `EVENTS` says otherwise.
pub fn events() -> usize {
    std::env::var("EVENTS").ok().and_then(|number| number.parse().ok()).unwrap_or(5_000)
}
