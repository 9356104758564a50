//! Bugs planted on purpose, so that the tests can show that they would be found.
//!
//! Only tests enable the feature `planted-bugs`. Without it nothing can be planted, [`Planted`] takes
//! no room, and every question about it is answered "no" when the code is compiled.

/// The bugs there are to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A start of the broker forgets what was charged.
    AttemptLostOnRestart,
    /// The last of several messages that die at once leaves instead.
    DeadLetterDropped,
    /// When a delay ends, so does the next one, if it is of the same second.
    DelayFiredEarly,
    /// A refused transaction does its first operation all the same, if that is a settle.
    TransactionHalfApplied,
    /// A dedup id is remembered a ms longer than its window.
    DedupWindowOffByOne,
    /// What comes back at once waits among the messages of the default priority.
    PriorityLostOnRetry,
    /// A message expires in the hands of a consumer.
    TtlOnALeasedMessage,
    /// Who comes while the head of its key is away goes, too.
    TwoLeasesOnOneKey,
    /// A seek leaves the last lease alive.
    SeekLeavesALease,
    /// What is acked on delivery is handed over before its ack is committed, too.
    HandedOverBeforeItsAck,
    /// A start of the broker ends every lease at once.
    LeasesEndOnRestart,
    /// A grant that lapsed may still settle what somebody else has meanwhile.
    StaleGrantAccepted,
}

/// At most one bug.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<Bug>,
}

#[cfg(feature = "planted-bugs")]
impl Planted {
    pub(super) fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
impl Planted {
    #[expect(clippy::unused_self, reason = "asked as if something could be planted")]
    pub(super) const fn has(self, _: Bug) -> bool {
        false
    }
}

impl super::Engine {
    /// Plants a bug, for as long as this engine lives; no snapshot tells of it.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Bug) {
        self.plant_like(Planted { bug: Some(bug) });
    }

    /// What is planted.
    pub fn planted(&self) -> Planted {
        self.state.planted
    }

    /// Plants the same as in another engine.
    pub fn plant_like(&mut self, planted: Planted) {
        self.state.planted = planted;
        for log in self.state.logs.values_mut() {
            log.planted = planted;
        }
        for subscription in self.state.subscriptions.values_mut() {
            subscription.planted = planted;
        }
    }
}
