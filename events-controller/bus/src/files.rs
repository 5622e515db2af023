//! Files with secrets and certificates.

use std::path::{Path, PathBuf};

use crate::bus::{Error, both};

/// What a file has.
///
/// # Errors
/// It cannot be read.
pub async fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let read = tokio::fs::read(file).await;
    read.map_err(|error| Error::Refused(format!("{} cannot be read: {error}", file.display())))
}

/// What a file has, if there is one.
///
/// # Errors
/// It cannot be read.
pub async fn read_some(file: Option<&PathBuf>) -> Result<Option<Vec<u8>>, Error> {
    match file {
        Some(file) => read(file).await.map(Some),
        None => Ok(None),
    }
}

/// A certificate that shows who we are, and its key, as the fields `certificate` and `key` name them.
///
/// # Errors
/// One of them is missing, or cannot be read.
pub async fn key_pair(
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, Error> {
    match both(("certificate", certificate), ("key", key))? {
        Some((certificate, key)) => Ok(Some((read(certificate).await?, read(key).await?))),
        None => Ok(None),
    }
}

/// A secret, without the end of its line.
///
/// # Errors
/// The file cannot be read, or is no text.
pub async fn secret(file: &Path) -> Result<String, Error> {
    let text = String::from_utf8(read(file).await?);
    let text = text.map_err(|_| Error::Refused(format!("{} is no text", file.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
