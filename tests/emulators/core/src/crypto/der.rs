//! Strict parsing of keys: exactly one structure in DER, and nothing after it.

use pkcs1::RsaPublicKey;
use pkcs8::{
    ObjectIdentifier, PrivateKeyInfo,
    der::{Decode as _, Encode as _, Tag, Tagged as _, asn1::AnyRef},
};
use spki::SubjectPublicKeyInfoRef;

use super::Refused;

/// `rsaEncryption`.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `id-ecPublicKey`.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// `id-Ed25519`.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rsa,
    Ec,
    Ed25519,
}

/// Checks that these bytes are exactly one PKCS#8 `PrivateKeyInfo` of this algorithm, version 0, without attributes. The library that
/// parses it next may accept more, such as bytes after the end.
pub(super) fn check_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<(), Refused> {
    let info = PrivateKeyInfo::from_der(der).map_err(|_| Refused)?;
    // The crate ignores attributes and accepts version 1 with a public key: either makes the structure longer than this.
    let bare = PrivateKeyInfo::new(info.algorithm, info.private_key).encoded_len().and_then(usize::try_from);
    if bare.map_err(|_| Refused)? != der.len() {
        return Err(Refused);
    }
    let parameters = info.algorithm.parameters;
    let (oid, fits, inner) = match algorithm {
        Algorithm::Rsa => (RSA, parameters.is_some_and(|any| any.is_null()), Tag::Sequence),
        // Only that there is a curve; the library checks which one.
        Algorithm::Ec => (EC, parameters.is_some_and(|any| any.tag() == Tag::ObjectIdentifier), Tag::Sequence),
        Algorithm::Ed25519 => (ED25519, parameters.is_none(), Tag::OctetString),
    };
    let key = AnyRef::from_der(info.private_key).map_err(|_| Refused)?;
    if info.algorithm.oid == oid && fits && key.tag() == inner { Ok(()) } else { Err(Refused) }
}

/// Modulus and exponent of a `SubjectPublicKeyInfo`, big-endian, without leading zeros.
pub(super) fn rsa_public(der: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| Refused)?;
    let key = info.subject_public_key.as_bytes().ok_or(Refused)?;
    let RsaPublicKey { modulus, public_exponent } = RsaPublicKey::from_der(key).map_err(|_| Refused)?;
    let (modulus, exponent) = (modulus.as_bytes(), public_exponent.as_bytes());
    if info.algorithm.oid != RSA || modulus == [0] || exponent == [0] {
        return Err(Refused);
    }
    Ok((modulus, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER: u8 = 0x02;
    const SEQUENCE: u8 = 0x30;

    /// The parts of 1.2.840.113549.1.1.1, `rsaEncryption`, and of 1.2.840.10045.2.1, `id-ecPublicKey`.
    const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

    fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn identifier(oid: &[u8]) -> Vec<u8> {
        wrap(SEQUENCE, &[wrap(0x06, oid), wrap(0x05, &[])].concat())
    }

    /// A private key with this version and algorithm, and these bytes after its key.
    fn pkcs8(version: &[u8], oid: &[u8], tail: &[u8]) -> Vec<u8> {
        let key = wrap(0x04, &wrap(SEQUENCE, &wrap(INTEGER, &[0])));
        wrap(SEQUENCE, &[wrap(INTEGER, version), identifier(oid), key, tail.to_vec()].concat())
    }

    #[test]
    fn a_private_key_is_one_value_of_its_kind_and_nothing_else() {
        let good = pkcs8(&[0], RSA_OID, &[]);
        assert_eq!(check_pkcs8(Algorithm::Rsa, &good), Ok(()));
        assert_eq!(check_pkcs8(Algorithm::Ec, &good), Err(Refused));
        assert_eq!(check_pkcs8(Algorithm::Ed25519, &good), Err(Refused));
        let empty_set = [0xa0, 0];
        let attribute = [0xa0, 4, SEQUENCE, 2, 0x05, 0];
        let public = [0xa1, 3, 0x03, 1, 0];
        let implicit = [0x81, 2, 0, 7];
        for (wrong, what) in [
            ([good.clone(), vec![0; 8]].concat(), "zeros behind it, as one token pads"),
            ([good.clone(), good.clone()].concat(), "another one behind it"),
            (pkcs8(&[1], RSA_OID, &[]), "another version"),
            (pkcs8(&[2], RSA_OID, &[]), "a version that there is not"),
            (pkcs8(&[0, 0], RSA_OID, &[]), "a version in more bytes than it needs"),
            (pkcs8(&[0], EC_OID, &[]), "another algorithm"),
            (pkcs8(&[0], RSA_OID, &empty_set), "no attributes, but a place for them"),
            (pkcs8(&[0], RSA_OID, &attribute), "attributes"),
            (pkcs8(&[0], RSA_OID, &public), "something like a public key"),
            (pkcs8(&[1], RSA_OID, &implicit), "a public key"),
            (pkcs8(&[0], RSA_OID, &[0x05, 0]), "something within it"),
            (good[..good.len() - 1].to_vec(), "an end too early"),
            ([&[SEQUENCE, 0x81, good[1]], &good[2..]].concat(), "a length in a longer form than it needs"),
            ([&[SEQUENCE, 0x80], &good[2..], &[0, 0]].concat(), "an indefinite length"),
            (Vec::new(), "nothing"),
        ] {
            assert_eq!(check_pkcs8(Algorithm::Rsa, &wrong), Err(Refused), "{what}");
        }
    }

    #[test]
    fn numbers_are_positive_and_as_short_as_they_can_be() {
        let spki = |modulus: &[u8], unused: u8, tail: &[u8]| {
            let key = wrap(SEQUENCE, &[wrap(INTEGER, modulus), wrap(INTEGER, &[3]), tail.to_vec()].concat());
            wrap(SEQUENCE, &[identifier(RSA_OID), wrap(0x03, &[&[unused], key.as_slice()].concat())].concat())
        };
        let read = |der: &[u8]| rsa_public(der).map(|(modulus, exponent)| (modulus.to_vec(), exponent.to_vec()));
        assert_eq!(read(&spki(&[1, 0, 1], 0, &[])), Ok((vec![1, 0, 1], vec![3])));
        assert_eq!(read(&spki(&[0, 0x80], 0, &[])), Ok((vec![0x80], vec![3])));
        for wrong in [&[] as &[u8], &[0], &[0, 1], &[0x80]] {
            assert_eq!(read(&spki(wrong, 0, &[])), Err(Refused), "{wrong:?}");
        }
        assert_eq!(read(&spki(&[5], 1, &[])), Err(Refused), "bits that are not used");
        assert_eq!(read(&spki(&[5], 0, &[INTEGER, 1, 5])), Err(Refused), "a third number");
        assert_eq!(read(&[spki(&[5], 0, &[]), vec![0]].concat()), Err(Refused), "a byte behind the end");
    }
}
