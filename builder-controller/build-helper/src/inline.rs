//! Source that stands in the Function itself.

use std::{
    env, fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{Place, open_to_all};

/// What to write, and where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub place: Place,
    /// Paths of the files; the content of the first is in the variable `BUILD_HELPER_FILE_0`, and so on.
    #[arg(long)]
    file: Vec<PathBuf>,
}

/// Prefix of the variables with the content of files.
const CONTENT: &str = "BUILD_HELPER_FILE_";

/// Writes the files.
///
/// # Errors
/// A path that leads out of the folder, or a full disk.
pub fn write(arguments: &Arguments) -> Result<()> {
    for (index, path) in arguments.file.iter().enumerate() {
        let content = env::var_os(format!("{CONTENT}{index}")).context("the content of a file is missing")?;
        put(&arguments.place.into, path, content.as_encoded_bytes())?;
    }
    fs::create_dir_all(&arguments.place.results)?;
    println!("source: {} files of the Function", arguments.file.len());
    open_to_all(&arguments.place.results)
}

fn put(folder: &Path, path: &Path, content: &[u8]) -> Result<()> {
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(is_inside, "the file {} lies outside the source", path.display());
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap_or(folder))?;
    fs::write(&path, content).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_in_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), Path::new("sub/a.js"), b"1").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("sub/a.js")).unwrap(), "1");
        for path in ["../a", "/a", "sub/../../a"] {
            assert!(put(folder.path(), Path::new(path), b"").is_err(), "{path}");
        }
    }
}
