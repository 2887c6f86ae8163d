//! Change sets: the unit of approval, commit and execution.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Algorithm, ApprovalRule, AttemptId, CloudKind, DestinationName, Digest, EpochId, Generation, InstallationId, KeyId, KeyName,
    ObjectId, PlacementId, ProfileName, Purpose, Source, Timestamp, Version, WrapScheme,
};

/// The steps for one key, each with the state that it expects to find. People approve its digest; execution has nothing left to
/// choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSet {
    /// The version of this format: 2.
    pub format: u32,
    /// The installation that it is for.
    pub installation: InstallationId,
    /// The name of the key that it is for, for people.
    pub key: KeyName,
    /// The id of the key that it is for.
    pub key_id: KeyId,
    /// The profile whose rules apply.
    pub profile: ProfileName,
    /// The kind of change, which decides whose approvals it needs.
    pub action: Action,
    /// The digest of what the intent says of the key ([`crate::Key::digest`]). Once the intent says something else, the change set
    /// no longer fits. `None`: the key is no longer wanted, and the change set removes its surplus objects.
    pub wanted: Option<Digest>,
    /// The approvals that the key's rules asked for when this was planned.
    pub approvals: ApprovalRule,
    /// Who proposed it; the proposer cannot approve it.
    pub proposer: Actor,
    /// The key's generation in the ledger when this was planned. A commit compares it and fails if the key has moved on.
    pub generation: Generation,
    /// The placements that the steps act on.
    pub placements: BTreeMap<PlacementId, PlacementPlan>,
    /// The steps. Those of one placement run in this order; placements run side by side.
    pub steps: Vec<Step>,
    /// Why the change is needed, for the people who approve it.
    pub reasons: Vec<Reason>,
    /// When its approvals end: afterwards it is good for nothing, whether it was approved or begun. At most
    /// [`crate::APPROVALS_LAST`] from when it is judged.
    pub until: Timestamp,
}

impl ChangeSet {
    /// The format that this program writes and reads.
    pub const FORMAT: u32 = 2;

    /// The digest over its canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }

    /// The steps of one placement in order, each with its number in the change set.
    pub fn steps_of(&self, placement: PlacementId) -> impl Iterator<Item = (StepNo, &Step)> {
        (0..).map(StepNo).zip(&self.steps).filter(move |(_, step)| step.placement == placement)
    }

    /// The step with this number. `None`: the change set has fewer steps.
    #[must_use]
    pub fn step(&self, number: StepNo) -> Option<&Step> {
        self.steps.get(usize::try_from(number.0).ok()?)
    }
}

/// The index of a step in its change set, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepNo(pub u32);

impl fmt::Display for StepNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What kind of change a change set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A version comes to its placements for the first time.
    Import,
    /// Removes what arrived late: surplus objects of ours that never held material, and second imports of a version.
    CleanUp,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Import => "import",
            Self::CleanUp => "clean-up",
        })
    }
}

/// What a change set says about one placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementPlan {
    /// The destination's name in the configuration.
    pub destination: DestinationName,
    /// The digest of the destination's configuration ([`crate::Destination::fingerprint`]) at planning time.
    pub fingerprint: Digest,
    /// The cloud API that the destination speaks.
    pub cloud: CloudKind,
    /// The name by which users address the key at the destination.
    pub name: String,
    /// The algorithm of the copy at the destination.
    pub algorithm: Algorithm,
    /// What the copy may be used for. Not serialized for `encrypt`, so that change sets from before this field keep their digests.
    #[serde(default, skip_serializing_if = "Purpose::is_encrypt")]
    pub purpose: Purpose,
    /// Numbers the objects that have been this placement over time, from 1.
    pub incarnation: u32,
}

/// One step: at most one mutating call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The placement that it acts on.
    pub placement: PlacementId,
    /// The state that it has to find before it acts.
    pub expects: Expectation,
    /// The act, with its parameters.
    pub act: Act,
}

