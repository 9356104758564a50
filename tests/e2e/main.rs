//! Real processes and real sockets: `sidingd` killed and restarted, `siding` in pipes, bad input.

mod at_most_once;
mod back_pressure;
mod bad_input;
mod exit_codes;
mod kill;
mod leases;
mod lost;
mod memory;
mod pipes;
mod planted;
mod quickstart;
mod refused_starts;
mod restart;
mod salvage;
mod verbs;

use siding_tests::limit::limited_on;
use tokio::runtime::Builder;

/// Plays a test on several threads, but not for ever.
fn limited<T>(test: impl Future<Output = T>) -> T {
    limited_on(&mut Builder::new_multi_thread(), test)
}
