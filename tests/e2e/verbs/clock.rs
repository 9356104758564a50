//! Schedules as typed.

use anyhow::Result;
use serde_json::Value;

use super::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_added_shown_fired_and_ended() -> Result<()> {
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
    desk.fails(&["cron", "run", "nightly"], 66, "not found")
        .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_cannot_be_names_the_flag() -> Result<()> {
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
}
