//! The whole state as JSON, for tests and for people.

use serde_json::{Value, json};

use super::{
    config::Config,
    key::{Deleted, Key, Origin, Store, Version},
};
use crate::{Timestamp, crypto::keys::KeyCrypto};

/// Everything in the vault: each key with the SHA-256 of each version's material as it was imported, and its bytes in hexadecimal only with
/// [`Config::reveal_material`].
pub(super) fn everything(config: &Config, crypto: &dyn KeyCrypto, store: &Store, now: Timestamp) -> Value {
    let keys: Vec<Value> = store.everything().map(|(key, deleted)| one(config, crypto, key, deleted)).collect();
    json!({ "cloud": "azure", "host": config.host, "now": now, "keys": keys })
}

fn one(config: &Config, crypto: &dyn KeyCrypto, key: &Key, deleted: Option<&Deleted>) -> Value {
    let state = match deleted {
        Some(_) => "deleted",
        None if key.current().attributes.enabled => "enabled",
        None => "disabled",
    };
    let current = key.current();
    let dumped = |version: &Version| material(config, crypto, version, version.id == current.id);
    json!({
        "id": key.name,
        "tags": current.tags,
        "state": state,
        "purge": deleted.map(|deleted| deleted.purge),
        "materials": key.versions().iter().map(dumped).collect::<Vec<_>>(),
    })
}

fn material(config: &Config, crypto: &dyn KeyCrypto, version: &Version, current: bool) -> Value {
    let state = match (version.attributes.enabled, current) {
        (false, _) => "disabled",
        (true, true) => "current",
        (true, false) => "previous",
    };
    let material = &version.material;
    let bytes = material.private.expose();
    let mut dumped = json!({
        "id": version.id,
        "state": state,
        "kty": material.public.family().name(material.hsm),
        "imported": material.origin == Origin::Imported,
        "uses": version.uses.iter().map(|word| word.name()).collect::<Vec<_>>(),
        "tags": version.tags,
        "created": version.created,
        "sha256": hex::encode(crypto.hash(&[bytes])),
    });
    if config.reveal_material {
        dumped["bytes"] = hex::encode(bytes).into();
    }
    dumped
}
