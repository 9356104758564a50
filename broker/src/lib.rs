//! The Siding broker, as a library.

pub mod engine;
pub mod shard;
pub mod storage;
