//! The custodian: what holds the HSM's PIN, and nothing else does.

use std::fmt;

use async_trait::async_trait;
use keyplane_model::{
    Algorithm, Approval, ChangeSet, Charter, CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, InstallationId, PublicKey,
    SealedBlob, SealedCharter, StepNo, WrapScheme,
};
use serde::{Deserialize, Serialize};

use crate::WrappingKey;

/// Makes versions, wraps, and refuses what was not approved.
///
/// # Guarantees
/// - No method returns key bytes in any form but wrapped under the root wrapping key or under the public key of a request.
/// - [`Custodian::mint`] and [`Custodian::wrap`] first judge the warrant, by themselves: the change set's own soundness, that the
///   step is in it and is what is asked for, that the sealed charter is the one adopted last, and that its approvals suffice.
///   They trust nothing that the server says about approvals.
/// - Minting a derived copy twice gives the same bytes. Minting a generated copy twice gives two blobs: the ledger keeps the first
///   (its receipt is written before anything is imported), and a blob without a receipt is nowhere used.
#[async_trait]
pub trait Custodian: Send + Sync {
    /// What the custodian knows of its token, without changing anything.
    async fn status(&self) -> Result<CustodianStatus, CustodianError>;

    /// Chooses and proves the wrapping routes, makes the root epoch where it is missing, and adopts the first charter. Enrolling
    /// again finds what is there, finishes what is half made, doubles nothing, and leaves an adopted charter alone.
    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError>;

    /// Proves the routes again with throwaway keys; changes nothing.
    async fn test(&self) -> Result<EnrolmentReport, CustodianError>;

    /// Adopts another charter, under the approvals that the current one asks for ([`Charter::strictest`], over [`Charter::digest`] of
    /// the next one; `proposer`'s own do not count).
    async fn adopt(
        &self,
        current: &SealedCharter,
        next: &Charter,
        proposer: &keyplane_model::Actor,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError>;

    /// Makes a copy's bytes.
    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError>;

    /// Wraps a copy for a destination.
    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError>;
}

/// What entitles to a step: everything that is needed to judge it anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Warrant {
    /// What was approved.
    pub change_set: ChangeSet,
    /// By whom.
    pub approvals: Vec<Approval>,
    /// Under which charter.
    pub charter: SealedCharter,
}

/// Which copy to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintRequest {
    /// The step of the warrant's change set that says so.
    pub step: StepNo,
    /// Which copy.
    pub coordinates: CopyCoordinates,
}

/// What minting gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Minted {
    /// The check value, where the token gives one for the algorithm.
    pub check_value: Option<CheckValue>,
    /// A generated copy's blob; `None` for a derived one.
    pub blob: Option<SealedBlob>,
    /// A key pair's public key.
    pub public_key: Option<PublicKey>,
}

/// Which copy to wrap, for whom.
#[derive(Clone, Debug)]
pub struct WrapRequest {
    /// The step of the warrant's change set that says so.
    pub step: StepNo,
    /// Which copy, and its blob if it was generated.
    pub copy: CopyRecord,
    /// The destination's public key and how it wants to be used.
    pub wrapping_key: WrappingKey,
}

/// A wrapped copy.
pub struct Wrapped {
    /// What the destination takes.
    pub bytes: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo that it was wrapped under: goes into the receipt.
    pub wrapped_under: Digest,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({} bytes under {})", self.bytes.len(), self.wrapped_under)
    }
}

/// What the custodian knows of its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustodianStatus {
    /// The token's label, model and manufacturer, for people.
    pub token: String,
    /// Whether the token is for development only.
    pub development: bool,
    /// The newest root epoch; `None`: not enrolled.
    pub epoch: Option<EpochId>,
    /// The charter that was adopted last (serial and digest); `None`: none.
    pub charter: Option<(u32, Digest)>,
    /// Whether the token can derive.
    pub derives: bool,
    /// The routes that enrolment would choose, by scheme.
    pub routes: Vec<Route>,
}

/// How a wrapping scheme is served by the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The scheme.
    pub scheme: WrapScheme,
    /// The way, in words (`direct`, `token's own CKM_RSA_AES_KEY_WRAP`, `composed`); `None`: the token cannot.
    pub way: Option<String>,
    /// The algorithms of copies that can be wrapped so.
    pub algorithms: Vec<Algorithm>,
    /// Why there is no way; or, where there is one, which algorithms are left out of it, and why.
    pub reason: Option<String>,
}

/// What enrolment found out and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentReport {
    /// The state afterwards.
    pub status: CustodianStatus,
    /// The sealed charter afterwards, when the token is enrolled and this enrolment adopted one; the ledger keeps it.
    pub charter: Option<SealedCharter>,
    /// What was tried.
    pub checks: Vec<EnrolmentCheck>,
}

/// One thing that was tried on the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentCheck {
    /// What, in words.
    pub name: String,
    /// What has to happen.
    pub expected: Expected,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// What has to happen in a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It has to work.
    Works,
    /// It has to be refused: a token that allows it is for development only.
    Refused,
}

/// The custodian cannot or will not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CustodianError {
    /// The PKCS#11 module cannot be loaded.
    #[error("the PKCS#11 module `{path}` cannot be loaded: {reason}")]
    ModuleMissing {
        /// Where it should be.
        path: String,
        /// What the loader said.
        reason: String,
    },
    /// There is no token with that label.
    #[error("no token is labelled `{label}`; there are: {found}")]
    TokenMissing {
        /// What was looked for.
        label: String,
        /// What is there.
        found: String,
    },
    /// The PIN is wrong.
    #[error("the token refuses the PIN; it was tried once")]
    PinWrong,
    /// The token would lock at the next wrong PIN, or is locked.
    #[error("the token is locked, or would be after one more wrong PIN; nothing was tried")]
    PinLocked,
    /// The token holds no root epoch, or no charter was adopted.
    #[error("the token is not enrolled: {0}")]
    NotEnrolled(String),
    /// The token cannot do what is needed.
    #[error("the token cannot {0}")]
    Unsupported(String),
    /// The warrant does not entitle to this.
    #[error("refused: {0}")]
    Refused(String),
    /// Fewer approvals than the charter asks for.
    #[error("{have} of {need} approvals")]
    ApprovalsMissing {
        /// How many counted.
        have: u32,
        /// How many are needed.
        need: u32,
    },
    /// The charter of the warrant is not the one that was adopted last.
    #[error("the charter in use is not the one that the custodian adopted last")]
    CharterChanged,
    /// What the token or the ledger holds is not what it says: somebody changed it.
    #[error("{0}")]
    Broken(String),
    /// The token failed; may work when tried again.
    #[error("the token failed: {0}")]
    Failed(String),
}
