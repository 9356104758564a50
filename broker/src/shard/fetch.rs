//! The thread that reads bodies back from the journal, so that the core thread never waits for a
//! disk.

use std::io;

use bytes::Bytes;

use super::resolve::{READS_MAX, Resolver};
use crate::storage::threads::{Threads, Worker};
use crate::storage::{RecordAt, StorageError};

/// The fetching thread ended on its own, which is a bug: nothing can be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that reads bodies is gone; restart the broker")]
pub struct FetcherGone;

/// The way to the fetching thread. Dropping it ends the thread after the read it is at.
#[derive(Debug)]
pub struct Fetcher {
    requests: Worker<RecordAt>,
}

impl Fetcher {
    /// Starts the thread: it reads with `read` and brings each result to `done`, in order. `done`
    /// may wait until the core thread takes the result.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start(
        threads: &Threads,
        mut read: impl FnMut(RecordAt) -> Result<Bytes, StorageError> + Send + 'static,
        mut done: impl FnMut(RecordAt, Result<Bytes, StorageError>) + Send + 'static,
    ) -> io::Result<Self> {
        let work = move |record| {
            let payload = read(record);
            done(record, payload);
        };
        let requests = threads.start("siding-fetch", READS_MAX, work)?;
        Ok(Self { requests })
    }

    /// Hands the thread what the resolver wants read now. Never waits: the resolver lets no more
    /// reads go than the channel takes.
    ///
    /// # Errors
    /// The thread is gone.
    pub fn feed(&self, resolver: &mut Resolver) -> Result<(), FetcherGone> {
        while let Some(record) = resolver.next_read() {
            self.requests.try_send(record).map_err(|_| FetcherGone)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::storage::FileId;

    #[test]
    fn every_read_comes_back_in_order_and_dropping_the_fetcher_ends_its_thread() {
        let (results, received) = sync_channel(1);
        let read = |at: RecordAt| match at.position {
            2 => Err(StorageError::Retired { file: at.file }),
            position => Ok(Bytes::from(position.to_string())),
        };
        let done = move |at: RecordAt, payload: Result<Bytes, StorageError>| {
            results
                .send((at.position, payload.ok()))
                .expect("the test listens");
        };
        let fetcher = Fetcher::start(&Threads::System, read, done).expect("a thread");
        for position in 1..=3 {
            let record = RecordAt {
                file: FileId::Journal(1),
                position,
                length: 1,
            };
            fetcher.requests.send(record).expect("the thread lives");
        }
        drop(fetcher);
        let came: Vec<_> = received.iter().collect();
        let bytes = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(came, [(1, bytes("1")), (2, None), (3, bytes("3"))]);
    }
}
