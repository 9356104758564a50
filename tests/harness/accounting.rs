//! What clients saw, as one log of events, and what must hold of it: the checker of a faulty run.
//!
//! Pure. Cost is linear in events (but for sorting the few deliveries of one message), so long runs
//! can be checked. It decides what is a violation from the clients' side alone:
//!
//! - a *cause* is written down before it is brought about (a nack, a cut connection, a kill);
//! - deliveries of one message are put in order by their grants, which rise, and not by when a
//!   client looked at them.

mod checker;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use siding::Grant;

pub use self::checker::{agree, check, check_exact};

/// Which message: a publisher and its number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Who sent it.
    pub publisher: u32,
    /// Its place among those of this publisher.
    pub number: u64,
}

/// A time on the tests' clock: Unix ms.
pub type Ms = u64;

/// Something a client or the harness saw or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// About to be published.
    Sent(Tag),
    /// The broker promised that it is stored at this offset.
    Confirmed(Tag, u64),
    /// The broker refused it: not stored, and never will be.
    Refused(Tag),
    /// Nobody knows.
    Unknown(Tag),
    /// About to be published with something that lets it wait or go before others.
    Apart(Tag),
    /// About to be published at a level at which a power cut may lose it.
    Weak(Tag),
    /// What was asked at one instant was promised to be synced at another.
    Synced {
        /// When it was asked.
        asked: Ms,
        /// When the answer came.
        at: Ms,
    },
    /// A consumer got the message at this offset.
    Delivered(Delivered),
    /// About to be nacked, released or dropped.
    GivenBack {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// The broker promised that the lease lasts so long.
    Extended {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
        /// At least.
        until: Ms,
    },
    /// About to be acked.
    AckAsked {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
        /// When.
        at: Ms,
    },
    /// The broker refused the transaction that was to ack it: nothing of it was done.
    AckUndone {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// About to be made a dead letter.
    RejectAsked {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// The broker promised that it is a dead letter.
    Rejected {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// The broker promised that it never comes again.
    Acked {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
        /// When the answer came.
        at: Ms,
    },
    /// The broker refused an ack or a reject: the lease is lost.
    LeaseLost {
        /// Where it lies.
        offset: u64,
        /// Under which grant.
        grant: Grant,
    },
    /// About to close this consumer's connection.
    Cut {
        /// Whose.
        consumer: u32,
        /// When.
        at: Ms,
    },
    /// About to close a consumer: what it was sent and never looked at comes back uncharged.
    Closing,
    /// About to kill the broker, or to cut its power.
    Killed {
        /// When.
        at: Ms,
        /// A lease that began before it is surely noted.
        noted: Ms,
        /// What was written and not synced may be lost.
        power: bool,
    },
    /// From now on nothing goes wrong any more.
    Healed {
        /// When.
        at: Ms,
    },
    /// The first publish since then is confirmed.
    Resumed {
        /// When.
        at: Ms,
    },
    /// Nothing waits any more.
    Drained {
        /// When.
        at: Ms,
    },
}

/// One message in the hands of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Where it lies.
    pub offset: u64,
    /// Whose body it has; `None`: nobody's.
    pub tag: Option<Tag>,
    /// From 1.
    pub attempt: u32,
    /// The fencing number.
    pub grant: Grant,
    /// Who got it.
    pub consumer: u32,
    /// When the broker handed it over: its lease began then.
    pub since: Ms,
    /// When it was looked at.
    pub at: Ms,
    /// When the lease ends.
    pub deadline: Ms,
}

/// What the broker's books say at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalBooks {
    /// The next offset: so many were stored.
    pub end: u64,
    /// Acked.
    pub settled: u64,
    /// Dead letters.
    pub dead: u64,
    /// Ready, delayed, leased.
    pub left: u64,
}

/// What is promised and did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// Confirmed and never delivered (P1).
    Lost,
    /// One message at two offsets (P2).
    StoredTwice,
    /// Delivered although never sent, or although refused (P2).
    Phantom,
    /// Other bytes than were sent, or another message than was confirmed there (P8).
    WrongBytes,
    /// Handed over again after the answer that it was acked (P3).
    AfterAck,
    /// An ack was refused although nobody else got the message (P3).
    AckRefused,
    /// Handed over again without a cause (P4).
    Unjustified,
    /// Handed over while somebody else's lease was still alive (P4).
    Overlap,
    /// An ack was taken under a grant that somebody else had followed for good (P3).
    StaleAck,
    /// Seen, and then nowhere, although nobody was asked to end it (P7).
    Vanished,
    /// The first attempt did not have number 1, or a later one a higher number without a cause (P4).
    Attempt,
    /// A publisher's messages are not stored in the order it sent them (P5).
    OutOfOrder,
    /// Handed over for the first time after a message behind it (P5).
    Overtaken,
    /// Lost although it was older than a power cut may take, or something newer was not (P1).
    NoSuffix,
    /// An offset that nobody got (P5).
    Gap,
    /// The broker counts otherwise (P6).
    Books,
    /// Not served, or not drained, in time (P12).
    Stuck,
}

