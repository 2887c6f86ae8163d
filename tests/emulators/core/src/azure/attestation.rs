//! Attestations of a Managed HSM: signed statements that it holds a key, and what the key can do.
//!
//! The format is that of the HSMs behind the service, as the published checker reads it: a header of 20 bytes, a count, and PKCS#11
//! attributes, each as type, length and value; at the end an RSA signature over all of it. There are two certificates for the signing key,
//! one from the HSM's manufacturer and one from its owner.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    config::{Forgery, Kind},
    fields::BASE64URL,
    key::{Key, Origin, Public, Store, Use, Version},
    operation::Target,
    refusal::{Code, Refusal},
    scope::Scope,
};
use crate::crypto::keys::{Curve, Hash, RsaSignature};

/// The length of the header, in bytes.
const HEADER: usize = 20;

const VERSION: &str = "MRVL-1";

const CLASS: u32 = 0x0000;
const TOKEN: u32 = 0x0001;
const PRIVATE: u32 = 0x0002;
const KEY_TYPE: u32 = 0x0100;
const ID: u32 = 0x0102;
const SENSITIVE: u32 = 0x0103;
const MODULUS: u32 = 0x0120;
const PUBLIC_EXPONENT: u32 = 0x0122;
const VALUE_LEN: u32 = 0x0161;
const EXTRACTABLE: u32 = 0x0162;
const LOCAL: u32 = 0x0163;
const NEVER_EXTRACTABLE: u32 = 0x0164;
const EC_PARAMS: u32 = 0x0180;
const EC_POINT: u32 = 0x0181;

/// The attributes for the uses of a key. A key exchange key unwraps.
const USES: [(u32, &[Use]); 6] = [
    (0x0104, &[Use::Encrypt]),
    (0x0105, &[Use::Decrypt]),
    (0x0106, &[Use::WrapKey]),
    (0x0107, &[Use::UnwrapKey, Use::Import]),
    (0x0108, &[Use::Sign]),
    (0x010a, &[Use::Verify]),
];

const PUBLIC_CLASS: u8 = 2;
const PRIVATE_CLASS: u8 = 3;
const SECRET_CLASS: u8 = 4;

// contract: azure.attestation
pub(super) fn attest(scope: &Scope<'_>, store: &Store, target: &Target) -> Result<Value, Refusal> {
    if scope.config.kind != Kind::ManagedHsm {
        return Err(Code::NotSupported.because("attestations come from a Managed HSM"));
    }
    if matches!(scope.writer.api_version, "7.4" | "7.5") {
        return Err(Code::NotFound.because("this version of the API has no attestations"));
    }
    let attester = scope.config.attester.as_ref().ok_or_else(|| Code::NotSupported.because("this HSM has no key to attest with"))?;
    let key = store.key(scope.now, &target.name)?;
    let version = key.version(target.version.as_deref())?;
    let signed = |class| -> Result<String, Refusal> {
        let forgery = scope.config.forgery;
        let mut blob = blob(key, version, class, forgery);
        let digest = scope.crypto.hash(&[&blob, if forgery == Some(Forgery::Signature) { b"something else" } else { b"" }]);
        blob.extend(scope.crypto.rsa_sign(&attester.private, RsaSignature::Pkcs1, Hash::Sha256, &digest)?);
        Ok(BASE64URL.encode(blob))
    };
    let mut attestation = json!({ "version": VERSION, "certificatePemFile": BASE64URL.encode(&attester.certificates) });
    if matches!(version.material.public, Public::Oct(_)) {
        attestation["privateKeyAttestation"] = signed(SECRET_CLASS)?.into();
    } else {
        attestation["privateKeyAttestation"] = signed(PRIVATE_CLASS)?.into();
        attestation["publicKeyAttestation"] = signed(PUBLIC_CLASS)?.into();
    }
    let mut bundle = scope.writer.bundle(key, version);
    bundle["attributes"]["attestation"] = attestation;
    Ok(bundle)
}

/// The attestation of one half of a key, without its signature.
fn blob(key: &Key, version: &Version, class: u8, forgery: Option<Forgery>) -> Vec<u8> {
    let secret = class != PUBLIC_CLASS;
    let flag = |set: bool| vec![u8::from(set)];
    let generated = version.material.origin == Origin::Generated && forgery != Some(Forgery::Origin);
    let may = |word: &Use| version.uses.contains(word) || forgery == Some(Forgery::Uses) && *word == Use::Decrypt;
    let mut attributes = vec![
        (CLASS, vec![class]),
        (TOKEN, flag(true)),
        (PRIVATE, flag(secret)),
        (ID, format!("keys/{}/{}", key.name, version.id).into_bytes()),
        (SENSITIVE, flag(secret)),
        (EXTRACTABLE, flag(!secret || forgery == Some(Forgery::Extractable))),
        (LOCAL, flag(generated)),
        (NEVER_EXTRACTABLE, flag(secret && generated)),
    ];
    attributes.extend(USES.map(|(attribute, uses)| (attribute, flag(uses.iter().any(may)))));
    match &version.material.public {
        Public::Rsa(public) => {
            let mut modulus = public.modulus.clone();
            if forgery == Some(Forgery::Key) {
                modulus.reverse();
            }
            attributes.extend([(KEY_TYPE, vec![0x00]), (MODULUS, modulus), (PUBLIC_EXPONENT, public.exponent.clone())]);
        }
        Public::Ec(curve, point) => attributes.extend([
            (KEY_TYPE, vec![0x03]),
            (EC_PARAMS, parameters(*curve).to_vec()),
            (EC_POINT, [&[4], point.x.as_slice(), point.y.as_slice()].concat()),
        ]),
        Public::Oct(length) => {
            let length = u32::try_from(*length).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            attributes.extend([(KEY_TYPE, vec![0x1f]), (VALUE_LEN, length)]);
        }
    }
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let values: Vec<u8> =
        attributes.iter().flat_map(|(attribute, value)| [&attribute.to_be_bytes()[..], &word(value.len()), value].concat()).collect();
    let mut blob = vec![0; HEADER];
    blob.extend([[0; 4], word(attributes.len()), word(values.len())].concat());
    blob.extend(values);
    blob
}

/// The curve's object identifier in DER.
const fn parameters(curve: Curve) -> &'static [u8] {
    match curve {
        Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        Curve::P384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        Curve::P521 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
        Curve::Secp256k1 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
    }
}
