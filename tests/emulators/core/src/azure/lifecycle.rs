//! Reading, changing, deleting and recovering keys.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    create::{self, refuse_imported},
    fields::Fields,
    key::{Key, RotationPolicy, Store, Use, days_after, whole_seconds},
    operation::Target,
    page::Page,
    readings::VersionsOrder,
    refusal::{Code, Inner, Refusal},
    scope::Scope,
};

/// The most versions of a key in a backup (Key Vault service limits).
const MOST_BACKUP_VERSIONS: usize = 500;

pub(super) fn get(scope: &Scope<'_>, store: &Store, target: &Target) -> Result<Value, Refusal> {
    let key = store.key(scope.now, &target.name)?;
    Ok(scope.writer.bundle(key, key.version(target.version.as_deref())?))
}

/// `GetKeys`: one item for each key.
pub(super) fn list(scope: &Scope<'_>, store: &Store) -> Result<Value, Refusal> {
    let page = Page::read(scope, "keys")?;
    let items = store.keys(scope.now).map(|key| (key.name.to_ascii_lowercase(), scope.writer.item(key, None)));
    Ok(page.fill(scope, items))
}

pub(super) fn versions(scope: &Scope<'_>, store: &Store, name: &str) -> Result<Value, Refusal> {
    let key = store.key(scope.now, name)?;
    let page = Page::read(scope, &format!("keys/{}/versions", key.name))?;
    let mut items: Vec<(String, Value)> = key
        .versions()
        .iter()
        .enumerate()
        .map(|(index, version)| {
            let place = match scope.config.readings.versions_order {
                VersionsOrder::ById => version.id.clone(),
                VersionsOrder::OldestFirst => format!("{index:010}"),
                // Counted from the maximum, so that a version that is made between two pages moves no other one.
                VersionsOrder::NewestFirst => format!("{:010}", u32::MAX as usize - index),
            };
            (place, scope.writer.item(key, Some(version)))
        })
        .collect();
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(page.fill(scope, items.into_iter()))
}

/// `UpdateKey`: attributes, uses and tags, each left as it is unless given.
// contract: azure.update
pub(super) fn update(scope: &Scope<'_>, store: &mut Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let key = store.key(scope.now, &target.name)?;
    let version = key.version(target.version.as_deref())?;
    let attributes = create::attributes(fields, &version.attributes)?;
    let uses = create::uses(fields, version.material.public.family(), version.material.hsm)?;
    if uses.as_ref().is_some_and(|uses| uses.contains(&Use::Import) != version.uses.contains(&Use::Import)) {
        return Err(Code::BadParameter.because("key_ops: a key is made for `import`, and stays what it is"));
    }
    let tags = fields.tags()?;
    let (name, id, now) = (key.name.clone(), version.id.clone(), scope.now);
    store.change(&name, |key| {
        key.change(&id, |version| {
            version.attributes = attributes;
            version.updated = now;
            if let Some(uses) = uses {
                version.uses = uses;
            }
            if let Some(tags) = tags {
                version.tags = tags;
            }
        });
    });
    let key = store.key(now, &name)?;
    Ok(scope.writer.bundle(key, key.version(Some(&id))?))
}

/// `DeleteKey`: all versions, recoverable until they are purged.
// contract: azure.delete.soft
pub(super) fn delete(scope: &Scope<'_>, store: &mut Store, name: &str) -> Result<Value, Refusal> {
    store.key(scope.now, name)?;
    let done = scope.now + transition(scope);
    store.delete(name, scope.now, done, days_after(scope.now, scope.config.retention_days));
    deleted(scope, store, name, done)
}

pub(super) fn get_deleted(scope: &Scope<'_>, store: &Store, name: &str) -> Result<Value, Refusal> {
    deleted(scope, store, name, scope.now)
}

pub(super) fn list_deleted(scope: &Scope<'_>, store: &Store) -> Result<Value, Refusal> {
    let page = Page::read(scope, "deletedkeys")?;
    let items = store
        .all_deleted(scope.now)
        .map(|deleted| (deleted.key.name.to_ascii_lowercase(), scope.writer.deleted(scope.writer.item(&deleted.key, None), deleted)));
    Ok(page.fill(scope, items))
}

