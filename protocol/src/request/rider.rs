//! What rides on a settle: checkpoint, result, progress.

use bytes::Bytes;

use crate::limits;
use crate::refusal::Refusal;
use crate::settings::{at_most, text, within};
use crate::wire;
use crate::wire::Action;

/// What a settle carries besides: of one message only, unless it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rider {
    /// nack, release, extend: handed to the next attempt. At most 64 KiB.
    pub checkpoint: Option<Bytes>,
    /// ack, extend: what came of it. At most 256 KiB.
    pub result: Option<Bytes>,
    /// nack, release, extend: percent, 0 to 100.
    pub progress: Option<u32>,
    /// With `progress`: at most 1 KiB.
    pub note: String,
}

impl Rider {
    /// Parses what a settle carries besides its action.
    ///
    /// # Errors
    /// A field over its limit, on an action that does not carry it, or on more than one message.
    pub(super) fn parse(wire: &wire::Settle) -> Result<Option<Box<Self>>, Refusal> {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let (checkpoint_max, result_max) = (limits::CHECKPOINT_BYTES_MAX, limits::RESULT_BYTES_MAX);
        at_most("checkpoint", length(&wire.checkpoint), checkpoint_max)?;
        at_most("result", length(&wire.result), result_max)?;
        if let Some(progress) = wire.progress {
            let max = limits::PROGRESS_MAX.into();
            within("progress", Some(progress.into()), 0, 0, max)?;
        }
        let rider = Self {
            checkpoint: wire.checkpoint.clone(),
            result: wire.result.clone(),
            progress: wire.progress,
            note: text("note", wire.note.clone(), limits::NOTE_BYTES_MAX)?,
        };
        rider.fits(wire)?;
        Ok(rider.unless_empty())
    }

    /// As a settle has it: most carry nothing.
    pub fn unless_empty(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    /// Whether nothing rides.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn fits(&self, wire: &wire::Settle) -> Result<(), Refusal> {
        let action = wire.action();
        let goes_on = matches!(action, Action::Nack | Action::Release | Action::Extend);
        let ends = matches!(action, Action::Ack | Action::Extend);
        for (field, is_there, is_carried) in [
            ("checkpoint", self.checkpoint.is_some(), goes_on),
            ("result", self.result.is_some(), ends),
            ("progress", self.progress.is_some(), goes_on),
            ("note", !self.note.is_empty(), self.progress.is_some()),
        ] {
            if is_there && !is_carried {
                return Err(Refusal::malformed(field, "not carried by this action"));
            }
        }
        let one = matches!(wire.ranges.as_slice(), [range] if range.count == 1);
        if !self.is_empty() && !one {
            return Err(Refusal::malformed(
                "ranges",
                "what rides on a settle is of one message",
            ));
        }
        Ok(())
    }
}
