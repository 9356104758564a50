//! When to show a sign of life, and when to believe that the other side is gone. Pure.

/// The pulse of one connection; all instants in ms from anywhere.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
pub(crate) struct Heartbeat {
    /// 0: none.
    every_ms: u64,
    heard_ms: u64,
    said_ms: u64,
    pinged_ms: Option<u64>,
    /// A draining broker should be gone by then.
    give_up_ms: u64,
}

impl Heartbeat {
    pub(crate) const fn new(every_ms: u64, now_ms: u64) -> Self {
        Self {
            every_ms,
            heard_ms: now_ms,
            said_ms: now_ms,
            pinged_ms: None,
            give_up_ms: u64::MAX,
        }
    }

    /// Something came.
    pub(crate) const fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// Something was written.
    pub(crate) const fn said(&mut self, now_ms: u64) {
        self.said_ms = now_ms;
    }

    /// The broker said that it closes within this time.
    pub(crate) fn give_up_within(&mut self, now_ms: u64, within_ms: u64) {
        self.give_up_ms = self.give_up_ms.min(now_ms.saturating_add(within_ms));
    }

    /// Whether to ping now; if so, counts it as done.
    pub(crate) fn wants_ping(&mut self, now_ms: u64) -> bool {
        let wants = now_ms >= self.ping_ms();
        if wants {
            self.pinged_ms = Some(now_ms);
        }
        wants
    }

    /// Whether the connection is to be given up.
    pub(crate) fn is_dead(&self, now_ms: u64) -> bool {
        now_ms >= self.dead_ms()
    }

    /// When one of the two next has an answer.
    pub(crate) fn due_ms(&self) -> u64 {
        self.ping_ms().min(self.dead_ms())
    }

    /// One of the two was silent for so long, and the last ping is so old.
    fn ping_ms(&self) -> u64 {
        let silent_since_ms = self.heard_ms.min(self.said_ms);
        self.after(silent_since_ms.max(self.pinged_ms.unwrap_or(0)), 2)
    }

    fn dead_ms(&self) -> u64 {
        self.after(self.heard_ms, 5).min(self.give_up_ms)
    }

    /// Half-beats after an instant; never without a heartbeat.
    const fn after(&self, from_ms: u64, half_beats: u64) -> u64 {
        match self.every_ms {
            0 => u64::MAX,
            every_ms => from_ms.saturating_add(every_ms.saturating_mul(half_beats) / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_connection_is_pinged_and_given_up_after_two_and_a_half_beats() {
        let mut heart = Heartbeat::new(1_000, 0);
        assert_eq!(heart.due_ms(), 1_000);
        assert!(!heart.wants_ping(999));
        assert!(heart.wants_ping(1_000));
        heart.said(1_000);
        assert!(!heart.wants_ping(1_500), "one ping a beat");
        assert!(heart.wants_ping(2_000));
        assert!(!heart.is_dead(2_499));
        assert!(heart.is_dead(2_500));
        heart.heard(2_400);
        assert!(!heart.is_dead(2_500));
    }

    #[test]
    fn who_only_listens_still_pings() {
        let mut heart = Heartbeat::new(1_000, 0);
        heart.heard(900);
        assert!(heart.wants_ping(1_000), "we said nothing for a beat");
    }

    #[test]
    fn a_draining_broker_is_waited_for_no_longer_than_it_asked() {
        let mut heart = Heartbeat::new(0, 0);
        assert!(!heart.is_dead(u64::MAX - 1));
        heart.give_up_within(10, 500);
        assert_eq!(heart.due_ms(), 510);
        assert!(heart.is_dead(510));
    }
}
