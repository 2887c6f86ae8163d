//! SubjectPublicKeyInfo (RFC 5280): writes the public keys of copies.

use pkcs1::UintRef;
use pkcs1::der::asn1::{AnyRef, BitStringRef};
use pkcs1::der::{self, Encode as _};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The SubjectPublicKeyInfo of an RSA public key (RFC 8017, appendix A.1.1).
pub(crate) fn of_rsa(modulus: &[u8], exponent: &[u8]) -> der::Result<Vec<u8>> {
    let key = pkcs1::RsaPublicKey { modulus: UintRef::new(modulus)?, public_exponent: UintRef::new(exponent)? }.to_der()?;
    write(AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) }, &key)
}

/// The SubjectPublicKeyInfo of a point on a named curve (RFC 5480).
pub(crate) fn of_point(curve: ObjectIdentifier, point: &[u8]) -> der::Result<Vec<u8>> {
    write(AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(&curve)) }, point)
}

fn write(algorithm: AlgorithmIdentifierRef<'_>, key: &[u8]) -> der::Result<Vec<u8>> {
    SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(key)? }.to_der()
}

/// The length in bits of a big-endian number without leading zeros.
pub(crate) fn bit_length(number: &[u8]) -> usize {
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
