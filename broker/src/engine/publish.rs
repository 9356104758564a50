//! Storing runs: producers, offsets, extents, retention.

use std::borrow::Cow;

use siding_protocol::event::{Answer, Confirm};
use siding_protocol::refusal::Refusal;
use siding_protocol::types::{Level, Timestamp};

use super::command::{Piece, Publish};
use super::effect::{Effect, Effects, Place};
use super::judge::{Asked, Judged};
use super::log::{Kind, Log};
use super::producer::{Remembered, Seen};
use super::state::{RunCursor, State, gone};
use super::touched::Touched;

/// Whether a remembered confirm may answer a publish: it names its log, and as many messages.
pub(super) fn is_of(confirm: &Confirm, publish: &Publish) -> bool {
    let told = u64::from(confirm.count) + confirm.duplicates.len() as u64;
    (confirm.log_id, told) == (publish.log, publish.size().0.into())
}

impl State {
    pub(super) fn publish(
        &mut self,
        publish: &Publish,
        runs: &mut RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let run = runs.next();
        match self.producers.seen(publish.producer, publish.sequence) {
            Seen::Fresh => {}
            Seen::Before(Remembered::Publish(confirm)) if is_of(&confirm, publish) => {
                return Ok(Answer::Confirm(confirm));
            }
            // Not even what was stored under it is told of something else.
            Seen::Before(_) | Seen::Unknown => return Err(Refusal::ProducerUnknown),
        }
        let mut asked = Asked::default();
        let judged = self.judge_publish(publish, self.now, &mut asked)?;
        self.make_room(publish.log, &asked, effects, touched);
        let confirm = self
            .store(publish, judged, run, effects, touched)
            .ok_or_else(gone)?;
        let answer = Remembered::Publish(confirm.clone());
        self.producers
            .remember(publish.producer, publish.sequence, answer, self.now);
        Ok(Answer::Confirm(confirm))
    }

    /// Stores what of a run is no duplicate.
    pub(super) fn store(
        &mut self,
        publish: &Publish,
        judged: Judged,
        run: u32,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Option<Confirm> {
        let log = self.logs.get_mut(&publish.log)?;
        let first_offset = log.end;
        let Judged { count, known } = judged;
        let mut arriving = Cow::Borrowed(publish);
        if let Some(known) = &known {
            for (start, piece) in known.stored(publish) {
                log.place(piece, self.now, (run, start), effects);
            }
            if !known.fresh.is_empty() {
                let window_ms = log.dedup_window_ms();
                log.dedup.remember(&known.fresh, window_ms, self.now);
            }
            arriving = known.arriving(publish);
        } else {
            let mut start = 0;
            for piece in &publish.pieces {
                log.place(*piece, self.now, (run, start), effects);
                start += piece.bytes;
            }
        }
        let mut timed = Vec::new();
        for id in &log.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(id) {
                let fresh = first_offset.max(subscription.start)..log.end;
                if subscription.arrive(fresh, first_offset, &arriving, self.now) {
                    timed.push(*id);
                }
                touched.insert(*id);
            }
        }
        if log.retain(&mut self.subscriptions, self.now, effects) {
            timed.clone_from(&log.subscriptions);
        }
        let keeps = matches!(log.kind, Kind::Topic(_)) || log.retain_settled_ms() > 0;
        if keeps || known.is_some() {
            self.rearm(publish.log);
        }
        for id in timed {
            self.rearm(id);
        }
        Some(Confirm {
            log_id: publish.log,
            first_offset,
            count,
            level: Level::Written,
            duplicates: known.map_or_else(Vec::new, |known| known.duplicates),
        })
    }
}

impl RunCursor {
    /// The run of the next publish of the entry.
    pub(super) fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0 - 1
    }
}

impl Log {
    /// Stores a piece, which lies at a place in a run of the entry: its number, and bytes.
    fn place(
        &mut self,
        piece: Piece,
        now: Timestamp,
        (run, start): (u32, u32),
        effects: &mut Effects,
    ) {
        let first = self.append(piece, now);
        effects.push(Effect::Place(Place {
            log: self.id,
            first,
            count: piece.count,
            published_at: now,
            run,
            start,
            bytes: piece.bytes,
        }));
    }
}
