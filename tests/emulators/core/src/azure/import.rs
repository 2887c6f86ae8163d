//! Imports: transfer blobs, and plain keys for software protection.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use super::{
    config::Kind,
    create::{self, Draft, curve},
    crypt::in_time,
    fields::{BASE64URL, Fields, missing},
    key::{Family, Material, Origin, Public, Store, Use, Version},
    readings::PlainKeyIntoHsm,
    refusal::{Code, Inner, Refusal},
    scope::Scope,
};
use crate::crypto::{
    OaepHash, Secret,
    keys::{Curve, EcPublic, RsaNumbers, RsaPublic},
};

const SCHEMA_VERSION: &str = "1.0.0";
const ALGORITHM: &str = "dir";
const ENCRYPTION: &str = "CKM_RSA_AES_KEY_WRAP";

/// A transfer blob: the contents of a `.byok` file.
#[derive(Deserialize)]
struct Blob {
    schema_version: String,
    header: Header,
    ciphertext: String,
    // The program that made it. Not used, but it has to be a text if it is there.
    #[serde(default, rename = "generator")]
    _generator: String,
}

#[derive(Deserialize)]
struct Header {
    kid: String,
    alg: String,
    enc: String,
}

// contract: azure.import.request
pub(super) fn import(scope: &mut Scope<'_>, store: &mut Store, name: &str, fields: Fields<'_>) -> Result<Value, Refusal> {
    let key = fields.object("key")?.ok_or_else(|| missing("key"))?;
    let (family, hsm_kind) = create::kind(scope.config.kind, key.required_text("kty")?)?;
    let hsm = fields.flag("Hsm")?.unwrap_or(hsm_kind) || scope.config.kind == Kind::ManagedHsm;
    if hsm && scope.config.kind == Kind::Standard {
        return Err(Code::BadParameter.because("HSM keys need a Premium vault or a Managed HSM"));
    }
    if hsm_kind && !hsm {
        return Err(Code::BadParameter.because("a key of this type is an HSM key, and `Hsm` says that it is none"));
    }
    let draft = Draft::read(scope, store, name, fields, key, family, hsm)?;
    if draft.uses.contains(&Use::Import) {
        return Err(Code::BadParameter.because("key_ops: a key exchange key is made in the HSM, and cannot be imported"));
    }
    let private = match key.text("key_hsm")? {
        Some(_) if !hsm_kind => {
            return Err(Code::BadParameter.because("a transfer blob makes a key of type RSA-HSM, EC-HSM or oct-HSM"));
        }
        Some(blob) => open(scope, store, blob)?,
        None if hsm && scope.config.readings.plain_key_into_hsm == PlainKeyIntoHsm::Refused => {
            return Err(Code::BadParameter.because("Property  key_hsm is required: an HSM takes keys in a transfer blob"));
        }
        None => plain(scope, family, key)?,
    };
    let public = public(scope, family, curve(key)?, &private)?;
    Ok(draft.place(scope, store, Material { public, private, hsm, origin: Origin::Imported }))
}

/// The wrapped bytes in a request, for the journal.
pub(super) fn wrapped(body: &Value) -> Option<Vec<u8>> {
    let blob: Value = serde_json::from_slice(&decode(body["key"]["key_hsm"].as_str()?)?).ok()?;
    BASE64URL.decode(blob["ciphertext"].as_str()?).ok()
}

/// The specification of transfer blobs says base64, the service's own says base64url: both are accepted.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).or_else(|_| STANDARD.decode(text)).ok()
}

/// The material in a transfer blob.
// contract: azure.blob, azure.wrapping
fn open(scope: &Scope<'_>, store: &Store, text: &str) -> Result<Secret, Refusal> {
    let wrong = |what: &str| Code::BadParameter.because(format!("the transfer blob is not valid: {what}"));
    let blob = decode(text).ok_or_else(|| wrong("it is not base64"))?;
    let Blob { schema_version, header, ciphertext, .. } =
        serde_json::from_slice(&blob).map_err(|_| wrong("it is not JSON of the form that the specification gives"))?;
    if schema_version != SCHEMA_VERSION {
        return Err(wrong("`schema_version` is not 1.0.0"));
    }
    if header.alg != ALGORITHM || header.enc != ENCRYPTION {
        return Err(wrong("`alg` and `enc` are not dir and CKM_RSA_AES_KEY_WRAP"));
    }
    let ciphertext = BASE64URL.decode(ciphertext).map_err(|_| wrong("`ciphertext` is not base64url"))?;
    let kek = exchange_key(scope, store, &header.kid)?;
    let Public::Rsa(public) = &kek.material.public else {
        return Err(wrong("the key exchange key is no RSA key"));
    };
    let cannot = || wrong("what is in it cannot be unwrapped under this key exchange key");
    let (aes, wrapped) = ciphertext.split_at_checked(public.modulus.len()).ok_or_else(cannot)?;
    let aes = scope.crypto.unwrap_oaep(&kek.material.private, OaepHash::Sha1, aes).map_err(|_| cannot())?;
    scope.crypto.unwrap_kwp(&aes, wrapped).map_err(|_| cannot())
}

