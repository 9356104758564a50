//! Durations and sizes as people type and read them.

/// Units of a duration and their ms, the largest first.
const DURATIONS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of a size, the largest first.
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// Exactly, such as `1m30s`, `14d`; `0s`.
pub(crate) fn duration(ms: u64) -> String {
    let mut text = String::new();
    let mut rest = ms;
    for (unit, factor) in DURATIONS {
        let count = rest / factor;
        if count > 0 {
            text += &count.to_string();
            text += unit;
            rest %= factor;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// For people: the two largest units, such as `1m 30s`.
pub(crate) fn about(ms: u64) -> String {
    let first = DURATIONS.iter().position(|(_, factor)| ms >= *factor);
    let mut shown = DURATIONS.iter().skip(first.unwrap_or(0)).take(2);
    let least = shown.next_back().map_or(1, |(_, factor)| *factor);
    duration(ms / least * least)
}

/// Exactly, in the largest unit that divides it, such as `1GiB`, `1000`.
pub(crate) fn bytes(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes >= *factor && bytes.is_multiple_of(*factor);
    match SIZES.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    #[test]
    fn a_duration_reads_as_it_is_typed() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (90_000, "1m30s"),
            (14 * 86_400_000, "14d"),
            (3_661_001, "1h1m1s1ms"),
        ] {
            assert_eq!(duration(ms), text);
            let typed = args::duration(text).map(crate::settings::ms);
            assert_eq!(typed, Ok(ms), "{text}");
        }
        assert_eq!(about(3_661_001), "1h1m");
        assert_eq!(about(59_900), "59s900ms");
        assert_eq!(about(0), "0s");
    }

    #[test]
    fn a_size_reads_as_it_is_typed() {
        for (size, text) in [
            (1000, "1000"),
            (1 << 30, "1GiB"),
            (65_536, "64KiB"),
            (0, "0"),
        ] {
            assert_eq!(bytes(size), text);
            assert_eq!(args::bytes(text), Ok(size), "{text}");
        }
    }
}
