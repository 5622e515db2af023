//! A git server: smart HTTP without and with credentials, and ssh. A repository comes into being by its first push.

use std::{fs, os::unix::fs::chown, process::Command};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    cache::run,
    image::{Content, File, Image, Layer},
    local::{
        cluster::Cluster,
        part::Part,
        registry::{OPEN, PASSWORD, USER},
    },
    parts,
};

/// Namespace of the helpers of the local cluster.
pub const NAMESPACE: &str = "openfunction-local";
/// User and group of the server and its files.
const GIT: u32 = 1000;

/// The git server.
#[derive(Debug)]
pub struct Git;

impl Part for Git {
    fn name(&self) -> &'static str {
        "git"
    }

    fn about(&self) -> &'static str {
        "git server: HTTP (port 80), HTTP with credentials (8080), ssh (22)"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let text = |path: &str, text: String| File(path.to_owned(), Content::Text(text));
        let files = vec![
            text("/etc/git/lighttpd.conf", include_str!("git/lighttpd.conf").to_owned()),
            text("/etc/git/sshd_config", include_str!("git/sshd_config").to_owned()),
            text("/etc/git/users", format!("{USER}:{PASSWORD}\n")),
            // Who may read may write.
            text("/etc/gitconfig", "[http]\n\treceivepack = true\n[init]\n\tdefaultBranch = main\n".to_owned()),
            text("/etc/passwd", format!("root:x:0:0::/root:/bin/sh\ngit:x:{GIT}:{GIT}::/srv/git:/bin/sh\n")),
            text("/etc/group", format!("root:x:0:\ngit:x:{GIT}:\n")),
            File("/usr/bin/serve-git".to_owned(), Content::Script(include_str!("git/serve-git").to_owned())),
            File("/tmp".to_owned(), Content::Scratch),
        ];
        Ok(vec![Image {
            name: "local/git:1".to_owned(),
            layers: vec![
                Layer::Debian(&["git", "lighttpd", "openssh-server", "dash", "coreutils"]),
                Layer::Files(files),
            ],
            user: "1000:1000",
            ..Image::default()
        }])
    }

    fn before(&self, cluster: &Cluster) -> Result<()> {
        let folder = cluster.path("git");
        fs::create_dir_all(folder.join("repositories"))?;
        chown(folder.join("repositories"), Some(GIT), Some(GIT))?;
        for key in ["user", "host"] {
            let key = folder.join(key);
            if !key.exists() {
                run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "local", "-f"]).arg(&key))?;
            }
        }
        chown(folder.join("host"), Some(GIT), Some(GIT))?;
        Ok(())
    }

    fn objects(&self, cluster: &Cluster) -> Result<Vec<Value>> {
        let objects = include_str!("git/objects.yaml").replace("IMAGE", &format!("{OPEN}/local/git:1"));
        let mut objects = parts::documents(&objects.replace("FOLDER", &cluster.file("git")))?;
        objects.insert(0, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
        Ok(objects)
    }
}
