//! The wire of Siding, without IO.
//!
//! Everything a client and a broker must agree on: the published `.proto` files and the types
//! generated from them ([`wire`]), frames ([`frame`], [`codec`]), the scan that every published run
//! passes once ([`run`]), filters ([`filter`]), domain types parsed at the edge ([`types`], [`request`], [`event`]),
//! refusals and their stable codes ([`refusal`], [`error_code`]), and every maximum ([`limits`]).
//!
//! Start reading at [`frame`], then [`request`]. The wire text is in `protocol/README.md`.

pub mod codec;
mod cursor;
pub mod error_code;
pub mod event;
pub mod filter;
pub mod frame;
pub mod limits;
pub mod refusal;
pub mod request;
pub mod run;
pub mod settings;
pub mod types;

/// The types generated from the `.proto` files: what travels. Parse them at the edge, once.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    clippy::large_enum_variant,
    reason = "generated; the .proto files document it"
)]
pub mod wire {
    include!("generated.rs");
}
