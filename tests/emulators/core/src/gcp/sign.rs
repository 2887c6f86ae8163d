//! Public keys, signatures, decryption with private keys, and message authentication codes.

use serde_json::{Value, json};

use super::{
    certificate::pem,
    checksum::crc32c,
    crypt::{Used, usable},
    fields::{Message, required},
    input::Input,
    refusal::{Code, Refusal, invalid_field},
    scope::Scope,
    store::Store,
    word::{KeyFormat, Kind, Level, Purpose, Word as _},
    written::{encode, put},
};
use crate::crypto::{
    keys::{Hash, RsaEncryption},
    service::PairKind,
};

/// The most bytes that are signed (PROTO, `AsymmetricSignRequest` and `MacSignRequest`).
const MOST_SOFTWARE: usize = 64 * 1024;
const MOST_HSM: usize = 16 * 1024;

pub(super) fn public_key(scope: &Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let format: Option<KeyFormat> = input.parameters(&["publicKeyFormat"])?.word("publicKeyFormat")?;
    let used = usable(store, past, input.name(), &[Purpose::AsymmetricSign, Purpose::AsymmetricDecrypt])?;
    let der = scope.crypto.public_of(pair_kind(&used)?, &used.material)?;
    let text = pem("PUBLIC KEY", &der);
    let mut answer = json!({
        "algorithm": scope.style.word(used.version.algorithm),
        "name": used.name,
        "protectionLevel": scope.style.word(used.version.level),
    });
    let data = match format {
        None => {
            answer["pemCrc32c"] = scope.crc(text.as_bytes());
            answer["pem"] = text.into();
            return Ok(answer);
        }
        Some(KeyFormat::Pem) => text.into_bytes(),
        Some(KeyFormat::Der) => der,
        Some(other) => return Err(invalid_field("public_key_format", format!("this key cannot be written as {}", other.name()))),
    };
    answer["publicKey"] = json!({ "data": encode(&data), "crc32cChecksum": scope.crc(&data) });
    put(&mut answer, "publicKeyFormat", format.map(|format| scope.style.word(format)).unwrap_or_default());
    Ok(answer)
}

pub(super) fn asymmetric_sign(scope: &Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["digest", "digestCrc32c", "data", "dataCrc32c"])?;
    let used = usable(store, past, input.name(), &[Purpose::AsymmetricSign])?;
    let (data, data_checked) = body.checked_bytes("data")?;
    let digest = body.message("digest", &["sha256", "sha384", "sha512", "externalMu"])?;
    if data.is_some() == digest.is_some() {
        return Err(invalid_field("digest", "exactly one of `digest` and `data` must be given"));
    }
    limited(used.version.level, data.as_deref().unwrap_or_default())?;

    let mut digest_checked = false;
    let mut digested = |hash: Hash| -> Result<Vec<u8>, Refusal> {
        let Some(digest) = &digest else {
            return Ok(scope.crypto.digest(hash, data.as_deref().unwrap_or_default()));
        };
        let (field, length) = match hash {
            Hash::Sha256 => ("sha256", 32),
            Hash::Sha384 => ("sha384", 48),
            Hash::Sha512 => ("sha512", 64),
        };
        let bytes = digest.bytes(field)?.filter(|bytes| bytes.len() == length);
        let bytes =
            bytes.ok_or_else(|| invalid_field(&format!("digest.{field}"), format!("the key signs digests of {length} bytes there")))?;
        digest_checked = is_checked(&body, "digestCrc32c", "digest", &bytes)?;
        Ok(bytes)
    };
    let signature = match used.kind {
        Kind::RsaSign { padding, hash, .. } => scope.crypto.rsa_sign(&used.material, padding, hash, &digested(hash)?)?,
        Kind::Ec(curve) => asn1(&scope.crypto.ec_sign(curve, &used.material, &digested(curve.hash())?)?),
        Kind::Ed25519 => {
            let data = data.as_deref().ok_or_else(|| invalid_field("data", "an Ed25519 key signs data, not digests"))?;
            scope.crypto.ed25519_sign(&used.material, data)?
        }
        _ => return Err(Code::Internal.because("a key for signatures has another algorithm")),
    };
    let mut answer = json!({
        "name": used.name,
        "signature": encode(&signature),
        "signatureCrc32c": scope.crc(&signature),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "verifiedDigestCrc32c", scope.confirms(digest_checked));
    put(&mut answer, "verifiedDataCrc32c", scope.confirms(data_checked));
    Ok(answer)
}

