//! Checks OpenSSH signatures over a statement, by an enrolled key.

use keyplane_model::{APPROVAL_NAMESPACE, Approval, Approver, ApproverName, Charter, ProblemCode, Statement};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, LineEnding, PublicKey, SshSig};

use crate::keys;

/// In bytes. An armored signature by an RSA key of 4096 bits has about 1,700: the key (about 540) and the signature (about 540) in base64,
/// with a header.
pub const MAX_SIGNATURE: usize = 8 * 1024;

/// The user-presence flag of a hardware key's signature: a person touched the key (WebAuthn, section 6.1, "UP").
const USER_PRESENT: u8 = 0x01;

/// Why an approval does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ApprovalFault {
    /// The charter knows no such approver.
    #[error("no such approver")]
    UnknownApprover,
    #[error("the signature is longer than {MAX_SIGNATURE} bytes")]
    TooLong,
    /// It does not parse, or was changed in bytes that signing does not protect.
    #[error("it is no armored OpenSSH signature")]
    Malformed,
    /// The signature was made for another purpose.
    #[error("it was signed for another namespace than `{APPROVAL_NAMESPACE}`")]
    Namespace,
    /// The signing key is not enrolled for this approver.
    #[error("the key that signed is not enrolled for this approver")]
    NotEnrolled,
    /// The key does not count ([`crate::KeyFault`]), or the signature is of another algorithm.
    #[error("the key, or the algorithm of its signature, does not count")]
    WeakKey,
    #[error("the hardware key signed without being touched")]
    Untouched,
    /// The signature is over something else, or was changed.
    #[error("the signature is not over what has to be approved, or was changed")]
    BadSignature,
    #[error("nobody approves a proposal of one's own")]
    Proposer,
    #[error("the approver is in none of the groups that the rule asks for")]
    NotInGroups,
    /// Another approval by this approver already counts.
    #[error("it counts already")]
    Repeated,
    /// The same key already counts for another approver.
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

pub(crate) struct Signed<'a> {
    pub(crate) approver: &'a Approver,
    pub(crate) key: KeyData,
}

impl Signed<'_> {
    pub(crate) fn is_enrolled_for(&self, name: &ApproverName, charter: &Charter) -> bool {
        charter.approvers.get(name).is_some_and(|approver| enrolled(approver, &self.key).is_some())
    }
}

/// Checks a signature. The cheap checks come first, the cryptography last.
pub(crate) fn signer<'a>(statement: &Statement, approval: &Approval, charter: &'a Charter) -> Result<Signed<'a>, ApprovalFault> {
    let approver = charter.approvers.get(&approval.approver).ok_or(ApprovalFault::UnknownApprover)?;
    let signature = read(&approval.signature)?;
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

/// The signature as `ssh-keygen` writes it: a text that differs in line breaks alone gives the same.
///
/// # Errors
/// When it is too long, or no armored signature.
pub fn normalised(signature: &str) -> Result<String, ApprovalFault> {
    read(signature)?.to_pem(LineEnding::LF).map_err(|_| ApprovalFault::Malformed)
}

/// Reads a signature of version 1 (OpenSSH, PROTOCOL.sshsig) that is, byte by byte, the encoding of what was read from it. `ssh-key` passes
/// over some bytes that `ssh-keygen` compares, so without this a changed signature would be accepted here and refused by
/// `ssh-keygen -Y verify`.
fn read(text: &str) -> Result<SshSig, ApprovalFault> {
    if text.len() > MAX_SIGNATURE {
        return Err(ApprovalFault::TooLong);
    }
    let signature = SshSig::from_pem(text.trim()).map_err(|_| ApprovalFault::Malformed)?;
    let encoded = signature.to_pem(LineEnding::LF).map_err(|_| ApprovalFault::Malformed)?;
    let same = text.split_whitespace().flat_map(str::bytes).eq(encoded.split_whitespace().flat_map(str::bytes));
    if same && signature.version() == SshSig::VERSION { Ok(signature) } else { Err(ApprovalFault::Malformed) }
}

/// An enrolled key that cannot be read is skipped.
fn enrolled(approver: &Approver, data: &KeyData) -> Option<PublicKey> {
    approver.keys.iter().filter_map(|text| PublicKey::from_openssh(text).ok()).find(|key| key.key_data() == data)
}

/// Whether the signature's algorithm is the key's. RSA signatures have to use SHA-2: `ssh-rsa` alone means SHA-1.
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
