//! One shard: an engine on one thread, with its open group, its journal and its bodies.
//!
//! It must not know sockets or frames' order on them: sessions are a trait ([`sessions::Sessions`]).
//! `core` is pure, `committer` its shell. Start reading at [`core`], then [`committer`].

pub mod checkpoint;
pub mod clock;
pub mod committer;
pub mod core;
pub mod door;
pub mod fetch;
pub mod flush;
pub mod group;
pub mod inbox;
pub mod machine;
pub mod memory;
pub mod perform;
pub mod progress;
pub mod recovery;
pub mod resolve;
pub mod salvage;
pub mod sessions;
pub mod shadow;
pub mod touches;
