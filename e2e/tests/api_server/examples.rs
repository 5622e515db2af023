//! Manifests that users have: every file of `docs/samples/compat`, as it is.

use std::{collections::BTreeSet, fs, path::PathBuf};

use e2e::parts::documents;

use crate::conversion::converting_server;

/// Every manifest.
pub fn manifests() -> Vec<PathBuf> {
    let folder = e2e::root().join("docs/samples/compat");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted_by_kubectl_with_strict_validation() {
    // v1beta1 needs the conversion.
    let (server, _client, _converter) = converting_server().await;
    let files = manifests();
    assert!(files.len() > 35, "only {} examples", files.len());
    let mut namespaces = BTreeSet::new();
    for file in &files {
        for document in documents(&fs::read_to_string(file).unwrap()).unwrap() {
            if let Some(namespace) = document.pointer("/metadata/namespace").and_then(|n| n.as_str()) {
                namespaces.insert(namespace.to_owned());
            }
        }
    }
    for namespace in namespaces {
        server.kubectl().args(["create", "namespace", &namespace]).output().unwrap();
    }
    let mut refused = Vec::new();
    for file in files {
        let output = server.kubectl().args(["apply", "--validate=strict", "-f"]).arg(&file).output().unwrap();
        if !output.status.success() {
            refused.push(format!("{}: {}", file.display(), String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
