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
mod text;
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
pub use text::plain;
pub use time::{Span, SpanError, Timestamp};
pub use transition::{Context, Opened, Opening, Refusal, Subject, Transition};

/// The canonical JSON of a value (RFC 8785, JSON Canonicalization Scheme). Digests are computed over it.
///
/// RFC 8785 writes each number as the nearest double, so that two large integers can have the same text. What is signed for one of them
/// would be signed for the other too.
///
/// # Errors
/// When the value has an integer of 2^53 or more (below or above zero) or a float, or cannot be JSON: a map whose keys are no strings.
pub fn canonical_bytes<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let value = serde_json::to_value(value)?;
    if !is_exact(&value) {
        return Err(serde::ser::Error::custom("a number has no exact canonical text: integers below 2^53 have one"));
    }
    serde_json_canonicalizer::to_vec(&value)
}

/// Whether all numbers in a value are integers that a double holds exactly, as are their neighbours.
fn is_exact(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => true,
        serde_json::Value::Number(number) => {
            number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64()).is_some_and(|integer| integer < 1 << 53)
        }
        serde_json::Value::Array(values) => values.iter().all(is_exact),
        serde_json::Value::Object(fields) => fields.values().all(is_exact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the approval of one change would be the approval of another.
    #[test]
    fn no_two_integers_have_the_same_canonical_text() {
        const LAST: u64 = (1 << 53) - 1;
        assert_eq!(canonical_bytes(&[LAST]).unwrap(), b"[9007199254740991]");
        assert_eq!(canonical_bytes(&[-9_007_199_254_740_991_i64]).unwrap(), b"[-9007199254740991]");
        for integer in [LAST + 1, LAST + 2, u64::MAX] {
            canonical_bytes(&serde_json::json!({ "within": [{ "at": integer }] })).unwrap_err();
        }
        canonical_bytes(&i64::MIN).unwrap_err();
        canonical_bytes(&0.5).unwrap_err();
    }
}
