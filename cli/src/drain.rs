//! When a drain ends: nothing is ready and nothing is leased to this client instance. Deliveries
//! lost with a connection are still leased to it and are waited for.

use std::time::Duration;

use siding::wire::SubscriptionInfo;
use siding::{Client, Error};

use crate::books::books;
use crate::clock;
use crate::exit::{Exit, failure};

/// A drain looks at the broker's books at most so often, and only while nothing arrives.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// However late the next lease ends, somebody may redrive or publish: look again by then.
const LOOK_AT_LATEST: Duration = Duration::from_secs(1);

/// What a drain does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is still something for this client: look again after so long.
    Wait(Duration),
    /// It ends; so many wait for their time or are leased to others.
    End { delayed: u64, leased: u64 },
}

/// Decides from the broker's books of the subscription.
pub(crate) fn decide(info: &SubscriptionInfo, now_ms: u64) -> Next {
    let books = books(info);
    if books.ready > 0 {
        return Next::Wait(LOOK_EVERY);
    }
    if info.held_by_you > 0 {
        let due_in = info.next_due_ms.map_or(0, |due| due.saturating_sub(now_ms));
        return Next::Wait(Duration::from_millis(due_in).clamp(LOOK_EVERY, LOOK_AT_LATEST));
    }
    Next::End {
        delayed: books.delayed,
        leased: books.leased,
    }
}

/// Asks the broker and decides. A connection that is just being restored means: wait.
pub(crate) async fn look(client: &Client, address: &str) -> anyhow::Result<Next> {
    match client.describe(address).await {
        Ok(info) => {
            let found = info.subscriptions.iter().find(|sub| sub.address == address);
            let info = found.ok_or_else(|| {
                let words = format!(
                    "{address:?} is a topic: consume it with --from, or one of its subscriptions"
                );
                failure(Exit::Usage, format!("{words} · siding sub ls {address}"))
            })?;
            Ok(decide(info, clock::unix_ms()))
        }
        Err(Error::Interrupted { .. }) => Ok(Next::Wait(LOOK_EVERY)),
        Err(error) => Err(error.into()),
    }
}

/// Ends a drain: says on stderr what stays behind.
pub(crate) fn farewell(address: &str, delayed: u64, leased: u64) -> Exit {
    if delayed == 0 && leased == 0 {
        return Exit::Ok;
    }
    eprintln!("left in {address}: {delayed} delayed, {leased} leased to others");
    Exit::PartlyDone
}

#[cfg(test)]
mod tests {
    use siding::wire::Books;

    use super::*;

    fn info(
        ready: u64,
        delayed: u64,
        leased: u64,
        held: u64,
        due: Option<u64>,
    ) -> SubscriptionInfo {
        SubscriptionInfo {
            books: Some(Books {
                ready,
                delayed,
                leased,
                ..Books::default()
            }),
            held_by_you: held,
            next_due_ms: due,
            ..SubscriptionInfo::default()
        }
    }

    #[test]
    fn a_drain_waits_while_something_is_ready() {
        assert_eq!(decide(&info(1, 0, 0, 0, None), 0), Next::Wait(LOOK_EVERY));
    }

    #[test]
    fn a_drain_waits_for_its_own_leases_until_they_end_but_looks_in_between() {
        let wait = |due| decide(&info(0, 0, 5, 5, Some(due)), 10_000);
        assert_eq!(wait(10_000), Next::Wait(LOOK_EVERY));
        assert_eq!(wait(10_500), Next::Wait(Duration::from_millis(500)));
        assert_eq!(wait(40_000), Next::Wait(LOOK_AT_LATEST));
        assert_eq!(wait(0), Next::Wait(LOOK_EVERY));
    }

    #[test]
    fn a_drain_does_not_wait_for_what_others_hold_or_what_is_delayed() {
        let (delayed, leased) = (3, 2);
        let next = decide(&info(0, delayed, leased, 0, Some(99)), 0);
        assert_eq!(next, Next::End { delayed, leased });
    }

    #[test]
    fn an_empty_queue_ends_a_drain_cleanly() {
        let end = Next::End {
            delayed: 0,
            leased: 0,
        };
        assert_eq!(decide(&info(0, 0, 0, 0, None), 0), end);
        assert_eq!(decide(&SubscriptionInfo::default(), 0), end);
    }
}
