//! Images that stand in for public ones under the same name, and those of tools.

use anyhow::Result;

use crate::{
    cache::run,
    debian,
    image::{Content, File, Image, Layer, base, copy, link},
    local::part::Part,
    parts,
};

/// Images for users: `busybox`, `debian`, `golang`, `node`, `python`, and `BuildKit`.
#[derive(Debug)]
pub struct Images;

impl Part for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    fn about(&self) -> &'static str {
        "stand-ins for busybox, alpine, debian, golang, node and python; BuildKit"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let busybox = Image { layers: vec![base(), busybox()?], command: vec!["sh".to_owned()], ..Image::default() };
        // dash is /bin/sh, which every RUN of a Dockerfile wants.
        let small =
            Layer::Debian(&["dash", "bash", "coreutils", "grep", "sed", "findutils", "tar", "gzip", "base-files"]);
        let debian =
            Image { layers: vec![small.clone(), base()], command: vec!["bash".to_owned()], ..Image::default() };
        let golang = Image {
            layers: vec![
                Layer::Debian(&["dash", "bash", "coreutils", "git", "make", "base-files", "ca-certificates"]),
                base(),
                go_layer()?,
            ],
            command: vec!["bash".to_owned()],
            environment: vec![
                "PATH=/go/bin:/usr/local/go/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
                "GOPATH=/go".to_owned(),
                "GOTOOLCHAIN=local".to_owned(),
                "CGO_ENABLED=0".to_owned(),
            ],
            ..Image::default()
        };
        // Without npm and pip, which have nobody to ask here.
        let node = Image {
            layers: vec![small.clone(), Layer::Debian(&["nodejs"]), base()],
            command: vec!["node".to_owned()],
            ..Image::default()
        };
        let python = Image {
            layers: vec![
                small,
                Layer::Debian(&["python3"]),
                base(),
                // Debian has no `python`.
                Layer::Files(vec![link("/usr/local/bin/python", "/usr/bin/python3")]),
            ],
            command: vec!["python3".to_owned()],
            ..Image::default()
        };
        let named = |image: &Image, name: &str| Image { name: format!("library/{name}"), ..image.clone() };
        Ok(vec![
            named(&busybox, "busybox:latest"),
            // Its commands without its package manager, which has nobody to ask here.
            named(&busybox, "alpine:latest"),
            named(&debian, "debian:bookworm-slim"),
            named(&debian, "debian:latest"),
            named(&golang, "golang:latest"),
            named(&golang, "golang:1"),
            named(&node, "node:latest"),
            // What bookworm has.
            named(&node, "node:18"),
            named(&python, "python:latest"),
            named(&python, "python:3"),
            buildkit()?,
        ])
    }
}

/// Busybox with a link for each of its commands.
///
/// # Errors
/// A package that cannot be had.
pub fn busybox() -> Result<Layer> {
    let busybox = debian::programs("busybox", &["busybox-static"])?.join("bin/busybox");
    let told = run(std::process::Command::new(&busybox).arg("--list"))?;
    let mut files = vec![copy("/bin/busybox", busybox)];
    // It is called like one of its own commands.
    files.extend(told.lines().filter(|&name| name != "busybox").map(|name| link(&format!("/bin/{name}"), "busybox")));
    Ok(Layer::Files(files))
}

fn go_layer() -> Result<Layer> {
    let root = run(std::process::Command::new("go").args(["env", "GOROOT"]))?;
    let root = std::path::Path::new(root.trim());
    let mut files = vec![File("/go".to_owned(), Content::Scratch)];
    // Its tests and documents are half of it.
    for part in ["bin", "pkg", "src", "lib", "go.env", "VERSION"] {
        files.push(copy(&format!("/usr/local/go/{part}"), root.join(part)));
    }
    Ok(Layer::Files(files))
}

/// `BuildKit` with what it runs: for privileged build pods.
fn buildkit() -> Result<Image> {
    let programs = parts::BUILDKIT.built()?;
    Ok(Image {
        name: format!("moby/buildkit:{}", parts::BUILDKIT.version),
        layers: vec![
            Layer::Debian(&["runc", "git", "ca-certificates"]),
            base(),
            busybox()?,
            Layer::Files(vec![
                copy("/usr/bin/buildkitd", programs.join("buildkitd")),
                copy("/usr/bin/buildctl", programs.join("buildctl")),
            ]),
        ],
        entrypoint: vec!["buildkitd".to_owned()],
        ..Image::default()
    })
}
