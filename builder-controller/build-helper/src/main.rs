//! What runs inside the pods of native builds, before and after the steps of a strategy.

mod git;
mod results;

use std::{path::PathBuf, process::ExitCode};

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
    /// Writes the results of a build to the termination message of the container.
    Results {
        /// Folder with a file for each result.
        #[arg(long)]
        results: PathBuf,
        /// File that the kubelet reads.
        #[arg(long, default_value = "/dev/termination-log")]
        message: PathBuf,
    },
}

fn main() -> ExitCode {
    // Git asks this program for user and password.
    if let Some(prompt) = git::asked() {
        return git::answer(&prompt);
    }
    let Command::Do(command) = Command::parse();
    let done = match command {
        Do::Git(arguments) => git::get(&arguments),
        Do::Results { results, message } => results::write(&results, &message),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