/// Why messages came again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// Their lease ran out.
    pub expired: u64,
    /// They were given back.
    pub given_back: u64,
    /// Their consumer's connection closed.
    pub cut: u64,
    /// The broker was killed before it had noted their lease.
    pub killed: u64,
}

impl Causes {
    /// Of all of them.
    pub fn all(&self) -> u64 {
        self.expired + self.given_back + self.cut + self.killed
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages given to publishers.
    pub sent: u64,
    /// Of these, confirmed.
    pub confirmed: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Of these, neither.
    pub unknown: u64,
    /// Hand-overs.
    pub delivered: u64,
    /// Acks that were answered with ok.
    pub acked: u64,
    /// Acks that came too late.
    pub leases_lost: u64,
    /// Of these, acks that had taken effect before their answer was lost, and so long before they
    /// were repeated that the broker did not remember them.
    pub forgotten: u64,
    /// Weakly promised messages that a power cut took.
    pub weak_lost: u64,
    /// Acks that took effect although the message was on its way to somebody else: the note of that
    /// lease was lost, or came second.
    pub overtaken: u64,
    /// Hand-overs beyond the first of a message.
    pub redelivered: Causes,
    /// How often each promise was broken.
    pub violations: BTreeMap<Violation, u64>,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Report {
    /// How often a promise was broken.
    pub fn count(&self, violation: Violation) -> u64 {
        self.violations.get(&violation).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of publisher {}", self.number, self.publisher)
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            consumer,
            grant,
            attempt,
            at,
            deadline,
            ..
        } = self;
        let left = i128::from(*deadline) - i128::from(*at);
        write!(
            f,
            "consumer {consumer}, grant {grant}, attempt {attempt} at {at} with {left} ms left"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Causes {
            expired,
            given_back,
            cut,
            killed,
        } = self.redelivered;
        writeln!(f, "sent              {}", self.sent)?;
        writeln!(f, "confirmed         {}", self.confirmed)?;
        writeln!(f, "refused           {}", self.refused)?;
        writeln!(f, "unknown           {}", self.unknown)?;
        writeln!(f, "delivered         {}", self.delivered)?;
        writeln!(f, "acked             {}", self.acked)?;
        let forgotten = self.forgotten;
        writeln!(
            f,
            "leases lost       {}, {forgotten} to their own lost answer",
            self.leases_lost
        )?;
        writeln!(f, "acks overtaking   {}", self.overtaken)?;
        let all = self.redelivered.all();
        write!(
            f,
            "redelivered       {all}: {expired} expired, {given_back} given back, "
        )?;
        writeln!(f, "{cut} connection closed, {killed} killed before noted")?;
        for (name, violation) in [
            ("lost", Violation::Lost),
            ("stored twice", Violation::StoredTwice),
            ("phantoms", Violation::Phantom),
            ("wrong bytes", Violation::WrongBytes),
            ("after ack-ok", Violation::AfterAck),
            ("acks refused", Violation::AckRefused),
            ("unjustified", Violation::Unjustified),
            ("overlapping", Violation::Overlap),
            ("stale acks", Violation::StaleAck),
            ("vanished", Violation::Vanished),
            ("wrong attempts", Violation::Attempt),
            ("out of order", Violation::OutOfOrder),
            ("overtaken", Violation::Overtaken),
            ("no suffix", Violation::NoSuffix),
            ("gaps", Violation::Gap),
            ("unbalanced books", Violation::Books),
            ("stuck", Violation::Stuck),
        ] {
            writeln!(f, "{name:<18}{}", self.count(violation))?;
        }
        for example in &self.examples {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}
