//! How long a connection may take: pure, ticked once a second for every connection.
//!
//! One sweep a second instead of a timer for every read: a timer costs more than a small read.

use super::session::{FRAME_WAIT, HELLO_WAIT, SILENCE_MAX};

/// A connection that takes nothing of what it is sent for so long is closed.
const WRITE_STALL_SECONDS: u32 = 30;

/// What a connection waits for, at the moment of a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent questions")]
pub(super) struct Waits {
    /// Its hello was heard.
    pub(super) is_open: bool,
    /// Something came since the last tick.
    pub(super) heard: bool,
    /// A frame has begun and is not whole. Not while the broker itself does not read.
    pub(super) in_frame: bool,
    /// Something waits to be sent, and nothing went since the last tick.
    pub(super) stalled: bool,
}

/// Why its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Late {
    #[error("no hello in time")]
    Hello,
    #[error("silent for too long")]
    Silent,
    #[error("a frame did not become whole in time")]
    Frame,
    #[error("what was sent is not taken")]
    WriteStalled,
}

/// Seconds of each kind of waiting so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    unwelcome: u32,
    silent: u32,
    in_frame: u32,
    stalled: u32,
}

impl Watch {
    /// A second has passed.
    pub(super) fn tick(&mut self, waits: Waits) -> Option<Late> {
        let count = |seconds: &mut u32, is_waiting| {
            *seconds = if is_waiting {
                seconds.saturating_add(1)
            } else {
                0
            };
            u64::from(*seconds)
        };
        let unwelcome = count(&mut self.unwelcome, !waits.is_open);
        let silent = count(&mut self.silent, !waits.heard);
        let in_frame = count(&mut self.in_frame, waits.in_frame);
        let stalled = count(&mut self.stalled, waits.stalled);
        // A tick may come right after the wait began: one more than the limit is surely over it.
        if unwelcome > HELLO_WAIT.as_secs() {
            Some(Late::Hello)
        } else if stalled > u64::from(WRITE_STALL_SECONDS) {
            Some(Late::WriteStalled)
        } else if in_frame > FRAME_WAIT.as_secs() {
            Some(Late::Frame)
        } else if silent > SILENCE_MAX.as_secs() {
            Some(Late::Silent)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Waits = Waits {
        is_open: true,
        heard: true,
        in_frame: false,
        stalled: false,
    };

    fn ticks_until_late(waits: Waits) -> Option<(u32, Late)> {
        let mut watch = Watch::default();
        (1..=1000).find_map(|second| watch.tick(waits).map(|late| (second, late)))
    }

    #[test]
    fn a_connection_is_closed_when_its_time_is_up_and_not_before() {
        assert_eq!(ticks_until_late(FINE), None);
        let unwelcome = Waits {
            is_open: false,
            ..FINE
        };
        assert_eq!(ticks_until_late(unwelcome), Some((11, Late::Hello)));
        assert_eq!(
            ticks_until_late(Waits {
                heard: false,
                ..FINE
            }),
            Some((76, Late::Silent))
        );
        let in_frame = Waits {
            in_frame: true,
            ..FINE
        };
        assert_eq!(ticks_until_late(in_frame), Some((31, Late::Frame)));
        let stalled = Waits {
            stalled: true,
            ..FINE
        };
        assert_eq!(ticks_until_late(stalled), Some((31, Late::WriteStalled)));
    }

    #[test]
    fn a_sign_of_life_starts_the_count_again() {
        let mut watch = Watch::default();
        for second in 0..1000 {
            let heard = second % 75 == 74;
            assert_eq!(watch.tick(Waits { heard, ..FINE }), None);
        }
    }
}
