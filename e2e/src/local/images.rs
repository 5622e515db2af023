//! Images that stand in for public ones under the same name, and those of tools.

use anyhow::Result;

use crate::{
    cache::run,
    debian,
    image::{Content, File, Image, Layer, base, copy, link},
    local::{part::Part, registry},
    parts,
};

/// Images for users: `busybox`, `debian`, `golang`, `node`, `python`; those of tools that build images; and builder
/// images with buildpacks.
#[derive(Debug)]
pub struct Images;

impl Part for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    fn about(&self) -> &'static str {
        "stand-ins for busybox, alpine, debian, bash, golang, node, python and builder images; tools that build images"
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
                Layer::Debian(&[
                    "dash",
                    "bash",
                    "coreutils",
                    "findutils",
                    "grep",
                    "git",
                    "make",
                    "base-files",
                    "ca-certificates",
                ]),
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
        let go_builder = builder("openfunction/builder-go:v2.4.0", Some(RUN_IMAGE), golang.layers.clone(), GO)?;
        let environment = [golang.environment.clone(), go_builder.environment.clone()].concat();
        let go_builder = Image { environment, ..go_builder };
        // Without npm and pip, which have nobody to ask here.
        let ko = Image {
            name: format!("ko-build/ko:{}", parts::KO.version),
            ..golang.clone().with(vec![copy("/usr/local/bin/ko", parts::KO.built()?.join("ko"))])
        };
        let node = Image {
            layers: vec![small.clone(), Layer::Debian(&["nodejs"]), base()],
            command: vec!["node".to_owned()],
            ..Image::default()
        };
        let python = Image {
            layers: vec![
                small.clone(),
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
            // What strategy openfunction names by default.
            named(&debian, "bash:5.1.4"),
            buildkit()?,
            buildah(),
            kaniko()?,
            ko,
            small_run_image(),
            builder("openfunction/gcp-builder:v1", None, vec![small.clone(), Layer::Debian(&["python3"])], PYTHON)?,
            builder("openfunction/builder-node:v2-16.15", None, vec![small, Layer::Debian(&["nodejs"])], NODE)?,
            Image { name: "openfunction/builder-go:latest".to_owned(), ..go_builder.clone() },
            Image { name: "openfunction/builder-go:v2.4.0-1.17".to_owned(), ..go_builder.clone() },
            go_builder,
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

/// buildah as Debian has it, under the name that strategy buildah asks for by default.
fn buildah() -> Image {
    Image {
        name: "containers/buildah:v1.41.4".to_owned(),
        layers: vec![
            Layer::Debian(&["buildah", "dash", "coreutils", "sed", "grep", "crun", "ca-certificates"]),
            base(),
            Layer::Files(vec![
                File("/root".to_owned(), Content::Scratch),
                File("/etc/subuid".to_owned(), Content::Text("root:100000:65536\n".to_owned())),
                File("/etc/subgid".to_owned(), Content::Text("root:100000:65536\n".to_owned())),
            ]),
        ],
        command: vec!["buildah".to_owned()],
        ..Image::default()
    }
}

/// kaniko's executor, without a shell, as its own image.
fn kaniko() -> Result<Image> {
    let executor = parts::KANIKO.built()?.join("executor");
    let image = Image::of_program_at(
        format!("kaniko-project/executor:{}", parts::KANIKO.version),
        &executor,
        "/kaniko/executor".to_owned(),
    );
    Ok(Image {
        user: "",
        environment: vec!["HOME=/root".to_owned(), "DOCKER_CONFIG=/kaniko/.docker/".to_owned()],
        ..image
    })
}

/// A builder image under the name of one of the original's: the real lifecycle, and a buildpack that puts a function into a
/// server. Without a run image, the function runs in this image, too.
fn builder(name: &str, run_image: Option<&str>, language: Vec<Layer>, pack: Buildpack) -> Result<Image> {
    let lifecycle = parts::LIFECYCLE.built()?;
    let text = |path: &str, text: &str| File(path.to_owned(), Content::Text(text.to_owned()));
    let script = |path: &str, text: &str| File(path.to_owned(), Content::Script(text.to_owned()));
    // The lifecycle's way with a slash.
    let folder = format!("/cnb/buildpacks/{}/1.0.0", pack.id.replace('/', "_"));
    let run_image = run_image.unwrap_or(name);
    let mut files = vec![
        copy("/cnb/lifecycle/lifecycle", lifecycle.join("lifecycle")),
        copy("/cnb/lifecycle/launcher", lifecycle.join("launcher")),
        text(
            "/cnb/lifecycle/lifecycle.toml",
            "[lifecycle]\nversion = \"0.20.8\"\n[apis.buildpack]\ndeprecated = []\nsupported = [\"0.10\", \"0.11\"]\n[apis.platform]\ndeprecated = []\nsupported = [\"0.12\", \"0.13\", \"0.14\"]\n",
        ),
        text("/cnb/order.toml", &format!("[[order]]\n[[order.group]]\nid = \"{}\"\nversion = \"1.0.0\"\n", pack.id)),
        text(
            &format!("{folder}/buildpack.toml"),
            &format!(
                "api = \"0.10\"\n[buildpack]\nid = \"{}\"\nversion = \"1.0.0\"\n[[targets]]\nos = \"linux\"\narch = \"amd64\"\n",
                pack.id
            ),
        ),
        script(&format!("{folder}/bin/detect"), pack.detect),
        script(&format!("{folder}/bin/build"), pack.build),
        text("/cnb/run.toml", &format!("[[images]]\nimage = \"{}/{run_image}\"\n", registry::OPEN)),
    ];
    files.extend(pack.server.map(|(file, content)| text(&format!("{folder}/{file}"), content)));
    let phases = ["analyzer", "creator", "detector", "restorer", "builder", "exporter"];
    files.extend(phases.iter().map(|phase| link(&format!("/cnb/lifecycle/{phase}"), "lifecycle")));
    Ok(Image {
        name: name.to_owned(),
        layers: [language, vec![base(), builder_user(), Layer::Files(files)]].concat(),
        environment: vec!["CNB_USER_ID=1000".to_owned(), "CNB_GROUP_ID=1000".to_owned(), "HOME=/home/cnb".to_owned()],
        user: "1000:1000",
        ..Image::default()
    })
}

/// The user of builder images.
fn builder_user() -> Layer {
    let text = |path: &str, text: &str| File(path.to_owned(), Content::Text(text.to_owned()));
    Layer::Files(vec![
        text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\ncnb:x:1000:1000:cnb:/home/cnb:/bin/sh\n"),
        text("/etc/group", "root:x:0:\ncnb:x:1000:\n"),
    ])
}

/// What programs without libraries run in.
fn small_run_image() -> Image {
    Image { name: RUN_IMAGE.to_owned(), layers: vec![base(), builder_user()], user: "1000:1000", ..Image::default() }
}

const RUN_IMAGE: &str = "openfunction/run-go:v2.4.0";

/// A buildpack.
struct Buildpack {
    id: &'static str,
    detect: &'static str,
    build: &'static str,
    /// A file beside its programs, with its content.
    server: Option<(&'static str, &'static str)>,
}

const PYTHON: Buildpack = Buildpack {
    id: "openfunction/python",
    detect: include_str!("buildpacks/python/detect"),
    build: include_str!("buildpacks/python/build"),
    server: Some(("server.py", include_str!("buildpacks/python/server.py"))),
};

const NODE: Buildpack = Buildpack {
    id: "openfunction/node",
    detect: include_str!("buildpacks/node/detect"),
    build: include_str!("buildpacks/node/build"),
    server: Some(("server.js", include_str!("buildpacks/node/server.js"))),
};

const GO: Buildpack = Buildpack {
    id: "openfunction/go",
    detect: include_str!("buildpacks/go/detect"),
    build: include_str!("buildpacks/go/build"),
    server: None,
};

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
