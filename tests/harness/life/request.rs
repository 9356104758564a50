//! From an operation to the request it makes, with what the player knows.

use bytes::Bytes;
use siding_protocol::refusal::State;
use siding_protocol::request::{self, Action, MessageId, ProducerTicket, Request, Rider, Sieve};
use siding_protocol::run::{MessageFields, ScannedRun};
use siding_protocol::settings::{DeliverySettings, StartAt, TopicSettings};
use siding_protocol::types::{Address, Level, OffsetRange, Timestamp};

use super::choices::{
    ADDRESSES, NAMES, SCHEDULES, SIZES, TIMES_MS, dedup_id, delivery_settings, fields, parse,
    queue_settings, schedule_settings,
};
use super::operation::{Operation, Publish, Schedule, Settle};
use super::player::Player;
use crate::bodies::run_like;
use crate::model::filters::FILTERS;

impl Player {
    /// Who asks what; nothing if there is nothing to settle yet.
    pub(super) fn request(&mut self, operation: &Operation) -> Option<(u64, Request)> {
        let mut session = 0;
        let request = match operation {
            Operation::Publish(publish) => {
                self.published = Some(publish.clone());
                self.publish(publish)
            }
            Operation::PublishAgain { .. } => {
                let again = self.published.clone()?;
                self.publish(&Publish { back: 0, ..again })
            }
            Operation::Settle {
                session: number,
                settle,
            } => {
                session = self.session(*number);
                Request::Settle(self.settle(settle)?)
            }
            Operation::Started {
                session: number,
                settle,
            } => {
                session = self.session(*number);
                let settle = self.settle(settle)?;
                Request::Started {
                    address: settle.address,
                    grant: settle.grant,
                    ranges: settle.ranges,
                }
            }
            Operation::Transaction {
                publishes,
                settles,
                cancels,
            } => self.transaction(publishes, settles, cancels)?,
            Operation::Schedule(schedule) => self.schedule(schedule),
            Operation::Unschedule { name } => Request::DeleteSchedule {
                name: parse(SCHEDULES[*name]),
            },
            Operation::Run { name } => Request::RunSchedule {
                name: parse(SCHEDULES[*name]),
            },
            Operation::Cancel { address, offset } => Request::Cancel(message(*address, *offset)),
            Operation::Job {
                session: number,
                address,
                offset,
                wait,
            } => {
                session = self.session(*number);
                job(message(*address, *offset), *wait)
            }
            other => self.name_request(other).or_else(|| care(other))?,
        };
        Some((session, request))
    }

    /// Names come, or move.
    fn name_request(&self, operation: &Operation) -> Option<Request> {
        let at = |address: &usize| parse::<Address>(ADDRESSES[*address]);
        Some(match operation {
            Operation::CreateQueue { name, settings } => Request::CreateQueue {
                name: parse(NAMES[*name]),
                settings: Box::new(queue_settings(*settings)),
            },
            Operation::CreateTopic { name, retention } => Request::CreateTopic {
                name: parse(NAMES[*name]),
                settings: TopicSettings {
                    retention_bytes: [1 << 30, 100_000, 1 << 30][*retention],
                    retention_ms: [1 << 40, 60_000, 8_000][*retention],
                    dedup_window_ms: [1_000, 0, 0][*retention],
                    ..TopicSettings::parse(None).expect("defaults are valid")
                },
            },
            Operation::CreateSubscription {
                address,
                settings,
                start,
                filter,
            } => Request::CreateSubscription {
                address: at(&(*address).max(2)),
                settings: Box::new(DeliverySettings {
                    filter: FILTERS[*filter % FILTERS.len()].to_owned(),
                    ephemeral: *filter == 4,
                    forward_to: ["", "mail", "logs"][filter.saturating_sub(4) % 3].to_owned(),
                    dead_letter_to: ["", "jobs"][usize::from(*filter == 7)].to_owned(),
                    ..delivery_settings(*settings)
                }),
                start: match start {
                    0..6 => StartAt::Latest,
                    6..10 => StartAt::Earliest,
                    10..12 => self.place(2, *start),
                    _ => StartAt::Offset(*start),
                },
            },
            Operation::Seek {
                address,
                place,
                offset,
            } => Request::Seek {
                address: at(address),
                to: self.place(*place, *offset),
            },
            _ => return None,
        })
    }

