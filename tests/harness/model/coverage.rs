//! What the lives have tried: which kind of thing happened to what kind of message.

use std::collections::BTreeSet;

use siding_broker::engine::command::{Command, Settle, SettleKind};

use super::settle::Fate;
use super::{Message, Model, Outcome, Place};

/// Pairs of state and command that were met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeSet<Pair>);

/// Something happened to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    happening: &'static str,
    /// Of the message before, or how a request about no message was answered.
    state: &'static str,
    traits: u16,
}

/// Charged before.
const RETRIED: u16 = 1;
/// Somebody may still settle it late.
const LAPSED: u16 = 2;
/// Redriven before.
const REDRIVEN: u16 = 4;
/// A nack said something.
const SAID: u16 = 8;
/// Its holder reported something.
const REPORTED: u16 = 256;
/// Its holder is asked to end it.
const ASKED: u16 = 512;
/// The next free bit of a message's traits; above all of them stands a settle's fate.
const FATES: u16 = 1 << 12;

impl Coverage {
    /// How many different ones.
    pub fn pairs(&self) -> usize {
        self.0.len()
    }

    /// What others have met, too.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The pairs in words, in order.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let pairs = self.0.iter();
        pairs.map(|pair| format!("{} {} {:03x}", pair.happening, pair.state, pair.traits))
    }

    pub(super) fn note(&mut self, happening: &'static str, message: Option<&Message>, more: u16) {
        self.0.insert(Pair {
            happening,
            state: message.map_or("gone", |message| message.state().name()),
            traits: message.map_or(0, Message::traits) | more,
        });
    }

    pub(super) fn note_answer(&mut self, command: &Command, outcome: &Outcome) {
        let state = match &outcome.1 {
            Ok(_) => "done",
            Err(refusal) => refusal.code().name(),
        };
        self.0.insert(Pair {
            happening: happening(command),
            state,
            traits: 0,
        });
    }
}

impl Message {
    /// What makes it different besides its state, one bit each.
    fn traits(&self) -> u16 {
        let mut traits = 0;
        if self.attempts > 0 {
            traits |= RETRIED;
        }
        if self.lapsed.is_some() {
            traits |= LAPSED;
        }
        if self.generation > 0 {
            traits |= REDRIVEN;
        }
        if !self.words.is_empty() {
            traits |= SAID;
        }
        if self.job != super::job::Said::default() {
            traits |= REPORTED;
        }
        if self.asked {
            traits |= ASKED;
        }
        traits
    }
}

impl Model {
    /// Notes what a command is about to meet.
    pub(super) fn note_before(&mut self, command: &Command) {
        let mut coverage = std::mem::take(&mut self.coverage);
        let what = happening(command);
        match command {
            Command::Lease(lease) => {
                let messages = self.subscriptions.get(&lease.subscription);
                let messages = messages.map(|found| &found.messages);
                let ranges = lease.ranges.iter();
                for offset in ranges.flat_map(|range| range.first..range.first + range.count) {
                    let message = messages.and_then(|messages| messages.get(&offset));
                    coverage.note(what, message, 0);
                }
            }
            Command::Take(take) => {
                let found = self.subscriptions.get(&take.subscription);
                for offset in super::filters::offsets(&take.ranges) {
                    let message = found.and_then(|found| found.messages.get(&offset));
                    coverage.note(what, message, 0);
                }
            }
            Command::Return(returned) => {
                let grants: BTreeSet<_> = returned.grants().collect();
                for message in self.messages(returned.subscription) {
                    if matches!(message.place, Place::Leased { grant, .. } if grants.contains(&grant))
                    {
                        coverage.note(what, Some(message), 0);
                    }
                }
            }
            Command::Settle(settle) => self.note_settle(settle, false, &mut coverage),
            Command::Transaction(transaction) => {
                let operations = transaction.operations.iter();
                for settle in operations.filter_map(|operation| operation.settle.as_ref()) {
                    self.note_settle(settle, true, &mut coverage);
                }
            }
            Command::Sift(sift) => self.note_all(what, sift.subscription, &mut coverage),
            Command::Seek(seek) => self.note_all(what, seek.subscription, &mut coverage),
            Command::Forward(forward) => {
                let found = self.subscriptions.get(&forward.subscription);
                for offset in super::filters::offsets(&forward.ranges) {
                    let message = found.and_then(|found| found.messages.get(&offset));
                    coverage.note(what, message, 0);
                }
            }
            Command::Judge(judge) => {
                let found = self.subscriptions.get(&judge.subscription);
                for offset in super::filters::offsets(&judge.read) {
                    let message = found.and_then(|found| found.messages.get(&offset));
                    coverage.note(what, message, 0);
                }
            }
            Command::Cancel(cancel) => {
                let messages = self.subscriptions.get(&cancel.subscription);
                let message = messages.and_then(|found| found.messages.get(&cancel.offset));
                coverage.note(what, message, 0);
            }
            Command::Purge(purge) => self.note_all(what, purge.subscription, &mut coverage),
            Command::Redrive(redrive) => self.note_all(what, redrive.subscription, &mut coverage),
            Command::DropDead(drop) => self.note_all(what, drop.subscription, &mut coverage),
            _ => {}
        }
        self.coverage = coverage;
    }

