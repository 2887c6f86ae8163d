//! The wire types: model types where they fit, and a few shapes around them.

use keyplane_model::{
    Action, Algorithm, Approval, ApprovalRule, ApproverName, ChangeSet, ChangeSetState, Charter, CharterChange, CharterId, CheckValue,
    DestinationName, Digest, EpochId, Evidence, Generation, KeyName, ObjectId, PlacementId, Problem, ProfileName, Purpose, ServerId,
    Source as KeySource, Span, Timestamp, Version, VersionState,
};
use serde::{Deserialize, Serialize};

/// The text of a policy file. The server reads no policy files of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The file's name, as problems will show it.
    pub name: String,
    /// The file's content; at most 1 MiB.
    pub text: String,
}

/// Asks for a check of policy files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateRequest {
    /// The policy files.
    pub sources: Vec<Source>,
}

/// The result of checking valid policy files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validated {
    /// The number of approvers.
    pub approvers: usize,
    /// The number of profiles.
    pub profiles: usize,
    /// The keys that the files ask for.
    pub keys: Vec<KeyName>,
    /// Placements and keys that are left out of the intent, and why.
    pub warnings: Vec<Problem>,
}

/// Asks for the effective rules of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The policy files.
    pub sources: Vec<Source>,
    /// The name of the key.
    pub key: KeyName,
}

/// Asks for a plan. Its change sets become the open ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The policy files.
    pub sources: Vec<Source>,
}

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The change sets that are open now, whether new or kept, sorted by key.
    pub change_sets: Vec<ChangeSetView>,
    /// The verdict on each key.
    pub keys: Vec<PlannedKey>,
    /// Destinations that could not be looked at, and placements that are left out.
    pub warnings: Vec<Problem>,
}

impl Planned {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change_sets.is_empty()
    }
}

/// What a plan says about one key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedKey {
    /// The name of the key.
    pub key: KeyName,
    /// Whether there is a change, nothing to do, or an obstacle.
    pub verdict: Verdict,
    /// The reason, for people.
    pub reason: String,
    /// The digest of the key's open change set. `None`: it has none.
    pub digest: Option<Digest>,
    /// The first thing that stands in the way or differs. `None`: nothing does.
    pub problem: Option<Problem>,
}

/// What a plan concludes for a key.
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

/// A change set as people see it before they approve.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSetView {
    /// The digest that approvals sign.
    pub digest: Digest,
    /// The name of the key.
    pub key: KeyName,
    /// The profile whose rules apply.
    pub profile: ProfileName,
    /// The kind of change.
    pub action: Action,
    /// How far it has come.
    pub state: ChangeSetState,
    /// The login that proposed it, and cannot approve it.
    pub proposer: String,
    /// The approvals that it needs.
    pub approvals: ApprovalRule,
    /// The approvers whose approvals were received, whether they count or not.
    pub approved_by: Vec<ApproverName>,
    /// Why it is needed, for people.
    pub reasons: Vec<String>,
    /// When its approvals end.
    pub until: Timestamp,
    /// Its steps, in order.
    pub steps: Vec<StepView>,
    /// The least time in seconds, by the clouds' quotas, together with the change sets before it in the list.
    pub seconds: u64,
}

/// A step as people see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepView {
    /// The word for what it does.
    pub act: String,
    /// The destination's name in the configuration.
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    /// The algorithm of the copy there.
    pub algorithm: Algorithm,
    /// More about the step, for people; may be empty.
    pub detail: String,
    /// Whether it has a receipt.
    pub done: bool,
}

/// Asks for a change set as it is, to be approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {
    /// The digest of the change set.
    pub digest: Digest,
}

/// A change set as it is. Whoever approves it computes its digest, shows what it does and makes the statement to be signed from this
/// alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The change set.
    pub change_set: ChangeSet,
    /// How far it has come.
    pub state: ChangeSetState,
    /// The approvals that were received, whether they count or not.
    pub approvals: Vec<Approval>,
    /// The charter in force.
    pub charter: CharterId,
    /// The rules that approvals have to satisfy, all of them.
    pub rules: Vec<ApprovalRule>,
}

/// Sends an approval of a change set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// The digest of the change set.
    pub digest: Digest,
    /// The approver who signed.
    pub approver: ApproverName,
    /// The armored OpenSSH signature over the change set's statement under the charter in force.
    pub signature: String,
}

/// The state of a change set after an approval was taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approved {
    /// The change set that was approved.
    pub change_set: ChangeSetView,
    /// How many of its approvals count.
    pub have: u32,
    /// How many it needs.
    pub need: u32,
}

/// Runs approved change sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The digests of the change sets to run. Empty: every open one.
    pub digests: Vec<Digest>,
}

