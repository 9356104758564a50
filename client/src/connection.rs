//! The shell around the session: one task that owns the socket, the clock and the reconnects.
//!
//! A turn: take what came and what callers left, feed it to the session, write once, wait. Woken by a caller
//! it first steps behind the tasks that are ready, so that what they publish goes out in the same
//! write: batches form without a delay. A caller who was answered alone is served at once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Buf;
use siding_protocol::frame::{Outgoing, Sender, decode};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::WriteHalf;
use tokio::time::{Duration, Instant, Sleep};

use crate::backoff::full_jitter_ms;
use crate::chunks::Chunks;
use crate::dial::{Dial, Link};
use crate::error::{Error, ProtocolError};
use crate::heartbeat::Heartbeat;
use crate::options::{Options, Reconnect, Url};
use crate::publisher::PublisherCore;
use crate::session::{Cargo, Event, Received, Session};
use crate::shared::{CLOSED, Command, Reply, Shared, TRANSACTIONS};

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;
/// A connection that lasted so long was a good one: the next failure is the first again.
const GOOD_MS: u64 = 1_000;
/// Long past everything: a timer that need not fire.
const FAR_MS: u64 = 86_400_000;

/// Connects, and starts the task that keeps it so.
pub(crate) async fn start(url: &str, options: Options) -> Result<Arc<Shared>, Error> {
    let url = Url::parse(url)?;
    let holder = options.holder.unwrap_or_else(random_holder);
    let dial = Dial {
        address: url.address,
        holder: holder.clone(),
        client: options.client,
        token: options.token.or(url.token).unwrap_or_default(),
        marks_started: options.marks_started,
        timeout: options.connect_timeout,
    };
    let link = dial.connect().await?;
    let shared = Arc::new(Shared::new(holder, options.marks_started, link.limits));
    let task = Connection {
        shared: Arc::clone(&shared),
        session: Session::new(fastrand::u64(..)),
        started: Instant::now(),
        hungry: BTreeMap::new(),
        dropped: BTreeSet::new(),
        events: Vec::new(),
        closers: Vec::new(),
        closing: false,
        abandoned: false,
        cut: false,
        expected: Expected::Several,
        scratch: Vec::new(),
    };
    tokio::spawn(task.run(dial, options.reconnect, link));
    Ok(shared)
}

fn random_holder() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The state of the task.
struct Connection {
    shared: Arc<Shared>,
    session: Session,
    started: Instant,
    /// Publishers with something to send.
    hungry: BTreeMap<u64, Arc<PublisherCore>>,
    /// Producers to forget once they have nothing under way.
    dropped: BTreeSet<u64>,
    events: Vec<Event>,
    closers: Vec<Reply<()>>,
    /// Finish what is under way, then end.
    closing: bool,
    /// Nobody is left who could wait for a reconnect.
    abandoned: bool,
    cut: bool,
    expected: Expected,
    scratch: Vec<Arc<PublisherCore>>,
}

/// Who is expected to wake the task next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Perhaps several, one right behind the other.
    Several,
    /// One message was confirmed last, and nothing else is under way: its caller, who comes alone.
    One,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("closed by us")]
    Finished,
    #[error("cut by request")]
    Cut,
    #[error("closed by the broker")]
    Closed,
    #[error("nothing was heard for too long")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Refused(#[from] siding_protocol::refusal::Refusal),
}

impl Over {
    /// A network that fails is everyday; a broker that complains is not.
    fn log(&self) {
        match self {
            Self::Protocol(_) | Self::Refused(_) => {
                tracing::warn!(reason = %self, "connection given up");
            }
            _ => tracing::debug!(reason = %self, "connection lost"),
        }
    }
}

impl Connection {
    async fn run(mut self, dial: Dial, reconnect: Reconnect, first: Link) {
        let mut random = fastrand::Rng::new();
        let mut link = first;
        let mut failures = 0;
        loop {
            let since_ms = self.now_ms();
            let over = self.serve(link).await;
            self.session.disconnected(&mut self.events);
            self.tell();
            if matches!(over, Over::Finished) || self.abandoned || reconnect == Reconnect::Never {
                return;
            }
            over.log();
            if self.now_ms().saturating_sub(since_ms) >= GOOD_MS {
                failures = 0;
            }
            link = loop {
                let wait = Duration::from_millis(full_jitter_ms(failures, &mut random));
                failures = failures.saturating_add(1);
                let again = async {
                    tokio::time::sleep(wait).await;
                    dial.connect().await
                };
                match self.unless_abandoned(again).await {
                    None => return,
                    Some(Ok(link)) => break link,
                    Some(Err(error @ Error::Connect { .. })) => {
                        tracing::debug!(%error, failures, "not reconnected");
                    }
                    // Somebody listens there and does not want us: that does not mend itself.
                    Some(Err(error)) => tracing::warn!(%error, failures, "not welcomed again"),
                }
            };
        }
    }

