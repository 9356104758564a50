//! `sidingd`: one broker, from the command line.

#[cfg(not(feature = "jemalloc"))]
use std::alloc::System as Allocator;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use cap::Cap;
use clap::Parser;
use siding_broker::{Broker, Config};
#[cfg(feature = "jemalloc")]
use tikv_jemallocator::Jemalloc as Allocator;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

/// What it has given away is counted: the memory budget limits that.
#[global_allocator]
static ALLOCATOR: Cap<Allocator> = Cap::new(Allocator, usize::MAX);

/// Wrong settings, as in the table of exit codes.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let mut config = Config::parse();
    config.allocated = Some(allocated);
    start_logging();
    raise_descriptors();
    let broker = match Broker::start(&config) {
        Ok(broker) => broker,
        Err(error) => {
            error!(%error, "the broker does not start");
            let is_config = matches!(error, siding_broker::StartError::Config(_));
            return if is_config {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    match run(&config, broker) {
        Ok(code) => code,
        Err(error) => {
            error!(%error, "cannot wait for signals");
            ExitCode::FAILURE
        }
    }
}

/// As many open files as the system lets this process have: a backlog holds one for each 64 MiB. The usual soft
/// limit of 1,024 is for programs that use `select`.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "the limit of open files is not raised");
    }
}

/// Bytes that are allocated now.
fn allocated() -> Option<u64> {
    u64::try_from(ALLOCATOR.allocated()).ok()
}

/// Serves until a signal or a failure. The first signal drains, the second ends at once.
///
/// Signals are heard before the addresses are announced: whoever waited for them may send one.
fn run(config: &Config, broker: Broker) -> std::io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        if let Err(error) = announce(config, &broker) {
            warn!(%error, "cannot write to stdout");
        }
        tokio::select! {
            _ = term.recv() => info!("asked to stop (SIGTERM)"),
            _ = int.recv() => info!("asked to stop (SIGINT)"),
            () = broker.ended() => {}
        }
        let (done, mut stopped) = tokio::sync::oneshot::channel();
        let stop = move || {
            // Gone: a second signal came first.
            done.send(broker.stop()).ok();
        };
        std::thread::Builder::new()
            .name("siding-stop".into())
            .spawn(stop)?;
        let stopped = tokio::select! {
            stopped = &mut stopped => stopped,
            _ = term.recv() => return Ok(ExitCode::from(130)),
            _ = int.recv() => return Ok(ExitCode::from(130)),
        };
        Ok(match stopped {
            Ok(Ok(())) => ExitCode::SUCCESS,
            // Logged where it happened.
            Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
        })
    })
}

/// What a person, a test or a tool wants to know: the lines are stable.
fn announce(config: &Config, broker: &Broker) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "sidingd {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "data directory {}", config.data_dir.display())?;
    writeln!(
        out,
        "durability synced: a confirm follows the sync of its message"
    )?;
    match broker.admin_addr() {
        Some(address) => writeln!(out, "admin on http://{address}")?,
        None => writeln!(out, "admin off")?,
    }
    writeln!(out, "listening on {}", broker.addr())?;
    if config.insecure_remote {
        warn!("--insecure-remote: connections are neither encrypted nor authenticated");
    }
    out.flush()
}

/// To stderr: for people on a terminal, as JSON otherwise. `RUST_LOG` overrides the level.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else {
        builder.json().init();
    }
}
