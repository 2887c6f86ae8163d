//! Events: what was written into the ledger, when, who asked for it, and why. They are only ever added, so that an audit log can be made
//! from them.

use serde::{Deserialize, Serialize};

use crate::{
    Act, Actor, Approval, ApproverName, AttemptId, ChangeSet, ChangeSetRecord, Class, DestinationName, Digest, Generation, KeyId, Lease,
    Opened, PlacementId, Revision, SealedCharter, ServerId, StepNo, Subject, Timestamp, Transition, Wrap,
};

/// Who asks for a write, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub by: &'a Actor,
    /// By the clock of the server that was asked.
    pub at: Timestamp,
}

/// One write, recorded in the same transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEvent {
    /// Numbers the ledger's events from 1, without gaps.
    pub sequence: u64,
    /// By the clock of the server that was asked. Servers' clocks may differ, so only the sequence says what came first.
    pub at: Timestamp,
    /// Who asked.
    pub actor: Actor,
    pub what: EventKind,
    pub about: Subjects,
    /// At most [`Self::REASON_LIMIT`] characters. `None`: none was given.
    pub reason: Option<String>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    /// `None`: it concerns all keys, or none.
    pub key: Option<KeyId>,
    /// `None`: no change set made it.
    pub change_set: Option<Digest>,
    /// `None`: no single placement.
    pub placement: Option<PlacementId>,
}

/// What was written. Details that are kept elsewhere in the ledger for ever, such as receipts, are only named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EventKind {
    /// A revision of the intent.
    IntentTaken {
        revision: Revision,
        digest: Digest,
        source: String,
    },
    Proposed,
    /// A proposal was dropped, because another one was proposed for the key.
    Superseded {
        by: Digest,
    },
    Approved {
        approver: ApproverName,
        signature: String,
    },
    Committed {
        generation: Generation,
    },
    /// A step's bytes are about to be wrapped under this key.
    Wrapping {
        step: StepNo,
        wrapped_under: Digest,
    },
    /// A step is about to act.
    Attempted {
        attempt: AttemptId,
        step: StepNo,
        act: String,
    },
    /// An attempt certainly had no effect.
    Refused {
        attempt: AttemptId,
        class: Class,
    },
    /// A step has its receipt.
    Received {
        attempt: Option<AttemptId>,
        step: StepNo,
        act: String,
    },
    Completed,
    /// A proposal is being withdrawn: from then on it takes no approvals, and is not committed.
    Ending,
    /// A proposal was dropped.
    Withdrawn,
    /// A proposal or a committed change set was dropped.
    Abandoned,
    LaneTaken {
        lane: String,
        server: ServerId,
        fence: u64,
    },
    LaneReleased {
        lane: String,
        fence: u64,
    },
    /// A destination was looked at.
    Surveyed {
        destination: DestinationName,
        complete: bool,
    },
    /// A change of the charter was proposed. `digest`: the change's.
    CharterProposed {
        digest: Digest,
    },
    CharterApproved {
        digest: Digest,
        approver: ApproverName,
        signature: String,
    },
    /// `approvals`: those under which the custodian adopted it. None for the first charter.
    CharterAdopted {
        serial: u32,
        digest: Digest,
        approvals: Vec<Approval>,
    },
}

impl EventKind {
    /// As in the database.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::IntentTaken { .. } => "intent-taken",
            Self::Proposed => "proposed",
            Self::Superseded { .. } => "superseded",
            Self::Approved { .. } => "approved",
            Self::Committed { .. } => "committed",
            Self::Wrapping { .. } => "wrapping",
            Self::Attempted { .. } => "attempted",
            Self::Refused { .. } => "refused",
            Self::Received { .. } => "received",
            Self::Completed => "completed",
            Self::Ending => "ending",
            Self::Withdrawn => "withdrawn",
            Self::Abandoned => "abandoned",
            Self::LaneTaken { .. } => "lane-taken",
            Self::LaneReleased { .. } => "lane-released",
            Self::Surveyed { .. } => "surveyed",
            Self::CharterProposed { .. } => "charter-proposed",
            Self::CharterApproved { .. } => "charter-approved",
            Self::CharterAdopted { .. } => "charter-adopted",
        }
    }
}

