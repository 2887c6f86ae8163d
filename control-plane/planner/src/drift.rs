//! Drift: the clouds show something else than the ledger records, and no change set of ours made the difference. Drift is reported,
//! never repaired.

use std::fmt;

use keyplane_model::{
    CopyRecord, Creation, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementRecord, PlacementSeen, Presence,
    PublicKey, Target, Version,
};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "drift")]
pub enum Drift {
    /// The ledger records an object with the claim, and no object has the claim.
    ClaimGone {
        recorded: ObjectId,
    },
    /// Another object has the claim.
    OtherObject {
        recorded: ObjectId,
        /// The object that has the claim now.
        found: ObjectId,
    },
    /// A conflict: the object has the claim, but its algorithm, use, access policy or marks were changed.
    Altered {
        object: ObjectId,
    },
    /// The users' name pointed at the object and is gone.
    NameGone,
    Disabled {
        object: ObjectId,
    },
    /// The object is scheduled for deletion, or its material for destruction.
    BeingDeleted {
        object: ObjectId,
    },
    UnknownState {
        object: ObjectId,
    },
    /// The object holds no usable import.
    MaterialMissing {
        version: Version,
    },
    /// The object protects new data with bytes that are not the copy's.
    OtherMaterial {
        /// The recorded cloud id of the material. `None`: none is recorded.
        recorded: Option<String>,
        /// The cloud id of the material that was found. `None`: it has none.
        found: Option<String>,
    },
    /// A surplus object of ours holds material, or does not show that it is empty. It is never removed.
    SurplusWithMaterial {
        object: ObjectId,
    },
}

/// The differences at one placement.
///
/// `known` is the placement's record, `version` the version that it should hold, and `copy` the record of that copy. Where the cloud has no
/// claims, a created object keeps its name for good.
///
/// An empty object of ours that the ledger does not know is no drift. It means that the ledger was restored from an older state. Since ids
/// are functions, the object fits the new plan.
pub(crate) fn at_placement(
    known: Option<&PlacementRecord>,
    creation: Creation,
    version: Version,
    copy: Option<&CopyRecord>,
    seen: &PlacementSeen,
    target: &Target,
) -> Vec<Drift> {
    let mut drifts = Vec::new();
    let held = known.filter(|known| known.claimed || creation != Creation::Claimed).and_then(|known| known.object.clone());
    match (held, &seen.claimed) {
        (Some(recorded), None) => drifts.push(Drift::ClaimGone { recorded }),
        (Some(recorded), Some(found)) if recorded != found.object => {
            drifts.push(Drift::OtherObject { recorded, found: found.object.clone() });
        }
        _ => {}
    }
    if let Some(object) = &seen.claimed {
        let published = known.is_some_and(|known| known.published);
        let whole = of_object(object, target);
        drifts.extend(of_material(object, version, copy, published).filter(|drift| whole.as_ref() != Some(drift)));
        drifts.extend(whole);
    }
    if known.is_some_and(|known| known.published) && seen.published.is_none() {
        drifts.push(Drift::NameGone);
    }
    drifts
}

/// The drift of the object that has the claim: its marks, algorithm, use, access policy and state.
fn of_object(object: &ObjectSeen, target: &Target) -> Option<Drift> {
    let which = object.object.clone();
    if !object.fits(target) {
        return Some(Drift::Altered { object: which });
    }
    match object.state {
        ObjectState::AwaitingMaterial | ObjectState::Usable => None,
        ObjectState::Disabled => Some(Drift::Disabled { object: which }),
        ObjectState::DeletionScheduled(_) => Some(Drift::BeingDeleted { object: which }),
        ObjectState::Other => Some(Drift::UnknownState { object: which }),
    }
}

