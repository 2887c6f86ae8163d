//! What a custodian records of each change set that it was used for.

use keyplane_model::{ChangeSet, Digest, InstallationId, Timestamp, Wrap};
use serde::{Deserialize, Serialize};

/// The most public keys that one step's copy is wrapped under.
///
/// A destination may hand out another key for each attempt. Eight attempts of a step may have had an effect, and any number were refused:
/// this leaves room for nine runs of six refused ones, or for 56 runs in which every request was throttled. A server that was taken over gets
/// no more keys than this under one approval.
pub const MOST_WRAPPING_KEYS: usize = 64;

/// What a custodian has recorded of one change set: whether it is finished, and under which public keys its copies were wrapped.
///
/// INVARIANT: it only grows, so the union of two records of one change set is right, whichever of them is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    pub installation: InstallationId,
    pub change_set: Digest,
    /// When the change set's approvals end. Later the record is not needed.
    pub until: Timestamp,
    /// Whether the change set is good for nothing more.
    pub finished: bool,
    /// In the order in which they were recorded; a step and a key have at most one.
    pub wraps: Vec<Wrap>,
}

/// Why the custodian wraps nothing more for a change set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    #[error("change set {0} is finished: the custodian makes and wraps nothing more for it")]
    Finished(Digest),
    #[error("a copy of change set {0} was wrapped under {MOST_WRAPPING_KEYS} keys, and is wrapped under no other")]
    WrappingKeys(Digest),
}

impl Usage {
    /// The record of a change set that was used for nothing yet.
    /// `digest`: the change set's.
    #[must_use]
    pub fn none(change_set: &ChangeSet, digest: Digest) -> Self {
        let ChangeSet { installation, until, .. } = *change_set;
        Self { installation, change_set: digest, until, finished: false, wraps: Vec::new() }
    }

    /// Whether another record is of the same change set.
    #[must_use]
    pub fn is_of(&self, other: &Self) -> bool {
        (self.installation, self.change_set, self.until) == (other.installation, other.change_set, other.until)
    }

    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        (self.finished || !other.finished) && other.wraps.iter().all(|wrap| self.has(wrap))
    }

    /// Adds what another record of the same change set says.
    pub fn add(&mut self, other: &Self) {
        self.finished |= other.finished;
        for wrap in &other.wraps {
            if !self.has(wrap) {
                self.wraps.push(*wrap);
            }
        }
    }

    /// # Errors
    /// [`Spent::Finished`].
    pub fn still_open(&self) -> Result<(), Spent> {
        if self.finished { Err(Spent::Finished(self.change_set)) } else { Ok(()) }
    }

    /// Whether the change set may be used for a wrap: one more, or again one that is on record. Several processes that record wraps at the
    /// same moment ask before and after, and none of them wraps under a key too many: then the step is wrapped under no key any more, not
    /// even those on record.
    ///
    /// # Errors
    /// When it may not.
    pub fn admits(&self, wrap: &Wrap) -> Result<(), Spent> {
        self.still_open()?;
        let others = self.wraps.iter().filter(|there| there.step == wrap.step && !there.is_same(wrap)).count();
        if others >= MOST_WRAPPING_KEYS { Err(Spent::WrappingKeys(self.change_set)) } else { Ok(()) }
    }

    #[must_use]
    pub fn has(&self, wrap: &Wrap) -> bool {
        self.wraps.iter().any(|there| there.is_same(wrap))
    }
}

/// The records of a custodian, for comparison with the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usages {
    /// One for each change set, sorted by its digest.
    pub usages: Vec<Usage>,
    /// The records that cannot be believed: what is wrong with each, for people.
    pub broken: Vec<String>,
    /// Whether the custodian holds more than it lists.
    pub more: bool,
}

impl Usages {
    /// Adds a record; several of one change set become one.
    pub fn add(&mut self, usage: Usage) {
        match self.usages.binary_search_by(|there| there.change_set.cmp(&usage.change_set)) {
            Ok(place) => self.usages[place].add(&usage),
            Err(place) => self.usages.insert(place, usage),
        }
    }
}
