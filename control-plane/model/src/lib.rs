//! The project's terms as types, data only. `control-plane/docs/glossary.md` explains each term.
//!
//! Owns the types that all other crates share: names, ids, times, algorithms, intent, ledger records, what was seen in the clouds, change
//! sets, approvals, receipts and problems. Knows no other crate of the workspace. Must not know files, networks, databases, clocks or
//! randomness: whatever depends on those is an argument.

mod algorithm;
mod approval;
mod change;
mod custody;
mod destination;
mod event;
mod ids;
mod intent;
mod lease;
mod names;
mod problem;
mod record;
mod rule;
mod seen;
mod time;
mod transition;

pub use algorithm::{Algorithm, CloudKind, Protection, Purpose, Source, WrapScheme};
pub use approval::{APPROVAL_NAMESPACE, Approval, Approver, Charter, CharterChange, CharterId, CharterProposal, SealedCharter, Statement};
pub use change::{Act, Action, ChangeSet, CopyAct, Expectation, Marks, PlacementPlan, Reason, Step, StepNo};
pub use custody::{CheckValue, CopyCoordinates, PublicKey, SealedBlob};
pub use destination::{Capabilities, Creation, Destination, Quota};
pub use event::{Asked, EventKind, LedgerEvent, Subjects};
pub use ids::{
    Actor, AttemptId, Digest, EpochId, Generation, IdTree, InstallationId, KeyId, ObjectId, PlacementId, Revision, ServerId, Version,
};
pub use intent::{Intent, Key, PlacementIntent, Retire, Rotation, Rules};
pub use lease::{Fence, Lease};
pub use names::{ApproverName, DestinationName, GroupName, KeyName, NameError, ProfileName};
pub use problem::{Class, Problem, ProblemCode, SourceLocation};
pub use record::{
    Attempt, ChangeSetRecord, ChangeSetState, CopyRecord, KeyRecord, LedgerSnapshot, Outcome, PlacementRecord, Receipt, SettleError,
    VersionRecord, VersionState, Wrap,
};
pub use rule::{APPROVALS_LAST, ApprovalRule, Approvals, CLOCKS, Standing};
pub use seen::{
    Evidence, EvidenceStrength, Inventory, MaterialSeen, MaterialState, ObjectSeen, ObjectState, PlacementSeen, Presence, Target,
};
pub use time::{Span, SpanError, Timestamp};
pub use transition::{Context, Opened, Opening, Refusal, Subject, Transition};

/// The canonical JSON of a value (RFC 8785, JSON Canonicalization Scheme). Digests are computed over it.
///
/// # Errors
/// When the value cannot be JSON: a map whose keys are no strings, or a float that is not finite. No type of this crate has either.
pub fn canonical_bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json_canonicalizer::to_vec(value)
}