/// The drift of the material in that object.
///
/// If the copy's import was not confirmed, its material is drift only if it is other material or was disabled: importing again is harmless
/// (clouds refuse other bytes) and completes the ledger. If no copy was ever made, any material is drift.
///
/// Before activation (`published`), the import may still be pending.
fn of_material(object: &ObjectSeen, version: Version, copy: Option<&CopyRecord>, published: bool) -> Option<Drift> {
    let waits = |material: &&MaterialSeen| {
        !published && material.state == MaterialState::Pending && copy.is_some_and(|copy| copy.material == material.id)
    };
    // If a cloud ever shows two, the lowest id counts, so that the order of a list decides nothing.
    let current = object
        .materials
        .iter()
        .filter(|material| material.is_present() && (material.state == MaterialState::Current || waits(material)))
        .min_by_key(|material| &material.id);
    let other = |recorded: Option<&String>| {
        let found = current.or(object.materials.iter().min_by_key(|material| &material.id)).and_then(|material| material.id.clone());
        Some(Drift::OtherMaterial { recorded: recorded.cloned(), found })
    };
    let is_marked_otherwise = |material: &MaterialSeen| material.version.is_some_and(|marked| marked != version);
    match copy {
        None if object.is_empty() => None,
        None => other(None),
        Some(copy) if copy.imported.is_none() => {
            let public_key = copy.public_key.as_ref().map(PublicKey::digest);
            if object.materials.iter().any(|material| !material.is_of(version, public_key)) {
                return other(None);
            }
            match object.of_version(version, public_key).map(|material| &material.presence) {
                Some(Presence::Disabled) => Some(Drift::Disabled { object: object.object.clone() }),
                Some(Presence::Leaving) => Some(Drift::BeingDeleted { object: object.object.clone() }),
                Some(Presence::Present | Presence::Arriving | Presence::Missing | Presence::Failed(_)) => None,
                // The object is usable without our material, so it holds other material.
                None if object.state == ObjectState::Usable => other(None),
                None => None,
            }
        }
        Some(copy) => match current {
            None => Some(Drift::MaterialMissing { version }),
            Some(material) if is_marked_otherwise(material) => other(copy.material.as_ref()),
            Some(material) if is_other_key(material, copy) => other(copy.material.as_ref()),
            // If the cloud gave an id at the import, the id decides. A second import of the version beside the first is surplus,
            // not drift.
            Some(material) if copy.material.is_some() && material.id != copy.material && !is_double(object, version, copy) => {
                other(copy.material.as_ref())
            }
            Some(_) => None,
        },
    }
}

/// Whether the cloud shows a public key that differs from the copy's.
fn is_other_key(material: &MaterialSeen, copy: &CopyRecord) -> bool {
    let ours = copy.public_key.as_ref().map(PublicKey::digest);
    ours.is_some() && material.public_key.is_some() && material.public_key != ours
}

/// Whether the recorded import is still there beside another import of its version.
fn is_double(object: &ObjectSeen, version: Version, copy: &CopyRecord) -> bool {
    object.materials.iter().any(|material| material.id == copy.material && material.version == Some(version))
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimGone { recorded } => write!(f, "`{recorded}` lost the placement's claim"),
            Self::OtherObject { recorded, found } => write!(f, "`{found}` has the placement's claim, which was `{recorded}`'s"),
            Self::Altered { object } => write!(f, "kind, access policy or marks of `{object}` are not what we gave it"),
            Self::NameGone => f.write_str("the users' name is gone"),
            Self::Disabled { object } => write!(f, "`{object}` is disabled"),
            Self::BeingDeleted { object } => write!(f, "`{object}` is being deleted"),
            Self::UnknownState { object } => write!(f, "`{object}` is in a state that is not known"),
            Self::MaterialMissing { version } => write!(f, "the bytes of version {version} are not there"),
            Self::OtherMaterial { recorded: Some(recorded), found: Some(found) } => {
                write!(f, "it holds material `{found}`, `{recorded}` was imported")
            }
            Self::OtherMaterial { .. } => f.write_str("it holds material that we did not import"),
            Self::SurplusWithMaterial { object } => {
                write!(f, "`{object}` is an object of ours that nothing needs, and may hold material")
            }
        }
    }
}
