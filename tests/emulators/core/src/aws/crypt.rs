//! Encryption under KMS keys.
//!
//! A ciphertext names its key and its material, so an old ciphertext decrypts under the material that made it: version (1 byte), key id
//! (16), material id (32), nonce (12), then AES-256-GCM. The first three and the encryption context are authenticated. The version tells
//! whether the key is a multi-Region one, whose ciphertexts decrypt in every region.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint, not_dry},
    grant,
    key::{ID_PREFIX, Key, USABLE},
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};
use crate::{crypto::Secret, frame::dashed};

const SINGLE_REGION: u8 = 1;
const MULTI_REGION: u8 = 2;
const KEY: usize = 16;
const MATERIAL: usize = 32;
const HEADER: usize = 1 + KEY + MATERIAL;
const NONCE: usize = 12;

/// Characters of an encryption context (KMS Developer Guide, "Encryption context").
const LONGEST_CONTEXT: usize = 8192;

pub(super) fn encrypt(scope: &mut Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let plaintext = Secret::new(fields.required_blob("Plaintext", 1..=4096)?);
    let context = context(fields, "EncryptionContext")?;
    symmetric(fields, "EncryptionAlgorithm")?;
    grant::check_tokens(scope, fields)?;
    let key = usable(scope, store, fields.required_text("KeyId", 1..=2048)?)?;
    not_dry(fields)?;
    let (blob, _) = seal(scope, key, &context, plaintext.expose())?;
    scope.used.push(key.id.clone());
    Ok(json!({
        "CiphertextBlob": STANDARD.encode(blob),
        "KeyId": scope.config.key_arn(&key.id),
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }))
}

pub(super) fn decrypt(scope: &mut Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    no_recipient(fields)?;
    let blob = fields.required_blob("CiphertextBlob", 1..=6144)?;
    let context = context(fields, "EncryptionContext")?;
    symmetric(fields, "EncryptionAlgorithm")?;
    grant::check_tokens(scope, fields)?;
    let opened = open(scope, store, fields.text("KeyId", 1..=2048)?, &blob, &context)?;
    not_dry(fields)?;
    scope.used.push(opened.key.id.clone());
    Ok(json!({
        "KeyId": scope.config.key_arn(&opened.key.id),
        "Plaintext": STANDARD.encode(opened.plaintext.expose()),
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": opened.material,
    }))
}

pub(super) fn re_encrypt(scope: &mut Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let blob = fields.required_blob("CiphertextBlob", 1..=6144)?;
    let old_context = context(fields, "SourceEncryptionContext")?;
    let new_context = context(fields, "DestinationEncryptionContext")?;
    symmetric(fields, "SourceEncryptionAlgorithm")?;
    symmetric(fields, "DestinationEncryptionAlgorithm")?;
    grant::check_tokens(scope, fields)?;
    let destination = usable(scope, store, fields.required_text("DestinationKeyId", 1..=2048)?)?;
    let opened = open(scope, store, fields.text("SourceKeyId", 1..=2048)?, &blob, &old_context)?;
    not_dry(fields)?;
    let (blob, material) = seal(scope, destination, &new_context, opened.plaintext.expose())?;
    scope.used.extend([opened.key.id.clone(), destination.id.clone()]);
    Ok(json!({
        "CiphertextBlob": STANDARD.encode(blob),
        "SourceKeyId": scope.config.key_arn(&opened.key.id),
        "KeyId": scope.config.key_arn(&destination.id),
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": opened.material,
        "DestinationKeyMaterialId": material,
    }))
}

/// `GenerateDataKey`, and its variant without plaintext.
pub(super) fn data_key(scope: &mut Scope<'_>, store: &Store, fields: &Fields<'_>, with_plaintext: bool) -> Result<Value, Refusal> {
    no_recipient(fields)?;
    let spec = fields.word("KeySpec", &[("AES_256", 32), ("AES_128", 16)])?;
    let length = match (spec, fields.integer("NumberOfBytes", 1..=1024)?) {
        (Some(length), None) | (None, Some(length)) => length as usize,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Code::Validation.because("exactly one of `KeySpec` and `NumberOfBytes` must be given"));
        }
    };
    let context = context(fields, "EncryptionContext")?;
    grant::check_tokens(scope, fields)?;
    let key = usable(scope, store, fields.required_text("KeyId", 1..=2048)?)?;
    not_dry(fields)?;
    let mut bytes = vec![0; length];
    scope.rng.fill_bytes(&mut bytes);
    let plaintext = Secret::new(bytes);
    let (blob, material) = seal(scope, key, &context, plaintext.expose())?;
    scope.used.push(key.id.clone());
    let mut answer = json!({
        "CiphertextBlob": STANDARD.encode(blob),
        "KeyId": scope.config.key_arn(&key.id),
        "KeyMaterialId": material,
    });
    if with_plaintext {
        answer["Plaintext"] = STANDARD.encode(plaintext.expose()).into();
    }
    Ok(answer)
}

