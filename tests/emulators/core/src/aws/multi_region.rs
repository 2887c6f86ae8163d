//! Multi-Region keys: related keys with one id in several regions, and what they share.
//!
//! A primary and its replicas are ordinary keys of their regions, and all operations except the two here work on the key of one region.
//! After each change [`Account::synchronize`] copies from the primary to its replicas what related keys share: the list of materials with
//! their roles, but no bytes, which the owner imports in every region (KMS Developer Guide, "Multi-Region keys in AWS KMS").
//! Rules: the service model's `ReplicateKey`, `UpdatePrimaryRegion`, `ImportKeyMaterial`, `ListKeyRotations`, `ScheduleKeyDeletion`.
//!
//! The transient states `Creating` and `Updating` are not modelled: AWS does not document how far replication lags, and the consistency
//! window stands for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint},
    key::{DAY, ID_PREFIX, Key, LIVING, Material, Related, Rotation, USABLE},
    marks,
    metadata::metadata,
    operation::Operation,
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};
use crate::Timestamp;

/// The regions of an account. Cloning is cheap, because earlier states are kept.
#[derive(Clone, Default)]
pub struct Account {
    regions: BTreeMap<String, Store>,
}

impl Account {
    /// The regions to which requests were addressed, by name.
    pub(super) fn regions(&self) -> impl Iterator<Item = (&String, &Store)> {
        self.regions.iter()
    }

    pub(super) fn region(&self, name: &str) -> Option<&Store> {
        self.regions.get(name)
    }

    /// Makes the region if it is new.
    pub(super) fn region_mut(&mut self, name: &str) -> &mut Store {
        self.regions.entry(name.to_owned()).or_default()
    }

    /// Makes the changes that are due, in the order of their times: a change of one key can change its related keys.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while let Some(at) = self.regions.values().filter_map(Store::next_event).min().filter(|at| *at <= now) {
            for store in self.regions.values_mut() {
                store.settle(at);
            }
            self.synchronize(at);
        }
    }

    /// Copies what related keys share from each primary to its replicas.
    pub(super) fn synchronize(&mut self, now: Timestamp) {
        let multi_region = |(region, store): (&String, &Store)| {
            let keys = store.keys_after(Some(ID_PREFIX)).filter(|key| !key.is_replica(region));
            keys.map(|key| (key.id.clone(), region.clone())).collect::<Vec<_>>()
        };
        let primaries: Vec<(String, String)> = self.regions.iter().flat_map(multi_region).collect();
        for (id, primary) in primaries {
            self.synchronize_key(now, &id, &primary);
        }
    }

    fn synchronize_key(&mut self, now: Timestamp, id: &str, primary: &str) {
        let Some(key) = self.regions.get(primary).and_then(|store| store.get(id)) else {
            return;
        };
        let Some(known) = &key.related else {
            return;
        };
        let replica = |region: &String| self.regions.get(region).and_then(|store| store.get(id));
        let replicas: BTreeSet<String> = known.replicas.iter().filter(|region| replica(region).is_some()).cloned().collect();
        let lacks = |key: &Key, id: &str| key.material(id).and_then(Material::bytes).is_none();
        let awaiting = key.pending().is_some_and(|pending| replicas.iter().filter_map(replica).any(|key| lacks(key, &pending.id)));
        let related = Related { primary: primary.to_owned(), replicas, awaiting };
        let shared = Shared::of(key, related);

        if key.related.as_ref() != Some(&shared.related) || key.deletion.is_some_and(|deletion| deletion.at.is_none()) {
            self.region_mut(primary).change(id, |key| {
                key.related = Some(shared.related.clone());
                // "The waiting period begins when the last of its replica keys is deleted."
                if let Some(deletion) = &mut key.deletion
                    && shared.related.replicas.is_empty()
                {
                    deletion.at = deletion.at.or(Some(now + DAY * deletion.days));
                }
            });
        }
        for region in &shared.related.replicas {
            let store = self.region_mut(region);
            if store.get(id).is_some_and(|key| !shared.is_in(key)) {
                store.change(id, |key| shared.clone().put(key));
            }
        }
    }
}

/// What a replica takes over from its primary.
#[derive(Clone)]
struct Shared {
    related: Related,
    /// The primary key's materials without their bytes, which the owner imports in every region.
    materials: Vec<Material>,
    rotation: Option<Rotation>,
    rotations: u32,
}

impl Shared {
    fn of(primary: &Key, related: Related) -> Self {
        let bare = |material: &Material| Material { description: None, bytes: None, expires: None, ..material.clone() };
        let materials = primary.materials.iter().map(bare).collect();
        Self { related, materials, rotation: primary.rotation, rotations: primary.rotations }
    }

    fn is_in(&self, key: &Key) -> bool {
        let same =
            |(ours, theirs): (&Material, &Material)| (&ours.id, ours.role, ours.rotated) == (&theirs.id, theirs.role, theirs.rotated);
        key.related.as_ref() == Some(&self.related)
            && key.materials.len() == self.materials.len()
            && self.materials.iter().zip(&key.materials).all(same)
            && key.rotation == self.rotation
            && key.rotations == self.rotations
    }

