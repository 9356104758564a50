//! What happened, in the words of a transcript.

use siding_broker::engine::effect::{DeliverTo, Delivery};
use siding_protocol::types::OffsetRange;

use super::Transcript;
use crate::script::{answer_text, bytes_text, found_text, range_text, refusal_text};
use crate::stage::Event;

impl Transcript {
    pub(super) fn events(&mut self) -> Vec<String> {
        let logs = self.stage.engine.state().logs.values();
        self.log_names
            .extend(logs.map(|log| (log.id, log.name.clone())));
        let events = self.stage.take_events().into_iter();
        let events = events.flat_map(|event| self.event(event)).collect();
        if !std::mem::take(&mut self.tells_reads) {
            return events;
        }
        self.stage.reading().map(|read| self.read(read)).collect()
    }

    fn read(&self, (log, ranges): (u64, &[OffsetRange])) -> String {
        let ranges: Vec<_> = ranges.iter().map(range_text).collect();
        let name = self.log_names.get(&log).map_or("", String::as_str);
        format!("{name}@{}", ranges.join(","))
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        let name = |log| self.log_names.get(&log).cloned().unwrap_or_default();
        match event {
            Event::Answered(_, Ok(answer)) => answer_text(&answer, &name),
            Event::Answered(_, Err(refusal)) => vec![format!("refuse: {}", refusal_text(&refusal))],
            Event::Ended(session, _, why) => {
                vec![format!(
                    "{} ended: {}",
                    self.who(session),
                    refusal_text(&why)
                )]
            }
            Event::CancelRequested(session, _, _, offset) => {
                vec![format!(
                    "{} is asked to cancel @{offset}",
                    self.who(session)
                )]
            }
            Event::Browsed(_, _, found) => found.iter().map(found_text).collect(),
            Event::Delivered(delivery) => self.delivered(&delivery),
            Event::Expiring(_) if !self.tells_notices => Vec::new(),
            Event::Expiring(expiring) => {
                let who = self.who(expiring.session);
                let ranges = expiring.ranges.iter().map(range_text);
                let ranges = ranges.collect::<Vec<_>>().join(",");
                vec![format!("{who} warned of {ranges}")]
            }
        }
    }

    fn who(&self, session: u64) -> String {
        let mut people = self.people.iter();
        let found = people.find(|(_, number)| **number == session);
        found.map_or("somebody gone", |(name, _)| name).to_owned()
    }

    fn delivered(&mut self, delivery: &Delivery) -> Vec<String> {
        let (who, verb) = match delivery.to {
            DeliverTo::Consumer { session, .. } => (self.who(session), "gets"),
            DeliverTo::Receive(origin) => (
                self.asked
                    .get(&origin.correlation)
                    .cloned()
                    .unwrap_or_default(),
                "receives",
            ),
        };
        if delivery.ranges.is_empty() {
            return vec![format!("{who} {verb} nothing")];
        }
        let address = self.address(delivery.subscription);
        let ranges = delivery.ranges.iter().map(|(range, _)| range.clone());
        self.got.push((
            who.clone(),
            address.clone(),
            delivery.grant,
            ranges.collect(),
        ));
        let gap = delivery.gap.iter().map(|gap| {
            let gap = range_text(gap);
            format!("{who} is told of the gap {address}@{gap}")
        });
        let texts = delivery.ranges.iter().map(|(range, attempt)| {
            let mut checkpoints = delivery.checkpoints.iter();
            let found = checkpoints.find(|(offset, _)| *offset == range.start);
            let checkpoint = found.map(|(_, bytes)| format!(" checkpoint {}", bytes_text(bytes)));
            format!(
                "{who} {verb} {address}@{} attempt {attempt}{}",
                range_text(range),
                checkpoint.unwrap_or_default()
            )
        });
        gap.chain(texts).collect()
    }

    fn address(&self, subscription: u64) -> String {
        let state = self.stage.engine.state();
        let found = state
            .subscriptions
            .get(&subscription)
            .expect("a subscription");
        let log = state.logs.get(&found.log).expect("its log");
        match &found.name {
            None => log.name.clone(),
            Some(name) => format!("{}/{name}", log.name),
        }
    }
}