pub(super) fn asymmetric_decrypt(scope: &Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["ciphertext", "ciphertextCrc32c"])?;
    let used = usable(store, past, input.name(), &[Purpose::AsymmetricDecrypt])?;
    let (ciphertext, checked) = body.checked_bytes("ciphertext")?;
    let ciphertext = ciphertext.ok_or_else(|| required("ciphertext"))?;
    let Kind::RsaDecrypt { hash, .. } = used.kind else {
        return Err(Code::Internal.because("a key for decryption has another algorithm"));
    };
    let plaintext = scope
        .crypto
        .rsa_decrypt(&used.material, RsaEncryption::Oaep(hash), &ciphertext)
        .map_err(|_| Code::InvalidArgument.because("Decryption failed: the ciphertext is invalid."))?;
    let mut answer = json!({
        "plaintextCrc32c": scope.crc(plaintext.expose()),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "plaintext", encode(plaintext.expose()));
    put(&mut answer, "verifiedCiphertextCrc32c", scope.confirms(checked));
    Ok(answer)
}

pub(super) fn mac_sign(scope: &Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["data", "dataCrc32c"])?;
    let used = usable(store, past, input.name(), &[Purpose::Mac])?;
    let (data, checked) = body.checked_bytes("data")?;
    let code = mac(scope, &used, &data.unwrap_or_default())?;
    let mut answer = json!({
        "name": used.name,
        "mac": encode(&code),
        "macCrc32c": scope.crc(&code),
        "protectionLevel": scope.style.word(used.version.level),
    });
    put(&mut answer, "verifiedDataCrc32c", scope.confirms(checked));
    Ok(answer)
}

pub(super) fn mac_verify(scope: &Scope<'_>, store: &Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["data", "dataCrc32c", "mac", "macCrc32c"])?;
    let used = usable(store, past, input.name(), &[Purpose::Mac])?;
    let (data, data_checked) = body.checked_bytes("data")?;
    let (claimed, mac_checked) = body.checked_bytes("mac")?;
    let claimed = claimed.ok_or_else(|| required("mac"))?;
    let success = mac(scope, &used, &data.unwrap_or_default())? == claimed;
    let mut answer = json!({ "name": used.name, "protectionLevel": scope.style.word(used.version.level) });
    put(&mut answer, "success", success);
    put(&mut answer, "verifiedSuccessIntegrity", success != scope.config.readings.spoiled.checksum);
    put(&mut answer, "verifiedDataCrc32c", scope.confirms(data_checked));
    put(&mut answer, "verifiedMacCrc32c", scope.confirms(mac_checked));
    Ok(answer)
}

fn mac(scope: &Scope<'_>, used: &Used<'_>, data: &[u8]) -> Result<Vec<u8>, Refusal> {
    limited(used.version.level, data)?;
    match used.kind {
        Kind::Hmac(hash) => Ok(scope.crypto.mac(hash, &used.material, data)),
        _ => Err(Code::Internal.because("a key for codes has another algorithm")),
    }
}

fn pair_kind(used: &Used<'_>) -> Result<PairKind, Refusal> {
    match used.kind {
        Kind::RsaSign { .. } | Kind::RsaDecrypt { .. } => Ok(PairKind::Rsa),
        Kind::Ec(curve) => Ok(PairKind::Ec(curve)),
        Kind::Ed25519 => Ok(PairKind::Ed25519),
        Kind::Symmetric | Kind::Raw { .. } | Kind::Hmac(_) => Err(Code::Internal.because("a secret key has no public half")),
    }
}

fn limited(level: Level, data: &[u8]) -> Result<(), Refusal> {
    let most = if level == Level::Hsm { MOST_HSM } else { MOST_SOFTWARE };
    if data.len() > most {
        return Err(invalid_field("data", format!("must have at most {most} bytes")));
    }
    Ok(())
}

/// Whether the client sent a checksum. A wrong one is refused.
fn is_checked(body: &Message<'_>, field: &str, of: &str, bytes: &[u8]) -> Result<bool, Refusal> {
    match body.integer(field)? {
        None => Ok(false),
        Some(claimed) if claimed == i64::from(crc32c(bytes)) => Ok(true),
        Some(_) => Err(invalid_field(field, format!("the checksum did not match the data in `{of}`"))),
    }
}

/// An ECDSA signature in DER, from two numbers of fixed length.
fn asn1(fixed: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let sign: &[u8] = if bytes[first] & 0x80 == 0 { &[] } else { &[0] };
        let content = [sign, &bytes[first..]].concat();
        [&[0x02, content.len().to_le_bytes()[0]], content.as_slice()].concat()
    };
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let content = [integer(r), integer(s)].concat();
    // Two numbers of at most 49 bytes each, so the length fits into seven bits.
    [&[0x30, content.len().to_le_bytes()[0]], content.as_slice()].concat()
}
