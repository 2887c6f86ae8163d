//! Reads the public keys that copies are wrapped under.
//!
//! An adapter checks that a key has the length that it asked for, and the custodian imports it into the token. Both read it here, so that
//! the same bytes are the same key to both.

use keyplane_model::Digest;
use pkcs1::der::Decode as _;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// The longest SubjectPublicKeyInfo that is read, in bytes: RSA-8192 takes 1,062.
const MAX_BYTES: usize = 2 * 1_024;
/// The accepted RSA moduli, in bits. Shorter ones are too weak; no cloud offers longer ones.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// The public exponent of every cloud's wrapping keys: F4, 65537.
const F4: &[u8] = &[1, 0, 1];
/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why nothing is wrapped under a public key.
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
    #[error("it has another exponent than 65537")]
    Exponent,
}

/// An RSA public key that may be wrapped under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaPublicKey {
    /// Big-endian, without leading zeros.
    pub modulus: Vec<u8>,
    /// Big-endian, without leading zeros.
    pub exponent: Vec<u8>,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub digest: Digest,
}

impl RsaPublicKey {
    /// Strict: exactly one SubjectPublicKeyInfo (RFC 5280) in DER, and nothing after it.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(der: &[u8]) -> Result<Self, PublicKeyError> {
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
        let (modulus, exponent) = (key.modulus.as_bytes().to_vec(), key.public_exponent.as_bytes().to_vec());
        let key = Self { modulus, exponent, digest: Digest::of(der) };
        if !MODULUS_BITS.contains(&key.bits()) {
            return Err(PublicKeyError::ModulusLength(key.bits()));
        }
        if key.modulus.last().is_none_or(|last| last % 2 == 0) {
            return Err(PublicKeyError::EvenModulus);
        }
        if key.exponent == F4 { Ok(key) } else { Err(PublicKeyError::Exponent) }
    }

    /// The length of the modulus, in bits.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.modulus.first().map_or(0, |first| self.modulus.len() * 8 - first.leading_zeros() as usize)
    }
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

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        der(0x30, &[integer(modulus), integer(exponent)].concat())
    }

    fn info(oid: &[u8], parameters: &[u8], key: &[u8]) -> Vec<u8> {
        let algorithm = der(0x30, &[der(0x06, oid), parameters.to_vec()].concat());
        der(0x30, &[algorithm, der(0x03, &[&[0][..], key].concat())].concat())
    }

    const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const NULL: &[u8] = &[5, 0];

    fn modulus(bytes: usize) -> Vec<u8> {
        vec![0xc5; bytes]
    }

    #[test]
    fn a_good_key_is_read() {
        for bytes in [256, 384, 512, 1_024] {
            let der = info(RSA_OID, NULL, &rsa(&modulus(bytes), F4));
            let key = RsaPublicKey::parse(&der).unwrap();
            assert_eq!((key.bits(), key.modulus, key.exponent, key.digest), (bytes * 8, modulus(bytes), F4.to_vec(), Digest::of(&der)));
        }
    }

    #[test]
    fn a_key_that_is_wrong_in_one_way_is_refused_for_that() {
        use PublicKeyError as E;
        let inside = rsa(&modulus(256), F4);
        let good = info(RSA_OID, NULL, &inside);
        let with = |modulus: &[u8], exponent: &[u8]| info(RSA_OID, NULL, &rsa(modulus, exponent));
        let (mut even, mut short) = (modulus(256), modulus(256));
        (even[255], short[0]) = (0xc4, 0x7f);
        // A length in more bytes than it needs is BER, but not DER.
        let mut ber = good.clone();
        ber.splice(1..4, [0x83, 0, good[2], good[3]]);
        let cases = [
            ([&good[..], &[0]].concat(), E::Encoding),
            (good[..good.len() - 1].to_vec(), E::Encoding),
            (ber, E::Encoding),
            (vec![], E::Encoding),
            (vec![0x30; MAX_BYTES + 1], E::Encoding),
            (info(EC_OID, NULL, &inside), E::NotRsa),
            (info(RSA_OID, &[], &inside), E::Encoding),
            (info(RSA_OID, NULL, &inside[..inside.len() - 1]), E::Encoding),
            (with(&modulus(255), F4), E::ModulusLength(2_040)),
            (with(&short, F4), E::ModulusLength(2_047)),
            (with(&modulus(1_032), F4), E::ModulusLength(8_256)),
            (with(&even, F4), E::EvenModulus),
            (with(&modulus(256), &[3]), E::Exponent),
            (with(&modulus(256), &[1, 0, 2]), E::Exponent),
            (with(&modulus(256), &[1, 0, 0, 0, 1]), E::Exponent),
        ];
        for (der, error) in cases {
            assert_eq!(RsaPublicKey::parse(&der).err(), Some(error), "{} bytes", der.len());
        }
    }
}
