//! What the tests of Siding share: the wire generator, transcripts, brokers.

pub mod wire_generator;
