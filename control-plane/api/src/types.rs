//! The wire types: model types where they say it already, and a few shapes around them.

use keyplane_model::{
    Action, Algorithm, ApprovalRule, ApproverName, ChangeSetState, CheckValue, DestinationName, Digest, EpochId, Evidence, Generation,
    KeyName, ObjectId, PlacementId, Problem, ProfileName, Purpose, ServerId, Source as KeySource, Span, Timestamp, Version, VersionState,
};
use serde::{Deserialize, Serialize};

/// A policy file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, as problems shall call it.
    pub name: String,
    /// Its text; at most 1 MiB.
    pub text: String,
}

/// Checks policy files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    /// The files.
    pub sources: Vec<Source>,
}

/// Policy files that are valid.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// How many approvers they name.
    pub approvers: usize,
    /// How many profiles they define.
    pub profiles: usize,
    /// The keys that they ask for.
    pub keys: Vec<KeyName>,
    /// What is left out, and why.
    pub warnings: Vec<Problem>,
}

/// Asks for the effective rules of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The files.
    pub sources: Vec<Source>,
    /// Which key.
    pub key: KeyName,
}

/// Asks for a plan; its change sets become open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The files.
    pub sources: Vec<Source>,
}

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The change sets that are open now, made by this plan or kept, by key.
    pub change_sets: Vec<ChangeSetView>,
    /// Each key, and what there is to do.
    pub keys: Vec<PlannedKey>,
    /// What could not be looked at, or is left out.
    pub warnings: Vec<Problem>,
}

impl Planned {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change_sets.is_empty()
    }
}

/// What there is to do for a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// Which.
    pub key: KeyName,
    /// In a word.
    pub verdict: Verdict,
    /// Why, for people.
    pub reason: String,
    /// The change set, where there is one.
    pub digest: Option<Digest>,
    /// What stands in the way, where something does.
    pub problem: Option<Problem>,
}

/// What there is to do, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is a change set.
    Change,
    /// Nothing.
    Nothing,
    /// Something stands in the way.
    Blocked,
}

/// A change set, as people look at it before they approve.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSetView {
    /// What approvals sign.
    pub digest: Digest,
    /// For which key.
    pub key: KeyName,
    /// Under whose rules.
    pub profile: ProfileName,
    /// What kind of change.
    pub action: Action,
    /// How far it is.
    pub state: ChangeSetState,
    /// Who proposed it.
    pub proposer: String,
    /// What its profile asks for.
    pub approvals: ApprovalRule,
    /// Who approved it so far.
    pub approved_by: Vec<ApproverName>,
    /// Why.
    pub reasons: Vec<String>,
    /// What it does.
    pub steps: Vec<StepView>,
    /// How long it takes at least, by the clouds' quotas, in seconds, together with the change sets before it.
    pub seconds: u64,
}

/// A step, as people look at it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepView {
    /// What it does.
    pub act: String,
    /// Where.
    pub destination: DestinationName,
    /// Under which name.
    pub name: String,
    /// What it is there.
    pub algorithm: Algorithm,
    /// What is particular about it, for people.
    pub detail: String,
    /// Whether it has its receipt.
    pub done: bool,
}

/// Brings an approval.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Of what.
    pub digest: Digest,
    /// By whom.
    pub approver: ApproverName,
    /// The armored OpenSSH signature.
    pub signature: String,
}

/// An approval was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// Of what.
    pub change_set: ChangeSetView,
    /// How many approvals count now.
    pub have: u32,
    /// How many are needed.
    pub need: u32,
}

/// Runs change sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Which; empty: every open one.
    pub digests: Vec<Digest>,
}

