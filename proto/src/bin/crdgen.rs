//! Writes the CustomResourceDefinitions as YAML files into the folder that is named, by default the chart's.

use std::{env, error::Error, fs, path::PathBuf};

use openfunction_proto::crds;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::args().nth(1).unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/charts/openfunction/charts/crds/files").into()
    });
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    for crd in crds::all() {
        fs::write(folder.join(crds::file_name(&crd)), crds::to_yaml(&crd))?;
    }
    Ok(())
}
