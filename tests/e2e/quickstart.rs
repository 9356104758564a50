//! `siding quickstart`: the right answer for its own list and for any other.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use siding_tests::binaries::siding;

use crate::limited;

/// Runs it in `dir/out`; gives the summary and the result lines.
async fn quickstart(dir: &Path, further: &[&str]) -> Result<(Value, Vec<Value>)> {
    let out = dir.join("out");
    let out_text = out.to_str().expect("UTF-8");
    let arguments = [&["quickstart", "--dir", out_text, "-o", "json"], further].concat();
    let ran = siding("siding://127.0.0.1:1", &arguments, "").await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let results = std::fs::read_to_string(out.join("results.ndjson"))?;
    let results: Result<_, _> = results.lines().map(serde_json::from_str).collect();
    Ok((serde_json::from_str(&ran.stdout)?, results?))
}

/// Each URL as often as it came in.
fn counted<'a>(urls: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counts = BTreeMap::new();
    for url in urls {
        *counts.entry(url).or_default() += 1;
    }
    counts
}

#[test]
fn the_quickstart_counts_its_own_list_right_although_a_worker_is_cut_off() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let (summary, results) = quickstart(dir.path(), &[]).await?;
        for (field, expected) in [
            ("urls", Value::from(8926)),
            ("hosts", Value::from(66)),
            ("top_host", Value::from("developer.mozilla.org")),
            ("top_host_count", Value::from(3983)),
            ("lost", Value::from(0)),
            ("duplicates", Value::from(0)),
        ] {
            assert_eq!(summary[field], expected, "{field} of {summary}");
        }
        assert!(summary["redelivered"].as_u64() > Some(0), "{summary}");
        assert!(summary["publish_rate"].as_f64() > Some(0.0), "{summary}");
        assert!(summary["work_rate"].as_f64() > Some(0.0), "{summary}");
        let list = include_str!("../../cli/data/urls.txt");
        let found = results
            .iter()
            .map(|line| line["url"].as_str().expect("a url"));
        assert_eq!(counted(found), counted(list.lines()));
        Ok(())
    })
}

#[test]
fn the_quickstart_takes_any_list_with_what_is_no_url_in_it() -> Result<()> {
    limited(async {
        let dir = tempfile::tempdir()?;
        let list = "https://a.example/x\n\n  https://b.example/y#z  \r\nnot a url\n\
                    https://a.example/x\nmailto:someone@c.example\n\nhttps://A.example\nhttp://[::1\n\
                    https://ünïcode.example/ä";
        let file = dir.path().join("urls");
        std::fs::write(&file, list)?;
        let file = file.to_str().expect("UTF-8");
        let (summary, results) =
            quickstart(dir.path(), &["--urls", file, "--workers", "2"]).await?;
        assert_eq!(summary["urls"], 8, "{summary}");
        assert_eq!(summary["hosts"], 3, "{summary}");
        assert_eq!(summary["top_host"], "a.example");
        assert_eq!(summary["top_host_count"], 3);
        assert_eq!(
            (&summary["lost"], &summary["duplicates"]),
            (&Value::from(0), &Value::from(0))
        );
        let found = results
            .iter()
            .map(|line| line["url"].as_str().expect("a url"));
        let lines = list.lines().map(str::trim).filter(|line| !line.is_empty());
        assert_eq!(counted(found), counted(lines));
        let bad = results
            .iter()
            .filter(|line| line.get("error").is_some())
            .count();
        assert_eq!(bad, 2, "{results:?}");
        Ok(())
    })
}
