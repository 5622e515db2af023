//! Container images without a daemon: a layer is a tar file of a folder, an image is layers and a configuration.
//!
//! Layers are cached and not compressed: on one machine nothing is won by it, and unpacking costs less. An image is put
//! into the registry's storage by hard links, in the registry's documented layout, so a hundred megabytes take no time.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    cache::{self, hex, run},
    debian,
};

/// What goes into a layer.
#[derive(Clone, Debug)]
pub enum Layer {
    /// Debian packages with everything that they depend on.
    Debian(&'static [&'static str]),
    /// Files that are put at their places.
    Files(Vec<File>),
}

/// A file of an image: its absolute path, and what is there.
#[derive(Clone, Debug)]
pub struct File(pub String, pub Content);

/// Content of a path in an image.
#[derive(Clone, Debug)]
pub enum Content {
    /// A copy of a file or folder of this machine. Its path must change when its content does, or be a file.
    Copy(PathBuf),
    /// A text file.
    Text(String),
    /// A text file that can be run.
    Script(String),
    /// A symbolic link.
    Link(&'static str),
    /// A folder that everybody may write to.
    Scratch,
}

/// An image: its name in the registry (`repository:tag`), layers, and how it is run.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Repository and tag.
    pub name: String,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
    /// Program that is run, with arguments that stay.
    pub entrypoint: Vec<String>,
    /// Arguments that a pod may replace.
    pub command: Vec<String>,
    /// User (`uid` or `uid:gid`); empty is root.
    pub user: &'static str,
    /// Environment, as `NAME=value`.
    pub environment: Vec<String>,
}

/// A file of a layer that is a copy of one of this machine.
pub fn copy(path: &str, from: impl Into<PathBuf>) -> File {
    File(path.to_owned(), Content::Copy(from.into()))
}

/// A symbolic link of a layer.
pub fn link(path: &str, target: &'static str) -> File {
    File(path.to_owned(), Content::Link(target))
}

impl Image {
    /// An image of one static program, with what such programs expect: users, certificates, `/tmp`.
    pub fn of_program(name: impl Into<String>, program: &Path) -> Self {
        let file = program.file_name().and_then(|name| name.to_str()).unwrap_or("program");
        Self::of_program_at(name, program, format!("/usr/bin/{file}"))
    }

    /// As [`Image::of_program`], with the program where others look for it.
    pub fn of_program_at(name: impl Into<String>, program: &Path, path: String) -> Self {
        Self {
            name: name.into(),
            layers: vec![base(), Layer::Files(vec![copy(&path, program)])],
            entrypoint: vec![path],
            user: "65532:65532",
            ..Self::default()
        }
    }

    /// Adds files as a layer.
    #[must_use]
    pub fn with(mut self, files: Vec<File>) -> Self {
        self.layers.push(Layer::Files(files));
        self
    }

    /// Makes the image's layers, if they are not there.
    ///
    /// # Errors
    /// Packages or files that are missing, or a full disk.
    pub fn make(&self) -> Result<()> {
        self.layers.iter().try_for_each(|layer| layer.made().map(drop)).with_context(|| self.name.clone())
    }

    /// Makes the image's layers, if they are not there, and puts it into the storage folder of a registry.
    ///
    /// # Errors
    /// Packages or files that are missing, or a full disk.
    pub fn publish(&self, storage: &Path) -> Result<()> {
        let layers: Vec<_> = self.layers.iter().map(Layer::made).collect::<Result<_>>().context(self.name.clone())?;
        let repository = Repository::new(storage, &self.name)?;
        for layer in &layers {
            repository.link_layer(layer)?;
        }
        let config = self.config(&layers).to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": repository.store_config(&config)?, "size": config.len()},
            "layers": layers.iter().map(|layer| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.size})).collect::<Vec<_>>(),
        });
        repository.store_manifest(&manifest.to_string())
    }

    fn config(&self, layers: &[Made]) -> Value {
        let mut environment = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
        environment.extend(self.environment.iter().cloned());
        let mut config = json!({"Env": environment, "Entrypoint": self.entrypoint, "Cmd": self.command});
        if !self.user.is_empty() {
            config["User"] = json!(self.user);
        }
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            // Not compressed: the digest of the content is that of the blob.
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer.digest).collect::<Vec<_>>()},
        })
    }
}

/// What static programs expect of a file system.
pub fn base() -> Layer {
    let text = |path: &str, text: &str| File(path.to_owned(), Content::Text(text.to_owned()));
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n";
    Layer::Files(vec![
        text("/etc/passwd", passwd),
        text("/etc/group", "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"),
        text("/etc/nsswitch.conf", "hosts: files dns\n"),
        copy("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"),
        File("/tmp".to_owned(), Content::Scratch),
        File("/home/nonroot".to_owned(), Content::Scratch),
    ])
}

/// A layer that was made.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    digest: String,
    size: u64,
}

