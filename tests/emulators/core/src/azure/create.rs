//! Creating versions of keys, and what importing has in common with that.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    config::Kind,
    fields::{Fields, invalid},
    key::{Attributes, Family, Key, Material, Origin, Public, Store, Use, Version},
    readings::Full,
    refusal::{Code, Refusal},
    scope::Scope,
};
use crate::crypto::{RsaSize, Secret, keys::Curve};

/// How many RSA pairs of each size key exchange keys use in turn.
pub const PAIRS: usize = 3;

/// In characters ("Vault-name and Object-name").
const LONGEST_NAME: usize = 127;

pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, name: &str, fields: Fields<'_>) -> Result<Value, Refusal> {
    let (family, hsm) = kind(scope.config.kind, fields.required_text("kty")?)?;
    let draft = Draft::read(scope, store, name, fields, fields, family, hsm)?;
    let material = match family {
        Family::Rsa => {
            let size = match fields.integer("key_size")?.unwrap_or(2048) {
                2048 => RsaSize::Rsa2048,
                3072 => RsaSize::Rsa3072,
                4096 => RsaSize::Rsa4096,
                _ => return Err(invalid("key_size")),
            };
            if fields.integer("public_exponent")?.is_some_and(|exponent| exponent != 65537) {
                return Err(Code::NotSupported.because("this emulator makes RSA keys with the exponent 65537 only"));
            }
            let private = if draft.uses == [Use::Import] {
                Secret::new(scope.pairs.next(scope.crypto, size)?.1.private.expose())
            } else {
                scope.crypto.make_pair(size)?.private
            };
            let public = Public::Rsa(scope.crypto.read_rsa(&private)?);
            Material { public, private, hsm, origin: Origin::Generated }
        }
        Family::Ec => {
            let curve = curve(fields)?.unwrap_or(Curve::P256);
            let private = scope.crypto.make_ec(curve)?;
            let public = Public::Ec(curve, scope.crypto.read_ec(curve, &private)?);
            Material { public, private, hsm, origin: Origin::Generated }
        }
        Family::Oct => {
            let length = match fields.integer("key_size")?.unwrap_or(256) {
                128 => 16,
                192 => 24,
                256 => 32,
                _ => return Err(invalid("key_size")),
            };
            Material { public: Public::Oct(length), private: scope.random(length), hsm, origin: Origin::Generated }
        }
    };
    Ok(draft.place(scope, store, material))
}

/// `RotateKey`: another version like the current one.
// contract: azure.rotation.imported
pub(super) fn rotate(scope: &mut Scope<'_>, store: &mut Store, name: &str) -> Result<Value, Refusal> {
    let current = store.key(scope.now, name)?.current();
    refuse_imported(current)?;
    room(scope, store, name)?;
    let hsm = current.material.hsm;
    let (public, private) = match &current.material.public {
        Public::Rsa(public) => {
            let size = rsa_size(public.modulus.len())?;
            let private = scope.crypto.make_pair(size)?.private;
            (Public::Rsa(scope.crypto.read_rsa(&private)?), private)
        }
        Public::Ec(curve, _) => {
            let private = scope.crypto.make_ec(*curve)?;
            (Public::Ec(*curve, scope.crypto.read_ec(*curve, &private)?), private)
        }
        Public::Oct(length) => (Public::Oct(*length), scope.random(*length)),
    };
    let draft = Draft {
        name: name.to_owned(),
        uses: current.uses.clone(),
        attributes: Attributes { enabled: true, not_before: None, expires: None },
        tags: current.tags.clone(),
    };
    Ok(draft.place(scope, store, Material { public, private, hsm, origin: Origin::Generated }))
}

/// Refuses to rotate imported keys and key exchange keys.
pub(super) fn refuse_imported(version: &Version) -> Result<(), Refusal> {
    if version.material.origin == Origin::Imported {
        return Err(Code::BadParameter.because("a key that was imported cannot be rotated: its material comes from elsewhere"));
    }
    if version.uses == [Use::Import] {
        return Err(Code::BadParameter.because("a key exchange key cannot be rotated"));
    }
    Ok(())
}

/// A new version without its material.
pub(super) struct Draft {
    name: String,
    pub(super) uses: Vec<Use>,
    attributes: Attributes,
    tags: BTreeMap<String, String>,
}

impl Draft {
    /// Reads what a request says about the version, and checks that there is room for it. `about` has the uses: the request itself, or its
    /// `key`.
    pub(super) fn read(
        scope: &Scope<'_>,
        store: &Store,
        name: &str,
        fields: Fields<'_>,
        about: Fields<'_>,
        family: Family,
        hsm: bool,
    ) -> Result<Self, Refusal> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if name.len() > LONGEST_NAME || !name.chars().all(allowed) {
            let message = format!("The request URI contains an invalid name: {name}");
            return Err(Code::BadParameter.because(message));
        }
        if fields.has("release_policy") {
            return Err(Code::NotSupported.because("this emulator releases no keys"));
        }
        let uses = uses(about, family, hsm)?.unwrap_or_else(|| family.usual().to_vec());
        let attributes = attributes(fields, &Attributes { enabled: true, not_before: None, expires: None })?;
        let tags = fields.tags()?.unwrap_or_default();
        room(scope, store, name)?;
        Ok(Self { name: name.to_owned(), uses, attributes, tags })
    }

    /// Makes the version, which becomes the current one of its key.
    pub(super) fn place(self, scope: &mut Scope<'_>, store: &mut Store, material: Material) -> Value {
        let Self { name, uses, attributes, tags } = self;
        let id = hex::encode(scope.random(16).expose());
        let (created, updated) = (scope.now, scope.now);
        let version = Version { id, material: Arc::new(material), uses, attributes, tags, created, updated };
        match store.key(scope.now, &name) {
            Ok(key) => {
                let bundle = scope.writer.bundle(key, &version);
                store.change(&name, |key| key.push(version));
                bundle
            }
            Err(_) => {
                let key = Key::new(&name, version, scope.now);
                let bundle = scope.writer.bundle(&key, key.current());
                store.insert(key);
                bundle
            }
        }
    }
}

