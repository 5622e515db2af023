//! Source in an image: a bundle, whose layers hold files and nothing that could be run.

use std::{
    fs::{self, File},
    io::{BufReader, Read, Seek, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use futures::TryStreamExt;
use oci_client::{
    Client, Reference,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer},
    manifest::{IMAGE_CONFIG_MEDIA_TYPE, OciDescriptor},
    secrets::RegistryAuth,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{Place, credentials, open_to_all, results::note, surroundings::AUTHORITIES};

/// What to get, and where to put it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    image: Image,
    #[command(flatten)]
    pub place: Place,
}

/// An image, and how its registry is reached.
#[derive(Debug, clap::Args)]
pub struct Image {
    /// Name of the image.
    #[arg(long)]
    image: String,
    /// Docker configuration with the credentials of the registry.
    #[arg(long)]
    credentials: Option<PathBuf>,
    /// Registries that are reached by plain HTTP.
    #[arg(long)]
    insecure: Vec<String>,
}

/// What to push, and where.
#[derive(Debug, clap::Args)]
pub struct Push {
    /// Folder with the source.
    folder: PathBuf,
    /// Image to make of it.
    image: String,
    /// Reaches the registry by plain HTTP.
    #[arg(long)]
    insecure: bool,
}

/// Longest bundle, packed.
const LARGEST: u64 = 1 << 30;
/// Longest source, unpacked.
const LARGEST_SOURCE: u64 = 4 << 30;

/// Gets the source, and notes which it is.
///
/// # Errors
/// What the registry says, and files that lead out of the folder.
#[tokio::main(flavor = "current_thread")]
pub async fn get(arguments: &Arguments) -> Result<()> {
    let (client, image, auth) = arguments.image.at_registry()?;
    let (manifest, digest) = client.pull_image_manifest(&image, &auth).await?;
    let claimed = manifest.layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(u64::try_from(layer.size).ok()?));
    ensure!(
        claimed.is_some_and(|size| size <= LARGEST),
        "the bundle is too large: its layers may have {LARGEST} bytes together"
    );
    fs::create_dir_all(&arguments.place.into)?;
    let mut left = LARGEST_SOURCE;
    for layer in &manifest.layers {
        unpack(download(&client, &image, layer).await?, &arguments.place.into, &mut left)?;
    }
    println!("source: {}@{digest}", arguments.image.image);
    note(&arguments.place.results, "shp-source-default-image-digest", &digest)?;
    open_to_all(&arguments.place.results)
}

/// The digest of an image, as its registry has it.
///
/// # Errors
/// What the registry says.
#[tokio::main(flavor = "current_thread")]
pub async fn digest(image: &Image) -> Result<String> {
    let (client, image, auth) = image.at_registry()?;
    Ok(client.fetch_manifest_digest(&image, &auth).await?)
}

/// Makes a bundle of a folder and pushes it; what it prints is the image with its digest.
///
/// # Errors
/// A folder that cannot be read, and what the registry says.
#[tokio::main(flavor = "current_thread")]
pub async fn push(arguments: &Push) -> Result<()> {
    let image = reference(&arguments.image)?;
    let auth = auth(credentials::of_user().as_deref(), &image)?;
    let tar = pack(&arguments.folder)?;
    let mut packed = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    packed.write_all(&tar)?;
    // So that other tools can pull it as an image.
    let config = json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&tar)))]}});
    let config = Config::new(config.to_string().into_bytes(), IMAGE_CONFIG_MEDIA_TYPE.to_owned(), None);
    let layer = ImageLayer::oci_v1_gzip(packed.finish()?, None);
    let protocol = if arguments.insecure { ClientProtocol::Http } else { ClientProtocol::Https };
    let client = client(protocol);
    client.push(&image, &[layer], config, &auth, None).await?;
    let digest = client.fetch_manifest_digest(&image, &auth).await?;
    println!("{}@{digest}", arguments.image);
    Ok(())
}

impl Image {
    fn at_registry(&self) -> Result<(Client, Reference, RegistryAuth)> {
        let image = reference(&self.image)?;
        let auth = auth(self.credentials.as_deref(), &image)?;
        Ok((client(ClientProtocol::HttpsExcept(self.insecure.clone())), image, auth))
    }
}

fn reference(image: &str) -> Result<Reference> {
    image.parse().with_context(|| format!("{image:?} is no name of an image"))
}

fn auth(file: Option<&Path>, image: &Reference) -> Result<RegistryAuth> {
    file.map_or(Ok(RegistryAuth::Anonymous), |file| credentials::read(file, image))
}

