//! One scenario a promise: what the engine does, in the words of the design.

mod consume;
mod dead;
mod lease;
mod names;
mod overtaken;
mod receive;
mod retry;
mod settle;
mod topics;
mod transactions;