    fn put(self, key: &mut Key) {
        let own = std::mem::take(&mut key.materials);
        let with_bytes = |mut material: Material| {
            if let Some(own) = own.iter().find(|own| own.id == material.id) {
                material = Material { role: material.role, rotated: material.rotated, ..own.clone() };
            }
            material
        };
        key.materials = self.materials.into_iter().map(with_bytes).collect();
        key.related = Some(self.related);
        key.rotation = self.rotation;
        key.rotations = self.rotations;
    }
}

// contract: aws.rotation.multi_region
pub(super) fn replicate(scope: &Scope<'_>, account: &mut Account, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let region = region(fields, "ReplicaRegion")?;
    let description = fields.text("Description", 0..=8192)?.unwrap_or_default().to_owned();
    let policy = marks::policy(fields)?.map_or_else(|| marks::default_policy(scope.config), str::to_owned);
    let tags = marks::tags(fields)?.unwrap_or_default();
    let (primary, related) = primary(scope, account, fields)?;
    if related.primary == region {
        return Err(Code::Validation.because(format!("`{}` is in `{region}` itself", primary.id)));
    }
    if account.region(region).is_some_and(|store| store.get(&primary.id).is_some()) {
        return Err(Code::AlreadyExists.because(format!("`{region}` has a replica of `{}`", primary.id)));
    }
    let most = scope.config.most_keys;
    if account.region(region).is_some_and(|store| store.keys().len() >= most) {
        return Err(Code::LimitExceeded.because(format!("a region holds at most {most} keys")));
    }

    let mut related = related.clone();
    related.replicas.insert(region.to_owned());
    let mut replica = Key::new(primary.id.clone(), primary.origin, scope.now);
    (replica.description, replica.policy, replica.tags) = (description, policy, tags);
    Shared::of(primary, related.clone()).put(&mut replica);
    let id = replica.id.clone();
    account.region_mut(&scope.config.region).change(&id, |key| key.related = Some(related));
    let answer = json!({
        "ReplicaKeyMetadata": metadata(&scope.config.in_region(region), &replica),
        "ReplicaPolicy": replica.policy,
        "ReplicaTags": replica.tags.iter().map(|(name, value)| json!({ "TagKey": name, "TagValue": value })).collect::<Vec<_>>(),
    });
    account.region_mut(region).insert(replica);
    Ok(answer)
}

pub(super) fn update_primary(scope: &Scope<'_>, account: &mut Account, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let region = region(fields, "PrimaryRegion")?;
    let (primary, related) = primary(scope, account, fields)?;
    let id = primary.id.clone();
    let replica = account.region(region).and_then(|store| store.get(&id)).filter(|_| related.replicas.contains(region));
    replica.ok_or_else(|| Code::NotFound.because(format!("`{region}` has no replica of `{id}`")))?.allow(LIVING)?;

    let mut related = related.clone();
    related.replicas.remove(region);
    related.replicas.insert(std::mem::replace(&mut related.primary, region.to_owned()));
    for region in [region, &scope.config.region] {
        account.region_mut(region).change(&id, |key| key.related = Some(related.clone()));
    }
    Ok(Value::Null)
}

/// The quotas that a request draws in another region: replicating draws those of two creations, one of them a dry run; moving the primary
/// draws that of the same request (KMS Developer Guide, "Request quotas").
pub(super) fn counts_elsewhere(operation: Operation, body: &[u8]) -> Vec<(String, Operation)> {
    let (member, counted): (_, &[Operation]) = match operation {
        Operation::ReplicateKey => ("ReplicaRegion", &[Operation::CreateKey, Operation::CreateKey]),
        Operation::UpdatePrimaryRegion => ("PrimaryRegion", &[Operation::UpdatePrimaryRegion]),
        _ => return Vec::new(),
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let region = body[member].as_str().filter(|name| is_region(name));
    region.into_iter().flat_map(|region| counted.iter().map(|counted| (region.to_owned(), *counted))).collect()
}

/// The primary key that a request names. The request has to be addressed to its region.
fn primary<'s>(scope: &Scope<'_>, account: &'s Account, fields: &Fields<'_>) -> Result<(&'s Key, &'s Related), Refusal> {
    let identifier = fields.required_text("KeyId", 1..=2048)?;
    let unknown = || Code::NotFound.because(format!("key `{identifier}` does not exist"));
    let key = account.region(&scope.config.region).ok_or_else(unknown)?.find(scope.config, identifier, Naming::Key)?;
    let primary = key.related.as_ref().filter(|related| related.primary == scope.config.region);
    let message = format!("`{}` is not a multi-Region primary key", key.id);
    let related = primary.ok_or_else(|| Code::UnsupportedOperation.because(message))?;
    key.allow(USABLE)?;
    Ok((key, related))
}

/// Whether a name is that of a region, by the service model: `^([a-z]+-){2,3}\d+$`.
pub(super) fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    let all = |part: &str, good: fn(&u8) -> bool| !part.is_empty() && part.as_bytes().iter().all(good);
    name.len() <= 32
        && (2..=3).contains(&words.len())
        && words.iter().all(|word| all(word, u8::is_ascii_lowercase))
        && all(number, u8::is_ascii_digit)
}

fn region<'a>(fields: &Fields<'a>, name: &str) -> Result<&'a str, Refusal> {
    let region = fields.required_text(name, 1..=32)?;
    if !is_region(region) {
        return Err(constraint(name, region, "Member must satisfy regular expression pattern: ^([a-z]+-){2,3}\\d+$"));
    }
    Ok(region)
}
