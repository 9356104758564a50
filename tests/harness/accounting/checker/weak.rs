//! What was promised at a weak level: a power cut may take the newest of it, and nothing else.

use std::collections::BTreeSet;

use super::{Checker, Course, Kill, Tag, Violation};

impl Checker {
    /// The messages that lay at one offset: one, unless power cuts took the first and the offset was
    /// given anew.
    pub(super) fn messages(&self, course: &Course) -> Vec<Course> {
        let mut tags: Vec<Option<Tag>> = Vec::new();
        for hand in &course.hands {
            if tags.last() != Some(&hand.tag) {
                tags.push(hand.tag);
            }
        }
        let (_, lost) = tags.split_last().unwrap_or((&None, &[]));
        let may_be_lost = |tag: &Option<Tag>| {
            let fate = tag.and_then(|tag| self.fates.get(&tag));
            fate.is_some_and(|fate| fate.weak)
        };
        if lost.is_empty() || !lost.iter().all(may_be_lost) {
            return vec![course.clone()];
        }
        let of = |tag: &Option<Tag>| {
            let hands = course.hands.iter().filter(|hand| hand.tag == *tag);
            course.of(hands.copied().collect())
        };
        tags.iter().map(of).collect()
    }

    /// Of the messages of one offset all but the last are no more.
    pub(super) fn last_at(&mut self, offset: u64, messages: &[Course]) {
        let last = messages.last().and_then(|course| course.hands.last());
        if let Some(tag) = last.and_then(|hand| hand.tag) {
            self.last_at.insert((offset, tag));
        }
    }

    /// Of what was confirmed between two ends of the broker, a power cut takes the last; a kill takes
    /// nothing, unless the power goes before the broker serves again. What is seen behind `end` is
    /// lost.
    pub(super) fn weak_losses(&mut self, end: u64) {
        let mut from = 0;
        let kills = self.kills.clone();
        let ends = kills.iter().map(|kill| (kill.confirms, Some(kill)));
        let ends: Vec<_> = ends.chain([(self.confirms.len(), None)]).collect();
        for (to, kill) in ends {
            let confirms = self.confirms.get(from..to).unwrap_or_default().to_vec();
            let power = kill.is_some_and(|kill| {
                let same = |other: &&Kill| other.confirms == kill.confirms;
                kills.iter().filter(same).any(|other| other.power)
            });
            self.weak_losses_before(&confirms, power, end);
            from = to;
        }
    }

    fn weak_losses_before(&mut self, confirms: &[(Tag, u64)], power: bool, end: u64) {
        let is_lost = |(tag, offset): &&(Tag, u64)| {
            let fate = self.fates.get(tag);
            let is_there = *offset < end && self.last_at.contains(&(*offset, *tag));
            fate.is_some_and(|fate| fate.weak) && !is_there
        };
        let lost: BTreeSet<u64> = confirms.iter().filter(is_lost).map(|it| it.1).collect();
        let Some(first) = lost.first() else { return };
        self.report.weak_lost += lost.len() as u64;
        let kept = confirms.iter().map(|(_, offset)| *offset);
        let kept = kept.filter(|offset| !lost.contains(offset)).max();
        if !power {
            let words = format!("@{first} was promised, and no power cut took it");
            self.broken(Violation::Lost, &words);
        } else if kept.is_some_and(|kept| kept > *first) {
            let words = format!("@{first} is lost, {kept:?} is not");
            self.broken(Violation::NoSuffix, &words);
        }
    }
}