    /// Waits for `attempt`, but no longer than anybody cares.
    async fn unless_abandoned<T>(&mut self, attempt: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(attempt);
        let shared = Arc::clone(&self.shared);
        while !shared.inbox().abandoned {
            tokio::select! {
                result = &mut attempt => return Some(result),
                () = shared.wake.notified() => {}
            }
        }
        None
    }

    /// Serves one connection until it is over.
    async fn serve(&mut self, link: Link) -> Over {
        let Link {
            mut stream,
            mut chunks,
            limits,
        } = link;
        let (mut reader, writer) = stream.split();
        let shared = Arc::clone(&self.shared);
        let mut heart = Heartbeat::new(limits.heartbeat_ms, self.now_ms());
        let timer = tokio::time::sleep(Duration::from_millis(FAR_MS));
        tokio::pin!(timer);
        shared.set_limits(limits);
        self.session.connected(limits);
        loop {
            let now_ms = self.now_ms();
            if let Err(over) = self.take_frames(&mut chunks, &mut heart, now_ms) {
                return over;
            }
            if let Err(over) = self.turn(&writer, &mut heart, now_ms) {
                return over;
            }
            self.set_timer(timer.as_mut(), heart.due_ms(), now_ms);
            tokio::select! {
                biased;
                // Clears the readiness by itself after a short read, which spares a system call.
                read = reader.read_buf(chunks.room()) => match read {
                    Ok(0) => return Over::Closed,
                    Ok(_) => heart.heard(self.now_ms()),
                    Err(error) => return error.into(),
                },
                ready = writer.writable(), if !self.session.out.is_empty() => {
                    if let Err(error) = ready {
                        return error.into();
                    }
                }
                () = shared.wake.notified() => if self.expected == Expected::Several {
                    tokio::task::yield_now().await;
                },
                () = timer.as_mut() => {}
            }
        }
    }

    /// What callers left goes out.
    fn turn(
        &mut self,
        writer: &WriteHalf<'_>,
        heart: &mut Heartbeat,
        now_ms: u64,
    ) -> Result<(), Over> {
        self.take_inbox();
        self.session.advance(now_ms);
        self.feed(now_ms);
        self.tell();
        if heart.is_dead(now_ms) {
            return Err(Over::Silent);
        }
        if heart.wants_ping(now_ms) {
            self.session.ping();
        }
        if write(writer, &mut self.session.out)? > 0 {
            heart.said(now_ms);
        }
        if std::mem::take(&mut self.cut) {
            return Err(Over::Cut);
        }
        if self.is_finished() {
            return Err(Over::Finished);
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Everything that callers left goes to the session.
    fn take_inbox(&mut self) {
        let (commands, begun, settlements, abandoned) = {
            let mut inbox = self.shared.inbox();
            std::mem::swap(&mut inbox.publishers, &mut self.scratch);
            let commands = std::mem::take(&mut inbox.commands);
            let begun = std::mem::take(&mut inbox.begun);
            (commands, begun, inbox.settles.take(), inbox.abandoned)
        };
        for publisher in self.scratch.drain(..) {
            self.hungry.insert(publisher.key, publisher);
        }
        for begun in begun {
            self.session.begun(begun);
        }
        // Settles before commands: a consumer's last ones must reach the broker before its end.
        for settlement in settlements {
            self.session.settle(settlement);
        }
        for command in commands {
            self.obey(command);
        }
        if abandoned && !self.abandoned {
            self.abandoned = true;
            self.close();
        }
    }

    fn obey(&mut self, command: Command) {
        let events = &mut self.events;
        match command {
            Command::Ask(ask) => self.session.ask(ask),
            Command::OpenProducer {
                key,
                on_busy,
                reply,
            } => self.session.open_producer(key, on_busy, reply, events),
            Command::Transact { transaction, reply } => {
                let transaction = Box::new(transaction);
                let cargo = Cargo::Transaction { transaction, reply };
                self.session.produce(TRANSACTIONS, cargo, events);
            }
            Command::Subscribe {
                consume,
                queue,
                reply,
            } => self.session.subscribe(consume, queue, reply),
            Command::Unsubscribe { consumer, reply } => {
                self.session.unsubscribe(consumer, reply, events);
            }
            Command::Abandon { key } => {
                self.dropped.insert(key);
            }
            Command::Cut => self.cut = true,
            Command::Close { reply } => {
                self.closers.push(reply);
                self.close();
            }
        }
    }

    fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.session.unsubscribe_all(&mut self.events);
        }
    }

