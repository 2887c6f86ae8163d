//! The custodian: the only component that holds the HSM's PIN.

use std::fmt;

use async_trait::async_trait;
use keyplane_model::{
    Algorithm, Approval, ChangeSet, Charter, CharterChange, CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, InstallationId,
    PublicKey, SealedBlob, SealedCharter, StepNo, WrapScheme,
};
use serde::{Deserialize, Serialize};

use crate::{Spent, Usages, WrappingKey};

/// Generates or derives the bytes of copies, wraps them, and refuses what was not approved.
///
/// # Guarantees
/// - Every method returns key bytes only in wrapped form: under the root wrapping key, or under the public key of a request (rule 1).
/// - [`Custodian::mint`] and [`Custodian::wrap`] first judge the warrant by themselves: the change set keeps the rules, the step is
///   in it and is what the request asks for, the sealed charter is the one that was adopted last, and the approvals suffice under
///   it (rule 4). They trust nothing that the server says about approvals.
/// - It keeps a [`Usage`](crate::Usage) of each change set that it wrapped for or that is finished, in a place that survives the server
///   and its database. A finished change set is good for nothing more, and a step is wrapped under
///   [`MOST_WRAPPING_KEYS`](crate::MOST_WRAPPING_KEYS) keys at most.
/// - Asked twice for a derived copy, it gives the same bytes. Asked twice for a generated copy, it gives two blobs, of which the ledger
///   keeps the first: its receipt is written before anything is imported, and a blob without a receipt is never used.
#[async_trait]
pub trait Custodian: Send + Sync {
    /// Reads the token's state; changes nothing.
    async fn status(&self) -> Result<CustodianStatus, CustodianError>;

    /// Chooses and proves the wrapping routes, makes the root epoch if the token has none, and adopts the first charter. Enrolling
    /// again finishes what an interrupted enrolment left, makes nothing twice, and keeps a charter that was adopted.
    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError>;

    /// Proves the wrapping routes again, with keys that are destroyed afterwards; changes nothing else.
    async fn test(&self) -> Result<EnrolmentReport, CustodianError>;

    /// Adopts another charter under the rules of the current one (rule 12): the approvals are signatures over the [`Statement`] of the
    /// change, have to satisfy every rule of the current charter that the change touches, and do not count if its proposer gave them.
    ///
    /// [`Statement`]: keyplane_model::Statement
    async fn adopt(&self, current: &SealedCharter, change: &CharterChange, approvals: &[Approval])
    -> Result<SealedCharter, CustodianError>;

    /// Generates or derives a copy's bytes inside the HSM.
    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError>;

    /// Wraps a copy under a destination's public key. That key is on record before any wrapped bytes leave the custodian.
    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError>;

    /// Records that a change set is done or dropped: from then on it is refused. It can be repeated, and needs no approvals, since it only
    /// takes power away. A change set whose approvals ended needs no record.
    ///
    /// `sealed`: any charter of the installation that this custodian sealed. With another token's it is refused: recorded in another token,
    /// the end would mean nothing to the one whose approvals are to end.
    async fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError>;

    /// What is on record.
    async fn usages(&self) -> Result<Usages, CustodianError>;
}

/// Everything that the custodian needs to judge by itself whether a step is approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Warrant {
    pub change_set: ChangeSet,
    /// Signatures over the change set's statement under this charter.
    pub approvals: Vec<Approval>,
    /// The charter that says which approvals count; refused unless it is the one that was adopted last.
    pub charter: SealedCharter,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintRequest {
    /// The step of the warrant's change set that asks for it.
    pub step: StepNo,
    /// The coordinates of the copy: derived bytes are a function of them, and a generated copy's blob is bound to them.
    pub coordinates: CopyCoordinates,
}

/// The public results of [`Custodian::mint`], and the wrapped bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Minted {
    /// The key check value; `None`: the token gives none for this algorithm.
    pub check_value: Option<CheckValue>,
    /// A generated copy's bytes, wrapped under the root wrapping key; `None` for a derived copy.
    pub blob: Option<SealedBlob>,
    /// The public half of a key pair; `None` for a symmetric key.
    pub public_key: Option<PublicKey>,
}

#[derive(Clone, Debug)]
pub struct WrapRequest {
    /// The step of the warrant's change set that asks for it.
    pub step: StepNo,
    /// The ledger's record of the copy, with the blob of a generated one.
    pub copy: CopyRecord,
    pub wrapping_key: WrappingKey,
}

