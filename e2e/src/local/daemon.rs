//! Programs that go on running when the command that started them has ended: a pid file and a log each.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cache::{last_lines, run},
    local::{cluster::Cluster, control_plane},
};

/// Time in which a program must answer; it takes 5 s at most on an idle machine.
const START: Duration = Duration::from_secs(60);
/// Time in which a program must end after it was asked to.
const STOP: Duration = Duration::from_secs(10);
/// Time in which a healthy program answers.
const ANSWER: Duration = Duration::from_secs(2);

/// How a program shows that it works.
#[derive(Clone, Debug)]
pub enum Probe {
    /// It answers 200 to a GET without TLS: address and path.
    Http(String, &'static str),
    /// It takes connections.
    Tcp(String),
    /// It takes connections on a socket file.
    Socket(PathBuf),
    /// It says that it is ready when asked by kubectl.
    ApiServer(Cluster),
}

/// A program that runs in the background.
#[derive(Debug)]
pub struct Daemon {
    /// Its name: of its pid file and its log.
    pub name: &'static str,
    /// What is run.
    pub command: Command,
    /// How it shows that it works.
    pub probe: Probe,
}

/// The folder of pid files and logs.
#[derive(Clone, Debug)]
pub struct Daemons {
    folder: PathBuf,
}

impl Daemons {
    /// Those whose files are in a folder.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The log of a program.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Starts a program if it does not run, and waits until it works.
    ///
    /// # Errors
    /// A program that ends or does not answer in time: then with what it logged last.
    pub fn ensure(&self, daemon: &mut Daemon) -> Result<()> {
        if self.pid(daemon.name).is_none() {
            self.start(daemon)?;
        }
        let deadline = Instant::now() + START;
        while let Some(problem) = self.problem(daemon.name, &daemon.probe) {
            let ended = self.pid(daemon.name).is_none();
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.log(daemon.name)).unwrap_or_default();
                bail!("{problem}; its log ends with:\n{}", last_lines(&log, 15));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn start(&self, daemon: &mut Daemon) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let log = fs::File::options().create(true).append(true).open(self.log(daemon.name))?;
        // A session of its own: it outlives us, and a Ctrl-C for us does not reach it.
        let mut command = Command::new("setsid");
        command.arg(daemon.command.get_program()).args(daemon.command.get_args());
        for (name, value) in daemon.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", daemon.name))?;
        let pid = child.id();
        let started = start_time(pid).with_context(|| format!("{} ended at once", daemon.name))?;
        Ok(fs::write(self.pid_file(daemon.name), format!("{pid} {started}\n"))?)
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pid"))
    }

    /// The process of a program, if it runs. A number that went to another process does not count.
    pub fn pid(&self, name: &str) -> Option<u32> {
        let file = fs::read_to_string(self.pid_file(name)).ok()?;
        let (pid, started) = file.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        (start_time(pid)? == started).then_some(pid)
    }

    /// Why a program does not work.
    pub fn problem(&self, name: &str, probe: &Probe) -> Option<String> {
        if self.pid(name).is_none() {
            return Some(format!("{name} is not running"));
        }
        probe.answers().err().map(|error| format!("{name} does not answer: {error:#}"))
    }

    /// Asks a program to end, and makes it end.
    ///
    /// # Errors
    /// A process that stays although it was killed.
    pub fn stop(&self, name: &str) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            let deadline = Instant::now() + STOP;
            while let Some(pid) = self.pid(name) {
                if Instant::now() > deadline {
                    break;
                }
                send(pid, signal);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.pid(name).is_some() {
            bail!("{name} cannot be stopped");
        }
        Ok(fs::remove_file(self.pid_file(name)).or_else(ignore_missing)?)
    }
}

/// Sends a signal; a process that has ended is as good.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The only error that can come is that it is gone.
        let _ = kill_process(pid, signal);
    }
}

/// For files that may be gone.
///
/// # Errors
/// Every other error.
pub fn ignore_missing(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// When a process started (field 22 of `/proc/PID/stat`); none if it has ended, also when nobody has waited for it.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" { None } else { fields.nth(18).map(ToOwned::to_owned) }
}

impl Probe {
    /// Asks once.
    ///
    /// # Errors
    /// What is wrong.
    pub fn answers(&self) -> Result<()> {
        match self {
            Self::Http(address, path) => {
                let answer = http_get(address, path)?;
                let status = answer.lines().next().unwrap_or_default();
                if status.split(' ').nth(1) != Some("200") {
                    bail!("{status}");
                }
                Ok(())
            }
            Self::Tcp(address) => connect(address).map(drop),
            Self::Socket(path) => Ok(UnixStream::connect(path).map(drop)?),
            Self::ApiServer(cluster) if !control_plane::runs(cluster) => bail!("etcd or the API server is not running"),
            Self::ApiServer(cluster) => {
                run(cluster.kubectl().args(["get", "--raw", "/readyz", "--request-timeout=2s"])).map(drop)
            }
        }
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let address: SocketAddr = address.parse().with_context(|| format!("{address} is no address"))?;
    Ok(TcpStream::connect_timeout(&address, ANSWER)?)
}

fn http_get(address: &str, path: &str) -> Result<String> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Processes whose arguments hold a text.
pub fn processes_with(text: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let arguments = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&arguments).replace('\0', " ").contains(text)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_went_to_another_process_does_not_count() {
        let folder = std::env::temp_dir().join(format!("daemons-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let daemons = Daemons::in_folder(folder.clone());
        let us = std::process::id();
        fs::write(folder.join("us.pid"), format!("{us} {}", start_time(us).unwrap())).unwrap();
        fs::write(folder.join("other.pid"), format!("{us} 1")).unwrap();
        assert_eq!((daemons.pid("us"), daemons.pid("other"), daemons.pid("none")), (Some(us), None, None));
        fs::remove_dir_all(folder).unwrap();
    }
}