    /// Sends what publishers have gathered, as far as the broker's limits allow.
    fn feed(&mut self, now_ms: u64) {
        let (session, events) = (&mut self.session, &mut self.events);
        let closing = self.closing;
        self.hungry.retain(|key, publisher| {
            if closing {
                publisher.gather().hurry();
            }
            loop {
                let mut gather = publisher.gather();
                if gather.rests() {
                    return false;
                }
                if !session.can_produce(*key) {
                    return true;
                }
                let unanswered = session.unanswered(*key);
                let Some(run) = gather.take_ready(now_ms, unanswered) else {
                    return true;
                };
                drop(gather);
                let publisher = Arc::clone(publisher);
                session.produce(*key, Cargo::Run { publisher, run }, events);
            }
        });
        self.dropped
            .retain(|key| self.hungry.contains_key(key) || !session.forget_producer(*key));
    }

    fn tell(&mut self) {
        match self.events.as_slice() {
            [] => {}
            [event] if event.is_for_one() && self.session.is_idle() => {
                self.expected = Expected::One;
            }
            _ => self.expected = Expected::Several,
        }
        self.events.drain(..).for_each(Event::tell);
    }

    fn is_finished(&self) -> bool {
        self.closing
            && self.hungry.is_empty()
            && self.session.is_idle()
            && self.session.out.is_empty()
    }

    /// Takes every whole frame that has come.
    fn take_frames(
        &mut self,
        chunks: &mut Chunks,
        heart: &mut Heartbeat,
        now_ms: u64,
    ) -> Result<(), Over> {
        while let Some(payload) = chunks.next_frame().map_err(ProtocolError::Frame)? {
            let frame = decode(payload, Sender::Broker).map_err(ProtocolError::Frame)?;
            match self.session.receive(now_ms, frame, &mut self.events)? {
                Received::Nothing => {}
                Received::Draining { within_ms } => heart.give_up_within(now_ms, within_ms),
                Received::Refused(refusal) => return Err(refusal.into()),
            }
        }
        Ok(())
    }

    /// Sets the timer to the next deadline; one that is set earlier already fires for nothing, which
    /// costs less than moving it with every frame.
    fn set_timer(&self, timer: Pin<&mut Sleep>, heart_due_ms: u64, now_ms: u64) {
        let due_ms = lingers(&self.hungry, &self.session)
            .chain(self.session.next_due_ms())
            .chain([heart_due_ms, now_ms.saturating_add(FAR_MS)])
            .min()
            .unwrap_or(now_ms);
        let due = self.started + Duration::from_millis(due_ms);
        if due < timer.deadline() || timer.is_elapsed() {
            timer.reset(due);
        }
    }
}

impl Drop for Connection {
    /// The task ends, by whatever cause: everybody who waits is told.
    fn drop(&mut self) {
        self.session.abort(&mut self.events);
        self.tell();
        let mut inbox = self.shared.end();
        for settlement in inbox.settles.take() {
            settlement.finish(&Err(CLOSED));
        }
        let hungry = self.hungry.values();
        for publisher in hungry.chain(&inbox.publishers) {
            publisher.end(&CLOSED);
        }
        for closer in self.closers.drain(..) {
            // Whoever stopped waiting is not told.
            drop(closer.send(Ok(())));
        }
    }
}

/// When open runs have lingered enough. What cannot be sent then waits for an answer or the end of a
/// pause, not for time: a timer on it would fire again and again.
fn lingers(
    hungry: &BTreeMap<u64, Arc<PublisherCore>>,
    session: &Session,
) -> impl Iterator<Item = u64> {
    hungry
        .iter()
        .filter(|(key, _)| session.can_produce(**key))
        .filter_map(|(_, publisher)| publisher.gather().due_ms())
}

/// Writes as much as the socket takes; gives how many bytes.
fn write(writer: &WriteHalf<'_>, out: &mut Outgoing) -> io::Result<usize> {
    let mut written = 0;
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let filled = out.chunks_vectored(&mut slices);
        let slices = slices.get(..filled).unwrap_or_default();
        match writer.try_write_vectored(slices) {
            Ok(count) => {
                out.advance(count);
                written += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
