//! Messages that the clock publishes.

use siding_protocol::limits::PAGE_MAX;
use siding_protocol::run::{RunBuilder, RunLimits};
use siding_protocol::wire;
use siding_protocol::wire::frame::Kind;

use crate::client::Client;
use crate::error::Error;
use crate::message::Message;
use crate::shared::misfit;

impl Client {
    /// Creates a schedule: the message is published once at each of its times. One that exists with
    /// the same settings and message is success.
    ///
    /// # Errors
    /// `EXISTS` with others; `NOT_FOUND`: no such target; `INVALID`: a cron expression or zone that is
    /// none, an interval out of its range; a message that breaks a limit; `Interrupted`.
    pub async fn create_schedule(
        &self,
        name: &str,
        settings: wire::ScheduleSettings,
        message: impl Into<Message>,
    ) -> Result<(), Error> {
        let body_bytes_max = usize::try_from(self.limits().body_bytes_max);
        let mut run = RunBuilder::new(RunLimits {
            body_bytes_max: body_bytes_max.unwrap_or(usize::MAX),
        });
        message.into().with_fields(|fields| run.push(fields))?;
        self.done(Kind::CreateSchedule(Box::new(wire::CreateSchedule {
            name: name.to_owned(),
            settings: Some(settings),
            run: run.take().0,
        })))
        .await
    }

    /// Ends a schedule; what it has published stays.
    ///
    /// # Errors
    /// `NOT_FOUND`; `Interrupted`.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.done(Kind::DeleteSchedule(wire::DeleteSchedule { name }))
            .await
    }

    /// All schedules whose names begin so, in byte order; asks page by page.
    ///
    /// # Errors
    /// `Interrupted`.
    pub async fn list_schedules(&self, prefix: &str) -> Result<Vec<wire::ScheduleInfo>, Error> {
        let mut schedules: Vec<wire::ScheduleInfo> = Vec::new();
        loop {
            let after = schedules.last().map(|info| info.name.clone());
            let page = Kind::ListSchedules(wire::ListSchedules {
                prefix: prefix.to_owned(),
                after: after.unwrap_or_default(),
                limit: PAGE_MAX,
            });
            let Kind::ScheduleList(list) = self.look(page).await? else {
                return Err(misfit());
            };
            let more = list.more && !list.schedules.is_empty();
            schedules.extend(list.schedules);
            if !more {
                return Ok(schedules);
            }
        }
    }

    /// Fires a schedule now, besides its times.
    ///
    /// # Errors
    /// `NOT_FOUND`; what a publish into its target may be refused with; `Interrupted`.
    pub async fn run_schedule(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.done(Kind::RunSchedule(wire::RunSchedule { name }))
            .await
    }
}
