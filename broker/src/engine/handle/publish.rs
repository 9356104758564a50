//! Publishes and transactions: what is checked before their bytes are logged.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use siding_protocol::event::{Answer, OperationDone};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{self, ProducerTicket};
use siding_protocol::run::{ScannedRun, messages};
use siding_protocol::types::{Address, Level, Name, OffsetRange, Timestamp};

use super::Next;
use crate::engine::Engine;
use crate::engine::command::{Command, Named, Operation, Piece, Publish, Transaction};
use crate::engine::effect::{Effect, Effects, Origin};
use crate::engine::judge::Asked;
use crate::engine::log::{Kind, Log};
use crate::engine::producer::{Remembered, Seen};
use crate::engine::runs::RangeSet;
use crate::engine::special::specials;

impl Engine {
    pub(super) fn propose_publish(
        &mut self,
        now: Timestamp,
        from: Origin,
        (name, ticket): (&Name, ProducerTicket),
        (level, mut run): (Option<Level>, ScannedRun),
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let log = self.log_named(name)?;
        let level = level.unwrap_or(log.level());
        let is_filtered = matches!(log.kind, Kind::Topic(_));
        let mut publish = publish_command(now, log, ticket, &mut run)?;
        // A full queue or disk refuses before the bytes are logged, unless this is the retry of a
        // request that was stored or is about to be.
        if let Err(mut refusal) = self
            .state
            .judge_publish(&publish, now, &mut Asked::default())
            && self.is_new(ticket)
        {
            self.meters.hint(now, &mut refusal, log.id);
            return Err(refusal);
        }
        self.refuse_in_a_shortage(ticket)?;
        if is_filtered {
            publish.verdicts = self.verdicts(publish.log, &run.bytes);
        }
        let asks_much = !publish.specials.is_empty()
            || !publish.dedup_ids.is_empty()
            || !publish.verdicts.is_empty();
        let mut command = Command::Publish(publish);
        if asks_much {
            self.refuse_oversized(&mut command, run.bytes.len())?;
        }
        self.volatile.in_flight.push_back(ticket);
        effects.push(Effect::Propose {
            command,
            runs: vec![run.bytes],
            from: Some(from),
            urgency: level.into(),
        });
        Ok(())
    }

    fn is_new(&self, ticket: ProducerTicket) -> bool {
        self.state.producers.seen(ticket.producer, ticket.sequence) == Seen::Fresh
            && !self.volatile.in_flight.contains(&ticket)
    }

    /// Whether what is remembered may answer what is asked: as [`State::transaction`] judges it, but for names that
    /// are gone.
    fn may_repeat(&self, done: &[OperationDone], operations: &[request::Operation]) -> bool {
        let is_one = |(done, asked): (&OperationDone, &request::Operation)| match (done, asked) {
            (OperationDone::Publish(confirm), request::Operation::Publish { name, run }) => {
                let log = self.log_named(name).map_or(confirm.log_id, |log| log.id);
                let told = u64::from(confirm.count) + confirm.duplicates.len() as u64;
                (confirm.log_id, told) == (log, run.count.into())
            }
            (OperationDone::Settle(_), request::Operation::Settle(_))
            | (OperationDone::Cancelled, request::Operation::Cancel(_)) => true,
            _ => false,
        };
        done.len() == operations.len() && done.iter().zip(operations).all(is_one)
    }

    fn refuse_in_a_shortage(&self, ticket: ProducerTicket) -> Result<(), Refusal> {
        let refusal = self.volatile.shortage.refusal();
        refusal.filter(|_| self.is_new(ticket)).map_or(Ok(()), Err)
    }

    /// What is logged beside the runs may be far larger than what was asked: 40 bytes for a dedup id of
    /// one. The journal takes no record past its limit, and a write that fails is final. What filters
    /// say is left out if that is enough: they are asked later.
    pub(in crate::engine) fn refuse_oversized(
        &self,
        command: &mut Command,
        run_bytes: usize,
    ) -> Result<(), Refusal> {
        let Some(max) = self.volatile.entry_bytes_max else {
            return Ok(());
        };
        if command.encoded_len() + run_bytes <= max {
            return Ok(());
        }
        command.leave_verdicts();
        if command.encoded_len() + run_bytes <= max {
            return Ok(());
        }
        Err(Refusal::TooLarge {
            field: "entry".into(),
            max: max as u64,
        })
    }

