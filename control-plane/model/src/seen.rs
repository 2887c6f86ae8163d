//! What was seen in the clouds, in words that fit them all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, CheckValue, Digest, InstallationId, KeyName, Marks, ObjectId, PlacementId, Purpose, Timestamp, Version};

/// What to look at: one placement at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Whose.
    pub installation: InstallationId,
    /// Which placement.
    pub placement: PlacementId,
    /// Which incarnation of it.
    pub incarnation: u32,
    /// How users address it.
    pub name: String,
    /// What it is.
    pub algorithm: Algorithm,
    /// What it may be used for.
    pub purpose: Purpose,
    /// Of which key, for descriptions that people read in the cloud's console.
    pub key: KeyName,
}

/// What direct reads of a placement showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementSeen {
    /// The object that holds the placement's claim (in a cloud without claims: that has its name). `None`: a typed "not found".
    pub claimed: Option<ObjectSeen>,
    /// What the users' name points at; `None`: it is free.
    pub published: Option<ObjectSeen>,
}

/// An object at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSeen {
    /// Its name there.
    pub object: ObjectId,
    /// Our marks; `None`: it is not ours (or says so no longer).
    pub marks: Option<Marks>,
    /// Whether it takes material from outside and nothing else.
    pub external: bool,
    /// What it is; `None`: nothing that we know.
    pub algorithm: Option<Algorithm>,
    /// What it may be used for; `None`: nothing that we know, or not one thing alone.
    pub purpose: Option<Purpose>,
    /// Whether its access policy is the one that we give.
    pub policy_fits: bool,
    /// Its state.
    pub state: ObjectState,
    /// When it was made; `None` where the cloud does not say.
    pub created: Option<Timestamp>,
    /// What it holds or held.
    pub materials: Vec<MaterialSeen>,
}

impl ObjectSeen {
    /// Whether this is the object for a target: ours, of the right kind, under our policy (rule 11).
    #[must_use]
    pub fn fits(&self, target: &Target) -> bool {
        self.external
            && self.algorithm == Some(target.algorithm)
            && self.purpose == Some(target.purpose)
            && self.policy_fits
            && self.marks.as_ref().is_some_and(|marks| {
                marks.installation == target.installation && marks.placement == target.placement && marks.incarnation == target.incarnation
            })
    }

    /// Whether it never held material, as far as it shows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.materials.is_empty() && self.state == ObjectState::AwaitingMaterial
    }

    /// The material that protects new data.
    #[must_use]
    pub fn current(&self) -> Option<&MaterialSeen> {
        self.materials.iter().find(|material| material.state == MaterialState::Current)
    }

    /// The material that is a version of ours: the first that is there, in the adapter's order, or else that may still come.
    /// `public_key` as for [`MaterialSeen::is_of`].
    #[must_use]
    pub fn of_version(&self, version: Version, public_key: Option<Digest>) -> Option<&MaterialSeen> {
        let ours = || self.materials.iter().filter(|material| material.is_of(version, public_key));
        ours().find(|material| material.is_present()).or_else(|| ours().next())
    }
}

/// The state of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectState {
    /// Waits for material.
    AwaitingMaterial,
    /// Can be used.
    Usable,
    /// Is disabled.
    Disabled,
    /// Will be deleted at that time.
    DeletionScheduled(Option<Timestamp>),
    /// Something that the adapter does not know; nothing may be done on the strength of it.
    Other,
}

/// Material in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterialSeen {
    /// The cloud's own id for it; `None` where it has none.
    pub id: Option<String>,
    /// Which version of ours its description names; `None`: none, or not ours.
    pub version: Option<Version>,
    /// Whether it protects, only decrypts, or waits.
    pub state: MaterialState,
    /// Whether its bytes are there now.
    pub presence: Presence,
    /// SHA-256 of its public key (DER of SubjectPublicKeyInfo); `None`: it has none, or the cloud does not show it here.
    pub public_key: Option<Digest>,
}

impl MaterialSeen {
    /// Whether it can be used, as far as its bytes go.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// Whether it is a version of ours, whose public key has that digest, if it has one. A mark can be edited, a public key cannot:
    /// where the cloud shows one, it decides as well.
    #[must_use]
    pub fn is_of(&self, version: Version, public_key: Option<Digest>) -> bool {
        let other_key = public_key.is_some() && self.public_key.is_some() && self.public_key != public_key;
        self.version == Some(version) && !other_key
    }
}

/// Whether a material's bytes are there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// They are.
    Present,
    /// They were imported, and the cloud is still at work on them.
    Arriving,
    /// They are not: they expired or were deleted, and the same bytes restore them.
    Missing,
    /// The cloud could not take them, and says why; the same bytes may be imported again.
    Failed(String),
    /// They are there, and switched off.
    Disabled,
    /// They are there, cannot be used, and will be destroyed; until then nothing can be imported in their place.
    Leaving,
}

/// What a material is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaterialState {
    /// Protects new data.
    Current,
    /// Only decrypts.
    Former,
    /// Will be current after a rotation.
    Pending,
}

/// What one look at a destination showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// When the look began.
    pub at: Timestamp,
    /// Whether the sweep reached its end and every object could be read: nothing may be concluded from what an incomplete one lacks.
    pub complete: bool,
    /// Every object with our marks that the sweep found, by name.
    pub ours: BTreeMap<ObjectId, ObjectSeen>,
    /// What direct reads of placements showed.
    pub placements: BTreeMap<PlacementId, PlacementSeen>,
}

/// What shows that a destination holds the right key, without anybody seeing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// For which placement.
    pub placement: PlacementId,
    /// For which version.
    pub version: Version,
    /// How strong it is.
    pub strength: EvidenceStrength,
    /// Whether what the cloud shows is what the ledger knows; `false` is drift. A cloud may show nothing about bytes, and fit.
    pub fits: bool,
    /// Why it is none, for people.
    pub reason: Option<String>,
    /// The cloud's id of the material that was found.
    pub material: Option<String>,
    /// The HSM's own check value of the copy.
    pub check_value: Option<CheckValue>,
    /// SHA-256 of the public key that the copy was wrapped under.
    pub wrapped_under: Option<Digest>,
    /// When it was taken.
    pub at: Timestamp,
}

/// How strong evidence is (`contracts/evidence.md`). Ordered: what comes later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceStrength {
    /// None: the object is not there, is not ours, or holds something else; or the cloud shows nothing about its bytes.
    None,
    /// The same object that the import made is still the current one; the cloud's word.
    SameObject,
    /// 24 bits agree.
    CheckValue,
    /// The bytes are equal.
    Equality,
}

impl std::fmt::Display for EvidenceStrength {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::SameObject => "same object",
            Self::CheckValue => "check value",
            Self::Equality => "equality",
        })
    }
}
