//! One connection's protocol, pure: hello, limits, frames to steps. The shell is `connection.rs`.
//!
//! ```text
//! accepted ──hello──► open ──────────────────► closed
//!     └─ anything else, 10 s, 16 KiB ──► closed     ▲ not the protocol, 75 s of silence
//! ```

use std::time::Duration;

use bytes::Bytes;
use siding_protocol::frame::{self, FrameError, Sender};
use siding_protocol::limits;
use siding_protocol::refusal::Refusal;
use siding_protocol::request::Request;
use siding_protocol::run::RunLimits;
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

/// The wire version this broker speaks.
pub const WIRE_VERSION: u32 = 1;
/// A connection must have said its hello after so long.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// A client pings after so much silence.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// A connection silent for so long is closed: 2.5 heartbeats.
pub const SILENCE_MAX: Duration = Duration::from_secs(75);
/// A frame must be whole so long after its first byte.
pub const FRAME_WAIT: Duration = Duration::from_secs(30);

/// What this broker enforces on every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// One frame after the hello, bytes.
    pub frame_bytes_max: usize,
    /// One message body, bytes.
    pub body_bytes_max: usize,
    /// Requests of one connection that are not answered yet, bytes.
    pub in_flight_bytes_max: usize,
}

/// What a frame leads to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// The hello was good: open a session for this holder, and say welcome.
    Welcome {
        /// The client instance.
        holder: String,
        /// It says what it begins.
        marks_started: bool,
        /// The answer.
        welcome: (u64, Kind),
    },
    /// Ask the shard.
    Ask {
        /// The client's number for the request.
        correlation: u64,
        /// What.
        request: Request,
    },
    /// Answer at once.
    Reply(u64, Kind),
    /// Nothing.
    Nothing,
    /// Say why, and close.
    Close(u64, Refusal),
}

/// One connection, from accept to close.
#[derive(Debug)]
pub struct Session {
    number: u64,
    node: u64,
    limits: SessionLimits,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bytes it may still send before its welcome.
    Accepted {
        bytes_left: usize,
    },
    Open,
    Draining,
}

impl Session {
    /// A connection was accepted: `number` is never used again within a start, `node` is this
    /// node's id.
    pub fn new(number: u64, node: u64, limits: SessionLimits) -> Self {
        let stage = Stage::Accepted {
            bytes_left: limits::BYTES_BEFORE_WELCOME_MAX,
        };
        Self {
            number,
            node,
            limits,
            stage,
        }
    }

    /// Longest frame it may send now, bytes.
    pub fn frame_bytes_max(&self) -> usize {
        match self.stage {
            Stage::Accepted { bytes_left } => {
                limits::FRAME_BYTES_BEFORE_WELCOME_MAX.min(bytes_left)
            }
            Stage::Open | Stage::Draining => self.limits.frame_bytes_max,
        }
    }

    /// Whether its hello was heard.
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Accepted { .. })
    }

    /// From now on every request is refused: the broker closes.
    pub fn drain(&mut self) {
        if self.is_open() {
            self.stage = Stage::Draining;
        }
    }

    /// One whole frame came.
    pub fn frame(&mut self, payload: Bytes) -> Step {
        let bytes = payload.len().saturating_add(frame::LENGTH_BYTES);
        match frame::decode(payload, Sender::Client) {
            Ok(wire::Frame {
                correlation,
                kind: Some(kind),
            }) => match self.stage {
                Stage::Accepted { bytes_left } => {
                    self.stage = Stage::Accepted {
                        bytes_left: bytes_left.saturating_sub(bytes),
                    };
                    self.hello(correlation, kind)
                }
                Stage::Open => self.request(correlation, kind),
                Stage::Draining => draining(correlation, &kind),
            },
            Ok(wire::Frame {
                correlation,
                kind: None,
            }) if self.is_open() => {
                // A newer client asks for what this version does not know.
                refuse(
                    correlation,
                    &Refusal::Unsupported {
                        field: "request".into(),
                    },
                )
            }
            Ok(_) => Step::Close(0, protocol("the first frame is not a hello")),
            Err(FrameError::OutOfRange { correlation, range }) if self.is_open() => {
                refuse(correlation, &range.to_refusal())
            }
            Err(error) => Step::Close(0, Refusal::Protocol(error.to_string().into())),
        }
    }

    fn hello(&mut self, correlation: u64, kind: Kind) -> Step {
        let Kind::Hello(hello) = kind else {
            return Step::Close(correlation, protocol("the first frame is not a hello"));
        };
        if let Err(refusal) = check_hello(&hello) {
            return Step::Close(correlation, refusal);
        }
        self.stage = Stage::Open;
        let welcome = Kind::Welcome(wire::Welcome {
            version: WIRE_VERSION,
            server: concat!("sidingd ", env!("CARGO_PKG_VERSION")).into(),
            node: self.node,
            session: self.number,
            limits: Some(self.limits.to_wire()),
        });
        Step::Welcome {
            holder: hello.holder,
            marks_started: hello.marks_started,
            welcome: (correlation, welcome),
        }
    }

    fn request(&self, correlation: u64, kind: Kind) -> Step {
        match kind {
            Kind::Ping(_) => Step::Reply(correlation, Kind::Pong(wire::Pong {})),
            // A sign of life, asked for or not: that it came is all it says.
            Kind::Pong(_) => Step::Nothing,
            Kind::Hello(_) => Step::Close(correlation, protocol("a second hello")),
            kind => {
                let limits = RunLimits {
                    body_bytes_max: self.limits.body_bytes_max,
                };
                match Request::parse(kind, limits) {
                    Ok(request) => Step::Ask {
                        correlation,
                        request,
                    },
                    Err(refusal) if refusal.code().is_fatal() => Step::Close(correlation, refusal),
                    Err(refusal) => refuse(correlation, &refusal),
                }
            }
        }
    }
}

