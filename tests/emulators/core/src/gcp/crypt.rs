//! Encryption under secret keys.
//!
//! A ciphertext of `encrypt` names the version that made it: a mark (1 byte), the version's number (4), a nonce (12), then AES-256-GCM. The
//! key's name and the additional data are authenticated, so it decrypts only under this key. Real Cloud KMS has an undocumented format.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    fields::required,
    input::Input,
    operation::parent,
    refusal::{Code, Refusal, invalid_field, wrong_state},
    scope::Scope,
    store::{Key, Store, Version, not_in_state, number_of, version_name},
    word::{Kind, Level, Purpose, RawMode, VersionState, Word as _},
    written::{encode, put},
};
use crate::crypto::{Secret, keys::AesMode};

const MARK: u8 = 0x0a;
const NONCE: usize = 12;

/// The most bytes of plaintext, and of additional data (PROTO, `EncryptRequest`); for HSM keys of both together.
const MOST_SOFTWARE: usize = 64 * 1024;
const MOST_HSM: usize = 8 * 1024;

/// A version to be used, in its present state or in a former one within the consistency window.
pub(super) struct Used<'s> {
    pub(super) name: String,
    pub(super) version: &'s Version,
    pub(super) material: Arc<Secret>,
    pub(super) kind: Kind,
}

/// The version of this name, if a purpose allows its use. A version that was enabled within the window may still be used; one that is
/// enabled now always can be.
// contract: gcp.consistency
pub(super) fn usable<'s>(store: &'s Store, past: Option<&'s Store>, name: &str, purposes: &[Purpose]) -> Result<Used<'s>, Refusal> {
    let (key_name, key, version) = store.version(name)?;
    serves(key_name, key, purposes)?;
    let before = past.and_then(|past| past.version(name).ok()).map(|(_, _, version)| version);
    let enabled = [Some(version), before].into_iter().flatten().find(|version| version.state == VersionState::Enabled);
    let version = enabled.ok_or_else(|| not_in_state(name, version, "enabled"))?;
    let lost = || Code::Internal.because("an enabled version has no material");
    let material = version.material.clone().ok_or_else(lost)?;
    Ok(Used { name: name.to_owned(), version, material, kind: version.algorithm.kind().ok_or_else(lost)? })
}

// contract: gcp.crc32c
pub(super) fn encrypt(scope: &mut Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["plaintext", "additionalAuthenticatedData", "plaintextCrc32c", "additionalAuthenticatedDataCrc32c"])?;
    let (plaintext, plaintext_checked) = body.checked_bytes("plaintext")?;
    let (context, context_checked) = body.checked_bytes("additionalAuthenticatedData")?;
    let (plaintext, context) = (Secret::new(plaintext.unwrap_or_default()), context.unwrap_or_default());
    let name = if number_of_version(input.name()).is_some() { input.name().to_owned() } else { primary(store, past, input.name())? };
    let used = usable(store, past, &name, &[Purpose::EncryptDecrypt])?;
    within_limits(used.version.level, plaintext.expose(), &context)?;

    let nonce: [u8; NONCE] = scope.bytes();
    let mut blob = vec![MARK];
    blob.extend(used.version.number.to_be_bytes());
    blob.extend(nonce);
    let sealed = scope.crypto.seal(&used.material, nonce, &bound(parent(&name), &blob, &context), plaintext.expose())?;
    blob.extend(sealed);
    let mut answer = json!({
        "name": used.name,
        "ciphertext": encode(&blob),
        "ciphertextCrc32c": scope.crc(&blob),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "verifiedPlaintextCrc32c", scope.confirms(plaintext_checked));
    put(&mut answer, "verifiedAdditionalAuthenticatedDataCrc32c", scope.confirms(context_checked));
    Ok(answer)
}

