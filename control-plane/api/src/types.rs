//! The wire types: model types where they fit, with a few types around them.

use keyplane_model::{
    Action, Algorithm, Approval, ApprovalRule, ApproverName, ChangeSet, ChangeSetState, Charter, CharterChange, CharterId, CheckValue,
    CloudKind, DestinationName, Digest, EpochId, Evidence, Generation, KeyName, ObjectId, PlacementId, Problem, ProfileName, Purpose,
    ServerId, Source as KeySource, Span, Timestamp, Version, VersionState,
};
use serde::{Deserialize, Serialize};

/// A policy file. The server reads no policy files itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// As problems show it.
    pub name: String,
    /// At most 1 MiB.
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    pub approvers: usize,
    pub profiles: usize,
    pub keys: Vec<KeyName>,
    /// Placements and keys that were left out of the intent, and why.
    pub warnings: Vec<Problem>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    pub sources: Vec<Source>,
    pub key: KeyName,
}

/// The plan's change sets become the open ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The change sets that are open now, new and kept, sorted by key.
    pub change_sets: Vec<ChangeSetView>,
    pub keys: Vec<PlannedKey>,
    /// Destinations that could not be looked at, and placements that were left out.
    pub warnings: Vec<Problem>,
}

impl Planned {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change_sets.is_empty()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    pub key: KeyName,
    pub verdict: Verdict,
    /// For people.
    pub reason: String,
    /// The key's open change set. `None`: it has none.
    pub digest: Option<Digest>,
    /// The first finding that blocks or differs. `None`: there is none.
    pub problem: Option<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A change set is open for it.
    Change,
    /// It needs nothing.
    Nothing,
    /// It needs something that cannot be done.
    Blocked,
}

/// A change set, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSetView {
    /// What approvals sign.
    pub digest: Digest,
    pub key: KeyName,
    pub profile: ProfileName,
    pub action: Action,
    pub state: ChangeSetState,
    /// The login that proposed it. Its owner's approval does not count.
    pub proposer: String,
    pub approvals: ApprovalRule,
    /// Whose approvals were received, verified or not.
    pub approved_by: Vec<ApproverName>,
    /// For people.
    pub reasons: Vec<String>,
    /// When its approvals expire.
    pub until: Timestamp,
    pub placements: Vec<PlacementView>,
    /// In order.
    pub steps: Vec<StepView>,
    /// The least time in seconds, by the clouds' quotas, for all change sets of the plan together. 0: not from a plan.
    pub seconds: u64,
}

/// A placement of a change set, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementView {
    pub cloud: CloudKind,
    pub destination: DestinationName,
    /// That of the destination when this was planned: the digest of its endpoint, account and credential source.
    pub fingerprint: Digest,
    /// The name by which users address the key there.
    pub name: String,
    pub algorithm: Algorithm,
    pub purpose: Purpose,
}

/// A step, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepView {
    /// The act's word ([`keyplane_model::Act::word`]).
    pub act: String,
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    pub algorithm: Algorithm,
    /// More about the step, for people. May be empty.
    pub detail: String,
    /// Whether it has a receipt.
    pub done: bool,
}

/// A proposed change of the charter, for people.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterChangeView {
    /// What it is shown and approved under.
    pub digest: Digest,
    /// The charter in force.
    pub before: CharterId,
    /// The digest of the next charter.
    pub next: Digest,
    /// The login that proposed it. Its owner's approval does not count.
    pub proposer: String,
    /// Whose approvals were received, verified or not.
    pub approved_by: Vec<ApproverName>,
    /// When its approvals expire.
    pub until: Timestamp,
    /// One line for each difference.
    pub differences: Vec<String>,
}

/// Asks for a change set or a proposed charter, to show it to its approvers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {
    pub digest: Digest,
}

/// What can be approved, and what an approval of it needs. The approver's client computes the digest, shows the words and makes the
/// statement to sign from this alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    pub subject: Subject,
    /// Those received, verified or not.
    pub approvals: Vec<Approval>,
    /// The rules that approvals have to satisfy, all of them.
    pub rules: Vec<ApprovalRule>,
}

/// What is approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Subject {
    ChangeSet {
        change_set: Box<ChangeSet>,
        state: ChangeSetState,
        /// The charter in force.
        charter: CharterId,
    },
    Charter {
        change: Box<CharterChange>,
        /// The charter in force, which the change follows.
        current: Box<Charter>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    pub digest: Digest,
    /// The approver who signed.
    pub approver: ApproverName,
    /// An armored OpenSSH signature over the statement, under the charter in force.
    pub signature: String,
}

/// The approvals of a proposal after one was recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    pub digest: Digest,
    /// That of the change set. `None`: a change of the charter.
    pub key: Option<KeyName>,
    /// How many approvals count for the rule that `need` belongs to; if all rules are satisfied, for any.
    pub have: u32,
    /// That of the first rule that is not satisfied; if all are, the largest.
    pub need: u32,
}

/// Runs approved change sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Empty: every open change set.
    pub digests: Vec<Digest>,
    /// The policy files that the caller has. What they do not want any more is not run, even if no plan has read them yet. Empty: only the
    /// policy of the last plan decides.
    #[serde(default)]
    pub sources: Vec<Source>,
}

