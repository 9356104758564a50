//! The Siding broker, as a library.

pub mod engine;
pub mod storage;
