//! What the client promises, held against a scripted broker over loopback.

#![expect(
    clippy::panic,
    reason = "the scripted broker stops a test that leaves the script"
)]

mod broker;
mod connection;
mod consume;
#[path = "../../../tests/harness/limit.rs"]
#[expect(unreachable_pub, reason = "it is a part of the harness, too")]
mod limit;
mod publish;

use tokio::runtime::Builder;

/// Plays a test, but not for ever.
fn limited(test: impl Future<Output = ()>) {
    limit::limited_on(&mut Builder::new_current_thread(), test);
}

/// As [`limited`], with a clock that stands still and skips what nobody does anything in.
fn limited_paused(test: impl Future<Output = ()>) {
    limit::limited_on(Builder::new_current_thread().start_paused(true), test);
}
