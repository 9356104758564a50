//! How the process dies and comes back, and that a replay gives the same again.

use bytes::{Bytes, BytesMut};
use siding_broker::engine::Engine;
use siding_broker::engine::effect::Effects;
use siding_protocol::types::Timestamp;

use super::{Crash, Stage, Witness, decode};
use crate::bodies::Bodies;

impl<W: Witness> Stage<W> {
    /// The process dies and comes back: from the journal, or from a snapshot and the tail.
    pub fn restart(&mut self, crash: Crash) {
        let kept = self.journal.len().saturating_sub(crash.lost_notes);
        if crash.kept_in_flight == 0 {
            self.journal.truncate(kept.max(self.synced));
        }
        let written = self.flight.drain(..).take(crash.kept_in_flight);
        self.journal.extend(written.map(|group| group.payload));
        self.flight.clear();
        self.open.clear();
        self.sync();
        self.engine = self.fresh();
        self.bodies = Bodies::default();
        self.reads.clear();
        self.witness.restarted();
        for payload in self.journal.clone() {
            self.apply(&decode(payload));
        }
        if let Some(at) = crash.snapshot_at {
            self.engine = self.rebuild(at % (self.journal.len() + 1));
        }
        let wall_clock = self.now.0.saturating_add_signed(crash.downtime_ms);
        self.now = Timestamp(wall_clock).max(self.engine.last_now());
        self.stamped = self.engine.last_now();
        self.last_term = self.engine.term();
        self.engine.start(&mut self.effects);
        self.run();
    }

    /// The payloads of all entries.
    pub fn journal(&self) -> &[Bytes] {
        &self.journal
    }

    fn fresh(&self) -> Engine {
        let mut engine = Engine::new();
        (self.prepare)(&mut engine);
        engine
    }

    /// An engine from a snapshot after `at` entries, and the tail.
    fn rebuild(&self, at: usize) -> Engine {
        let (before, after) = self.journal.split_at(at);
        let mut early = self.fresh();
        replay(&mut early, before);
        let mut snapshot = BytesMut::new();
        early.snapshot(&mut snapshot);
        let mut engine = Engine::restore(&snapshot).expect("a snapshot of this version");
        (self.prepare)(&mut engine);
        replay(&mut engine, after);
        engine
    }

    /// Replay gives the live durable half, byte for byte, and so do a snapshot after each of the
    /// given numbers of entries and the tail.
    pub fn assert_replays(&self, snapshots_at: impl Iterator<Item = usize>) {
        let live = durable(&self.engine);
        let mut fresh = self.fresh();
        replay(&mut fresh, &self.journal);
        assert_eq!(durable(&fresh), live, "replay equals live");
        assert_eq!(fresh.digest(), self.engine.digest(), "digests are equal");
        for at in snapshots_at {
            let engine = self.rebuild(at % (self.journal.len() + 1));
            assert_eq!(durable(&engine), live, "snapshot after {at} entries + tail");
            let due = (engine.state().next_due(), self.engine.state().next_due());
            assert_eq!(due.0, due.1, "timers after a snapshot after {at} entries");
        }
    }
}

fn durable(engine: &Engine) -> BytesMut {
    let mut bytes = BytesMut::new();
    engine.snapshot(&mut bytes);
    bytes
}

fn replay(engine: &mut Engine, journal: &[Bytes]) {
    let mut effects = Effects::default();
    for payload in journal {
        engine.apply(&decode(payload.clone()), &mut effects);
        drop(effects.drain());
    }
}
