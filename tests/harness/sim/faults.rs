//! What goes wrong in the world, and how it starts again.

use siding_broker::ManualTime;
use siding_broker::storage::memory_fs::MemoryFs;
use siding_protocol::types::Timestamp;

use super::context::What;
use super::disk::SimFs;
use super::node::Node;
use super::world::World;
use crate::accounting::{Event, Ms};

/// A start may fail so often in a row before that is strange.
const STARTS_MAX: u32 = 20;

/// How a broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The machine lives on: nothing written is lost.
    Kill,
    /// The machine lives on, but a sync of its disk failed: the kernel may have forgotten what was
    /// written.
    DiskError,
    /// What was not synced is lost, or not.
    PowerCut,
    /// As it should be.
    Stop,
}

impl World {
    /// Something goes wrong, and the next thing is planned.
    pub(super) fn fault(&mut self) {
        if self.context.is_closing {
            return;
        }
        let next_us = self.context.around(self.plan.fault_every_ms * 1_000);
        self.context.happens_in(next_us, What::Fault);
        if self.node.is_none() {
            return;
        }
        match self.context.rng.u32(0..13) {
            12 => self.fill_disk(),
            10 => self.stop(),
            11 => self.slow_somebody(),
            0..3 => self.end(End::PowerCut, "power cut"),
            3..5 => {
                self.count("power cut in an operation");
                let nth = self.context.rng.u64(1..12);
                self.fs.cut_power_in(nth);
            }
            5..7 => self.end(End::Kill, "kill"),
            7 => {
                self.count("disk error");
                let nth = self.context.rng.u64(1..12);
                self.fs.fail_in(nth);
            }
            _ => self.cut_somebody(),
        }
    }

    fn stop(&mut self) {
        let Some(node) = self.node.take() else { return };
        match node.stop(&self.fs) {
            Ok(said) => {
                self.deliver(&said);
                self.end(End::Stop, "stop");
            }
            Err(error) => self.ended(&error.to_string()),
        }
    }

    /// Somebody else takes the rest of the disk, for a while.
    fn fill_disk(&mut self) {
        self.count("full disk");
        self.context.may_have_refused = true;
        let left = match self.context.rng.u32(0..3) {
            0 => 0,
            1 => self.context.rng.u64(0..20_000),
            _ => self
                .context
                .rng
                .u64(0..2 * self.plan.setup.settings.journal_file_bytes),
        };
        self.set_capacity(Some(self.fs.disk().used_bytes() + left));
        let for_us = self.context.around(10_000_000);
        self.context.happens_in(for_us, What::Room);
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
        self.fs.disk().set_capacity(bytes);
    }

    /// A connection takes nothing for a while.
    fn slow_somebody(&mut self) {
        let open = self.context.net.open();
        if let Some(session) = self.context.rng.choice(&open).copied() {
            self.count("slow connection");
            let until_us = self.context.rng.u64(1..3_000_000);
            self.context.pause(session, until_us);
        }
    }

    fn cut_somebody(&mut self) {
        let open = self.context.net.open();
        let Some(session) = self.context.rng.choice(&open).copied() else {
            return;
        };
        self.count("connection cut");
        let at = self.context.now().ms;
        if let Some(client) = self.context.cut(session) {
            let consumer = u32::try_from(client).expect("few clients");
            self.context.note_everywhere(Event::Cut { consumer, at });
        }
    }

    pub(super) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// The broker ended by itself: its disk failed, or its power.
    pub(super) fn ended(&mut self, why: &str) {
        if self.fs.is_dead() {
            return self.end(End::PowerCut, "power cut found");
        }
        if self.fs.failed() == 0 {
            self.died.push(format!("it ended: {why}"));
        }
        self.end(End::DiskError, "end by a disk error");
    }

    /// The broker is gone; it starts again after a while.
    fn end(&mut self, end: End, fault: &'static str) {
        self.count(fault);
        self.fs.cut_power();
        drop(self.node.take());
        self.forget_doings();
        let now = self.context.now();
        let jump_ms = self.jump_ms();
        let noted = match end {
            // The broker believes that it was down for longer than its leases last.
            _ if jump_ms > 0 => 0,
            // All of it is synced.
            End::Stop => Ms::MAX,
            End::Kill | End::DiskError | End::PowerCut => self.context.ledger.noted(),
        };
        self.skew_ms += jump_ms;
        let at = now.ms;
        let power = matches!(end, End::PowerCut | End::DiskError);
        self.context
            .note_everywhere(Event::Killed { at, noted, power });
        self.context.cut_all(end != End::Stop);
        let disk = self.leave_disk(end);
        self.machine(disk);
        let down_us = match self.context.rng.u32(0..10) {
            0 => self.context.rng.u64(1..30_000_000),
            _ => self.context.rng.u64(1_000..500_000),
        };
        self.context.happens_in(down_us, What::Start);
    }

    /// The wall clock is set while nobody looks.
    fn jump_ms(&mut self) -> i64 {
        const HOUR_MS: i64 = 3_600_000;
        if self.context.is_closing || self.context.rng.u32(0..15) > 0 {
            return 0;
        }
        self.count("clock jump");
        let jumps = [-6 * HOUR_MS, -60_000, 60_000, 6 * HOUR_MS];
        self.context.rng.choice(jumps).unwrap_or(0)
    }

    /// What is on the disk after that.
    fn leave_disk(&mut self, end: End) -> MemoryFs {
        if end != End::PowerCut {
            return self.fs.disk().kill();
        }
        let rng = &mut self.context.rng;
        let mode = rng.u32(0..4);
        let mut choose = |_: &_, versions: usize| match mode {
            0 => 0,
            1 => versions,
            2 => rng.usize(0..=versions),
            _ if rng.bool() => 0,
            _ => versions,
        };
        self.fs.disk().crash(&mut choose)
    }

    fn machine(&mut self, disk: MemoryFs) {
        let seed = self.context.rng.u64(..);
        disk.set_capacity(self.capacity);
        self.fs = SimFs::new(disk, self.machine.clone(), seed);
    }

    /// A broker starts; now and then that goes wrong too.
    pub(super) fn start(&mut self) {
        if self.life > 0 && !self.context.is_closing && self.context.rng.u32(0..5) == 0 {
            let nth = self.context.rng.u64(1..60);
            if self.context.rng.u32(0..4) == 0 {
                self.count("disk error in a start");
                self.fs.fail_in(nth);
            } else {
                self.count("power cut in a start");
                self.fs.cut_power_in(nth);
            }
        }
        let wall_ms = self.context.now().ms.saturating_add_signed(self.skew_ms);
        self.context.clocks.broker = ManualTime::new(Timestamp(wall_ms));
        match Node::start(&self.fs, &self.context.clocks, &self.plan.setup) {
            Ok(node) => {
                let (broker_ms, now) = (node.now_ms(), self.context.now());
                self.context.broker_ahead = broker_ms.cast_signed() - now.ms.cast_signed();
                self.node = Some(node);
                self.failed_starts = 0;
                self.drive();
            }
            Err(error) => {
                self.failed_starts += 1;
                let is_strange = !self.fs.is_dead() && self.fs.failed() == 0;
                if is_strange || self.failed_starts > STARTS_MAX {
                    self.died.push(format!("it does not start: {error:#}"));
                    return;
                }
                let end = if self.fs.is_dead() {
                    End::PowerCut
                } else {
                    End::DiskError
                };
                self.end(end, "failed start");
            }
        }
    }
}
