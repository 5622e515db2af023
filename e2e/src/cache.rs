//! Things that take long to make, kept under `~/.cache/openfunction` by the hash of what made them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const DAY: Duration = Duration::from_hours(24);

/// The folder of the cache: `OPENFUNCTION_CACHE`, or `openfunction` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("OPENFUNCTION_CACHE") {
        return Ok(folder.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(cache.or_else(home).context("HOME is not set, so there is no place for the cache")?.join("openfunction"))
}

/// The folder of a part, made by `make` if it is not there. `inputs` is everything that the result depends on.
///
/// The part is made in a folder of its own and then renamed, so that an interrupted `make` leaves nothing that counts;
/// whoever asks for the same part meanwhile, in this process or another, waits for it. Older versions are removed.
pub fn part(name: &str, inputs: &[&str], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let parts = folder()?.join("parts");
    let hash = &hex(inputs.join("\0").as_bytes())[..12];
    let folder = parts.join(format!("{name}-{hash}"));
    if !is_there(&folder)? {
        fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
        let lock = fs::File::create(parts.join(format!(".{name}-{hash}.lock")))?;
        lock.lock()?;
        if !is_there(&folder)? {
            make_part(name, &parts, &folder, make)?;
        }
    }
    Ok(folder)
}

fn is_there(folder: &Path) -> Result<bool> {
    let exists = folder.exists();
    if exists {
        fs::File::open(folder)?.set_modified(SystemTime::now())?;
    }
    Ok(exists)
}

/// Locked, shared, by whoever makes a part.
fn workshop() -> Result<fs::File> {
    Ok(fs::File::create(folder()?.join("parts/.making.lock"))?)
}

/// Removes what parts are made of, unless somebody, in this process or another, makes one.
///
/// # Errors
/// Those of `remove`, and a lock that cannot be made.
pub fn when_nothing_is_made(remove: impl FnOnce() -> Result<()>) -> Result<()> {
    let busy = workshop()?;
    match busy.try_lock() {
        Ok(()) => remove(),
        Err(fs::TryLockError::WouldBlock) => Ok(()),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

fn make_part(name: &str, parts: &Path, folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    eprintln!("making {name} (once; kept in {})", folder.display());
    let base = folder.file_name().context("a part has a name")?.to_string_lossy();
    let making = parts.join(format!(".{base}.{}", std::process::id()));
    fs::create_dir_all(&making).with_context(|| format!("cannot make {}", making.display()))?;
    let busy = workshop()?;
    busy.lock_shared()?;
    make(&making).inspect_err(|_| drop(fs::remove_dir_all(&making))).with_context(|| format!("cannot make {name}"))?;
    fs::rename(&making, folder)?;
    remove_older(parts, name, folder)?;
    eprintln!("made {name} in {:.0?}", began.elapsed());
    Ok(())
}

/// Says so when the disk of the cache has less free than is needed.
///
/// # Errors
/// A disk that has less.
pub fn check_free_disk(needed: u64) -> Result<()> {
    let cache = folder()?;
    fs::create_dir_all(&cache)?;
    let told = run(Command::new("df").args(["-B1", "--output=avail"]).arg(&cache))?;
    let free: u64 = told.lines().last().and_then(|line| line.trim().parse().ok()).context("df prints a number")?;
    if free < needed {
        bail!("{} has {} GiB free and {} GiB are needed", cache.display(), free >> 30, needed >> 30);
    }
    Ok(())
}

/// Removes parts that nothing has asked for in a month, and what interrupted makers left a day ago.
///
/// # Errors
/// A folder that cannot be read or removed.
pub fn remove_unused() -> Result<()> {
    for entry in fs::read_dir(folder()?.join("parts"))? {
        let entry = entry?;
        let unfinished = entry.file_name().to_string_lossy().starts_with('.');
        let unused = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if unused > if unfinished { DAY } else { 30 * DAY } {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn remove_older(parts: &Path, name: &str, keep: &Path) -> Result<()> {
    for entry in fs::read_dir(parts)? {
        let path = entry?.path();
        let is_version = path
            .file_name()
            .and_then(|n| n.to_str()?.strip_prefix(name)?.strip_prefix('-'))
            .is_some_and(|hash| hash.len() == 12);
        if is_version && path != keep {
            fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

/// SHA-256 in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that a folder takes on the disk; 0 if it is not there.
///
/// # Errors
/// A folder that cannot be read.
pub fn size(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    let told = run(Command::new("du").args(["-s", "-B1"]).arg(folder))?;
    told.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).context("du prints a number")
}

/// The last lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Runs a command and returns what it printed on stdout.
///
/// # Errors
/// A program that is not installed, or one that fails: then with what it printed last.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be run; is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}):\n{}", output.status, last_lines(&said, 15));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
