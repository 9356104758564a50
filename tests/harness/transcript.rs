//! Scripts in the words of the design, played on a bare engine: `command -> expected events`.
//!
//! After every script: a replay of the journal and every snapshot with its tail give the live
//! durable half. After every step the books balance, no message is in two states and every message
//! has its body ([`Stage`] sees to it).
//!
//! ```text
//! queue NAME, topic NAME, sub TOPIC/NAME, delete ADDRESS, with the settings as key=value
//! publish NAME [n=1] [size=1] [producer=1] [sequence=next]     -> confirm NAME@0-2
//!         [keys=ROUTING_KEY,...] [key=KEY,...] [priority=4] [delay=] [at=AFTER_THE_BEGINNING] [ttl=]
//!         [body=x] [dedup=ID,-,ID]                             -> confirm NAME@3, 0 is @1, 2 is @2
//! consume WHO ADDRESS at-most-once: acked before it is handed over
//! queue NAME hold=60s: a lease may be held for so long
//! consume WHO ADDRESS [credit=100] [bytes=] [visibility=]      -> WHO gets NAME@0-2 attempt 1
//!                                                              -> WHO ended: not found (deleted)
//! receive WHO ADDRESS [max=10] [bytes=] [wait=0s]              -> WHO receives NAME@0 attempt 1
//! ack|nack|release|reject|extend WHO NAME@0-2 [delay=] [reason=] [older=0]  -> settled 3
//!     besides: checkpoint=, result=, progress=, note=      -> settled 1; asked to cancel @0
//! get NAME@0, wait NAME@0 [for=60s], cancel NAME@0    queue NAME track=1h keeps records for so long
//! schedule WHAT NAME every=5s|at=5s|cron=*/5_*_*_*_* [zone=] [overlap=skip] [catch_up=60s]
//! unschedule WHAT    run WHAT    schedules            -> WHAT next +10s, last +5s, fired 1, missed +1s
//! transaction OPERATION + OPERATION [sequence=]    advance 5s    jump 5s    close WHO    stop WHO
//! stall WHO    unstall WHO    restart [after=0s] [back=0s] [lost=] [kept=] [snapshot=]
//! purge ADDRESS [dry]    redrive|drop ADDRESS [limit=0] [rate=0] [dry]    stop-redrive ADDRESS
//! pause ADDRESS    resume ADDRESS    describe ADDRESS    browse ADDRESS    list
//! notes ride|at-once|held    pipeline on|off    flush    disk slow|quick
//! memory plenty|tight|gone    what there is of it, and whatever that changes
//! reading: what waits for the slow disk                        -> NAME@0-1,3
//! seek ADDRESS start=earliest|latest|OFFSET or since=MS_AFTER_THE_BEGINNING, as for sub
//! filter=WORDS_WITH_BLANKS_LIKE_THIS
//! ```
//! WHO is a consumer on a connection of the same name, opened when first named. A settle speaks for
//! the newest grant under which WHO got the first message, or one `older`.

mod told;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use siding_broker::engine::effect::Origin;
use siding_protocol::limits::CREDIT_BYTES_MAX;
use siding_protocol::refusal::State;
use siding_protocol::request::{
    Action, Consume, Operation, ProducerTicket, Receive, Request, Settle, Sieve,
};
use siding_protocol::types::{Address, Grant, OffsetRange};

use crate::script::{Words, duration_ms, lines, parse_messages};
use crate::stage::{Crash, Notes, Stage};

/// Plays a script and compares what happens with what it says.
///
/// # Panics
/// On the first line where they differ, with both.
pub fn check(script: &str) {
    let stage = play(script);
    let entries = stage.entries();
    stage.assert_replays(0..=entries);
}

/// Plays a script to its end.
///
/// # Panics
/// As [`check`], but for the replays.
pub fn play(script: &str) -> Stage {
    let mut transcript = Transcript::new();
    let mut played = String::new();
    for line in lines(script) {
        transcript.command(&line.text);
        let events = transcript.events();
        let expected = line.expected.as_ref();
        let as_said = match expected {
            Some(expected) => *expected == events,
            None => !events.iter().any(|event| event.starts_with("refuse")),
        };
        let said = expected.map_or("nothing refused".to_owned(), |events| events.join("; "));
        assert!(
            as_said,
            "\n{played}{}\n   expected: {said}\n   happened: {}\n",
            line.text,
            events.join("; ")
        );
        writeln!(played, "{} -> {}", line.text, events.join("; ")).expect("a String takes all");
    }
    transcript.stage.flush();
    transcript.stage
}

struct Transcript {
    stage: Stage,
    /// Name to session.
    people: BTreeMap<String, u64>,
    last_session: u64,
    /// Correlation to what was asked, for the texts.
    asked: BTreeMap<u64, String>,
    last_correlation: u64,
    /// Grants under which somebody got ranges of a log, oldest first.
    got: Vec<(String, String, Grant, Vec<OffsetRange>)>,
    sequences: BTreeMap<u64, u64>,
    producers: Vec<u64>,
    log_names: BTreeMap<u64, String>,
    /// Notices of leases about to end are events.
    tells_notices: bool,
    /// What is to be read is an event of this line.
    tells_reads: bool,
}

