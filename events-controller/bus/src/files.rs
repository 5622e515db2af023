//! Files with secrets and certificates.

use std::path::Path;

use crate::bus::Error;

/// What a file has.
///
/// # Errors
/// It cannot be read.
pub async fn read(file: &Path) -> Result<Vec<u8>, Error> {
    let read = tokio::fs::read(file).await;
    read.map_err(|error| Error::Refused(format!("{} cannot be read: {error}", file.display())))
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
