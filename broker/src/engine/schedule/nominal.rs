//! The nominal times of a schedule: when it should fire, whatever time it is.
//!
//! Only the proposer asks; a nominal time that is due stands in the logged command, so a replay never
//! reckons with a calendar. The zones are those this release brings along, not the machine's.

use croner::Cron as Pattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use siding_protocol::limits::MISSED_FIRINGS_MAX;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{Cron, When};
use siding_protocol::types::Timestamp;

/// So many times are counted one by one before the rest is looked for from behind.
const STEPS_MAX: usize = 1_000;

/// Checks what only the calendar can say.
///
/// # Errors
/// `Invalid`, with the reason: no such zone, no such expression, or one that never comes.
pub(super) fn check(when: Option<&When>, now: Timestamp) -> Result<(), Refusal> {
    match when {
        Some(When::Cron(cron)) => {
            let zone = zone(cron)?;
            let pattern = pattern(cron)?;
            let next = next_by(&pattern, &zone, now);
            next.map(|_| ())
                .ok_or_else(|| Refusal::malformed("expression", "it never comes"))
        }
        Some(When::At(0)) => Err(Refusal::out_of_range("at_ms", 1, u64::MAX)),
        Some(_) => Ok(()),
        None => Err(Refusal::malformed("when", "missing")),
    }
}

/// The first nominal time after `after`; `None`: never again.
pub(super) fn next(when: &When, created: Timestamp, after: Timestamp) -> Option<Timestamp> {
    match when {
        When::At(at) => Some(Timestamp(*at)).filter(|at| *at > after),
        When::Every(every_ms) => {
            let periods = after.ms_since(created) / every_ms + 1;
            let ms = periods.checked_mul(*every_ms)?;
            created.0.checked_add(ms).map(Timestamp)
        }
        When::Cron(cron) => next_by(&pattern(cron).ok()?, &zone(cron).ok()?, after),
    }
}

/// The nominal times after `after`, up to `now`: the newest, and before it the last that were passed
/// over, at most [`MISSED_FIRINGS_MAX`].
pub(super) fn due(
    when: &When,
    created: Timestamp,
    (after, now): (Timestamp, Timestamp),
) -> Option<(Timestamp, Vec<Timestamp>)> {
    let mut times = match when {
        When::At(_) => next(when, created, after).into_iter().collect(),
        When::Every(every_ms) => every(*every_ms, created, (after, now)),
        When::Cron(cron) => by_calendar(&pattern(cron).ok()?, &zone(cron).ok()?, (after, now)),
    };
    times.retain(|at| *at <= now);
    let newest = times.pop()?;
    let excess = times.len().saturating_sub(MISSED_FIRINGS_MAX);
    times.drain(..excess);
    Some((newest, times))
}

/// The last times of a period that lie after `after` and not after `now`.
fn every(
    every_ms: u64,
    created: Timestamp,
    (after, now): (Timestamp, Timestamp),
) -> Vec<Timestamp> {
    let first = after.ms_since(created) / every_ms + 1;
    let last = now.ms_since(created) / every_ms;
    let first = first.max(last.saturating_sub(MISSED_FIRINGS_MAX as u64));
    let periods = first..last.saturating_add(1);
    periods
        .map(|periods| created.plus_ms(periods.saturating_mul(every_ms)))
        .collect()
}

fn by_calendar(
    pattern: &Pattern,
    zone: &TimeZone,
    (after, now): (Timestamp, Timestamp),
) -> Vec<Timestamp> {
    let mut times = Vec::new();
    let mut at = after;
    while let Some(next) = next_by(pattern, zone, at).filter(|next| *next <= now) {
        times.push(next);
        at = next;
        if times.len() > STEPS_MAX {
            return from_behind(pattern, zone, now);
        }
    }
    times
}

/// The last times up to `now`, rising.
fn from_behind(pattern: &Pattern, zone: &TimeZone, now: Timestamp) -> Vec<Timestamp> {
    let mut times = Vec::new();
    let mut at = now.plus_ms(1_000);
    while times.len() <= MISSED_FIRINGS_MAX {
        let Some(from) = zoned(at, zone) else { break };
        let Ok(before) = pattern.find_previous_occurrence(&from, false) else {
            break;
        };
        let Some(before) = stamp(&before).filter(|before| *before < at) else {
            break;
        };
        at = before;
        times.push(before);
    }
    times.reverse();
    times
}

fn next_by(pattern: &Pattern, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let from = zoned(after, zone)?;
    let next = pattern.find_next_occurrence(&from, false).ok()?;
    stamp(&next).filter(|next| *next > after)
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    let ms = i64::try_from(at.0).ok()?;
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.to_zoned(zone.clone()))
}

fn stamp(at: &Zoned) -> Option<Timestamp> {
    let ms = at.timestamp().as_millisecond();
    u64::try_from(ms).ok().map(Timestamp)
}

