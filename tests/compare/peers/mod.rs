//! The brokers that are compared, one file each.

mod siding;

#[cfg(feature = "peers")]
mod beanstalkd;
#[cfg(feature = "peers")]
mod nats;
#[cfg(feature = "peers")]
mod postgres;
#[cfg(feature = "peers")]
mod rabbitmq;
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
    rows.push(Box::new(postgres::Postgres));
    rows.push(Box::new(beanstalkd::Beanstalkd {
        name: "beanstalkd f0",
        durability: "synced before confirm",
        sync_ms: "0",
    }));
    rows.push(Box::new(beanstalkd::Beanstalkd {
        name: "beanstalkd",
        durability: "not synced: 50 ms may be lost",
        sync_ms: "50",
    }));
    rows.push(Box::new(rabbitmq::RabbitMq {
        name: "rabbitmq quorum",
        durability: "synced before confirm, acks have no confirm",
        queue_type: "quorum",
    }));
}
