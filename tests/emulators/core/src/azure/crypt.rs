//! Operations with keys.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    config::Kind,
    fields::{BASE64URL, Fields, invalid, missing},
    key::{Family, Key, Material, Public, Store, Use, Version, whole_seconds},
    operation::{Operation, Target},
    readings::DisabledKey,
    refusal::{Code, Inner, Refusal},
    scope::Scope,
};
use crate::{
    Timestamp,
    crypto::{
        OaepHash,
        keys::{AesMode, Curve, Hash, RsaEncryption, RsaSignature},
    },
};

/// Bytes of a nonce and of a tag of AES-GCM.
const NONCE: usize = 12;
const TAG: usize = 16;

/// Bytes of a block of AES.
const BLOCK: usize = 16;

/// The most bytes of `GetRandomBytes`.
const MOST_RANDOM: i64 = 128;

/// `Encrypt` and `WrapKey`.
pub(super) fn encrypt(scope: &mut Scope<'_>, store: &Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let (key, version) = usable(scope, store, target)?;
    let plaintext = fields.required_bytes("value")?;
    let cannot = |_| invalid("value");
    let kid = scope.writer.key_id(key, version);
    match cipher(&version.material, fields.required_text("alg")?, target.operation, &kid)? {
        Cipher::Rsa(padding) => {
            let sealed = scope.crypto.rsa_encrypt(&version.material.private, padding, &plaintext).map_err(cannot)?;
            Ok(json!({ "kid": kid, "value": BASE64URL.encode(sealed) }))
        }
        Cipher::Aes(mode @ (AesMode::Wrap | AesMode::WrapPadded)) => {
            let sealed = scope.crypto.aes_encrypt(&version.material.private, mode, &[], &[], &plaintext).map_err(cannot)?;
            Ok(json!({ "kid": kid, "value": BASE64URL.encode(sealed) }))
        }
        Cipher::Aes(AesMode::Gcm) => {
            // The service chooses the nonce.
            let nonce = scope.random(NONCE);
            let context = fields.bytes("aad")?.unwrap_or_default();
            let sealed = scope.crypto.aes_encrypt(&version.material.private, AesMode::Gcm, nonce.expose(), &context, &plaintext)?;
            let (sealed, tag) = sealed.split_at(sealed.len() - TAG);
            Ok(json!({
                "kid": kid,
                "value": BASE64URL.encode(sealed),
                "iv": BASE64URL.encode(nonce.expose()),
                "tag": BASE64URL.encode(tag),
                "aad": BASE64URL.encode(context),
            }))
        }
        Cipher::Aes(mode) => {
            let iv = fields.bytes("iv")?.unwrap_or_else(|| scope.random(BLOCK).expose().to_vec());
            let sealed = scope.crypto.aes_encrypt(&version.material.private, mode, &iv, &[], &plaintext).map_err(cannot)?;
            Ok(json!({ "kid": kid, "value": BASE64URL.encode(sealed), "iv": BASE64URL.encode(iv) }))
        }
    }
}

/// `Decrypt` and `UnwrapKey`.
pub(super) fn decrypt(scope: &Scope<'_>, store: &Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let (key, version) = usable(scope, store, target)?;
    let mut ciphertext = fields.required_bytes("value")?;
    let kid = scope.writer.key_id(key, version);
    let private = &version.material.private;
    let opened = match cipher(&version.material, fields.required_text("alg")?, target.operation, &kid)? {
        Cipher::Rsa(padding) => scope.crypto.rsa_decrypt(private, padding, &ciphertext),
        Cipher::Aes(mode @ (AesMode::Wrap | AesMode::WrapPadded)) => scope.crypto.aes_decrypt(private, mode, &[], &[], &ciphertext),
        Cipher::Aes(AesMode::Gcm) => {
            let (iv, tag) = (fields.required_bytes("iv")?, fields.required_bytes("tag")?);
            if tag.len() != TAG {
                return Err(invalid("tag"));
            }
            ciphertext.extend(tag);
            let context = fields.bytes("aad")?.unwrap_or_default();
            scope.crypto.aes_decrypt(private, AesMode::Gcm, &iv, &context, &ciphertext)
        }
        Cipher::Aes(mode) => scope.crypto.aes_decrypt(private, mode, &fields.required_bytes("iv")?, &[], &ciphertext),
    };
    let opened = opened.map_err(|_| Code::BadParameter.because("The parameter is incorrect.\r\n"))?;
    Ok(json!({ "kid": kid, "value": BASE64URL.encode(opened.expose()) }))
}

