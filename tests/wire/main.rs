//! The committed wire types are what the published `.proto` files say.

mod generator;

use generator::{generate, protocol_dir};

/// To change the wire: edit the `.proto` files, then run
/// `SIDING_REGENERATE=1 cargo test --workspace --test wire`.
#[test]
fn the_committed_wire_types_match_the_proto_files() {
    let wanted = generate().expect("the .proto files compile");
    let path = protocol_dir().join("src/generated.rs");
    if std::env::var_os("SIDING_REGENERATE").is_some() {
        std::fs::write(&path, &wanted).expect("write generated.rs");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "generated.rs is stale: run SIDING_REGENERATE=1 cargo test --workspace --test wire"
    );
}
