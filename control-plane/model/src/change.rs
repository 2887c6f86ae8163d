//! Change sets: the unit of approval, commit and execution.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, Algorithm, ApprovalRule, AttemptId, CloudKind, CopyCoordinates, DestinationName, Digest, EpochId, Generation, InstallationId,
    KeyId, KeyName, ObjectId, PlacementId, ProfileName, Purpose, Source, Timestamp, Version, WrapScheme,
};

/// The steps for one key, each with the state that it expects to find. Approvers approve its digest. Execution makes no choices of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSet {
    /// [`Self::FORMAT`].
    pub format: u32,
    pub installation: InstallationId,
    /// For people; the id decides.
    pub key: KeyName,
    pub key_id: KeyId,
    /// The profile whose rules apply.
    pub profile: ProfileName,
    /// The kind of change, which decides whose approvals it needs.
    pub action: Action,
    /// The digest of the wanted key ([`crate::Key::digest`]). If the intent has changed since, the change set is stale. `None`: the key is
    /// no longer wanted, and the change set removes its surplus objects.
    pub wanted: Option<Digest>,
    /// The rule in force for the key when this was planned.
    pub approvals: ApprovalRule,
    /// The proposer's own approval does not count.
    pub proposer: Actor,
    /// The key's generation in the ledger when this was planned. A commit compares it, and fails if it has changed.
    pub generation: Generation,
    pub placements: BTreeMap<PlacementId, PlacementPlan>,
    /// Steps of one placement run in this order; placements run concurrently.
    pub steps: Vec<Step>,
    /// For the approvers.
    pub reasons: Vec<Reason>,
    /// When the approvals expire. After that no step runs, even if the change set was committed. At most [`crate::Approvals::valid`] from
    /// now when it is judged.
    pub until: Timestamp,
}

impl ChangeSet {
    /// The format that this program writes and reads.
    pub const FORMAT: u32 = 3;

    /// The digest over its canonical bytes (RFC 8785).
    ///
    /// # Errors
    /// See [`crate::Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }

    pub fn steps_of(&self, placement: PlacementId) -> impl Iterator<Item = (StepNo, &Step)> {
        (0..).map(StepNo).zip(&self.steps).filter(move |(_, step)| step.placement == placement)
    }

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Brings a version to its placements for the first time.
    Import,
    /// Removes what late requests made: surplus objects of ours that never held material, and second imports of a version.
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

/// A placement as planned. The commit of an import copies it into the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementPlan {
    pub destination: DestinationName,
    /// [`crate::Destination::fingerprint`] at planning time.
    pub fingerprint: Digest,
    pub cloud: CloudKind,
    /// The name by which users address the key at the destination.
    pub name: String,
    pub algorithm: Algorithm,
    /// What the copy may be used for. Not serialized for `encrypt`, so that change sets from before this field keep their digests.
    #[serde(default, skip_serializing_if = "Purpose::is_encrypt")]
    pub purpose: Purpose,
    /// Numbers the objects that have been this placement over time, from 1.
    pub incarnation: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub placement: PlacementId,
    pub expects: Expectation,
    pub act: Act,
}

