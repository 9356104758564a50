//! Answers that are awaited later.

use anyhow::Result;
use tokio::task::JoinSet;

/// So many tasks at most.
#[derive(Debug)]
pub(super) struct Underway {
    tasks: JoinSet<Result<()>>,
    most: usize,
}

impl Underway {
    pub(super) fn new(most: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            most: most.max(1),
        }
    }

    /// Starts it as soon as there is room.
    pub(super) async fn add(
        &mut self,
        doing: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        while self.tasks.len() >= self.most {
            let Some(ended) = self.tasks.join_next().await else {
                break;
            };
            ended??;
        }
        self.tasks.spawn(doing);
        Ok(())
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}
