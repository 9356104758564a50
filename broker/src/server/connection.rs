//! The shell of one connection: bytes in, frames to the pure session, its steps done.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use siding_protocol::frame::{self, FrameError};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::{Operation, Request};
use siding_protocol::run::ScannedRun;
use siding_protocol::wire::frame::Kind;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tracing::{debug, info, warn};

use super::chunks::{Chunks, Pool};
use super::peer::{End, Peer};
use super::peers::Peers;
use super::registry::Seat;
use super::session::{Session, SessionLimits, Step};
use crate::engine::effect::{Origin, SessionId};
use crate::shard::core::Input;
use crate::shard::inbox::Inbox;

/// Runs shorter than this are copied out of the chunk they were read into, or one small unsettled
/// message would hold all of it.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// Copies stand side by side in buffers of this size.
const COPIES_BYTES: usize = 64 << 10;
/// How long a closing connection is listened to: closing with unread bytes would throw away what
/// was sent last, and with it the reason.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// What connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) node: u64,
    pub(super) limits: SessionLimits,
    pub(super) inbox: Rc<Inbox>,
    pub(super) peers: Rc<Peers>,
    pub(super) chunks: Rc<Pool>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("the client closed")]
    ByClient,
    #[error("the client closed within a frame")]
    WithinFrame,
    #[error("reading failed: {0}")]
    Read(io::ErrorKind),
    #[error("{0}")]
    Ended(End),
    #[error("{refusal}")]
    Violation { correlation: u64, refusal: Refusal },
}

struct Connection {
    shared: Rc<Shared>,
    session: Session,
    peer: Rc<Peer>,
    reader: OwnedReadHalf,
    chunks: Chunks,
    copies: BytesMut,
    seat: Seat,
    present: Present,
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    shared: Rc<Shared>,
    number: SessionId,
    stream: TcpStream,
    (from, seat): (SocketAddr, Seat),
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%from, %error, "connection refused the no-delay option");
    }
    let (reader, writer) = stream.into_split();
    let peer = Rc::new(Peer::new(number, writer, shared.limits.in_flight_bytes_max));
    let _serving = shared.peers.note_serving();
    debug!(session = number, %from, "connection accepted");
    let mut connection = Connection {
        present: Present::enter(&shared, &peer),
        session: Session::new(number, shared.node, shared.limits),
        peer,
        reader,
        chunks: Chunks::new(Rc::clone(&shared.chunks)),
        copies: BytesMut::new(),
        seat,
        shared,
    };
    let closed = connection.run().await;
    match &closed {
        Closed::Violation { refusal, .. } => {
            warn!(session = number, %from, %refusal, "connection closed: it broke the protocol");
        }
        Closed::ByClient | Closed::Ended(End::Stop) => {
            debug!(session = number, %from, reason = %closed, "connection closed");
        }
        lost => info!(session = number, %from, reason = %lost, "connection lost"),
    }
    connection.end(closed).await;
}

