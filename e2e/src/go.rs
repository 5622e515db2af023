//! Programs and manifests from Go modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cache::{self, run};

/// Above this the build cache is emptied after a part: the caches of all parts together would take 40 GB.
const BUILD_CACHE_LIMIT: u64 = 4 << 30;

/// Free disk that modules and compiled packages may take until they are removed.
const FREE_DISK: u64 = 10 << 30;

/// Programs that are built from one module.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// Name of the part; its module file is `e2e/parts/<name>/go.mod`, which pins everything.
    pub name: &'static str,
    /// The module that they come from.
    pub module: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Packages to build; a program is called like the last element of its package.
    pub packages: &'static [&'static str],
    /// What the linker sets, as `-X` takes it.
    pub variables: &'static [&'static str],
}

impl Programs {
    /// The folder of the built programs.
    ///
    /// # Errors
    /// A build that fails.
    pub fn built(&self) -> Result<PathBuf> {
        let source = self.source();
        let mut inputs = vec![self.version.to_owned()];
        for file in files_below(&source).with_context(|| format!("no module file of {}", self.name))? {
            inputs.push(fs::read_to_string(file)?);
        }
        inputs.extend(self.packages.iter().chain(self.variables).map(|&text| text.to_owned()));
        let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
        let mut is_new = false;
        let folder = cache::part(self.name, &inputs, |folder| {
            is_new = true;
            self.build(&source, folder)
        })?;
        if is_new {
            limit_build_cache()?;
        }
        Ok(folder)
    }

    fn source(&self) -> PathBuf {
        crate::root().join("e2e/parts").join(self.name)
    }

    fn build(&self, source: &Path, into: &Path) -> Result<()> {
        cache::check_free_disk(FREE_DISK)?;
        let variables: Vec<_> = self.variables.iter().map(|variable| format!("-X {variable}")).collect();
        let flags = format!("-s -w {}", variables.join(" "));
        run(go()?
            .current_dir(source)
            .args(["build", "-trimpath", "-ldflags", flags.trim(), "-o"])
            .arg(into)
            .args(self.packages))?;
        Ok(())
    }

    /// Objects from YAML files of the module, in the order given; a folder stands for its files, sorted by name.
    ///
    /// # Errors
    /// As [`manifests`].
    pub fn manifests(&self, paths: &[&str]) -> Result<Vec<Value>> {
        manifests(self.name, self.module, self.version, paths)
    }

    /// Objects that `kubectl kustomize` makes of a folder of the module.
    ///
    /// # Errors
    /// As [`manifests`].
    pub fn kustomized(&self, path: &str) -> Result<Vec<Value>> {
        objects(&format!("{}-kustomized", self.name), &[self.module, self.version, path], || {
            let folder = module_folder(self.module, self.version)?.join(path);
            let kubectl = crate::parts::KUBERNETES.built()?.join("kubectl");
            crate::parts::documents(&run(Command::new(kubectl).arg("kustomize").arg(folder))?)
        })
    }

    /// As [`Programs::manifests`], of a module that this one is built with, in that version.
    ///
    /// # Errors
    /// As [`manifests`], and a module that the module file does not name.
    pub fn manifests_of(&self, module: &str, paths: &[&str]) -> Result<Vec<Value>> {
        let file = fs::read_to_string(self.source().join("go.mod"))?;
        let version = file.lines().find_map(|line| line.trim().strip_prefix(module)?.split_whitespace().next());
        let version = version.with_context(|| format!("{} is not built with {module}", self.name))?;
        let name = format!("{}-{}", self.name, module.rsplit('/').next().unwrap_or(module));
        // There, since the checksum database does not know every module that the module file's sums do.
        manifests_from(&self.source(), &name, module, version, paths)
    }
}

/// Objects from YAML files of a module, in the order given; a folder stands for its files, sorted by name.
///
/// # Errors
/// A module that cannot be downloaded, or a manifest that cannot be read.
pub fn manifests(name: &str, module: &str, version: &str, paths: &[&str]) -> Result<Vec<Value>> {
    manifests_from(&cache::folder()?, name, module, version, paths)
}