/// Checks that there is room for a version under this name.
// contract: azure.limits.managed_hsm
fn room(scope: &Scope<'_>, store: &Store, name: &str) -> Result<(), Refusal> {
    let full = |message: String| {
        let code = match scope.config.readings.full {
            Full::Conflict => Code::Conflict,
            Full::Forbidden => Code::Forbidden,
            Full::BadParameter => Code::BadParameter,
        };
        Err(code.because(message))
    };
    let most = &scope.config.limits;
    match store.room(scope.now, name)? {
        Some(key) if most.versions.is_some_and(|most| key.versions().len() >= most) => {
            full(format!("Key {name} has as many versions as a key can have"))
        }
        None if most.keys.is_some_and(|most| store.count() >= most) => full("there are as many keys as there can be".into()),
        _ => Ok(()),
    }
}

/// Kind and protection of a key type, if this vault has it.
// contract: azure.kinds
pub(super) fn kind(vault: Kind, kty: &str) -> Result<(Family, bool), Refusal> {
    let families = [Family::Rsa, Family::Ec, Family::Oct];
    let kinds = families.into_iter().flat_map(|family| [(family, false), (family, true)]);
    let mut fitting = kinds.filter(|(family, hsm)| family.name(*hsm) == kty);
    let (family, hsm) = fitting.next().ok_or_else(|| invalid("kty"))?;
    let reason = match (vault, family, hsm) {
        (Kind::ManagedHsm, _, false) => "a Managed HSM has HSM keys only",
        (Kind::Standard | Kind::Premium, Family::Oct, _) => "symmetric keys need a Managed HSM",
        (Kind::Standard, _, true) => "HSM keys need a Premium vault or a Managed HSM",
        _ => return Ok((family, hsm)),
    };
    Err(Code::BadParameter.because(format!("Key type {kty} is not supported here: {reason}")))
}

/// The RSA size of a modulus of `bytes` bytes.
pub(super) fn rsa_size(bytes: usize) -> Result<RsaSize, Refusal> {
    let sizes = [RsaSize::Rsa2048, RsaSize::Rsa3072, RsaSize::Rsa4096];
    let found = sizes.into_iter().find(|size| size.bytes() == bytes);
    found.ok_or_else(|| Code::BadParameter.because(format!("an RSA key of {} bits is not supported", bytes * 8)))
}

pub(super) fn curve(fields: Fields<'_>) -> Result<Option<Curve>, Refusal> {
    let named = |name| match name {
        "P-256" => Ok(Curve::P256),
        "P-384" => Ok(Curve::P384),
        "P-521" => Ok(Curve::P521),
        "P-256K" => Ok(Curve::Secp256k1),
        _ => Err(invalid("crv")),
    };
    fields.text("crv")?.map(named).transpose()
}

/// The uses that a request names. `import` excludes all others, and is for RSA keys in an HSM. `None`: it names none.
// contract: azure.kek.create
pub(super) fn uses(fields: Fields<'_>, family: Family, hsm: bool) -> Result<Option<Vec<Use>>, Refusal> {
    let Some(words) = fields.texts("key_ops")?.filter(|words| !words.is_empty()) else {
        return Ok(None);
    };
    let mut uses = Vec::new();
    for word in words {
        let wanted = Use::from_name(word).ok_or_else(|| invalid("key_ops"))?;
        if !uses.contains(&wanted) {
            uses.push(wanted);
        }
    }
    if uses.contains(&Use::Import) {
        if uses.len() > 1 {
            return Err(Code::BadParameter.because("key_ops: `import` excludes every other operation"));
        }
        if family != Family::Rsa || !hsm {
            return Err(Code::BadParameter.because("key_ops: `import` is for keys of type RSA-HSM"));
        }
    } else if let Some(wrong) = uses.iter().find(|wanted| !family.usual().contains(wanted)) {
        let message = format!("key_ops: `{}` is not for keys of type {}", wrong.name(), family.name(hsm));
        return Err(Code::BadParameter.because(message));
    }
    Ok(Some(uses))
}

/// The attributes after a request; those that it does not name stay.
pub(super) fn attributes(fields: Fields<'_>, before: &Attributes) -> Result<Attributes, Refusal> {
    let mut after = before.clone();
    let Some(given) = fields.object("attributes")? else {
        return Ok(after);
    };
    if given.flag("exportable")? == Some(true) {
        return Err(Code::NotSupported.because("this emulator releases no keys"));
    }
    let moment = |name| given.integer(name)?.map(|moment| if moment < 0 { Err(invalid(name)) } else { Ok(moment) }).transpose();
    after.enabled = given.flag("enabled")?.unwrap_or(before.enabled);
    after.not_before = moment("nbf")?.or(before.not_before);
    after.expires = moment("exp")?.or(before.expires);
    Ok(after)
}
