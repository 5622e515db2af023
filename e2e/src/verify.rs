//! `cargo verify`: the checks, cheapest first, with time and result of each.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use openfunction_proto::crds;

use crate::{
    cache::run,
    local::{cluster::Cluster, down::down, up::up},
    parts, product,
};

/// The features of `e2e` that hold its tests; always all, so that it is built once.
const TIERS: &str = "e2e/api-server,e2e/brokers,e2e/cluster";

/// What a check came to.
#[derive(Debug, Default)]
struct Tally {
    passed: u32,
    failed: u32,
    /// Why it was not done.
    skipped: Option<&'static str>,
}

/// A check: its name, and what it does.
type Check = (&'static str, fn() -> Result<Tally>);

const CHECKS: &[Check] = &[
    ("generated files", generated_files),
    ("format", format),
    ("licences and dependencies", dependencies),
    ("lints", lints),
    ("docs", docs),
    ("charts", charts),
    ("tests", tests),
    ("tests on real brokers", broker_tests),
    ("tests on a real API server", api_server_tests),
    ("life of the local cluster", cluster_life),
    ("tests on the local cluster", cluster_tests),
];

/// Runs every check, also after one has failed. The last line counts them, tests one by one.
pub fn main() -> ExitCode {
    let mut total = Tally::default();
    let mut lines = Vec::new();
    for (name, check) in CHECKS {
        println!("== {name}");
        let began = Instant::now();
        let tally = check().unwrap_or_else(|error| {
            println!("{error:#}");
            Tally { failed: 1, ..Tally::default() }
        });
        total.passed += tally.passed;
        total.failed += tally.failed;
        let result = match tally.skipped {
            Some(why) => format!("skipped: {why}"),
            None if tally.failed == 0 => "ok".to_owned(),
            None => "FAILED".to_owned(),
        };
        lines.push(format!("{:6.1} s  {name}: {result}", began.elapsed().as_secs_f64()));
        println!();
    }
    lines.iter().for_each(|line| println!("{line}"));
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A command of the workspace. The user's cluster is never touched.
fn cargo(args: &[&str]) -> Command {
    let mut command = crate::cargo();
    command.args(args).env_remove("KUBECONFIG");
    command
}

fn succeed(command: &mut Command) -> Result<Tally> {
    if command.status().with_context(|| format!("{command:?} cannot be run"))?.success() {
        return Ok(Tally { passed: 1, ..Tally::default() });
    }
    bail!("{command:?} failed")
}

fn generated_files() -> Result<Tally> {
    let folder = crate::root().join("deploy/charts/openfunction/charts/crds/files");
    let mut tally = Tally::default();
    for crd in crds::all() {
        let path = folder.join(crds::file_name(&crd));
        if fs::read_to_string(&path).ok().as_deref() == Some(&crds::to_yaml(&crd)) {
            tally.passed += 1;
        } else {
            println!("{} is stale: run `cargo run --bin crdgen`", path.display());
            tally.failed += 1;
        }
    }
    Ok(tally)
}

fn format() -> Result<Tally> {
    succeed(&mut cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> Result<Tally> {
    succeed(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        TIERS,
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn docs() -> Result<Tally> {
    succeed(cargo(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The chart renders with every kind of values, and refuses what it does not know.
fn charts() -> Result<Tally> {
    let helm = parts::HELM.built()?.join("helm");
    let chart = product::chart();
    let render = |arguments: &[&str]| {
        let mut template = Command::new(&helm);
        template.arg("template").arg("openfunction").arg(&chart).args(["--namespace", "elsewhere"]).args(arguments);
        run(&mut template)
    };
    run(Command::new(&helm).arg("lint").arg("--quiet").arg(&chart))?;
    let mut tally = Tally { passed: 1, ..Tally::default() };
    for values in product::CHART_VALUES {
        let rendered = parts::documents(&render(values)?)?;
        if rendered.len() < product::CONTROLLERS.len() {
            bail!("the chart renders only {} objects with {values:?}", rendered.len());
        }
        tally.passed += 1;
    }
    for unknown in [
        "typo=1",
        "global.replicas=many",
        "function-controller.httpEngine=none",
        "serving-controller.functions.securePodDefaults=none",
        "serving-controller.keda.httpInterceptor=keda",
    ] {
        if render(&["--set", unknown]).is_ok() {
            bail!("the chart takes {unknown:?}");
        }
        tally.passed += 1;
    }
    Ok(tally)
}

/// Advisories need a database that cannot be had offline; licences, bans and sources are always checked.
fn dependencies() -> Result<Tally> {
    let mut deny = Command::new(parts::cargo_deny()?);
    succeed(deny.current_dir(crate::root()).args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))
}

fn tests() -> Result<Tally> {
    // Random stories of a Function and sequences of events: more than the quick tests play.
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    counted(tests.env("STORIES", "10000").env("SEQUENCES", "10000"))
}

fn broker_tests() -> Result<Tally> {
    parts::NATS.built()?;
    let mut tests = cargo(&["test", "--workspace", "--features", TIERS, "--test", "brokers", "--"]);
    if !everything() {
        tests.args(["--skip", "extra::"]);
    }
    counted(&mut tests)
}

fn api_server_tests() -> Result<Tally> {
    parts::control_plane()?;
    parts::foreign_crds()?;
    counted(&mut cargo(&["test", "--workspace", "--features", TIERS, "--test", "api_server"]))
}

/// Why there can be no local cluster for tests.
fn no_cluster() -> Option<&'static str> {
    (!rustix::process::getuid().is_root()).then_some("a cluster needs root")
}

fn skipped(why: &'static str) -> Result<Tally> {
    println!("{why}");
    Ok(Tally { skipped: Some(why), ..Tally::default() })
}

fn cluster_life() -> Result<Tally> {
    if let Some(why) = no_cluster() {
        return skipped(why);
    }
    if Cluster::here()?.folder().exists() {
        return skipped("the local cluster is up, and this test would end it (cargo local down)");
    }
    counted(&mut cargo(&["test", "--workspace", "--features", TIERS, "--test", "cluster_life"]))
}

/// On the cluster that is up, else on one of its own.
fn cluster_tests() -> Result<Tally> {
    if let Some(why) = no_cluster() {
        return skipped(why);
    }
    let was_up = Cluster::here()?.folder().exists();
    let all = everything();
    up(&if all { vec!["all".to_owned()] } else { Vec::new() })?;
    product::install_on(&Cluster::here()?)?;
    let mut tests = cargo(&["test", "--workspace", "--features", TIERS, "--test", "cluster", "--no-fail-fast", "--"]);
    // Each waits for pods most of the time.
    tests.arg("--test-threads=4");
    if !all {
        tests.args(["--skip", "extra::"]);
    }
    let tally = counted(&mut tests);
    if !was_up {
        down()?;
    }
    tally
}

/// Whether `--all` was said: every part of the cluster.
fn everything() -> bool {
    std::env::args().any(|argument| argument == "--all")
}

/// Runs tests, shows what they print, and adds their results up.
fn counted(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?} cannot be run"))?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            tally.passed += number_before(result, " passed");
            tally.failed += number_before(result, " failed");
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        bail!("{command:?} failed");
    }
    if tally.passed == 0 {
        bail!("{command:?} ran no test");
    }
    Ok(tally)
}

fn number_before(text: &str, word: &str) -> u32 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_the_line_of_cargo() {
        let line = "FAILED. 39 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 7.56s";
        assert_eq!((number_before(line, " passed"), number_before(line, " failed")), (39, 2));
    }
}