pub(super) fn sign(scope: &Scope<'_>, store: &Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let (key, version) = usable(scope, store, target)?;
    let digest = fields.required_bytes("value")?;
    let kid = scope.writer.key_id(key, version);
    let private = &version.material.private;
    let signature = match signer(&version.material, fields.required_text("alg")?, &kid)? {
        Signer::Rsa(padding, hash) => scope.crypto.rsa_sign(private, padding, hash, &digest),
        Signer::Ec(curve) => scope.crypto.ec_sign(curve, private, &digest),
    };
    let signature = signature.map_err(|_| invalid("value"))?;
    Ok(json!({ "kid": kid, "value": BASE64URL.encode(signature) }))
}

pub(super) fn verify(scope: &Scope<'_>, store: &Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let (key, version) = usable(scope, store, target)?;
    let (digest, signature) = (fields.required_bytes("digest")?, fields.required_bytes("value")?);
    let kid = scope.writer.key_id(key, version);
    let private = &version.material.private;
    let verified = match signer(&version.material, fields.required_text("alg")?, &kid)? {
        Signer::Rsa(padding, hash) => scope.crypto.rsa_verify(private, padding, hash, &digest, &signature),
        Signer::Ec(curve) => scope.crypto.ec_verify(curve, private, &digest, &signature),
    };
    Ok(json!({ "value": verified.map_err(|_| invalid("digest"))? }))
}

// contract: azure.random
pub(super) fn random(scope: &mut Scope<'_>, fields: Fields<'_>) -> Result<Value, Refusal> {
    if scope.config.kind != Kind::ManagedHsm {
        return Err(Code::NotSupported.because("random bytes come from a Managed HSM"));
    }
    let count = fields.integer("count")?.ok_or_else(|| missing("count"))?;
    let count = usize::try_from(count).ok().filter(|_| (1..=MOST_RANDOM).contains(&count)).ok_or_else(|| invalid("count"))?;
    Ok(json!({ "value": BASE64URL.encode(scope.random(count).expose()) }))
}

/// Refuses a version before or after its validity.
pub(super) fn in_time(now: Timestamp, version: &Version, word: &str) -> Result<(), Refusal> {
    let seconds = whole_seconds(now);
    let early = version.attributes.not_before.is_some_and(|begin| seconds < begin);
    let late = version.attributes.expires.is_some_and(|end| seconds >= end);
    if early {
        let message = format!("Operation {word} is not allowed on a key that is not yet valid.");
        return Err(Code::Forbidden.because(message).with(Inner::KeyNotYetValid));
    }
    if late {
        let message = format!("Operation {word} is not allowed on an expired key.");
        return Err(Code::Forbidden.because(message).with(Inner::KeyExpired));
    }
    Ok(())
}

/// The version that a request names, if the operation is allowed with it now.
// contract: azure.validity, azure.disabled
fn usable<'s>(scope: &Scope<'_>, store: &'s Store, target: &Target) -> Result<(&'s Key, &'s Version), Refusal> {
    let key = store.key(scope.now, &target.name)?;
    let version = key.version(target.version.as_deref())?;
    let word = target.operation.word();
    // Which operations need only the public key, and which only read old data.
    let (wanted, public, old) = match target.operation {
        Operation::Encrypt => (Use::Encrypt, true, false),
        Operation::Decrypt => (Use::Decrypt, false, true),
        Operation::WrapKey => (Use::WrapKey, true, false),
        Operation::UnwrapKey => (Use::UnwrapKey, false, true),
        Operation::Verify => (Use::Verify, true, true),
        _ => (Use::Sign, false, false),
    };
    if !version.uses.contains(&wanted) {
        let message = format!("Operation {word} is not permitted on this key.");
        return Err(Code::Forbidden.because(message).with(Inner::KeyOperationForbidden));
    }
    let asymmetric = version.material.public.family() != Family::Oct;
    let goes_on = public && asymmetric && scope.config.readings.disabled_key == DisabledKey::PublicHalfWorks;
    if !version.attributes.enabled && !goes_on {
        return Err(Code::Forbidden.because(format!("Operation {word} is not allowed on a disabled key.")).with(Inner::KeyDisabled));
    }
    if !old {
        in_time(scope.now, version, &word)?;
    }
    Ok((key, version))
}

