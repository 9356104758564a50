//! The course of a comparison: every cell of every row, round after round, whatever fails.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::cell::Cell;
use crate::figures::Figures;
use crate::peer::Peer;
use crate::plan::Plan;
use crate::server::Server;
use crate::task::{Kind, Task};
use crate::workloads;

/// Longer than any cell that goes well; one that fails ends then.
const CELL_WITHIN: Duration = Duration::from_mins(1);
const BACKLOG_WITHIN: Duration = Duration::from_mins(5);
/// Tasks of a client that do not end are left behind.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);
/// A server's files are made and its code is run before anything is measured.
const WARM_UP: Task = Task {
    kind: Kind::Together,
    size: 100,
    connections: 1,
};

/// One run of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The name of its row.
    pub(crate) row: &'static str,
    pub(crate) task: Task,
    pub(crate) round: u32,
    /// Or why there are none.
    pub(crate) figures: Result<Figures, String>,
}

/// One row while it runs: its server lives as long as all goes well.
struct Standing<'a> {
    plan: &'a Plan,
    peer: &'a dyn Peer,
    server: Option<Server>,
    /// Why it cannot be started; then nothing more is tried in this round.
    broken: Option<String>,
}

/// Runs everything, and gives each run away as soon as it has ended. `false`: it was stopped.
pub(crate) fn run(
    plan: &Plan,
    rows: &[Box<dyn Peer>],
    tasks: &[Task],
    mut each: impl FnMut(Run),
) -> Result<bool> {
    let mut known = BTreeMap::new();
    for round in 1..=plan.rounds {
        for peer in in_turn(rows, round) {
            let peer = peer.as_ref();
            let mut standing = Standing {
                plan,
                peer,
                server: None,
                broken: None,
            };
            for (index, &task) in tasks.iter().enumerate() {
                if !peer.has(task.kind) {
                    continue;
                }
                let known = known.entry((peer.row().name, index)).or_insert(None);
                let Some(figures) = standing.cell(task, known)? else {
                    return Ok(false);
                };
                each(Run {
                    row: peer.row().name,
                    task,
                    round,
                    figures: figures.map_err(|error| format!("{error:#}")),
                });
            }
        }
    }
    Ok(true)
}

/// Each round begins one row further on: what comes first finds another machine than what comes last.
fn in_turn<T>(rows: &[T], round: u32) -> impl Iterator<Item = &T> {
    let first = usize::try_from(round).unwrap_or_default().saturating_sub(1);
    rows.iter().cycle().skip(first).take(rows.len())
}

impl Standing<'_> {
    /// Runs the cell once, on a server that is started if none runs; `None`: it was stopped.
    fn cell(&mut self, task: Task, known: &mut Option<u64>) -> Result<Option<Result<Figures>>> {
        if self.server.is_none() && self.broken.is_none() {
            match watched(CELL_WITHIN * 2, WARM_UP.client_threads(), self.warm_up())? {
                None => return Ok(None),
                Some(Ok(server)) => self.server = Some(server),
                Some(Err(error)) => self.broken = Some(format!("{error:#}")),
            }
        }
        let Some(mut server) = self.server.take() else {
            let why = self.broken.clone().unwrap_or_default();
            return Ok(Some(Err(anyhow!("{why}"))));
        };
        let within = match task.kind {
            Kind::Backlog => BACKLOG_WITHIN,
            _ => CELL_WITHIN,
        };
        let mut cell = Cell {
            peer: self.peer,
            server: &mut server,
            task,
            scale: self.plan.scale,
            known: *known,
        };
        let Some(ran) = watched(within, task.client_threads(), workloads::run(&mut cell))? else {
            return Ok(None);
        };
        // What failed may have left anything behind: the next cell gets a new server.
        if ran.is_ok() {
            *known = cell.known;
            self.server = Some(server);
        }
        Ok(Some(ran))
    }

    async fn warm_up(&self) -> Result<Server> {
        let mut server = Server::start(self.peer, &self.plan.dir).await?;
        let mut cell = Cell {
            peer: self.peer,
            server: &mut server,
            task: WARM_UP,
            scale: self.plan.scale,
            known: None,
        };
        workloads::run(&mut cell)
            .await
            .context("while it warms up")?;
        Ok(server)
    }
}

/// Runs it on a runtime of its own, so that nothing of a client outlives it.
fn watched<T>(
    within: Duration,
    threads: usize,
    doing: impl Future<Output = Result<T>>,
) -> Result<Option<Result<T>>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let late = || anyhow!("not within {} s", within.as_secs());
        anyhow::Ok(tokio::select! {
            biased;
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
            ran = tokio::time::timeout(within, doing) => {
                Some(ran.map_err(|_| late()).flatten())
            }
        })
    });
    runtime.shutdown_timeout(LEAVE_WITHIN);
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_one_row_further_on() {
        let rows = ["a", "b", "c"];
        let order = |round| in_turn(&rows, round).copied().collect::<String>();
        assert_eq!([1, 2, 3, 4].map(order), ["abc", "bca", "cab", "abc"]);
    }
}
