//! Translates Azure's JSON Web Keys: algorithm, purpose, public key.

use azure_security_keyvault_keys::models::{CurveName, JsonWebKey, KeyOperation, KeyType};
use keyplane_destination::without_zeros;
use keyplane_model::{Algorithm, PublicKey, Purpose};
use pkcs1::{RsaPublicKey, UintRef};
use spki::der::Encode as _;
use spki::der::asn1::{AnyRef, BitStringRef};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1 (RFC 5480).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// secp384r1 (RFC 5480).
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// The longest number that is read, in bytes without leading zeros. Azure's longest RSA keys have 4,096 bits.
const MAX_NUMBER: usize = 512;

/// The operations (`key_ops`) of our keys of a purpose, and no others. Encrypting and wrapping go together, because Azure's users use
/// either for the same.
pub(crate) fn operations(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Encrypt => &["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        Purpose::Sign => &["sign", "verify"],
        // Azure imports no MAC keys.
        Purpose::Mac => &[],
    }
}

/// The only operation of a key exchange key; `import` excludes every other.
// contract: azure.kek.create
pub(crate) const KEK_OPERATION: KeyOperation = KeyOperation::Import;

/// The key type and curve for an algorithm. All types are those of HSM keys. `None`: Azure imports no such keys.
pub(crate) fn key_type(algorithm: Algorithm) -> Option<(KeyType, Option<CurveName>)> {
    match algorithm {
        Algorithm::Aes256 => Some((KeyType::OctHsm, None)),
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => Some((KeyType::RsaHsm, None)),
        Algorithm::EcP256 => Some((KeyType::EcHsm, Some(CurveName::P256))),
        Algorithm::EcP384 => Some((KeyType::EcHsm, Some(CurveName::P384))),
        Algorithm::HmacSha256 => None,
    }
}

/// The algorithm of a key; `None`: not one of ours, or not an HSM key. Azure does not show the length of an AES key. All of ours have 256
/// bits, and the tags tell whether a version is ours.
pub(crate) fn algorithm(key: &JsonWebKey) -> Option<Algorithm> {
    match (key.kty.as_ref()?, &key.crv) {
        (KeyType::OctHsm, None) => Some(Algorithm::Aes256),
        (KeyType::RsaHsm, None) => match bits(key.n.as_deref()?) {
            2048 => Some(Algorithm::Rsa2048),
            3072 => Some(Algorithm::Rsa3072),
            4096 => Some(Algorithm::Rsa4096),
            _ => None,
        },
        (KeyType::EcHsm, Some(CurveName::P256)) => Some(Algorithm::EcP256),
        (KeyType::EcHsm, Some(CurveName::P384)) => Some(Algorithm::EcP384),
        _ => None,
    }
}

/// The purpose of a key, by its operations; `None`: it has none, or operations of several purposes.
pub(crate) fn purpose(key: &JsonWebKey) -> Option<Purpose> {
    let may = key.key_ops.as_deref().filter(|may| !may.is_empty())?;
    [Purpose::Encrypt, Purpose::Sign].into_iter().find(|purpose| may.iter().all(|one| operations(*purpose).contains(&one.as_str())))
}

/// Whether a key has exactly these operations, in any order.
pub(crate) fn may_exactly(key: &JsonWebKey, operations: &[&str]) -> bool {
    let may = key.key_ops.as_deref().unwrap_or_default();
    !may.is_empty()
        && operations.iter().all(|one| may.iter().any(|other| other == one))
        && may.iter().all(|one| operations.contains(&one.as_str()))
}

/// The key is malformed: a part is missing, or too long for its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoKey;

