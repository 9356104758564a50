//! Domain types: what has passed the edge and makes nonsense unsayable.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::limits::NAME_BYTES_MAX;
use crate::refusal::Refusal;
use crate::wire;

/// Milliseconds since the Unix epoch, UTC. Stamped by the leader, never going backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This instant plus a duration in ms; stops at the end of time.
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; 0 if it is not earlier.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a confirm means and survives. Also on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Level {
    /// Synced: survives a power cut.
    Synced = 0,
    /// In the page cache: survives a kill of the broker; synced within 50 ms.
    Written = 1,
}

impl Level {
    /// Parses the wire form; `None`: the queue's own.
    ///
    /// # Errors
    /// `Unsupported` for a level that needs a cluster, `Invalid` for one that does not exist.
    pub fn parse(level: i32) -> Result<Option<Self>, Refusal> {
        let field = "level";
        Ok(match wire::Level::try_from(level) {
            Ok(wire::Level::Unspecified) => None,
            Ok(wire::Level::Synced) => Some(Self::Synced),
            Ok(wire::Level::Written) => Some(Self::Written),
            Ok(wire::Level::Quorum) => {
                let field = field.into();
                return Err(Refusal::Unsupported { field });
            }
            Err(_) => return Err(Refusal::malformed(field, "no such level")),
        })
    }

    /// What a confirm names; a level that this version does not know is more than it asked for.
    pub fn reached(wire: i32) -> Self {
        match wire::Level::try_from(wire) {
            Ok(wire::Level::Written | wire::Level::Unspecified) => Self::Written,
            Ok(wire::Level::Synced | wire::Level::Quorum) | Err(_) => Self::Synced,
        }
    }

    /// As on the wire.
    pub const fn to_wire(self) -> wire::Level {
        match self {
            Self::Synced => wire::Level::Synced,
            Self::Written => wire::Level::Written,
        }
    }
}

/// A dense position in one log, never reused.
pub type Offset = u64;

/// Consecutive offsets, the end excluded.
pub type OffsetRange = Range<Offset>;

/// The fencing number of one handing-over of ranges to one consumer; unique per shard for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The start or leadership that gave it.
    pub term: u64,
    /// Rising within the term, from 1.
    pub counter: u64,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}

/// The name of a queue, topic or subscription: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`; names that begin
/// with `siding.` are reserved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// Why a text is not a [`Name`] or an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing stands where a name must.
    #[error("a name must not be empty")]
    Empty,
    /// Over 128 bytes.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// The name begins with, or holds, a character it must not.
    #[error("a name begins with a letter or digit and holds letters, digits, `.`, `_` and `-`")]
    Character,
    /// The name begins with `siding.`.
    #[error("names that begin with `siding.` are reserved")]
    Reserved,
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let first = *text.as_bytes().first().ok_or(NameError::Empty)?;
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if !first.is_ascii_alphanumeric() || !text.bytes().all(inner) {
            return Err(NameError::Character);
        }
        if text.starts_with("siding.") {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `queue`, `topic` or `topic/subscription`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The queue or topic.
    pub name: Name,
    /// The subscription of a topic.
    pub subscription: Option<Name>,
}

impl FromStr for Address {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text.split_once('/') {
            None => Self {
                name: text.parse()?,
                subscription: None,
            },
            Some((name, sub)) => Self {
                name: name.parse()?,
                subscription: Some(sub.parse()?),
            },
        })
    }
}

impl From<Name> for Address {
    fn from(name: Name) -> Self {
        Self {
            name,
            subscription: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subscription {
            None => self.name.fmt(f),
            Some(subscription) => write!(f, "{}/{subscription}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_letters_digits_dots_underscores_and_dashes() {
        for good in ["a", "0", "orders.in", "A_b-c.9", &"x".repeat(128)] {
            assert_eq!(
                good.parse::<Name>().map(|n| n.to_string()),
                Ok(good.to_owned())
            );
        }
        for (bad, why) in [
            ("", NameError::Empty),
            (&"x".repeat(129), NameError::TooLong),
            (".a", NameError::Character),
            ("a b", NameError::Character),
            ("ä", NameError::Character),
            ("a/b", NameError::Character),
            ("siding.jobs", NameError::Reserved),
        ] {
            assert_eq!(bad.parse::<Name>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_a_name_with_at_most_one_subscription() {
        let address: Address = "orders/billing".parse().expect("valid");
        assert_eq!(address.name.as_str(), "orders");
        assert_eq!(
            address.subscription.as_ref().map(Name::as_str),
            Some("billing")
        );
        assert_eq!(address.to_string(), "orders/billing");
        assert!("orders/billing/more".parse::<Address>().is_err());
        assert!("orders/".parse::<Address>().is_err());
    }
}