/// What a step does: at most one mutating request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Generate or derive the copy's bytes in the HSM. A generated copy's blob is durable before any import.
    Mint {
        version: Version,
        source: Source,
        /// The root epoch whose keys derive or wrap the bytes.
        epoch: EpochId,
    },
    /// Record that the copy has the bytes of the same version in another placement of the key. No request is sent.
    Share {
        version: Version,
        /// The placement that the bytes were made for.
        from: PlacementId,
    },
    /// Create the object that will hold the copy. The request that creates it sets our marks.
    Create,
    /// Give the object a name that only one object can have. Only the object with this claim ever gets material.
    Claim,
    /// Have the destination create the key encryption key, where it does not hand one out on request.
    Prepare { version: Version, scheme: WrapScheme },
    /// Wrap the copy in the HSM for the destination's key and import it.
    Import {
        version: Version,
        scheme: WrapScheme,
        /// The placement whose bytes are imported. `None`: the placement's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<PlacementId>,
        /// What the bytes are bound to, if an earlier change set made them: so approvers see under which profile and rule that was. `None`:
        /// this change set makes them, under its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        made: Option<CopyCoordinates>,
    },
    /// Activate: point the name that users know at the object.
    Publish,
    /// Schedule the deletion of a surplus object that never held material.
    RemoveSurplus { object: ObjectId },
    /// Disable a second import of one version, which a late request made.
    DisableSurplus {
        object: ObjectId,
        /// The cloud's id of the import to disable.
        material: String,
        /// The cloud's id of the import that stays: the one that protects new data.
        keeps: String,
    },
    /// Record a late second import of one version that became the current one by itself. From now on the copy is that import. Nothing
    /// changes at the cloud: the first import may have been used, and its ciphertexts name it.
    FollowSecond {
        object: ObjectId,
        /// The cloud's id of the first import.
        material: String,
        /// The cloud's id of the second import, which protects new data.
        keeps: String,
    },
}

impl Act {
    /// What it does for a copy's bytes. `None`: it is for an object or a name.
    #[must_use]
    pub fn on_copy(&self) -> Option<CopyAct<'_>> {
        match self {
            Self::Mint { version, source, epoch } => Some(CopyAct::Mint { version: *version, source: *source, epoch: *epoch }),
            Self::Share { version, from } => Some(CopyAct::Share { version: *version, from: *from }),
            Self::Prepare { version, scheme } => Some(CopyAct::Prepare { version: *version, scheme: *scheme }),
            Self::Import { version, scheme, of, made } => {
                Some(CopyAct::Import { version: *version, scheme: *scheme, of: *of, made: made.as_ref() })
            }
            Self::Create
            | Self::Claim
            | Self::Publish
            | Self::RemoveSurplus { .. }
            | Self::DisableSurplus { .. }
            | Self::FollowSecond { .. } => None,
        }
    }

    /// What the bytes of an import are bound to, if an earlier change set made them.
    #[must_use]
    pub fn made(&self) -> Option<&CopyCoordinates> {
        match self.on_copy() {
            Some(CopyAct::Import { made, .. }) => made,
            Some(CopyAct::Mint { .. } | CopyAct::Share { .. } | CopyAct::Prepare { .. }) | None => None,
        }
    }

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

/// The acts of [`Act`] that are for a copy's bytes, with the same fields. Whoever judges these alone matches them, so that another one does
/// not compile before it is judged, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyAct<'a> {
    Mint { version: Version, source: Source, epoch: EpochId },
    Share { version: Version, from: PlacementId },
    Prepare { version: Version, scheme: WrapScheme },
    Import { version: Version, scheme: WrapScheme, of: Option<PlacementId>, made: Option<&'a CopyCoordinates> },
}

impl CopyAct<'_> {
    #[must_use]
    pub fn version(self) -> Version {
        match self {
            Self::Mint { version, .. } | Self::Share { version, .. } | Self::Prepare { version, .. } | Self::Import { version, .. } => {
                version
            }
        }
    }
}

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

/// The tags or labels (by cloud) that an object of ours has from the request that creates it. They identify it as ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Marks {
    pub installation: InstallationId,
    pub placement: PlacementId,
    pub incarnation: u32,
    pub attempt: AttemptId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The key is in the intent and not in the ledger.
    NewKey,
    /// The intent has one more placement of a known key.
    NewPlacement { placement: PlacementId },
    /// An earlier change set finished only part of the placement before it was dropped.
    Unfinished { placement: PlacementId },
    /// One object of ours holds a version twice, and nothing needs the second import.
    DoubleImport {
        object: ObjectId,
        /// The cloud's id of the import that nothing needs.
        material: String,
        destination: DestinationName,
    },
    /// One object of ours holds a version twice, and the second import became the current one by itself.
    SecondImport {
        object: ObjectId,
        /// The cloud's id of the second import.
        material: String,
        destination: DestinationName,
    },
    /// An object carries our marks and is no placement's object.
    SurplusObject { object: ObjectId, destination: DestinationName },
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
