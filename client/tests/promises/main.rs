//! What the client promises, held against a scripted broker over loopback.

#![expect(
    clippy::panic,
    reason = "the scripted broker stops a test that leaves the script"
)]

mod broker;
mod connection;
mod consume;
mod publish;