pub(super) fn decrypt(scope: &mut Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["ciphertext", "additionalAuthenticatedData", "ciphertextCrc32c", "additionalAuthenticatedDataCrc32c"])?;
    let (ciphertext, _) = body.checked_bytes("ciphertext")?;
    let (context, _) = body.checked_bytes("additionalAuthenticatedData")?;
    let (ciphertext, context) = (ciphertext.ok_or_else(|| required("ciphertext"))?, context.unwrap_or_default());
    let key = store.key(input.name())?;
    serves(input.name(), key, &[Purpose::EncryptDecrypt])?;
    let wrong = || Code::InvalidArgument.because("Decryption failed: verify that 'name' refers to the correct CryptoKey.");
    let (&[MARK, a, b, c, d], rest) = ciphertext.split_first_chunk().ok_or_else(wrong)? else {
        return Err(wrong());
    };
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(wrong)?;
    let number = u32::from_be_bytes([a, b, c, d]);
    if key.version(number).is_none() {
        return Err(wrong());
    }
    let used = usable(store, past, &version_name(input.name(), number), &[Purpose::EncryptDecrypt])?;
    let header = &ciphertext[..ciphertext.len() - sealed.len()];
    let plaintext = scope.crypto.open(&used.material, *nonce, &bound(input.name(), header, &context), sealed).map_err(|_| wrong())?;
    let mut answer = json!({
        "plaintextCrc32c": scope.crc(plaintext.expose()),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "plaintext", encode(plaintext.expose()));
    put(&mut answer, "usedPrimary", key.primary == Some(number));
    Ok(answer)
}

pub(super) fn raw_encrypt(scope: &mut Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&[
        "plaintext",
        "additionalAuthenticatedData",
        "initializationVector",
        "plaintextCrc32c",
        "additionalAuthenticatedDataCrc32c",
        "initializationVectorCrc32c",
    ])?;
    let (plaintext, plaintext_checked) = body.checked_bytes("plaintext")?;
    let (context, context_checked) = body.checked_bytes("additionalAuthenticatedData")?;
    let (vector, vector_checked) = body.checked_bytes("initializationVector")?;
    let (plaintext, context) = (Secret::new(plaintext.unwrap_or_default()), context.unwrap_or_default());
    let used = usable(store, past, input.name(), &[Purpose::RawEncryptDecrypt])?;
    within_limits(used.version.level, plaintext.expose(), &context)?;
    let mode = raw_mode(&used)?;
    if mode != RawMode::Gcm && !context.is_empty() {
        return Err(invalid_field("additional_authenticated_data", "only AES-GCM takes it"));
    }
    let vector = match (mode, vector) {
        // "Customer-supplied IVs are not supported for AES-GCM."
        (RawMode::Gcm, Some(_)) => return Err(invalid_field("initialization_vector", "AES-GCM makes its own")),
        (RawMode::Gcm, None) => scope.bytes::<NONCE>().to_vec(),
        (_, Some(vector)) if vector.len() != 16 => return Err(invalid_field("initialization_vector", "must have 16 bytes")),
        (_, Some(vector)) => vector,
        (_, None) => scope.bytes::<16>().to_vec(),
    };
    let ciphertext = match mode {
        RawMode::Gcm => scope.crypto.aes_encrypt(&used.material, AesMode::Gcm, &vector, &context, plaintext.expose())?,
        RawMode::Cbc => scope
            .crypto
            .aes_encrypt(&used.material, AesMode::Cbc, &vector, &[], plaintext.expose())
            .map_err(|_| invalid_field("plaintext", "must be whole blocks of 16 bytes"))?,
        RawMode::Ctr => scope.crypto.aes_ctr(&used.material, counter(&vector)?, plaintext.expose())?,
    };
    let mut answer = json!({
        "name": used.name,
        "initializationVector": encode(&vector),
        "initializationVectorCrc32c": scope.crc(&vector),
        "ciphertextCrc32c": scope.crc(&ciphertext),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "ciphertext", encode(&ciphertext));
    if mode == RawMode::Gcm {
        answer["tagLength"] = 16.into();
    }
    put(&mut answer, "verifiedPlaintextCrc32c", scope.confirms(plaintext_checked));
    put(&mut answer, "verifiedAdditionalAuthenticatedDataCrc32c", scope.confirms(context_checked));
    put(&mut answer, "verifiedInitializationVectorCrc32c", scope.confirms(vector_checked));
    Ok(answer)
}

