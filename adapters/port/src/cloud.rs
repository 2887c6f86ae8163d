//! A cloud's key API, as far as Keyplane uses it.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use keyplane_model::{
    Class, CopyRecord, Destination, Evidence, Marks, ObjectId, ObjectSeen, PlacementSeen, PublicKey, Span, Target, Timestamp, Version,
    WrapScheme,
};

/// One destination, through its cloud's API.
///
/// # Guarantees
/// - [`Cloud::act`] sends at most one mutating request, and sends it once: neither adapter nor SDK repeats it.
/// - A failed call that may have had its effect is [`Class::Ambiguous`]; every other class is certain to have had none.
/// - [`Class::NotFound`] and [`Class::AlreadyExists`] come from the cloud's typed answers, never from silence or from an error's text.
/// - Reads have no effect. An adapter keeps no quotas, sets no time-outs for calls and repeats no reads: the engine does.
///
/// # Caveats
/// A read may show a state that is as old as [`keyplane_model::Capabilities::consistency`].
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The destination, and its capabilities.
    fn destination(&self) -> &Destination;

    /// How often the requests that were sent so far draw from a quota, each counted before it leaves. `None`: it is not known. The engine
    /// draws for each call as often as the call can at most ([`keyplane_model::Capabilities::draws`]), and gives back the rest.
    fn sent(&self, quota: &str) -> Option<u64>;

    /// Reads one placement directly: what has its claim, and where the users' name leads.
    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError>;

    /// Reads one object directly; `None`: the cloud's typed "not found".
    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError>;

    /// Reads one page of all objects at the destination that carry marks of any installation of Keyplane. An object that cannot be
    /// read is counted in [`Page::broken`]; the others are shown all the same.
    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError>;

    /// Answers [`Cloud::look`] from a sweep that just ended, without reading the objects in it again. `None`: the sweep does not tell;
    /// call [`Cloud::look`].
    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError>;

    /// Finds the newest wrapping key that [`Mutation::Prepare`] made for a copy and that can still be used, at a destination that has to
    /// be asked for one ([`keyplane_model::Capabilities::prepares`]). `made` is the id in the reply to that mutation: where the cloud
    /// chooses ids, a wrapping key is found by it alone; where the adapter chooses them, it is found without. `None`: there is none.
    async fn prepared(&self, target: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError>;

    /// Reads the public key that a copy is to be wrapped under, and the token that has to accompany the import.
    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError>;

    /// Sends one mutating request.
    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError>;

    /// Reads what proves that the placement holds the copy, and how strongly. `now` is recorded as the time of the evidence.
    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError>;
}

/// A mutating request, in terms that fit every cloud. An adapter refuses what its cloud does not have as [`Class::Unsupported`].
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Make an object that takes imported material. It carries the marks from its first moment (rule 3).
    Create { target: Target, marks: Marks },
    /// Give an object the placement's claim, which only one object can have. [`Class::AlreadyExists`]: another object has it.
    Claim { target: Target, object: ObjectId },
    /// Make the wrapping key for one copy.
    Prepare { target: Target, version: Version, scheme: WrapScheme },
    /// Import wrapped material. Repeating an import with the same bytes changes nothing, if the object takes only one material.
    Import {
        target: Target,
        /// The object that takes the material; `None`: the import makes it.
        object: Option<ObjectId>,
        /// The marks of the object, for a cloud where the import makes it.
        marks: Marks,
        /// The id of a material of ours whose bytes the cloud lost or never took, to be imported into again; `None`: a first import.
        again: Option<String>,
        /// The version of the key that the material is of. It is recorded beside the material where the cloud can.
        version: Version,
        /// The public half of a key pair; `None` for a symmetric key.
        public_key: Option<PublicKey>,
        /// The key that the material was wrapped under, with its token.
        wrapping_key: WrappingKey,
        /// The wrapped material.
        wrapped: Vec<u8>,
    },
    /// Activate an object: point the users' name at it. [`Class::AlreadyExists`]: the name is taken.
    Publish {
        target: Target,
        object: ObjectId,
        /// The material that users get, where an object can hold several; `None` elsewhere.
        material: Option<String>,
    },
    /// Disable an object or one material of it; [`Mutation::Enable`] is the way back.
    Disable {
        /// The object, or the one whose material is to be disabled.
        object: ObjectId,
        /// The material, where each is disabled by itself ([`keyplane_model::Capabilities::generations`]); `None` elsewhere.
        material: Option<String>,
    },
    /// Enable a disabled object or one material of it.
    Enable {
        /// The object, or the one whose material is to be enabled.
        object: ObjectId,
        /// The material, where each is enabled by itself; `None` elsewhere.
        material: Option<String>,
    },
    /// Schedule the deletion of an object, or the destruction of one material of it.
    ScheduleDeletion {
        /// The object, or the one whose material is to be destroyed.
        object: ObjectId,
        /// The material, where materials are destroyed one by one and objects never; `None` elsewhere.
        material: Option<String>,
        /// The number of days for which it can be restored. Refused if the cloud would keep it for another time.
        days: u32,
    },
    /// Cancel a scheduled deletion. Whether the object is enabled or disabled afterwards depends on the cloud.
    Restore {
        /// The object, or the one whose material is to be restored.
        object: ObjectId,
        /// The material, where materials are destroyed one by one; `None` elsewhere.
        material: Option<String>,
    },
    /// Destroy a deleted object that could still be restored, at once and for good. Where a cloud has this, it frees the object's name.
    Purge {
        /// It has to be deleted already.
        object: ObjectId,
    },
}