    fn place(&self, place: usize, offset: u64) -> StartAt {
        let past = self.now().0.saturating_sub(offset * 400);
        match place {
            0 => StartAt::Earliest,
            1 => StartAt::Latest,
            2 => StartAt::Time(Timestamp(past)),
            _ => StartAt::Offset(offset),
        }
    }

    fn publish(&mut self, publish: &Publish) -> Request {
        let ticket = self.ticket(publish);
        let run = self.run(publish);
        let name = parse(NAMES[publish.name]);
        let level = publish.written.then_some(Level::Written);
        Request::Publish {
            name,
            ticket,
            level,
            run,
        }
    }

    fn schedule(&mut self, schedule: &Schedule) -> Request {
        let run = self.run(&Publish {
            name: 0,
            count: 1,
            size: 1,
            producer: 0,
            back: 0,
            kinds: (schedule.kind, 0),
            written: false,
            naming: 0,
        });
        Request::CreateSchedule {
            name: parse(SCHEDULES[schedule.name]),
            settings: Box::new(schedule_settings(schedule)),
            run,
        }
    }

    fn ticket(&mut self, publish: &Publish) -> ProducerTicket {
        let last = self.sequences.entry(publish.producer).or_default();
        let sequence = match publish.back {
            0 => *last + 1,
            // A client that lost count, far ahead.
            1_025.. => *last + publish.back,
            back => last.saturating_sub(back) + 1,
        };
        *last = sequence.max(*last);
        ProducerTicket {
            producer: self.producers.get(publish.producer).copied().unwrap_or(1),
            sequence,
        }
    }

    fn run(&mut self, publish: &Publish) -> ScannedRun {
        let (size, naming) = (SIZES[publish.size], publish.naming);
        let key = (publish.count, size, publish.kinds, naming);
        let run = self.runs.entry(key).or_insert_with(|| {
            let (even, odd) = publish.kinds;
            let body = vec![b'x'; size];
            let ids: Vec<_> = (0..publish.count)
                .map(|at| dedup_id(naming, at, size))
                .collect();
            run_like(ids.iter().enumerate().map(|(at, id)| MessageFields {
                dedup_id: id,
                ..fields([even, odd][at % 2], &body)
            }))
        });
        run.clone()
    }

    fn settle(&self, settle: &Settle) -> Option<request::Settle> {
        let (address, grant, ranges) = self.deliveries.iter().rev().nth(settle.delivery)?;
        let offsets = ranges.iter().cloned().flatten().skip(settle.skip);
        let offsets = offsets.take(settle.take);
        let kept = offsets.filter(|offset| offset % settle.holes != 1);
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        if settle.rider > 0 {
            kept.truncate(1);
        }
        let mut ranges: Vec<OffsetRange> = Vec::new();
        for offset in kept {
            match ranges.last_mut() {
                Some(last) if last.end == offset => last.end += 1,
                _ => ranges.push(offset..offset + 1),
            }
        }
        let delay = [0, 1, 1_000, 5_000, 60_000][settle.delay];
        Some(request::Settle {
            rider: rider(settle).unless_empty(),
            address: address.clone(),
            grant: *grant,
            ranges: (!ranges.is_empty()).then_some(ranges)?,
            action: match settle.action {
                0..3 => Action::Ack,
                3 => Action::Nack {
                    reason: ["", "again", "boom"][settle.skip % 3].to_owned(),
                    delay_ms: None,
                },
                4 => Action::Nack {
                    reason: String::new(),
                    delay_ms: Some(delay),
                },
                5 => Action::Release { delay_ms: delay },
                6 => Action::Reject {
                    reason: "no".to_owned(),
                },
                _ => Action::Extend {
                    remaining_ms: delay.max(1_000),
                },
            },
        })
    }

