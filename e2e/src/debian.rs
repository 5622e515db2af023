//! Programs and root file systems from Debian packages, unpacked and never installed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::cache::{self, run};

/// Programs for this machine, with the libraries that it lacks; the folder that holds them.
///
/// # Errors
/// A package that cannot be downloaded or unpacked.
pub fn programs(name: &str, packages: &[&str]) -> Result<PathBuf> {
    cache::part(name, packages, |folder| {
        for package in download(packages, None, folder)? {
            unpack(&package, folder)?;
        }
        Ok(())
    })
}

/// The root file system of an image: packages with everything that they depend on.
///
/// # Errors
/// As [`programs`].
pub fn root_file_system(packages: &[&str], root: &Path) -> Result<()> {
    // A machine without any package: nothing counts as there.
    let nothing = root.join(".status");
    fs::write(&nothing, "")?;
    let packages = download(packages, Some(&nothing), root)?;
    fs::remove_file(nothing)?;
    packages.iter().try_for_each(|package| unpack(package, root))?;
    merge_usr(root)?;
    for unread in ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian"] {
        fs::remove_dir_all(root.join(unread)).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}

/// Packages and what they depend on, less what `installed` (dpkg's status file; absent = this machine's) lists.
fn download(packages: &[&str], installed: Option<&Path>, into: &Path) -> Result<Vec<PathBuf>> {
    let archives = into.join(".packages");
    fs::create_dir_all(&archives)?;
    let option = |name: &str, path: &Path| format!("-o{name}={}", path.display());
    let fetch = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-y", "--no-install-recommends", "--download-only", "-oDebug::NoLocking=1"])
            .args(["-oAPT::Sandbox::User=root", &option("Dir::Cache::archives", &archives)]);
        if let Some(status) = installed {
            apt.arg(option("Dir::State::status", status));
        }
        run(apt.arg("install").args(packages))
    };
    if fetch().is_err() {
        // A fresh machine has no package lists, and old lists name packages that are gone.
        run(Command::new("apt-get").args(["update", "-qq"])).context("a Debian-like machine is needed")?;
        fetch()?;
    }
    let mut files: Vec<_> = fs::read_dir(&archives)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "deb"));
    files.sort();
    Ok(files)
}

fn unpack(package: &Path, into: &Path) -> Result<()> {
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(into))?;
    fs::remove_file(package)?;
    // The last one leaves the folder of downloads empty.
    let folder = package.parent().context("a file has a folder")?;
    if fs::read_dir(folder)?.all(|entry| entry.is_ok_and(|e| e.path().extension().is_none_or(|x| x != "deb"))) {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Moves `/bin`, `/lib` … into `/usr`, as an installed Debian has them: half of the packages name one, half the other.
fn merge_usr(root: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib64"] {
        let (old, new) = (root.join(name), root.join("usr").join(name));
        fs::create_dir_all(&new)?;
        if old.is_dir() {
            run(Command::new("cp").args(["-a", "-T"]).arg(&old).arg(&new))?;
            fs::remove_dir_all(&old)?;
        }
        symlink(Path::new("usr").join(name), &old)?;
    }
    Ok(())
}
