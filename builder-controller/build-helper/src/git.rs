//! The source of a build from git.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::results::note;

/// What to get, and where to put it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// URL of the repository.
    #[arg(long)]
    url: String,
    /// Branch, tag or commit; empty means the default branch.
    #[arg(long, default_value = "")]
    revision: String,
    /// Folder of the source.
    #[arg(long)]
    into: PathBuf,
    /// Folder with a file for each result.
    #[arg(long)]
    results: PathBuf,
    /// Folder with the files `username` and `password`.
    #[arg(long)]
    credentials: Option<PathBuf>,
}

/// Variable that names the folder of credentials to the program that git asks.
const ASKED: &str = "BUILD_HELPER_CREDENTIALS";

/// What git asks, if git has called this program.
pub fn asked() -> Option<String> {
    std::env::var_os(ASKED)?;
    std::env::args().nth(1)
}

/// Answers git: `Username for 'https://…': ` or `Password for …`.
pub fn answer(prompt: &str) -> ExitCode {
    let file = if prompt.starts_with("Username") { "username" } else { "password" };
    let folder = PathBuf::from(std::env::var_os(ASKED).unwrap_or_default());
    match fs::read_to_string(folder.join(file)) {
        Ok(text) => {
            println!("{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Gets the source, and notes what was got.
///
/// # Errors
/// What git says.
pub fn get(arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.credentials
        && !folder.join("password").exists()
    {
        bail!("the Secret with the credentials of the git server has neither username nor password, or does not exist");
    }
    let git = Git { folder: arguments.into.clone(), credentials: arguments.credentials.clone() };
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
    let commit = git.run(&["rev-parse", "HEAD"])?;
    let author = git.run(&["log", "-1", "--format=%an"])?;
    println!("source: {} {}", arguments.url, commit.trim());
    for (name, text) in
        [("commit-sha", commit.trim()), ("commit-author", author.trim()), ("branch-name", &found.branch)]
    {
        note(&arguments.results, &format!("shp-source-default-{name}"), text)?;
    }
    // Steps run as other users.
    open_to_all(&arguments.results)
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?)
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
    credentials: Option<PathBuf>,
}

impl Git {
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
            .stdin(Stdio::null());
        if let Some(credentials) = &self.credentials {
            git.env("GIT_ASKPASS", std::env::current_exe()?).env(ASKED, credentials);
        }
        let output = git.output().context("git cannot be run")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