/// A line of what applying tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line", deny_unknown_fields)]
pub enum ApplyLine {
    /// A step is about to act.
    Acting {
        /// For which key.
        key: KeyName,
        /// Where.
        destination: DestinationName,
        /// What.
        act: String,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A step waits.
    Waiting {
        /// For which key.
        key: KeyName,
        /// Where.
        destination: DestinationName,
        /// What.
        act: String,
        /// Until when.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// Another server holds the lane, and may be gone.
    Watching {
        /// Where.
        destination: DestinationName,
        /// Who.
        holder: ServerId,
        /// How long it takes at most to be certain of that.
        longest: Span,
    },
    /// A call failed and will be tried again.
    Again {
        /// What happened.
        problem: Problem,
    },
    /// A step has its receipt.
    Received {
        /// For which key.
        key: KeyName,
        /// Where.
        destination: DestinationName,
        /// What.
        act: String,
        /// Whether it was found done.
        found: bool,
    },
    /// A change set is done.
    Completed {
        /// For which key.
        key: KeyName,
        /// Which.
        digest: Digest,
    },
    /// The end: always the last line.
    Ended(Applied),
}

/// How applying ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The change sets that are done now.
    pub done: Vec<Digest>,
    /// What stands in the way of the others; empty: nothing.
    pub problems: Vec<Problem>,
}

/// What is where.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    /// The keys that the ledger knows.
    pub keys: Vec<KeyStatus>,
    /// The change sets that are open.
    pub open: Vec<ChangeSetView>,
}

/// A key, in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStatus {
    /// Its name.
    pub key: KeyName,
    /// Under whose rules.
    pub profile: ProfileName,
    /// Counts its changes.
    pub generation: Generation,
    /// Its copies.
    pub copies: Vec<CopyLine>,
}

/// A copy, in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyLine {
    /// In which placement.
    pub placement: PlacementId,
    /// Where.
    pub destination: DestinationName,
    /// Under which name.
    pub name: String,
    /// What the cloud calls the object.
    pub object: Option<ObjectId>,
    /// Which generation of the key.
    pub version: Version,
    /// The state of that version.
    pub state: VersionState,
    /// What it is.
    pub algorithm: Algorithm,
    /// What it is for.
    pub purpose: Purpose,
    /// How its bytes came to be.
    pub source: KeySource,
    /// Under which root.
    pub epoch: EpochId,
    /// The HSM's check value.
    pub check_value: Option<CheckValue>,
    /// When its import was confirmed; `None`: not yet.
    pub imported: Option<Timestamp>,
}

/// What shows that the destinations hold the right keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTable {
    /// A line a copy.
    pub lines: Vec<EvidenceLine>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
}

/// Evidence for a copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceLine {
    /// Of which key.
    pub key: KeyName,
    /// Where.
    pub destination: DestinationName,
    /// Under which name.
    pub name: String,
    /// What the cloud calls the object.
    pub object: Option<ObjectId>,
    /// What was found.
    pub evidence: Evidence,
}

/// Enrols the token; the policy files give its first charter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The files.
    pub sources: Vec<Source>,
}

/// What is known of the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmReport {
    /// The token, for people.
    pub token: String,
    /// Whether it is for development only.
    pub development: bool,
    /// The newest root epoch; `None`: not enrolled.
    pub epoch: Option<EpochId>,
    /// The charter in force: serial and digest.
    pub charter: Option<(u32, Digest)>,
    /// Whether it can derive.
    pub derives: bool,
    /// How each wrapping scheme is served.
    pub routes: Vec<HsmRoute>,
    /// What was tried.
    pub checks: Vec<HsmCheck>,
}

/// How a wrapping scheme is served.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmRoute {
    /// The scheme.
    pub scheme: String,
    /// The way; `None`: there is none.
    pub way: Option<String>,
    /// Why there is none; or, where there is one, which algorithms are left out of it, and why.
    pub reason: Option<String>,
}

/// One thing that was tried on the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmCheck {
    /// What.
    pub name: String,
    /// Whether it had to be refused, rather than to work.
    pub must_be_refused: bool,
    /// Whether what had to happen did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// Compares the policy's charter with the one in force, and adopts it if approvals are given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterRequest {
    /// The files.
    pub sources: Vec<Source>,
    /// Approvals over the digest of the policy's charter.
    pub approvals: Vec<(ApproverName, String)>,
}

/// The charter in force and the policy's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterState {
    /// In force.
    pub current: Digest,
    /// Its serial.
    pub serial: u32,
    /// What the policy files say; equal to `current`: nothing to do.
    pub wanted: Digest,
    /// Who has to approve a change.
    pub approvals: ApprovalRule,
}

/// Why a request failed: the members of a problem+json body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// RFC 9457: the problem type, `urn:keyplane:problem:` and the code of the first problem.
    pub r#type: String,
    /// RFC 9457: for people.
    pub title: String,
    /// RFC 9457: the HTTP status.
    pub status: u16,
    /// Every problem; at least one.
    pub problems: Vec<Problem>,
}
