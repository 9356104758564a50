//! The proposer: looks at the clock and logs what is due. Volatile: a restart reckons anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use siding_protocol::event::{Answer, ScheduleInfo};
use siding_protocol::limits::{BODY_BYTES_CEILING, SCHEDULE_RUN_BYTES_MAX};
use siding_protocol::refusal::Refusal;
use siding_protocol::request::ScheduleSettings;
use siding_protocol::run::{self, RunLimits, ScannedRun};
use siding_protocol::types::{Name, Timestamp};

use super::{Schedule, nominal};
use crate::engine::Engine;
use crate::engine::command::{Command, CreateSchedule, Fire, Publish};
use crate::engine::effect::{Effect, Effects, Urgency};
use crate::engine::handle::publish::inner_publish;
use crate::engine::look::unknown;
use crate::engine::touched::Touched;

/// Firings proposed at once; the others right after.
const FIRINGS_MAX: usize = 100;
/// When to try again what found no room.
const RETRY_MS: u64 = 1_000;

/// When which schedule is due.
#[derive(Debug, Default)]
pub struct Clock {
    due: BTreeSet<(Timestamp, u64)>,
    at: BTreeMap<u64, Timestamp>,
    /// On their way to the log.
    firing: BTreeSet<u64>,
}

impl Clock {
    /// When the first is due.
    pub fn first(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    fn set(&mut self, id: u64, at: Option<Timestamp>) {
        if let Some(before) = self.at.remove(&id) {
            self.due.remove(&(before, id));
        }
        if let Some(at) = at {
            self.at.insert(id, at);
            self.due.insert((at, id));
        }
    }

    fn take_due(&mut self, now: Timestamp) -> Option<u64> {
        let (_, id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.set(id, None);
        self.firing.insert(id);
        Some(id)
    }
}

impl Engine {
    /// Proposes what is due.
    pub(in crate::engine) fn fire_due(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.volatile.starting {
            return;
        }
        for _ in 0..FIRINGS_MAX {
            let Some(id) = self.volatile.clock.take_due(now) else {
                return;
            };
            if let Some((fire, runs)) = self.firing(id, now) {
                effects.push(Effect::Propose {
                    command: Command::Fire(Box::new(fire)),
                    runs,
                    from: None,
                    urgency: Urgency::Awaited,
                });
            } else {
                self.volatile.clock.firing.remove(&id);
                self.wind(id, now);
            }
        }
    }

    /// What is due of a schedule. Without a publish it can only be missed.
    fn firing(&self, id: u64, now: Timestamp) -> Option<(Fire, Vec<Bytes>)> {
        let schedule = self.state.schedules.get(id)?;
        let mut fire = Fire {
            schedule: id,
            ..Fire::default()
        };
        let kept = schedule.kept.filter(|_| !self.state.is_running(schedule));
        if let Some(kept) = kept {
            fire.nominal_ms = kept.0;
        } else {
            let when = schedule.settings.when.as_ref()?;
            let between = (schedule.judged, now);
            let (newest, missed) = nominal::due(when, schedule.created, between)?;
            fire.nominal_ms = newest.0;
            fire.missed_ms = missed.into_iter().map(|at| at.0).collect();
            if schedule.is_missed(newest, now) {
                return Some((fire, Vec::new()));
            }
        }
        if self.volatile.shortage.refusal().is_some() {
            return None;
        }
        let published = self.published(schedule, now);
        let (publish, runs) = published.map_or((None, Vec::new()), |(publish, run)| {
            (Some(publish), vec![run])
        });
        fire.publish = publish;
        Some((fire, runs))
    }

    /// The message of a schedule, on its way to the target; `None`: there is none.
    fn published(&self, schedule: &Schedule, now: Timestamp) -> Option<(Publish, Bytes)> {
        let target: Name = schedule.settings.target.parse().ok()?;
        let log = self.log_named(&target).ok()?;
        let limits = RunLimits {
            body_bytes_max: BODY_BYTES_CEILING,
        };
        let mut run = run::scan(schedule.run.clone(), limits).ok()?;
        // What the filters of a topic's subscriptions say of it is judged later.
        let publish = inner_publish(now, log, &mut run).ok()?;
        Some((publish, run.bytes))
    }

    /// Sets when a schedule is due next: at its next nominal time, but not before `soonest`.
    fn wind(&mut self, id: u64, soonest: Timestamp) {
        let schedule = self.state.schedules.get(id);
        let next = schedule.and_then(|schedule| {
            let kept = schedule.kept.filter(|_| !self.state.is_running(schedule));
            kept.into_iter().chain(schedule.next()).min()
        });
        let retry = soonest.plus_ms(RETRY_MS);
        let next = next.map(|at| if at <= soonest { retry } else { at });
        self.volatile.clock.set(id, next);
    }

    /// A schedule is new, gone, or was judged.
    pub(in crate::engine) fn follow_schedule(&mut self, command: &Command, refused: bool) {
        let now = self.state.now;
        match command {
            Command::CreateSchedule(create) => {
                let made = self.state.schedules.by_name.get(&create.name);
                if let Some((id, next)) = made.map(|made| (made.id, made.next()))
                    && !self.volatile.clock.firing.contains(&id)
                {
                    self.volatile.clock.set(id, next);
                }
            }
            Command::DeleteSchedule(_) => {
                let known = &self.state.schedules;
                let clock = &mut self.volatile.clock;
                let waiting: Vec<_> = clock.at.keys().copied().collect();
                for id in waiting.into_iter().filter(|id| known.get(*id).is_none()) {
                    clock.set(id, None);
                }
            }
            Command::Fire(fire) => {
                let id = fire.schedule;
                if !fire.by_hand {
                    self.volatile.clock.firing.remove(&id);
                } else if refused || self.volatile.clock.firing.contains(&id) {
                    // Nothing happened; or a nominal time is on its way, and its answer winds the clock.
                    return;
                }
                let next = self.state.schedules.get(id).and_then(Schedule::next);
                if refused {
                    self.wind(id, now);
                } else {
                    self.volatile.clock.set(id, next);
                }
            }
            _ => {}
        }
    }

    /// A start: every schedule is reckoned anew.
    pub(in crate::engine) fn wind_all(&mut self) {
        self.volatile.clock = Clock::default();
        let all = self.state.schedules.by_name.values();
        let all: Vec<_> = all.map(|schedule| (schedule.id, schedule.next())).collect();
        for (id, next) in all {
            self.volatile.clock.set(id, next);
        }
        self.release_kept(None);
    }

    /// What fired last may have ended, in one of these subscriptions: firings kept for that are due.
    pub(in crate::engine) fn release_kept(&mut self, touched: Option<&Touched>) {
        let keeping: Vec<_> = self.state.schedules.keeping.iter().copied().collect();
        for id in keeping {
            let Some(schedule) = self.state.schedules.get(id) else {
                continue;
            };
            let log = schedule
                .last
                .and_then(|fired| self.state.logs.get(&fired.log));
            let is_touched = touched.is_none_or(|touched| {
                log.is_none_or(|log| log.subscriptions.iter().any(|id| touched.contains(*id)))
            });
            let is_free = is_touched
                && !self.volatile.clock.firing.contains(&id)
                && !self.state.is_running(schedule);
            if is_free {
                self.volatile.clock.set(id, Some(self.state.now));
            }
        }
    }

    /// Checks what the calendar and the names can say.
    ///
    /// # Errors
    /// No such target, zone or expression; not one message; too large a one.
    pub(in crate::engine) fn create_schedule_command(
        &self,
        now: Timestamp,
        name: &Name,
        (settings, run): (ScheduleSettings, ScannedRun),
    ) -> Result<Command, Refusal> {
        nominal::check(settings.when.as_ref(), now)?;
        let target = settings.target.parse();
        let target: Name = target.map_err(|error| Refusal::bad_name("target", error))?;
        self.log_named(&target)?;
        if run.count != 1 {
            return Err(Refusal::out_of_range("run", 1, 1));
        }
        let names = run
            .specials
            .iter()
            .any(|special| !special.dedup_id.is_empty());
        if names {
            let why = "names a dedup id: its second firing would be a duplicate";
            return Err(Refusal::malformed("run", why));
        }
        if run.bytes.len() > SCHEDULE_RUN_BYTES_MAX {
            return Err(Refusal::TooLarge {
                field: "run".into(),
                max: SCHEDULE_RUN_BYTES_MAX as u64,
            });
        }
        Ok(Command::CreateSchedule(Box::new(CreateSchedule {
            name: name.to_string(),
            settings,
            run: run.bytes,
        })))
    }

    /// A firing besides the times.
    ///
    /// # Errors
    /// No such schedule, or its target is gone, or there is a shortage.
    pub(in crate::engine) fn run_schedule_command(
        &self,
        now: Timestamp,
        name: &Name,
    ) -> Result<(Command, Vec<Bytes>), Refusal> {
        let schedule = self.schedule_named(name)?;
        if let Some(refusal) = self.volatile.shortage.refusal() {
            return Err(refusal);
        }
        let published = self.published(schedule, now);
        let (publish, run) = published.ok_or_else(|| Refusal::NotFound {
            name: schedule.settings.target.clone(),
            nearest: Vec::new(),
        })?;
        let fire = Fire {
            schedule: schedule.id,
            nominal_ms: now.0,
            publish: Some(publish),
            by_hand: true,
            missed_ms: Vec::new(),
        };
        Ok((Command::Fire(Box::new(fire)), vec![run]))
    }

    /// A schedule by its name.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::engine) fn schedule_named(&self, name: &Name) -> Result<&Schedule, Refusal> {
        let found = self.state.schedules.by_name.get(name.as_str());
        found.ok_or_else(|| unknown(name.as_str(), &self.state.schedules.by_name))
    }

    /// A page of schedules, by name.
    pub(in crate::engine) fn list_schedules(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Answer {
        let all = self.state.schedules.by_name.range(prefix.to_owned()..);
        let mut page = all
            .take_while(|(name, _)| name.starts_with(prefix))
            .filter(|(name, _)| name.as_str() > after || after.is_empty())
            .map(|(name, schedule)| ScheduleInfo {
                name: name.clone(),
                settings: schedule.settings.clone(),
                next: schedule.next(),
                last: schedule.last.map(|fired| fired.nominal),
                missed: schedule.missed.iter().copied().collect(),
                fired: schedule.fired,
            });
        let schedules: Vec<_> = page.by_ref().take(limit as usize).collect();
        let more = page.next().is_some();
        Answer::Schedules { schedules, more }
    }
}
