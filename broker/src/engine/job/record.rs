//! What is known of messages that have ended, for as long as their subscription says.

use std::collections::BTreeMap;

use siding_protocol::limits::{DONE_BYTES_MAX, DONE_RECORDS_MAX};
use siding_protocol::refusal::State;
use siding_protocol::types::{Offset, OffsetRange, Timestamp};

use super::Report;
use crate::engine::runs::RangeMap;
use crate::engine::subscription::{Context, Exception, Reason, Subscription};
use crate::engine::timeline::Timeline;

/// How messages ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Settled, expired, cancelled, or dead: a dead letter that was dropped.
    pub state: State,
    /// When.
    pub at: Timestamp,
    /// Charged.
    pub attempts: u32,
    /// Handings-over that charged no attempt.
    pub acquires: u32,
    /// Times redriven.
    pub generation: u32,
    /// dead: why.
    pub reason: Option<Reason>,
    /// Of the last nack or reject.
    pub words: String,
}

impl Ended {
    fn bytes(&self, range: &OffsetRange) -> u64 {
        self.words.len() as u64 * (range.end - range.start)
    }
}

/// How messages ended that no record is kept of, said once.
#[derive(Debug, Default)]
pub struct Last {
    endings: Vec<(OffsetRange, Ended)>,
    reports: Vec<(Offset, Report)>,
}

impl Last {
    /// Whether nothing is to be said.
    pub fn is_empty(&self) -> bool {
        self.endings.is_empty()
    }

    /// How a message ended, and what was reported of it.
    pub fn get(&self, offset: Offset) -> Option<(&Ended, Option<&Report>)> {
        let mut endings = self.endings.iter();
        let (_, ended) = endings.find(|(range, _)| range.contains(&offset))?;
        let mut reports = self.reports.iter();
        let report = reports.find(|(at, _)| *at == offset);
        Some((ended, report.map(|(_, report)| report)))
    }
}

/// The records of one subscription, the oldest first to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    ended: RangeMap<Ended>,
    reports: BTreeMap<Offset, Report>,
    /// By time of ending: derived.
    endings: Timeline,
    /// Of reports and words: derived.
    bytes: u64,
}

impl Records {
    /// How a message ended, and what was reported of it.
    pub fn get(&self, offset: Offset) -> Option<(&Ended, Option<&Report>)> {
        Some((self.ended.get(offset)?, self.reports.get(&offset)))
    }

    /// All endings, rising by offset.
    pub fn ended(&self) -> impl Iterator<Item = (OffsetRange, &Ended)> {
        self.ended.iter()
    }

    /// All reports, rising by offset.
    pub fn reports(&self) -> impl Iterator<Item = (Offset, &Report)> {
        self.reports
            .iter()
            .map(|(offset, report)| (*offset, report))
    }

    /// When the oldest ended.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.endings.first().map(|(at, _)| at)
    }

    /// Adds the ending of messages, which it has no record of.
    pub fn add(&mut self, range: OffsetRange, ended: Ended) {
        self.bytes += ended.bytes(&range);
        self.endings.insert(ended.at, range.clone());
        self.ended.insert(range, ended);
    }

    /// Adds what was reported of a message whose ending it has.
    pub fn add_report(&mut self, offset: Offset, report: Report) {
        self.bytes += report.bytes();
        self.reports.insert(offset, report);
    }

    /// The oldest go until the rest keeps to the limits.
    pub fn bound(&mut self) {
        while self.ended.count() > DONE_RECORDS_MAX || self.bytes > DONE_BYTES_MAX {
            let Some((_, oldest)) = self.endings.first() else {
                return;
            };
            let excess = self.ended.count().saturating_sub(DONE_RECORDS_MAX).max(1);
            self.forget(oldest.start..oldest.end.min(oldest.start + excess));
        }
    }

    /// What ended first goes.
    pub fn forget_oldest(&mut self) {
        if let Some((_, oldest)) = self.endings.first() {
            self.forget(oldest);
        }
    }

    /// Nothing is known of these any more.
    pub fn forget(&mut self, range: OffsetRange) {
        if self.ended.is_empty() {
            return;
        }
        let gone = self.ended.overlap(range.clone());
        let gone: Vec<_> = gone
            .map(|(part, ended)| (part.clone(), ended.at, ended.bytes(&part)))
            .collect();
        for (part, at, bytes) in gone {
            self.endings.remove(at, &part);
            self.bytes -= bytes;
        }
        self.ended.remove(range.clone());
        let reports: Vec<_> = self.reports.range(range).map(|(at, _)| *at).collect();
        for offset in reports {
            let report = self.reports.remove(&offset);
            self.bytes -= report.map_or(0, |report| report.bytes());
        }
    }
}

