//! Drift: what was recorded and what is seen differ, and no change set of ours made the difference. Reported, never repaired.

use std::fmt;

use keyplane_model::{
    CopyRecord, Creation, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementRecord, PlacementSeen, Presence,
    PublicKey, Target, Version,
};
use serde::Serialize;

/// What differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "drift")]
pub enum Drift {
    /// The ledger knows the holder of the claim; nobody holds it.
    ClaimGone {
        /// What held it.
        recorded: ObjectId,
    },
    /// Another object of ours holds the claim.
    OtherObject {
        /// What the ledger knows.
        recorded: ObjectId,
        /// What holds it.
        found: ObjectId,
    },
    /// The object is ours, and is not what we made: kind, access policy or marks were changed.
    Misfit {
        /// Which object.
        object: ObjectId,
    },
    /// The users' name pointed at the object, and is free.
    NameGone,
    /// The object is disabled.
    Disabled {
        /// Which object.
        object: ObjectId,
    },
    /// The object is being deleted.
    BeingDeleted {
        /// Which object.
        object: ObjectId,
    },
    /// The object is in a state that nothing may be done on the strength of.
    UnknownState {
        /// Which object.
        object: ObjectId,
    },
    /// The bytes that were imported are not there.
    MaterialMissing {
        /// Of which version.
        version: Version,
    },
    /// The object protects new data by other bytes than ours.
    OtherMaterial {
        /// The recorded id of the material; `None`: there was none.
        recorded: Option<String>,
        /// What is there.
        found: Option<String>,
    },
    /// An object of ours that nothing needs holds material, or does not show that it holds none. Never removed by itself.
    SurplusWithMaterial {
        /// Which object.
        object: ObjectId,
    },
}

/// What differs at a placement. `known` is its record, `version` the one that it should hold, with its copy's record. Where objects
/// are not claimed, one that was made has its name for good.
///
/// An object of ours without any record fits as long as it holds nothing: the ledger is older than the world then, and ids are
/// functions of what they are for.
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

/// What is wrong with the holder of the claim itself.
fn of_object(object: &ObjectSeen, target: &Target) -> Option<Drift> {
    let which = object.object.clone();
    if !object.fits(target) {
        return Some(Drift::Misfit { object: which });
    }
    match object.state {
        ObjectState::AwaitingMaterial | ObjectState::Usable => None,
        ObjectState::Disabled => Some(Drift::Disabled { object: which }),
        ObjectState::DeletionScheduled(_) => Some(Drift::BeingDeleted { object: which }),
        ObjectState::Other => Some(Drift::UnknownState { object: which }),
    }
}

/// What is wrong with what the holder of the claim holds.
///
/// Material of a copy whose import was not confirmed is no drift, unless it is something else, or was taken out of use: importing
/// again is harmless (clouds refuse other bytes), and makes the ledger know. Material where no copy was ever made cannot be ours.
///
/// Until users are pointed at it (`published`), what was imported may wait to protect new data.
fn of_material(object: &ObjectSeen, version: Version, copy: Option<&CopyRecord>, published: bool) -> Option<Drift> {
    let waits = |material: &&MaterialSeen| {
        !published && material.state == MaterialState::Pending && copy.is_some_and(|copy| copy.material == material.id)
    };
    // The lowest id, should a cloud ever show two: the order of a list decides nothing.
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
                // Something makes it usable, and it is not ours.
                None if object.state == ObjectState::Usable => other(None),
                None => None,
            }
        }
        Some(copy) => match current {
            None => Some(Drift::MaterialMissing { version }),
            Some(material) if is_marked_otherwise(material) => other(copy.material.as_ref()),
            Some(material) if is_other_key(material, copy) => other(copy.material.as_ref()),
            // The cloud's id decides where it gave one at the import. A second import of the version, beside the first, is a surplus.
            Some(material) if copy.material.is_some() && material.id != copy.material && !is_double(object, version, copy) => {
                other(copy.material.as_ref())
            }
            Some(_) => None,
        },
    }
}

/// Whether the cloud shows another public key than the copy's.
fn is_other_key(material: &MaterialSeen, copy: &CopyRecord) -> bool {
    let ours = copy.public_key.as_ref().map(PublicKey::digest);
    ours.is_some() && material.public_key.is_some() && material.public_key != ours
}

/// Whether the import that the ledger knows is still there, beside another one of its version.
fn is_double(object: &ObjectSeen, version: Version, copy: &CopyRecord) -> bool {
    object.materials.iter().any(|material| material.id == copy.material && material.version == Some(version))
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimGone { recorded } => write!(f, "`{recorded}` lost the placement's claim"),
            Self::OtherObject { recorded, found } => write!(f, "`{found}` has the placement's claim, which was `{recorded}`'s"),
            Self::Misfit { object } => write!(f, "kind, access policy or marks of `{object}` are not what we gave it"),
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
