//! Schedules as typed.

use anyhow::Result;
use serde_json::Value;
use siding::Client;
use siding::wire::ScheduleInfo;
use siding_tests::broker::within;

use super::Desk;
use crate::limited;

#[test]
fn a_schedule_is_added_shown_fired_and_ended() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let nightly = ["cron", "add", "nightly", "--to", "jobs", "--cron"];
        let nightly = [
            &nightly[..],
            &["0 3 * * *", "--zone", "Europe/Berlin", "clean"],
        ]
        .concat();
        desk.done(&nightly).await;
        // The same again is fine, another one is not.
        desk.done(&nightly).await;
        let other = ["cron", "add", "nightly", "--to", "jobs", "--every", "1h"];
        desk.fails(&other, 73, "other settings").await;
        desk.done(&["cron", "add", "yearly", "--to", "jobs", "--every", "365d"])
            .await;
        let listed: Value = serde_json::from_str(&desk.done(&["cron", "ls", "-o", "json"]).await)?;
        assert_eq!(listed[0]["name"], "nightly");
        assert_eq!(listed[0]["when"], "0 3 * * * Europe/Berlin");
        assert_eq!(listed[1]["when"], "every 365d");
        let next = desk.done(&["cron", "next"]).await;
        assert!(next.starts_with("nightly\t"), "{next}");
        desk.done(&["cron", "run", "nightly"]).await;
        let taken = ["consume", "jobs", "-n", "1"];
        assert_eq!(desk.done(&taken).await, "clean\n");
        desk.fails(
            &["cron", "rm", "nightly"],
            2,
            "to end schedule nightly, say --yes",
        )
        .await;
        desk.done(&["cron", "rm", "nightly", "--yes"]).await;
        desk.fails(&["cron", "ls", "nightly"], 1, "").await;
        for verb in [&["run", "yaerly"][..], &["rm", "yaerly", "--yes"]] {
            let words = "did you mean \"yearly\"? · siding cron ls";
            desk.fails(&[&["cron"], verb].concat(), 66, words).await;
        }
        Ok(())
    })
}

#[test]
fn a_schedule_that_cannot_be_names_the_flag() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let cases: [(&[&str], i32, &str); 6] = [
            (&["--cron", "0 3 * *"], 2, "--cron: "),
            (
                &["--cron", "0 3 * * *", "--zone", "Europe/Nowhere"],
                2,
                "--zone: ",
            ),
            (
                &["--every", "10ms"],
                2,
                "--every: out of range (allowed: 1s to 3660d)",
            ),
            (
                &["--every", "1h", "--at", "09:00"],
                2,
                "cannot be used with",
            ),
            (
                &["--every", "1h", "--catch-up", "9000d"],
                2,
                "--catch-up: out of range",
            ),
            (&[], 2, "--every"),
        ];
        for (flags, code, words) in cases {
            let line = [&["cron", "add", "x", "--to", "jobs"], flags].concat();
            desk.fails(&line, code, words).await;
        }
        let nowhere = ["cron", "add", "x", "--to", "jbos", "--every", "1h"];
        desk.fails(&nowhere, 66, "did you mean \"jobs\"?").await;
        Ok(())
    })
}

/// Waits until the one schedule there is says so: it is asked again and again.
async fn until(desk: &Desk, say: impl Fn(&ScheduleInfo) -> bool) -> Result<ScheduleInfo> {
    let client = Client::connect(&desk.url).await?;
    let asking = async {
        loop {
            let found = client.list_schedules("").await?.into_iter().find(&say);
            if let Some(found) = found {
                return Ok(found);
            }
        }
    };
    within("the schedule", asking).await
}

#[test]
fn a_schedule_fires_once_for_each_of_its_times() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "beats"]).await;
        let add = ["cron", "add", "beat", "--to", "beats", "--every", "1s"];
        desk.done(&[&add[..], &["--overlap", "allow", "tick"]].concat())
            .await;
        let beats = desk.done(&["consume", "beats", "-n", "3"]).await;
        assert_eq!(beats, "tick\ntick\ntick\n");
        let info = until(&desk, |info| info.fired >= 3).await?;
        let end = desk.field(&["queue", "show", "beats"], "end").await?;
        let later = until(&desk, |info| info.fired >= 3).await?;
        let published = end.as_u64().unwrap_or_default();
        assert!((info.fired..=later.fired).contains(&published), "{end}");
        let (last, next) = (info.last_ms.unwrap_or(0), info.next_ms.unwrap_or(0));
        assert_eq!((next - last, info.missed_ms), (1_000, vec![]));
        Ok(())
    })
}

#[test]
fn a_schedule_lists_what_it_missed_while_its_last_job_had_not_ended() -> Result<()> {
    limited(async {
        let desk = Desk::open().await?;
        desk.done(&["queue", "create", "jobs"]).await;
        let add = ["cron", "add", "slow", "--to", "jobs", "--every", "1s"];
        desk.done(&[&add[..], &["clean"]].concat()).await;
        let info = until(&desk, |info| !info.missed_ms.is_empty()).await?;
        assert_eq!(info.fired, 1);
        assert_eq!(info.missed_ms[0] - info.last_ms.unwrap_or(0), 1_000);
        let listed: Value = serde_json::from_str(&desk.done(&["cron", "ls", "-o", "json"]).await)?;
        let missed = listed[0]["missed"].as_str().unwrap_or_default();
        assert!(missed.starts_with("20") && missed.contains('Z'), "{missed}");
        assert_eq!(desk.field(&["queue", "show", "jobs"], "end").await?, 1);
        // It goes on once the job has ended.
        assert_eq!(desk.done(&["consume", "jobs", "-n", "1"]).await, "clean\n");
        until(&desk, |info| info.fired == 2).await?;
        let over = ["cron", "add", "new-year", "--to", "jobs", "--at"];
        let over = [&over[..], &["2020-01-01T00:00:00Z"]].concat();
        let told = desk.typed(&over).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        assert!(
            told.stderr.contains("2020-01-01T00:00:00.000Z is over"),
            "{}",
            told.stderr
        );
        Ok(())
    })
}
