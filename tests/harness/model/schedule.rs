//! What schedules mean: each nominal time is judged once, in order.

use siding_broker::engine::command::{CreateSchedule, DeleteSchedule, Fire};
use siding_broker::engine::state::State as EngineState;
use siding_protocol::event::Answer;
use siding_protocol::refusal::{Refusal, State};
use siding_protocol::request::{Overlap, ScheduleSettings, When};

use super::dedup::Asked;
use super::names::gone;
use super::{Judged, Model};

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    id: u64,
    settings: ScheduleSettings,
    run: Vec<u8>,
    created: u64,
    judged: u64,
    /// Nominal time, log and offset.
    last: Option<(u64, u64, u64)>,
    kept: Option<u64>,
    missed: Vec<u64>,
    fired: u64,
}

impl Schedule {
    /// The nominal times after what was judged, up to an instant; a calendar's are not ours to tell.
    fn times(&self, until: u64) -> Option<Vec<u64>> {
        match self.settings.when.as_ref()? {
            When::At(at) => Some(vec![*at]),
            When::Every(every) => {
                let periods = (1..).map(|period| self.created + period * every);
                Some(periods.take_while(|at| *at <= until).collect())
            }
            When::Cron(_) => None,
        }
        .map(|times: Vec<u64>| {
            let open = |at: &u64| *at > self.judged && *at <= until;
            times.into_iter().filter(open).collect()
        })
    }

    fn miss(&mut self, nominal: u64) {
        self.missed.push(nominal);
        let excess = self.missed.len().saturating_sub(100);
        self.missed.drain(..excess);
        self.judged = self.judged.max(nominal);
    }

    fn assert_nominal(&self, fire: &Fire, now: u64) {
        assert!(fire.nominal_ms <= now, "fired early");
        let Some(mut times) = self.times(fire.nominal_ms) else {
            return;
        };
        assert_eq!(times.pop(), Some(fire.nominal_ms), "a nominal time");
        let excess = times.len().saturating_sub(100);
        assert_eq!(times.split_off(excess), fire.missed_ms, "passed over");
    }
}

impl Model {
    pub(super) fn create_schedule(&mut self, create: &CreateSchedule) -> Judged {
        if let Some(found) = self.schedules.get(&create.name) {
            let same = found.settings == create.settings && found.run == create.run;
            let name = create.name.clone();
            return if same {
                Ok(Answer::Done)
            } else {
                Err(Refusal::Exists { name })
            };
        }
        self.last_id += 1;
        let once = matches!(create.settings.when, Some(When::At(_)));
        let schedule = Schedule {
            id: self.last_id,
            settings: create.settings.clone(),
            run: create.run.to_vec(),
            created: self.now,
            judged: if once { 0 } else { self.now },
            last: None,
            kept: None,
            missed: Vec::new(),
            fired: 0,
        };
        self.schedules.insert(create.name.clone(), schedule);
        Ok(Answer::Done)
    }

    pub(super) fn delete_schedule(&mut self, delete: &DeleteSchedule) -> Judged {
        let removed = self.schedules.remove(&delete.name);
        removed.map(|_| Answer::Done).ok_or_else(gone)
    }

    pub(super) fn fire(&mut self, fire: &Fire) -> Judged {
        let now = self.now;
        let run = fire.publish.as_ref().and_then(|_| self.runs.pop_front());
        let mut all = self.schedules.iter();
        let found = all.find(|(_, schedule)| schedule.id == fire.schedule);
        let (name, schedule) = found.ok_or_else(gone)?;
        let (name, mut schedule) = (name.clone(), schedule.clone());
        let (nominal, running) = (fire.nominal_ms, self.is_running(&schedule));
        let is_kept = schedule.kept == Some(nominal) && !fire.by_hand;
        let fires = if fire.by_hand {
            true
        } else if is_kept {
            if running {
                return Ok(Answer::Done);
            }
            true
        } else {
            if nominal <= schedule.judged {
                return Ok(Answer::Done);
            }
            schedule.assert_nominal(fire, now);
            fire.missed_ms.iter().for_each(|at| schedule.miss(*at));
            let overlap = schedule.settings.overlap();
            let waits = overlap != Overlap::Allow && (running || schedule.kept.is_some());
            if now - nominal > schedule.settings.catch_up_ms {
                false
            } else if waits && overlap == Overlap::BufferOne && schedule.kept.is_none() {
                (schedule.kept, schedule.judged) = (Some(nominal), nominal);
                self.schedules.insert(name, schedule);
                return Ok(Answer::Done);
            } else {
                !waits
            }
        };
        let mut answer = Ok(Answer::Done);
        match fire.publish.as_ref().zip(run) {
            Some((publish, run)) if fires => {
                let mut asked = Asked::default();
                match self.accept(publish, &run, &mut asked) {
                    Ok(accepted) => {
                        self.make_room(publish.log, &asked);
                        let confirm = self.store(publish, &accepted);
                        schedule.last = Some((nominal, confirm.log_id, confirm.first_offset));
                        schedule.fired += 1;
                        if is_kept {
                            schedule.kept = None;
                        } else if !fire.by_hand {
                            schedule.judged = nominal;
                        }
                    }
                    Err(refusal) => answer = Err(refusal),
                }
            }
            _ => {
                if is_kept {
                    schedule.kept = None;
                }
                schedule.miss(nominal);
            }
        }
        self.schedules.insert(name, schedule);
        answer
    }

    /// Somebody still has, or will get, what fired last.
    fn is_running(&self, schedule: &Schedule) -> bool {
        let Some((_, log, offset)) = schedule.last else {
            return false;
        };
        let mut readers = self.subscriptions.values().filter(|found| found.log == log);
        readers.any(|found| {
            let message = found.messages.get(&offset);
            message.is_some_and(|message| message.state() != State::Dead)
        })
    }

    pub(super) fn compare_schedules(&self, state: &EngineState) {
        let mine = self.schedules.keys();
        assert!(mine.eq(state.schedules.by_name.keys()), "schedules");
        for (name, schedule) in &self.schedules {
            let found = state.schedules.by_name.get(name).expect("the same names");
            let last = found.last.map(|it| (it.nominal.0, it.log, it.offset));
            let missed: Vec<_> = found.missed.iter().map(|at| at.0).collect();
            let kept = found.kept.map(|at| at.0);
            let mine = (schedule.id, schedule.judged, schedule.last, schedule.kept);
            assert_eq!(mine, (found.id, found.judged.0, last, kept), "{name}");
            assert_eq!(
                (schedule.fired, &schedule.missed),
                (found.fired, &missed),
                "{name}"
            );
        }
    }

    /// Nothing that could have fired is left.
    ///
    /// # Panics
    /// A nominal time has passed, and nobody noticed.
    pub fn assert_fired(&self) {
        for (name, schedule) in &self.schedules {
            let left = schedule.times(self.now).unwrap_or_default();
            let target = self
                .logs
                .values()
                .find(|log| log.name == schedule.settings.target);
            let may_be_full = target.is_some_and(|log| log.queue.is_some());
            assert!(
                left.is_empty() || may_be_full,
                "{name} did not fire at {left:?}"
            );
        }
    }
}
