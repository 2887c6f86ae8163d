//! OpenSSH signatures: checks one over a statement, by an enrolled key.

use keyplane_model::{APPROVAL_NAMESPACE, Approval, Approver, ApproverName, Charter, ProblemCode, Statement};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, PublicKey, SshSig};

use crate::keys;

/// In bytes. An armored signature by an RSA key of 4096 bits has about 1,700: the key (about 540) and the signature (about 540) in
/// base64, with a header.
pub const MAX_SIGNATURE: usize = 8 * 1024;

/// The flag in a hardware key's signature for a touch by a person (WebAuthn, section 6.1, "UP").
const USER_PRESENT: u8 = 0x01;

/// Why an approval does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ApprovalFault {
    /// The charter knows no such approver.
    #[error("no such approver")]
    UnknownApprover,
    /// The signature is longer than [`MAX_SIGNATURE`].
    #[error("the signature is longer than {MAX_SIGNATURE} bytes")]
    TooLong,
    /// The text is no armored OpenSSH signature.
    #[error("it is no armored OpenSSH signature")]
    Malformed,
    /// The signature was made in another namespace, for another purpose.
    #[error("it was signed for another namespace than `{APPROVAL_NAMESPACE}`")]
    Namespace,
    /// The key that signed is not enrolled for this approver.
    #[error("the key that signed is not enrolled for this approver")]
    NotEnrolled,
    /// The key does not count ([`crate::KeyFault`]), or the signature is of another algorithm.
    #[error("the key, or the algorithm of its signature, does not count")]
    WeakKey,
    /// The hardware key signed without a touch.
    #[error("the hardware key signed without being touched")]
    Untouched,
    /// The signature does not verify: it is over something else, or was changed.
    #[error("the signature is not over what has to be approved, or was changed")]
    BadSignature,
    /// The approval is the proposer's own.
    #[error("nobody approves a proposal of one's own")]
    Proposer,
    /// The approver is in none of the groups that the rule asks for.
    #[error("the approver is in none of the groups that the rule asks for")]
    NotInGroups,
    /// Another approval of this approver counts already.
    #[error("it counts already")]
    Repeated,
    /// The same key counts already, for another approver.
    #[error("the same key approved already for somebody else")]
    SameKey,
}

impl ApprovalFault {
    /// The code of the problem that reports it.
    #[must_use]
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::Proposer => ProblemCode::ApprovalBySelf,
            Self::UnknownApprover
            | Self::TooLong
            | Self::Malformed
            | Self::Namespace
            | Self::NotEnrolled
            | Self::WeakKey
            | Self::Untouched
            | Self::BadSignature
            | Self::NotInGroups
            | Self::Repeated
            | Self::SameKey => ProblemCode::ApprovalInvalid,
        }
    }
}

/// The approver who signed, and the key.
pub(crate) struct Signed<'a> {
    pub(crate) approver: &'a Approver,
    pub(crate) key: KeyData,
}

impl Signed<'_> {
    /// Whether the signing key is also enrolled for this approver.
    pub(crate) fn is_enrolled_for(&self, name: &ApproverName, charter: &Charter) -> bool {
        charter.approvers.get(name).is_some_and(|approver| enrolled(approver, &self.key).is_some())
    }
}

/// Checks a signature. The cheap checks come first, the cryptography last.
pub(crate) fn signer<'a>(statement: &Statement, approval: &Approval, charter: &'a Charter) -> Result<Signed<'a>, ApprovalFault> {
    let approver = charter.approvers.get(&approval.approver).ok_or(ApprovalFault::UnknownApprover)?;
    if approval.signature.len() > MAX_SIGNATURE {
        return Err(ApprovalFault::TooLong);
    }
    let signature = SshSig::from_pem(approval.signature.trim()).map_err(|_| ApprovalFault::Malformed)?;
    if signature.namespace() != APPROVAL_NAMESPACE {
        return Err(ApprovalFault::Namespace);
    }
    let key = enrolled(approver, signature.public_key()).ok_or(ApprovalFault::NotEnrolled)?;
    if keys::check(key.key_data()).is_err() || !signed_as(&signature.algorithm(), key.key_data()) {
        return Err(ApprovalFault::WeakKey);
    }
    key.verify(APPROVAL_NAMESPACE, statement.as_str().as_bytes(), &signature).map_err(|_| ApprovalFault::BadSignature)?;
    if key.key_data().is_sk_ed25519() && !was_touched(signature.signature_bytes()) {
        return Err(ApprovalFault::Untouched);
    }
    Ok(Signed { approver, key: key.key_data().clone() })
}

/// The approver's enrolled key with this data. An enrolled key that cannot be read is skipped.
fn enrolled(approver: &Approver, data: &KeyData) -> Option<PublicKey> {
    approver.keys.iter().filter_map(|text| PublicKey::from_openssh(text).ok()).find(|key| key.key_data() == data)
}

/// Whether the signature's algorithm is the key's. For RSA it has to use SHA-2: `ssh-rsa` alone means SHA-1.
fn signed_as(signature: &Algorithm, key: &KeyData) -> bool {
    match signature {
        Algorithm::Rsa { hash } => hash.is_some() && key.is_rsa(),
        other => *other == key.algorithm(),
    }
}

/// The signature of a hardware key ends with one byte of flags and four bytes of a counter (OpenSSH, PROTOCOL.u2f).
fn was_touched(signature: &[u8]) -> bool {
    signature.len().checked_sub(5).and_then(|at| signature.get(at)).is_some_and(|flags| flags & USER_PRESENT != 0)
}
