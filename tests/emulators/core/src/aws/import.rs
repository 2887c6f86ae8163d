//! Imports of key material: parameters, import, deletion.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint},
    key::{Key, KeyState, LIVING, Material, Origin, Role},
    readings::{ImportTokenUse, ImportWhileDisabled, MultiRegionRotation, RepeatedPendingImport, RestoredDisabledKey},
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};
use crate::{
    Timestamp,
    crypto::{OaepHash, RsaSize, Secret},
};

/// How long public key and token are valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How far in the future material may expire.
const LONGEST_VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Distinguishes import tokens from other tokens of the emulator.
const TOKEN_CONTEXT: &[u8] = b"import token";

/// The length of a symmetric key, in bytes.
const SYMMETRIC: usize = 32;

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Wrapping {
    OaepSha1,
    OaepSha256,
    RsaAesSha1,
    RsaAesSha256,
}

/// The contents of an import token, which a client sees encrypted.
#[derive(Serialize, Deserialize)]
struct Token {
    number: u64,
    key: String,
    wrapping: Wrapping,
    bits: u32,
    pair: usize,
    expires: i64,
}

// contract: aws.import.parameters
pub(super) fn parameters(scope: &mut Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let wrapping = match fields.required_text("WrappingAlgorithm", 1..=64)? {
        "RSAES_OAEP_SHA_1" => Wrapping::OaepSha1,
        "RSAES_OAEP_SHA_256" => Wrapping::OaepSha256,
        "RSA_AES_KEY_WRAP_SHA_1" => Wrapping::RsaAesSha1,
        "RSA_AES_KEY_WRAP_SHA_256" => Wrapping::RsaAesSha256,
        gone @ ("RSAES_PKCS1_V1_5" | "SM2PKE") => {
            return Err(Code::UnsupportedOperation.because(format!("wrapping algorithm `{gone}` is not supported here")));
        }
        other => {
            return Err(constraint("WrappingAlgorithm", other, "Member must satisfy enum value set"));
        }
    };
    let (size, bits) = match fields.required_text("WrappingKeySpec", 1..=64)? {
        "RSA_2048" => (RsaSize::Rsa2048, 2048),
        "RSA_3072" => (RsaSize::Rsa3072, 3072),
        "RSA_4096" => (RsaSize::Rsa4096, 4096),
        "SM2" => {
            return Err(Code::UnsupportedOperation.because("wrapping key spec `SM2` is not supported here"));
        }
        other => {
            return Err(constraint("WrappingKeySpec", other, "Member must satisfy enum value set"));
        }
    };
    let key = external(scope, store, fields)?;
    key.allow(LIVING)?;

    let expires = scope.now + TOKEN_LIFETIME;
    let number = scope.wrappers.next_number();
    let (pair, made) = scope.wrappers.pairs.next(scope.crypto, size)?;
    let public = STANDARD.encode(&made.public);
    let token = Token { number, key: scope.config.key_arn(&key.id), wrapping, bits, pair, expires: expires.micros() };
    let payload = serde_json::to_vec(&token).map_err(|_| Code::Internal.because("the token cannot be written"))?;
    let sealed = scope.seal_token(TOKEN_CONTEXT, &payload)?;
    Ok(json!({
        "KeyId": scope.config.key_arn(&key.id),
        "ImportToken": STANDARD.encode(sealed),
        "PublicKey": public,
        "ParametersValidTo": expires.seconds(),
    }))
}

pub(super) fn import(scope: &mut Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let order = Order::read(scope, fields)?;
    let key = external(scope, store, fields)?;
    key.allow(LIVING)?;
    let was_disabled = key.state() == KeyState::Disabled;
    if was_disabled && scope.config.readings.import_while_disabled == ImportWhileDisabled::Refused {
        return Err(key.in_wrong_state("disabled"));
    }
    let token = open_token(scope, key, &order.token)?;
    if store.used_tokens.contains(&token.number) {
        return Err(Code::InvalidImportToken.because("the import token has served"));
    }
    let bytes = unwrap(scope, &token, &order.wrapped)?;
    // contract: aws.import.material
    if bytes.expose().len() != SYMMETRIC {
        let message = format!("key material of a symmetric key has {SYMMETRIC} bytes, not {}", bytes.expose().len());
        return Err(Code::IncorrectKeyMaterial.because(message));
    }
    let material = scope.material_id(&key.id, &bytes);
    order.fits(scope, key, &material)?;

    let id = key.id.clone();
    let readings = &scope.config.readings;
    store.change(&id, |key| {
        order.place(key, &material, bytes);
        // "When this operation is successful, the state of the KMS key changes to Enabled"; the readings decide the doubtful cases.
        let stays_disabled = if was_disabled {
            readings.import_while_disabled != ImportWhileDisabled::Enables
        } else {
            readings.restored_disabled_key == RestoredDisabledKey::Disabled
        };
        if key.is_whole() && !stays_disabled {
            key.disabled = false;
        }
    });
    if readings.import_token_use == ImportTokenUse::Once {
        store.used_tokens.insert(token.number);
    }
    Ok(json!({ "KeyId": scope.config.key_arn(&id), "KeyMaterialId": material }))
}

