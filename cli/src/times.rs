//! Instants as people type them.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use siding::Start;
use siding::protocol::types::Timestamp as UnixMs;

use crate::{args, clock};

/// Where a time of day alone points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toward {
    Future,
    Past,
}

/// An instant to come as Unix ms: `2026-11-21T09:00:00Z`, `2026-11-21 09:00` or `09:00` (in the local
/// zone, the next one).
pub(crate) fn coming(text: &str) -> Result<u64, String> {
    instant(text, &now(), Toward::Future)
        .ok_or_else(|| "a time is 2026-11-21T09:00:00Z, \"2026-11-21 09:00\" or 09:00".to_owned())
}

/// Where to read from: `earliest`, `latest`, an offset, `2h` ago, or an instant.
pub(crate) fn start(text: &str) -> Result<Start, String> {
    start_at(text, &now()).ok_or_else(|| {
        "a start is earliest, latest, an offset, 2h (ago), 2026-11-21T09:00:00Z or 09:00".to_owned()
    })
}

fn start_at(text: &str, now: &Zoned) -> Option<Start> {
    match text {
        "earliest" => return Some(Start::Earliest),
        "latest" => return Some(Start::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Some(Start::Offset(offset));
    }
    let at = if let Ok(ago) = args::duration(text) {
        let now = u64::try_from(now.timestamp().as_millisecond()).ok()?;
        now.saturating_sub(crate::settings::ms(ago))
    } else {
        instant(text, now, Toward::Past)?
    };
    Some(Start::Time(UnixMs(at)))
}

fn instant(text: &str, now: &Zoned, toward: Toward) -> Option<u64> {
    let at = if let Ok(at) = text.parse::<Timestamp>() {
        at
    } else if let Ok(at) = text.parse::<DateTime>() {
        at.to_zoned(now.time_zone().clone()).ok()?.timestamp()
    } else {
        let time: Time = text.parse().ok()?;
        let today = now.with().time(time).build().ok()?;
        let day = match toward {
            Toward::Future if today < *now => 1.day(),
            Toward::Past if today > *now => -1.day(),
            _ => 0.days(),
        };
        today.checked_add(day).ok()?.timestamp()
    };
    u64::try_from(at.as_millisecond()).ok()
}

fn now() -> Zoned {
    let ms = i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX);
    let now = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    now.to_zoned(TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Zoned {
        let noon: Timestamp = "2026-11-20T11:00:00Z".parse().unwrap();
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        noon.to_zoned(berlin)
    }

    fn unix_ms(text: &str) -> u64 {
        let at: Timestamp = text.parse().unwrap();
        at.as_millisecond().try_into().unwrap()
    }

    #[test]
    fn a_time_is_an_instant_a_local_date_or_the_next_time_of_day() {
        let at = |text| instant(text, &noon(), Toward::Future);
        assert_eq!(
            at("2026-11-21T09:00:00Z"),
            Some(unix_ms("2026-11-21T09:00:00Z"))
        );
        assert_eq!(
            at("2026-11-21T09:00:00+02:00"),
            Some(unix_ms("2026-11-21T07:00:00Z"))
        );
        assert_eq!(
            at("2026-11-21 09:00"),
            Some(unix_ms("2026-11-21T08:00:00Z"))
        );
        assert_eq!(at("13:30"), Some(unix_ms("2026-11-20T12:30:00Z")));
        assert_eq!(at("09:00"), Some(unix_ms("2026-11-21T08:00:00Z")));
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn a_start_is_a_word_an_offset_an_age_or_a_time_that_was() {
        let at = |text| start_at(text, &noon());
        let time = |text| Some(Start::Time(UnixMs(unix_ms(text))));
        assert_eq!(at("earliest"), Some(Start::Earliest));
        assert_eq!(at("latest"), Some(Start::Latest));
        assert_eq!(at("17"), Some(Start::Offset(17)));
        assert_eq!(at("2h"), time("2026-11-20T09:00:00Z"));
        assert_eq!(at("13:30"), time("2026-11-19T12:30:00Z"));
        assert_eq!(at("yesterday"), None);
    }
}
