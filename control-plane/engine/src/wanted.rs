//! What is wanted now, and whether a change set does nothing else.
//!
//! Two say what is wanted: the newest intent of the ledger, which the last plan recorded, and the policy that the command was given, which
//! no plan may have read yet. Nothing is done that one of them does not want.
//!
//! The newest intent is the newest at the moment of judging, not that of when the command began: a run can take hours, and whoever plans
//! meanwhile that a key is not wanted any more must not see it imported afterwards.

use std::collections::{BTreeMap, BTreeSet};

use futures::lock::{Mutex, MutexGuard};
use keyplane_model::{
    ChangeSet, ChangeSetRecord, ChangeSetState, Charter, Destination, DestinationName, Intent, Key, KeyName, KeyRecord, Problem,
    ProblemCode, Timestamp,
};
use keyplane_port::{IntentRevision, Ledger, LedgerError};
use keyplane_verifier::{self as verifier, Facts, Violation};

use crate::lane::Lane;
use crate::stop::Stop;
use crate::unfit;

/// What is wanted of some keys, and the destinations where it can be.
pub(crate) struct Wanted<'a> {
    ledger: &'a dyn Ledger,
    /// Those of which `newest` tells.
    keys: BTreeSet<KeyName>,
    /// As it was when somebody was judged last.
    newest: Mutex<Newest>,
    /// `None`: the command was given no policy.
    policy: Option<&'a Intent>,
    /// Those that are configured.
    destinations: BTreeMap<DestinationName, Destination>,
}

/// `None`: the ledger has no intent yet, so nothing is wanted.
type Newest = Option<(IntentRevision, BTreeMap<KeyName, Key>)>;

/// What the judge needs beside a change set and what is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) charter: &'a Charter,
    pub(crate) now: Timestamp,
    /// `None`: no change set for the key was committed yet.
    pub(crate) record: Option<&'a KeyRecord>,
}

impl<'a> Wanted<'a> {
    /// For change sets of these keys. Reads nothing yet.
    pub(crate) fn of(
        ledger: &'a dyn Ledger,
        lanes: &BTreeMap<DestinationName, Lane>,
        keys: BTreeSet<KeyName>,
        policy: Option<&'a Intent>,
    ) -> Self {
        let destinations = lanes.iter().map(|(name, lane)| (name.clone(), lane.destination().clone())).collect();
        Self { ledger, keys, newest: Mutex::new(None), policy, destinations }
    }

    /// What the newest intent says, read anew if another one is the newest by now.
    async fn newest(&self) -> Result<MutexGuard<'_, Newest>, LedgerError> {
        // Held while the ledger is read: of the change sets that run side by side one reads, and the others use what it read.
        let mut newest = self.newest.lock().await;
        let revision = self.ledger.intent_revision().await?;
        if revision.as_ref() != newest.as_ref().map(|(revision, _)| revision) {
            *newest = self.ledger.wanted(&self.keys).await?;
        }
        Ok(newest)
    }

    /// Judges a change set by the intent that is the newest now: before it is committed, before it is run, and before each of its steps acts.
    ///
    /// A proposed one has to be exactly what a plan would make of the newest intent: every rule holds. A committed one was that when it was
    /// committed. Its own steps have changed the key's record since, and what else is wanted of the key may have changed too, which the next
    /// plan sees to; so only what the change set itself does has to be wanted still.
    ///
    /// The policy of a command decides what this command does, and no more: it may be anybody's copy. Once a plan was made of it, it is on
    /// record as the newest intent, and says what is out of date.
    pub(crate) async fn judge(&self, record: &ChangeSetRecord, known: Known<'_>) -> Result<(), Stop> {
        let change_set = &record.change_set;
        // INVARIANT: what was not read is not taken for unwanted. The change set's record could not be read when this was asked for.
        if !self.keys.contains(&change_set.key) {
            let detail = "what is wanted of the key was not read, because the database failed for a moment";
            return Err(Stop::Held(Problem::new(ProblemCode::DatabaseFailed, detail, "keyplane apply").key(&change_set.key)));
        }
        let read = self.newest().await.map_err(|error| Stop::Held(error.problem().key(&change_set.key)))?;
        let newest = read.as_ref().and_then(|(_, keys)| keys.get(&change_set.key));
        let facts = match record.state {
            ChangeSetState::Proposed | ChangeSetState::Ending => self.facts(known, newest),
            ChangeSetState::Committed | ChangeSetState::Done | ChangeSetState::Dropped => {
                Facts { record: None, key: None, destinations: None, ..self.facts(known, newest) }
            }
        };
        let violations = verifier::judge(change_set, &facts).err().unwrap_or_default();
        let (untimely, violations): (Vec<_>, Vec<_>) =
            violations.into_iter().partition(|violation| unfit::is_untimely(record, violation, known.now));
        if !violations.is_empty() {
            return Err(unfit::refused(change_set, &violations));
        }
        let unwanted = self.unwanted(record, known, newest);
        if !unwanted.is_empty() {
            return Err(Stop::Conflict(unfit::unwanted(change_set, &unwanted, &newest_by(read.as_ref()))));
        }
        // After what drops it whatever the clocks say.
        if let Some(violation) = untimely.first() {
            return Err(Stop::Held(unfit::untimely(record, violation, known.now)));
        }
        let Some(policy) = self.policy else { return Ok(()) };
        let mut unwanted = self.unwanted(record, known, policy.keys.get(&change_set.key));
        unwanted.retain(|violation| !self.is_left_out(change_set, violation));
        if unwanted.is_empty() {
            return Ok(());
        }
        Err(Stop::Held(unfit::unwanted(change_set, &unwanted, "the policy of this command")))
    }

    /// What a change set does that is not wanted of the key. A destination that is not configured any more is no reason: a proposed change
    /// set is refused for it before, and a committed one waits there until it is configured again, while its other placements go on.
    fn unwanted(&self, record: &ChangeSetRecord, known: Known<'_>, key: Option<&Key>) -> Vec<Violation> {
        let mut violations = verifier::still_wanted(&record.change_set, &self.facts(known, key)).err().unwrap_or_default();
        violations.retain(|violation| !matches!(violation, Violation::UnknownDestination(_)));
        violations
    }

    fn facts<'f>(&'f self, known: Known<'f>, key: Option<&'f Key>) -> Facts<'f> {
        Facts {
            charter: known.charter,
            installation: known.charter.installation,
            now: known.now,
            record: known.record,
            key,
            destinations: Some(&self.destinations),
        }
    }

    /// Whether the policy may want it all the same: it leaves out placements, and keys without any other, whose destinations are not
    /// configured here. Then only those placements wait, and say why.
    fn is_left_out(&self, change_set: &ChangeSet, violation: &Violation) -> bool {
        let is_missing = |name: &DestinationName| !self.destinations.contains_key(name);
        match violation {
            Violation::NotWanted { destination, .. } => is_missing(destination),
            Violation::KeyDropped => change_set.placements.values().all(|plan| is_missing(&plan.destination)),
            _ => false,
        }
    }
}

fn newest_by(newest: Option<&(IntentRevision, BTreeMap<KeyName, Key>)>) -> String {
    match newest {
        Some((revision, _)) => format!("revision {} of the intent (by `{}`)", revision.revision, revision.author),
        None => "there is no intent yet".to_owned(),
    }
}