fn manifests_from(place: &Path, name: &str, module: &str, version: &str, paths: &[&str]) -> Result<Vec<Value>> {
    let inputs: Vec<_> = [module, version].iter().chain(paths).copied().collect();
    objects(&format!("{name}-manifests"), &inputs, || {
        let mut objects = Vec::new();
        for path in paths {
            let path = download(place, module, version)?.join(path);
            for file in yaml_files(&path).with_context(|| format!("cannot read {}", path.display()))? {
                let documents = crate::parts::documents(&fs::read_to_string(&file)?);
                objects.extend(documents.with_context(|| file.display().to_string())?);
            }
        }
        Ok(objects)
    })
}

/// Objects that are read once and kept as JSON, which is read ten times faster than YAML.
///
/// # Errors
/// What reading them fails with.
pub fn objects(name: &str, inputs: &[&str], read: impl FnOnce() -> Result<Vec<Value>>) -> Result<Vec<Value>> {
    let folder =
        cache::part(name, inputs, |folder| Ok(fs::write(folder.join("objects.json"), serde_json::to_vec(&read()?)?)?))?;
    Ok(serde_json::from_slice(&fs::read(folder.join("objects.json"))?)?)
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    files.sort();
    Ok(files)
}

fn yaml_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files: Vec<_> =
        fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?.iter().map(fs::DirEntry::path).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    Ok(files)
}

/// Where the files of a module are; they stay there only while parts are made.
///
/// # Errors
/// A module that cannot be downloaded.
pub fn module_folder(module: &str, version: &str) -> Result<PathBuf> {
    download(&cache::folder()?, module, version)
}

/// Puts what the packages of a module are built from into a folder that is laid out as a module proxy.
///
/// # Errors
/// A module that cannot be downloaded, or does not have the sum that `go.sum` tells.
pub fn download_all(source: &Path, into: &Path) -> Result<()> {
    let modules = source.join("modules");
    // What is downloaded already is not downloaded again.
    let here = toolchain()?.join("modules/cache/download");
    let upstream = run(go()?.args(["env", "GOPROXY"]))?;
    run(go()?
        .current_dir(source)
        .env("GOMODCACHE", &modules)
        .env("GOPROXY", format!("file://{},{}", here.display(), upstream.trim()))
        .args(["list", "-mod=mod", "-deps", "./..."]))?;
    let downloaded = modules.join("cache/download");
    if downloaded.join("sumdb").exists() {
        fs::remove_dir_all(downloaded.join("sumdb"))?;
    }
    Ok(fs::rename(downloaded, into)?)
}

fn download(place: &Path, module: &str, version: &str) -> Result<PathBuf> {
    fs::create_dir_all(place)?;
    let query = format!("{module}@{version}");
    let told = run(go()?.current_dir(place).args(["mod", "download", "-json", &query]))?;
    let told: Value = serde_json::from_str(&told)?;
    Ok(told["Dir"].as_str().context("go told no folder")?.into())
}

/// Go, with caches of our own: those of the user are left alone, and ours can be emptied.
fn go() -> Result<Command> {
    let toolchain = toolchain()?;
    let mut go = Command::new("go");
    go.env("GOCACHE", toolchain.join("build"))
        .env("GOMODCACHE", toolchain.join("modules"))
        .env("GOFLAGS", "-modcacherw")
        .env("CGO_ENABLED", "0");
    Ok(go)
}

fn toolchain() -> Result<PathBuf> {
    Ok(cache::folder()?.join("go"))
}

fn limit_build_cache() -> Result<()> {
    let build_cache = toolchain()?.join("build");
    cache::when_nothing_is_made(|| {
        if build_cache.exists() && cache::size(&build_cache)? > BUILD_CACHE_LIMIT {
            fs::remove_dir_all(&build_cache)?;
        }
        Ok(())
    })
}

/// Removes downloaded modules and compiled packages: what was made of them is kept, and nothing else needs them.
///
/// # Errors
/// A folder that cannot be removed.
pub fn remove_caches() -> Result<()> {
    let toolchain = toolchain()?;
    cache::when_nothing_is_made(|| {
        if toolchain.exists() {
            fs::remove_dir_all(&toolchain)?;
        }
        Ok(())
    })
}