/// One line of progress while change sets run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line", deny_unknown_fields)]
pub enum ApplyLine {
    /// A step is about to send its request.
    Acting {
        /// The name of the key.
        key: KeyName,
        /// The destination's name in the configuration.
        destination: DestinationName,
        /// The word for what the step does.
        act: String,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// A step waits before it goes on.
    Waiting {
        /// The name of the key.
        key: KeyName,
        /// The destination's name in the configuration.
        destination: DestinationName,
        /// The word for what the step does.
        act: String,
        /// The end of the wait, by the server's wall clock.
        until: Timestamp,
        /// The reason, for people.
        why: String,
    },
    /// Another server holds the lane. This server watches whether that one still lives.
    Watching {
        /// A destination of the lane.
        destination: DestinationName,
        /// The server that holds the lane.
        holder: ServerId,
        /// The longest time until it is certain whether that server lives.
        longest: Span,
    },
    /// A call failed and will be repeated.
    Again {
        /// The failure.
        problem: Problem,
    },
    /// A step has its receipt.
    Received {
        /// The name of the key.
        key: KeyName,
        /// The destination's name in the configuration.
        destination: DestinationName,
        /// The word for what the step does.
        act: String,
        /// Whether the step was found done, so that nothing was sent.
        found: bool,
    },
    /// All steps of a change set have a receipt.
    Completed {
        /// The name of the key.
        key: KeyName,
        /// The digest of the change set.
        digest: Digest,
    },
    /// The result; always the last line.
    Ended(Applied),
}

/// The result of running change sets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The digests of the change sets that are done.
    pub done: Vec<Digest>,
    /// What stops the others. Empty: all are done.
    pub problems: Vec<Problem>,
}

/// What the ledger knows: copies and open change sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusReport {
    /// Every key in the ledger.
    pub keys: Vec<KeyStatus>,
    /// The change sets that are proposed or committed.
    pub open: Vec<ChangeSetView>,
}

/// A key in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStatus {
    /// The name of the key.
    pub key: KeyName,
    /// The profile that it was committed under last.
    pub profile: ProfileName,
    /// Counts the commits and receipts that changed the key.
    pub generation: Generation,
    /// Its copies, by version and placement.
    pub copies: Vec<CopyLine>,
}

/// A copy in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyLine {
    /// The id of its placement.
    pub placement: PlacementId,
    /// The destination's name in the configuration.
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    /// The cloud's id of the object. `None`: not created yet.
    pub object: Option<ObjectId>,
    /// The version of the key.
    pub version: Version,
    /// The state of that version (NIST SP 800-57).
    pub state: VersionState,
    /// The algorithm of the copy.
    pub algorithm: Algorithm,
    /// The use that the copy is limited to.
    pub purpose: Purpose,
    /// Whether its bytes were derived or generated.
    pub source: KeySource,
    /// The root epoch whose keys were used.
    pub epoch: EpochId,
    /// The HSM's key check value. `None`: the token gives none for the algorithm.
    pub check_value: Option<CheckValue>,
    /// When its import was confirmed; `None`: not yet.
    pub imported: Option<Timestamp>,
}

/// The evidence that the destinations hold the right keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceTable {
    /// One line for each imported copy.
    pub lines: Vec<EvidenceLine>,
    /// The destinations and copies that could not be looked at.
    pub problems: Vec<Problem>,
}

/// The evidence for one copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceLine {
    /// The name of the key.
    pub key: KeyName,
    /// The destination's name in the configuration.
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    /// The cloud's id of the object. `None`: not recorded.
    pub object: Option<ObjectId>,
    /// The evidence itself.
    pub evidence: Evidence,
}

/// Enrols the token. The policy files give its first charter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The policy files.
    pub sources: Vec<Source>,
}

/// What is known about the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmReport {
    /// Manufacturer, model and label of the token, for people.
    pub token: String,
    /// Whether the token is for development only.
    pub development: bool,
    /// The number of the newest root epoch. `None`: the token is not enrolled.
    pub epoch: Option<EpochId>,
    /// Serial and digest of the charter in force. `None`: none was adopted.
    pub charter: Option<(u32, Digest)>,
    /// Whether the token can derive symmetric copies.
    pub derives: bool,
    /// How the token serves each wrapping scheme.
    pub routes: Vec<HsmRoute>,
    /// The checks of this request; those of a test or an enrolment.
    pub checks: Vec<HsmCheck>,
}

/// How the token serves one wrapping scheme.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmRoute {
    /// The name of the scheme.
    pub scheme: String,
    /// The routes by which it is served. `None`: there is none.
    pub way: Option<String>,
    /// Why there is no route. If there is one: which algorithms it does not serve, and why.
    pub reason: Option<String>,
}

/// One check of the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmCheck {
    /// What was checked.
    pub name: String,
    /// Whether the token had to refuse. `false`: it had to succeed.
    pub must_be_refused: bool,
    /// Whether the token did what it had to.
    pub passed: bool,
    /// What the token did, for people.
    pub detail: String,
}

/// Compares the policy's charter with the one in force. If approvals are given, adopts it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterRequest {
    /// The policy files.
    pub sources: Vec<Source>,
    /// When the approvals end. `None`: 30 days after the beginning of today (UTC), so that who asks again today gets the same text.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Approvers, each with an armored signature over the statement of the change.
    pub approvals: Vec<(ApproverName, String)>,
}

/// The charter in force, and the change to the policy's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterState {
    /// The charter in force.
    pub current: Charter,
    /// Its serial and digest.
    pub id: CharterId,
    /// The change to the policy's charter, as it is signed; `None`: the policy says the same.
    pub change: Option<CharterChange>,
    /// The rules that approvals of the change have to satisfy, all of them.
    pub rules: Vec<ApprovalRule>,
}

/// Why a request failed: the members of a problem+json body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// RFC 9457: the problem type, `urn:keyplane:problem:` and the code of the first problem.
    pub r#type: String,
    /// RFC 9457: a short text for people.
    pub title: String,
    /// RFC 9457: the HTTP status.
    pub status: u16,
    /// All problems; at least one.
    pub problems: Vec<Problem>,
}
