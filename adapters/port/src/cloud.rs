//! A cloud's key API, as far as we use it.

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

    /// What a look at a placement would show, as far as a sweep tells that has just ended: what that read of an object is not read again.
    /// `None`: it does not tell, and the placement has to be looked at.
    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError>;

    /// The wrapping key that was made for a copy ([`Mutation::Prepare`]), in a destination that has to be asked for one
    /// ([`keyplane_model::Capabilities::prepares`]): the newest that can still be used. Where its name is ours, it is found by that;
    /// elsewhere only `made`, what the reply of the mutation named, tells. `None`: there is none.
    async fn prepared(&self, target: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError>;

    /// The public key that a copy has to be wrapped under now, and the token that goes with it: the one that `from` names.
    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError>;

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
    /// Make the key that a copy will be wrapped under.
    Prepare {
        /// Of which placement.
        target: Target,
        /// Of which version.
        version: Version,
        /// How the copy will be wrapped.
        scheme: WrapScheme,
    },
    /// Import wrapped material. Into an object that takes one material, repeating it with the same bytes changes nothing.
    Import {
        /// Of which placement.
        target: Target,
        /// Into which object; `None` where the import makes it.
        object: Option<ObjectId>,
        /// Our marks, where the import makes the object.
        marks: Marks,
        /// Into which material of ours, of which the cloud lost or never took the bytes; `None`: it is the first time.
        again: Option<String>,
        /// Which version of ours it is: written beside the material where the cloud can.
        version: Version,
        /// The public half of a key pair.
        public_key: Option<PublicKey>,
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
        /// Which material of it, where an object can hold several.
        material: Option<String>,
    },
    /// Make an object unusable, for now.
    Disable {
        /// Which object.
        object: ObjectId,
        /// Which material of it, where each is switched by itself ([`keyplane_model::Capabilities::generations`]).
        material: Option<String>,
    },
    /// Make a disabled object usable again.
    Enable {
        /// Which object.
        object: ObjectId,
        /// Which material of it, where each is switched by itself.
        material: Option<String>,
    },
    /// Schedule the deletion of an object, or the destruction of one material of it.
    ScheduleDeletion {
        /// Which object.
        object: ObjectId,
        /// Which material of it, where each is destroyed by itself, and an object never.
        material: Option<String>,
        /// After so many days.
        days: u32,
    },
    /// Call a deletion off before its time. What comes back is usable, or disabled, as the cloud has it.
    Restore {
        /// Which object.
        object: ObjectId,
        /// Which material of it, where each is destroyed by itself.
        material: Option<String>,
    },
    /// Destroy at once what was deleted and could still be restored, where a cloud keeps its name for so long.
    Purge {
        /// Which object.
        object: ObjectId,
    },
}

impl Mutation {
    /// The word for it, for logs and quotas.
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

/// What a cloud said that it did. Never enough for a receipt: a read confirms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acted {
    /// It made this object (or wrapping key).
    Created(ObjectId),
    /// It did what was asked.
    Done,
}

/// A wrapping key that was made for a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What the cloud calls it.
    pub wrapping: ObjectId,
    /// Whether it can be used already.
    pub ready: bool,
}

/// What a wrapping key is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrapFor {
    /// For an object: the cloud gives a key at each asking.
    Object(ObjectId),
    /// The wrapping key that was made for the copy.
    Prepared(ObjectId),
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

/// What a sweep found, by name.
pub type Swept = BTreeMap<ObjectId, ObjectSeen>;

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
