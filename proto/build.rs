//! Compiles `status.proto` with protox, so that no `protoc` is needed.
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=status.proto");
    let descriptors = protox::compile(["status.proto"], ["."])?;
    // protox has a prost of its own: encoding through its re-export avoids a version clash with ours.
    let encoded = protox::prost::Message::encode_to_vec(&descriptors);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("status_descriptor.bin"), encoded)?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