struct Opened<'s> {
    key: &'s Key,
    material: String,
    plaintext: Secret,
}

fn seal(scope: &mut Scope<'_>, key: &Key, context: &[u8], plaintext: &[u8]) -> Result<(Vec<u8>, String), Refusal> {
    let lost = || Code::Internal.because("an enabled key has no usable material");
    let current = key.current().ok_or_else(lost)?;
    let bytes = current.bytes().ok_or_else(lost)?;
    let (version, id) = match key.id.strip_prefix(ID_PREFIX) {
        Some(id) => (MULTI_REGION, id.to_owned()),
        None => (SINGLE_REGION, key.id.replace('-', "")),
    };
    let mut blob = vec![version];
    blob.extend(hex::decode(id).map_err(|_| lost())?);
    blob.extend(hex::decode(&current.id).map_err(|_| lost())?);
    let nonce = scope.nonce();
    let authenticated = [blob.as_slice(), context].concat();
    let sealed = scope.crypto.seal(bytes, nonce, &authenticated, plaintext)?;
    blob.extend(nonce);
    blob.extend(sealed);
    Ok((blob, current.id.clone()))
}

fn open<'s>(scope: &Scope<'_>, store: &'s Store, expected: Option<&str>, blob: &[u8], context: &[u8]) -> Result<Opened<'s>, Refusal> {
    let invalid = || Code::InvalidCiphertext.because("the ciphertext or its encryption context is not right");
    let (header, rest) = blob.split_at_checked(HEADER).ok_or_else(invalid)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(invalid)?;
    let id = hex::encode(&header[1..=KEY]);
    let id = match header[0] {
        SINGLE_REGION => dashed(&id),
        MULTI_REGION => format!("{ID_PREFIX}{id}"),
        _ => return Err(invalid()),
    };
    let material = hex::encode(&header[1 + KEY..]);
    if let Some(expected) = expected
        && usable(scope, store, expected)?.id != id
    {
        return Err(Code::IncorrectKey.because("the ciphertext was made under another key"));
    }
    // KMS does not say whether such a key exists.
    let unknown = "the ciphertext refers to a key that does not exist, or that you are not allowed to access";
    let key = store.get(&id).ok_or_else(|| Code::AccessDenied.because(unknown))?;
    key.allow(USABLE)?;
    let bytes = key.material(&material).and_then(|known| known.bytes()).ok_or_else(invalid)?;
    let authenticated = [header, context].concat();
    let plaintext = scope.crypto.open(bytes, *nonce, &authenticated, sealed).map_err(|_| invalid())?;
    Ok(Opened { key, material, plaintext })
}

fn usable<'s>(scope: &Scope<'_>, store: &'s Store, identifier: &str) -> Result<&'s Key, Refusal> {
    let key = store.find(scope.config, identifier, Naming::KeyOrAlias)?;
    key.allow(USABLE)?;
    Ok(key)
}

/// The encryption context in one canonical form: pairs in the order of their names, each text preceded by its length.
fn context(fields: &Fields<'_>, name: &str) -> Result<Vec<u8>, Refusal> {
    let pairs = fields.texts(name)?;
    let mut canonical = Vec::new();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        canonical.extend((text.len() as u64).to_be_bytes());
        canonical.extend(text.as_bytes());
    }
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LONGEST_CONTEXT {
        return Err(Code::Validation.because(format!("an encryption context has at most {LONGEST_CONTEXT} characters")));
    }
    Ok(canonical)
}

fn symmetric(fields: &Fields<'_>, name: &str) -> Result<(), Refusal> {
    match fields.text(name, 1..=64)? {
        None | Some("SYMMETRIC_DEFAULT") => Ok(()),
        Some(other @ ("RSAES_OAEP_SHA_1" | "RSAES_OAEP_SHA_256" | "SM2PKE")) => {
            Err(Code::InvalidKeyUsage.because(format!("a symmetric key cannot be used with `{other}`")))
        }
        Some(other) => Err(constraint(name, other, "Member must satisfy enum value set")),
    }
}

fn no_recipient(fields: &Fields<'_>) -> Result<(), Refusal> {
    if fields.has("Recipient") {
        return Err(Code::UnsupportedOperation.because("this emulator knows no enclaves"));
    }
    Ok(())
}
