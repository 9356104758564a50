//! The end: every message has left, by an exit that its consumers know of, and the broker counts the
//! same.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checker, Course, FinalBooks, Violation};

impl Checker {
    /// After a drain: offsets are dense, everything has left, and the broker says so too.
    pub(super) fn books(&mut self, courses: &BTreeMap<u64, Course>, books: FinalBooks) {
        // What a power cut took from behind the end, and nothing came there since.
        let is_lost = |offset: u64, course: &Course| {
            let last = course.hands.last().and_then(|hand| hand.tag);
            let fate = last.and_then(|tag| self.fates.get(&tag));
            offset >= books.end && fate.is_some_and(|fate| fate.weak)
        };
        let there = courses.iter().filter(|(_, it)| !it.hands.is_empty());
        let there: Vec<_> = there.filter(|(at, it)| !is_lost(**at, it)).collect();
        let got: BTreeSet<u64> = there.iter().map(|(offset, _)| **offset).collect();
        let end = books.end.max(got.last().map_or(0, |last| last + 1));
        for offset in (0..end).filter(|offset| !got.contains(offset)) {
            self.broken(Violation::Gap, &format!("@{offset}: nobody got it"));
        }
        let (mut dead, mut perhaps) = (0, 0);
        for (offset, course) in there {
            dead += u64::from(course.rejected);
            perhaps += u64::from(course.reject_asked && !course.rejected);
            let may_have_left = course.may_be_acked() || course.reject_asked;
            if self.tells_asks && !may_have_left {
                let words = format!("@{offset}: handed over, and never ended by anybody");
                self.broken(Violation::Vanished, &words);
            }
        }
        let stored = got.len() as u64;
        let has_left = books.settled + books.dead == books.end;
        let dead_agree = (dead..=dead + perhaps).contains(&books.dead);
        if books.left != 0 || !has_left || !dead_agree || books.end != stored {
            let words = format!("{stored} delivered, {dead} to {perhaps} more dead, {books:?}");
            self.broken(Violation::Books, &words);
        }
    }
}
