//! The programs under test: `sidingd` and `siding` as cargo builds them, and runs of `siding`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::broker::within;

/// The path of `sidingd` or `siding`, of this very source and in the profile this test was built in; or
/// in the folder that `SIDING_PROGRAMS` names, to try what was built for release or elsewhere.
/// The first call has cargo build them, for all to see: after `cargo test --workspace` has built everything,
/// there is nothing left to build.
///
/// # Panics
/// They cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let built = || build().expect("cargo builds the programs under test");
    let given = || std::env::var_os("SIDING_PROGRAMS").map(PathBuf::from);
    DIRECTORY
        .get_or_init(|| given().unwrap_or_else(built))
        .join(name)
}

fn build() -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    let mut directory = running.parent().context("in a directory")?;
    let is_test = directory.ends_with("deps");
    if is_test {
        directory = directory.parent().context("deps of a profile")?;
    }
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo
        .args(["build", "--profile", profile])
        .args(["--bin", "sidingd", "--bin", "siding"])
        .arg("--target-dir")
        .arg(directory.parent().context("a profile of a target")?)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if profile == "dist" {
        cargo.args(["--features", "siding-broker/jemalloc"]);
    }
    if is_test {
        // With tests of the whole workspace among the targets, dependencies have the features they have in
        // `cargo test --workspace`: what it has built is used, not built again.
        cargo.args(["--workspace", "--test", "program"]);
    }
    let status = cargo.status()?;
    anyhow::ensure!(status.success(), "cargo build: {status}");
    Ok(directory.to_owned())
}

/// What a run of `siding` left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1: a signal ended it.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Starts `siding` with all three streams piped.
///
/// # Errors
/// It cannot be started.
pub fn spawn_siding(url: &str, arguments: &[&str]) -> Result<Child> {
    let child = Command::new(binary("siding"))
        .args(arguments)
        .env("SIDING_URL", url)
        .env_remove("SIDING_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    Ok(child?)
}

/// Runs `siding` to its end, with this on stdin.
///
/// # Panics
/// It cannot be started, or does not end in time.
pub async fn siding(url: &str, arguments: &[&str], stdin: &str) -> Ran {
    let child = spawn_siding(url, arguments).expect("siding starts");
    let what = format!("siding {arguments:?} ends");
    let ran = within(&what, finish(child, stdin)).await;
    ran.expect("siding runs")
}

/// Feeds a started `siding` and waits for its end.
///
/// # Errors
/// Its streams fail.
pub async fn finish(mut child: Child, stdin: &str) -> Result<Ran> {
    let mut pipe = child.stdin.take().context("piped")?;
    let text = stdin.to_owned();
    let feeding = tokio::spawn(async move {
        // It may end without reading everything.
        pipe.write_all(text.as_bytes()).await.ok();
    });
    let output = child.wait_with_output().await?;
    feeding.await?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
