//! `cargo demo`: the main job on a sample, from source in git to an HTTP answer.

use std::{
    env, fs,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;

use crate::{
    cache::run,
    local::{cluster::Cluster, git, up::up},
    parts, product,
};

/// Installs OpenFunction and runs a sample: source in git, an image in a registry, pods, a route, an HTTP answer.
#[derive(Debug, Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Does not ask before a cluster is used that `KUBECONFIG` names.
    #[arg(long)]
    yes: bool,
    /// With a cluster of your own: git repository with the folder `hello-go` of docs/samples, which the cluster reaches.
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// With a cluster of your own: the image to push and to run, for example `registry.example.com/me/hello-go:demo`.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// With a cluster of your own: file with values of the chart.
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
}

/// Runs the command.
pub fn main() -> ExitCode {
    match demo(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Name of the Function, and of its folder among the samples.
const FUNCTION: &str = "hello-go";
/// Namespace of the Function.
const FUNCTIONS: &str = "default";
/// Time in which the Function must be ready.
const PATIENCE: Duration = Duration::from_secs(300);

fn demo(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let local = Cluster::here()?;
    let own = env::var_os("KUBECONFIG")
        .map(PathBuf::from)
        .filter(|path| !path.as_os_str().is_empty() && *path != local.kubeconfig());
    let mut steps = Steps::default();
    let (place, source, image) = match own {
        Some(kubeconfig) => on_own_cluster(arguments, kubeconfig, &mut steps)?,
        None => on_local_cluster(&local, &mut steps)?,
    };
    let ready = run_sample(&place, &source, image.as_deref(), &mut steps)?;
    let answers = steps.time("answers", || answers(&place, &ready))?;
    tell(&source, &ready, &answers);
    steps.print(began.elapsed());
    how_to_go_on(&place);
    Ok(())
}

/// A cluster, and the kubectl for it.
struct Place {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    is_local: bool,
}

impl Place {
    fn new(kubeconfig: PathBuf, is_local: bool) -> Result<Self> {
        Ok(Self { kubectl: parts::KUBERNETES.built()?.join("kubectl"), kubeconfig, is_local })
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.kubectl).env("KUBECONFIG", &self.kubeconfig).args(arguments))
    }

    fn get(&self, what: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&[&["get"], what, &["-o", "json"]].concat())?)?)
    }
}

/// The source of the sample: where the cluster finds it, and which revision.
struct Source {
    url: String,
    revision: String,
}

fn on_local_cluster(cluster: &Cluster, steps: &mut Steps) -> Result<(Place, Source, Option<String>)> {
    steps.time("cluster", || up(&[]))?;
    let programs = steps.time("programs", product::build)?;
    steps.time("images", || product::publish(cluster, &programs))?;
    let values = product::local_values(cluster, &programs.tag)?;
    product::prepare(cluster)?;
    steps.time("installation", || product::install(&cluster.kubeconfig(), cluster.folder(), &values))?;
    let place = Place::new(cluster.kubeconfig(), true)?;
    let source = steps.time("source", || push_samples(cluster, &place))?;
    Ok((place, source, None))
}

fn on_own_cluster(
    arguments: &Arguments,
    kubeconfig: PathBuf,
    steps: &mut Steps,
) -> Result<(Place, Source, Option<String>)> {
    let place = Place::new(kubeconfig, false)?;
    let server = place.kubectl(&[
        "config",
        "view",
        "--minify",
        "-o",
        "jsonpath={.clusters[0].name} at {.clusters[0].cluster.server}",
    ])?;
    let (Some(url), Some(image)) = (&arguments.git, &arguments.image) else {
        bail!(
            "KUBECONFIG names the cluster {server}: say where the sample's source is and where its image goes, by --git URL and --image IMAGE; without KUBECONFIG, a cluster is started on this machine"
        );
    };
    if !arguments.yes
        && !asked(&format!(
            "Install OpenFunction on the cluster {server}, and run a sample in its namespace {FUNCTIONS}?"
        ))?
    {
        bail!("nothing was done");
    }
    let values = match &arguments.values {
        Some(file) => {
            serde_saphyr::from_str(&fs::read_to_string(file).with_context(|| format!("no {}", file.display()))?)?
        }
        None => Value::Null,
    };
    let home = env::temp_dir().join("openfunction-demo");
    steps.time("installation", || product::install(&place.kubeconfig, &home, &values))?;
    Ok((place, Source { url: url.clone(), revision: "main".to_owned() }, Some(image.clone())))
}

