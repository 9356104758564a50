//! `sidingd`.
fn main() {}