fn zone(cron: &Cron) -> Result<TimeZone, Refusal> {
    if cron.zone.is_empty() {
        return Ok(TimeZone::UTC);
    }
    let found = TimeZoneDatabase::bundled().get(&cron.zone);
    found.map_err(|_| Refusal::malformed("zone", format!("no IANA zone {:?}", cron.zone)))
}

fn pattern(cron: &Cron) -> Result<Pattern, Refusal> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let parsed = parser.parse(&cron.expression);
    parsed.map_err(|error| Refusal::malformed("expression", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect("an instant");
        Timestamp(at.as_millisecond().cast_unsigned())
    }

    fn cron(expression: &str, zone: &str) -> When {
        When::Cron(Cron {
            expression: expression.into(),
            zone: zone.into(),
        })
    }

    fn times(when: &When, after: &str, count: usize) -> Vec<Timestamp> {
        let mut from = at(after);
        let mut times = Vec::new();
        while let Some(next) = next(when, Timestamp(0), from).filter(|_| times.len() < count) {
            times.push(next);
            from = next;
        }
        times
    }

    #[test]
    fn a_cron_expression_is_read_in_its_zone() {
        let berlin = cron("30 9 * * MON-FRI", "Europe/Berlin");
        let found = times(&berlin, "2026-11-19T12:00:00Z", 3);
        let expected = [
            "2026-11-20T08:30:00Z",
            "2026-11-23T08:30:00Z",
            "2026-11-24T08:30:00Z",
        ];
        assert_eq!(found, expected.map(at));
        let seconds = cron("*/20 * * * * *", "");
        let found = times(&seconds, "2026-11-20T00:00:00Z", 2);
        assert_eq!(
            found,
            ["2026-11-20T00:00:20Z", "2026-11-20T00:00:40Z"].map(at)
        );
    }

    #[test]
    fn what_a_change_of_clocks_skips_fires_at_the_next_valid_instant() {
        // On 29 March 2026 Berlin's clocks go from 02:00 CET to 03:00 CEST at 01:00 UTC.
        let when = cron("30 2 * * *", "Europe/Berlin");
        let found = times(&when, "2026-03-28T00:00:00Z", 3);
        let expected = [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z",
        ];
        assert_eq!(found, expected.map(at));
    }

    #[test]
    fn what_a_change_of_clocks_repeats_fires_once() {
        // On 25 October 2026 Berlin's clocks go back from 03:00 CEST to 02:00 CET at 01:00 UTC.
        let when = cron("30 2 * * *", "Europe/Berlin");
        let found = times(&when, "2026-10-24T12:00:00Z", 2);
        assert_eq!(
            found,
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"].map(at)
        );
    }

    #[test]
    fn an_interval_goes_on_through_the_hour_that_is_repeated() {
        let when = cron("*/30 * * * *", "Europe/Berlin");
        let found = times(&when, "2026-10-25T00:00:00Z", 4);
        let expected = [
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
        ];
        assert_eq!(found, expected.map(at));
    }

    #[test]
    fn an_unknown_zone_or_expression_is_invalid_and_says_why() {
        let refused = |when| check(Some(&when), Timestamp(1_800_000_000_000)).unwrap_err();
        let why = |refusal: Refusal| refusal.to_string();
        assert!(why(refused(cron("* * * * *", "Mars/Olympus"))).starts_with("zone: no IANA zone"));
        assert!(why(refused(cron("61 * * * *", ""))).starts_with("expression: "));
        assert!(why(refused(cron("* * * *", ""))).starts_with("expression: "));
        assert!(why(refused(cron("* * * * * * 2027", ""))).starts_with("expression: "));
        assert_eq!(
            why(refused(cron("0 0 30 2 *", ""))),
            "expression: it never comes"
        );
        assert!(matches!(
            refused(When::At(0)),
            Refusal::Invalid { min: 1, .. }
        ));
        assert!(check(Some(&cron("@daily", "Asia/Tokyo")), Timestamp(0)).is_ok());
    }

    #[test]
    fn of_many_times_that_were_passed_over_the_last_hundred_are_told() {
        let (after, now) = (at("2026-11-01T00:00:00Z"), at("2026-11-20T10:00:00.500Z"));
        for when in [cron("* * * * * *", ""), When::Every(1_000)] {
            let (newest, missed) = due(&when, after, (after, now)).unwrap();
            assert_eq!(newest, at("2026-11-20T10:00:00Z"));
            assert_eq!(missed.len(), MISSED_FIRINGS_MAX);
            assert_eq!(missed.last(), Some(&at("2026-11-20T09:59:59Z")));
            assert_eq!(missed.first(), Some(&at("2026-11-20T09:58:20Z")));
        }
        let few = due(&When::Every(60_000), after, (after, after.plus_ms(150_000)));
        let minute = |n: u64| after.plus_ms(n * 60_000);
        assert_eq!(few, Some((minute(2), vec![minute(1)])));
        assert_eq!(
            due(&When::Every(60_000), after, (minute(1), minute(1))),
            None
        );
    }
}
