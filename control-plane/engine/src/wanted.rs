//! What is wanted now, and whether a change set does nothing else.
//!
//! Two say what is wanted: the newest intent of the ledger, which the last plan recorded, and the policy that the command was given, which
//! no plan may have read yet. Nothing is done that one of them does not want.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    ChangeSet, ChangeSetRecord, ChangeSetState, Charter, Destination, DestinationName, Intent, Key, KeyName, KeyRecord, Problem,
    ProblemCode, Timestamp,
};
use keyplane_port::{IntentRevision, Ledger};
use keyplane_verifier::{self as verifier, Facts, Violation};

use crate::job::Stop;
use crate::lane::Lane;
use crate::unfit;

/// What is wanted of some keys, and the destinations where it can be.
pub(crate) struct Wanted<'a> {
    /// Those of which `newest` tells.
    keys: BTreeSet<KeyName>,
    /// `None`: the ledger has no intent yet, so nothing is wanted.
    newest: Option<(IntentRevision, BTreeMap<KeyName, Key>)>,
    /// `None`: the command was given no policy.
    policy: Option<&'a Intent>,
    /// Those that are configured.
    destinations: BTreeMap<DestinationName, Destination>,
}

/// What the judge needs beside a change set and what is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) charter: &'a Charter,
    pub(crate) now: Timestamp,
    /// `None`: no change set for the key was committed yet.
    pub(crate) record: Option<&'a KeyRecord>,
}

impl<'a> Wanted<'a> {
    /// Reads what is wanted of these keys.
    pub(crate) async fn read(
        ledger: &dyn Ledger,
        lanes: &BTreeMap<DestinationName, Lane>,
        keys: BTreeSet<KeyName>,
        policy: Option<&'a Intent>,
    ) -> Result<Self, Problem> {
        let newest = ledger.wanted(&keys).await.map_err(|error| error.problem())?;
        let destinations = lanes.iter().map(|(name, lane)| (name.clone(), lane.destination().clone())).collect();
        Ok(Self { keys, newest, policy, destinations })
    }

    /// Judges a change set before it is committed or run.
    ///
    /// A proposed one has to be exactly what a plan would make of the newest intent: every rule holds. A committed one was that when it was
    /// committed. Its own steps have changed the key's record since, and what else is wanted of the key may have changed too, which the next
    /// plan sees to; so only what the change set itself does has to be wanted still.
    ///
    /// The policy of a command decides what this command does, and no more: it may be anybody's copy. Once a plan was made of it, it is on
    /// record as the newest intent, and says what is out of date.
    pub(crate) fn judge(&self, record: &ChangeSetRecord, known: Known<'_>) -> Result<(), Stop> {
        let change_set = &record.change_set;
        // INVARIANT: what was not read is not taken for unwanted. The change set's record could not be read when this was asked for.
        if !self.keys.contains(&change_set.key) {
            let detail = "what is wanted of the key was not read, because the database failed for a moment";
            return Err(Stop::Held(Problem::new(ProblemCode::DatabaseFailed, detail, "keyplane apply").key(&change_set.key)));
        }
        let newest = self.newest.as_ref().and_then(|(_, keys)| keys.get(&change_set.key));
        let facts = match record.state {
            ChangeSetState::Proposed | ChangeSetState::Ending => self.facts(known, newest),
            ChangeSetState::Committed | ChangeSetState::Done | ChangeSetState::Dropped => {
                Facts { record: None, key: None, destinations: None, ..self.facts(known, newest) }
            }
        };
        verifier::judge(change_set, &facts).map_err(|violations| unfit::refused(change_set, &violations))?;
        let unwanted = self.unwanted(record, known, newest);
        if !unwanted.is_empty() {
            return Err(Stop::Conflict(unfit::unwanted(change_set, &unwanted, &self.newest_by())));
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

    fn newest_by(&self) -> String {
        match &self.newest {
            Some((revision, _)) => format!("revision {} of the intent (by `{}`)", revision.revision, revision.author),
            None => "there is no intent yet".to_owned(),
        }
    }
}
