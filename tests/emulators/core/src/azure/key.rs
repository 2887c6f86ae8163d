//! Keys and their versions, in the vault or deleted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    config::Config,
    fields::BASE64URL,
    refusal::{Code, Inner, Refusal},
};
use crate::{
    Timestamp,
    crypto::{
        Secret,
        keys::{Curve, EcPublic, RsaPublic},
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
    WrapKey,
    UnwrapKey,
    Import,
}

impl Use {
    const ALL: [Self; 7] = [Self::Encrypt, Self::Decrypt, Self::Sign, Self::Verify, Self::WrapKey, Self::UnwrapKey, Self::Import];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::WrapKey => "wrapKey",
            Self::UnwrapKey => "unwrapKey",
            Self::Import => "import",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name() == name)
    }
}

/// A kind of key, without its protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    Ec,
    Oct,
}

impl Family {
    /// The uses of a key whose request names none.
    pub(super) const fn usual(self) -> &'static [Use] {
        match self {
            Self::Rsa => &[Use::Encrypt, Use::Decrypt, Use::Sign, Use::Verify, Use::WrapKey, Use::UnwrapKey],
            Self::Ec => &[Use::Sign, Use::Verify],
            Self::Oct => &[Use::Encrypt, Use::Decrypt, Use::WrapKey, Use::UnwrapKey],
        }
    }

    pub(super) const fn name(self, hsm: bool) -> &'static str {
        match (self, hsm) {
            (Self::Rsa, false) => "RSA",
            (Self::Rsa, true) => "RSA-HSM",
            (Self::Ec, false) => "EC",
            (Self::Ec, true) => "EC-HSM",
            (Self::Oct, false) => "oct",
            (Self::Oct, true) => "oct-HSM",
        }
    }
}

pub(super) const fn curve_name(curve: Curve) -> &'static str {
    match curve {
        Curve::P256 => "P-256",
        Curve::P384 => "P-384",
        Curve::P521 => "P-521",
        Curve::Secp256k1 => "P-256K",
    }
}

/// The public part of the material.
#[derive(Debug)]
pub(super) enum Public {
    Rsa(RsaPublic),
    Ec(Curve, EcPublic),
    /// Only the length, in bytes, which no answer shows.
    Oct(usize),
}

impl Public {
    pub(super) const fn family(&self) -> Family {
        match self {
            Self::Rsa(_) => Family::Rsa,
            Self::Ec(..) => Family::Ec,
            Self::Oct(_) => Family::Oct,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Generated,
    Imported,
}

/// Key material: made once, shared by all states of the store.
pub(super) struct Material {
    pub(super) public: Public,
    /// PKCS#8 in DER, or raw bytes.
    pub(super) private: Secret,
    pub(super) hsm: bool,
    pub(super) origin: Origin,
}

/// The changeable attributes of a version.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) enabled: bool,
    /// Seconds since the epoch.
    pub(super) not_before: Option<i64>,
    /// Seconds since the epoch.
    pub(super) expires: Option<i64>,
}

#[derive(Clone)]
pub(super) struct Version {
    /// 32 hexadecimal digits.
    pub(super) id: String,
    pub(super) material: Arc<Material>,
    /// In the order of the request.
    pub(super) uses: Vec<Use>,
    pub(super) attributes: Attributes,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

#[derive(Clone)]
pub(super) struct Key {
    /// As it was first written. Names are compared without regard to case.
    pub(super) name: String,
    /// INVARIANT: never empty, oldest first; the last one is current.
    versions: Vec<Version>,
    pub(super) rotation_policy: Option<RotationPolicy>,
    /// When its recovery ends; before that no read shows it.
    pub(super) back: Timestamp,
}

/// A rotation policy, which is stored and never applied.
#[derive(Clone)]
pub(super) struct RotationPolicy {
    pub(super) actions: Value,
    pub(super) expiry: Option<String>,
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
}

impl Key {
    pub(super) fn new(name: &str, first: Version, now: Timestamp) -> Self {
        Self { name: name.to_owned(), versions: vec![first], rotation_policy: None, back: now }
    }

    /// Adds a version, which is the current one at once.
    // contract: azure.import.activation
    pub(super) fn push(&mut self, version: Version) {
        self.versions.push(version);
    }