pub(super) fn raw_decrypt(scope: &mut Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&[
        "ciphertext",
        "additionalAuthenticatedData",
        "initializationVector",
        "tagLength",
        "ciphertextCrc32c",
        "additionalAuthenticatedDataCrc32c",
        "initializationVectorCrc32c",
    ])?;
    let (ciphertext, ciphertext_checked) = body.checked_bytes("ciphertext")?;
    let (context, context_checked) = body.checked_bytes("additionalAuthenticatedData")?;
    let (vector, vector_checked) = body.checked_bytes("initializationVector")?;
    let (ciphertext, context) = (ciphertext.unwrap_or_default(), context.unwrap_or_default());
    let vector = vector.ok_or_else(|| required("initialization_vector"))?;
    let used = usable(store, past, input.name(), &[Purpose::RawEncryptDecrypt])?;
    let wrong = || Code::InvalidArgument.because("Decryption failed: verify that 'name' refers to the correct CryptoKeyVersion.");
    let plaintext = match raw_mode(&used)? {
        RawMode::Gcm => {
            if !matches!(body.integer("tagLength")?, None | Some(0 | 16)) {
                return Err(invalid_field("tag_length", "this emulator has tags of 16 bytes"));
            }
            scope.crypto.aes_decrypt(&used.material, AesMode::Gcm, &vector, &context, &ciphertext)
        }
        RawMode::Cbc => scope.crypto.aes_decrypt(&used.material, AesMode::Cbc, &vector, &[], &ciphertext),
        RawMode::Ctr => scope.crypto.aes_ctr(&used.material, counter(&vector)?, &ciphertext).map(Secret::new),
    };
    let plaintext = plaintext.map_err(|_| wrong())?;
    let mut answer = json!({
        "plaintextCrc32c": scope.crc(plaintext.expose()),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "plaintext", encode(plaintext.expose()));
    put(&mut answer, "verifiedCiphertextCrc32c", scope.confirms(ciphertext_checked));
    put(&mut answer, "verifiedAdditionalAuthenticatedDataCrc32c", scope.confirms(context_checked));
    put(&mut answer, "verifiedInitializationVectorCrc32c", scope.confirms(vector_checked));
    Ok(answer)
}

/// Refuses a key of another purpose.
pub(super) fn serves(name: &str, key: &Key, purposes: &[Purpose]) -> Result<(), Refusal> {
    if purposes.contains(&key.purpose) {
        return Ok(());
    }
    let message = format!("{name} has the purpose {}, which this operation does not serve.", key.purpose.name());
    Err(wrong_state(name, "CRYPTO_KEY_PURPOSE", message))
}

/// The version that encrypts under a key: its primary one or, within the consistency window, the former one.
// contract: gcp.consistency, gcp.primary
fn primary(store: &Store, past: Option<&Store>, name: &str) -> Result<String, Refusal> {
    let key = store.key(name)?;
    serves(name, key, &[Purpose::EncryptDecrypt])?;
    let before = past.and_then(|past| past.find_key(name)).and_then(|key| key.primary).filter(|number| key.version(*number).is_some());
    let number = before.or(key.primary).ok_or_else(|| {
        let message = format!("{name} has no primary version.");
        wrong_state(name, "CRYPTO_KEY_PRIMARY", message)
    })?;
    Ok(version_name(name, number))
}

/// The number at the end of a version's name; `None`: it is another name.
fn number_of_version(name: &str) -> Option<u32> {
    let mut parts = name.rsplit('/');
    parts.next()?;
    (parts.next()? == "cryptoKeyVersions").then(|| number_of(name).unwrap_or_default())
}

fn within_limits(level: Level, plaintext: &[u8], context: &[u8]) -> Result<(), Refusal> {
    if level == Level::Hsm && plaintext.len() + context.len() > MOST_HSM {
        return Err(invalid_field("plaintext", format!("with the additional data it must have at most {MOST_HSM} bytes")));
    }
    for (field, bytes) in [("plaintext", plaintext), ("additional_authenticated_data", context)] {
        if bytes.len() > MOST_SOFTWARE {
            return Err(invalid_field(field, format!("must have at most {MOST_SOFTWARE} bytes")));
        }
    }
    Ok(())
}

/// What a ciphertext is bound to: the key's name preceded by its length, the header, the additional data.
fn bound(key: &str, header: &[u8], context: &[u8]) -> Vec<u8> {
    [&(key.len() as u64).to_be_bytes(), key.as_bytes(), header, context].concat()
}

fn raw_mode(used: &Used<'_>) -> Result<RawMode, Refusal> {
    match used.kind {
        Kind::Raw { mode, .. } => Ok(mode),
        _ => Err(Code::Internal.because("a key for raw encryption has another algorithm")),
    }
}

fn counter(vector: &[u8]) -> Result<[u8; 16], Refusal> {
    vector.try_into().map_err(|_| invalid_field("initialization_vector", "must have 16 bytes"))
}
