//! Real processes and real sockets: `sidingd` killed and restarted, `siding` in pipes, bad input.

mod at_most_once;
mod bad_input;
mod exit_codes;
mod kill;
mod leases;
mod lost;
mod memory;
mod pipes;
mod planted;
mod quickstart;
mod restart;
mod salvage;
mod verbs;
