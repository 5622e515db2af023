//! Certificates and kubeconfigs: one authority, and a certificate for each component.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::local::{
    cluster::{Cluster, NODE, NODE_ADDRESS},
    registry::HOST,
};

/// A certificate: name of its files, common name, organization, names that it serves.
struct Certificate(&'static str, &'static str, &'static str, &'static [&'static str]);

const CERTIFICATES: &[Certificate] = &[
    Certificate(
        "apiserver",
        "kube-apiserver",
        "",
        &[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
            "127.0.0.1",
            "10.96.0.1",
            NODE_ADDRESS,
        ],
    ),
    Certificate("kubelet", "system:node:node1", "system:nodes", &[NODE, NODE_ADDRESS]),
    Certificate("registry", HOST, "", &[HOST, NODE_ADDRESS]),
    // For the API server when it calls kubelets.
    Certificate("kubelet-client", "apiserver-kubelet-client", "system:masters", &[]),
    // For the API server when it calls aggregated APIs.
    Certificate("front-proxy", "front-proxy-client", "", &[]),
    Certificate("admin", "admin", "system:masters", &[]),
    Certificate("controller-manager", "system:kube-controller-manager", "", &[]),
    Certificate("scheduler", "system:kube-scheduler", "", &[]),
    Certificate("proxy", "system:kube-proxy", "", &[]),
];

/// Files of kubeconfigs, and whose certificate is in them.
const KUBECONFIGS: &[(&str, &str)] = &[
    ("kubeconfig", "admin"),
    ("controller-manager.kubeconfig", "controller-manager"),
    ("scheduler.kubeconfig", "scheduler"),
    ("kubelet.kubeconfig", "kubelet"),
    ("proxy.kubeconfig", "proxy"),
];

/// Writes what is not there yet.
///
/// # Errors
/// Files that cannot be written.
pub fn ensure(cluster: &Cluster) -> Result<()> {
    let folder = cluster.path("credentials");
    // Written last, so that it stands for all of them.
    if cluster.kubeconfig().exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "OpenFunction local cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(folder.join("ca.crt"), authority.pem())?;
    for certificate in CERTIFICATES {
        write_certificate(&folder, certificate, &authority)?;
    }
    let tokens = KeyPair::generate()?;
    write_secret(&folder.join("tokens.key"), &tokens.serialize_pem())?;
    fs::write(folder.join("tokens.pub"), tokens.public_key_pem())?;
    for (file, user) in KUBECONFIGS.iter().rev() {
        let pem = |extension: &str| fs::read_to_string(folder.join(format!("{user}.{extension}")));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "openfunction-local",
            "clusters": [{"name": "openfunction-local", "cluster": {"server": format!("https://{NODE_ADDRESS}:6443"), "certificate-authority-data": base64(authority.pem().as_bytes())}}],
            "users": [{"name": user, "user": {"client-certificate-data": base64(pem("crt")?.as_bytes()), "client-key-data": base64(pem("key")?.as_bytes())}}],
            "contexts": [{"name": "openfunction-local", "context": {"cluster": "openfunction-local", "user": user}}],
        });
        write_secret(&cluster.path(file), &kubeconfig.to_string())?;
    }
    Ok(())
}

fn write_certificate(
    folder: &Path,
    Certificate(file, name, organization, served): &Certificate,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<()> {
    let mut params = CertificateParams::new(served.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, *name);
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, *organization);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    fs::write(folder.join(format!("{file}.crt")), params.signed_by(&key, authority)?.pem())?;
    write_secret(&folder.join(format!("{file}.key")), &key.serialize_pem())
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::File::options();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
}

fn base64(bytes: &[u8]) -> String {
    // What k8s-openapi does for bytes, so that no further crate is needed.
    let encoded = serde_json::to_value(k8s_openapi::ByteString(bytes.to_owned())).expect("bytes are JSON");
    encoded.as_str().expect("bytes are a string").to_owned()
}
