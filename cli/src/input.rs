//! Stdin in big blocks, read by a thread of its own into buffers that go round.

use std::io::Read;
use std::thread;

use tokio::sync::mpsc;

const BLOCK_BYTES: usize = 256 << 10;
/// One being filled, one being sent, one between.
const BLOCKS: usize = 3;

/// The blocks of stdin, in order.
pub(crate) struct Input {
    filled: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    empty: mpsc::Sender<Vec<u8>>,
}

impl Input {
    /// Begins to read stdin.
    pub(crate) fn stdin() -> anyhow::Result<Self> {
        let (fill, filled) = mpsc::channel(BLOCKS);
        let (empty, mut emptied) = mpsc::channel::<Vec<u8>>(BLOCKS);
        for _ in 0..BLOCKS {
            empty.try_send(vec![0; BLOCK_BYTES])?;
        }
        // Not one of the runtime's threads: a read of a silent terminal never ends.
        thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                let mut stdin = std::io::stdin().lock();
                while let Some(mut block) = emptied.blocking_recv() {
                    block.resize(BLOCK_BYTES, 0);
                    let read = stdin.read(&mut block);
                    let ended = !matches!(read, Ok(1..));
                    let block = read.map(|count| {
                        block.truncate(count);
                        block
                    });
                    if fill.blocking_send(block).is_err() || ended {
                        return;
                    }
                }
            })?;
        Ok(Self { filled, empty })
    }

    /// The next block; empty at the end.
    ///
    /// # Cancel safety
    /// No block is lost if dropped.
    pub(crate) async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        self.filled.recv().await.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// Gives a used block back.
    pub(crate) fn recycle(&self, block: Vec<u8>) {
        // As many places as blocks; after the end nobody waits for one.
        drop(self.empty.try_send(block));
    }
}
