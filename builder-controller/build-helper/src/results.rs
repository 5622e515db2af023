//! Results of a build: a file for each.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

/// Longest result that is told; a termination message has 4 KiB for all of them.
const LONGEST: u64 = 512;

/// Tells all results as one JSON object.
///
/// # Errors
/// A folder that cannot be read, or a message that cannot be written.
pub fn write(folder: &Path, message: &Path) -> Result<()> {
    fs::write(message, serde_json::to_string(&read(folder)?)?)
        .with_context(|| format!("cannot write {}", message.display()))
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
        note(&folder, "shp-image-digest", "sha256:1\n").unwrap();
        fs::write(folder.join("huge"), vec![b'x'; 10_000]).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("link")).unwrap();
        let read = read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read, [("shp-image-digest".to_owned(), "sha256:1".to_owned())].into());
    }
}