impl Mutation {
    /// The mutation's name in logs and in [`keyplane_model::Capabilities::draws`].
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Claim { .. } => "claim",
            Self::Prepare { .. } => "prepare",
            Self::Import { .. } => "import",
            Self::Publish { .. } => "publish",
            Self::Disable { .. } => "disable",
            Self::Enable { .. } => "enable",
            Self::ScheduleDeletion { .. } => "schedule-deletion",
            Self::Restore { .. } => "restore",
            Self::Purge { .. } => "purge",
        }
    }
}

/// The cloud's reply to a mutation. It is never enough for a receipt: a read has to confirm it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// The cloud says that it made the object or wrapping key with this id.
    Created(ObjectId),
    /// The cloud says that it did what was asked.
    Done,
}

/// A wrapping key that was made for a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The cloud's id of the wrapping key.
    pub wrapping: ObjectId,
    /// Whether it can be used already; `false`: the cloud is still making it.
    pub ready: bool,
}

/// How a wrapping key is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrapFor {
    /// By the object that takes the import: the cloud gives a new wrapping key at each request.
    Object(ObjectId),
    /// By its own id: it was made for the copy ([`Mutation::Prepare`]).
    Prepared(ObjectId),
}

/// A public key to wrap under, and what the import has to be sent with.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappingKey {
    /// The public key: a SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
    /// The scheme that it has to be used by.
    pub scheme: WrapScheme,
    /// The cloud's token or key id that has to be sent with the material; empty where there is none.
    pub token: Vec<u8>,
    /// The time at which key and token expire, by the cloud's clock; `None`: the cloud does not say.
    pub valid_until: Option<Timestamp>,
}

impl fmt::Debug for WrappingKey {
    /// Leaves the token out: whoever has it could import in our place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({}, {} bytes)", self.scheme, self.spki.len())
    }
}

/// Where the next page of a sweep begins, in a format of the adapter's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// One page of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub objects: Vec<ObjectSeen>,
    /// The number of objects on this page that could not be read. Unless it is 0, the sweep is not complete.
    pub broken: u32,
    /// Where the next page begins; `None`: this is the last page.
    pub next: Option<Cursor>,
}

/// All objects that a sweep found, by the cloud's id.
pub type Swept = BTreeMap<ObjectId, ObjectSeen>;

/// A call to a cloud that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed ({class}): {message}")]
pub struct CloudError {
    /// Decides what the engine does about the failure.
    pub class: Class,
    /// What people have to do about the failure, where the class does not say it.
    pub cause: Cause,
    /// The cloud's own name of the operation.
    pub operation: &'static str,
    /// The cloud's code and message, cut to 500 characters; for people only, nothing is decided by it.
    pub message: String,
    /// How long the cloud asks us to wait before the next call; `None`: it does not say.
    pub retry_after: Option<Span>,
}

/// Causes that people have to act on in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The class says all that is known.
    Plain,
    /// No connection to the endpoint can be made.
    Unreachable,
    /// The credentials are missing, wrong or expired.
    Credentials,
    /// The import token, job or wrapping key has expired, or can no longer be used.
    ImportTokenExpired,
    /// The object holds other key bytes than those of the import.
    OtherMaterial,
    /// The endpoint answers for another account, region or vault than was approved.
    WrongHome,
}