/// The public key, as a SubjectPublicKeyInfo in DER; `None`: the key has none, or has a curve that we never import.
pub(crate) fn public_key(key: &JsonWebKey) -> Result<Option<PublicKey>, NoKey> {
    match key.kty.as_ref().ok_or(NoKey)? {
        KeyType::Rsa | KeyType::RsaHsm => rsa(number(&key.n)?, number(&key.e)?).map(Some),
        KeyType::Ec | KeyType::EcHsm => {
            let (curve, size) = match key.crv.as_ref().ok_or(NoKey)? {
                CurveName::P256 => (P256, 32),
                CurveName::P384 => (P384, 48),
                // Keys of these curves are never imported.
                CurveName::P521 | CurveName::P256K | CurveName::UnknownValue(_) => return Ok(None),
            };
            ec(curve, size, number(&key.x)?, number(&key.y)?).map(Some)
        }
        KeyType::Oct | KeyType::OctHsm | KeyType::UnknownValue(_) => Ok(None),
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, NoKey> {
    let number = |bytes| UintRef::new(bytes).map_err(|_| NoKey);
    let key = RsaPublicKey { modulus: number(modulus)?, public_exponent: number(exponent)? }.to_der().map_err(|_| NoKey)?;
    info(RSA, AnyRef::NULL, &key)
}

fn ec(curve: ObjectIdentifier, size: usize, x: &[u8], y: &[u8]) -> Result<PublicKey, NoKey> {
    // An uncompressed point (SEC 1, section 2.3.3) has both coordinates in full length. The sender may have left out leading zeros.
    let mut point = vec![4];
    for coordinate in [x, y] {
        let missing = size.checked_sub(coordinate.len()).ok_or(NoKey)?;
        point.resize(point.len() + missing, 0);
        point.extend_from_slice(coordinate);
    }
    info(EC, AnyRef::from(&curve), &point)
}

fn info(oid: ObjectIdentifier, parameters: AnyRef<'_>, key: &[u8]) -> Result<PublicKey, NoKey> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
    let subject_public_key = BitStringRef::from_bytes(key).map_err(|_| NoKey)?;
    SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der().map(PublicKey).map_err(|_| NoKey)
}

fn number(bytes: &Option<Vec<u8>>) -> Result<&[u8], NoKey> {
    bytes.as_deref().filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_NUMBER + 1).ok_or(NoKey)
}

/// The length of a number in bits, without leading zeros.
fn bits(number: &[u8]) -> usize {
    let significant = without_zeros(number);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    use keyplane_pairs::Stock;
    use spki::der::Decode as _;

    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    fn jwk(kty: KeyType) -> JsonWebKey {
        JsonWebKey { kty: Some(kty), ..JsonWebKey::default() }
    }

    fn der<'a>(key: &impl AsDer<PublicKeyX509Der<'a>>) -> Vec<u8> {
        key.as_der().unwrap().as_ref().to_vec()
    }

    #[test]
    fn public_keys_are_written_as_another_library_writes_them() {
        for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
            let pair = aws_lc_rs::rsa::KeyPair::from_pkcs8(Stock::of_clients().take(size.len() * 8).unwrap()).unwrap();
            let written = der(pair.public_key());
            let info = SubjectPublicKeyInfoRef::from_der(&written).unwrap();
            let public = RsaPublicKey::from_der(info.subject_public_key.raw_bytes()).unwrap();
            let key = JsonWebKey {
                n: Some(public.modulus.as_bytes().to_vec()),
                e: Some(public.public_exponent.as_bytes().to_vec()),
                ..jwk(KeyType::RsaHsm)
            };
            assert_eq!(public_key(&key), Ok(Some(PublicKey(written))));
            assert_eq!(algorithm(&key).unwrap().to_string(), format!("rsa-{}", size.len() * 8));
        }
        for (kind, curve, size, named) in [
            (&ECDSA_P256_SHA256_ASN1_SIGNING, CurveName::P256, 32, Algorithm::EcP256),
            (&ECDSA_P384_SHA384_ASN1_SIGNING, CurveName::P384, 48, Algorithm::EcP384),
        ] {
            let pair = EcdsaKeyPair::generate(kind).unwrap();
            let point = pair.public_key().as_ref();
            let (x, y) = point[1..].split_at(size);
            let key = JsonWebKey { crv: Some(curve), x: Some(x.to_vec()), y: Some(y.to_vec()), ..jwk(KeyType::EcHsm) };
            assert_eq!(public_key(&key), Ok(Some(PublicKey(der(pair.public_key())))));
            assert_eq!(algorithm(&key), Some(named));
        }
    }

    #[test]
    fn leading_zeros_make_no_other_key() {
        let key = |x: &[u8], y: &[u8]| {
            public_key(&JsonWebKey { crv: Some(CurveName::P256), x: Some(x.to_vec()), y: Some(y.to_vec()), ..jwk(KeyType::EcHsm) })
        };
        let mut padded = vec![0, 0];
        padded.extend([7; 30]);
        assert_eq!(key(&[7; 30], &[9; 32]), key(&padded, &[9; 32]));
        assert!(key(&[7; 30], &[9; 32]).is_ok());
        let rsa = |n: Vec<u8>| public_key(&JsonWebKey { n: Some(n), e: Some(vec![1, 0, 1]), ..jwk(KeyType::RsaHsm) });
        let mut modulus = vec![0];
        modulus.extend([0xc5; 256]);
        assert_eq!(rsa(modulus.clone()), rsa(modulus[1..].to_vec()));
        assert_eq!(bits(&modulus), 2048);
    }

    #[test]
    fn what_is_no_public_key_is_none() {
        let ec = |x: Option<Vec<u8>>| JsonWebKey { crv: Some(CurveName::P256), x, y: Some(vec![1; 32]), ..jwk(KeyType::EcHsm) };
        assert_eq!(public_key(&ec(None)), Err(NoKey));
        assert_eq!(public_key(&ec(Some(vec![]))), Err(NoKey));
        assert_eq!(public_key(&ec(Some(vec![1; 33]))), Err(NoKey));
        assert_eq!(public_key(&jwk(KeyType::RsaHsm)), Err(NoKey));
        let long = JsonWebKey { n: Some(vec![1; 10_000]), e: Some(vec![1, 0, 1]), ..jwk(KeyType::RsaHsm) };
        assert_eq!(public_key(&long), Err(NoKey));
        assert_eq!(public_key(&JsonWebKey::default()), Err(NoKey));
        assert_eq!(public_key(&jwk(KeyType::OctHsm)), Ok(None));
    }

    #[test]
    fn a_key_outside_of_hardware_is_none_of_ours() {
        for kty in [KeyType::Rsa, KeyType::Ec, KeyType::Oct, KeyType::UnknownValue("x".into())] {
            let key = JsonWebKey { n: Some(vec![0xc5; 256]), ..jwk(kty) };
            assert_eq!(algorithm(&key), None);
        }
        assert_eq!(algorithm(&JsonWebKey { n: Some(vec![0xc5; 255]), ..jwk(KeyType::RsaHsm) }), None);
    }

    #[test]
    fn a_purpose_is_one_thing_alone_and_ours_only_with_all_of_it() {
        let may = |operations: &[&str]| {
            let key_ops = Some(operations.iter().map(|one| (*one).to_owned()).collect());
            JsonWebKey { key_ops, ..jwk(KeyType::RsaHsm) }
        };
        let encrypt = operations(Purpose::Encrypt);
        for (given, is, exactly) in [
            (&["unwrapKey", "wrapKey", "decrypt", "encrypt"][..], Some(Purpose::Encrypt), true),
            (&["decrypt", "unwrapKey"], Some(Purpose::Encrypt), false),
            (&["sign", "verify"], Some(Purpose::Sign), false),
            (&["encrypt", "decrypt", "wrapKey", "unwrapKey", "sign"], None, false),
            (&["import"], None, false),
            (&[], None, false),
        ] {
            let key = may(given);
            assert_eq!((purpose(&key), may_exactly(&key, encrypt)), (is, exactly), "{given:?}");
        }
        assert!(may_exactly(&may(&["import"]), &["import"]));
        assert!(!may_exactly(&may(&["import", "decrypt"]), &["import"]), "it would give away what was wrapped under it");
    }
}
