//! `cargo local`: a real Kubernetes cluster on this machine, without Docker and without a registry of the internet.

pub mod brokers;
pub mod cluster;
pub mod control_plane;
pub mod credentials;
pub mod daemon;
pub mod dapr;
pub mod dns;
pub mod down;
pub mod gateway;
pub mod git;
pub mod go_modules;
pub mod images;
pub mod keda;
pub mod knative;
pub mod ko;
pub mod metrics_server;
pub mod node;
pub mod part;
pub mod registry;
pub mod shipwright;
pub mod tekton;
pub mod traefik;
pub mod up;
pub mod wasm;

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use cluster::Cluster;
use part::{Part, Workloads};

/// Every part, in the order in which they are started.
pub const PARTS: &[&dyn Part] = &[
    &registry::Registry,
    &control_plane::ControlPlane,
    &node::Node,
    &images::Images,
    &dns::Dns,
    &gateway::Contour,
    &knative::Knative,
    &git::Git,
    &go_modules::GoModules,
    &metrics_server::MetricsServer,
    &keda::Keda,
    &dapr::Dapr,
    &brokers::REDIS,
    &brokers::MOSQUITTO,
    &brokers::NATS,
    &brokers::KAFKA,
    &brokers::MINIO,
    &traefik::Traefik,
    &tekton::Tekton,
    &shipwright::Shipwright,
    &wasm::Wasm,
];

/// Parts that are there only when they are asked for.
pub const EXTRAS: &[&str] = &[
    "metrics-server",
    "keda",
    "dapr",
    "redis",
    "mosquitto",
    "kafka",
    "minio",
    "tekton",
    "shipwright",
    "traefik",
    "wasm",
];

/// A real Kubernetes cluster on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo local")]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Starts the cluster, or what of it does not work.
    Up {
        /// Parts besides the core, separated by commas, or `all`.
        #[arg(long, value_delimiter = ',')]
        with: Vec<String>,
    },
    /// Stops the cluster and removes everything of it but the cache.
    Down,
    /// Says of each part whether it works.
    Status,
    /// Prints what a part logged.
    Logs {
        /// Its name, as `status` prints it.
        part: String,
        /// Goes on printing.
        #[arg(short, long)]
        follow: bool,
    },
    /// Runs kubectl for the cluster.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Prints the path of the kubeconfig.
    Kubeconfig,
    /// Puts an image into the cluster's registry.
    Load {
        /// A file (`docker save`), a folder (OCI layout), or the name of an image of the local Docker.
        image: String,
        /// Its name in the cluster, `repository:tag`; absent = the name of the image.
        name: Option<String>,
    },
}

/// Runs the command.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Action::Up { with } => up::up(&with),
        Action::Down => down::down(),
        Action::Status => status(),
        Action::Logs { part, follow } => logs(&part, follow),
        Action::Kubectl { arguments } => return kubectl(&arguments),
        Action::Kubeconfig => Cluster::here().map(|cluster| println!("{}", cluster.kubeconfig().display())),
        Action::Load { image, name } => load(&image, name.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The part of a name.
///
/// # Errors
/// A name that no part has.
pub fn part(name: &str) -> Result<&'static dyn Part> {
    let names = || PARTS.iter().map(|part| part.name()).collect::<Vec<_>>().join(", ");
    let found = PARTS.iter().find(|part| part.name() == name);
    found.copied().with_context(|| format!("there is no part {name:?}; there are {}", names()))
}

fn status() -> Result<()> {
    let cluster = Cluster::here()?;
    let started = cluster.started();
    if started.is_empty() {
        bail!("the cluster is not up; `cargo local up` starts it");
    }
    let workloads = Workloads::read(&cluster);
    let mut broken = 0;
    let mut lines = Vec::new();
    for part in PARTS.iter().filter(|part| started.iter().any(|name| name == part.name())) {
        let problems = part::problems(*part, &cluster, &workloads);
        broken += usize::from(!problems.is_empty());
        let state = if problems.is_empty() { "works" } else { "BROKEN" };
        lines.push(format!("{:14} {state:7} {}\n", part.name(), part.about()));
        lines.extend(problems.iter().map(|problem| format!("{:22} {problem}\n", "")));
    }
    // Who reads only the first lines is no error.
    let _ = std::io::stdout().write_all(lines.concat().as_bytes());
    if broken > 0 {
        bail!("{broken} of {} parts do not work; `cargo local up` mends them", started.len());
    }
    Ok(())
}

fn logs(name: &str, follow: bool) -> Result<()> {
    let cluster = Cluster::here()?;
    let part = part(name)?;
    let mut commands = Vec::new();
    for daemon in part.daemons(&cluster)? {
        let mut tail = Command::new("tail");
        tail.args(if follow { vec!["-F", "-n", "200"] } else { vec!["-n", "+1"] })
            .arg(cluster.daemons().log(daemon.name));
        commands.push(tail);
    }
    for workload in part::workloads(&part.objects(&cluster)?) {
        let mut words = workload.splitn(3, '/');
        let (namespace, kind, name) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut logs = cluster.kubectl();
        logs.args(["-n", namespace, "logs", "--all-containers", "--prefix", &format!("{kind}/{name}")]);
        if follow {
            logs.arg("--follow");
        }
        commands.push(logs);
    }
    let children: Vec<_> = commands.iter_mut().map(Command::spawn).collect::<Result<_, _>>()?;
    for mut child in children {
        child.wait()?;
    }
    Ok(())
}

fn kubectl(arguments: &[String]) -> ExitCode {
    use std::os::unix::process::CommandExt;
    let error = match Cluster::here() {
        Ok(cluster) => cluster.kubectl().args(arguments).exec().into(),
        Err(error) => error,
    };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn load(image: &str, name: Option<&str>) -> Result<()> {
    let path = PathBuf::from(image);
    let source = if path.is_dir() {
        format!("oci:{image}")
    } else if path.is_file() {
        format!("docker-archive:{image}")
    } else {
        format!("docker-daemon:{}", if image.contains(':') { image.to_owned() } else { format!("{image}:latest") })
    };
    let name = match name {
        Some(name) => name,
        None if path.exists() => bail!("a name for the image is needed: cargo local load {image} REPOSITORY:TAG"),
        None => image,
    };
    registry::copy(&source, name)?;
    println!("{}/{name}", registry::OPEN);
    Ok(())
}
