//! The pure heart: every rule of delivery, as a deterministic state machine.
//!
//! It must not know: IO, async, clocks, randomness, locks, logs, the order of a hash map. The same
//! log gives the same durable state, byte for byte, on any machine. Start reading at [`effect`].

pub mod command;
pub mod effect;
