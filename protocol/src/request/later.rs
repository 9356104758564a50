//! Requests beside the hot path: dead letters, jobs, looks, schedules.

use super::{
    About, MessageId, Request, ScheduleSettings, Sieve, address, name, page, parse_ranges,
};
use super::{limits, look_filter, parse_run, within};
use crate::refusal::Refusal;
use crate::run::RunLimits;
use crate::settings::{StartAt, at_most};
use crate::types::Grant;
use crate::wire;
use crate::wire::frame::Kind;

pub(super) fn parse(kind: Kind, run_limits: RunLimits) -> Result<Request, Refusal> {
    Ok(match kind {
        Kind::Purge(wire) => Request::Purge(sieve(&wire.address, 0, wire.filter, wire.dry_run)?),
        Kind::Redrive(wire) => Request::Redrive {
            sieve: sieve(&wire.address, wire.limit, wire.filter, wire.dry_run)?,
            rate: within("rate", Some(wire.rate), 0, 0, limits::REDRIVE_RATE_MAX)?,
        },
        Kind::StopRedrive(wire) => Request::StopRedrive {
            address: address(&wire.address)?,
        },
        Kind::DropDead(wire) => {
            Request::DropDead(sieve(&wire.address, wire.limit, wire.filter, wire.dry_run)?)
        }
        Kind::Started(wire) => parse_started(&wire)?,
        Kind::Seek(wire) => {
            if wire.to.is_none_or(|to| to.kind.is_none()) {
                return Err(Refusal::malformed("to", "missing"));
            }
            Request::Seek {
                address: address(&wire.address)?,
                to: StartAt::parse(wire.to),
            }
        }
        Kind::Pause(wire) => Request::Pause {
            address: address(&wire.address)?,
            paused: wire.paused,
        },
        Kind::Get(wire) => Request::Get(id(&wire.address, wire.offset)?),
        Kind::Await(wire) => {
            let max = limits::AWAIT_WAIT_MS_MAX;
            Request::Await {
                id: id(&wire.address, wire.offset)?,
                wait_ms: within("wait_ms", Some(wire.wait_ms), 0, 0, max)?,
            }
        }
        Kind::Cancel(wire) => Request::Cancel(id(&wire.address, wire.offset)?),
        Kind::Explain(wire) => Request::Explain {
            address: address(&wire.address)?,
            about: about(&wire)?,
        },
        Kind::CreateSchedule(wire) => Request::CreateSchedule {
            name: name(&wire.name)?,
            settings: Box::new(ScheduleSettings::parse(wire.settings)?),
            run: parse_run(wire.run, run_limits)?,
        },
        Kind::DeleteSchedule(wire) => Request::DeleteSchedule {
            name: name(&wire.name)?,
        },
        Kind::ListSchedules(wire) => Request::ListSchedules {
            limit: page(wire.limit)?,
            prefix: wire.prefix,
            after: wire.after,
        },
        Kind::RunSchedule(wire) => Request::RunSchedule {
            name: name(&wire.name)?,
        },
        _ => {
            let why = "a client must not send this frame".into();
            return Err(Refusal::Protocol(why));
        }
    })
}

fn sieve(at: &str, limit: u64, filter: String, dry_run: bool) -> Result<Sieve, Refusal> {
    Ok(Sieve {
        address: address(at)?,
        limit,
        filter: look_filter(filter)?,
        dry_run,
    })
}

fn id(at: &str, offset: u64) -> Result<MessageId, Refusal> {
    let address = address(at)?;
    Ok(MessageId { address, offset })
}

fn about(wire: &wire::Explain) -> Result<About, Refusal> {
    let dedup_id = &wire.dedup_id;
    match wire.offset {
        None if dedup_id.is_empty() => Ok(About::All),
        None => {
            at_most("dedup_id", dedup_id.len(), limits::DEDUP_ID_BYTES_MAX)?;
            Ok(About::DedupId(dedup_id.clone()))
        }
        Some(offset) if dedup_id.is_empty() => Ok(About::Message(offset)),
        Some(_) => Err(Refusal::malformed(
            "dedup_id",
            "beside an offset: one of them",
        )),
    }
}

fn parse_started(wire: &wire::Started) -> Result<Request, Refusal> {
    let grant = wire
        .grant
        .ok_or_else(|| Refusal::malformed("grant", "missing"))?;
    let wire::Grant { term, counter } = grant;
    Ok(Request::Started {
        address: address(&wire.address)?,
        grant: Grant { term, counter },
        ranges: parse_ranges(&wire.ranges)?,
    })
}
