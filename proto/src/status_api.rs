//! The gRPC status API of `status.proto`, package `openfunction.status.v1`.

tonic::include_proto!("openfunction.status.v1");

/// Encoded `FileDescriptorSet` of `status.proto`, for gRPC reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/status_descriptor.bin"));
