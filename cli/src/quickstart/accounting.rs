//! What came out against what went in, read back from the file. Pure.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::Value;

/// The books of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Accounts {
    /// Input positions without a line.
    pub(super) lost: u64,
    /// Lines beyond the first of a position.
    pub(super) duplicates: u64,
    /// Lines that belong to no input line.
    pub(super) foreign: u64,
}

/// What a result line says of its origin, and of its host.
#[derive(Debug)]
pub(super) struct ResultLine {
    pub(super) position: usize,
    pub(super) url: String,
    /// `None`: the URL has none, or the line was no URL.
    pub(super) host: Option<String>,
}

impl ResultLine {
    /// Parses a line; `None`: it is no result.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(line).ok()?;
        Some(Self {
            position: usize::try_from(value.get("position")?.as_u64()?).ok()?,
            url: value.get("url")?.as_str()?.to_owned(),
            host: value.get("host").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// Counts the lines of a result file against the input, by position.
pub(super) fn account(input: &[&str], file: impl BufRead) -> std::io::Result<Accounts> {
    let mut seen = vec![0_u64; input.len()];
    let mut accounts = Accounts::default();
    for line in file.lines() {
        let line = line?;
        let origin = ResultLine::parse(line.as_bytes()).and_then(|parsed| {
            (*input.get(parsed.position)? == parsed.url).then_some(parsed.position)
        });
        match origin.and_then(|position| seen.get_mut(position)) {
            Some(count) => *count += 1,
            None => accounts.foreign += 1,
        }
    }
    for count in seen {
        accounts.lost += u64::from(count == 0);
        accounts.duplicates += count.saturating_sub(1);
    }
    Ok(accounts)
}

/// The host with the most results; of equals the first by name.
pub(super) fn top(hosts: &BTreeMap<String, u64>) -> Option<(&str, u64)> {
    let pairs = hosts.iter().map(|(host, count)| (host.as_str(), *count));
    pairs.reduce(|top, next| if next.1 > top.1 { next } else { top })
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: [&str; 3] = ["http://a/", "http://a/", "http://b/"];

    fn books(lines: &[(u64, &str)]) -> Accounts {
        let lines = lines.iter().map(|(position, url)| {
            format!("{{\"position\":{position},\"url\":\"{url}\",\"host\":null}}\n")
        });
        account(&INPUT, lines.collect::<String>().as_bytes()).unwrap()
    }

    #[test]
    fn one_line_for_each_input_line_balances_in_any_order() {
        let all = [(2, "http://b/"), (0, "http://a/"), (1, "http://a/")];
        assert_eq!(books(&all), Accounts::default());
    }

    #[test]
    fn a_missing_a_double_and_a_foreign_line_are_told_apart() {
        let lines = [
            (0, "http://a/"),
            (0, "http://a/"),
            (2, "http://c/"),
            (9, "http://a/"),
        ];
        let expected = Accounts {
            lost: 2,
            duplicates: 1,
            foreign: 2,
        };
        assert_eq!(books(&lines), expected);
        let torn = account(&INPUT, "{\"position\":0,\"ur".as_bytes()).unwrap();
        assert_eq!((torn.foreign, torn.lost), (1, 3));
    }

    #[test]
    fn the_top_host_has_the_most_and_ties_go_by_name() {
        let hosts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
            pairs
                .iter()
                .map(|(host, count)| ((*host).to_owned(), *count))
                .collect()
        };
        assert_eq!(top(&hosts(&[("b", 2), ("a", 1), ("c", 2)])), Some(("b", 2)));
        assert_eq!(top(&BTreeMap::new()), None);
    }
}
