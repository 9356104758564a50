//! Looks without side effects: describe, list, browse.

use std::collections::BTreeMap;
use std::ops::Bound;

use siding_protocol::event::{Answer, NameInfo, NameSettings, SubscriptionInfo};
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::types::{Address, Name, Offset, OffsetRange, Timestamp};

use super::Engine;
use super::effect::{Found, Origin};
use super::log::{Kind, Log};
use super::state::gone;
use super::subscription::Subscription;

/// Subscriptions described in one `Listing`, so that it fits a frame: about 600 bytes each. A topic
/// with more is listed alone.
const LISTED_SUBSCRIPTIONS_MAX: usize = 10_000;

impl Engine {
    /// The log of a name.
    pub(super) fn log_named(&self, name: &Name) -> Result<&Log, Refusal> {
        let id = self.state.names.get(name.as_str());
        let log = id.and_then(|id| self.state.logs.get(id));
        log.ok_or_else(|| self.refuse_unknown(name.as_str()))
    }

    /// The subscription at an address: a queue's own, or a topic's by name.
    pub(super) fn subscription_at(&self, address: &Address) -> Result<u64, Refusal> {
        let log = self.log_named(&address.name)?;
        match (&log.kind, &address.subscription) {
            (Kind::Queue(_), None) => log.subscriptions.first().copied(),
            (Kind::Queue(_), Some(_)) => None,
            (Kind::Topic(_), None) => {
                let why = "a topic is read through a subscription: topic/subscription";
                return Err(Refusal::malformed("address", why));
            }
            (Kind::Topic(_), Some(name)) => self
                .state
                .subscription_named(log, name.as_str())
                .map(|found| found.id),
        }
        .ok_or_else(|| {
            let all = log
                .subscriptions
                .iter()
                .filter_map(|id| self.state.subscriptions.get(id));
            let nearest = all.take(3).map(|other| address_of(log, other)).collect();
            Refusal::NotFound {
                name: address.to_string(),
                nearest,
            }
        })
    }

    /// The subscription at an address, to be looked at.
    pub(super) fn looked_at(&self, address: &Address) -> Result<&Subscription, Refusal> {
        let id = self.subscription_at(address)?;
        self.state.subscriptions.get(&id).ok_or_else(gone)
    }

    /// `NOT_FOUND`, with the nearest names.
    fn refuse_unknown(&self, name: &str) -> Refusal {
        unknown(name, &self.state.names)
    }

    pub(super) fn describe(&self, from: Origin, address: &Address) -> Result<Answer, Refusal> {
        let log = self.log_named(&address.name)?;
        let mut info = self.info(from, log);
        if address.subscription.is_some() {
            let id = self.subscription_at(address)?;
            let found = self.state.subscriptions.get(&id);
            info.subscriptions = found
                .map(|found| self.subscription_info(from, log, found))
                .into_iter()
                .collect();
        }
        Ok(Answer::NameInfo(Box::new(info)))
    }