/// One line of progress while change sets run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line", deny_unknown_fields)]
pub enum ApplyLine {
    /// A step is about to send its request.
    Acting {
        key: KeyName,
        destination: DestinationName,
        /// The act's word ([`keyplane_model::Act::word`]).
        act: String,
        /// From 1, counting those of earlier runs.
        attempt: u32,
    },
    /// A step waits before it goes on.
    Waiting {
        key: KeyName,
        destination: DestinationName,
        act: String,
        /// When the wait ends at the latest, by the server's wall clock.
        until: Timestamp,
        /// For people.
        why: String,
    },
    /// Another server holds the lane. This server watches whether it is still alive.
    Watching {
        /// A destination of the lane.
        destination: DestinationName,
        holder: ServerId,
        /// How long it takes at most to be certain.
        longest: Span,
    },
    /// A call failed and will be repeated.
    Again { problem: Problem },
    /// A step has its receipt.
    Received {
        key: KeyName,
        destination: DestinationName,
        act: String,
        /// Whether the effect was there already, without an attempt of ours.
        found: bool,
    },
    /// All steps of a change set have a receipt.
    Completed { key: KeyName, digest: Digest },
    /// The result. Always the last line.
    Ended(Applied),
}

/// The result of running change sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The change sets that are done.
    pub done: Vec<Digest>,
    /// What stops the others. Empty: all are done.
    pub problems: Vec<Problem>,
}

/// The ledger's copies and open change sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    pub keys: Vec<KeyStatus>,
    /// The change sets that are proposed or committed.
    pub open: Vec<ChangeSetView>,
    /// The oldest first.
    pub charters: Vec<ProposedCharter>,
}

/// A proposed charter that can still be approved. [`ShowRequest`] shows what it changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposedCharter {
    /// What it is shown and approved under.
    pub digest: Digest,
    /// The number that it gets if it is adopted. Of several proposals with the same number, one is.
    pub serial: u32,
    /// The login that proposed it. Its owner's approval does not count.
    pub proposer: String,
    /// Whose approvals were received, verified or not.
    pub approved_by: Vec<ApproverName>,
    /// Which approvals it lacks, and why others do not count, for people. `None`: it has enough, and [`CharterRequest`] adopts it.
    pub missing: Option<String>,
    /// When its approvals expire.
    pub until: Timestamp,
}

/// A key in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStatus {
    pub key: KeyName,
    /// That of the change set that was committed last.
    pub profile: ProfileName,
    /// Counts the commits and receipts that changed the key.
    pub generation: Generation,
    /// Sorted by version and placement.
    pub copies: Vec<CopyLine>,
}

/// A copy in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyLine {
    pub placement: PlacementId,
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    /// `None`: not created yet.
    pub object: Option<ObjectId>,
    pub version: Version,
    pub state: VersionState,
    pub algorithm: Algorithm,
    pub purpose: Purpose,
    pub source: KeySource,
    /// The root epoch whose keys derived or wrapped the bytes.
    pub epoch: EpochId,
    /// `None`: the token computes none for the algorithm.
    pub check_value: Option<CheckValue>,
    /// When its import was confirmed. `None`: not yet.
    pub imported: Option<Timestamp>,
}

/// The evidence that the destinations hold the right keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTable {
    /// One line for each imported copy.
    pub lines: Vec<EvidenceLine>,
    /// Destinations and copies that could not be looked at, copies whose evidence contradicts the ledger, and bytes that left the HSM under
    /// a wrapping key that the ledger does not know.
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceLine {
    pub key: KeyName,
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    /// `None`: not recorded.
    pub object: Option<ObjectId>,
    pub evidence: Evidence,
}

/// The policy files give the first charter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmReport {
    /// Manufacturer, model and label, for people.
    pub token: String,
    pub development: bool,
    /// The newest root epoch. `None`: the token is not enrolled.
    pub epoch: Option<EpochId>,
    /// Serial and digest of the charter in force. `None`: none was adopted.
    pub charter: Option<(u32, Digest)>,
    pub derives: bool,
    pub routes: Vec<HsmRoute>,
    /// Those of this request, if it is an enrolment or a test.
    pub checks: Vec<HsmCheck>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmRoute {
    pub scheme: String,
    /// The wrapping route. `None`: there is none.
    pub way: Option<String>,
    /// If there is no route: why. Otherwise: which algorithms it does not serve, and why. `None`: it serves all.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmCheck {
    pub name: String,
    /// Whether the token had to refuse. `false`: it had to succeed.
    pub must_be_refused: bool,
    /// Whether the token did so.
    pub passed: bool,
    /// What the token did, for people.
    pub detail: String,
}

/// Proposes the policy's charter if it is not in force, or adopts it if it is proposed already and was approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterRequest {
    pub sources: Vec<Source>,
    /// Whether to propose it even if somebody else did: the approval of a proposer who is needed counts for another's proposal alone. One
    /// that was approved is adopted all the same. Absent: no.
    #[serde(default)]
    pub own: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterState {
    /// The charter in force, after an adoption the new one.
    pub id: CharterId,
    /// Whether this request had it adopted, or completed its adoption, which a crash had cut off.
    pub adopted: bool,
    /// The proposal that leads to the policy's charter. `None`: that is in force.
    pub proposal: Option<Digest>,
}

/// The members of a problem+json body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// RFC 9457: the problem type, `urn:keyplane:problem:` and the code of the first problem.
    pub r#type: String,
    /// RFC 9457: a short text for people.
    pub title: String,
    /// RFC 9457: the HTTP status.
    pub status: u16,
    /// At least one.
    pub problems: Vec<Problem>,
}
