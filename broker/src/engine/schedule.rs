//! Schedules: a message that is published by the clock, once for each nominal time.
//!
//! The proposer ([`clock`]) finds out when a nominal time has come and logs a `Fire` with it; what the
//! firing does is judged here, from the log alone. A nominal time is judged once: it fires, is kept
//! for later or is missed, and none before it is asked for again.

mod clock;
mod nominal;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use siding_protocol::event::{Answer, Confirm};
use siding_protocol::limits::{MISSED_FIRINGS_MAX, SCHEDULES_BYTES_MAX, SCHEDULES_MAX};
use siding_protocol::refusal::{Refusal, State as Standing};
use siding_protocol::request::{Overlap, ScheduleSettings, When};
use siding_protocol::types::{Offset, Timestamp};

pub use clock::Clock;

use super::command::{CreateSchedule, DeleteSchedule, Fire};
use super::effect::Effects;
use super::judge::Asked;
use super::state::{RunCursor, State, gone};
use super::touched::Touched;

/// A message that is published by the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Never reused.
    pub id: u64,
    /// Complete.
    pub settings: ScheduleSettings,
    /// One message.
    pub run: Bytes,
    /// What a period is counted from.
    pub created: Timestamp,
    /// The last nominal time that was judged.
    pub judged: Timestamp,
    /// The last that fired: its nominal time, and the message in its log.
    pub last: Option<Fired>,
    /// Fires as soon as the last one has ended.
    pub kept: Option<Timestamp>,
    /// Nominal times that were not made up for, oldest first.
    pub missed: VecDeque<Timestamp>,
    /// How often it has fired.
    pub fired: u64,
}

/// A message that a schedule published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// When it should have been.
    pub nominal: Timestamp,
    /// Where it was stored.
    pub log: u64,
    /// Where in it.
    pub offset: Offset,
}

/// All schedules of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedules {
    /// By name.
    pub by_name: BTreeMap<String, Schedule>,
    /// Id to name: derived.
    names: BTreeMap<u64, String>,
    /// Those that keep a firing for later: derived.
    keeping: BTreeSet<u64>,
    /// Of their messages: derived.
    bytes: u64,
}

impl Schedules {
    /// By its id.
    pub fn get(&self, id: u64) -> Option<&Schedule> {
        self.by_name.get(self.names.get(&id)?)
    }

    /// Whether a firing waits for another's end.
    pub(super) fn is_keeping(&self) -> bool {
        !self.keeping.is_empty()
    }

    /// Adds one, whose name and id are free.
    pub fn add(&mut self, name: String, schedule: Schedule) {
        self.bytes += schedule.run.len() as u64;
        self.names.insert(schedule.id, name.clone());
        if schedule.kept.is_some() {
            self.keeping.insert(schedule.id);
        }
        self.by_name.insert(name, schedule);
    }

    fn remove(&mut self, name: &str) -> Option<Schedule> {
        let schedule = self.by_name.remove(name)?;
        self.bytes -= schedule.run.len() as u64;
        self.names.remove(&schedule.id);
        self.keeping.remove(&schedule.id);
        Some(schedule)
    }

    fn edit<T>(&mut self, id: u64, edit: impl FnOnce(&mut Schedule) -> T) -> Option<T> {
        let name = self.names.get(&id)?;
        let schedule = self.by_name.get_mut(name)?;
        let done = edit(schedule);
        if schedule.kept.is_some() {
            self.keeping.insert(id);
        } else {
            self.keeping.remove(&id);
        }
        Some(done)
    }

    fn judge_room(&self, more_bytes: u64) -> Result<(), Refusal> {
        let schedules = (SCHEDULES_MAX as u64, self.by_name.len() as u64, 1);
        let bytes = (SCHEDULES_BYTES_MAX, self.bytes, more_bytes);
        for (resource, (limit, current, more)) in
            [("schedules", schedules), ("schedule_bytes", bytes)]
        {
            if current + more > limit {
                return Err(Refusal::Busy {
                    resource: resource.into(),
                    limit,
                    current,
                    retry_after_ms: 60_000,
                });
            }
        }
        Ok(())
    }
}

impl Schedule {
    /// A new one, in a log's `now`.
    fn new(id: u64, create: &CreateSchedule, now: Timestamp) -> Self {
        let is_once = matches!(create.settings.when, Some(When::At(_)));
        Self {
            id,
            settings: create.settings.clone(),
            run: Bytes::copy_from_slice(&create.run),
            created: now,
            // What is to be once may be past already.
            judged: if is_once { Timestamp(0) } else { now },
            last: None,
            kept: None,
            missed: VecDeque::new(),
            fired: 0,
        }
    }

    /// The next nominal time that is not judged yet.
    pub fn next(&self) -> Option<Timestamp> {
        let when = self.settings.when.as_ref()?;
        nominal::next(when, self.created, self.judged)
    }

    /// Whether it is too late to make up for a nominal time.
    fn is_missed(&self, nominal: Timestamp, now: Timestamp) -> bool {
        now.ms_since(nominal) > self.settings.catch_up_ms
    }

