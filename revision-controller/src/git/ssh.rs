//! Refs over ssh: `git-upload-pack` of the server, by the `ssh` of the image, which knows every kind of key.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{Advertisement, Refs, advertisement, malformed, refs, request};
use crate::{
    credentials::Credential,
    net::{MAX_ANSWER, Network},
    problem::{CREDENTIALS, NOT_FOUND, Problem, UNAUTHORIZED, UNREACHABLE},
};

/// How long a look may take.
const LONGEST: Duration = Duration::from_secs(30);
/// What of ssh's words a message has.
const MAX_SAID: usize = 300;

/// Where a repository is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// User of the server.
    pub user: String,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path of the repository.
    pub path: String,
}

/// A repository behind ssh.
#[derive(Debug, Default)]
pub struct Repository {
    /// The key, and the servers that are known.
    files: Option<TempDir>,
}

impl Place {
    /// Reads `ssh://user@host:port/path` or `user@host:path`. None if it is neither.
    pub fn parse(url: &str) -> Option<Self> {
        let (authority, path) = match url.split_once("://") {
            Some(("ssh" | "git+ssh" | "ssh+git", rest)) => {
                let (authority, path) = rest.split_once('/')?;
                (authority, format!("/{path}"))
            }
            Some(_) => return None,
            None => {
                let (authority, path) = url.split_once(':')?;
                (authority, path.to_owned())
            }
        };
        let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if url.contains("://") && !host.ends_with(':') => (host, port.parse().ok()?),
            _ => (host, 22),
        };
        let is_plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let host = host.trim_matches(['[', ']']);
        let is_good = is_plain(user, "-_.+") && is_plain(host, "-.:_") && !path.is_empty();
        let is_line = path.chars().all(|c| !c.is_control());
        (is_good && is_line).then(|| Self { user: user.to_owned(), host: host.to_owned(), port, path })
    }

    /// The path as a word of the server's shell.
    fn quoted(&self) -> String {
        format!("'{}'", self.path.replace('\'', r"'\''").replace('!', r"'\!'"))
    }

    /// What the server is called among those that are known.
    fn alias(&self) -> String {
        if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }
}

impl Repository {
    /// Asks for refs.
    ///
    /// # Errors
    /// A server that does not answer, refuses, or answers something else.
    pub async fn look(
        &mut self,
        network: &Network,
        place: &Place,
        credential: &Credential,
        prefixes: &[String],
    ) -> Result<Refs, Problem> {
        let Credential::Ssh { key, known_hosts } = credential else {
            let message =
                "a repository behind ssh needs a Secret with the key ssh-privatekey (spec.build.srcRepo.credentials)";
            return Err(Problem::new(CREDENTIALS, message));
        };
        if self.files.is_none() {
            let cannot = |error| Problem::new(CREDENTIALS, format!("the ssh key cannot be put down: {error}"));
            self.files = Some(files(key, known_hosts.as_deref()).map_err(cannot)?);
        }
        let Some(files) = &self.files else { return Err(malformed()) };
        let address = network.resolve(&place.host, place.port).await?;
        let at = |name: &str| files.path().join(name).display().to_string();
        let is_known = if known_hosts.is_some() { "yes" } else { "accept-new" };
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-T", "-i", &at("key"), "-p", &place.port.to_string(), "-l", &place.user]);
        for option in [
            "IdentitiesOnly=yes",
            "BatchMode=yes",
            "ConnectTimeout=10",
            "LogLevel=ERROR",
            "SendEnv=GIT_PROTOCOL",
            // The address that was looked at, and no other.
            &format!("HostName={address}"),
            &format!("HostKeyAlias={}", place.alias()),
            &format!("StrictHostKeyChecking={is_known}"),
            &format!("UserKnownHostsFile={}", at("known_hosts")),
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["--", &place.host, &format!("git-upload-pack {}", place.quoted())]);
        ssh.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("GIT_PROTOCOL", "version=2");
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let late =
            || Problem::new(UNREACHABLE, format!("{} does not answer within {}s", place.host, LONGEST.as_secs()));
        tokio::time::timeout(LONGEST, run(ssh, place, prefixes)).await.map_err(|_| late())?
    }
}