impl EventKind {
    /// Of a lease that replaced `before`. `None`: it was only renewed.
    #[must_use]
    pub fn of_lease(lane: &str, before: &Lease, next: &Lease) -> Option<Self> {
        match next.holder {
            Some(server) if next.fence != before.fence => Some(Self::LaneTaken { lane: lane.to_owned(), server, fence: next.fence }),
            Some(_) => None,
            None => Some(Self::LaneReleased { lane: lane.to_owned(), fence: next.fence }),
        }
    }

    /// # Errors
    /// See [`crate::Charter::digest`].
    pub fn of_charter(charter: &SealedCharter, approvals: &[Approval]) -> Result<Self, serde_json::Error> {
        Ok(Self::CharterAdopted { serial: charter.serial, digest: charter.charter.digest()?, approvals: approvals.to_vec() })
    }
}

impl LedgerEvent {
    /// Reasons are for people; the rest of a longer one is cut off.
    pub const REASON_LIMIT: usize = 1_000;

    /// An event that follows `last` others.
    #[must_use]
    pub fn new(last: u64, asked: Asked<'_>, what: EventKind, about: Subjects, reason: Option<&str>) -> Self {
        let reason = reason.map(|reason| reason.chars().take(Self::REASON_LIMIT).collect());
        Self { sequence: last + 1, at: asked.at, actor: asked.by.clone(), what, about, reason }
    }
}

impl Subjects {
    #[must_use]
    pub fn of_change_set(record: &ChangeSetRecord) -> Self {
        Self { key: Some(record.change_set.key_id), change_set: Some(record.digest), placement: None }
    }

    /// Of one step, or of the whole change set if it has no such step.
    fn of_step(record: &ChangeSetRecord, step: StepNo) -> Self {
        Self { placement: record.change_set.step(step).map(|step| step.placement), ..Self::of_change_set(record) }
    }
}

impl Opened {
    /// The events of a proposal, in order.
    pub fn events(&self) -> impl Iterator<Item = (EventKind, Subjects)> {
        let superseded = self.superseded.as_ref();
        let superseded = superseded.map(|record| (EventKind::Superseded { by: self.change_set.digest }, Subjects::of_change_set(record)));
        superseded.into_iter().chain([(EventKind::Proposed, Subjects::of_change_set(&self.change_set))])
    }
}

impl Subject {
    /// The event of the transition that left this.
    #[must_use]
    pub fn event(&self, transition: &Transition<'_>) -> (EventKind, Subjects) {
        let record = &self.change_set;
        let whole = Subjects::of_change_set(record);
        match transition {
            Transition::Approve(Approval { approver, signature, at: _ }) => {
                (EventKind::Approved { approver: approver.clone(), signature: signature.clone() }, whole)
            }
            Transition::Commit => {
                let generation = self.key.as_ref().map_or(Generation(0), |key| key.generation);
                (EventKind::Committed { generation }, whole)
            }
            Transition::Wrap(Wrap { step, wrapped_under, at: _ }) => {
                (EventKind::Wrapping { step: *step, wrapped_under: *wrapped_under }, Subjects::of_step(record, *step))
            }
            Transition::Attempt(attempt) => {
                let act = act(&record.change_set, attempt.step);
                (EventKind::Attempted { attempt: attempt.id, step: attempt.step, act }, Subjects::of_step(record, attempt.step))
            }
            Transition::Refuse { attempt, class } => {
                let step = record.attempts.iter().find(|there| there.id == *attempt).map(|there| there.step);
                let about = step.map_or(whole, |step| Subjects::of_step(record, step));
                (EventKind::Refused { attempt: *attempt, class: *class }, about)
            }
            Transition::Receive(receipt) => {
                let act = act(&record.change_set, receipt.step);
                (EventKind::Received { attempt: receipt.attempt, step: receipt.step, act }, Subjects::of_step(record, receipt.step))
            }
            Transition::Complete { .. } => (EventKind::Completed, whole),
            Transition::End => (EventKind::Ending, whole),
            Transition::Withdraw => (EventKind::Withdrawn, whole),
            Transition::Abandon => (EventKind::Abandoned, whole),
        }
    }
}

fn act(change_set: &ChangeSet, step: StepNo) -> String {
    change_set.step(step).map(|step| &step.act).map_or("", Act::word).to_owned()
}
