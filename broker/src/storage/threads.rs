//! Who does what blocks: threads of the operating system, or a test's hand.
//!
//! Work beside the core thread is done by *workers*: each takes messages in order and does one after
//! the other. Where a test works by hand nothing runs at once: it lets a worker do its next piece when
//! it likes, so that a run is one thread and one order, and can be repeated.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Who does the work.
#[derive(Clone, Debug, Default)]
pub enum Threads {
    /// A thread for each worker.
    #[default]
    System,
    /// A test's hand.
    Manual(ManualThreads),
}

/// Workers that only work when told; clones share them.
#[derive(Clone, Default)]
pub struct ManualThreads(Arc<Mutex<Vec<Seat>>>);

/// Does the next piece of work.
type Step = Box<dyn FnMut() + Send>;

struct Seat {
    name: &'static str,
    waiting: Arc<AtomicUsize>,
    /// `None` while it is at it.
    step: Option<Step>,
}

/// The way to a worker. Dropping it ends the worker after what it was given.
#[derive(Debug)]
pub struct Worker<T> {
    name: &'static str,
    messages: SyncSender<T>,
    /// Messages not yet taken, where nobody takes them without being told.
    by_hand: Option<(ManualThreads, Arc<AtomicUsize>)>,
    thread: Option<JoinHandle<()>>,
}

/// A worker ended on its own, which is a bug, or has more to do than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerGone;

impl Threads {
    /// A worker that does `work` with each message; at most `waiting_max` wait for it.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn start<T: Send + 'static>(
        &self,
        name: &'static str,
        waiting_max: usize,
        mut work: impl FnMut(T) + Send + 'static,
    ) -> io::Result<Worker<T>> {
        let (messages, received) = sync_channel(waiting_max);
        let mut worker = Worker {
            name,
            messages,
            by_hand: None,
            thread: None,
        };
        match self {
            Self::System => {
                let thread = std::thread::Builder::new().name(name.into());
                let run = move || received.into_iter().for_each(work);
                worker.thread = Some(thread.spawn(run)?);
            }
            Self::Manual(hands) => {
                let waiting = Arc::new(AtomicUsize::new(0));
                let step = move || {
                    if let Ok(message) = received.try_recv() {
                        work(message);
                    }
                };
                hands.seat(name, Arc::clone(&waiting), Box::new(step));
                worker.by_hand = Some((hands.clone(), waiting));
            }
        }
        Ok(worker)
    }

    /// One piece of work on its own.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn once(&self, name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut work = Some(work);
        let once = move |()| {
            if let Some(work) = work.take() {
                work();
            }
        };
        let worker = self.start(name, 1, once)?;
        worker.try_send(()).map_err(|_| io::ErrorKind::Other.into())
    }
}

impl<T> Worker<T> {
    /// Gives it a message; waits while too many wait.
    ///
    /// # Errors
    /// It is gone.
    pub fn send(&self, message: T) -> Result<(), WorkerGone> {
        if self.by_hand.is_some() {
            return self.try_send(message);
        }
        self.messages.send(message).map_err(|_| WorkerGone)
    }

    /// Gives it a message; never waits.
    ///
    /// # Errors
    /// It is gone, or too many wait.
    pub fn try_send(&self, message: T) -> Result<(), WorkerGone> {
        let sent = self.messages.try_send(message);
        sent.map_err(|_: TrySendError<T>| WorkerGone)?;
        if let Some((_, waiting)) = &self.by_hand {
            waiting.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whoever calls is about to wait until it has done everything: a worker that waits to be told is
    /// told now.
    pub fn hurry(&self) {
        if let Some((hands, _)) = &self.by_hand {
            while hands.step(self.name) {}
        }
    }

    /// Waits until it has done everything, and ends it.
    ///
    /// # Errors
    /// It panicked.
    pub fn end(self) -> Result<(), WorkerGone> {
        self.hurry();
        drop(self.messages);
        let ended = self.thread.map(JoinHandle::join);
        ended.map_or(Ok(()), |ended| ended.map_err(|_| WorkerGone))
    }
}

impl ManualThreads {
    fn seat(&self, name: &'static str, waiting: Arc<AtomicUsize>, step: Step) {
        let step = Some(step);
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was done once and is done has no seat any more.
        seats.retain(|seat| {
            Arc::strong_count(&seat.waiting) > 1 || seat.waiting.load(Ordering::Relaxed) > 0
        });
        seats.push(Seat {
            name,
            waiting,
            step,
        });
    }

    /// The process is gone: nothing of it goes on. What a worker holds may hold others, and so itself.
    pub fn abandon(&self) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *seats);
        drop(seats);
        // Unlocked: what goes may end others.
        drop(gone);
    }

    /// The names of those that have something to do, in the order they were started.
    pub fn waiting(&self) -> Vec<&'static str> {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = seats
            .iter()
            .filter(|seat| seat.waiting.load(Ordering::Relaxed) > 0);
        busy.map(|seat| seat.name).collect()
    }

    /// Lets the first of this name that has something to do do its next piece. Whether there was one.
    pub fn step(&self, name: &str) -> bool {
        let Some((at, mut step)) = self.take_step(name) else {
            return false;
        };
        // Unlocked: what it does may start another.
        step();
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = seats
            .iter_mut()
            .find(|seat| Arc::ptr_eq(&seat.waiting, &at))
        {
            seat.step = Some(step);
        }
        true
    }

    fn take_step(&self, name: &str) -> Option<(Arc<AtomicUsize>, Step)> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = seats
            .iter_mut()
            .find(|seat| seat.name == name && seat.waiting.load(Ordering::Relaxed) > 0)?;
        let step = seat.step.take()?;
        seat.waiting.fetch_sub(1, Ordering::Relaxed);
        Some((Arc::clone(&seat.waiting), step))
    }
}

impl fmt::Debug for ManualThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_by_hand_do_one_piece_at_a_time_and_in_order() {
        let hands = ManualThreads::default();
        let threads = Threads::Manual(hands.clone());
        let (done, came) = sync_channel(8);
        let second = done.clone();
        let worker = threads.start("one", 4, move |n: u32| done.send(n).expect("heard"));
        let worker = worker.expect("no thread is needed");
        threads
            .once("two", move || second.send(9).expect("heard"))
            .expect("no thread is needed");
        worker.send(1).unwrap();
        worker.send(2).unwrap();
        assert_eq!(hands.waiting(), ["one", "two"]);
        assert!(came.try_recv().is_err(), "nothing runs by itself");
        assert!(hands.step("two") && !hands.step("two"));
        assert!(hands.step("one"));
        assert_eq!(came.try_iter().collect::<Vec<_>>(), [9, 1]);
        worker.end().unwrap();
        assert_eq!(came.try_iter().collect::<Vec<_>>(), [2]);
    }
}