/// Puts the key where only this process can read it: ssh takes no other.
fn files(key: &str, known_hosts: Option<&str>) -> std::io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut options = fs::OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    // It refuses one without its last newline, too.
    writeln!(options.open(folder.path().join("key"))?, "{}", key.trim_end())?;
    write!(options.open(folder.path().join("known_hosts"))?, "{}", known_hosts.unwrap_or_default())?;
    Ok(folder)
}

async fn run(mut ssh: Command, place: &Place, prefixes: &[String]) -> Result<Refs, Problem> {
    let cannot = |error: std::io::Error| Problem::new(UNREACHABLE, format!("ssh cannot be run: {error}"));
    let mut child = ssh.spawn().map_err(cannot)?;
    let (Some(mut input), Some(mut output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(malformed());
    };
    let asked = async {
        let found = match advertisement(&message(&mut output).await?)? {
            Advertisement::Older(refs) => refs,
            Advertisement::V2(capabilities) => {
                input.write_all(request(&capabilities, prefixes).as_bytes()).await.map_err(|_| malformed())?;
                refs(&message(&mut output).await?)?
            }
        };
        // That was all.
        let _ = input.write_all(b"0000").await;
        drop(input);
        Ok(found)
    };
    let said = async {
        let mut said = Vec::new();
        let _ = errors.take(16 << 10).read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    };
    let (found, said) = tokio::join!(asked, said);
    let _ = child.wait().await;
    found.map_err(|problem: Problem| if said.trim().is_empty() { problem } else { explained(place, &said) })
}

/// What ssh, or the server's git, has to say.
fn explained(place: &Place, said: &str) -> Problem {
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect();
    let has = |what: &[&str]| what.iter().any(|what| said.contains(what));
    let reason = if has(&["Permission denied", "Host key verification failed", "invalid format", "error in libcrypto"])
    {
        UNAUTHORIZED
    } else if has(&["does not appear to be a git repository", "not found", "No such file", "does not exist"]) {
        NOT_FOUND
    } else {
        UNREACHABLE
    };
    Problem::new(reason, format!("{}: {words}", place.host))
}

/// Reads a message to its end.
async fn message(output: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Problem> {
    let mut message = Vec::new();
    loop {
        let mut head = [0; 4];
        output.read_exact(&mut head).await.map_err(|_| malformed())?;
        message.extend_from_slice(&head);
        let length = std::str::from_utf8(&head).ok().and_then(|head| usize::from_str_radix(head, 16).ok());
        let length = length.filter(|length| *length != 3).ok_or_else(malformed)?;
        if length == 0 {
            return Ok(message);
        }
        let (at, more) = (message.len(), length.saturating_sub(4));
        if at + more > MAX_ANSWER {
            return Err(malformed());
        }
        message.resize(at + more, 0);
        output.read_exact(&mut message[at..]).await.map_err(|_| malformed())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(user: &str, host: &str, port: u16, path: &str) -> Option<Place> {
        Some(Place { user: user.to_owned(), host: host.to_owned(), port, path: path.to_owned() })
    }

    #[test]
    fn r12_every_form_of_a_repository_behind_ssh_is_read() {
        for (url, expected) in [
            ("git@github.com:acme/a.git", place("git", "github.com", 22, "acme/a.git")),
            ("ssh://git@git.example.com:2222/acme/a.git", place("git", "git.example.com", 2222, "/acme/a.git")),
            ("ssh://git.example.com/a", place("git", "git.example.com", 22, "/a")),
            ("git.example.com:a", place("git", "git.example.com", 22, "a")),
            ("ssh://git@[2001:db8::1]:22/a", place("git", "2001:db8::1", 22, "/a")),
            ("https://github.com/acme/a", None),
            ("-oProxyCommand=evil:a", None),
            ("ssh://-oProxyCommand=evil/a", None),
            ("ssh://git@h$(id)/a", None),
            ("ssh://a b@host/a", None),
            ("git@host:", None),
            ("git@host:a\nb", None),
            ("nothing", None),
        ] {
            assert_eq!(Place::parse(url), expected, "{url}");
        }
    }

    #[test]
    fn a_path_is_one_word_of_the_servers_shell() {
        let place = place("git", "h", 22, "/it's; rm -rf / $(id) `id` !!").unwrap();
        assert_eq!(place.quoted(), r"'/it'\''s; rm -rf / $(id) `id` '\!''\!''");
    }
}
