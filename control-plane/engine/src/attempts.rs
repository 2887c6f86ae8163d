//! The attempts of one step: what was tried, by whom, what may still take effect, and how many there may be.

use keyplane_model::{Attempt, AttemptId, Class, ObjectId, Span};

/// The attempts of one step, as one run sees them. Moments are the server's uptime.
pub(crate) struct Attempts {
    all: Vec<Attempt>,
    /// How many of them earlier runs made.
    before: usize,
    began: Span,
    sent: Span,
    made: Option<ObjectId>,
}

/// How many attempts of one step one run makes. A step that still fails then needs a person, or a later run.
const MOST: u32 = 6;

impl Attempts {
    /// Those that the ledger knows.
    pub(crate) fn begin(all: Vec<Attempt>, now: Span) -> Self {
        Self { before: all.len(), all, began: now, sent: now, made: None }
    }

    /// When this run began with the step.
    pub(crate) fn began(&self) -> Span {
        self.began
    }

    /// When the last attempt was sent; of one that an earlier run made, when this run began.
    pub(crate) fn sent(&self) -> Span {
        self.sent
    }

    /// What a reply said that it made; `None`: no reply named anything.
    pub(crate) fn made(&self) -> Option<&ObjectId> {
        self.made.as_ref()
    }

    /// Whether nobody ever tried.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The last attempt that may have had its effect; `None`: there is none, or the cloud refused each.
    pub(crate) fn open(&self) -> Option<&Attempt> {
        self.all.iter().rfind(|attempt| attempt.refused.is_none())
    }

    /// How many attempts this run made.
    pub(crate) fn tried(&self) -> u32 {
        u32::try_from(self.all.len() - self.before).unwrap_or(u32::MAX)
    }

    /// Whether this run has made as many attempts as it may. Any further bound (over the attempts of all runs, over time since
    /// [`Attempts::began`]) belongs into this function. It is asked after a failed call, and before an import is repeated that the
    /// destination took and could not use. An attempt whose effect just does not show is not asked about: it has no bound yet.
    pub(crate) fn are_spent(&self) -> bool {
        self.tried() >= MOST
    }

    /// The number of the next attempt, from 1.
    pub(crate) fn next(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Takes in an attempt that the ledger has.
    pub(crate) fn wrote(&mut self, attempt: Attempt) {
        self.all.push(attempt);
    }

    /// The last attempt goes out now.
    pub(crate) fn send(&mut self, now: Span) {
        self.sent = now;
    }

    /// A reply named what the last attempt made.
    pub(crate) fn name(&mut self, made: ObjectId) {
        self.made = Some(made);
    }

    /// The last attempt had no effect.
    pub(crate) fn refuse(&mut self, class: Class) {
        if let Some(last) = self.all.last_mut() {
            last.refused = Some(class);
        }
    }

    /// The id of the last attempt; `None`: there is none.
    pub(crate) fn last(&self) -> Option<AttemptId> {
        self.all.last().map(|attempt| attempt.id)
    }
}