impl Subscription {
    /// Messages leave for good. Where jobs are tracked a record says how; else whoever waits for that
    /// now is told, and nobody later.
    pub(in crate::engine) fn conclude(
        &mut self,
        range: OffsetRange,
        state: State,
        context: &mut Context<'_>,
    ) {
        if self.settings.track && self.settings.done_retention_ms > 0 {
            self.record(range.clone(), state, context.now);
        } else if state != State::Settled || !self.jobs.reports.is_empty() {
            self.say_last(range.clone(), state, context);
        }
        self.forget(range);
    }

    /// How messages end that nobody said anything of goes without saying, if they are settled.
    fn say_last(&mut self, range: OffsetRange, state: State, context: &mut Context<'_>) {
        let reported = self.jobs.reports.range(range.clone());
        let reported: Vec<_> = reported.map(|(offset, _)| *offset).collect();
        let told = match state {
            State::Settled => reported.iter().map(|offset| *offset..*offset + 1).collect(),
            _ => vec![range],
        };
        for part in told {
            for (part, exception) in self.exceptions_of(part) {
                let endings = self.endings(part, &exception, (state, context.now));
                context.last.endings.extend(endings);
            }
        }
        for offset in reported {
            let report = self.jobs.take_report(offset);
            context
                .last
                .reports
                .extend(report.map(|report| (offset, report)));
        }
    }

    fn record(&mut self, range: OffsetRange, state: State, now: Timestamp) {
        self.jobs.records.forget(range.clone());
        for (part, exception) in self.exceptions_of(range.clone()) {
            for (part, ended) in self.endings(part, &exception, (state, now)) {
                self.jobs.records.add(part, ended);
            }
        }
        let reported = self.jobs.reports.range(range);
        let reported: Vec<_> = reported.map(|(offset, _)| *offset).collect();
        for offset in reported {
            if let Some(report) = self.jobs.take_report(offset) {
                self.jobs.records.add_report(offset, report);
            }
        }
        self.jobs.records.bound();
    }

    /// The whole of `range`, cut where what is told of an ending differs.
    fn endings(
        &self,
        range: OffsetRange,
        exception: &Exception,
        (state, at): (State, Timestamp),
    ) -> Vec<(OffsetRange, Ended)> {
        let mut told = RangeMap::default();
        let plain = Ended {
            state,
            at,
            attempts: exception.attempts,
            acquires: exception.acquires,
            generation: 0,
            reason: None,
            words: String::new(),
        };
        told.insert(range.clone(), plain);
        let generations = self.generations.overlap(range.clone());
        edit(&mut told, generations, |ended, times| {
            ended.generation = *times;
        });
        let words = self.words.overlap(range.clone());
        edit(&mut told, words, |ended, words| {
            ended.words.clone_from(words);
        });
        edit(&mut told, self.dead.overlap(range), |ended, death| {
            ended.reason = Some(death.reason);
            ended.words.clone_from(&death.detail);
        });
        told.iter()
            .map(|(part, ended)| (part, ended.clone()))
            .collect()
    }
}

/// Changes what is told of some parts.
fn edit<'a, V: 'a>(
    told: &mut RangeMap<Ended>,
    parts: impl Iterator<Item = (OffsetRange, &'a V)>,
    edit: impl Fn(&mut Ended, &V),
) {
    for (part, value) in parts {
        let before: Vec<_> = told
            .overlap(part)
            .map(|(part, ended)| (part, ended.clone()))
            .collect();
        for (part, mut ended) in before {
            edit(&mut ended, value);
            told.insert(part, ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(at: u64) -> Ended {
        Ended {
            state: State::Settled,
            at: Timestamp(at),
            attempts: 0,
            acquires: 0,
            generation: 0,
            reason: None,
            words: String::new(),
        }
    }

    #[test]
    fn the_oldest_records_go_when_there_are_too_many() {
        let mut records = Records::default();
        records.add(0..10, ended(2));
        records.add(10..DONE_RECORDS_MAX, ended(1));
        records.bound();
        assert!(records.get(10).is_some());
        records.add(DONE_RECORDS_MAX..DONE_RECORDS_MAX + 3, ended(3));
        records.bound();
        assert!(records.get(12).is_none() && records.get(13).is_some());
        assert!(records.get(9).is_some());
        records.forget_oldest();
        assert!(records.get(13).is_none() && records.get(9).is_some());
        assert_eq!(records.oldest(), Some(Timestamp(2)));
    }

    #[test]
    fn the_oldest_records_go_when_they_carry_too_much() {
        let mut records = Records::default();
        let each = DONE_BYTES_MAX / 4;
        for offset in 0..5 {
            records.add(offset..offset + 1, ended(offset));
            let result = vec![0; usize::try_from(each).unwrap()];
            let result = Some(result.into());
            let report = Report {
                result,
                ..Report::default()
            };
            records.add_report(offset, report);
            records.bound();
        }
        assert!(records.get(0).is_none() && records.get(1).is_some());
        records.forget(0..10);
        assert_eq!(records, Records::default());
    }
}
