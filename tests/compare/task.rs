//! What is measured: the list of cells, and their names. Pure.

use crate::peer::Shape;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Publishes as fast as can be.
    Publish,
    /// Consumes and acks a filled queue.
    Consume,
    /// Both at once.
    Together,
    /// Each message on its way at so many a second.
    Latency(u64),
    /// One publish in flight on each connection.
    Single,
    /// The same over one connection.
    Shared,
    /// Each message to so many readers.
    FanOut(usize),
    /// Far more than fits in memory, over a crash.
    Backlog,
}

/// A cell of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    /// Bytes of a body.
    pub(crate) size: usize,
    /// Connections, or callers that share one.
    pub(crate) connections: usize,
}

impl Kind {
    /// As `--workloads` says it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Together => "together",
            Self::Latency(_) => "latency",
            Self::Single => "single",
            Self::Shared => "shared",
            Self::FanOut(_) => "fan-out",
            Self::Backlog => "backlog",
        }
    }
}

impl Task {
    /// Threads of the client. One where one message at a time is waited for: to wake another costs more
    /// than it does. Two else: as many as the machines this is for have cores.
    pub(crate) const fn client_threads(&self) -> usize {
        match (self.kind, self.connections) {
            (Kind::Latency(_), _) | (Kind::Single, 1) => 1,
            _ => 2,
        }
    }

    /// How it uses its name.
    pub(crate) const fn shape(&self) -> Shape {
        match self.kind {
            Kind::FanOut(readers) => Shape::FanOut(readers),
            _ => Shape::Queue,
        }
    }

    /// As the tables say it.
    pub(crate) fn title(&self) -> String {
        let Self {
            size, connections, ..
        } = self;
        let size = match size {
            1_024 => "1 KiB".to_owned(),
            size => format!("{size} B"),
        };
        let of = |word: &str| match connections {
            1 => format!("1 {word}"),
            many => format!("{many} {word}s"),
        };
        match self.kind {
            Kind::Publish => format!("publish in batches, {size}, {}", of("connection")),
            Kind::Consume => format!("consume and ack, {size}, {} of one queue", of("consumer")),
            Kind::Together => format!("publish and consume together, {size}"),
            Kind::Latency(rate) => format!("latency at {rate} a second, {size}"),
            Kind::Single => format!("single publishes, {size}, {}", of("connection")),
            Kind::Shared => format!(
                "single publishes, {size}, {} on one connection",
                of("caller")
            ),
            Kind::FanOut(readers) => format!("fan-out to {readers}, {size}, delivered"),
            Kind::Backlog => format!("backlog, {size}"),
        }
    }
}

/// Every word of `--workloads`.
pub(crate) const WORDS: [&str; 8] = [
    "publish", "consume", "together", "latency", "single", "shared", "fan-out", "backlog",
];

/// Every cell, in the order in which they run: the one that restarts the server last.
pub(crate) fn all() -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut add = |kind, size, connections| {
        tasks.push(Task {
            kind,
            size,
            connections,
        });
    };
    for kind in [Kind::Publish, Kind::Consume] {
        for (size, connections) in [(100, 1), (100, 4), (1_024, 1), (1_024, 4)] {
            add(kind, size, connections);
        }
    }
    add(Kind::Together, 100, 1);
    add(Kind::Together, 1_024, 1);
    add(Kind::Latency(1_000), 100, 1);
    add(Kind::Latency(10_000), 100, 1);
    for connections in [1, 16, 64] {
        add(Kind::Single, 100, connections);
    }
    add(Kind::Shared, 100, 64);
    add(Kind::FanOut(8), 100, 1);
    add(Kind::FanOut(8), 1_024, 1);
    add(Kind::Backlog, 100, 1);
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_title_of_its_own_and_a_word_that_is_known() {
        let tasks = all();
        let mut titles: Vec<_> = tasks.iter().map(Task::title).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), tasks.len());
        for task in tasks {
            assert!(WORDS.contains(&task.kind.word()));
        }
    }
}