fn client(protocol: ClientProtocol) -> Client {
    // Source is the same for every platform.
    let first = |entries: &[oci_client::manifest::ImageIndexEntry]| entries.first().map(|entry| entry.digest.clone());
    let own = std::env::var(AUTHORITIES).unwrap_or_default();
    let certificate = |pem: &str| Certificate { encoding: CertificateEncoding::Pem, data: pem.as_bytes().to_vec() };
    Client::new(ClientConfig {
        protocol,
        platform_resolver: Some(Box::new(first)),
        extra_root_certificates: pems(&own).map(certificate).collect(),
        ..ClientConfig::default()
    })
}

/// The certificates of a text, one by one.
fn pems(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive("-----END CERTIFICATE-----").filter(|pem| pem.contains("-----BEGIN CERTIFICATE-----"))
}

/// A layer, in a file that nobody else sees.
async fn download(client: &Client, image: &Reference, layer: &OciDescriptor) -> Result<File> {
    let path = std::env::temp_dir().join("layer");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    fs::remove_file(path)?;
    let mut left = u64::try_from(layer.size).unwrap_or(0);
    let mut stream = client.pull_blob_stream(image, layer).await?.stream;
    while let Some(bytes) = stream.try_next().await? {
        left = left.checked_sub(bytes.len() as u64).context("a layer is larger than its manifest says")?;
        file.write_all(&bytes)?;
    }
    file.rewind()?;
    Ok(file)
}

/// Unpacks a layer over those before it.
fn unpack(mut layer: File, into: &Path, left: &mut u64) -> Result<()> {
    let mut magic = [0; 4];
    let read = layer.read(&mut magic)?;
    layer.rewind()?;
    let tar: Box<dyn Read> = match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::new(layer))),
        [0x28, 0xb5, 0x2f, 0xfd] => bail!("a layer of the bundle is packed with zstd; use gzip"),
        _ => Box::new(BufReader::new(layer)),
    };
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        *left = left.checked_sub(entry.size()).context("the bundle's files are too large")?;
        if let Some(whiteout) = whiteout(&path) {
            apply(into, &whiteout)?;
            continue;
        }
        match entry.header().entry_type() {
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                ensure!(
                    stays_inside(&path, &target),
                    "the bundle's link {} leads out of the source: {}",
                    path.display(),
                    target.display()
                );
            }
            tar::EntryType::Regular | tar::EntryType::Directory | tar::EntryType::Link => {}
            other => bail!("the bundle holds {}, which is no file, folder or link: {other:?}", path.display()),
        }
        ensure!(entry.unpack_in(into)?, "the bundle's file {} lies outside the source", path.display());
    }
    Ok(())
}

/// What a layer says of those below it (OCI image specification, whiteouts).
enum Whiteout {
    /// A path is gone.
    Removed(PathBuf),
    /// A folder has nothing of theirs.
    Emptied(PathBuf),
}

fn whiteout(path: &Path) -> Option<Whiteout> {
    let name = path.file_name()?.to_str()?.strip_prefix(".wh.")?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Some(if name == ".wh..opq" { Whiteout::Emptied(folder.to_owned()) } else { Whiteout::Removed(folder.join(name)) })
}

fn apply(root: &Path, whiteout: &Whiteout) -> Result<()> {
    let (Whiteout::Removed(path) | Whiteout::Emptied(path)) = whiteout;
    let outside = || format!("the bundle removes {}, outside the source", path.display());
    ensure!(path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)), outside());
    let place = root.join(path);
    let above = if matches!(whiteout, Whiteout::Emptied(_)) { place.as_path() } else { place.parent().unwrap_or(root) };
    // What is not there need not go.
    let Ok(real) = above.canonicalize() else { return Ok(()) };
    // A link on the way could lead elsewhere.
    ensure!(real.starts_with(root.canonicalize()?), outside());
    match whiteout {
        Whiteout::Emptied(_) => fs::read_dir(&place)?.try_for_each(|entry| remove(&entry?.path())),
        Whiteout::Removed(path) => match path.file_name() {
            Some(name) => remove(&real.join(name)),
            None => bail!(outside()),
        },
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
        Err(_) => Ok(()),
    }
}

/// Whether a link at a path, both below one folder, leads to something below it.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let from = path.parent().unwrap_or(Path::new("")).join(target);
    let mut depth = 0_usize;
    for part in from.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// A folder as a tar file that is the same whenever its files are; without `.git`.