    pub(super) fn propose_transaction(
        &mut self,
        now: Timestamp,
        ticket: ProducerTicket,
        operations: Vec<request::Operation>,
    ) -> Result<Next, Refusal> {
        // A retry is answered as the first time, although its names may be gone since.
        let seen = self.state.producers.seen(ticket.producer, ticket.sequence);
        if let Seen::Before(Remembered::Transaction(done)) = seen {
            if !self.may_repeat(&done, &operations) {
                return Err(Refusal::ProducerUnknown);
            }
            let mut answer = Answer::TransactionDone(done);
            answer.committed_at(Level::Synced);
            return Ok(Next::Reply(answer));
        }
        refuse_twice(&operations)?;
        let mut runs = Vec::new();
        let mut logged = Vec::with_capacity(operations.len());
        for (index, operation) in (0..).zip(operations) {
            let at = |refusal| Refusal::Operation {
                index,
                refusal: Box::new(refusal),
            };
            logged.push(match operation {
                request::Operation::Publish { name, mut run } => {
                    let log = self.log_named(&name).map_err(at)?;
                    let mut publish = inner_publish(now, log, &mut run).map_err(at)?;
                    publish.verdicts = self.verdicts(publish.log, &run.bytes);
                    let publish = Some(publish);
                    runs.push(run.bytes);
                    Operation {
                        publish,
                        ..Operation::default()
                    }
                }
                request::Operation::Cancel(id) => Operation {
                    cancel: Some(self.cancel_command(&id).map_err(at)?),
                    ..Operation::default()
                },
                request::Operation::Settle(settle) => {
                    let settle = Some(self.settle_command(&settle).map_err(at)?);
                    Operation {
                        settle,
                        ..Operation::default()
                    }
                }
            });
        }
        if !runs.is_empty() {
            self.refuse_in_a_shortage(ticket)?;
        }
        let ProducerTicket { producer, sequence } = ticket;
        let transaction = Transaction {
            producer,
            sequence,
            operations: logged,
        };
        let mut command = Command::Transaction(transaction);
        self.refuse_oversized(&mut command, runs.iter().map(Bytes::len).sum())?;
        self.volatile.in_flight.push_back(ticket);
        Ok(Next::Propose(command, runs, Level::Synced))
    }
}

/// A publish that is a part of another command.
pub(in crate::engine) fn inner_publish(
    now: Timestamp,
    log: &Log,
    run: &mut ScannedRun,
) -> Result<Publish, Refusal> {
    let none = ProducerTicket {
        producer: 0,
        sequence: 0,
    };
    publish_command(now, log, none, run)
}

/// What is logged of a run for a log, said at `now`. Takes the pieces out of the run.
pub(in crate::engine) fn publish_command(
    now: Timestamp,
    log: &Log,
    ticket: ProducerTicket,
    run: &mut ScannedRun,
) -> Result<Publish, Refusal> {
    let pieces = std::mem::take(&mut run.pieces);
    let pieces = pieces.into_iter().map(|piece| Piece {
        count: piece.count,
        bytes: piece.bytes,
    });
    let ProducerTicket { producer, sequence } = ticket;
    Ok(Publish {
        log: log.id,
        producer,
        sequence,
        pieces: pieces.collect(),
        specials: specials(run, log.keyed(), now)?,
        verdicts: Vec::new(),
        dedup_ids: dedup_ids(log, run),
    })
}

/// The hashes of the run's dedup ids and of their bodies, where the log remembers any.
fn dedup_ids(log: &Log, run: &ScannedRun) -> Vec<Named> {
    if log.dedup_window_ms() == 0 {
        return Vec::new();
    }
    let named = run
        .specials
        .iter()
        .filter(|special| !special.dedup_id.is_empty());
    let named = named.map(|special| {
        let Range { start, end } = special.bytes;
        let body = messages(part(run, &special.bytes)).next();
        let [high, low] = log.seed.hash128(part(run, &special.dedup_id));
        Named {
            index: special.message,
            start,
            bytes: end - start,
            high,
            low,
            body: log.seed.hash64(body.map_or(&[], |message| message.body())),
        }
    });
    named.collect()
}

fn part<'a>(run: &'a ScannedRun, range: &Range<u32>) -> &'a [u8] {
    let range = range.start as usize..range.end as usize;
    run.bytes.get(range).unwrap_or_default()
}

/// Naming a message twice in one transaction is refused: its second operation could not be judged.
fn refuse_twice(operations: &[request::Operation]) -> Result<(), Refusal> {
    let mut named: BTreeMap<&Address, RangeSet> = BTreeMap::new();
    for operation in operations {
        match operation {
            request::Operation::Publish { .. } => {}
            request::Operation::Settle(settle) => {
                let named = named.entry(&settle.address).or_default();
                for range in &settle.ranges {
                    name_once(named, range.clone(), "ranges")?;
                }
            }
            request::Operation::Cancel(id) => {
                let named = named.entry(&id.address).or_default();
                name_once(named, id.offset..id.offset.saturating_add(1), "offset")?;
            }
        }
    }
    Ok(())
}

fn name_once(named: &mut RangeSet, range: OffsetRange, field: &'static str) -> Result<(), Refusal> {
    if named.within(range.clone()).next().is_some() {
        return Err(Refusal::malformed(field, "a message is named twice"));
    }
    named.add(range);
    Ok(())
}
