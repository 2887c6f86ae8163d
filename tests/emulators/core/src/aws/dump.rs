//! The whole state as JSON, for tests and for people.

use serde_json::{Value, json};

use super::{
    config::Config,
    grant,
    key::{Key, Material},
    multi_region::Account,
    store::Alias,
};
use crate::{Timestamp, crypto::Crypto};

/// Everything in every region: each key with the SHA-256 of each material, and its bytes in hexadecimal only with
/// [`Config::reveal_material`]. Times are microseconds since the epoch.
pub(super) fn everything(config: &Config, crypto: &dyn Crypto, now: Timestamp, account: &Account) -> Value {
    let (mut keys, mut aliases) = (Vec::new(), Vec::new());
    for (region, store) in account.regions() {
        keys.extend(store.keys().map(|key| dump_key(config, crypto, region, key)));
        let alias = |(name, alias): (&String, &Alias)| {
            json!({
                "region": region,
                "name": name,
                "target": alias.target,
                "created": alias.created,
                "updated": alias.updated,
            })
        };
        aliases.extend(store.aliases_after(None).map(alias));
    }
    json!({
        "cloud": "aws",
        "region": config.region,
        "account": config.account,
        "now": now,
        "keys": keys,
        "aliases": aliases,
    })
}

fn dump_key(config: &Config, crypto: &dyn Crypto, region: &str, key: &Key) -> Value {
    json!({
        "id": key.id,
        "arn": config.in_region(region).key_arn(&key.id),
        "region": region,
        "origin": key.origin.name(),
        "state": key.state().name(),
        "disabled": key.disabled,
        "description": key.description,
        "policy": key.policy,
        "tags": key.tags,
        "created": key.created,
        "deletion": key.deletion.and_then(|deletion| deletion.at),
        "rotations": key.rotations,
        "rotating_until": key.rotation.map(|rotation| rotation.due),
        "related": key.related.as_ref().map(|related| json!({ "primary": related.primary, "replicas": related.replicas })),
        "grants": key.grants.iter().map(|(id, grant)| grant::dumped(id, grant)).collect::<Vec<_>>(),
        "materials": key.materials.iter().map(|material| dump_material(config, crypto, key, material)).collect::<Vec<_>>(),
    })
}

fn dump_material(config: &Config, crypto: &dyn Crypto, key: &Key, material: &Material) -> Value {
    let bytes = material.bytes();
    let mut dumped = json!({
        "id": material.id,
        "role": key.material_state(material),
        "description": material.description,
        "imported": bytes.is_some(),
        "expires": material.expires,
        "rotated": material.rotated,
        "sha256": bytes.map(|bytes| hex::encode(crypto.hash(&[bytes.expose()]))),
    });
    if config.reveal_material {
        dumped["bytes"] = bytes.map(|bytes| hex::encode(bytes.expose())).into();
    }
    dumped
}
