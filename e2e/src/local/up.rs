//! Starts the cluster, or what of it does not work.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cache, go,
    local::{
        EXTRAS, PARTS,
        cluster::Cluster,
        credentials, node,
        part::{self, Part, Workloads},
    },
};

/// Free disk for images, logs and what pods write.
const FREE_DISK: u64 = 5 << 30;

/// Starts the core and the extras that are named, and what was started before.
///
/// # Errors
/// A tool or disk space that is missing, a part that cannot be made, or one that does not work in time.
pub fn up(with: &[String]) -> Result<()> {
    let began = Instant::now();
    check_machine()?;
    let cluster = Cluster::here()?;
    fs::create_dir_all(cluster.folder())?;
    let lock = fs::File::create(cluster.path("lock"))?;
    lock.try_lock().map_err(|_| anyhow::anyhow!("another `cargo local` is at work"))?;
    let parts = wanted(with, &cluster.started())?;
    let works = |workloads: &Workloads| parts.iter().all(|part| part::problems(*part, &cluster, workloads).is_empty());
    if works(&Workloads::read(&cluster)) {
        println!("the cluster is up ({:.1} s)", began.elapsed().as_secs_f64());
        return Ok(());
    }
    prepare(&parts, &cluster)?;
    node::add_addresses()?;
    credentials::ensure(&cluster)?;
    start(&parts, &cluster)?;
    println!("the cluster is up after {:.1} s; cargo local kubectl get pods -A", began.elapsed().as_secs_f64());
    Ok(())
}

/// The parts to have: the core, those that are asked for with what they need, and those that are there.
fn wanted(with: &[String], started: &[String]) -> Result<Vec<&'static dyn Part>> {
    let mut names: BTreeSet<&str> =
        PARTS.iter().map(|part| part.name()).filter(|name| !EXTRAS.contains(name)).collect();
    names.extend(EXTRAS.iter().filter(|&&extra| started.iter().any(|name| name == extra)));
    for name in with {
        if name == "all" {
            names.extend(EXTRAS);
        } else {
            let part = crate::local::part(name)?;
            names.insert(part.name());
            names.extend(part.needs());
        }
    }
    Ok(PARTS.iter().copied().filter(|part| names.contains(part.name())).collect())
}

fn check_machine() -> Result<()> {
    if !rustix::process::getuid().is_root() {
        bail!("a cluster needs root: addresses, mounts and control groups are set up");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let missing: Vec<_> = ["go", "python3", "cc", "ip", "apt-get", "dpkg-deb", "tar", "setsid", "ssh-keygen"]
        .into_iter()
        .filter(|program| !env::split_paths(&path).any(|folder| folder.join(program).is_file()))
        .collect();
    if !missing.is_empty() {
        bail!("this machine lacks {}", missing.join(", "));
    }
    Ok(())
}

/// Makes what is not cached.
fn prepare(parts: &[&dyn Part], cluster: &Cluster) -> Result<()> {
    cache::check_free_disk(FREE_DISK)?;
    for part in parts {
        let began = Instant::now();
        part.prepare(cluster).with_context(|| format!("cannot prepare {}", part.name()))?;
        if began.elapsed() > Duration::from_secs(1) {
            println!("{:14} prepared in {:.1} s", part.name(), began.elapsed().as_secs_f64());
        }
    }
    cache::remove_unused()?;
    go::remove_caches()
}

/// Starts every part that does not work and waits until all do at the same time: a part that is started again can
/// take others down for a moment, as a kubelet does, which calls pods not ready until it has probed them.
fn start(parts: &[&dyn Part], cluster: &Cluster) -> Result<()> {
    let mut began = BTreeMap::new();
    let workloads = Workloads::read(cluster);
    for part in parts.iter().filter(|part| !part::problems(**part, cluster, &workloads).is_empty()) {
        began.insert(part.name(), Instant::now());
        start_part(*part, cluster).with_context(|| format!("cannot start {}", part.name()))?;
    }
    let looking = Instant::now();
    let (mut finished, mut told) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let workloads = Workloads::read(cluster);
        let mut all_work = true;
        for part in parts {
            let started = began.get(part.name());
            let mut problems = part::outages(*part, cluster, &workloads);
            if problems.is_empty() {
                if started.is_some() && finished.insert(part.name()) {
                    part.after(cluster).with_context(|| format!("cannot finish {}", part.name()))?;
                }
                problems = part.problems(cluster);
            }
            let took = started.unwrap_or(&looking).elapsed();
            if problems.is_empty() {
                if started.is_some() && told.insert(part.name()) {
                    println!("{:14} works after {:.1} s", part.name(), took.as_secs_f64());
                }
            } else if took > part.patience() {
                bail!("{} does not work after {:?}: {}", part.name(), part.patience(), problems.join("; "));
            }
            all_work &= problems.is_empty();
        }
        if all_work {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn start_part(part: &dyn Part, cluster: &Cluster) -> Result<()> {
    for image in part.images()? {
        image.publish(&cluster.registry_storage())?;
    }
    part.before(cluster)?;
    for mut daemon in part.daemons(cluster)? {
        cluster.daemons().ensure(&mut daemon)?;
    }
    let objects = part.objects(cluster)?;
    // Objects whose webhook is a pod of the same part are refused until it runs.
    let deadline = Instant::now() + part.patience();
    while let Err(error) = cluster.apply(&objects) {
        if Instant::now() > deadline || !format!("{error:#}").contains("failed calling webhook") {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    part::note_started(part, cluster, &objects)
}