impl SessionLimits {
    fn to_wire(self) -> wire::Limits {
        wire::Limits {
            frame_bytes_max: self.frame_bytes_max as u64,
            body_bytes_max: self.body_bytes_max as u64,
            in_flight_bytes_max: self.in_flight_bytes_max as u64,
            producer_requests_max: limits::PRODUCER_REQUESTS_MAX,
            heartbeat_ms: u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn check_hello(hello: &wire::Hello) -> Result<(), Refusal> {
    if hello.version != WIRE_VERSION {
        let field = "version".into();
        return Err(Refusal::Unsupported { field });
    }
    for (field, text, min, max) in [
        ("holder", &hello.holder, 1, limits::HOLDER_BYTES_MAX),
        ("client", &hello.client, 0, limits::CLIENT_BYTES_MAX),
    ] {
        if !(min..=max).contains(&text.len()) {
            return Err(Refusal::out_of_range(field, min as u64, max as u64));
        }
    }
    Ok(())
}

fn draining(correlation: u64, kind: &Kind) -> Step {
    match kind {
        Kind::Ping(_) => Step::Reply(correlation, Kind::Pong(wire::Pong {})),
        Kind::Pong(_) => Step::Nothing,
        _ => refuse(correlation, &Refusal::Draining),
    }
}

fn refuse(correlation: u64, refusal: &Refusal) -> Step {
    Step::Reply(correlation, Kind::Error(refusal.to_wire()))
}

fn protocol(why: &'static str) -> Refusal {
    Refusal::Protocol(why.into())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use siding_protocol::error_code::ErrorCode;

    use super::*;

    const LIMITS: SessionLimits = SessionLimits {
        frame_bytes_max: 1 << 20,
        body_bytes_max: 1 << 10,
        in_flight_bytes_max: 8 << 20,
    };

    fn session() -> Session {
        Session::new(7, 1, LIMITS)
    }

    fn say(session: &mut Session, correlation: u64, kind: Kind) -> Step {
        let mut bytes = BytesMut::new();
        frame::encode(correlation, kind, &mut bytes);
        let payload = frame::split(&mut bytes, session.frame_bytes_max());
        session.frame(payload.expect("within the limit").expect("whole"))
    }

    fn hello(holder: &str) -> Kind {
        let holder = holder.to_owned();
        Kind::Hello(wire::Hello {
            version: 1,
            holder,
            ..wire::Hello::default()
        })
    }

    fn open() -> Session {
        let mut session = session();
        assert!(matches!(
            say(&mut session, 1, hello("me")),
            Step::Welcome { .. }
        ));
        session
    }

    fn closes_with(step: &Step, code: ErrorCode) {
        assert!(
            matches!(step, Step::Close(_, why) if why.code() == code),
            "{step:?}"
        );
    }

    fn refuses_with(step: &Step, code: ErrorCode) {
        let number = u32::from(code.number());
        assert!(
            matches!(step, Step::Reply(_, Kind::Error(error)) if error.code == number),
            "{step:?}"
        );
    }

    #[test]
    fn a_hello_is_welcomed_with_the_limits_in_force() {
        let Step::Welcome {
            holder,
            welcome: (3, Kind::Welcome(welcome)),
            ..
        } = say(&mut session(), 3, hello("worker-1"))
        else {
            panic!("no welcome");
        };
        assert_eq!((holder.as_str(), welcome.session), ("worker-1", 7));
        let limits = welcome.limits.expect("limits");
        assert_eq!(
            (limits.frame_bytes_max, limits.heartbeat_ms),
            (1 << 20, 30_000)
        );
    }

    #[test]
    fn whoever_does_not_say_hello_first_is_shown_the_door() {
        for kind in [
            Kind::Ping(wire::Ping {}),
            Kind::OpenProducer(wire::OpenProducer {}),
        ] {
            closes_with(&say(&mut session(), 1, kind), ErrorCode::Protocol);
        }
        closes_with(&say(&mut open(), 2, hello("again")), ErrorCode::Protocol);
    }

    #[test]
    fn a_hello_of_another_version_is_unsupported_and_the_connection_closed() {
        for version in [0, 2] {
            let holder = "x".to_owned();
            let hello = Kind::Hello(wire::Hello {
                version,
                holder,
                ..wire::Hello::default()
            });
            closes_with(&say(&mut session(), 1, hello), ErrorCode::Unsupported);
        }
    }

    #[test]
    fn a_hello_out_of_its_ranges_is_invalid_and_the_connection_closed() {
        for (holder, client) in [(0, 0), (65, 0), (1, 129)] {
            let hello = Kind::Hello(wire::Hello {
                version: 1,
                holder: "x".repeat(holder),
                client: "x".repeat(client),
                ..wire::Hello::default()
            });
            closes_with(&say(&mut session(), 1, hello), ErrorCode::Invalid);
        }
    }

    #[test]
    fn garbage_closes_the_connection_before_and_after_the_hello() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0xFF; 20], &[0x0A, 0x7F]] {
            closes_with(
                &session().frame(Bytes::copy_from_slice(bytes)),
                ErrorCode::Protocol,
            );
            closes_with(
                &open().frame(Bytes::copy_from_slice(bytes)),
                ErrorCode::Protocol,
            );
        }
    }

