//! Secrets and certificates.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bus::{Error, both};

/// A secret or certificate: the path of its file, or what it is.
#[derive(Clone, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Path of a file, which is read at each connection.
    File(PathBuf),
    /// As it is, for manifests of OpenFunction 1.x, which have passwords in plain text.
    Plain {
        /// What it is.
        value: String,
    },
}

impl fmt::Debug for Content {
    /// Never what it is: configurations go to logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Plain { .. } => f.write_str("Plain(hidden)"),
        }
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl Content {
    /// What it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn read(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(file) => {
                let read = tokio::fs::read(file).await;
                read.map_err(|error| Error::Refused(format!("{} cannot be read: {error}", file.display())))
            }
            Self::Plain { value } => Ok(value.clone().into_bytes()),
        }
    }

    /// A secret, without the end of its line.
    ///
    /// # Errors
    /// The file cannot be read, or is no text.
    pub async fn secret(&self) -> Result<String, Error> {
        let text = String::from_utf8(self.read().await?);
        let text = text.map_err(|_| Error::Refused(format!("{self:?} is no text")))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// What it is, if there is one.
///
/// # Errors
/// Its file cannot be read.
pub async fn read_some(of: Option<&Content>) -> Result<Option<Vec<u8>>, Error> {
    match of {
        Some(of) => of.read().await.map(Some),
        None => Ok(None),
    }
}

/// A certificate that shows who we are, and its key, as the fields `certificate` and `key` name them.
///
/// # Errors
/// One of them is missing, or cannot be read.
pub async fn key_pair(
    certificate: &Option<Content>,
    key: &Option<Content>,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, Error> {
    match both(("certificate", certificate), ("key", key))? {
        Some((certificate, key)) => Ok(Some((certificate.read().await?, key.read().await?))),
        None => Ok(None),
    }
}
