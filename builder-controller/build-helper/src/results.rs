//! Results of a build: a file for each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::bundle;

/// What to read, and where to tell it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder with a file for each result.
    #[arg(long)]
    results: PathBuf,
    /// File that the kubelet reads.
    #[arg(long, default_value = "/dev/termination-log")]
    message: PathBuf,
    #[command(flatten)]
    image: bundle::Image,
}

/// The result with the digest of the image.
const DIGEST: &str = "shp-image-digest";

/// Longest result that is told; a termination message has 4 KiB for all of them.
const LONGEST: u64 = 512;

/// Tells all results as one JSON object. The digest of an image that no step tells is asked of its registry: without it,
/// nobody could tell what was built from what was there.
///
/// # Errors
/// A folder that cannot be read, or a message that cannot be written.
pub fn write(arguments: &Arguments) -> Result<()> {
    let mut results = read(&arguments.results)?;
    if results.get(DIGEST).is_none_or(String::is_empty) {
        match bundle::digest(&arguments.image) {
            Ok(digest) => drop(results.insert(DIGEST.to_owned(), digest)),
            Err(error) => {
                println!("warning: no step tells the digest of the image, and its registry neither: {error:#}")
            }
        }
    }
    fs::write(&arguments.message, serde_json::to_string(&results)?)
        .with_context(|| format!("cannot write {}", arguments.message.display()))
}

fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut results = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        // A step may have put anything there: a link could lead to a file that is none of its business.
        let is_result = entry.metadata().is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
        if let (true, Ok(name), Ok(text)) =
            (is_result, entry.file_name().into_string(), fs::read_to_string(entry.path()))
        {
            results.insert(name, text.trim().to_owned());
        }
    }
    Ok(results)
}

/// Writes one result.
///
/// # Errors
/// A full disk.
pub fn note(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), text).with_context(|| format!("cannot write result {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_small_files_and_no_links() {
        let folder = std::env::temp_dir().join(format!("build-helper-{}", std::process::id()));
        note(&folder, DIGEST, "sha256:1\n").unwrap();
        fs::write(folder.join("huge"), vec![b'x'; 10_000]).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
        let read = read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read, [(DIGEST.to_owned(), "sha256:1".to_owned())].into());
    }
}
