//! The state of one KMS key, with its material, its grants and what it knows of related keys, and the pure functions on it.
//!
//! Every operation works on keys, so this file knows none of the operations' files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    operation::Operation,
    refusal::{Code, Refusal},
};
use crate::{Timestamp, crypto::Secret};

/// How the ids of multi-Region keys begin, and no others. They sort behind those, which begin with hexadecimal digits.
pub(super) const ID_PREFIX: &str = "mrk-";

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where material comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    AwsKms,
    External,
}

impl Origin {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::AwsKms => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// The state that a client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    Enabled,
    Disabled,
    PendingImport,
    PendingDeletion,
    PendingReplicaDeletion,
}

impl KeyState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingImport => "PendingImport",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
        }
    }
}

/// The states in which a key encrypts, decrypts and rotates.
pub(super) const USABLE: &[KeyState] = &[KeyState::Enabled];

/// The states in which a key is switched on and off.
pub(super) const SWITCHABLE: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled];

/// Every state but the one before the end.
pub(super) const LIVING: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport];

/// What a material is to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    PendingRotation,
    Current,
    NonCurrent,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PendingRotation => "PENDING_ROTATION",
            Self::Current => "CURRENT",
            Self::NonCurrent => "NON_CURRENT",
        }
    }
}

/// One generation of a key's bytes.
#[derive(Clone)]
pub(super) struct Material {
    /// 64 hexadecimal digits, a function of the key's id and the bytes.
    pub(super) id: String,
    pub(super) description: Option<String>,
    /// Absent while it waits to be imported again: after it was deleted, and once [`Key::settle`] saw it expire.
    pub(super) bytes: Option<Arc<Secret>>,
    pub(super) expires: Option<Timestamp>,
    pub(super) role: Role,
    /// When a rotation made it current; never for the first one.
    pub(super) rotated: Option<Timestamp>,
}

impl Material {
    /// The bytes, unless they were deleted or have expired.
    pub(super) fn bytes(&self) -> Option<&Secret> {
        self.bytes.as_deref()
    }

    /// From now on it waits to be imported again.
    pub(super) fn lose(&mut self) {
        self.bytes = None;
        self.expires = None;
    }
}

/// A deletion that is scheduled.
#[derive(Clone, Copy)]
pub(super) struct Deletion {
    /// When the key will be gone; unknown as long as a primary key has replicas.
    pub(super) at: Option<Timestamp>,
    /// The waiting period in days.
    pub(super) days: u32,
}

/// A rotation on demand that has begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    pub(super) started: Timestamp,
    pub(super) due: Timestamp,
}

/// The last successful use of a key.
#[derive(Clone)]
pub(super) struct LastUse {
    pub(super) operation: Operation,
    pub(super) at: Timestamp,
    pub(super) event: String,
    pub(super) request: String,
}

/// A symmetric KMS key.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) origin: Origin,
    pub(super) description: String,
    pub(super) policy: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) disabled: bool,
    pub(super) deletion: Option<Deletion>,
    /// In the order in which they were associated.
    /// INVARIANT: at most one is current and at most one is pending; a pending one comes last and never alone.
    pub(super) materials: Vec<Material>,
    pub(super) rotation: Option<Rotation>,
    /// How many rotations on demand there were.
    pub(super) rotations: u32,
    pub(super) last_use: Option<LastUse>,
    /// Full names of the aliases that mean it.
    /// INVARIANT: exactly those whose target it is in the store of its region.
    pub(super) aliases: BTreeSet<String>,
    /// The grants by their ids.
    pub(super) grants: BTreeMap<String, Arc<Grant>>,
    /// Only multi-Region keys have it.
    pub(super) related: Option<Related>,
}

impl Key {
    /// A key without material and without marks.
    pub(super) fn new(id: String, origin: Origin, now: Timestamp) -> Self {
        Self {
            id,
            origin,
            description: String::new(),
            policy: String::new(),
            tags: BTreeMap::new(),
            created: now,
            disabled: false,
            deletion: None,
            materials: Vec::new(),
            rotation: None,
            rotations: 0,
            last_use: None,
            aliases: BTreeSet::new(),
            grants: BTreeMap::new(),
            related: None,
        }
    }

    pub(super) fn state(&self) -> KeyState {
        if let Some(deletion) = self.deletion {
            if deletion.at.is_some() { KeyState::PendingDeletion } else { KeyState::PendingReplicaDeletion }
        } else if !self.is_whole() {
            KeyState::PendingImport
        } else if self.disabled {
            KeyState::Disabled
        } else {
            KeyState::Enabled
        }
    }

    /// Whether all material that belongs to the key for good is there.
    // contract: aws.rotation.enabled
    pub(super) fn is_whole(&self) -> bool {
        self.current().is_some() && self.permanent().all(|material| material.bytes().is_some())
    }

    pub(super) fn current(&self) -> Option<&Material> {
        self.materials.iter().find(|material| material.role == Role::Current)
    }

