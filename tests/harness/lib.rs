//! What the tests of Siding share: the engine's stage, transcripts, the model,
//! real brokers as processes, a simulated one.

#![expect(clippy::panic, reason = "what a test is built from fails by panicking")]

pub mod accounting;
pub mod binaries;
pub mod bodies;
pub mod broker;
pub mod crash_states;
pub mod damage_sweep;
pub mod disks;
pub mod fuzz;
pub mod golden;
pub mod journal;
pub mod killer;
pub mod life;
pub mod limit;
pub mod load;
pub mod model;
pub mod raw;
pub mod script;
pub mod seeds;
pub mod sim;
pub mod stage;
pub mod transcript;
pub mod volume;