    fn messages(&self, subscription: u64) -> impl Iterator<Item = &Message> {
        let found = self.subscriptions.get(&subscription).into_iter();
        found.flat_map(|found| found.messages.values())
    }

    fn note_all(&self, what: &'static str, subscription: u64, coverage: &mut Coverage) {
        for message in self.messages(subscription) {
            coverage.note(what, Some(message), 0);
        }
    }

    fn note_settle(&self, settle: &Settle, together: bool, coverage: &mut Coverage) {
        let what = match (settle.kind(), together) {
            (SettleKind::Ack, false) => "ack",
            (SettleKind::Nack, false) => "nack",
            (SettleKind::Release, false) => "release",
            (SettleKind::Reject, false) => "reject",
            (SettleKind::Extend, false) => "extend",
            (SettleKind::Ack, true) => "ack in a transaction",
            (SettleKind::Nack, true) => "nack in a transaction",
            (SettleKind::Release, true) => "release in a transaction",
            (SettleKind::Reject, true) => "reject in a transaction",
            (SettleKind::Extend, true) => "extend in a transaction",
        };
        let messages = self.subscriptions.get(&settle.subscription);
        for (offset, fate) in self.fates(settle) {
            let message = messages.and_then(|found| found.messages.get(&offset));
            let fate = match fate {
                Fate::Live => 1,
                Fate::Late => 2,
                Fate::Repeated => 3,
                Fate::Lost(_) => 4,
            };
            coverage.note(what, message, fate * FATES);
        }
    }
}

fn happening(command: &Command) -> &'static str {
    match command {
        Command::Start(_) => "start",
        Command::Tick(_) => "tick",
        Command::OpenProducer(_) => "open producer",
        Command::Publish(_) => "publish",
        Command::Transaction(_) => "transaction",
        Command::Settle(_) => "settle",
        Command::Lease(_) => "lease",
        Command::Judge(_) => "judge",
        Command::Seek(_) => "seek",
        Command::Sift(_) => "sift",
        Command::Forward(_) => "forward",
        Command::Return(_) => "return",
        Command::Mark(_) => "mark",
        Command::Take(_) => "take",
        Command::Lose(_) => "lose",
        Command::CreateQueue(_) => "create queue",
        Command::CreateTopic(_) => "create topic",
        Command::CreateSubscription(_) => "create subscription",
        Command::Delete(_) => "delete",
        Command::Purge(_) => "purge",
        Command::Redrive(_) => "redrive",
        Command::DropDead(_) => "drop dead",
        Command::Cancel(_) => "cancel",
        Command::CreateSchedule(_) => "create schedule",
        Command::DeleteSchedule(_) => "delete schedule",
        Command::Fire(_) => "fire",
        Command::StopRedrive(_) => "stop redrive",
        Command::Pause(_) => "pause",
    }
}
