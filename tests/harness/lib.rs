//! What the tests of Siding share: the wire generator, the engine's stage, transcripts, the model.

pub mod bodies;
pub mod model;
pub mod script;
pub mod stage;
pub mod transcript;
pub mod wire_generator;