    fn transaction(
        &mut self,
        publishes: &[Publish],
        settles: &[Settle],
        cancels: &[(usize, u64)],
    ) -> Option<Request> {
        let ticket = publishes.first().or(self.published.as_ref()).cloned();
        let ticket = self.ticket(&ticket?);
        let settles = settles.iter().filter_map(|settle| self.settle(settle));
        let mut operations: Vec<_> = settles.map(request::Operation::Settle).collect();
        for (address, offset) in cancels {
            let id = message(*address, *offset);
            operations.push(request::Operation::Cancel(id));
        }
        for publish in publishes {
            let run = self.run(publish);
            let name = parse(NAMES[publish.name]);
            operations.push(request::Operation::Publish { name, run });
        }
        (!operations.is_empty()).then_some(Request::Transaction { ticket, operations })
    }
}

/// What takes nothing from the player: making, deleting, clearing, looking.
fn care(operation: &Operation) -> Option<Request> {
    let at = |address: &usize| parse::<Address>(ADDRESSES[*address]);
    Some(match operation {
        Operation::Delete { address, whole } => {
            let mut address = at(address);
            if *whole {
                address.subscription = None;
            }
            Request::Delete { address }
        }
        Operation::Purge {
            address,
            filter,
            limit,
        } => Request::Purge(Sieve {
            filter: FILTERS[*filter].to_owned(),
            limit: *limit,
            ..Sieve::all(at(address))
        }),
        Operation::Redrive {
            address,
            limit,
            rate,
            dry_run,
        } => Request::Redrive {
            sieve: sieve(at(address), *limit, *dry_run),
            rate: [0, 0, 1, 15][*rate],
        },
        Operation::StopRedrive { address } => Request::StopRedrive {
            address: at(address),
        },
        Operation::PauseName { address, paused } => Request::Pause {
            address: at(address),
            paused: *paused,
        },
        Operation::DropDead {
            address,
            limit,
            dry_run,
        } => Request::DropDead(sieve(at(address), *limit, *dry_run)),
        Operation::Look { address, state } => look(at(address), *state),
        _ => return None,
    })
}

fn message(address: usize, offset: u64) -> MessageId {
    let address = parse(ADDRESSES[address]);
    MessageId { address, offset }
}

fn job(id: MessageId, wait: usize) -> Request {
    match wait {
        0 => Request::Get(id),
        _ => Request::Await {
            id,
            wait_ms: TIMES_MS[wait].min(60_000),
        },
    }
}

/// What the action of the settle carries.
fn rider(settle: &Settle) -> Rider {
    let goes_on = (3..6).contains(&settle.action) || settle.action == 7;
    let ends = settle.action < 3 || settle.action == 7;
    let bytes = |what: &'static str| Bytes::from_static(what.as_bytes());
    let text = ["", "a", "bc", "def", ""][settle.rider];
    let carries =
        |wanted: bool, may: bool| (settle.rider > 0 && wanted && may).then(|| bytes(text));
    let progress = (settle.rider % 2 == 1 && goes_on).then_some(30);
    Rider {
        checkpoint: carries(settle.rider > 1, goes_on),
        result: carries(settle.rider != 2, ends),
        progress,
        note: progress.map_or_else(String::new, |_| text.to_owned()),
    }
}

fn sieve(address: Address, limit: u64, dry_run: bool) -> Sieve {
    Sieve {
        limit,
        dry_run,
        filter: FILTERS[usize::from(limit == 3)].to_owned(),
        ..Sieve::all(address)
    }
}

fn look(address: Address, state: usize) -> Request {
    let states = [
        State::Ready,
        State::Delayed,
        State::Leased,
        State::Dead,
        State::Settled,
    ];
    Request::Browse {
        filter: String::new(),
        address,
        state: states.get(state).copied(),
        from_offset: 0,
        limit: 5,
    }
}
