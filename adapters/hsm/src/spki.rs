//! SubjectPublicKeyInfo (RFC 5280): strictly parses the public keys to wrap under, and writes those of copies.

use keyplane_model::Digest;
use pkcs1::UintRef;
use pkcs1::der::asn1::{AnyRef, BitStringRef};
use pkcs1::der::{self, Decode as _, Encode as _};
use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

/// The longest SubjectPublicKeyInfo that is read, in bytes: RSA-8192 takes 1,062.
const MAX_BYTES: usize = 2 * 1024;
/// The accepted RSA moduli, in bits. Shorter ones are too weak; no cloud offers longer ones.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The smallest accepted public exponent, F4. Smaller ones allow known attacks.
const MIN_EXPONENT: u64 = 65_537;

/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    #[error("it is no DER of a SubjectPublicKeyInfo")]
    Encoding,
    #[error("it is no RSA key")]
    NotRsa,
    /// The modulus's length, in bits.
    #[error("its modulus has {0} bits; {min} to {max} are taken", min = MODULUS_BITS.start(), max = MODULUS_BITS.end())]
    ModulusLength(usize),
    /// An RSA modulus is a product of odd primes.
    #[error("its modulus is even")]
    EvenModulus,
    #[error("its exponent is even, less than 65537 or longer than 64 bits")]
    Exponent,
}

/// An RSA public key that was accepted for wrapping.
#[derive(Clone, Debug)]
pub(crate) struct RsaPublicKey {
    pub(crate) modulus: Vec<u8>,
    pub(crate) exponent: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) digest: Digest,
}

impl RsaPublicKey {
    /// Strict: exactly one SubjectPublicKeyInfo in DER, and nothing after it.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, PublicKeyError> {
        if der.len() > MAX_BYTES {
            return Err(PublicKeyError::Encoding);
        }
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| PublicKeyError::Encoding)?;
        if info.algorithm.oid != RSA {
            return Err(PublicKeyError::NotRsa);
        }
        if !info.algorithm.parameters.is_some_and(|parameters| parameters.is_null()) {
            return Err(PublicKeyError::Encoding);
        }
        let bits = info.subject_public_key.as_bytes().ok_or(PublicKeyError::Encoding)?;
        let key = pkcs1::RsaPublicKey::from_der(bits).map_err(|_| PublicKeyError::Encoding)?;
        let modulus = key.modulus.as_bytes();
        let exponent = key.public_exponent.as_bytes();
        let length = bit_length(modulus);
        if !MODULUS_BITS.contains(&length) {
            return Err(PublicKeyError::ModulusLength(length));
        }
        if is_even(modulus) {
            return Err(PublicKeyError::EvenModulus);
        }
        if exponent.len() > 8
            || is_even(exponent)
            || exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)) < MIN_EXPONENT
        {
            return Err(PublicKeyError::Exponent);
        }
        Ok(Self { modulus: modulus.to_vec(), exponent: exponent.to_vec(), digest: Digest::of(der) })
    }
}

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

fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|last| last % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DER with this tag and content.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..128 => out.push(u8::try_from(short).unwrap()),
            long => {
                out.push(0x82);
                out.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    fn integer(bytes: &[u8]) -> Vec<u8> {
        let mut content = if bytes[0] & 0x80 == 0 { vec![] } else { vec![0] };
        content.extend(bytes);
        der(0x02, &content)
    }

    fn spki(oid: &[u8], parameters: &[u8], modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let algorithm = der(0x30, &[der(0x06, oid), parameters.to_vec()].concat());
        let key = der(0x30, &[integer(modulus), integer(exponent)].concat());
        der(0x30, &[algorithm, der(0x03, &[vec![0], key].concat())].concat())
    }

    const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const NULL: &[u8] = &[5, 0];
    const F4: &[u8] = &[1, 0, 1];

    fn modulus(bytes: usize) -> Vec<u8> {
        vec![0xc5; bytes]
    }

    #[test]
    fn a_good_key_is_read() {
        let der = spki(RSA_OID, NULL, &modulus(256), F4);
        let key = RsaPublicKey::parse(&der).unwrap();
        assert_eq!((key.modulus, key.exponent, key.digest), (modulus(256), F4.to_vec(), Digest::of(&der)));
    }

    #[test]
    fn a_key_that_is_wrong_in_one_way_is_refused_for_that() {
        use PublicKeyError as E;
        let good = spki(RSA_OID, NULL, &modulus(256), F4);
        let mut even = modulus(256);
        even[255] = 0xc4;
        let mut trailing = good.clone();
        trailing.push(0);
        let cases = [
            (trailing, E::Encoding),
            (good[..good.len() - 1].to_vec(), E::Encoding),
            (vec![], E::Encoding),
            (vec![0x30; 4096], E::Encoding),
            (spki(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], NULL, &modulus(256), F4), E::NotRsa),
            (spki(RSA_OID, &[], &modulus(256), F4), E::Encoding),
            (spki(RSA_OID, NULL, &modulus(255), F4), E::ModulusLength(2040)),
            (spki(RSA_OID, NULL, &modulus(1032), F4), E::ModulusLength(8256)),
            (spki(RSA_OID, NULL, &even, F4), E::EvenModulus),
            (spki(RSA_OID, NULL, &modulus(256), &[3]), E::Exponent),
            (spki(RSA_OID, NULL, &modulus(256), &[1, 0, 2]), E::Exponent),
            (spki(RSA_OID, NULL, &modulus(256), &[1; 9]), E::Exponent),
        ];
        for (der, error) in cases {
            assert_eq!(RsaPublicKey::parse(&der).err(), Some(error), "{} bytes", der.len());
        }
    }
}