/// A copy, wrapped for a destination.
pub struct Wrapped {
    /// The wrapped bytes, in the form that the destination imports.
    pub bytes: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that it was wrapped under; the receipt records it.
    pub wrapped_under: Digest,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes under {})", self.bytes.len(), self.wrapped_under)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodianStatus {
    /// The token's label, model and manufacturer, for people.
    pub token: String,
    /// Whether the token is for development only: it is software, or allows what an HSM must refuse ([`Expected::Refused`]).
    pub development: bool,
    /// The newest root epoch; `None`: the token is not enrolled.
    pub epoch: Option<EpochId>,
    /// Serial and digest of the charter that was adopted last; `None`: none was.
    pub charter: Option<(u32, Digest)>,
    /// Whether the token can derive keys; otherwise every copy is generated.
    pub derives: bool,
    /// The wrapping routes that enrolment would choose, one for each scheme.
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub scheme: WrapScheme,
    /// The route's name, for people (`direct`, `token's own CKM_RSA_AES_KEY_WRAP`, `composed`); `None`: the token has no route.
    pub way: Option<String>,
    /// The algorithms of the copies that can be wrapped by this route.
    pub algorithms: Vec<Algorithm>,
    /// Why there is no route; or, if there is one, why it does not serve some algorithms. `None`: it serves all of them.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentReport {
    pub status: CustodianStatus,
    /// The charter that this enrolment adopted, sealed; the ledger keeps it. `None`: it adopted none.
    pub charter: Option<SealedCharter>,
    /// In the order in which they ran.
    pub checks: Vec<EnrolmentCheck>,
}

/// One check of the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentCheck {
    /// What was tried, for people.
    pub name: String,
    pub expected: Expected,
    pub passed: bool,
    /// What the token did, for people.
    pub detail: String,
}

/// The outcome that a check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// The token has to do it.
    Works,
    /// The token has to refuse it; a token that allows it is for development only.
    Refused,
}

/// Why the custodian did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustodianError {
    #[error("the PKCS#11 module `{path}` cannot be loaded: {reason}")]
    ModuleMissing { path: String, reason: String },
    #[error("no token is labelled `{label}`; there are: {found}")]
    TokenMissing {
        label: String,
        /// The labels of all tokens of the module, for people.
        found: String,
    },
    /// The PIN cannot be read: no login was tried.
    #[error("{0}")]
    PinMissing(String),
    /// The PIN is wrong. It is tried once, so that a wrong PIN cannot lock the token.
    #[error("the token refuses the PIN; it was tried once")]
    PinWrong,
    /// The token is locked, or would be after one more wrong PIN: no login was tried.
    #[error("the token is locked, or would be after one more wrong PIN; nothing was tried")]
    PinLocked,
    /// The token has no root epoch, or adopted no charter.
    #[error("the token is not enrolled: {0}")]
    NotEnrolled(String),
    /// The token lacks a mechanism that this needs.
    #[error("the token cannot {0}")]
    Unsupported(String),
    /// The warrant's change set breaks a rule, has expired, or does not ask for this.
    #[error("refused: {0}")]
    Refused(String),
    #[error("{why}")]
    ApprovalsMissing {
        /// The number of valid approvals.
        have: u32,
        /// The number that the charter asks for.
        need: u32,
        /// For people: both numbers, the groups that count, and which approvals did not count, and why.
        why: String,
    },
    #[error("the charter in use is not the one that the custodian adopted last")]
    CharterChanged,
    #[error(transparent)]
    Spent(#[from] Spent),
    /// The record of what a change set was used for is not as it was written, so the change set is good for nothing more.
    #[error("{0}")]
    UsageBroken(String),
    /// The token takes no more records, so nothing was wrapped.
    #[error("{0}")]
    Full(String),
    /// The MAC or the digest of something in the token or in the ledger is wrong, or a copy differs from its record: somebody changed it.
    #[error("{0}")]
    Broken(String),
    /// The token failed; the same request may work when it is tried again.
    #[error("the token failed: {0}")]
    Failed(String),
    /// This process is short of memory or threads; nothing is wrong with the token, and no PIN was counted as wrong.
    #[error("the operating system gives no memory or thread to reach the token: {0}")]
    Exhausted(String),
}
