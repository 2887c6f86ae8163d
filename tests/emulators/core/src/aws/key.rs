//! KMS keys, their material, and the account and region that holds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use super::{
    Config,
    grant::Grant,
    multi_region::Related,
    operation::Operation,
    refusal::{Code, Refusal},
};
use crate::{Timestamp, crypto::Secret};

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
    /// Absent while it waits to be imported again: after it was deleted, and once [`Store::settle`] saw it expire.
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
    /// INVARIANT: exactly those whose target in [`Store`] it is.
    pub(super) aliases: BTreeSet<String>,
    /// By id.
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

    pub(super) fn in_wrong_state(&self, state: &str) -> Refusal {
        Code::InvalidState.because(format!("`{}` is {state}", self.id))
    }

    /// When something will happen to it without a request.
    fn next_event(&self) -> Option<Timestamp> {
        let expiries = self.materials.iter().filter(|material| material.bytes.is_some()).filter_map(|m| m.expires);
        let deletion = self.deletion.and_then(|deletion| deletion.at);
        expiries.chain(deletion).chain(self.rotation.map(|rotation| rotation.due)).min()
    }

    /// Lets happen what is due.
    fn settle(&mut self, now: Timestamp) {
        if let Some(rotation) = self.rotation.filter(|rotation| rotation.due <= now) {
            self.rotate(rotation.due);
        }
        for material in self.materials.iter_mut().filter(|m| m.expires.is_some_and(|expires| expires <= now)) {
            material.bytes = None;
        }
    }
}

/// A name for a key.
#[derive(Clone)]
pub(super) struct Alias {
    pub(super) target: String,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

/// What an identifier in a request may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// A key id or a key ARN.
    Key,
    /// Those, or an alias name or alias ARN.
    KeyOrAlias,
}

/// The keys and aliases of one region of an account. Cloning it is cheap enough to look back in time.
#[derive(Clone, Default)]
pub(super) struct Store {
    keys: BTreeMap<String, Arc<Key>>,
    /// By full name, `alias/…`.
    aliases: BTreeMap<String, Alias>,
    /// Numbers of the import tokens that served; only kept where a token serves once.
    pub(super) used_tokens: BTreeSet<u64>,
    /// When to look at which key again. A key may be in it at moments that have lost their meaning.
    events: BTreeSet<(Timestamp, String)>,
}

impl Store {
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.values().map(Arc::as_ref)
    }

    pub(super) fn keys_after(&self, after: Option<&str>) -> impl Iterator<Item = &Key> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range::<str, _>((from, Bound::Unbounded)).map(|(_, key)| key.as_ref())
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.keys.get(id).map(Arc::as_ref)
    }

    /// When something will happen in it without a request, or may.
    pub(super) fn next_event(&self) -> Option<Timestamp> {
        self.events.first().map(|(at, _)| *at)
    }

    pub(super) fn insert(&mut self, key: Key) {
        self.keys.insert(key.id.clone(), Arc::new(key));
    }

    pub(super) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(name)
    }

    pub(super) fn aliases_after(&self, after: Option<&str>) -> impl Iterator<Item = (&String, &Alias)> {
        self.aliases.range::<str, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// Gives a name to a key; another key that had it loses it.
    pub(super) fn bind(&mut self, name: &str, alias: Alias) {
        self.unbind(name);
        self.change(&alias.target, |key| key.aliases.insert(name.to_owned()));
        self.aliases.insert(name.to_owned(), alias);
    }

    pub(super) fn unbind(&mut self, name: &str) -> Option<Alias> {
        let alias = self.aliases.remove(name)?;
        self.change(&alias.target, |key| key.aliases.remove(name));
        Some(alias)
    }

    /// Changes a key, and remembers when to look at it again.
    pub(super) fn change<T>(&mut self, id: &str, change: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let key = Arc::make_mut(self.keys.get_mut(id)?);
        let changed = change(key);
        self.events.extend(key.next_event().map(|at| (at, id.to_owned())));
        Some(changed)
    }

    /// Lets happen what is due: material expires, rotations complete, keys are deleted with their aliases.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while self.events.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.events.pop_first() else {
                return;
            };
            if self.get(&id).and_then(|key| key.deletion?.at).is_some_and(|at| at <= now) {
                for name in self.keys.remove(&id).iter().flat_map(|key| &key.aliases) {
                    self.aliases.remove(name);
                }
            } else {
                self.change(&id, |key| key.settle(now));
            }
        }
    }

    /// Finds the key that an identifier means.
    pub(super) fn find(&self, config: &Config, identifier: &str, naming: Naming) -> Result<&Key, Refusal> {
        let name = match identifier.strip_prefix("arn:") {
            None => identifier,
            Some(rest) => local_name(config, identifier, rest)?,
        };
        let id = if name.starts_with("alias/") {
            if naming == Naming::Key {
                let code = if name == identifier { Code::NotFound } else { Code::InvalidArn };
                return Err(code.because(format!("`{identifier}` is an alias, and this operation takes only keys")));
            }
            let alias = self.aliases.get(name);
            let missing = || Code::NotFound.because(format!("alias `{}` is not found", config.arn(name)));
            alias.map(|alias| alias.target.as_str()).ok_or_else(missing)?
        } else {
            // `key/…` stands in ARNs only.
            if identifier.starts_with("arn:") { name.strip_prefix("key/").unwrap_or(name) } else { name }
        };
        self.get(id).ok_or_else(|| Code::NotFound.because(format!("key `{}` does not exist", config.key_arn(id))))
    }
}

/// The last part of an ARN of this account and region.
fn local_name<'a>(config: &Config, arn: &str, rest: &'a str) -> Result<&'a str, Refusal> {
    let malformed = || Code::InvalidArn.because(format!("`{arn}` is not the ARN of a key or an alias"));
    let mut parts = rest.splitn(5, ':');
    let (Some("aws"), Some("kms"), Some(region), Some(account), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if !name.starts_with("key/") && !name.starts_with("alias/") {
        return Err(malformed());
    }
    if region != config.region {
        return Err(Code::NotFound.because(format!("`{arn}` is in another region than `{}`", config.region)));
    }
    if account != config.account {
        return Err(Code::AccessDenied.because(format!("no policy allows access to `{arn}`")));
    }
    Ok(name)
}