    pub(super) fn current(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    /// Oldest first.
    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// `None`: the current version.
    pub(super) fn version(&self, id: Option<&str>) -> Result<&Version, Refusal> {
        let Some(id) = id else {
            return Ok(self.current());
        };
        self.versions.iter().find(|version| version.id.eq_ignore_ascii_case(id)).ok_or_else(|| not_found(&format!("{}/{id}", self.name)))
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Version)) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            change(version);
        }
    }
}

#[derive(Clone)]
pub(super) struct Deleted {
    pub(super) key: Arc<Key>,
    pub(super) at: Timestamp,
    /// When its deletion ends; before that no read shows it.
    pub(super) done: Timestamp,
    pub(super) purge: Timestamp,
}

/// A vault's keys. Cloning is cheap, because earlier states are kept.
#[derive(Clone, Default)]
pub struct Store {
    /// By name in lower case.
    keys: BTreeMap<String, Arc<Key>>,
    deleted: BTreeMap<String, Arc<Deleted>>,
}

impl Store {
    pub(super) fn key(&self, now: Timestamp, name: &str) -> Result<&Key, Refusal> {
        let key = self.keys.get(&lower(name)).filter(|key| key.back <= now);
        key.map(Arc::as_ref).ok_or_else(|| not_found(name))
    }

    /// A key, even one that is being recovered.
    pub(super) fn any(&self, name: &str) -> Option<&Key> {
        self.keys.get(&lower(name)).map(Arc::as_ref)
    }

    pub(super) fn deleted(&self, now: Timestamp, name: &str) -> Result<&Deleted, Refusal> {
        let deleted = self.deleted.get(&lower(name)).filter(|deleted| deleted.done <= now);
        deleted.map(Arc::as_ref).ok_or_else(|| Code::KeyNotFound.because(format!("Deleted Key not found: {name}")))
    }

    /// The keys that reads show, by name.
    pub(super) fn keys(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.keys.values().map(Arc::as_ref).filter(move |key| key.back <= now)
    }

    /// The deleted keys that reads show, by name.
    pub(super) fn all_deleted(&self, now: Timestamp) -> impl Iterator<Item = &Deleted> {
        self.deleted.values().map(Arc::as_ref).filter(move |deleted| deleted.done <= now)
    }

    /// The number of keys, including those that are being recovered.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Checks that a new version can get this name; returns the key that has it, if any.
    // contract: azure.delete.name
    pub(super) fn room(&self, now: Timestamp, name: &str) -> Result<Option<&Key>, Refusal> {
        if let Some(deleted) = self.deleted.get(&lower(name)) {
            return Err(if deleted.done > now {
                Code::Conflict.because("Key is currently being deleted.").with(Inner::ObjectIsBeingDeleted)
            } else {
                let message = format!(
                    "Key {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the key can only be recovered or purged."
                );
                Code::Conflict.because(message).with(Inner::ObjectIsDeletedButRecoverable)
            });
        }
        match self.keys.get(&lower(name)) {
            Some(key) if key.back > now => {
                Err(Code::Conflict.because("Key is currently being recovered.").with(Inner::ObjectIsBeingRecovered))
            }
            found => Ok(found.map(Arc::as_ref)),
        }
    }

    pub(super) fn insert(&mut self, key: Key) {
        self.keys.insert(lower(&key.name), Arc::new(key));
    }

    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.get_mut(&lower(name)) {
            change(Arc::make_mut(key));
        }
    }

    pub(super) fn delete(&mut self, name: &str, at: Timestamp, done: Timestamp, purge: Timestamp) {
        if let Some(key) = self.keys.remove(&lower(name)) {
            self.deleted.insert(lower(name), Arc::new(Deleted { key, at, done, purge }));
        }
    }

    pub(super) fn recover(&mut self, name: &str, back: Timestamp) {
        if let Some(deleted) = self.deleted.remove(&lower(name)) {
            let mut key = Key::clone(&deleted.key);
            key.back = back;
            self.insert(key);
        }
    }

    pub(super) fn purge(&mut self, name: &str) {
        self.deleted.remove(&lower(name));
    }

    /// Purges keys whose time is over.
    // contract: azure.delete.soft
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.deleted.retain(|_, deleted| deleted.purge > now);
    }

    /// Every key and its deletion, for the dump.
    pub(super) fn everything(&self) -> impl Iterator<Item = (&Key, Option<&Deleted>)> {
        let live = self.keys.values().map(|key| (key.as_ref(), None));
        live.chain(self.deleted.values().map(|deleted| (deleted.key.as_ref(), Some(deleted.as_ref()))))
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

pub(super) fn not_found(name: &str) -> Refusal {
    Code::KeyNotFound.because(format!(
        "A key with (name/id) {name} was not found in this key vault. If you recently deleted this key you may be able to recover it using the correct recovery command."
    ))
}

/// Writes answers of one request.
pub(super) struct Writer<'a> {
    pub(super) config: &'a Config,
    /// Host, and port if there is one.
    pub(super) authority: &'a str,
    pub(super) api_version: &'a str,
}

