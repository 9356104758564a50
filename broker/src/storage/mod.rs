//! Bytes and files.
pub mod error;
pub mod fs;
pub mod memory_fs;
pub mod record;
