//! The brokers that are compared, one file each.

mod siding;

use crate::peer::Peer;

/// Every row of the tables, Siding first: what the others are compared with.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![Box::new(siding::Siding)]
}