/// The version that `kid` names, which has to be a usable key exchange key of this vault.
// contract: azure.kek.same_vault
fn exchange_key<'s>(scope: &Scope<'_>, store: &'s Store, kid: &str) -> Result<&'s Version, Refusal> {
    let unknown = || Code::BadParameter.because(format!("`{kid}` names no version of a key in this vault"));
    let (authority, path) = kid.strip_prefix("https://").and_then(|rest| rest.split_once('/')).ok_or_else(unknown)?;
    let host = authority.split(':').next().unwrap_or_default();
    let mut parts = path.split('/');
    let (Some("keys"), Some(name), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(unknown());
    };
    if !host.eq_ignore_ascii_case(&scope.config.host) || version.is_empty() {
        return Err(unknown());
    }
    let key = store.key(scope.now, name).map_err(|_| unknown())?;
    let version = key.version(Some(version)).map_err(|_| unknown())?;
    if version.uses != [Use::Import] || !version.material.hsm {
        let message = format!("`{kid}` is no key exchange key: `import` has to be the only operation of a key of type RSA-HSM");
        return Err(Code::Forbidden.because(message).with(Inner::KeyOperationForbidden));
    }
    if !version.attributes.enabled {
        return Err(Code::Forbidden.because("Operation import is not allowed on a disabled key.").with(Inner::KeyDisabled));
    }
    in_time(scope.now, version, "import")?;
    Ok(version)
}

/// A key whose parts are in the request.
fn plain(scope: &Scope<'_>, family: Family, key: Fields<'_>) -> Result<Secret, Refusal> {
    let secret = |name| key.required_bytes(name).map(Secret::new);
    // Big-endian numbers: leading zeros mean nothing.
    let number = |name| key.required_bytes(name).map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>());
    let joined = match family {
        Family::Rsa => {
            let public = RsaPublic { modulus: number("n")?, exponent: number("e")? };
            let private = RsaNumbers {
                exponent: secret("d")?,
                primes: [secret("p")?, secret("q")?],
                exponents: [secret("dp")?, secret("dq")?],
                coefficient: secret("qi")?,
            };
            scope.crypto.join_rsa(&public, &private)
        }
        Family::Ec => {
            let curve = curve(key)?.ok_or_else(|| missing("crv"))?;
            let public = EcPublic { x: key.required_bytes("x")?, y: key.required_bytes("y")? };
            scope.crypto.join_ec(curve, &public, &secret("d")?)
        }
        Family::Oct => return Err(Code::BadParameter.because("a symmetric key is imported in a transfer blob")),
    };
    joined.map_err(|_| Code::BadParameter.because("the parts of the key do not belong together"))
}

/// Parses material strictly as a key of this kind.
// contract: azure.material, azure.targets
fn public(scope: &Scope<'_>, family: Family, curve: Option<Curve>, private: &Secret) -> Result<Public, Refusal> {
    let wrong = |what: &str| Code::BadParameter.because(format!("the key material is not valid: {what}"));
    match family {
        Family::Rsa => {
            let public = scope.crypto.read_rsa(private).map_err(|_| wrong("it is no RSA key in PKCS#8"))?;
            create::rsa_size(public.modulus.len())?;
            Ok(Public::Rsa(public))
        }
        Family::Ec => {
            let curves = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];
            let mut wanted = curves.into_iter().filter(|one| curve.is_none_or(|curve| curve == *one));
            let read = wanted.find_map(|curve| scope.crypto.read_ec(curve, private).ok().map(|public| Public::Ec(curve, public)));
            read.ok_or_else(|| wrong("it is no key of this curve in PKCS#8"))
        }
        Family::Oct => match private.expose().len() {
            length @ (16 | 24 | 32) => Ok(Public::Oct(length)),
            _ => Err(wrong("a symmetric key has 128, 192 or 256 bits")),
        },
    }
}
