//! The life of the local cluster: it comes up, mends, and leaves nothing behind (tier 4).
//!
//! It ends the cluster, so it does not run while there is one.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use e2e::local::{cluster::Cluster, daemon::send, down::DAEMONS, node};
use rustix::process::Signal;

/// Five times what `up` takes with everything cached (40 s).
const UP: Duration = Duration::from_secs(200);
/// Five times what `up` takes when there is nothing to do (3 s).
const UP_AGAIN: Duration = Duration::from_secs(15);
/// Time in which `status` must see that a part ended.
const SEEN: Duration = Duration::from_secs(5);

fn local(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.args(arguments);
    command
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn works(arguments: &[&str]) {
    let output = local(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
}

/// What a cluster could leave behind, by kind.
fn machine(cluster: &Cluster) -> BTreeMap<&'static str, String> {
    let lines = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let ip = |arguments: &[&str]| {
        let mut ip = Command::new("ip");
        ip.args(arguments);
        lines(ip)
    };
    let mut nft = node::program("nft").unwrap();
    nft.args(["list", "tables"]);
    // Every program of it is told where its files are.
    let processes = e2e::local::daemon::processes_with(&cluster.folder().display().to_string());
    let mounts: Vec<_> = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        // Without numbers and propagation, which the documentation names.
        .map(|line| {
            line.split(' ')
                .enumerate()
                .filter(|(n, _)| [3, 4, 5].contains(n))
                .map(|(_, f)| f)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let existing = |paths: &[&'static str]| {
        paths.iter().copied().filter(|path| Path::new(path).exists()).collect::<Vec<_>>().join("\n")
    };
    let outside = [
        "/var/lib/cni",
        "/var/lib/kubelet",
        "/var/log/containers",
        "/var/log/pods",
        "/run/containerd",
        "/opt/containerd",
        "/usr/libexec/kubernetes",
        "/etc/cni",
        "/run/netns",
        "/run/runc",
    ];
    let groups = [
        "/sys/fs/cgroup/kubepods",
        "/sys/fs/cgroup/memory/kubepods",
        "/sys/fs/cgroup/cpu/kubepods",
        "/sys/fs/cgroup/pids/kubepods",
    ];
    BTreeMap::from([
        ("processes", format!("{processes:?}")),
        ("mounts", mounts.join("\n")),
        (
            "devices",
            ip(&["-oneline", "link", "show"])
                .lines()
                .filter_map(|l| l.split(": ").nth(1))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        ("addresses", ip(&["-brief", "address", "show"])),
        ("routes", ip(&["route", "show", "table", "all"])),
        ("tables", lines(nft)),
        ("control groups", existing(&groups)),
        ("files", existing(&outside)),
        ("state", cluster.folder().exists().to_string()),
    ])
}

/// Ends an `up` in the middle of its work.
fn up_that_is_killed(cluster: &Cluster) {
    let mut up = local(&["up"]).spawn().unwrap();
    let deadline = Instant::now() + UP;
    while cluster.daemons().pid("kubelet").is_none() {
        assert!(Instant::now() < deadline, "the kubelet is not started");
        std::thread::sleep(Duration::from_millis(20));
    }
    up.kill().unwrap();
    up.wait().unwrap();
}

fn ends_and_is_mended(cluster: &Cluster, program: &str) {
    send(cluster.daemons().pid(program).unwrap_or_else(|| panic!("{program} runs")), Signal::KILL);
    let killed = Instant::now();
    let status = local(&["status"]).output().unwrap();
    assert!(
        !status.status.success() && said(&status).contains(&format!("{program} is not running")),
        "{program}: {}",
        said(&status)
    );
    assert!(killed.elapsed() < SEEN, "{program}: {:?}", killed.elapsed());
    works(&["up"]);
    // A kubelet that starts again calls pods not ready until it has probed them, perhaps after `up` saw them ready.
    while !local(&["status"]).output().unwrap().status.success() {
        assert!(killed.elapsed() < UP, "{program}: {}", said(&local(&["status"]).output().unwrap()));
    }
}

#[test]
fn a_cluster_comes_up_mends_and_leaves_nothing_behind() {
    let cluster = Cluster::here().unwrap();
    assert!(!cluster.folder().exists(), "a cluster is up, and this test would end it: cargo local down");
    let before = machine(&cluster);

    up_that_is_killed(&cluster);
    let began = Instant::now();
    works(&["up"]);
    assert!(began.elapsed() < UP, "{:?}", began.elapsed());
    let began = Instant::now();
    works(&["up"]);
    assert!(began.elapsed() < UP_AGAIN, "{:?}", began.elapsed());
    works(&["status"]);

    DAEMONS.iter().for_each(|program| ends_and_is_mended(&cluster, program));

    works(&["down"]);
    let after = machine(&cluster);
    for (what, found) in before {
        assert_eq!(found, after[what], "{what}");
    }
    // Again, with nothing to end.
    works(&["down"]);
}