    pub(super) fn pending(&self) -> Option<&Material> {
        self.materials.iter().find(|material| material.role == Role::PendingRotation)
    }

    pub(super) fn material(&self, id: &str) -> Option<&Material> {
        self.materials.iter().find(|material| material.id == id)
    }

    /// The material that belongs to the key for good: pending material can still be exchanged.
    pub(super) fn permanent(&self) -> impl Iterator<Item = &Material> {
        self.materials.iter().filter(|material| material.role != Role::PendingRotation)
    }

    /// Makes the pending material current.
    pub(super) fn rotate(&mut self, now: Timestamp) {
        self.rotation = None;
        if self.pending().is_none() {
            return;
        }
        for material in &mut self.materials {
            match material.role {
                Role::Current => material.role = Role::NonCurrent,
                Role::PendingRotation => {
                    material.role = Role::Current;
                    material.rotated = Some(now);
                }
                Role::NonCurrent => {}
            }
        }
    }

    /// Refuses what is not for a key in its state.
    pub(super) fn allow(&self, states: &[KeyState]) -> Result<(), Refusal> {
        match self.state() {
            state if states.contains(&state) => Ok(()),
            KeyState::Enabled => Err(self.in_wrong_state("enabled")),
            KeyState::Disabled => Err(Code::Disabled.because(format!("`{}` is disabled", self.id))),
            KeyState::PendingImport => Err(self.in_wrong_state("pending import")),
            KeyState::PendingDeletion => Err(self.in_wrong_state("pending deletion")),
            KeyState::PendingReplicaDeletion => Err(self.in_wrong_state("pending replica deletion")),
        }
    }

    /// Whether it is a replica, seen from its own region.
    pub(super) fn is_replica(&self, region: &str) -> bool {
        self.related.as_ref().is_some_and(|related| related.primary != region)
    }

    /// The state of a material, as AWS names it.
    pub(super) fn material_state(&self, material: &Material) -> &'static str {
        let awaiting = self.related.as_ref().is_some_and(|related| related.awaiting);
        if awaiting && material.role == Role::PendingRotation {
            return "PENDING_MULTI_REGION_IMPORT_AND_ROTATION";
        }
        material.role.name()
    }

    /// Refuses new material for a multi-Region key, under the reading that its imported material does not rotate.
    pub(super) fn not_in_many_regions(&self) -> Refusal {
        Code::UnsupportedOperation.because(format!("`{}` is a multi-Region key of imported material, which does not rotate", self.id))
    }

    pub(super) fn in_wrong_state(&self, state: &str) -> Refusal {
        Code::InvalidState.because(format!("`{}` is {state}", self.id))
    }

    /// When something will happen to it without a request.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        let expiries = self.materials.iter().filter(|material| material.bytes.is_some()).filter_map(|m| m.expires);
        let deletion = self.deletion.and_then(|deletion| deletion.at);
        expiries.chain(deletion).chain(self.rotation.map(|rotation| rotation.due)).min()
    }

    /// Makes the changes that are due: a rotation completes, material expires.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if let Some(rotation) = self.rotation.filter(|rotation| rotation.due <= now) {
            self.rotate(rotation.due);
        }
        for material in self.materials.iter_mut().filter(|m| m.expires.is_some_and(|expires| expires <= now)) {
            material.bytes = None;
        }
    }
}

/// A grant on a key. Its id is the name under which [`Key::grants`] holds it.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) created: Timestamp,
    pub(super) terms: Terms,
}

/// What `CreateGrant` was asked for: a repeat with a name and the same terms means the same grant.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) name: Option<String>,
    pub(super) grantee: Principal,
    pub(super) retiring: Option<Principal>,
    pub(super) operations: BTreeSet<String>,
    pub(super) constraints: Constraints,
}

/// Whom a grant is for, or who may retire it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// The ARN of an account, user or role.
    Identity(String),
    /// A service's name, such as `rds.amazonaws.com`.
    Service(String),
}

/// What a request must fulfil for a grant to permit it; kept, and never enforced.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    pub(super) equals: Option<BTreeMap<String, String>>,
    pub(super) subset: Option<BTreeMap<String, String>>,
    pub(super) source: Option<String>,
}

/// What a key knows of its related keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Related {
    /// The region of the primary key.
    pub(super) primary: String,
    /// The regions of the replicas.
    pub(super) replicas: BTreeSet<String>,
    /// Whether some replica lacks the material that is pending.
    pub(super) awaiting: bool,
}

impl Related {
    /// A primary key without replicas.
    pub(super) fn primary(region: &str) -> Self {
        Self { primary: region.to_owned(), replicas: BTreeSet::new(), awaiting: false }
    }
}

/// The name of an expiration model.
pub(super) fn expiration_model(expires: Option<Timestamp>) -> &'static str {
    if expires.is_some() { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }
}