fn pack(folder: &Path) -> Result<Vec<u8>> {
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    tar.follow_symlinks(false);
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let mut names: Vec<_> =
            fs::read_dir(folder.join(&below))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        names.sort();
        for name in names.into_iter().filter(|name| name != ".git") {
            let path = below.join(name);
            let full = folder.join(&path);
            let found = fs::symlink_metadata(&full)?;
            if found.is_symlink() {
                let target = fs::read_link(&full)?;
                ensure!(
                    stays_inside(&path, &target),
                    "the link {} leads out of the folder: {}",
                    full.display(),
                    target.display()
                );
            }
            tar.append_path_with_name(&full, &path).with_context(|| full.display().to_string())?;
            if found.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(tar.into_inner()?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> File {
        let mut tar = tar::Builder::new(Vec::new());
        add(&mut tar);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&tar.into_inner().unwrap()).unwrap();
        file.rewind().unwrap();
        file
    }

    /// Adds an entry whose path the library would refuse to write.
    fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, target: &str, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        if !target.is_empty() {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_cksum();
        tar.append(&header, text.as_bytes()).unwrap();
    }

    fn unpacked(layers: Vec<File>) -> Result<tempfile::TempDir> {
        let folder = tempfile::tempdir().unwrap();
        let source = source(&folder);
        fs::create_dir_all(&source).unwrap();
        let mut left = 1000;
        let unpacked = layers.into_iter().try_for_each(|layer| unpack(layer, &source, &mut left));
        assert_eq!(fs::read_dir(folder.path().join("workspace")).unwrap().count(), 1, "something is outside");
        unpacked.map(|()| folder)
    }

    fn source(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("workspace/source")
    }

    #[test]
    fn a_folder_becomes_the_same_bundle_every_time_and_comes_back_from_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("sub/.git")).unwrap();
        fs::write(folder.path().join("sub/a"), "1").unwrap();
        std::os::unix::fs::symlink("sub/a", folder.path().join("link")).unwrap();
        let packed = pack(folder.path()).unwrap();
        assert_eq!(packed, pack(folder.path()).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&packed).unwrap();
        let back = unpacked(vec![file]).unwrap();
        assert_eq!(fs::read_to_string(source(&back).join("link")).unwrap(), "1");
        assert!(!source(&back).join("sub/.git").exists());
        std::os::unix::fs::symlink("../x", folder.path().join("out")).unwrap();
        assert!(pack(folder.path()).unwrap_err().to_string().contains("leads out of the folder"));
    }

    #[test]
    fn nothing_of_a_bundle_gets_out_of_its_folder() {
        use tar::EntryType::{Char, Regular, Symlink};
        for (path, kind, target, said) in [
            ("../x", Regular, "", "lies outside"),
            ("link", Symlink, "/etc", "leads out of the source"),
            ("a/link", Symlink, "../../etc", "leads out of the source"),
            ("null", Char, "", "no file, folder or link"),
            (".wh...", Regular, "", "outside the source"),
            (".wh..", Regular, "", "outside the source"),
            ("a/../../.wh.b", Regular, "", "outside the source"),
        ] {
            let bad = layer(|tar| add(tar, path, kind, target, ""));
            let refused = unpacked(vec![bad]).map(drop).unwrap_err().to_string();
            assert!(refused.contains(said), "{path}: {refused}");
        }
        let through = layer(|tar| {
            add(tar, "link", Symlink, ".", "");
            add(tar, "link/a", Regular, "", "1");
        });
        assert!(unpacked(vec![through]).is_ok());
        let large = layer(|tar| add(tar, "a", Regular, "", &"x".repeat(2000)));
        assert!(unpacked(vec![large]).map(drop).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn a_folder_is_emptied_for_those_above_only() {
        let regular = tar::EntryType::Regular;
        let lower = layer(|tar| add(tar, "lower", regular, "", "1"));
        let upper = layer(|tar| {
            add(tar, ".wh..wh..opq", regular, "", "");
            add(tar, "upper", regular, "", "1");
        });
        let folder = unpacked(vec![lower, upper]).unwrap();
        assert!(source(&folder).join("upper").exists() && !source(&folder).join("lower").exists());
    }

    #[test]
    fn a_layer_removes_what_those_below_it_have() {
        let regular = tar::EntryType::Regular;
        let lower = layer(|tar| {
            add(tar, "kept", regular, "", "1");
            add(tar, "gone", regular, "", "1");
        });
        let upper = layer(|tar| add(tar, ".wh.gone", regular, "", ""));
        let folder = unpacked(vec![lower, upper]).unwrap();
        assert!(source(&folder).join("kept").exists() && !source(&folder).join("gone").exists());
    }
}
