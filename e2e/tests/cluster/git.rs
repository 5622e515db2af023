//! The git server over each of its protocols.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    cache::run,
    local::{
        cluster::Cluster,
        git::NAMESPACE,
        registry::{PASSWORD, USER},
    },
};

/// A repository of one commit in a folder that ends with the test.
pub struct Work(PathBuf);

impl Work {
    fn new(name: &str) -> Self {
        Self::of(name, &[("greeting", name)])
    }

    /// Of the files of a folder.
    pub fn of_folder(name: &str, folder: &Path) -> Self {
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let files: Vec<_> = files.iter().map(|path| (named(path), std::fs::read_to_string(path).unwrap())).collect();
        let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
        Self::of(name, &files)
    }

    /// Changes a file, commits, and pushes to the git server; the commit.
    pub fn push(&self, repository: &str, change: impl FnOnce(&Path)) -> String {
        change(&self.0);
        self.git(&["add", "."]).unwrap();
        self.commit("next");
        self.git(&["push", "--quiet", "--force", &format!("http://{}/{repository}.git", address()), "main"]).unwrap();
        self.git(&["rev-parse", "HEAD"]).unwrap().trim().to_owned()
    }

    /// Of files and their text.
    pub fn of(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("openfunction-git-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let work = Self(folder);
        work.git(&["init", "--quiet", "--initial-branch=main"]).unwrap();
        work.git(&["add", "."]).unwrap();
        work.commit("first");
        work
    }

    /// Commits what was added, or nothing.
    pub fn commit(&self, message: &str) {
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        self.git(&[&author[..], &["commit", "--quiet", "--allow-empty", "-m", message]].concat()).unwrap();
    }

    /// Runs git there.
    pub fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        git(&self.0, arguments)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let key = Cluster::here()?.file("git/user");
    let ssh = format!("ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR");
    // Nobody is there to be asked for a password, and no proxy is between.
    let mut git = Command::new("git");
    git.current_dir(folder).env("GIT_TERMINAL_PROMPT", "0").env("GIT_SSH_COMMAND", ssh).env("no_proxy", "*");
    run(git.args(arguments))
}

/// The address of the git server.
pub fn address() -> String {
    let cluster = Cluster::here().unwrap();
    let service = cluster.get(&["service", "git", "-n", NAMESPACE], 5).expect("the cluster is up (cargo local up)");
    service["spec"]["clusterIP"].as_str().unwrap().to_owned()
}

fn pushed_and_read_back(name: &str, url: &str) {
    let work = Work::new(name);
    work.git(&["push", "--quiet", url, "main"]).unwrap();
    work.git(&["clone", "--quiet", url, "clone"]).unwrap();
    assert_eq!(std::fs::read_to_string(work.0.join("clone/greeting")).unwrap(), name);
    let head = work.git(&["rev-parse", "HEAD"]).unwrap();
    assert!(work.git(&["ls-remote", url, "main"]).unwrap().starts_with(head.trim()));
}

#[test]
fn a_repository_is_pushed_and_cloned_over_http() {
    let name = format!("http-{}", std::process::id());
    pushed_and_read_back(&name, &format!("http://{}/{name}.git", address()));
}

#[test]
fn credentials_are_wanted_where_they_should_be() {
    let name = format!("credentials-{}", std::process::id());
    let address = address();
    pushed_and_read_back(&name, &format!("http://{USER}:{PASSWORD}@{address}:8080/{name}.git"));
    let work = Work::new("refused");
    for url in [format!("http://{address}:8080/{name}.git"), format!("http://{USER}:wrong@{address}:8080/{name}.git")] {
        assert!(work.git(&["ls-remote", &url]).is_err(), "{url}");
    }
}

#[test]
fn a_repository_is_pushed_and_cloned_over_ssh() {
    let name = format!("ssh-{}", std::process::id());
    pushed_and_read_back(&name, &format!("ssh://git@{}/{name}.git", address()));
}