impl Layer {
    fn made(&self) -> Result<Made> {
        let (name, inputs) = match self {
            Self::Debian(packages) => {
                let label: String = packages.join("+").chars().take(60).collect();
                (format!("layer-{label}"), packages.iter().map(|&package| package.to_owned()).collect())
            }
            Self::Files(files) => {
                // What is where tells layers apart, so that a newer version of one replaces the older.
                let places: Vec<_> = files.iter().map(File::place).collect();
                let label = files.first().map_or("", |file| file.0.rsplit('/').next().unwrap_or_default());
                let inputs = files.iter().map(File::version).collect::<Result<Vec<_>>>()?;
                (format!("layer-{label}-{}", &hex(places.join("\n").as_bytes())[..8]), inputs)
            }
        };
        let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
        let folder = cache::part(&name, &inputs, |folder| {
            let root = folder.join("root");
            fs::create_dir_all(&root)?;
            match self {
                Self::Debian(packages) => debian::root_file_system(packages, &root)?,
                Self::Files(files) => files.iter().try_for_each(|file| file.put(&root))?,
            }
            let tar = folder.join("layer.tar");
            run(Command::new("tar")
                .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C"])
                .arg(&root)
                .arg("-cf")
                .arg(&tar)
                .arg("."))?;
            fs::remove_dir_all(root)?;
            // The program is ten times faster than our own hash without optimisation.
            let sum = run(Command::new("sha256sum").arg(&tar))?;
            let digest = sum.split_whitespace().next().context("sha256sum prints a sum")?;
            Ok(fs::write(folder.join("digest"), format!("sha256:{digest}"))?)
        })?;
        let path = folder.join("layer.tar");
        Ok(Made { digest: fs::read_to_string(folder.join("digest"))?, size: fs::metadata(&path)?.len(), path })
    }
}

impl File {
    /// The path, and where a copy comes from, without the version of the part that it is of.
    fn place(&self) -> String {
        let Self(path, content) = self;
        let from = if let Content::Copy(from) = content { from.to_string_lossy() } else { "".into() };
        let from = from.split('/').map(|name| match name.rsplit_once('-') {
            Some((part, hash)) if hash.len() == 12 => part,
            _ => name,
        });
        format!("{path} {}", from.collect::<Vec<_>>().join("/"))
    }

    /// Differs when the content does.
    fn version(&self) -> Result<String> {
        let Self(path, content) = self;
        let version = match content {
            Content::Copy(from) => {
                let found = fs::metadata(from).with_context(|| format!("no {}", from.display()))?;
                let changed = if found.is_file() { Some((found.len(), found.modified()?)) } else { None };
                format!("{} {changed:?}", from.display())
            }
            content => format!("{content:?}"),
        };
        Ok(format!("{path} {version}"))
    }

    fn put(&self, root: &Path) -> Result<()> {
        let Self(path, content) = self;
        let place = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a path in an image has a folder")?)?;
        let write = |text: &str, mode: u32| {
            fs::write(&place, text)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(mode))
        };
        match content {
            Content::Copy(from) if from.is_dir() => {
                run(Command::new("cp").args(["-RL", "--preserve=mode", "-T"]).arg(from).arg(&place)).map(drop)
            }
            Content::Copy(from) => fs::copy(from, &place).map(drop).with_context(|| format!("no {}", from.display())),
            Content::Text(text) => Ok(write(text, 0o644)?),
            Content::Script(text) => Ok(write(text, 0o755)?),
            Content::Link(target) => Ok(symlink(target, &place)?),
            Content::Scratch => {
                fs::create_dir_all(&place)?;
                Ok(fs::set_permissions(&place, fs::Permissions::from_mode(0o1777))?)
            }
        }
    }
}

/// A repository in the storage of a registry (<https://distribution.github.io/distribution/spec/>, storage driver layout).
struct Repository {
    root: PathBuf,
    folder: PathBuf,
    tag: String,
}

impl Repository {
    fn new(storage: &Path, name: &str) -> Result<Self> {
        let (repository, tag) = name.rsplit_once(':').with_context(|| format!("image {name} has no tag"))?;
        let root = storage.join("docker/registry/v2");
        Ok(Self { folder: root.join("repositories").join(repository), root, tag: tag.to_owned() })
    }

    fn blob(&self, digest: &str) -> Result<PathBuf> {
        let hex = digest.strip_prefix("sha256:").context("digests are sha256")?;
        let folder = self.root.join("blobs/sha256").join(&hex[..2]).join(hex);
        fs::create_dir_all(&folder)?;
        Ok(folder.join("data"))
    }

    fn link_layer(&self, layer: &Made) -> Result<()> {
        let blob = self.blob(&layer.digest)?;
        if !blob.exists() && fs::hard_link(&layer.path, &blob).is_err() {
            // The cache is on another file system.
            fs::copy(&layer.path, &blob)?;
        }
        write_link(&self.folder.join("_layers"), &layer.digest)
    }

    fn store_config(&self, config: &str) -> Result<String> {
        let digest = format!("sha256:{}", hex(config.as_bytes()));
        fs::write(self.blob(&digest)?, config)?;
        write_link(&self.folder.join("_layers"), &digest)?;
        Ok(digest)
    }

    fn store_manifest(&self, manifest: &str) -> Result<()> {
        let digest = format!("sha256:{}", hex(manifest.as_bytes()));
        fs::write(self.blob(&digest)?, manifest)?;
        let manifests = self.folder.join("_manifests");
        write_link(&manifests.join("revisions"), &digest)?;
        let tag = manifests.join("tags").join(&self.tag);
        write_link(&tag.join("index"), &digest)?;
        fs::create_dir_all(tag.join("current"))?;
        Ok(fs::write(tag.join("current/link"), digest)?)
    }
}

fn write_link(folder: &Path, digest: &str) -> Result<()> {
    let folder = folder.join(digest.replace(':', "/"));
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join("link"), digest)?)
}
