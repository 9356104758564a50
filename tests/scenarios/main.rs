//! One scenario a promise: what the engine does, in the words of the design.

mod ageing;
mod consume;
mod dead;
mod dedup;
mod delay;
mod ephemeral;
mod filter;
mod jobs;
mod keys;
mod lease;
mod level;
mod limits;
mod look;
mod names;
mod overtaken;
mod priority;
mod producers;
mod receive;
mod restart;
mod retention;
mod retry;
mod seek;
mod settle;
mod topics;
mod transactions;
mod ttl;