    fn miss(&mut self, nominal: Timestamp) {
        if self.missed.len() == MISSED_FIRINGS_MAX {
            self.missed.pop_front();
        }
        self.missed.push_back(nominal);
        self.judged = self.judged.max(nominal);
    }
}

/// What becomes of a nominal time.
enum Verdict {
    Fires,
    Kept,
    Missed,
    /// It was judged before.
    Nothing,
}

impl State {
    pub(super) fn create_schedule(&mut self, create: &CreateSchedule) -> Result<Answer, Refusal> {
        if let Some(found) = self.schedules.by_name.get(&create.name) {
            let same = (&found.settings, &found.run) == (&create.settings, &create.run);
            let name = create.name.clone();
            return if same {
                Ok(Answer::Done)
            } else {
                Err(Refusal::Exists { name })
            };
        }
        self.schedules.judge_room(create.run.len() as u64)?;
        let id = self.next_id();
        let schedule = Schedule::new(id, create, self.now);
        self.schedules.add(create.name.clone(), schedule);
        Ok(Answer::Done)
    }

    pub(super) fn delete_schedule(&mut self, delete: &DeleteSchedule) -> Result<Answer, Refusal> {
        let removed = self.schedules.remove(&delete.name);
        removed.map(|_| Answer::Done).ok_or_else(gone)
    }

    /// A nominal time has come, or somebody asked for a firing.
    pub(super) fn fire(
        &mut self,
        fire: &Fire,
        runs: &mut RunCursor,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Result<Answer, Refusal> {
        let run = fire.publish.is_some().then(|| runs.next());
        let nominal = Timestamp(fire.nominal_ms);
        let passed_over = fire.missed_ms.iter().copied().map(Timestamp);
        self.schedules.edit(fire.schedule, |schedule| {
            for missed in passed_over.filter(|_| !fire.by_hand) {
                if schedule.judged < missed && missed < nominal {
                    schedule.miss(missed);
                }
            }
        });
        let schedule = self.schedules.get(fire.schedule).ok_or_else(gone)?;
        let published = fire.publish.as_ref().zip(run);
        match self.judge_firing(schedule, fire) {
            Verdict::Nothing => {}
            Verdict::Fires => match published {
                Some((publish, run)) => {
                    let mut asked = Asked::default();
                    let judged = self.judge_publish(publish, self.now, &mut asked)?;
                    self.make_room(publish.log, &asked, effects, touched);
                    let confirm = self.store(publish, judged, run, effects, touched);
                    self.note_fired(fire, confirm);
                }
                None => self.miss(fire.schedule, nominal),
            },
            Verdict::Missed => self.miss(fire.schedule, nominal),
            Verdict::Kept => {
                self.schedules.edit(fire.schedule, |schedule| {
                    (schedule.kept, schedule.judged) = (Some(nominal), nominal);
                });
            }
        }
        Ok(Answer::Done)
    }

    fn judge_firing(&self, schedule: &Schedule, fire: &Fire) -> Verdict {
        let nominal = Timestamp(fire.nominal_ms);
        if fire.by_hand {
            return Verdict::Fires;
        }
        let is_running = self.is_running(schedule);
        if schedule.kept == Some(nominal) {
            return if is_running {
                Verdict::Nothing
            } else {
                Verdict::Fires
            };
        }
        if nominal <= schedule.judged {
            return Verdict::Nothing;
        }
        if schedule.is_missed(nominal, self.now) {
            return Verdict::Missed;
        }
        match schedule.settings.overlap() {
            Overlap::Allow => Verdict::Fires,
            Overlap::Skip | Overlap::BufferOne if !is_running && schedule.kept.is_none() => {
                Verdict::Fires
            }
            Overlap::BufferOne if schedule.kept.is_none() => Verdict::Kept,
            Overlap::Skip | Overlap::BufferOne => Verdict::Missed,
        }
    }

    fn note_fired(&mut self, fire: &Fire, confirm: Option<Confirm>) {
        let nominal = Timestamp(fire.nominal_ms);
        self.schedules.edit(fire.schedule, |schedule| {
            schedule.fired += 1;
            schedule.last = confirm.map(|confirm| Fired {
                nominal,
                log: confirm.log_id,
                offset: confirm.first_offset,
            });
            if fire.by_hand {
                // It stands for no nominal time, not even one of the same instant.
            } else if schedule.kept == Some(nominal) {
                schedule.kept = None;
            } else {
                schedule.judged = nominal;
            }
        });
    }

    fn miss(&mut self, id: u64, nominal: Timestamp) {
        self.schedules.edit(id, |schedule| {
            if schedule.kept == Some(nominal) {
                schedule.kept = None;
            }
            schedule.miss(nominal);
        });
    }

    /// Whether somebody still has, or will get, what fired last.
    pub(super) fn is_running(&self, schedule: &Schedule) -> bool {
        let Some(fired) = schedule.last else {
            return false;
        };
        let Some(log) = self.logs.get(&fired.log) else {
            return false;
        };
        let readers = log.subscriptions.iter();
        let mut readers = readers.filter_map(|id| self.subscriptions.get(id));
        readers.any(|subscription| {
            let state = subscription.state_of(fired.offset);
            matches!(
                state,
                Standing::Ready | Standing::Delayed | Standing::Leased
            )
        })
    }
}