impl Transcript {
    fn new() -> Self {
        Self {
            stage: Stage::new(()),
            people: BTreeMap::new(),
            last_session: 0,
            asked: BTreeMap::new(),
            last_correlation: 0,
            got: Vec::new(),
            sequences: BTreeMap::new(),
            producers: Vec::new(),
            log_names: BTreeMap::new(),
            tells_notices: false,
            tells_reads: false,
        }
    }

    fn command(&mut self, text: &str) {
        let words = Words::of(text);
        match words.word(0) {
            "advance" => self.stage.advance_ms(duration_ms(words.word(1))),
            "jump" => self.stage.jump_ms(duration_ms(words.word(1))),
            "close" => {
                let session = self.people.remove(words.word(1)).expect("a connection");
                self.stage.close_session(session);
            }
            "notices" => self.tells_notices = true,
            "reading" => self.tells_reads = true,
            "marking" => {
                let who = words.word(1);
                self.last_session += 1;
                self.people.insert(who.to_owned(), self.last_session);
                self.stage.open_session(self.last_session, who, true);
            }
            "stall" | "unstall" => {
                let session = self.session(words.word(1));
                self.stage.pause_session(session, words.word(0) == "stall");
            }
            "restart" => self.restart(&words),
            "notes" => {
                self.stage.notes = match words.word(1) {
                    "ride" => Notes::Ride,
                    "held" => Notes::Held,
                    _ => Notes::AtOnce,
                };
            }
            "pipeline" => self.stage.pipelined = words.word(1) == "on",
            "disk" => self.stage.set_slow_disk(words.word(1) == "slow"),
            "memory" => self.stage.set_memory(words.word(1)),
            "flush" => self.stage.flush(),
            "forget" => self.producers.push(999),
            _ => {
                let request = self.request(&words, text);
                let who = match words.word(0) {
                    "consume" | "stop" | "receive" => words.word(1).to_owned(),
                    _ => words.text("as").unwrap_or("admin").to_owned(),
                };
                self.ask(&who, request);
            }
        }
    }

    fn ask(&mut self, who: &str, request: Request) {
        let session = self.session(who);
        self.last_correlation += 1;
        let correlation = self.last_correlation;
        self.asked.insert(correlation, who.to_owned());
        self.stage.ask(
            Origin {
                session,
                correlation,
            },
            request,
        );
    }

    fn session(&mut self, who: &str) -> u64 {
        if let Some(session) = self.people.get(who) {
            return *session;
        }
        self.last_session += 1;
        self.people.insert(who.to_owned(), self.last_session);
        self.stage.open_session(self.last_session, who, false);
        self.last_session
    }

    fn restart(&mut self, words: &Words) {
        let ms = |key| i64::try_from(words.ms(key).unwrap_or(0)).expect("a short time");
        self.people.clear();
        self.stage.restart(Crash {
            downtime_ms: ms("after") - ms("back"),
            lost_notes: words.number("lost").unwrap_or(0),
            kept_in_flight: words.number("kept").unwrap_or(0),
            snapshot_at: words.number("snapshot"),
        });
    }

    #[expect(clippy::too_many_lines, reason = "an arm a verb")]
    fn request(&mut self, words: &Words, text: &str) -> Request {
        let address = || words.word(1).parse::<Address>().expect("an address");
        let name = || address().name;
        match words.word(0) {
            "queue" => Request::CreateQueue {
                name: name(),
                settings: Box::new(words.queue_settings()),
            },
            "topic" => Request::CreateTopic {
                name: name(),
                settings: words.topic_settings(),
            },
            "sub" => Request::CreateSubscription {
                address: address(),
                settings: Box::new(words.delivery_settings()),
                start: words.start(),
            },
            "delete" => Request::Delete { address: address() },
            "publish" => Request::Publish {
                name: name(),
                ticket: self.ticket(words),
                level: words.level(),
                run: words.run(),
            },
            "transaction" => self.transaction(words, text),
            "consume" | "stop" | "receive" => Self::consume(words),
            "started" => {
                let settle = self.settle(words);
                Request::Started {
                    address: settle.address,
                    grant: settle.grant,
                    ranges: settle.ranges,
                }
            }
            "purge" => Request::Purge(sieve(words, address())),
            "pause" | "resume" => Request::Pause {
                address: address(),
                paused: words.word(0) == "pause",
            },
            "stop-redrive" => Request::StopRedrive { address: address() },
            "drop" => Request::DropDead(sieve(words, address())),
            "redrive" => Request::Redrive {
                sieve: sieve(words, address()),
                rate: words.number("rate").unwrap_or(0),
            },
            "seek" => Request::Seek {
                address: address(),
                to: words.start(),
            },
            "schedule" => Request::CreateSchedule {
                name: name(),
                settings: Box::new(words.schedule_settings()),
                run: words.run(),
            },
            "unschedule" => Request::DeleteSchedule { name: name() },
            "run" => Request::RunSchedule { name: name() },
            "schedules" => Request::ListSchedules {
                prefix: words.text("prefix").unwrap_or("").to_owned(),
                after: words.text("after").unwrap_or("").to_owned(),
                limit: words.number("limit").unwrap_or(100),
            },
            "explain" => words.explain(),
            "get" => Request::Get(words.message(1)),
            "wait" => Request::Await {
                id: words.message(1),
                wait_ms: words.ms("for").unwrap_or(60_000),
            },
            "cancel" => Request::Cancel(words.message(1)),
            "describe" => Request::Describe { address: address() },
            "list" => Request::List {
                prefix: words.text("prefix").unwrap_or("").to_owned(),
                after: words.text("after").unwrap_or("").to_owned(),
                limit: words.number("limit").unwrap_or(100),
            },
            "browse" => Request::Browse {
                filter: words.words("filter"),
                address: address(),
                state: words.text("state").map(state_named),
                from_offset: words.number("from").unwrap_or(0),
                limit: words.number("limit").unwrap_or(100),
            },
            _ => Request::Settle(self.settle(words)),
        }
    }