// contract: aws.import.deletion
pub(super) fn delete(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let wanted = material_id_field(fields)?;
    let key = external(scope, store, fields)?;
    let material = match wanted {
        Some(id) => Some(
            key.material(id).ok_or_else(|| Code::NotFound.because(format!("key material `{id}` is not associated with `{}`", key.id)))?,
        ),
        None => key.current(),
    };
    let mut answer = json!({ "KeyId": scope.config.key_arn(&key.id) });
    let Some(material) = material else {
        return Ok(answer);
    };
    if material.role == Role::PendingRotation && key.rotation.is_some() {
        return Err(key.in_wrong_state("being rotated"));
    }
    answer["KeyMaterialId"] = material.id.clone().into();
    let (id, material) = (key.id.clone(), material.id.clone());
    store.change(&id, |key| {
        // Pending material is forgotten, since it is not yet bound to the key. Other material waits for its bytes.
        key.materials.retain(|known| known.id != material || known.role != Role::PendingRotation);
        key.materials.iter_mut().filter(|known| known.id == material).for_each(Material::lose);
    });
    Ok(answer)
}

/// The parameters of an import.
struct Order {
    token: Vec<u8>,
    wrapped: Vec<u8>,
    expires: Option<Timestamp>,
    /// `ImportType`: whether the material is new. `None`: not given.
    new: Option<bool>,
    material: Option<String>,
    description: Option<String>,
}

impl Order {
    fn read(scope: &Scope<'_>, fields: &Fields<'_>) -> Result<Self, Refusal> {
        let new = fields.word("ImportType", &[("NEW_KEY_MATERIAL", true), ("EXISTING_KEY_MATERIAL", false)])?;
        let material = material_id_field(fields)?.map(str::to_owned);
        if new == Some(true) && material.is_some() {
            return Err(Code::Validation.because("`KeyMaterialId` cannot be given with `NEW_KEY_MATERIAL`"));
        }
        Ok(Self {
            token: fields.required_blob("ImportToken", 1..=6144)?,
            wrapped: fields.required_blob("EncryptedKeyMaterial", 1..=6144)?,
            expires: expiry(scope.now, fields)?,
            new,
            material,
            description: description(fields)?,
        })
    }

    /// Checks that this material may be imported into this key now.
    // contract: aws.import.type, aws.import.wrong_material, aws.rotation.pending
    fn fits(&self, scope: &Scope<'_>, key: &Key, material: &str) -> Result<(), Refusal> {
        let known = key.material(material);
        let incorrect = |message: &str| Err(Code::IncorrectKeyMaterial.because(message));
        if self.new == Some(true) && key.is_replica(&scope.config.region) {
            let message = format!("`{}` is a replica: new key material goes to the primary key first", key.id);
            return Err(Code::UnsupportedOperation.because(message));
        }
        if !self.new.unwrap_or(key.materials.is_empty()) {
            return match (known, &self.material) {
                (None, _) => incorrect("the key material is not associated with this key"),
                (Some(_), Some(wanted)) if wanted != material => incorrect("the key material has another id"),
                (Some(_), _) => Ok(()),
            };
        }
        if self.material.is_some() {
            return Err(Code::Validation.because("`KeyMaterialId` cannot be given for the first key material"));
        }
        let second = key.related.is_some() && !key.materials.is_empty();
        if second && scope.config.readings.multi_region_rotation == MultiRegionRotation::Refused {
            return Err(key.not_in_many_regions());
        }
        match (known.map(|known| known.role), key.pending()) {
            (Some(Role::PendingRotation), _) => match scope.config.readings.repeated_pending_import {
                RepeatedPendingImport::IncorrectKeyMaterial => incorrect("the key material is already associated"),
                RepeatedPendingImport::InvalidState => Err(key.in_wrong_state("pending rotation")),
            },
            (Some(Role::Current | Role::NonCurrent), _) => incorrect("the key material is already associated"),
            (None, Some(_)) => Err(key.in_wrong_state("pending rotation")),
            (None, None) => Ok(()),
        }
    }

