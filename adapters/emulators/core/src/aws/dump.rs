//! The whole state as JSON, for tests and for people.

use rand_core::RngCore;
use serde_json::{Value, json};

use super::{
    Aws,
    key::{Alias, Key, Material},
};
use crate::Timestamp;

impl Aws {
    /// All that the emulator holds: each key with the SHA-256 of each material; its bytes in hexadecimal only if
    /// [`super::Config::reveal_material`] says so. Moments are microseconds since the epoch.
    pub fn dump(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Value {
        let now = self.tick(now, rng);
        let keys: Vec<Value> = self.store.keys().map(|key| self.dump_key(key)).collect();
        let alias = |(name, alias): (&String, &Alias)| json!({ "name": name, "target": alias.target, "created": alias.created, "updated": alias.updated });
        json!({
            "cloud": "aws",
            "region": self.config.region,
            "account": self.config.account,
            "now": now,
            "keys": keys,
            "aliases": self.store.aliases_after(None).map(alias).collect::<Vec<_>>(),
        })
    }

    fn dump_key(&self, key: &Key) -> Value {
        json!({
            "id": key.id,
            "arn": self.config.key_arn(&key.id),
            "origin": key.origin.name(),
            "state": key.state().name(),
            "disabled": key.disabled,
            "description": key.description,
            "policy": key.policy,
            "tags": key.tags,
            "created": key.created,
            "deletion": key.deletion.map(|(at, _)| at),
            "rotations": key.rotations,
            "rotating_until": key.rotation.map(|rotation| rotation.due),
            "materials": key.materials.iter().map(|material| self.dump_material(material)).collect::<Vec<_>>(),
        })
    }

    fn dump_material(&self, material: &Material) -> Value {
        let bytes = material.bytes();
        let mut dumped = json!({
            "id": material.id,
            "role": material.role.name(),
            "description": material.description,
            "imported": bytes.is_some(),
            "expires": material.expires,
            "rotated": material.rotated,
            "sha256": bytes.map(|bytes| hex::encode(self.crypto.hash(&[bytes.expose()]))),
        });
        if self.config.reveal_material {
            dumped["bytes"] = bytes.map(|bytes| hex::encode(bytes.expose())).into();
        }
        dumped
    }
}
