//! A cloud's key API, as far as we use it.

use std::fmt;

use async_trait::async_trait;
use keyplane_model::{
    Class, CopyRecord, Destination, Evidence, Marks, ObjectId, ObjectSeen, PlacementSeen, Span, Target, Timestamp, Version, WrapScheme,
};

/// One destination, through its cloud's API.
///
/// # Guarantees
/// - [`Cloud::act`] sends at most one mutating request, once: no retries below it, in no SDK.
/// - A failure that may have had its effect is [`Class::Ambiguous`]; every other class is certain to have had none.
/// - [`Class::NotFound`] and [`Class::AlreadyExists`] come from typed answers of the cloud, never from silence or text.
/// - Reads have no effects at all. Quotas, time-outs and repeated reads are the engine's: an adapter has none of them.
///
/// # Caveats
/// A read may show the state of [`keyplane_model::Capabilities::consistency`] ago.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Which destination this is and what it can take.
    fn destination(&self) -> &Destination;

    /// Direct reads of one placement.
    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError>;

    /// A direct read of one object; `None`: a typed "not found".
    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError>;

    /// One page of everything at the destination that carries marks of any installation of Keyplane. An object that
    /// cannot be read does not spoil the page: it is counted in [`Page::broken`].
    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError>;

    /// The public key that material for this object has to be wrapped under now, and the token that goes with it.
    async fn wrapping_key(&self, object: &ObjectId, scheme: WrapScheme) -> Result<WrappingKey, CloudError>;

    /// One mutating request.
    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError>;

    /// What shows, without any effect, that the placement holds the copy.
    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError>;
}

/// A mutating request, in words that fit every cloud.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// Make an object that takes material from outside, with these marks from its first moment.
    Create {
        /// For which placement.
        target: Target,
        /// Its marks.
        marks: Marks,
    },
    /// Give an object the placement's claim. [`Class::AlreadyExists`]: another one has it.
    Claim {
        /// Of which placement.
        target: Target,
        /// Which object.
        object: ObjectId,
    },
    /// Import wrapped material into an object. Repeating it with the same bytes changes nothing.
    Import {
        /// Which object.
        object: ObjectId,
        /// Which version of ours it is: written beside the material where the cloud can.
        version: Version,
        /// What it was wrapped under.
        wrapping_key: WrappingKey,
        /// The wrapped material.
        wrapped: Vec<u8>,
    },
    /// Point the users' name at an object. [`Class::AlreadyExists`]: the name is taken.
    Publish {
        /// Of which placement.
        target: Target,
        /// Which object.
        object: ObjectId,
    },
    /// Make an object unusable, for now.
    Disable {
        /// Which object.
        object: ObjectId,
    },
    /// Make a disabled object usable again.
    Enable {
        /// Which object.
        object: ObjectId,
    },
    /// Schedule an object's deletion.
    ScheduleDeletion {
        /// Which object.
        object: ObjectId,
        /// After so many days.
        days: u32,
    },
}

impl Mutation {
    /// The word for it, for logs and quotas.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Claim { .. } => "claim",
            Self::Import { .. } => "import",
            Self::Publish { .. } => "publish",
            Self::Disable { .. } => "disable",
            Self::Enable { .. } => "enable",
            Self::ScheduleDeletion { .. } => "schedule-deletion",
        }
    }
}

/// What a cloud said that it did. Never enough for a receipt: a read confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It made this object.
    Created(ObjectId),
    /// It did what was asked.
    Done,
}

/// A public key to wrap under, and what goes with it.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappingKey {
    /// The public key, DER of SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
    /// How it wants to be used.
    pub scheme: WrapScheme,
    /// The cloud's token that has to come back with the material; empty where there is none.
    pub token: Vec<u8>,
    /// Until when both are good; `None`: the cloud does not say.
    pub valid_until: Option<Timestamp>,
}

impl fmt::Debug for WrappingKey {
    /// The token stays out: whoever has it could import in our place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({}, {} bytes)", self.scheme, self.spki.len())
    }
}

/// Where the next page of a sweep begins; the adapter's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// One page of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The marked objects of this page.
    pub objects: Vec<ObjectSeen>,
    /// How many objects of this page could not be read: the sweep is not complete if there is one.
    pub broken: u32,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<Cursor>,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed ({class}): {message}")]
pub struct CloudError {
    /// What kind of failure it is.
    pub class: Class,
    /// A finer cause, where somebody has to do something about it.
    pub cause: Cause,
    /// The cloud's own name of the operation.
    pub operation: &'static str,
    /// The cloud's own code and message, cut to 500 characters; for people only.
    pub message: String,
    /// How long the cloud asks us to wait; `None`: it does not say.
    pub retry_after: Option<Span>,
}

/// Causes that people have to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No more than the class.
    Plain,
    /// Nobody answers at the endpoint.
    Unreachable,
    /// The credentials are missing, wrong or expired.
    Credentials,
    /// The import token or job ran out.
    ImportTokenExpired,
    /// The destination holds other bytes than these.
    OtherMaterial,
    /// The endpoint answers for another account, region or vault than was approved.
    WrongHome,
}
