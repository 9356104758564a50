//! What pipelining takes: answers that are awaited later, messages taken as they come.

use std::pin::Pin;
use std::task::Poll;

use anyhow::{Result, ensure};
use futures_core::Stream;
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

/// What has come on a stream, so many at most; waits while that is nothing.
pub(super) async fn come<T, E>(
    stream: &mut (impl Stream<Item = Result<T, E>> + Unpin),
    most: usize,
) -> Result<Vec<T>>
where
    E: Into<anyhow::Error>,
{
    let mut come = Vec::new();
    let ended = std::future::poll_fn(|context| {
        while come.len() < most {
            match Pin::new(&mut *stream).poll_next(context) {
                Poll::Ready(Some(item)) => come.push(item),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending if come.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(false)
    });
    let ended = ended.await;
    ensure!(!ended || !come.is_empty(), "the consumer was closed");
    come.into_iter()
        .map(|item| item.map_err(Into::into))
        .collect()
}
