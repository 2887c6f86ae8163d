//! What was seen in the clouds, in the same terms for all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, CheckValue, Digest, InstallationId, KeyName, Marks, ObjectId, PlacementId, Purpose, Timestamp, Version};

/// A placement that is to be looked at, with what its object should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub installation: InstallationId,
    pub placement: PlacementId,
    pub incarnation: u32,
    /// The name by which users address the key there.
    pub name: String,
    pub algorithm: Algorithm,
    pub purpose: Purpose,
    /// For the description that people read in the cloud's console.
    pub key: KeyName,
}

/// The result of direct reads of one placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementSeen {
    /// The object that has the placement's claim; in a cloud without claims, the object with the placement's name. `None`: the cloud
    /// answered that there is none.
    pub claimed: Option<ObjectSeen>,
    /// The object that the users' name points at. `None`: the name is free.
    pub published: Option<ObjectSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSeen {
    pub object: ObjectId,
    /// Our marks on it. `None`: it is not ours, or its marks were removed.
    pub marks: Option<Marks>,
    /// Whether it takes imported material only, and never generates its own.
    pub external: bool,
    /// `None`: an algorithm that the adapter does not know.
    pub algorithm: Option<Algorithm>,
    /// The only use that it allows. `None`: a use that the adapter does not know, or more than one.
    pub purpose: Option<Purpose>,
    /// Whether its access policy is the one that we set.
    pub policy_fits: bool,
    pub state: ObjectState,
    /// When it was created, by the cloud's clock. `None`: the cloud does not say.
    pub created: Option<Timestamp>,
    /// Past imports included.
    pub materials: Vec<MaterialSeen>,
}

impl ObjectSeen {
    /// Whether it is the target's object: our marks, the right algorithm and use, our access policy (rule 11).
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

    /// Whether it shows no sign of ever having held material.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.materials.is_empty() && self.state == ObjectState::AwaitingMaterial
    }

    /// The import that protects new data. `None`: there is none.
    #[must_use]
    pub fn current(&self) -> Option<&MaterialSeen> {
        self.materials.iter().find(|material| material.state == MaterialState::Current)
    }

    /// The import that holds this version of ours: the first one that is present, in the adapter's order, otherwise the first one.
    /// `public_key` means the same as in [`MaterialSeen::is_of`].
    #[must_use]
    pub fn of_version(&self, version: Version, public_key: Option<Digest>) -> Option<&MaterialSeen> {
        let ours = || self.materials.iter().filter(|material| material.is_of(version, public_key));
        ours().find(|material| material.is_present()).or_else(|| ours().next())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectState {
    AwaitingMaterial,
    Usable,
    Disabled,
    /// The time of deletion. `None`: the cloud does not say when.
    DeletionScheduled(Option<Timestamp>),
    /// A state that the adapter does not know. Nothing is concluded from it.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterialSeen {
    /// The cloud's id. `None`: the cloud gives none.
    pub id: Option<String>,
    /// The version that its description names. `None`: the description names none, or is not ours.
    pub version: Option<Version>,
    pub state: MaterialState,
    pub presence: Presence,
    /// SHA-256 of its public key (DER of SubjectPublicKeyInfo). `None`: it has none, or the cloud does not show it here.
    pub public_key: Option<Digest>,
}

impl MaterialSeen {
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// Whether it is this version of ours. `public_key` is the digest of the copy's public key, if it has one. Marks can be edited, a
    /// public key cannot: where the cloud shows a public key, both have to agree.
    #[must_use]
    pub fn is_of(&self, version: Version, public_key: Option<Digest>) -> bool {
        let other_key = public_key.is_some() && self.public_key.is_some() && self.public_key != public_key;
        self.version == Some(version) && !other_key
    }
}

/// Whether the cloud has the bytes of an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// The bytes are there and enabled.
    Present,
    /// The bytes were imported, and the cloud still processes them.
    Arriving,
    /// The bytes expired or were deleted. Importing them again restores them.
    Missing,
    /// The cloud failed to take the bytes, for the reason given. They may be imported again.
    Failed(String),
    /// The bytes are there, and disabled.
    Disabled,
    /// The bytes are scheduled for destruction and cannot be used. Until they are destroyed, nothing can be imported in their place.
    Leaving,
}

/// What an object uses an import for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaterialState {
    /// Protects new data.
    Current,
    /// Decrypts only.
    Former,
    /// Becomes current by a rotation, or by activation.
    Pending,
}

/// The result of one look at a destination: a sweep, and direct reads of placements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// When the look began, by the server's wall clock.
    pub at: Timestamp,
    /// Whether the sweep reached its end and could read every object. No absence is concluded from an incomplete one.
    pub complete: bool,
    /// Every object with our marks that the sweep found.
    pub ours: BTreeMap<ObjectId, ObjectSeen>,
    /// The results of the direct reads.
    pub placements: BTreeMap<PlacementId, PlacementSeen>,
}

/// What shows that a destination holds the right key, without revealing the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub placement: PlacementId,
    /// The version that the placement should hold.
    pub version: Version,
    pub strength: EvidenceStrength,
    /// Whether what the cloud shows agrees with the ledger; `false` is drift. `true` also if the cloud shows nothing about the bytes.
    pub fits: bool,
    /// Why there is no evidence, for people. `None`: there is some.
    pub reason: Option<String>,
    /// The cloud's id of the material found. `None`: nothing was found, or the cloud gives none.
    pub material: Option<String>,
    /// `None`: the token computes none for the algorithm.
    pub check_value: Option<CheckValue>,
    /// SHA-256 of the public key that the copy was wrapped under. `None`: not recorded.
    pub wrapped_under: Option<Digest>,
    /// When it was taken, by the server's wall clock.
    pub at: Timestamp,
}

/// Ordered: a later variant is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceStrength {
    /// The object is missing, is not ours or holds something else, or the cloud shows nothing about its bytes.
    None,
    /// The object that the import made is still the current one. This rests on the cloud's word.
    SameObject,
    /// The key check values agree: 24 bits of evidence.
    CheckValue,
    /// The public key that the cloud shows or attests equals the copy's.
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