    /// A number of the application's own producers; each is opened when first named.
    fn ticket(&mut self, words: &Words) -> ProducerTicket {
        let wanted: usize = words.number("producer").unwrap_or(1);
        while self.producers.len() < wanted {
            self.ask("admin", Request::OpenProducer);
            let opened = self.stage.engine.state().last_id;
            self.producers.push(opened);
        }
        let producer = self.producers.get(wanted - 1).copied().unwrap_or(0);
        let last = self.sequences.entry(producer).or_default();
        let sequence = words.number("sequence").unwrap_or(*last + 1);
        *last = (*last).max(sequence);
        ProducerTicket { producer, sequence }
    }

    fn transaction(&mut self, words: &Words, text: &str) -> Request {
        let ticket = self.ticket(words);
        let operations = text.trim_start_matches("transaction").split('+');
        let operations = operations.map(|operation| {
            let words = Words::of(operation);
            match words.word(0) {
                "publish" => Operation::Publish {
                    name: words.word(1).parse().expect("a name"),
                    run: words.run(),
                },
                "cancel" => Operation::Cancel(words.message(1)),
                _ => Operation::Settle(self.settle(&words)),
            }
        });
        Request::Transaction {
            ticket,
            operations: operations.collect(),
        }
    }

    fn consume(words: &Words) -> Request {
        let address = || words.word(2).parse::<Address>().expect("an address");
        let bytes = words.number("bytes").unwrap_or(CREDIT_BYTES_MAX);
        let visibility_timeout_ms = words.ms("visibility");
        match words.word(0) {
            "stop" => Request::StopConsume { consumer: 1 },
            "consume" => Request::Consume(Consume {
                ack_on_delivery: words.has("at-most-once"),
                address: address(),
                consumer: words.number("number").unwrap_or(1),
                credit_messages: words.number("credit").unwrap_or(100),
                credit_bytes: bytes,
                visibility_timeout_ms,
            }),
            _ => Request::Receive(Receive {
                request_id: words.text("id").unwrap_or("").to_owned().into(),
                address: address(),
                max_messages: words.number("max").unwrap_or(10),
                max_bytes: bytes,
                wait_ms: words.ms("wait").unwrap_or(0),
                visibility_timeout_ms,
            }),
        }
    }

    fn settle(&self, words: &Words) -> Settle {
        let (name, ranges) = parse_messages(words.word(2));
        let first = ranges.first().expect("a range").start;
        let who = words.word(1);
        let grants = self
            .got
            .iter()
            .rev()
            .filter(|(person, address, _, ranges)| {
                (person.as_str(), address.as_str()) == (who, name)
                    && ranges.iter().any(|range| range.contains(&first))
            });
        let older = words.number("older").unwrap_or(0);
        let grant = grants.map(|(_, _, grant, _)| *grant).nth(older);
        let delay_ms = words.ms("delay");
        Settle {
            rider: words.rider().unless_empty(),
            address: name.parse().expect("an address"),
            grant: grant.unwrap_or_default(),
            ranges,
            action: match words.word(0) {
                "ack" | "started" => Action::Ack,
                "nack" => Action::Nack {
                    reason: words.text("reason").unwrap_or("").to_owned(),
                    delay_ms,
                },
                "release" => Action::Release {
                    delay_ms: delay_ms.unwrap_or(0),
                },
                "reject" => Action::Reject {
                    reason: words.text("reason").unwrap_or("").to_owned(),
                },
                "extend" => Action::Extend {
                    remaining_ms: words.ms("by").expect("by="),
                },
                other => panic!("no such command: {other}"),
            },
        }
    }
}

fn sieve(words: &Words, address: Address) -> Sieve {
    Sieve {
        address,
        limit: words.number("limit").unwrap_or(0),
        filter: words.words("filter"),
        dry_run: words.has("dry"),
    }
}

fn state_named(name: &str) -> State {
    let states = [
        State::Ready,
        State::Delayed,
        State::Leased,
        State::Dead,
        State::Settled,
    ];
    let found = states.into_iter().find(|state| state.name() == name);
    found.unwrap_or_else(|| panic!("no state {name}"))
}
