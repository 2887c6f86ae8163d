//! Change sets: the unit of approval, commit and execution.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Algorithm, ApprovalRule, AttemptId, CloudKind, DestinationName, Digest, EpochId, Generation, InstallationId, KeyId, KeyName,
    ObjectId, PlacementId, ProfileName, Source, Version, WrapScheme,
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
    /// Surplus objects of ours that never held material are removed.
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
    /// Make the object that will hold the copy, with our marks from its first moment.
    Create,
    /// Give the object the name that only one can have; only its holder ever gets material.
    Claim,
    /// Wrap the copy in the HSM for the destination's key and import it.
    Import {
        /// Which generation of the key.
        version: Version,
        /// How it is wrapped.
        scheme: WrapScheme,
    },
    /// Point the users' name at the object.
    Publish,
    /// Schedule the deletion of a surplus object that never held material.
    RemoveSurplus {
        /// Which one.
        object: ObjectId,
    },
}

impl Act {
    /// The word for it, in logs and for people.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Mint { .. } => "mint",
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Import { .. } => "import",
            Self::Publish => "publish",
            Self::RemoveSurplus { .. } => "remove-surplus",
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
    /// The object of the step before exists, unclaimed or claimed by itself.
    Created,
    /// The claimed object is ours, fits, and holds no material.
    Empty,
    /// The claimed object holds our copy and is usable; the users' name is free.
    Imported,
    /// The object carries our marks, holds no material and no claim.
    Surplus,
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
            Self::SurplusObject { object, destination } => {
                write!(f, "`{object}` at `{destination}` is an empty object of ours that nothing needs")
            }
        }
    }
}