fn asked(question: &str) -> Result<bool> {
    print!("{question} [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Pushes the samples as a repository of their own.
fn push_samples(cluster: &Cluster, place: &Place) -> Result<Source> {
    let folder = cluster.path("demo/samples");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    run(Command::new("cp").arg("-r").arg(samples().join(".")).arg(&folder))?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        // The git server is a Service of the cluster, whatever proxy this machine has.
        git.current_dir(&folder).env("no_proxy", "*").args([
            "-c",
            "user.name=demo",
            "-c",
            "user.email=demo@example.com",
        ]);
        run(git.args(arguments))
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "samples"])?;
    let address =
        place.kubectl(&["get", "service", "git", "-n", git::NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"])?;
    git(&["push", "--quiet", "--force", &format!("http://{address}/samples.git"), "main"])?;
    let revision = git(&["rev-parse", "HEAD"])?.trim().to_owned();
    let _ = fs::remove_dir_all(&folder);
    Ok(Source { url: format!("http://git.{}.svc.cluster.local/samples.git", git::NAMESPACE), revision })
}

/// Applies the Function and follows it until it is ready.
fn run_sample(place: &Place, source: &Source, image: Option<&str>, steps: &mut Steps) -> Result<Value> {
    let mut function = sample(FUNCTION)?;
    function["metadata"]["namespace"] = FUNCTIONS.into();
    function["spec"]["build"]["srcRepo"]["url"] = source.url.as_str().into();
    function["spec"]["build"]["srcRepo"]["revision"] = source.revision.as_str().into();
    if let Some(image) = image {
        function["spec"]["image"] = image.into();
    }
    let mut apply = Command::new(&place.kubectl);
    apply.env("KUBECONFIG", &place.kubeconfig).args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
    feed(apply, &function.to_string())?;
    follow(place, steps)
}

fn feed(mut command: Command, input: &str) -> Result<()> {
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("the input is piped")?.write_all(input.as_bytes())?;
    if !child.wait()?.success() {
        bail!("the Function was refused");
    }
    Ok(())
}

/// Conditions of a Function in the order in which they come true, and what each is called here.
const STAGES: &[(&str, &str)] = &[("BuildReady", "build"), ("ServingReady", "pods"), ("Ready", "route")];

fn follow(place: &Place, steps: &mut Steps) -> Result<Value> {
    let began = Instant::now();
    let mut told = String::new();
    for (type_, stage) in STAGES {
        let entered = Instant::now();
        steps.begin(stage);
        loop {
            let function = place.get(&["function.core.openfunction.io", FUNCTION, "-n", FUNCTIONS])?;
            let generation = &function["metadata"]["generation"];
            let conditions =
                function.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
            let condition = conditions.iter().find(|c| c["type"] == *type_ && c["observedGeneration"] == *generation);
            let status = condition.map_or("", |condition| condition["status"].as_str().unwrap_or_default());
            let said = condition.map_or("", |condition| condition["message"].as_str().unwrap_or_default());
            if status == "True" {
                steps.end(stage, entered.elapsed());
                if *type_ == "Ready" {
                    return Ok(function);
                }
                break;
            }
            if !said.is_empty() && said != told {
                println!("  {said}");
                told = said.to_owned();
            }
            if began.elapsed() > PATIENCE {
                bail!("the Function is not ready after {PATIENCE:?}: {said}");
            }
            if status == "False" && began.elapsed() > Duration::from_secs(60) {
                bail!("{said}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    bail!("the Function is not ready")
}

/// Where an answer came from, and what it was.
struct Answer {
    how: String,
    body: String,
}

/// Fetches the Function inside the cluster, and outside if the gateway has an address.
fn answers(place: &Place, function: &Value) -> Result<Vec<Answer>> {
    let address = |type_: &str| {
        let addresses = function.pointer("/status/addresses").and_then(Value::as_array);
        let found = addresses.into_iter().flatten().find(|address| address["type"] == type_);
        found.and_then(|address| address["value"].as_str()).map(str::to_owned)
    };
    let mut answers = Vec::new();
    if let Some(url) = address("Internal") {
        let body = in_a_pod(place, &["wget", "-qO-", &url])?;
        answers.push(Answer { how: format!("in the cluster  {url}"), body });
    }
    let gateway = place.get(&["gateway.networking.openfunction.io", "openfunction", "-n", product::NAMESPACE])?;
    let entry = gateway.pointer("/status/addresses/0/value").and_then(Value::as_str);
    if let (Some(url), Some(entry), true) = (address("External"), entry, place.is_local) {
        let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or_default();
        let body = run(Command::new("curl").args([
            "-sS",
            "--fail",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "-H",
            &format!("Host: {host}"),
            &format!("http://{entry}/{path}"),
        ]))?;
        answers.push(Answer { how: format!("from outside    {url} (at {entry})"), body });
    }
    Ok(answers)
}

/// What a command says in a pod of the cluster.
fn in_a_pod(place: &Place, command: &[&str]) -> Result<String> {
    const POD: &str = "openfunction-demo";
    let remove = || place.kubectl(&["delete", "pod", POD, "-n", FUNCTIONS, "--ignore-not-found", "--now"]);
    remove()?;
    let run = ["run", POD, "--image=busybox", "--restart=Never", "--quiet", "-n", FUNCTIONS, "--"];
    place.kubectl(&[&run[..], command].concat())?;
    let ended = "--for=jsonpath={.status.phase}=Succeeded";
    place.kubectl(&["wait", "pod", POD, "-n", FUNCTIONS, ended, "--timeout=60s"])?;
    let said = place.kubectl(&["logs", POD, "-n", FUNCTIONS])?;
    remove()?;
    Ok(said)
}

fn tell(source: &Source, function: &Value, answers: &[Answer]) {
    let text = |path: &str| function.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
    println!();
    println!("source    {} {}", source.url, text("/status/sources/0/git/commitSha"));
    println!("image     {}@{}", text("/spec/image"), text("/status/revision/imageDigest"));
    println!("revision  {}", text("/status/serving/resourceRef"));
    for answer in answers {
        println!("answer    {}: {}", answer.how, answer.body.trim());
    }
    println!();
}

fn how_to_go_on(place: &Place) {
    let kubectl = if place.is_local { "cargo local kubectl" } else { "kubectl" };
    println!();
    println!("Go on:");
    println!("  {kubectl} get fn,builders,servings        what there is");
    println!("  {kubectl} describe fn {FUNCTION}            what happened to it");
    println!("  {kubectl} explain function.spec           what can be said");
    println!("  docs/samples                                more functions");
    if place.is_local {
        println!("  cargo local down                            removes the cluster");
    }
}

/// Steps with the time that each took.
#[derive(Default)]
struct Steps(Vec<(String, Duration)>);

impl Steps {
    fn begin(&self, name: &str) {
        println!("== {name}");
    }

    fn end(&mut self, name: &str, took: Duration) {
        self.0.push((name.to_owned(), took));
    }

    fn time<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.begin(name);
        let began = Instant::now();
        let done = step().with_context(|| format!("{name} failed"))?;
        self.end(name, began.elapsed());
        Ok(done)
    }

    fn print(&self, total: Duration) {
        for (name, took) in &self.0 {
            println!("{:7.1} s  {name}", took.as_secs_f64());
        }
        println!("{:7.1} s  in all", total.as_secs_f64());
    }
}

/// Where the samples are.
pub fn samples() -> PathBuf {
    crate::root().join("docs/samples")
}

/// Reads a sample's manifest.
///
/// # Errors
/// A sample that does not exist.
pub fn sample(name: &str) -> Result<Value> {
    let file = samples().join(name).join("function.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", Path::new(name).display()))
}