impl Connection {
    async fn run(&mut self) -> Closed {
        loop {
            let is_full = match self.read().await {
                Ok(is_full) => is_full,
                Err(closed) => return closed,
            };
            if let Err(closed) = self.take_frames().await {
                return closed;
            }
            self.peer.note_read(!self.chunks.filled().is_empty());
            if is_full {
                // There is probably more to read; the others have their turn first.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads once. Answers whether there is probably more.
    async fn read(&mut self) -> Result<bool, Closed> {
        loop {
            if let Some(end) = self.peer.end() {
                return Err(Closed::Ended(end));
            }
            if self.peer.is_silent() {
                self.chunks.calm_down();
            }
            tokio::select! {
                biased;
                read = self.reader.read_buf(self.chunks.room()) => return match read {
                    Ok(0) if self.chunks.filled().is_empty() => Err(Closed::ByClient),
                    Ok(0) => Err(Closed::WithinFrame),
                    Ok(bytes) => Ok(self.chunks.note_read(bytes)),
                    Err(error) => Err(Closed::Read(error.kind())),
                },
                () = self.peer.changed() => {}
            }
        }
    }

    /// Takes every whole frame off what was read.
    async fn take_frames(&mut self) -> Result<(), Closed> {
        loop {
            let frame_bytes_max = self.session.frame_bytes_max();
            match frame::split(self.chunks.filled(), frame_bytes_max) {
                Ok(Some(payload)) => self.frame(payload).await?,
                Ok(None) => break,
                Err(error) => return Err(not_a_frame(&error)),
            }
        }
        if !self.peer.is_drained() && !self.peer.is_touched.get() {
            self.shared.peers.flush_one(&self.peer);
        }
        Ok(())
    }

    async fn frame(&mut self, payload: Bytes) -> Result<(), Closed> {
        let charge = Peer::charge(payload.len());
        if self.session.is_open() && !self.has_room_for(charge) {
            self.peer.hold_back(true);
            let room = self.wait_for_room(charge).await;
            self.peer.hold_back(false);
            room?;
        }
        if self.shared.peers.is_draining() {
            self.session.drain();
        }
        match self.session.frame(payload) {
            Step::Ask {
                correlation,
                mut request,
            } => {
                self.copy_small_runs(&mut request);
                self.peer.hold(charge);
                if matches!(request, Request::Browse { .. } | Request::List { .. }) {
                    self.peer.look(correlation);
                }
                let origin = Origin {
                    session: self.peer.number,
                    correlation,
                };
                self.shared.inbox.push(Input::Request {
                    origin,
                    request,
                    charge,
                });
            }
            Step::Reply(correlation, kind) => self.peer.send(correlation, kind),
            Step::Nothing => {}
            Step::Welcome {
                holder,
                marks_started,
                welcome: (correlation, kind),
            } => {
                self.seat.welcome(&holder);
                self.peer.set_open();
                self.peer.send(correlation, kind);
                self.shared.inbox.push(Input::Opened {
                    session: self.peer.number,
                    holder,
                    marks_started,
                });
            }
            Step::Close(correlation, refusal) => {
                return Err(Closed::Violation {
                    correlation,
                    refusal,
                });
            }
        }
        Ok(())
    }

    fn has_room_for(&self, charge: usize) -> bool {
        self.peer.may_ask(charge) && self.shared.inbox.has_room_for(charge)
    }

    /// Back pressure: as long as its own limit or the shard's is reached, nothing more is read.
    async fn wait_for_room(&self, charge: usize) -> Result<(), Closed> {
        loop {
            if let Some(end) = self.peer.end() {
                return Err(Closed::Ended(end));
            }
            if !self.peer.may_ask(charge) {
                self.peer.note_read(false);
                self.peer.wait_for_room();
                // What it is to be sent may be all it waits for.
                self.shared.peers.flush_one(&self.peer);
                self.peer.changed().await;
            } else if self.shared.inbox.has_room_for(charge) {
                return Ok(());
            } else {
                self.peer.note_read(false);
                tokio::select! {
                    () = self.shared.inbox.drained() => {}
                    () = self.peer.changed() => {}
                }
            }
        }
    }

    fn copy_small_runs(&mut self, request: &mut Request) {
        match request {
            Request::Publish { run, .. } => self.copy_if_small(run),
            Request::Transaction { operations, .. } => {
                for operation in operations {
                    if let Operation::Publish { run, .. } = operation {
                        self.copy_if_small(run);
                    }
                }
            }
            _ => {}
        }
    }

    fn copy_if_small(&mut self, run: &mut ScannedRun) {
        if run.bytes.len() < COPIED_BYTES_MAX {
            if self.copies.capacity() - self.copies.len() < run.bytes.len() {
                self.copies.reserve(COPIES_BYTES);
            }
            self.copies.extend_from_slice(&run.bytes);
            run.bytes = self.copies.split().freeze();
        }
    }

    /// Says why, if the client broke the protocol or the broker stops, and lets go of the socket.
    async fn end(self, closed: Closed) {
        let Self {
            shared,
            peer,
            reader,
            seat,
            present,
            ..
        } = self;
        let speaks = matches!(closed, Closed::Violation { .. } | Closed::Ended(End::Stop));
        if let Closed::Violation {
            correlation,
            refusal,
        } = closed
        {
            peer.send(correlation, Kind::Error(refusal.to_wire()));
        }
        if speaks {
            shared.peers.flush_one(&peer);
        }
        drop(present);
        let finishing = Rc::downgrade(&peer);
        drop(peer);
        if speaks {
            // Elapsed: it was given its chance.
            tokio::time::timeout(GOODBYE_WAIT, listen_to_the_end(&reader))
                .await
                .ok();
        }
        if let Some(peer) = finishing.upgrade() {
            // It does not take the rest, and nobody watches it any more.
            peer.close(End::Stop);
        }
        // Only now: until here it had a socket, and those are what the seats are counted for.
        drop(seat);
    }
}

/// Reads and forgets until the other side closes.
async fn listen_to_the_end(reader: &OwnedReadHalf) {
    let mut scratch = [0; 1024];
    while reader.ready(Interest::READABLE).await.is_ok() {
        match reader.try_read(&mut scratch) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

/// Among the peers of the shard; dropping it leaves them, even when the task panics.
struct Present {
    shared: Rc<Shared>,
    peer: Rc<Peer>,
}

impl Present {
    fn enter(shared: &Rc<Shared>, peer: &Rc<Peer>) -> Self {
        shared.peers.insert(peer);
        Self {
            shared: Rc::clone(shared),
            peer: Rc::clone(peer),
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let Self { shared, peer } = self;
        // A stop of the broker lapses no lease.
        if peer.is_open() && !shared.peers.is_draining() {
            shared.inbox.push(Input::Closed {
                session: peer.number,
            });
        }
        shared.peers.remove(peer.number);
    }
}

fn not_a_frame(error: &FrameError) -> Closed {
    let refusal = Refusal::Protocol(error.to_string().into());
    Closed::Violation {
        correlation: 0,
        refusal,
    }
}