enum Cipher {
    Rsa(RsaEncryption),
    Aes(AesMode),
}

fn cipher(material: &Material, algorithm: &str, operation: Operation, kid: &str) -> Result<Cipher, Refusal> {
    let wraps = matches!(operation, Operation::WrapKey | Operation::UnwrapKey);
    let found = match (&material.public, algorithm) {
        (Public::Rsa(_), "RSA1_5") => Some(Cipher::Rsa(RsaEncryption::Pkcs1)),
        (Public::Rsa(_), "RSA-OAEP") => Some(Cipher::Rsa(RsaEncryption::Oaep(OaepHash::Sha1))),
        (Public::Rsa(_), "RSA-OAEP-256") => Some(Cipher::Rsa(RsaEncryption::Oaep(OaepHash::Sha256))),
        (Public::Oct(_), "CKM_AES_KEY_WRAP") if wraps => Some(Cipher::Aes(AesMode::Wrap)),
        (Public::Oct(_), "CKM_AES_KEY_WRAP_PAD") if wraps => Some(Cipher::Aes(AesMode::WrapPadded)),
        (Public::Oct(length), algorithm) => aes(algorithm, *length, wraps).map(Cipher::Aes),
        _ => None,
    };
    found.ok_or_else(|| incompatible(kid, material, algorithm))
}

/// `A256GCM` and the like: the number has to be the key's length.
fn aes(algorithm: &str, length: usize, wraps: bool) -> Option<AesMode> {
    let mode = algorithm.strip_prefix('A')?.strip_prefix((length * 8).to_string().as_str())?;
    match (mode, wraps) {
        ("GCM", false) => Some(AesMode::Gcm),
        ("CBC", false) => Some(AesMode::Cbc),
        ("CBCPAD", false) => Some(AesMode::CbcPadded),
        ("KW", true) => Some(AesMode::Wrap),
        _ => None,
    }
}

enum Signer {
    Rsa(RsaSignature, Hash),
    Ec(Curve),
}

fn signer(material: &Material, algorithm: &str, kid: &str) -> Result<Signer, Refusal> {
    let found = match (&material.public, algorithm) {
        (Public::Rsa(_), "RS256") => Some(Signer::Rsa(RsaSignature::Pkcs1, Hash::Sha256)),
        (Public::Rsa(_), "RS384") => Some(Signer::Rsa(RsaSignature::Pkcs1, Hash::Sha384)),
        (Public::Rsa(_), "RS512") => Some(Signer::Rsa(RsaSignature::Pkcs1, Hash::Sha512)),
        (Public::Rsa(_), "PS256") => Some(Signer::Rsa(RsaSignature::Pss, Hash::Sha256)),
        (Public::Rsa(_), "PS384") => Some(Signer::Rsa(RsaSignature::Pss, Hash::Sha384)),
        (Public::Rsa(_), "PS512") => Some(Signer::Rsa(RsaSignature::Pss, Hash::Sha512)),
        (Public::Ec(Curve::P256, _), "ES256") => Some(Signer::Ec(Curve::P256)),
        (Public::Ec(Curve::P384, _), "ES384") => Some(Signer::Ec(Curve::P384)),
        (Public::Ec(Curve::P521, _), "ES512") => Some(Signer::Ec(Curve::P521)),
        (Public::Ec(Curve::Secp256k1, _), "ES256K") => Some(Signer::Ec(Curve::Secp256k1)),
        _ => None,
    };
    found.ok_or_else(|| incompatible(kid, material, algorithm))
}

fn incompatible(kid: &str, material: &Material, algorithm: &str) -> Refusal {
    let kty = material.public.family().name(material.hsm);
    Code::BadParameter.because(format!("Key and algorithm are incompatible: key {kid} has the type {kty}, the algorithm is {algorithm}"))
}
