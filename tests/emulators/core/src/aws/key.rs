//! The state of one KMS key, with its material, its grants and its related keys, and pure functions on it.
//!
//! Every operation's file uses this one, so it uses none of theirs.

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

/// The prefix of the ids of multi-Region keys. It sorts after hexadecimal digits, with which other ids begin.
pub(super) const ID_PREFIX: &str = "mrk-";

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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

/// The states in which a key can be enabled and disabled.
pub(super) const SWITCHABLE: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled];

/// Every state but `PendingDeletion`.
pub(super) const LIVING: &[KeyState] = &[KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport];

/// The role of a material in its key.
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

/// One material of a key.
#[derive(Clone)]
pub(super) struct Material {
    /// 64 hexadecimal digits, computed from the key's id and the bytes.
    pub(super) id: String,
    pub(super) description: Option<String>,
    /// `None` while it waits to be imported again: after it was deleted, and once [`Key::settle`] saw it expire.
    pub(super) bytes: Option<Arc<Secret>>,
    pub(super) expires: Option<Timestamp>,
    pub(super) role: Role,
    /// When a rotation made it current; `None` for the first one.
    pub(super) rotated: Option<Timestamp>,
}

impl Material {
    /// `None`: deleted or expired.
    pub(super) fn bytes(&self) -> Option<&Secret> {
        self.bytes.as_deref()
    }

    /// Deletes the bytes. The material then waits to be imported again.
    pub(super) fn lose(&mut self) {
        self.bytes = None;
        self.expires = None;
    }
}

#[derive(Clone, Copy)]
pub(super) struct Deletion {
    /// When the key will be deleted; `None` as long as a primary key has replicas.
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

/// The last successful cryptographic use.
#[derive(Clone)]
pub(super) struct LastUse {
    pub(super) operation: Operation,
    pub(super) at: Timestamp,
    pub(super) event: String,
    pub(super) request: String,
}

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
    /// In the order in which they were imported.
    /// INVARIANT: at most one is current and at most one is pending; a pending one comes last and never alone.
    pub(super) materials: Vec<Material>,
    pub(super) rotation: Option<Rotation>,
    /// How many rotations on demand there were.
    pub(super) rotations: u32,
    pub(super) last_use: Option<LastUse>,
    /// Full names of the aliases of the key.
    /// INVARIANT: exactly those whose target it is in the store of its region.
    pub(super) aliases: BTreeSet<String>,
    /// By grant id.
    pub(super) grants: BTreeMap<String, Arc<Grant>>,
    /// `None`: not a multi-Region key.
    pub(super) related: Option<Related>,
}

impl Key {
    /// A key without material, policy and tags.
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

    /// Whether the key has all its permanent material.
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

    /// The material that is bound to the key. Pending material can still be replaced.
    pub(super) fn permanent(&self) -> impl Iterator<Item = &Material> {
        self.materials.iter().filter(|material| material.role != Role::PendingRotation)
    }

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

    /// Refuses an operation that the key's state does not allow.
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

    /// Whether the key is a replica in this region.
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

    /// When the key will change without a request.
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

/// A grant. [`Key::grants`] has its id.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) created: Timestamp,
    pub(super) terms: Terms,
}

/// The parameters of `CreateGrant`. A repeated request with the same name and terms returns the same grant.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) name: Option<String>,
    pub(super) grantee: Principal,
    pub(super) retiring: Option<Principal>,
    pub(super) operations: BTreeSet<String>,
    pub(super) constraints: Constraints,
}

/// The grantee of a grant, or who may retire it.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// The ARN of an account, user or role.
    Identity(String),
    /// A service's name, such as `rds.amazonaws.com`.
    Service(String),
}

/// The grant's constraints, which are stored and never enforced.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    pub(super) equals: Option<BTreeMap<String, String>>,
    pub(super) subset: Option<BTreeMap<String, String>>,
    pub(super) source: Option<String>,
}

/// What a key knows of its related keys.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Related {
    pub(super) primary: String,
    pub(super) replicas: BTreeSet<String>,
    /// Whether a replica lacks the pending material.
    pub(super) awaiting: bool,
}

impl Related {
    /// A primary key without replicas.
    pub(super) fn primary(region: &str) -> Self {
        Self { primary: region.to_owned(), replicas: BTreeSet::new(), awaiting: false }
    }
}

/// The name of the expiration model.
pub(super) fn expiration_model(expires: Option<Timestamp>) -> &'static str {
    if expires.is_some() { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }
}
