//! The brokers that are compared, one file each.

mod siding;

#[cfg(feature = "peers")]
mod nats;
#[cfg(feature = "peers")]
mod redis;
#[cfg(feature = "peers")]
mod underway;

use crate::peer::Peer;

/// Every row of the tables, Siding first: what the others are compared with.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    let mut rows: Vec<Box<dyn Peer>> = vec![Box::new(siding::Siding)];
    others(&mut rows);
    rows
}

#[cfg(not(feature = "peers"))]
fn others(_: &mut Vec<Box<dyn Peer>>) {}

#[cfg(feature = "peers")]
fn others(rows: &mut Vec<Box<dyn Peer>>) {
    rows.push(Box::new(redis::Redis {
        name: "redis always",
        durability: "synced before confirm",
        appendfsync: "always",
    }));
    rows.push(Box::new(redis::Redis {
        name: "redis everysec",
        durability: "not synced: a second may be lost",
        appendfsync: "everysec",
    }));
    rows.push(Box::new(nats::Nats {
        name: "nats always",
        durability: "synced before confirm, acks are not",
        setting: "sync_interval: always",
    }));
    rows.push(Box::new(nats::Nats {
        name: "nats",
        durability: "not synced: two minutes may be lost",
        setting: "",
    }));
}
