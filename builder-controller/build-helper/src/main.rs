//! What runs inside the pods of native builds, before and after the steps of a strategy.

mod bundle;
mod credentials;
mod git;
mod inline;
mod results;
mod surroundings;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Gets the source of a build and reads its results.
#[derive(Debug, Parser)]
#[command(name = "build-helper", version)]
enum Command {
    #[command(flatten)]
    Do(Do),
}

#[derive(Debug, Subcommand)]
enum Do {
    /// Gets the source from a git repository.
    Git(git::Arguments),
    /// Gets the source from an image.
    Source(bundle::Arguments),
    /// Writes source that the Function holds itself.
    Inline(inline::Arguments),
    /// Makes an image of a folder with source, which spec.build.srcRepo.bundleContainer can name. Needs no cluster; takes
    /// the credentials of `docker login`.
    Bundle(bundle::Push),
    /// Writes the results of a build to the termination message of the container.
    Results(results::Arguments),
}

fn main() -> ExitCode {
    // Git asks this program for user and password.
    if let Some(prompt) = git::asked() {
        return git::answer(&prompt);
    }
    let Command::Do(command) = Command::parse();
    // Of the two that libraries bring, the one that all of our programs use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match command {
        Do::Git(arguments) => arguments.place.prepare().and_then(|()| git::get(&arguments)),
        Do::Source(arguments) => arguments.place.prepare().and_then(|()| bundle::get(&arguments)),
        Do::Inline(arguments) => arguments.place.prepare().and_then(|()| inline::write(&arguments)),
        Do::Bundle(arguments) => bundle::push(&arguments),
        Do::Results(arguments) => results::write(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where the source of a build goes.
#[derive(Debug, clap::Args)]
struct Place {
    /// Folder of the source.
    #[arg(long)]
    into: PathBuf,
    /// Folder with a file for each result.
    #[arg(long)]
    results: PathBuf,
    #[command(flatten)]
    surroundings: surroundings::Arguments,
}

impl Place {
    fn prepare(&self) -> anyhow::Result<()> {
        surroundings::prepare(&self.surroundings)
    }
}

/// Steps run as other users.
fn open_to_all(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?)
}
