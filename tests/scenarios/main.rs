//! One scenario a promise: what the engine does, in the words of the design.

mod lease;
mod receive;
mod settle;
