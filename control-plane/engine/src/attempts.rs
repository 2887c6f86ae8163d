//! The attempts of one step: which were made, which may still take effect, and how many there may be.

use keyplane_model::{Attempt, AttemptId, Class, ObjectId, Span};
use keyplane_port::MOST_WRAPPING_KEYS;

/// As one run sees them. Moments are the server's uptime.
pub(crate) struct Attempts {
    all: Vec<Attempt>,
    /// How many of them earlier runs made.
    before: usize,
    sent: Span,
    /// When this run made its first attempt. `None`: it made none yet.
    first: Option<Span>,
    made: Vec<ObjectId>,
    lost: Option<String>,
}

/// The most attempts of one step in one run, refused ones included. A step that still fails then needs a person, or a later run.
const MOST: usize = 6;

/// The most attempts of one step that may have had an effect which no look shows. After that, each run makes one attempt. Two repeats
/// suffice for lost replies; whatever undid the effect of three requests will undo the next one too.
const UNSHOWN: usize = 3;

/// The same over all runs of a change set; then it is dropped. This leaves five more runs to an operator who looks for the cause, and ends
/// a job that repeats by itself.
const UNSHOWN_IN_ALL: usize = 8;

// Each of them may be wrapped under another key, and a crash before it is recorded costs one more.
const _: () = assert!(2 * UNSHOWN_IN_ALL <= MOST_WRAPPING_KEYS, "the custodian allows fewer wrapping keys than attempts need");

/// How long after its first attempt a run may begin another one. Three attempts at the slowest destination take half of it.
const LONGEST: Span = Span::seconds(3_600);

/// Whether the attempts of a step are used up for this run or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// The next run makes at least one more.
    ForNow,
    /// No run of this change set makes another one.
    ForGood,
}

impl Attempts {
    /// Begins with the attempts in the ledger.
    pub(crate) fn begin(all: Vec<Attempt>, now: Span) -> Self {
        Self { before: all.len(), all, sent: now, first: None, made: Vec::new(), lost: None }
    }

    /// When the last attempt was sent. For an attempt of an earlier run: when this run began the step.
    pub(crate) fn sent(&self) -> Span {
        self.sent
    }

    /// The object that the last reply of this run named. `None`: no reply named one.
    pub(crate) fn made(&self) -> Option<&ObjectId> {
        self.made.last()
    }

