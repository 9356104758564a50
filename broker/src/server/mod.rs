//! Connections: frames to requests and back.
//!
//! Thin: it parses, counts and writes; every rule of delivery is the engine's. It must not know how
//! anything is stored. `session` is pure, `connection` its shell. Start reading at [`session`].

mod chunks;
mod connection;
pub mod listener;
mod peer;
pub mod peers;
pub mod registry;
pub mod session;
mod watch;
