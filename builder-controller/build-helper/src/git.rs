//! The source of a build from git.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{Place, open_to_all, results::note};

/// What to get, and where to put it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// URL of the repository.
    #[arg(long)]
    url: String,
    /// Branch, tag or commit; empty means the default branch.
    #[arg(long, default_value = "")]
    revision: String,
    #[command(flatten)]
    pub place: Place,
    /// Folder with the files `username` and `password`, or `ssh-privatekey` and `known_hosts`.
    #[arg(long)]
    credentials: Option<PathBuf>,
}

/// Variable that names the folder of credentials to the program that git asks.
const ASKED: &str = "BUILD_HELPER_CREDENTIALS";
/// Variable with the server that the credentials are for.
const SERVER: &str = "BUILD_HELPER_SERVER";
/// User of a token that comes without one: forges take any.
const ANYBODY: &str = "oauth2";

/// What git asks, if git has called this program.
pub fn asked() -> Option<String> {
    std::env::var_os(ASKED)?;
    std::env::args().nth(1)
}

/// Answers git: `Username for 'https://…': ` or `Password for …`.
pub fn answer(prompt: &str) -> ExitCode {
    let folder = PathBuf::from(std::env::var_os(ASKED).unwrap_or_default());
    let answer = match prompt.starts_with("Username") {
        // Neither a submodule nor a redirection gets what is for another server.
        _ if server(prompt.split('\'').nth(1).unwrap_or_default()) != std::env::var(SERVER).unwrap_or_default() => None,
        true => Some(fs::read_to_string(folder.join("username")).unwrap_or_else(|_| ANYBODY.to_owned())),
        false => fs::read_to_string(folder.join("password")).ok(),
    };
    match answer {
        Some(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Scheme, host and port of a URL, without its user.
fn server(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.split('/').next().unwrap_or_default();
    format!("{scheme}://{}", host.rsplit('@').next().unwrap_or_default())
}

/// How ssh is called: with the key, and only the servers that are known where some are.
///
/// # Errors
/// A key that cannot be read, or a full disk.
fn ssh(folder: &Path) -> Result<String> {
    let own = std::env::temp_dir().join("ssh");
    fs::create_dir_all(&own)?;
    let key = own.join("key");
    // ssh refuses a key that others could read, as those of a mounted Secret are, and one without its last newline.
    let text = fs::read_to_string(folder.join("ssh-privatekey")).context("the ssh key cannot be read")?;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key)?;
    writeln!(file, "{}", text.trim_end())?;
    let known = folder.join("known_hosts");
    let hosts = if known.exists() {
        format!("-o StrictHostKeyChecking=yes -o UserKnownHostsFile={}", known.display())
    } else {
        println!("warning: the Secret has no known_hosts, so the ssh server is not verified");
        format!("-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile={}", own.join("known_hosts").display())
    };
    Ok(format!("ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=30 {hosts}", key.display()))
}

/// Gets the source, and notes what was got.
///
/// # Errors
/// What git says.
pub fn get(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.credentials
        && !["password", "ssh-privatekey"].iter().any(|key| folder.join(key).exists())
    {
        bail!(
            "the Secret with the credentials of the git server has neither password nor ssh-privatekey, or does not exist"
        );
    }
    let git = Git::new(arguments)?;
    fs::create_dir_all(&git.folder).with_context(|| format!("cannot make {}", git.folder.display()))?;
    let found = find(&git, arguments)?;
    git.run(&["init", "--quiet", "--initial-branch=source"])?;
    git.run(&["remote", "add", "--", "origin", &arguments.url])?;
    let fetched = git.run(&["fetch", "--quiet", "--depth=1", "--no-tags", "origin", &found.wanted]);
    if found.is_commit && fetched.is_err() {
        // A server may refuse a commit by itself, and an abbreviated one is no name for it.
        git.run(&["fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"])?;
        let commit = git.run(&["rev-parse", "--verify", "--quiet", &format!("{}^{{commit}}", found.wanted)]);
        let commit = commit.with_context(|| format!("no such revision: {}", found.wanted))?;
        git.run(&["checkout", "--quiet", "--detach", commit.trim()])?;
    } else {
        fetched?;
        git.run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
    }
    if arguments.place.into.join(".gitmodules").exists() {
        // Some servers do not give a commit by itself.
        let shallow = git.run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"]);
        shallow.or_else(|_| git.run(&["submodule", "--quiet", "update", "--init", "--recursive"]))?;
    }
    let commit = git.run(&["rev-parse", "HEAD"])?;
    let author = git.run(&["log", "-1", "--format=%an"])?;
    println!("source: {} {}", arguments.url, commit.trim());
    for (name, text) in
        [("commit-sha", commit.trim()), ("commit-author", author.trim()), ("branch-name", &found.branch)]
    {
        note(&arguments.place.results, &format!("shp-source-default-{name}"), text)?;
    }
    // Steps run as other users.
    open_to_all(&arguments.place.results)
}

/// What a revision turned out to be.
struct Found {
    /// The ref or commit to fetch.
    wanted: String,
    /// The branch, if it is one.
    branch: String,
    is_commit: bool,
}

/// Asks the server what the revision is.
fn find(git: &Git, arguments: &Arguments) -> Result<Found> {
    let revision = &arguments.revision;
    let heads = format!("refs/heads/{revision}");
    let tags = format!("refs/tags/{revision}");
    let patterns: Vec<&str> = if revision.is_empty() { vec!["HEAD"] } else { vec![revision, &heads, &tags] };
    let mut command = vec!["ls-remote", "--symref", "--", &arguments.url];
    command.extend(patterns);
    let listed = git.run(&command)?;
    let lines: Vec<_> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let has = |name: &str| lines.iter().any(|(_, listed)| *listed == name);
    if revision.is_empty() {
        let symref = lines.iter().find_map(|(target, name)| target.strip_prefix("ref: ").filter(|_| *name == "HEAD"));
        if !has("HEAD") {
            bail!("no such revision: the repository has no default branch");
        }
        let branch = symref.unwrap_or_default().trim_start_matches("refs/heads/").to_owned();
        return Ok(Found { wanted: "HEAD".to_owned(), branch, is_commit: false });
    }
    if has(&heads) {
        return Ok(Found { wanted: heads, branch: revision.clone(), is_commit: false });
    }
    if has(&tags) {
        return Ok(Found { wanted: tags, branch: String::new(), is_commit: false });
    }
    if has(revision) {
        return Ok(Found { wanted: revision.clone(), branch: String::new(), is_commit: false });
    }
    let is_commit = (7..=64).contains(&revision.len()) && revision.chars().all(|c| c.is_ascii_hexdigit());
    if !is_commit {
        bail!("no such revision: {revision}");
    }
    Ok(Found { wanted: revision.clone(), branch: String::new(), is_commit })
}

struct Git {
    folder: PathBuf,
    /// What git is told about credentials.
    environment: Vec<(&'static str, OsString)>,
}

impl Git {
    fn new(arguments: &Arguments) -> Result<Self> {
        let mut environment = Vec::new();
        if let Some(file) = arguments.place.surroundings.trusted.as_ref().filter(|file| file.exists()) {
            environment.push(("GIT_SSL_CAINFO", file.into()));
        }
        if let Some(folder) = &arguments.credentials {
            if folder.join("ssh-privatekey").exists() {
                environment.push(("GIT_SSH_COMMAND", ssh(folder)?.into()));
            }
            environment.push(("GIT_ASKPASS", std::env::current_exe()?.into()));
            environment.push((ASKED, folder.into()));
            environment.push((SERVER, server(&arguments.url).into()));
        }
        Ok(Self { folder: arguments.place.into.clone(), environment })
    }

    /// Runs git; what it prints.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.current_dir(&self.folder)
            // A submodule or a URL must not make git run other programs.
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30", "-c", "advice.detachedHead=false"])
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let output = git.output().context("git cannot be run")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_one_server() {
        for (url, expected) in [
            ("https://git.example.com/a/b.git", "https://git.example.com"),
            ("https://user@git.example.com:8443", "https://git.example.com:8443"),
            ("http://git.example.com/a@b", "http://git.example.com"),
        ] {
            assert_eq!(server(url), expected);
        }
    }
}