/// What a step does: at most one mutating request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Generate or derive the copy's bytes in the HSM. A generated copy's blob is durable before any import.
    Mint {
        /// The version of the key.
        version: Version,
        /// Whether the bytes are derived or generated.
        source: Source,
        /// The root epoch whose keys are used.
        epoch: EpochId,
    },
    /// Record that the copy has the bytes of the same version in another placement of the key. No request is sent.
    Share {
        /// The version of the key.
        version: Version,
        /// The placement that the bytes were made for.
        from: PlacementId,
    },
    /// Create the object that will hold the copy. It carries our marks from its first moment.
    Create,
    /// Give the object a name that only one object can have. Only the holder of this claim ever gets material.
    Claim,
    /// Have the destination create the key that the copy will be wrapped under, where it does not hand one out on request.
    Prepare {
        /// The version that will be imported.
        version: Version,
        /// The scheme by which the copy will be wrapped.
        scheme: WrapScheme,
    },
    /// Wrap the copy in the HSM for the destination's key and import it.
    Import {
        /// The version of the key.
        version: Version,
        /// The scheme by which it is wrapped.
        scheme: WrapScheme,
        /// The placement whose bytes are imported. `None`: the placement's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<PlacementId>,
    },
    /// Activate: point the name that users know at the object.
    Publish,
    /// Schedule the deletion of a surplus object that never held material.
    RemoveSurplus {
        /// The object to delete.
        object: ObjectId,
    },
    /// Disable a second import of one version, which a late request made.
    DisableSurplus {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the import to disable.
        material: String,
        /// The cloud's id of the import that stays: the one that protects new data.
        keeps: String,
    },
    /// Record a second import of one version, which a late request made and which became the current one by itself. From now on the
    /// copy is that import. Nothing changes at the cloud: the first import may have been used, and what it encrypted names it.
    FollowSecond {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the first import.
        material: String,
        /// The cloud's id of the second import, which protects new data.
        keeps: String,
    },
}

impl Act {
    /// The word for it in logs, plans and messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Mint { .. } => "mint",
            Self::Share { .. } => "share",
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Prepare { .. } => "prepare",
            Self::Import { .. } => "import",
            Self::Publish => "publish",
            Self::RemoveSurplus { .. } => "remove-surplus",
            Self::DisableSurplus { .. } => "disable-surplus",
            Self::FollowSecond { .. } => "follow-second",
        }
    }
}

/// The state that a step has to find before it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The ledger has no copy of this version in this placement.
    NoCopy,
    /// No object holds the placement's claim, and the users' name is free.
    Unclaimed,
    /// The destination does not hold the copy yet.
    Absent,
    /// The object that the step before created exists; it is unclaimed, or holds the claim already.
    Created,
    /// The placement's object is ours, fits and holds no material. Where importing makes the object, there is none.
    Empty,
    /// The claimed object holds our copy and is usable, and the users' name is free.
    Imported,
    /// The object carries our marks, and holds neither material nor a claim.
    Surplus,
    /// The object holds the version twice, and this import is not the one in use.
    Double,
}

/// What is written on an object from its first moment, so that it can be recognised as ours (tags or labels, by cloud).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marks {
    /// The installation that made the object.
    pub installation: InstallationId,
    /// The placement that it was made for.
    pub placement: PlacementId,
    /// The incarnation of that placement, from 1.
    pub incarnation: u32,
    /// The attempt that made it.
    pub attempt: AttemptId,
}

/// Why a change is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The intent has the key, and the ledger does not know it.
    NewKey,
    /// The intent has one more placement of a known key.
    NewPlacement {
        /// The new placement.
        placement: PlacementId,
    },
    /// An earlier change set finished only part of the placement before it was dropped.
    Unfinished {
        /// The unfinished placement.
        placement: PlacementId,
    },
    /// One object of ours holds a version twice, and nothing needs the second import.
    DoubleImport {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the import that nothing needs.
        material: String,
        /// The destination of the object.
        destination: DestinationName,
    },
    /// One object of ours holds a version twice, and the second import became the current one by itself.
    SecondImport {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the second import.
        material: String,
        /// The destination of the object.
        destination: DestinationName,
    },
    /// An object carries our marks and is no placement's object.
    SurplusObject {
        /// The surplus object.
        object: ObjectId,
        /// The destination of the object.
        destination: DestinationName,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewKey => f.write_str("the key is wanted and does not exist yet"),
            Self::NewPlacement { placement } => write!(f, "the key is wanted at one more place (placement {placement})"),
            Self::Unfinished { placement } => write!(f, "placement {placement} was made only in part"),
            Self::DoubleImport { object, material, destination } => {
                write!(f, "`{object}` at `{destination}` holds one version twice: `{material}` came late, and nothing needs it")
            }
            Self::SecondImport { object, material, destination } => {
                write!(f, "`{object}` at `{destination}` holds one version twice: `{material}` came late, and is what protects new data")
            }
            Self::SurplusObject { object, destination } => {
                write!(f, "`{object}` at `{destination}` is an empty object of ours that nothing needs")
            }
        }
    }
}