    pub(super) fn list(&self, from: Origin, prefix: &str, after: &str, limit: u32) -> Answer {
        let start = if after < prefix {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let names = self.state.names.range::<str, _>((start, Bound::Unbounded));
        let names = names.take_while(|(name, _)| name.starts_with(prefix));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut logs = names
            .filter_map(|(_, id)| self.state.logs.get(id))
            .peekable();
        let mut names = Vec::new();
        let mut subscriptions = 0;
        while let Some(log) = logs.next_if(|log| {
            subscriptions += log.subscriptions.len();
            names.is_empty() || (names.len() < limit && subscriptions <= LISTED_SUBSCRIPTIONS_MAX)
        }) {
            names.push(self.info(from, log));
        }
        Answer::Listing {
            names,
            more: logs.next().is_some(),
        }
    }

    fn info(&self, from: Origin, log: &Log) -> NameInfo {
        let all = log
            .subscriptions
            .iter()
            .filter_map(|id| self.state.subscriptions.get(id));
        NameInfo {
            name: log.name.clone(),
            log_id: log.id,
            settings: match &log.kind {
                Kind::Queue(settings) => NameSettings::Queue(settings.clone()),
                Kind::Topic(settings) => NameSettings::Topic(settings.clone()),
            },
            start: log.first_kept(),
            end: log.end,
            bytes: log.bytes,
            kept_bytes: log.kept.bytes(),
            subscriptions: all
                .map(|found| self.subscription_info(from, log, found))
                .collect(),
        }
    }

    fn subscription_info(
        &self,
        from: Origin,
        log: &Log,
        subscription: &Subscription,
    ) -> SubscriptionInfo {
        let readers = self.volatile.readers.get(&subscription.id);
        let consumers = readers.map_or(0, |readers| readers.consumers.len());
        let holder = self.volatile.holder(from.session);
        let mine = subscription
            .leases
            .values()
            .filter(|lease| lease.holder == holder);
        let redriving = subscription.redriving.as_ref();
        SubscriptionInfo {
            address: address_of(log, subscription),
            settings: subscription.settings.clone(),
            books: subscription.books(log.end),
            consumers: u32::try_from(consumers).unwrap_or(u32::MAX),
            held_by_you: mine.map(|lease| lease.ranges.count()).sum(),
            next_due: subscription.next_move(),
            blocked_by: self.blocked_by(subscription),
            paused: subscription.paused,
            redriving: redriving.map(|redriving| redriving.left.count()),
        }
    }

    pub(super) fn browse(
        &self,
        address: &Address,
        state: Option<State>,
        from: Offset,
        limit: u32,
    ) -> Result<(u64, Vec<Found>), Refusal> {
        let id = self.subscription_at(address)?;
        let Some(subscription) = self.state.subscriptions.get(&id) else {
            return Ok((0, Vec::new()));
        };
        let wanted = |this: State| state.map_or(this != State::Dead, |state| state == this);
        let (limit, all) = (u64::from(limit), from..u64::MAX);
        let mut found = Vec::new();
        if wanted(State::Ready) {
            let ready = subscription.ready.within(all.clone());
            let held_back = subscription.held_back_within(all.clone());
            collect(
                &mut found,
                ready.map(|range| (range, plain(State::Ready))),
                limit,
            );
            let held_back = held_back.map(|range| (range, plain(State::Ready)));
            collect(&mut found, held_back, limit);
        }
        if wanted(State::Delayed) {
            let delayed = subscription.exceptions.overlap(all.clone());
            let delayed = delayed.filter(|(_, exception)| exception.is_delayed());
            let delayed = delayed.map(|(range, exception)| {
                let at = exception.due;
                let like = plain(State::Delayed);
                (range, Found { at, ..like })
            });
            collect(&mut found, delayed, limit);
        }
        if wanted(State::Leased) {
            for lease in subscription.leases.values() {
                let leased = lease.ranges.overlap(all.clone()).map(|(range, deadline)| {
                    let holder = lease.holder.clone();
                    (
                        range,
                        Found {
                            at: *deadline,
                            holder,
                            ..plain(State::Leased)
                        },
                    )
                });
                collect(&mut found, leased, limit);
            }
        }
        if wanted(State::Dead) {
            let dead = subscription.dead.overlap(all).map(|(range, death)| {
                let (reason, detail) = (death.reason.name(), death.detail.clone());
                (
                    range,
                    Found {
                        at: death.at,
                        reason,
                        detail,
                        ..plain(State::Dead)
                    },
                )
            });
            collect(&mut found, dead, limit);
        }
        found.sort_by_key(|found| found.offset);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        for one in &mut found {
            let exception = subscription.exceptions.get(one.offset);
            one.attempts = exception.map_or(0, |exception| exception.attempts);
        }
        Ok((subscription.log, found))
    }
}

pub(super) fn address_of(log: &Log, subscription: &Subscription) -> String {
    match &subscription.name {
        None => log.name.clone(),
        Some(name) => format!("{}/{name}", log.name),
    }
}

fn plain(state: State) -> Found {
    Found {
        offset: 0,
        state,
        attempts: 0,
        at: Timestamp(0),
        reason: "",
        detail: String::new(),
        holder: String::new(),
    }
}

/// The first `limit` messages of rising ranges, one by one.
fn collect(found: &mut Vec<Found>, ranges: impl Iterator<Item = (OffsetRange, Found)>, limit: u64) {
    let mut left = limit;
    for (range, like) in ranges {
        let end = range.end.min(range.start.saturating_add(left));
        left -= end - range.start;
        found.extend((range.start..end).map(|offset| Found {
            offset,
            ..like.clone()
        }));
        if left == 0 {
            return;
        }
    }
}

/// Names on either side that are compared with one that is not there: a comparison of long names takes
/// some 0.1 ms, and whoever asks for what is not there usually asks again.
const NEIGHBOURS_MAX: usize = 100;

/// Nothing is named so; what is named nearly so, of its neighbours in order, is told.
pub(super) fn unknown<V>(name: &str, others: &BTreeMap<String, V>) -> Refusal {
    // Names are ASCII; that their lengths are near enough is asked first, for it costs nothing.
    let most = |other: &str| 1 + other.len() / 4;
    let before = others.range::<str, _>((Bound::Unbounded, Bound::Excluded(name)));
    let behind = others.range::<str, _>((Bound::Included(name), Bound::Unbounded));
    let before = before.rev().take(NEIGHBOURS_MAX);
    let neighbours = behind.take(NEIGHBOURS_MAX).chain(before);
    let mut near: Vec<_> = neighbours
        .map(|(other, _)| other)
        .filter(|other| other.len().abs_diff(name.len()) <= most(other))
        .map(|other| (strsim::damerau_levenshtein(name, other), other))
        .filter(|(distance, other)| *distance <= most(other))
        .collect();
    near.sort();
    let nearest = near.into_iter().take(3);
    Refusal::NotFound {
        name: name.to_owned(),
        nearest: nearest.map(|(_, other)| other.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use siding_protocol::settings::TopicSettings;

    use crate::engine::seed::Seed;

    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_compared_with_its_neighbours_only() {
        let names = (0..10_000).map(|number| (format!("orders.{number:04}"), number));
        let names: BTreeMap<_, _> = names.collect();
        let nearest = |name| match unknown(name, &names) {
            Refusal::NotFound { nearest, .. } => nearest,
            other => panic!("{other}"),
        };
        assert_eq!(nearest("orders.500")[..2], ["orders.5000", "orders.5001"]);
        // orders.0001 is nearer, but far away in the order of names.
        assert_eq!(nearest("zorders.001"), ["orders.9901"]);
    }

    #[test]
    fn a_listing_ends_before_its_subscriptions_outgrow_a_frame() {
        let mut engine = Engine::new();
        for (id, name) in (1..).zip(["a", "b", "c"]) {
            let settings = TopicSettings::parse(None).unwrap();
            let mut log = Log::new(id, name.into(), Kind::Topic(settings), Seed::default());
            log.subscriptions = vec![0; LISTED_SUBSCRIPTIONS_MAX / 2 + 1];
            engine.state.names.insert(name.into(), id);
            engine.state.logs.insert(id, log);
        }
        let from = Origin {
            session: 1,
            correlation: 1,
        };
        let mut after = String::new();
        for (name, expect_more) in [("a", true), ("b", true), ("c", false)] {
            let Answer::Listing { names, more } = engine.list(from, "", &after, 1_000) else {
                panic!("a listing");
            };
            assert_eq!((names.len(), names[0].name.as_str()), (1, name));
            assert_eq!(more, expect_more);
            after = name.to_owned();
        }
    }
}
