//! The Siding broker, as a library: [`Broker::start`] runs one in this process.
//!
//! ```text
//! protocol ◄──── every room may use its domain types
//!
//! main ─► broker ─► server ─► shard ─┬─► engine     pure: every rule of delivery
//!            │                       └─► storage    bytes and files
//!            └───► admin
//! ```
//!
//! Life of a message: a frame comes in (`server`), is parsed and scanned once, waits in the shard's
//! inbox; the committer asks the engine, which proposes a command; the open group is written and
//! synced as one entry; `apply` gives the message its offset, the publisher its confirm; `dispatch`
//! chooses a consumer; the body is resolved and sent. One thread does all of it.

pub mod admin;
pub mod broker;
pub mod config;
pub mod engine;
pub mod memory;
pub mod planted;
pub mod server;
pub mod shard;
pub mod storage;

pub use broker::{Broker, BrokerError, StartError};
pub use config::{AdminListen, Config, ConfigError};
pub use shard::clock::{ManualTime, TimeSource};
pub use shard::salvage;
