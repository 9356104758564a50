//! Siding.