    #[test]
    fn before_the_welcome_a_frame_has_4_kib_and_all_frames_16() {
        let mut session = session();
        assert_eq!(
            session.frame_bytes_max(),
            limits::FRAME_BYTES_BEFORE_WELCOME_MAX
        );
        session.stage = Stage::Accepted { bytes_left: 100 };
        assert_eq!(session.frame_bytes_max(), 100);
        assert_eq!(open().frame_bytes_max(), LIMITS.frame_bytes_max);
    }

    #[test]
    fn an_ill_formed_request_is_refused_and_the_connection_goes_on() {
        let mut session = open();
        let purge = Kind::Purge(wire::Purge {
            address: "no good".into(),
            ..Default::default()
        });
        refuses_with(&say(&mut session, 2, purge), ErrorCode::Invalid);
        let unknown = Bytes::from_static(&[0x08, 0x05, 0xF2, 0x02, 0x00]);
        refuses_with(&session.frame(unknown), ErrorCode::Unsupported);
        let ping = say(&mut session, 3, Kind::Ping(wire::Ping {}));
        assert_eq!(ping, Step::Reply(3, Kind::Pong(wire::Pong {})));
    }

    #[test]
    fn a_pong_that_nobody_asked_for_is_a_sign_of_life() {
        let mut session = open();
        let pong = say(&mut session, 0, Kind::Pong(wire::Pong {}));
        assert_eq!(pong, Step::Nothing);
        session.drain();
        let pong = say(&mut session, 0, Kind::Pong(wire::Pong {}));
        assert_eq!(pong, Step::Nothing);
    }

    #[test]
    fn a_frame_only_a_broker_may_send_closes_the_connection() {
        closes_with(
            &say(&mut open(), 2, Kind::Done(wire::Done {})),
            ErrorCode::Protocol,
        );
    }

    #[test]
    fn a_draining_session_refuses_requests_and_still_answers_pings() {
        let mut session = open();
        session.drain();
        let open_producer = Kind::OpenProducer(wire::OpenProducer {});
        refuses_with(&say(&mut session, 2, open_producer), ErrorCode::Draining);
        let ping = say(&mut session, 3, Kind::Ping(wire::Ping {}));
        assert_eq!(ping, Step::Reply(3, Kind::Pong(wire::Pong {})));
    }
}