/// `RecoverDeletedKey`: all versions come back as they were.
// contract: azure.delete.recover
pub(super) fn recover(scope: &Scope<'_>, store: &mut Store, name: &str) -> Result<Value, Refusal> {
    let deleted = store.deleted(scope.now, name)?;
    let bundle = scope.writer.bundle(&deleted.key, deleted.key.current());
    store.recover(name, scope.now + transition(scope));
    Ok(bundle)
}

// contract: azure.delete.purge
pub(super) fn purge(scope: &Scope<'_>, store: &mut Store, name: &str) -> Result<Value, Refusal> {
    store.deleted(scope.now, name)?;
    if scope.config.purge_protection {
        let message = "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service will automatically purge it after the retention period has passed.";
        return Err(Code::Forbidden.because(message).with(Inner::ForbiddenByPolicy));
    }
    store.purge(name);
    Ok(Value::Null)
}

/// `BackupKey`, which fails here as at Azure above a number of versions; below, this emulator makes no backups.
// contract: azure.limits.backup
pub(super) fn backup(scope: &Scope<'_>, store: &Store, name: &str) -> Result<Value, Refusal> {
    let key = store.key(scope.now, name)?;
    if key.versions().len() > MOST_BACKUP_VERSIONS {
        let message = format!("a key with more than {MOST_BACKUP_VERSIONS} versions cannot be backed up");
        return Err(Code::BadParameter.because(message));
    }
    Err(Code::NotSupported.because("this emulator makes no backups"))
}

pub(super) fn rotation_policy(scope: &Scope<'_>, store: &Store, name: &str) -> Result<Value, Refusal> {
    let key = store.key(scope.now, name)?;
    Ok(written_policy(scope, key))
}

/// `UpdateKeyRotationPolicy`: stored and returned; nothing rotates by itself here.
// contract: azure.rotation.imported
pub(super) fn set_rotation_policy(scope: &Scope<'_>, store: &mut Store, name: &str, fields: Fields<'_>) -> Result<Value, Refusal> {
    let key = store.key(scope.now, name)?;
    refuse_imported(key.current())?;
    let expiry = fields.object("attributes")?.map(|attributes| attributes.text("expiryTime")).transpose()?.flatten();
    let policy = RotationPolicy {
        actions: fields.value("lifetimeActions").cloned().unwrap_or_else(|| json!([])),
        expiry: expiry.map(str::to_owned),
        created: key.rotation_policy.as_ref().map_or(scope.now, |policy| policy.created),
        updated: scope.now,
    };
    store.change(name, |key| key.rotation_policy = Some(policy));
    Ok(written_policy(scope, store.key(scope.now, name)?))
}

fn written_policy(scope: &Scope<'_>, key: &Key) -> Value {
    let id = scope.writer.address(&format!("keys/{}/rotationpolicy", key.name));
    let Some(policy) = &key.rotation_policy else {
        // The policy of a key that was never given one: a notice before it expires.
        let notice = json!([{ "trigger": { "timeBeforeExpiry": "P30D" }, "action": { "type": "Notify" } }]);
        return json!({ "id": id, "lifetimeActions": notice, "attributes": { "expiryTime": null } });
    };
    json!({
        "id": id,
        "lifetimeActions": policy.actions,
        "attributes": {
            "expiryTime": policy.expiry,
            "created": whole_seconds(policy.created),
            "updated": whole_seconds(policy.updated),
        },
    })
}

/// A deleted key as it is seen at that time.
fn deleted(scope: &Scope<'_>, store: &Store, name: &str, at: crate::Timestamp) -> Result<Value, Refusal> {
    let deleted = store.deleted(at, name)?;
    Ok(scope.writer.deleted(scope.writer.bundle(&deleted.key, deleted.key.current()), deleted))
}

// contract: azure.delete.transition
fn transition(scope: &Scope<'_>) -> Duration {
    Duration::from_secs(scope.config.readings.transition_seconds.into())
}
