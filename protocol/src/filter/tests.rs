//! What filters say of messages, and what is no filter.

use proptest::prelude::*;

use super::*;
use crate::run::{MessageFields, RunBuilder, RunLimits, messages};

fn run(routing_key: &str, key: &str, headers: &[(&str, HeaderValue<'_>)], body: &[u8]) -> Vec<u8> {
    let mut builder = RunBuilder::new(RunLimits::default());
    let fields = MessageFields {
        body,
        key,
        routing_key,
        headers,
        ..MessageFields::default()
    };
    builder.push(&fields).expect("within the limits");
    builder.take().0.to_vec()
}

fn says(filter: &str, run: &[u8]) -> bool {
    let filter = Filter::parse(filter, Scope::Look).unwrap_or_else(|why| panic!("{filter}: {why}"));
    let message = messages(run).next().expect("one message");
    filter.matches(&Candidate {
        message,
        reason: "rejected",
        detail: "no such customer",
    })
}

fn why(filter: &str, scope: Scope) -> String {
    let refusal = Filter::parse(filter, scope).expect_err(filter);
    refusal.to_string()
}

#[test]
fn a_star_stands_for_one_token_and_a_last_angle_for_the_rest() {
    for (pattern, key, expected) in [
        ("orders.eu", "orders.eu", true),
        ("orders.eu", "orders", false),
        ("orders.*", "orders.eu", true),
        ("orders.*", "orders.eu.new", false),
        ("orders.*", "orders", false),
        ("orders.>", "orders.eu.new", true),
        ("orders.>", "orders", false),
        ("*.*.new", "orders.eu.new", true),
        (">", "orders", true),
        ("*", "", false),
        (">", "", false),
    ] {
        let run = run(key, "", &[], b"");
        let filter = format!("routing_key matches {pattern}");
        assert_eq!(says(&filter, &run), expected, "{pattern} on {key:?}");
    }
}

#[test]
fn a_header_is_compared_as_the_word_that_says_it() {
    let headers = [
        ("tenant", HeaderValue::Text("acme")),
        ("size", HeaderValue::Int(-42)),
        ("ratio", HeaderValue::Float(0.5)),
        ("test", HeaderValue::Bool(true)),
        ("raw", HeaderValue::Bytes(b"\x01ab")),
        ("tenant", HeaderValue::Text("beta")),
        ("two words", HeaderValue::Text("a \"quote\"")),
    ];
    let run = run("orders.eu", "customer-7", &headers, b"some timeout here");
    for filter in [
        "header tenant eq acme",
        "header tenant eq beta",
        "header tenant in (x, beta)",
        "header tenant prefix ac",
        "header size eq -42",
        "header size in (1, -42)",
        "header ratio eq 0.50",
        "header test eq true",
        "header raw contains ab",
        "header \"two words\" eq \"a \\\"quote\\\"\"",
        "header test exists and not header missing exists",
        "key eq customer-7 and (routing_key matches *.us or routing_key matches *.eu)",
        "not not key prefix customer",
        "header missing exists or key exists and routing_key exists",
        "body contains timeout",
        "body contains \"\"",
        "reason in (expired, rejected) and detail contains customer",
    ] {
        assert!(says(filter, &run), "{filter}");
    }
    for filter in [
        "header tenant eq Acme",
        "header size prefix -4",
        "header size eq 42",
        "header missing eq \"\"",
        "header test eq false",
        "body eq timeout",
        "not (key exists or header missing exists)",
    ] {
        assert!(!says(filter, &run), "{filter}");
    }
}

#[test]
fn a_bad_filter_says_what_is_wrong_at_which_character() {
    for (filter, at) in [
        ("", "at character 1"),
        ("header", "expected a header's name, at character 7"),
        ("header a", "at character 9"),
        ("header a is b", "at character 10"),
        ("header a eq", "expected a word, at character 12"),
        ("header a in b", "expected `(`, at character 13"),
        ("header a in (b c)", "expected `,` or `)`, at character 16"),
        ("(key exists", "expected `)`, at character 12"),
        ("key exists)", "at character 11"),
        ("key exists key exists", "at character 12"),
        ("key matches a", "at character 5"),
        ("routing_key matches a*", "at character 21"),
        ("routing_key matches a..b", "at character 21"),
        ("routing_key matches >.a", "at character 21"),
        (
            "header ä eq \"b",
            "a quote that does not end, at character 13",
        ),
        ("key eq \"a\\b\"", "at character 10"),
    ] {
        let why = why(filter, Scope::Look);
        assert!(
            why.starts_with("filter: ") && why.ends_with(at),
            "{filter}: {why}"
        );
    }
    let why = why("body contains x", Scope::Subscription);
    assert!(why.contains("keys and headers only"), "{why}");
}

#[test]
fn a_filter_is_limited_in_bytes_depth_and_words() {
    let nested = |depth: usize| format!("{}key exists{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(FILTER_DEPTH_MAX - 1), Scope::Look).is_ok());
    assert!(why(&nested(FILTER_DEPTH_MAX), Scope::Look).contains("nested deeper"));
    let words = |count| format!("key in ({})", vec!["a"; count].join(","));
    assert!(Filter::parse(&words(FILTER_WORDS_MAX), Scope::Look).is_ok());
    assert!(why(&words(FILTER_WORDS_MAX + 1), Scope::Look).contains("more than"));
    let long = format!("key eq {}", "x".repeat(FILTER_BYTES_MAX));
    assert_eq!(why(&long, Scope::Look), "filter is larger than 4096");
}

/// A filter as text, with what it says of `run("a.b", "k", [("h", "v")], "body")`.
fn known() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![
        Just(("routing_key matches a.*".to_owned(), true)),
        Just(("routing_key matches b.>".to_owned(), false)),
        Just(("key in (x, \"k\")".to_owned(), true)),
        Just(("key eq and".to_owned(), false)),
        Just(("header h prefix v".to_owned(), true)),
        Just(("header not exists".to_owned(), false)),
        Just(("body contains od".to_owned(), true)),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let both = (inner.clone(), inner.clone());
        prop_oneof![
            inner
                .clone()
                .prop_map(|(text, is)| (format!("not ({text})"), !is)),
            both.clone()
                .prop_map(|((a, x), (b, y))| (format!("({a}) and ({b})"), x && y)),
            both.prop_map(|((a, x), (b, y))| (format!("({a} ) or({b})"), x || y)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_filter_says_what_its_parts_say((text, expected) in known()) {
        let run = run("a.b", "k", &[("h", HeaderValue::Text("v"))], b"body");
        prop_assert_eq!(says(&text, &run), expected);
    }

    #[test]
    fn any_text_is_a_filter_or_is_refused_within_it(text in "(not|and|or|key|eq|in|header|[()\", .*>\\\\a]| ){0,24}") {
        if let Err(refusal) = Filter::parse(&text, Scope::Look) {
            let words = refusal.to_string();
            let at = words.rsplit(' ').next().and_then(|at| at.parse::<usize>().ok());
            prop_assert!(at.is_some_and(|at| at <= text.chars().count() + 1), "{}", words);
        }
    }

    #[test]
    fn a_pattern_of_words_matches_only_itself(key in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}", other in "[a-c]{1,2}(\\.[a-c]{1,2}){0,3}") {
        let run = run(&other, "", &[], b"");
        prop_assert_eq!(says(&format!("routing_key matches {key}"), &run), key == other);
    }
}
