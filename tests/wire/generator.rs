//! Generates `protocol/src/generated.rs` from the published `.proto` files.
//!
//! A field of type `Run` is changed to `bytes` in the descriptors before prost sees them: the wire
//! is the same, and the run travels uncopied and undecoded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const RUN: &str = ".siding.v1.Run";

/// The `protocol/` folder of the workspace.
pub(crate) fn protocol_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol")
}

/// The text that `protocol/src/generated.rs` must hold.
///
/// # Errors
/// A `.proto` file that does not compile, or a temporary directory that cannot be written.
pub(crate) fn generate() -> Result<String> {
    let root = protocol_dir().join("proto");
    let mut descriptors = compile(&root)?;
    for file in &mut descriptors.file {
        file.message_type.iter_mut().for_each(carry_runs_as_bytes);
    }
    let out = tempfile::tempdir().context("make a temporary directory")?;
    prost_build::Config::new()
        .bytes(["."])
        .boxed(".siding.v1.Frame.kind.create_queue")
        .boxed(".siding.v1.Frame.kind.create_subscription")
        .boxed(".siding.v1.Frame.kind.create_schedule")
        .boxed(".siding.v1.Frame.kind.job_info")
        .boxed(".siding.v1.NameInfo.settings.queue")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .context("generate the wire types")?;
    let text = std::fs::read_to_string(out.path().join("siding.v1.rs"))?;
    Ok(format!(
        "// Generated from proto/siding/v1 by the test `wire`; do not edit.\n{text}"
    ))
}

fn compile(root: &Path) -> Result<FileDescriptorSet> {
    let files = ["frame", "message", "request", "event"].map(|f| format!("siding/v1/{f}.proto"));
    let compiled = protox::compile(files, [root]).context("compile the .proto files")?;
    // Through bytes, so that the two crates need not share a version of prost-types.
    Ok(FileDescriptorSet::decode(
        compiled.encode_to_vec().as_slice(),
    )?)
}

fn carry_runs_as_bytes(message: &mut DescriptorProto) {
    for field in &mut message.field {
        if field.type_name.as_deref() == Some(RUN) {
            field.type_name = None;
            field.set_type(Type::Bytes);
        }
    }
    message.nested_type.iter_mut().for_each(carry_runs_as_bytes);
}
