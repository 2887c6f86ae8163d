//! Change sets: the unit of approval, commit and execution.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Algorithm, ApprovalRule, AttemptId, CloudKind, DestinationName, Digest, EpochId, Generation, InstallationId, KeyId, KeyName,
    ObjectId, PlacementId, ProfileName, Purpose, Source, Version, WrapScheme,
};

/// The steps for one key, with the state that each expects to find. Its digest is what people approve; nothing in it is
/// left to execution to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSet {
    /// The version of this format: 1.
    pub format: u32,
    /// For which installation.
    pub installation: InstallationId,
    /// For which key, for people.
    pub key: KeyName,
    /// For which key.
    pub key_id: KeyId,
    /// Under whose rules.
    pub profile: ProfileName,
    /// What kind of change it is: decides which approvals it needs.
    pub action: Action,
    /// The digest of what is wanted of the key ([`crate::Key::digest`]); a change set for anything else does not fit any more.
    /// `None` for surplus objects of a key that nobody wants any more.
    pub wanted: Option<Digest>,
    /// What the profile asked for when this was planned.
    pub approvals: ApprovalRule,
    /// Who proposed it, and therefore cannot approve it.
    pub proposer: Actor,
    /// The key's generation in the ledger when this was planned: committing compares it.
    pub generation: Generation,
    /// The placements that the steps are for.
    pub placements: BTreeMap<PlacementId, PlacementPlan>,
    /// What to do. Steps of one placement run in this order; placements run side by side.
    pub steps: Vec<Step>,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl ChangeSet {
    /// The format that this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// The digest over its canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }

    /// The steps of one placement, with their numbers, in order.
    pub fn steps_of(&self, placement: PlacementId) -> impl Iterator<Item = (StepNo, &Step)> {
        (0..).map(StepNo).zip(&self.steps).filter(move |(_, step)| step.placement == placement)
    }

    /// A step by its number.
    #[must_use]
    pub fn step(&self, number: StepNo) -> Option<&Step> {
        self.steps.get(usize::try_from(number.0).ok()?)
    }
}

/// The place of a step in its change set, from 0.
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
    /// What came late is removed: surplus objects of ours that never held material, and second imports.
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

/// A placement as a change set treats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementPlan {
    /// Where.
    pub destination: DestinationName,
    /// Which destination exactly: [`crate::Destination::fingerprint`].
    pub fingerprint: Digest,
    /// Whose API it speaks.
    pub cloud: CloudKind,
    /// How users address it there.
    pub name: String,
    /// What it is there.
    pub algorithm: Algorithm,
    /// What it may be used for there. Left out where it is to encrypt: a change set of old has its digest still.
    #[serde(default, skip_serializing_if = "Purpose::is_encrypt")]
    pub purpose: Purpose,
    /// Counts the objects that ever were this placement, from 1.
    pub incarnation: u32,
}

/// One step: at most one mutating call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// For which placement.
    pub placement: PlacementId,
    /// The state that it expects to find.
    pub expects: Expectation,
    /// What it does.
    pub act: Act,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// The custodian makes the copy's bytes in the HSM; a generated copy's blob becomes durable.
    Mint {
        /// Which generation of the key.
        version: Version,
        /// How.
        source: Source,
        /// Under which root.
        epoch: EpochId,
    },
    /// The copy has the bytes of the same version in another placement of the key.
    Share {
        /// Which generation of the key.
        version: Version,
        /// Whose bytes.
        from: PlacementId,
    },
    /// Make the object that will hold the copy, with our marks from its first moment.
    Create,
    /// Give the object the name that only one can have; only its holder ever gets material.
    Claim,
    /// Have the destination make the key that the copy will be wrapped under, where it does not give one at each asking.
    Prepare {
        /// For which generation of the key.
        version: Version,
        /// How the copy will be wrapped.
        scheme: WrapScheme,
    },
    /// Wrap the copy in the HSM for the destination's key and import it.
    Import {
        /// Which generation of the key.
        version: Version,
        /// How it is wrapped.
        scheme: WrapScheme,
        /// Whose bytes, where the placement shares those of another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<PlacementId>,
    },
    /// Point the users' name at the object.
    Publish,
    /// Schedule the deletion of a surplus object that never held material.
    RemoveSurplus {
        /// Which one.
        object: ObjectId,
    },
    /// Disable a second import of one version into an object, which a request that came late has made.
    DisableSurplus {
        /// In which object.
        object: ObjectId,
        /// The cloud's id of it.
        material: String,
        /// The import that stays: the one that protects new data.
        keeps: String,
    },
    /// A second import of one version, which a request that came late has made, became the current one by itself: the copy is that one
    /// from now on. Nothing changes at the cloud: the first one may have been used, and what it encrypted names it.
    FollowSecond {
        /// In which object.
        object: ObjectId,
        /// The cloud's id of the first one.
        material: String,
        /// The second one: the one that protects new data.
        keeps: String,
    },
}

impl Act {
    /// The word for it, in logs and for people.
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

/// The state that a step expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// The ledger knows no such copy.
    NoCopy,
    /// Nobody holds the placement's claim, and the users' name is free.
    Unclaimed,
    /// The copy is not at the destination.
    Absent,
    /// The object of the step before exists, unclaimed or claimed by itself.
    Created,
    /// The placement's object is ours, fits, and holds no material; where importing makes the object, there is none.
    Empty,
    /// The claimed object holds our copy and is usable; the users' name is free.
    Imported,
    /// The object carries our marks, holds no material and no claim.
    Surplus,
    /// The object holds the version twice, and this import of it is not the one that is used.
    Double,
}

/// The marks that make an object recognisable as ours from its first moment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marks {
    /// Whose.
    pub installation: InstallationId,
    /// For which placement.
    pub placement: PlacementId,
    /// For which incarnation of it.
    pub incarnation: u32,
    /// Made by which attempt.
    pub attempt: AttemptId,
}

/// Why a change is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The key is wanted and the ledger does not know it.
    NewKey,
    /// The key is known and wanted at one more place.
    NewPlacement {
        /// Which one.
        placement: PlacementId,
    },
    /// An earlier change set made the placement only in part, and was dropped.
    Unfinished {
        /// Which one.
        placement: PlacementId,
    },
    /// A version was found twice in one object of ours.
    DoubleImport {
        /// In which object.
        object: ObjectId,
        /// The import that nothing needs.
        material: String,
        /// Where.
        destination: DestinationName,
    },
    /// A version was found twice in one object of ours, and the second import became the current one.
    SecondImport {
        /// In which object.
        object: ObjectId,
        /// The second import.
        material: String,
        /// Where.
        destination: DestinationName,
    },
    /// An object of ours was found that is no copy of anything.
    SurplusObject {
        /// Which one.
        object: ObjectId,
        /// Where.
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
