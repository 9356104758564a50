//! Where messages stand, and in which order they are handed over first.

use std::collections::BTreeMap;

use super::{Checker, Course, Delivered, Tag, Violation};

impl Checker {
    /// Nothing confirmed is lost, and each publisher's messages stand in its order.
    pub(super) fn publishes(&mut self) {
        let mut missing = Vec::new();
        let mut disordered = Vec::new();
        let mut previous: Option<(Tag, u64)> = None;
        for (tag, fate) in &self.fates {
            if let (Some(offset), None, false) = (fate.confirmed, fate.stored, fate.weak) {
                missing.push(format!("{tag}, confirmed at @{offset}"));
            }
            let Some(offset) = fate.stored.or(fate.confirmed).filter(|_| !fate.weak) else {
                continue;
            };
            let before = previous.filter(|(before, _)| before.publisher == tag.publisher);
            if let Some((before, at)) = before.filter(|(_, at)| *at > offset) {
                disordered.push(format!("{before} at @{at}, {tag} at @{offset}"));
            }
            previous = Some((*tag, offset));
        }
        for words in missing {
            self.broken(Violation::Lost, &words);
        }
        for words in disordered {
            self.broken(Violation::OutOfOrder, &words);
        }
    }

    /// First hand-overs go by offset within a start of the broker. What a consumer never saw, because
    /// its connection broke, comes with a higher attempt and is none; what it never saw because it was closed comes
    /// with the same, so nothing that comes first after that is judged.
    pub(super) fn first_hands(&mut self, courses: &BTreeMap<u64, Course>) {
        let is_plain = |hand: &&Delivered| {
            let fate = hand.tag.and_then(|tag| self.fates.get(&tag));
            hand.attempt == 1 && fate.is_some_and(|fate| !fate.apart && !fate.weak)
        };
        let judged = courses.values().filter(|course| !course.came_back);
        let firsts = judged.filter_map(|course| course.hands.first());
        let mut firsts: Vec<_> = firsts.filter(is_plain).collect();
        firsts.sort_by_key(|hand| (hand.grant, hand.offset));
        let mut overtaken = Vec::new();
        let mut highest: Option<&Delivered> = None;
        for hand in firsts {
            let same_start = highest.filter(|before| before.grant.term == hand.grant.term);
            if let Some(before) = same_start.filter(|before| before.offset > hand.offset) {
                let (at, first) = (before.offset, hand.offset);
                overtaken.push(format!(
                    "@{at} went ({before}) before @{first} did ({hand})"
                ));
            } else {
                highest = Some(hand);
            }
        }
        for words in overtaken {
            self.broken(Violation::Overtaken, &words);
        }
    }
}
