//! The Siding broker, as a library.

pub mod engine;
