//! One broker, simulated: the real engine, shard and storage on one thread, over a disk in memory, with
//! clients, a network and a clock that follow from one seed.
//!
//! Real are: recovery, the committer with its core, its door and its performer, the engine, the
//! journal, snapshots, bodies. Simulated are: the disk below them ([`disk`]), the time, the other
//! threads (which work by hand, so that the world decides when), and the sessions with all that lies
//! behind them ([`net`], [`client`]).
//!
//! ```text
//!  happenings, by time ─┬─► client ──net──► inbox ─► committer ─► journal ─► disk ── power cut ─┐
//!                       ├─► its threads, a piece at a time                                     │
//!                       └─► faults ◄──────────── the same disk, as it was left ◄───────────────┘
//! ```
//!
//! Everything that clients see is checked by [`crate::accounting`]. A run ends with a phase in which
//! nothing goes wrong any more: everything must drain then.

pub mod client;
pub mod consumer;
pub mod context;
pub mod disk;
mod faults;
pub mod ledger;
pub mod mailbox;
pub mod mover;
pub mod net;
pub mod node;
pub mod operator;
mod outcome;
pub mod plan;
pub mod publisher;
mod sum;
pub mod trace;
pub mod watch;
mod world;

pub use self::outcome::{Outcome, play};
pub use self::plan::Plan;
pub use self::sum::Sum;