    /// Stores the bytes as current or pending material.
    fn place(self, key: &mut Key, material: &str, bytes: Secret) {
        let role = if key.materials.is_empty() { Role::Current } else { Role::PendingRotation };
        if key.material(material).is_none() {
            let id = material.to_owned();
            key.materials.push(Material { id, description: None, bytes: None, expires: None, role, rotated: None });
        }
        let bytes = Arc::new(bytes);
        for known in key.materials.iter_mut().filter(|known| known.id == material) {
            known.bytes = Some(Arc::clone(&bytes));
            known.expires = self.expires;
            if self.description.is_some() {
                known.description.clone_from(&self.description);
            }
        }
    }
}

/// Finds the key, whose origin has to be external.
fn external<'s>(scope: &Scope<'_>, store: &'s Store, fields: &Fields<'_>) -> Result<&'s Key, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    match key.origin {
        Origin::External => Ok(key),
        Origin::AwsKms => {
            let message = format!("the origin of `{}` is `AWS_KMS`, which is not valid for this operation", key.id);
            Err(Code::UnsupportedOperation.because(message))
        }
    }
}

// contract: aws.import.expiry
fn expiry(now: Timestamp, fields: &Fields<'_>) -> Result<Option<Timestamp>, Refusal> {
    let models = [("KEY_MATERIAL_EXPIRES", true), ("KEY_MATERIAL_DOES_NOT_EXPIRE", false)];
    let expires = fields.word("ExpirationModel", &models)?.unwrap_or(true);
    match (expires, fields.moment("ValidTo")?) {
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Code::Validation.because("`ValidTo` is not valid with `KEY_MATERIAL_DOES_NOT_EXPIRE`")),
        (true, None) => Err(Code::Validation.because("`KEY_MATERIAL_EXPIRES`, the default, requires `ValidTo`")),
        (true, Some(at)) if at <= now => Err(Code::Validation.because("`ValidTo` must be in the future")),
        (true, Some(at)) if at > now + LONGEST_VALIDITY => Err(Code::Validation.because("`ValidTo` must be at most 365 days away")),
        (true, Some(at)) => Ok(Some(at)),
    }
}

fn description(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    let Some(text) = fields.text("KeyMaterialDescription", 0..=256)? else {
        return Ok(None);
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || matches!(c, ':' | '/' | '_' | '.' | '-');
    if text.is_empty() || !text.chars().all(allowed) {
        let rule = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_\\s.-]+$";
        return Err(constraint("KeyMaterialDescription", text, rule));
    }
    Ok(Some(text.to_owned()))
}

fn material_id_field<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Refusal> {
    let Some(id) = fields.text("KeyMaterialId", 64..=64)? else {
        return Ok(None);
    };
    if !id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        let rule = "Member must satisfy regular expression pattern: ^[a-f0-9]+$";
        return Err(constraint("KeyMaterialId", id, rule));
    }
    Ok(Some(id))
}

// contract: aws.import.token
fn open_token(scope: &Scope<'_>, key: &Key, sealed: &[u8]) -> Result<Token, Refusal> {
    let invalid = || Code::InvalidImportToken.because("the import token is not one for this key");
    let payload = scope.open_token(TOKEN_CONTEXT, sealed).ok_or_else(invalid)?;
    let token: Token = serde_json::from_slice(payload.expose()).map_err(|_| invalid())?;
    if token.key != scope.config.key_arn(&key.id) {
        return Err(invalid());
    }
    if Timestamp::from_micros(token.expires) <= scope.now {
        return Err(Code::ExpiredImportToken.because("the import token has expired"));
    }
    Ok(token)
}

// contract: aws.import.algorithms
fn unwrap(scope: &Scope<'_>, token: &Token, wrapped: &[u8]) -> Result<Secret, Refusal> {
    let size = match token.bits {
        2048 => RsaSize::Rsa2048,
        3072 => RsaSize::Rsa3072,
        _ => RsaSize::Rsa4096,
    };
    let pair = scope.wrappers.pairs.at(size, token.pair);
    let private = &pair.ok_or_else(|| Code::Internal.because("the wrapping key is gone"))?.private;
    let (hash, with_aes) = match token.wrapping {
        Wrapping::OaepSha1 => (OaepHash::Sha1, false),
        Wrapping::OaepSha256 => (OaepHash::Sha256, false),
        Wrapping::RsaAesSha1 => (OaepHash::Sha1, true),
        Wrapping::RsaAesSha256 => (OaepHash::Sha256, true),
    };
    let unwrapped = if with_aes {
        wrapped.split_at_checked(size.bytes()).ok_or(crate::crypto::Refused).and_then(|(kek, wrapped)| {
            let kek = scope.crypto.unwrap_oaep(private, hash, kek)?;
            scope.crypto.unwrap_kwp(&kek, wrapped)
        })
    } else {
        scope.crypto.unwrap_oaep(private, hash, wrapped)
    };
    unwrapped.map_err(|_| Code::InvalidCiphertext.because("the key material cannot be decrypted under this token's key"))
}
