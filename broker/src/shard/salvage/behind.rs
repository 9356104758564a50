//! Entries that are whole and cannot be replayed, because one before them is gone: what they would have
//! done is counted, not done. Their offsets follow from what went before, which nobody knows.

use std::collections::BTreeMap;

use crate::engine::command::{Command, Entry, SettleKind};
use crate::storage::Recovered;

/// What came behind the first entry that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Entries that are whole.
    pub entries: u64,
    /// Entries that are missing before or between them.
    pub missing: u64,
    /// Their bytes in the journal.
    pub bytes: u64,
    /// Messages that they store, by log; duplicates counted too, as only `apply` tells them.
    pub stored: BTreeMap<u64, u64>,
    /// Messages that they settle for good.
    pub settled: u64,
    /// Queues and topics that they make.
    pub made: Vec<String>,
    last_index: u64,
}

impl Behind {
    /// Whether there is any.
    pub fn has_begun(&self) -> bool {
        self.entries > 0
    }

    /// The last one; `before`, where there is none.
    pub fn last_index(&self, before: u64) -> u64 {
        self.last_index.max(before)
    }

    /// Counts one more, behind the entry `after`.
    pub fn note(&mut self, record: Recovered, after: u64) {
        self.entries += 1;
        self.missing += record.index.saturating_sub(after + 1);
        self.last_index = record.index;
        let place = record.at.bytes();
        self.bytes += place.end - place.start;
        let Ok((entry, _)) = Entry::decode(record.payload) else {
            return;
        };
        for command in &entry.commands {
            for publish in command.publishes() {
                let (messages, _) = publish.size();
                *self.stored.entry(publish.log).or_default() += u64::from(messages);
            }
            match command {
                Command::Settle(settle) => self.note_settle(settle),
                Command::Transaction(transaction) => {
                    let operations = transaction.operations.iter();
                    let settles = operations.filter_map(|operation| operation.settle.as_ref());
                    settles.for_each(|settle| self.note_settle(settle));
                }
                Command::Take(take) => {
                    self.settled += take.ranges.iter().map(|range| range.count).sum::<u64>();
                }
                Command::CreateQueue(create) => self.made.push(create.name.clone()),
                Command::CreateTopic(create) => self.made.push(create.name.clone()),
                _ => {}
            }
        }
    }

    fn note_settle(&mut self, settle: &crate::engine::command::Settle) {
        if settle.kind() == SettleKind::Ack {
            self.settled += settle.ranges.iter().map(|range| range.count).sum::<u64>();
        }
    }
}
