//! Siding.

pub mod storage;
