//! The limit of a test that waits: what it waits for comes in time, or the test fails and names it.
//!
//! The limit runs on a thread and by the machine's clock, so a test whose own clock stands still has one too.

use std::cell::RefCell;
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// A test takes seconds; a slow and busy machine a few times as long.
pub const LIMIT: Duration = Duration::from_mins(2);
/// A test that is over its limit fails within so much, or blocks its thread.
const GRACE: Duration = Duration::from_secs(10);

thread_local! {
    static AWAITED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Notes what the test of this thread waits for now.
pub fn awaiting(what: impl Into<String>) {
    AWAITED.set(what.into());
}

/// Plays a test on such a runtime.
///
/// # Panics
/// It is not over after [`LIMIT`]; or there is no runtime.
pub fn limited_on<T>(runtime: &mut Builder, test: impl Future<Output = T>) -> T {
    let runtime = runtime.enable_all().build().expect("a runtime");
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let (ended, ends) = sync_channel::<()>(0);
    let (over, is_over) = oneshot::channel();
    std::thread::spawn(move || {
        if ends.recv_timeout(LIMIT) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        over.send(()).ok();
        if ends.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
            let seconds = LIMIT.as_secs();
            let told = format!("{name} blocks its thread and is not over after {seconds} s\n");
            // Past what is captured of a test, which is lost with the process.
            std::io::stderr().write_all(told.as_bytes()).ok();
            std::process::abort();
        }
    });
    let played = runtime.block_on(async {
        tokio::select! {
            biased;
            played = test => Some(played),
            Ok(()) = is_over => None,
        }
    });
    drop(ended);
    played.unwrap_or_else(|| {
        let awaited = AWAITED.take();
        panic!(
            "not over after {} s; awaited last: {awaited}",
            LIMIT.as_secs()
        )
    })
}
