//! Stops the cluster and removes what it left: processes, mounts, addresses, routes, the bridge, nft tables, control
//! groups and files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::{
    cache::run,
    local::{
        cluster::{Cluster, NODE_ADDRESS, SECOND_ADDRESS, SERVICE_RANGE},
        daemon::{ignore_missing, processes_with, send},
        node,
    },
};

/// Every program outside pods, in the order in which they are stopped: nothing may start pods again.
pub const DAEMONS: &[&str] = &[
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "containerd",
    "registry",
    "registry-private",
    "registry-tls",
    "kube-apiserver",
    "etcd",
];

/// Where the kubelet puts the control groups of pods.
const POD_GROUP: &str = "kubepods";

/// Stops everything.
///
/// # Errors
/// A process that stays, or something that cannot be removed.
pub fn down() -> Result<()> {
    let began = Instant::now();
    let cluster = Cluster::here()?;
    if !cluster.folder().exists() {
        println!("the cluster is not up");
        return Ok(());
    }
    let lock = fs::File::create(cluster.path("lock"))?;
    lock.try_lock().map_err(|_| anyhow::anyhow!("another `cargo local` is at work"))?;
    cluster.daemons().stop("kubelet")?;
    let sockets = shim_sockets(&cluster);
    end_pods(&cluster)?;
    for name in DAEMONS {
        cluster.daemons().stop(name)?;
    }
    unmount(cluster.folder())?;
    remove_network()?;
    remove_groups()?;
    for socket in sockets {
        fs::remove_file(socket).or_else(ignore_missing)?;
    }
    remove_outside_files(cluster.folder())?;
    fs::remove_dir_all(cluster.folder()).with_context(|| format!("cannot remove {}", cluster.folder().display()))?;
    println!("the cluster is down after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// Ends what runs in pods, and the shims of containerd.
fn end_pods(cluster: &Cluster) -> Result<()> {
    let shims = || {
        let mut found = processes_with(&cluster.file("containerd/containerd.sock"));
        found.retain(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.starts_with("containerd-shim")
        });
        found
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // The shims first: they would tell of the end of each container, and containerd would clean up at length.
        let mut left = shims();
        left.extend(group_folders().iter().flat_map(|group| members(group)));
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("processes {left:?} of pods cannot be ended");
        }
        left.into_iter().for_each(|pid| send(pid, Signal::KILL));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The control groups of pods in every hierarchy, innermost first.
fn group_folders() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut groups = Vec::new();
    for top in hierarchies.chain([root.to_owned()]) {
        // Hierarchies that are mounted under two names are links.
        if !top.is_symlink() {
            collect(&top.join(POD_GROUP), &mut groups);
        }
    }
    groups
}

fn collect(folder: &Path, groups: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .for_each(|path| collect(&path, groups));
    groups.push(folder.to_owned());
}

fn members(group: &Path) -> Vec<u32> {
    let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

fn remove_groups() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let failed: Vec<_> = group_folders().into_iter().filter(|group| fs::remove_dir(group).is_err()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        // The kernel needs a moment after the last process has ended.
        if Instant::now() > deadline {
            bail!("control groups {failed:?} cannot be removed");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sockets of shims are outside of containerd's folders; each folder of a pod names its own.
fn shim_sockets(cluster: &Cluster) -> Vec<PathBuf> {
    let tasks = cluster.path("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    let folders = fs::read_dir(tasks).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let addresses = folders.filter_map(|folder| fs::read_to_string(folder.join("address")).ok());
    addresses.filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?))).collect()
}

/// Unmounts everything under a folder, innermost first.
fn unmount(folder: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut ours: Vec<_> = places.filter(|place| Path::new(place).starts_with(folder)).collect();
    ours.sort_by_key(|place| std::cmp::Reverse(place.len()));
    for place in ours {
        run(Command::new("umount").args(["--lazy", place]))?;
    }
    Ok(())
}

fn remove_network() -> Result<()> {
    // Each may be gone, or never have been there.
    let remove = |program: &str, arguments: &[&str]| {
        let mut command = if program == "nft" { node::program("nft")? } else { Command::new(program) };
        command.args(arguments).output()?;
        anyhow::Ok(())
    };
    remove("ip", &["link", "delete", node::BRIDGE])?;
    remove("ip", &["route", "delete", SERVICE_RANGE, "dev", "lo"])?;
    for address in [NODE_ADDRESS, SECOND_ADDRESS] {
        remove("ip", &["address", "delete", &format!("{address}/32"), "dev", "lo"])?;
    }
    remove("nft", &["delete", "table", "ip", "kube-proxy"])?;
    remove("nft", &["delete", "table", "ip6", "kube-proxy"])
}

/// Removes the few files that programs write at fixed places, and folders there that are empty then.
fn remove_outside_files(state: &Path) -> Result<()> {
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten() {
        let path = entry?.path();
        // Each names the network namespace that it is about, and ours are in the state folder.
        if fs::read_to_string(&path)?.contains(&*state.to_string_lossy()) {
            fs::remove_file(path)?;
        }
    }
    for entry in fs::read_dir("/var/log/containers").into_iter().flatten() {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(state)) {
            fs::remove_file(path)?;
        }
    }
    let folders = [
        "/var/lib/cni/results",
        "/var/lib/cni",
        "/var/log/containers",
        "/run/containerd/s",
        "/run/containerd/fifo",
        "/run/containerd",
        "/var/lib/kubelet/device-plugins",
        "/var/lib/kubelet",
    ];
    for folder in folders {
        // Only if nobody else has anything in it.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
