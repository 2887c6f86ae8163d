//! What was seen in the clouds, in the same words for all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, CheckValue, Digest, InstallationId, KeyName, Marks, ObjectId, PlacementId, Purpose, Timestamp, Version};

/// One placement at one destination that is to be looked at, with what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The installation whose marks the object should carry.
    pub installation: InstallationId,
    /// The placement that the object should be.
    pub placement: PlacementId,
    /// The incarnation of the placement, from 1.
    pub incarnation: u32,
    /// The name by which users address it.
    pub name: String,
    /// The algorithm that it should have.
    pub algorithm: Algorithm,
    /// The use that it should be limited to.
    pub purpose: Purpose,
    /// The name of the key, for descriptions that people read in the cloud's console.
    pub key: KeyName,
}

/// The result of direct reads of one placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementSeen {
    /// The object that holds the placement's claim; in a cloud without claims, the object with its name. `None`: the cloud said by
    /// type that there is none.
    pub claimed: Option<ObjectSeen>,
    /// The object that the users' name points at. `None`: the name is free.
    pub published: Option<ObjectSeen>,
}

/// An object at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSeen {
    /// The cloud's id of the object.
    pub object: ObjectId,
    /// Our marks on it. `None`: it is not ours, or its marks were removed.
    pub marks: Option<Marks>,
    /// Whether it takes imported material only, and never makes its own.
    pub external: bool,
    /// Its algorithm. `None`: one that we do not know.
    pub algorithm: Option<Algorithm>,
    /// The use that it is limited to. `None`: one that we do not know, or more than one.
    pub purpose: Option<Purpose>,
    /// Whether its access policy is the one that we set.
    pub policy_fits: bool,
    /// Whether it can be used.
    pub state: ObjectState,
    /// When it was created, by the cloud's clock. `None`: the cloud does not say.
    pub created: Option<Timestamp>,
    /// The imports that it holds or held.
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

    /// The import that holds this version of ours: the first usable one in the adapter's order, otherwise the first that may become
    /// usable. `public_key` means the same as in [`MaterialSeen::is_of`].
    #[must_use]
    pub fn of_version(&self, version: Version, public_key: Option<Digest>) -> Option<&MaterialSeen> {
        let ours = || self.materials.iter().filter(|material| material.is_of(version, public_key));
        ours().find(|material| material.is_present()).or_else(|| ours().next())
    }
}

/// Whether an object can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectState {
    /// Waits for its material.
    AwaitingMaterial,
    /// Can be used.
    Usable,
    /// Is disabled.
    Disabled,
    /// The cloud will delete it at that time. `None`: the cloud does not say when.
    DeletionScheduled(Option<Timestamp>),
    /// A state that the adapter does not know. Nothing is concluded from it.
    Other,
}

/// One import in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterialSeen {
    /// The cloud's own id of it. `None`: the cloud gives none.
    pub id: Option<String>,
    /// The version of ours that its description names. `None`: it names none, or is not ours.
    pub version: Option<Version>,
    /// Whether it protects new data, only decrypts, or waits.
    pub state: MaterialState,
    /// Whether the cloud has its bytes now.
    pub presence: Presence,
    /// SHA-256 of its public key (DER of SubjectPublicKeyInfo). `None`: it has none, or the cloud does not show it here.
    pub public_key: Option<Digest>,
}

impl MaterialSeen {
    /// Whether its bytes are there and enabled.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// Whether it is this version of ours. `public_key` is the digest of the copy's public key, if it has one. A mark can be edited
    /// and a public key cannot: where the cloud shows a public key, both have to agree.
    #[must_use]
    pub fn is_of(&self, version: Version, public_key: Option<Digest>) -> bool {
        let other_key = public_key.is_some() && self.public_key.is_some() && self.public_key != public_key;
        self.version == Some(version) && !other_key
    }
}

/// Whether a cloud has the bytes of an import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    /// The bytes are there and enabled.
    Present,
    /// They were imported, and the cloud still works on them.
    Arriving,
    /// They expired or were deleted; importing the same bytes restores them.
    Missing,
    /// The cloud could not take them, for the reason given; the same bytes may be imported again.
    Failed(String),
    /// They are there, and disabled.
    Disabled,
    /// They are there, cannot be used, and will be destroyed. Until then nothing can be imported in their place.
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
    /// Becomes the current one by a rotation or by being activated.
    Pending,
}

/// The result of one look at a destination: a sweep, and direct reads of placements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// When the look began, by the server's wall clock.
    pub at: Timestamp,
    /// Whether the sweep reached its end and could read every object. From an incomplete one no absence is concluded.
    pub complete: bool,
    /// Every object with our marks that the sweep found, by the cloud's id.
    pub ours: BTreeMap<ObjectId, ObjectSeen>,
    /// The results of the direct reads, by placement.
    pub placements: BTreeMap<PlacementId, PlacementSeen>,
}

/// What shows that a destination holds the right key, without anybody seeing the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The placement that was looked at.
    pub placement: PlacementId,
    /// The version that it should hold.
    pub version: Version,
    /// How strong the evidence is.
    pub strength: EvidenceStrength,
    /// Whether what the cloud shows agrees with the ledger; `false` is drift. A cloud that shows nothing about the bytes still
    /// agrees.
    pub fits: bool,
    /// Why there is no evidence, for people. `None`: there is some.
    pub reason: Option<String>,
    /// The cloud's id of the material that was found. `None`: nothing was found, or the cloud gives none.
    pub material: Option<String>,
    /// The HSM's key check value of the copy. `None`: the token gives none.
    pub check_value: Option<CheckValue>,
    /// SHA-256 of the public key that the copy was wrapped under. `None`: not recorded.
    pub wrapped_under: Option<Digest>,
    /// When it was taken, by the server's wall clock.
    pub at: Timestamp,
}

/// How strong evidence is. Ordered: a later variant is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceStrength {
    /// None: the object is missing, is not ours or holds something else, or the cloud shows nothing about its bytes.
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
