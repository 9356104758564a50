//! Real processes and real sockets: `sidingd` killed and restarted, `siding` in pipes, bad input.

mod kill;
mod restart;
