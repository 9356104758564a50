//! One core thread.

pub mod fetch;
pub mod resolve;
