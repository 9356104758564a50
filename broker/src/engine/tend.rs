//! What is done to a whole subscription by whoever tends it.

use siding_protocol::event::Answer;
use siding_protocol::refusal::Refusal;

use super::command::Command;
use super::effect::Effects;
use super::state::{Outcome, State, gone};
use super::subscription::{Context, Subscription};
use super::touched::Touched;

impl State {
    pub(super) fn tend(
        &mut self,
        command: &Command,
        effects: &mut Effects,
        touched: &mut Touched,
    ) -> Outcome {
        Some(match command {
            Command::Purge(purge) => {
                let limit = purge.limit;
                self.count(purge.subscription, effects, touched, |s, context| {
                    s.purge(limit, context)
                })
            }
            Command::DropDead(drop) => {
                let limit = drop.limit;
                self.count(drop.subscription, effects, touched, |s, context| {
                    s.drop_dead(limit, context)
                })
            }
            Command::Seek(seek) => self.seek(seek, effects, touched),
            Command::Redrive(redrive) => {
                let (limit, rate) = (redrive.limit, redrive.rate);
                let done = self.change(redrive.subscription, effects, touched, |s, context| {
                    s.redrive(limit, rate, context)
                });
                done.ok_or_else(gone).flatten().map(Answer::Counted)
            }
            Command::StopRedrive(stop) => {
                self.count(stop.subscription, effects, touched, |s, _| s.stop_redrive())
            }
            Command::Pause(pause) => {
                let done = self.change(pause.subscription, effects, touched, |s, _| {
                    s.paused = pause.paused;
                });
                done.map(|()| Answer::Done).ok_or_else(gone)
            }
            _ => return None,
        })
    }

    pub(super) fn count(
        &mut self,
        id: u64,
        effects: &mut Effects,
        touched: &mut Touched,
        change: impl FnOnce(&mut Subscription, &mut Context<'_>) -> u64,
    ) -> Result<Answer, Refusal> {
        self.change(id, effects, touched, change)
            .map(Answer::Counted)
            .ok_or_else(gone)
    }
}
