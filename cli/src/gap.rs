//! What a reader of a topic is told when retention was faster.

use std::ops::Range;

use siding::Notice;

/// Says on stderr what will never come.
pub(crate) fn tell(address: &str, gap: &Range<u64>) {
    eprintln!("{}", words(address, gap));
}

/// As [`tell`], of what a consumer was notified of; another notice is not about a gap.
pub(crate) fn tell_notice(address: &str, notice: &Notice) {
    if let Notice::Gap(gap) = notice {
        tell(address, gap);
    }
}

fn words(address: &str, gap: &Range<u64>) -> String {
    let last = gap.end.saturating_sub(1);
    match gap.end.saturating_sub(gap.start) {
        1 => format!("gap in {address}: offset {last} was gone before it was read"),
        count => format!(
            "gap in {address}: offsets {} to {last}, {count} messages, were gone before they were read",
            gap.start
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_told_with_its_first_and_last_offset() {
        assert_eq!(
            words("news/a", &(3..4)),
            "gap in news/a: offset 3 was gone before it was read"
        );
        assert_eq!(
            words("news/a", &(3..8)),
            "gap in news/a: offsets 3 to 7, 5 messages, were gone before they were read"
        );
    }
}