    /// Every object that replies of this run named.
    pub(crate) fn all_made(&self) -> &[ObjectId] {
        &self.made
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The last attempt that may have had an effect. `None`: there is none, or each was refused.
    pub(crate) fn open(&self) -> Option<&Attempt> {
        self.all.iter().rfind(|attempt| attempt.refused.is_none())
    }

    /// How many attempts this run made.
    pub(crate) fn tried(&self) -> u32 {
        number(self.all.len() - self.before)
    }

    /// How many attempts may have had an effect: of all runs, and of earlier runs.
    pub(crate) fn unshown(&self) -> (usize, usize) {
        let count = |attempts: &[Attempt]| attempts.iter().filter(|attempt| attempt.refused.is_none()).count();
        (count(&self.all), count(&self.all[..self.before]))
    }

    /// Whether an attempt of this run may have had an effect.
    pub(crate) fn has_acted(&self) -> bool {
        let (all, before) = self.unshown();
        all > before
    }

    /// Whether another attempt is not allowed. `None`: it is allowed. Every limit on a step's attempts is here. Asked before each attempt
    /// and after each refusal.
    ///
    /// An attempt that may have had an effect can leave something at the destination, so all runs of the change set share one limit. A
    /// refused one certainly had no effect, so each run has its own limit for those. What limits them in all is the number of keys that the
    /// custodian wraps a step under: AWS gives another key for each attempt, except one that follows a throttled or an unsent request of the
    /// same run, which sends the same bytes again.
    pub(crate) fn spent(&self, now: Span) -> Option<Spent> {
        let (unshown, before) = self.unshown();
        if unshown >= UNSHOWN_IN_ALL {
            return Some(Spent::ForGood);
        }
        let many = self.all.len() - self.before >= MOST;
        let in_vain = unshown >= UNSHOWN && unshown > before;
        let late = self.first.is_some_and(|first| now - first >= LONGEST);
        (many || in_vain || late).then_some(Spent::ForNow)
    }

    /// From 1.
    pub(crate) fn next(&self) -> u32 {
        number(self.all.len()).saturating_add(1)
    }

    /// Adds an attempt that the ledger has recorded.
    pub(crate) fn wrote(&mut self, attempt: Attempt, now: Span) {
        self.all.push(attempt);
        self.first.get_or_insert(now);
        self.lost = None;
    }

    /// Records that the last attempt is sent now.
    pub(crate) fn send(&mut self, now: Span) {
        self.sent = now;
    }

    /// Records the object that the reply to the last attempt named.
    pub(crate) fn name(&mut self, made: ObjectId) {
        self.made.retain(|before| *before != made);
        self.made.push(made);
    }

    /// Records why the last attempt got no conclusive reply.
    pub(crate) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Why the last attempt got no conclusive reply. `None`: it got one.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// Records that the last attempt had no effect.
    pub(crate) fn refuse(&mut self, class: Class) {
        if let Some(last) = self.all.last_mut() {
            last.refused = Some(class);
        }
    }

    /// `None`: there are no attempts.
    pub(crate) fn last(&self) -> Option<AttemptId> {
        self.all.last().map(|attempt| attempt.id)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use keyplane_model::{Digest, StepNo, Timestamp};

    use super::*;

    fn attempt(number: usize, refused: Option<Class>) -> Attempt {
        let ordinal = u32::try_from(number).unwrap();
        let id = AttemptId::of(&Digest::of(b"a change set"), 0, ordinal);
        Attempt { id, step: StepNo(0), ordinal, at: Timestamp(0), wrapped_under: None, refused }
    }

    /// Attempts of earlier runs, then of this one. `true`: refused.
    fn attempts(before: &[bool], here: &[bool]) -> Attempts {
        let class = |refused: &bool| refused.then_some(Class::Throttled);
        let made = before.iter().enumerate().map(|(number, refused)| attempt(number + 1, class(refused))).collect();
        let mut attempts = Attempts::begin(made, Span::ZERO);
        for refused in here {
            attempts.wrote(attempt(attempts.all.len() + 1, class(refused)), Span::ZERO);
        }
        attempts
    }

    #[test]
    fn each_bound_is_where_it_says() {
        let (open, refused) = ([false; 9], [true; 99]);
        let cases = [
            (&open[..0], &open[..2], None),
            (&open[..0], &open[..3], Some(Spent::ForNow)),
            // Attempts of a crashed run count, and the next run makes at least one.
            (&open[..2], &open[..0], None),
            (&open[..2], &open[..1], Some(Spent::ForNow)),
            (&open[..7], &open[..0], None),
            (&open[..7], &refused[..5], None),
            (&open[..7], &open[..1], Some(Spent::ForGood)),
            (&open[..8], &open[..0], Some(Spent::ForGood)),
            (&refused[..0], &refused[..5], None),
            (&refused[..0], &refused[..6], Some(Spent::ForNow)),
            (&refused[..], &refused[..5], None),
        ];
        for (before, here, spent) in cases {
            assert_eq!(attempts(before, here).spent(Span::ZERO), spent, "{} before, {} here", before.len(), here.len());
        }
    }

    #[test]
    fn the_last_attempt_begins_within_an_hour_of_the_first() {
        let first = attempts(&[], &[false]);
        assert_eq!(first.spent(LONGEST - Span::millis(1)), None);
        assert_eq!(first.spent(LONGEST), Some(Spent::ForNow));
        assert_eq!(attempts(&[false], &[]).spent(Span::days(9)), None, "waiting for a quota before the first is no attempt");
    }
}
