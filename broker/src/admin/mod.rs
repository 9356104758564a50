//! HTTP for operators: `/livez` and `/readyz`, on a thread of its own.
//!
//! It must not touch the core thread: what it shows is published to it ([`health`]).

pub mod health;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::oneshot;
use tracing::warn;

use health::Health;

/// The HTTP server; dropping it stops it.
#[derive(Debug)]
pub struct Admin {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves on a bound listener.
    ///
    /// # Errors
    /// The operating system refuses a thread or a runtime.
    pub fn start(listener: TcpListener, health: Arc<Health>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let served = axum::serve(listener, routes(health)).into_future();
            tokio::select! {
                served = served => served,
                _ = stopped => Ok(()),
            }
        };
        let run = move || {
            if let Err(error) = runtime.block_on(serve) {
                warn!(%error, "admin server ended");
            }
        };
        let thread = std::thread::Builder::new()
            .name("siding-admin".into())
            .spawn(run)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported where it happened.
            drop(thread.join());
        }
    }
}

fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(health)
}

async fn ready(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    match health.failing() {
        failing if failing.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        failing => (StatusCode::SERVICE_UNAVAILABLE, failing.join("\n") + "\n"),
    }
}