impl Writer<'_> {
    pub(super) fn address(&self, path: &str) -> String {
        format!("https://{}/{path}", self.authority)
    }

    pub(super) fn key_id(&self, key: &Key, version: &Version) -> String {
        self.address(&format!("keys/{}/{}", key.name, version.id))
    }

    pub(super) fn bundle(&self, key: &Key, version: &Version) -> Value {
        let mut bundle = json!({ "key": self.jwk(key, version), "attributes": self.attributes(version) });
        if !version.tags.is_empty() {
            bundle["tags"] = json!(version.tags);
        }
        bundle
    }

    /// A `KeyItem` of one version, or of the whole key.
    pub(super) fn item(&self, key: &Key, version: Option<&Version>) -> Value {
        let id = version.map_or_else(|| self.address(&format!("keys/{}", key.name)), |version| self.key_id(key, version));
        let version = version.unwrap_or(key.current());
        let mut item = json!({ "kid": id, "attributes": self.attributes(version) });
        if !version.tags.is_empty() {
            item["tags"] = json!(version.tags);
        }
        item
    }

    /// Adds to a bundle or item what a deleted key shows.
    pub(super) fn deleted(&self, mut written: Value, deleted: &Deleted) -> Value {
        written["recoveryId"] = self.address(&format!("deletedkeys/{}", deleted.key.name)).into();
        written["deletedDate"] = whole_seconds(deleted.at).into();
        written["scheduledPurgeDate"] = whole_seconds(deleted.purge).into();
        written
    }

    // contract: azure.evidence.public
    fn jwk(&self, key: &Key, version: &Version) -> Value {
        let material = &version.material;
        let uses: Vec<&str> = version.uses.iter().map(|word| word.name()).collect();
        let mut jwk = json!({
            "kid": self.key_id(key, version),
            "kty": material.public.family().name(material.hsm),
            "key_ops": uses,
        });
        match &material.public {
            Public::Rsa(RsaPublic { modulus, exponent }) => {
                jwk["n"] = BASE64URL.encode(modulus).into();
                jwk["e"] = BASE64URL.encode(exponent).into();
            }
            Public::Ec(curve, EcPublic { x, y }) => {
                jwk["crv"] = curve_name(*curve).into();
                jwk["x"] = BASE64URL.encode(x).into();
                jwk["y"] = BASE64URL.encode(y).into();
            }
            Public::Oct(_) => {}
        }
        jwk
    }

    // contract: azure.attributes
    fn attributes(&self, version: &Version) -> Value {
        let Attributes { enabled, not_before, expires } = version.attributes;
        let mut attributes = json!({
            "enabled": enabled,
            "created": whole_seconds(version.created),
            "updated": whole_seconds(version.updated),
            "recoveryLevel": self.config.recovery_level(),
            "recoverableDays": self.config.retention_days,
            "exportable": false,
        });
        if let Some(not_before) = not_before {
            attributes["nbf"] = not_before.into();
        }
        if let Some(expires) = expires {
            attributes["exp"] = expires.into();
        }
        // Since version 7.5 of the API.
        if self.api_version != "7.4" {
            attributes["hsmPlatform"] = if version.material.hsm { "2" } else { "0" }.into();
        }
        attributes
    }
}

/// Seconds since the epoch, as every time is written.
pub(super) fn whole_seconds(moment: Timestamp) -> i64 {
    moment.micros().div_euclid(1_000_000)
}

pub(super) fn days_after(moment: Timestamp, days: u32) -> Timestamp {
    moment + Duration::from_secs(u64::from(days) * 24 * 60 * 60)
}
