//! WebAssembly on the node: a shim for containerd, which knows it as runtime `wasm`.

use std::{fs, os::unix::fs::symlink};

use anyhow::Result;

use crate::{
    image::{Image, Layer, copy},
    local::{cluster::Cluster, node::SHIMS, part::Part},
    parts::{self, WASM_SHIM},
};

/// The shim, and an image for it.
#[derive(Debug)]
pub struct Wasm;

impl Part for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn about(&self) -> &'static str {
        "a runtime for WebAssembly (components of wasi:http), RuntimeClass handler wasm"
    }

    fn images(&self) -> Result<Vec<Image>> {
        parts::wasm_shim()?;
        Ok(vec![Image {
            name: "samples/wasm-echo:1".to_owned(),
            layers: vec![Layer::Files(vec![copy("/echo.wasm", parts::wasm_echo()?)])],
            entrypoint: vec!["/echo.wasm".to_owned()],
            ..Image::default()
        }])
    }

    fn before(&self, cluster: &Cluster) -> Result<()> {
        let link = cluster.path(SHIMS).join(WASM_SHIM);
        fs::create_dir_all(cluster.path(SHIMS))?;
        fs::remove_file(&link).or_else(|error| if link.is_symlink() { Err(error) } else { Ok(()) })?;
        Ok(symlink(parts::wasm_shim()?.join(WASM_SHIM), link)?)
    }
}
