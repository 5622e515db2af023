//! A Go module proxy with what programs of OpenFunction's functions framework are built from.

use std::{fs, path::PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::{
    cache, go,
    image::{Image, base, copy},
    local::{cluster::Cluster, images, part::Part, registry::OPEN},
    parts, root,
};

/// Where it answers in pods, for `GOPROXY`.
pub const PROXY: &str = "http://go-modules.openfunction-local.svc.cluster.local";

/// The module proxy.
#[derive(Debug)]
pub struct GoModules;

impl Part for GoModules {
    fn name(&self) -> &'static str {
        "go-modules"
    }

    fn about(&self) -> &'static str {
        "Go module proxy with the functions framework (port 80)"
    }

    fn images(&self) -> Result<Vec<Image>> {
        let image = Image {
            name: "local/go-modules:1".to_owned(),
            layers: vec![base(), images::busybox()?],
            user: "65532:65532",
            ..Image::default()
        };
        Ok(vec![image.with(vec![copy("/srv/modules", modules()?)])])
    }

    fn objects(&self, _cluster: &Cluster) -> Result<Vec<Value>> {
        parts::documents(
            &include_str!("go_modules/objects.yaml").replace("IMAGE", &format!("{OPEN}/local/go-modules:1")),
        )
    }
}

/// The folder that is served: `GOMODCACHE/cache/download` is laid out as a module proxy (<https://go.dev/ref/mod#module-cache>).
fn modules() -> Result<PathBuf> {
    // A module that names nothing but the framework: more is looked up for it than for one that is tidy.
    let program = include_str!("go_modules/main.go");
    let module = format!(
        "module modules\n\ngo 1.24\n\nrequire {} {}\n",
        parts::FUNCTIONS_FRAMEWORK.module,
        parts::FUNCTIONS_FRAMEWORK.version
    );
    let sums = fs::read_to_string(root().join("docs/samples/function-go/go.sum"))?;
    let folder = cache::part("go-modules", &[program, &module, &sums], |folder| {
        let source = folder.join("source");
        fs::create_dir(&source)?;
        fs::write(source.join("main.go"), program)?;
        fs::write(source.join("go.mod"), &module)?;
        fs::write(source.join("go.sum"), &sums)?;
        go::download_all(&source, &folder.join("proxy"))?;
        Ok(fs::remove_dir_all(source)?)
    })?;
    Ok(folder.join("proxy"))
}
