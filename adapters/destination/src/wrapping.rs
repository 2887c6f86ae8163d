//! Checks that a cloud's key to wrap under is the one that was asked for (rule 11).
//!
//! The custodian refuses weak keys, but does not know which length was asked for. The adapter does.

use pkcs1::RsaPublicKey;
use pkcs1::der::Decode as _;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The public exponent of every cloud's wrapping keys: F4, 65537.
const F4: &[u8] = &[1, 0, 1];

/// The longest SubjectPublicKeyInfo that is read, in bytes: RSA-8192 takes 1,062.
const MAX_BYTES: usize = 2 * 1_024;

/// Why a public key is refused for wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitWrappingKey {
    #[error("the key to wrap under is no DER of a SubjectPublicKeyInfo")]
    Encoding,
    #[error("the key to wrap under is no RSA key")]
    NotRsa,
    #[error("the key to wrap under has {found} bits, and {asked} were asked for")]
    Length {
        /// In bits.
        found: usize,
        /// In bits.
        asked: usize,
    },
    /// An RSA modulus is a product of odd primes.
    #[error("the key to wrap under has an even modulus")]
    EvenModulus,
    #[error("the key to wrap under has another exponent than 65537")]
    Exponent,
}

/// Checks that a public key is an RSA key with a modulus of exactly `bits` bits and the exponent 65537.
///
/// # Errors
/// The first check that fails.
pub fn check_wrapping_key(spki: &[u8], bits: usize) -> Result<(), UnfitWrappingKey> {
    use UnfitWrappingKey as Unfit;
    if spki.len() > MAX_BYTES {
        return Err(Unfit::Encoding);
    }
    let info = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| Unfit::Encoding)?;
    if info.algorithm.oid != RSA {
        return Err(Unfit::NotRsa);
    }
    if !info.algorithm.parameters.is_some_and(|parameters| parameters.is_null()) {
        return Err(Unfit::Encoding);
    }
    let key = info.subject_public_key.as_bytes().ok_or(Unfit::Encoding)?;
    let key = RsaPublicKey::from_der(key).map_err(|_| Unfit::Encoding)?;
    let modulus = key.modulus.as_bytes();
    // DER has no leading zeros, so the first byte has the highest bit.
    let found = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if found != bits {
        return Err(Unfit::Length { found, asked: bits });
    }
    if modulus.last().is_none_or(|last| last % 2 == 0) {
        return Err(Unfit::EvenModulus);
    }
    if key.public_exponent.as_bytes() != F4 { Err(Unfit::Exponent) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use pkcs1::UintRef;
    use pkcs1::der::Encode as _;
    use pkcs1::der::asn1::{AnyRef, BitStringRef};
    use spki::AlgorithmIdentifierRef;

    use super::*;

    fn written(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Vec<u8> {
        let algorithm = AlgorithmIdentifierRef { oid, parameters };
        SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(key).unwrap() }.to_der().unwrap()
    }

    fn rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let (modulus, public_exponent) = (UintRef::new(modulus).unwrap(), UintRef::new(exponent).unwrap());
        written(RSA, Some(AnyRef::NULL), &RsaPublicKey { modulus, public_exponent }.to_der().unwrap())
    }

    #[test]
    fn a_key_of_the_size_that_was_asked_for_is_taken_and_one_that_is_wrong_in_one_way_is_not() {
        use UnfitWrappingKey as E;
        let modulus = |bytes: usize| vec![0xc5; bytes];
        let good = rsa(&modulus(512), F4);
        assert_eq!(check_wrapping_key(&good, 4_096), Ok(()));
        assert_eq!(check_wrapping_key(&rsa(&modulus(384), F4), 3_072), Ok(()));

        let length = |found| E::Length { found, asked: 4_096 };
        let (mut even, mut short) = (modulus(512), modulus(512));
        (even[511], short[0]) = (0xc4, 0x7f);
        let inside = SubjectPublicKeyInfoRef::from_der(&good).unwrap().subject_public_key.raw_bytes().to_vec();
        let ec = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
        // A length in more bytes than it needs is BER, but not DER.
        let mut ber = good.clone();
        ber.splice(1..4, [0x83, 0, good[2], good[3]]);
        for (spki, error) in [
            (rsa(&modulus(256), F4), length(2_048)),
            (rsa(&modulus(384), F4), length(3_072)),
            (rsa(&modulus(1_024), F4), length(8_192)),
            (rsa(&short, F4), length(4_095)),
            (rsa(&even, F4), E::EvenModulus),
            (rsa(&modulus(512), &[3]), E::Exponent),
            (rsa(&modulus(512), &[1, 0, 0, 0, 1]), E::Exponent),
            (written(ec, Some(AnyRef::NULL), &inside), E::NotRsa),
            (written(RSA, None, &inside), E::Encoding),
            (written(RSA, Some(AnyRef::NULL), &inside[..inside.len() - 1]), E::Encoding),
            ([good.clone(), vec![0]].concat(), E::Encoding),
            (good[..good.len() - 1].to_vec(), E::Encoding),
            (ber, E::Encoding),
            (Vec::new(), E::Encoding),
            (vec![0x30; MAX_BYTES + 1], E::Encoding),
        ] {
            assert_eq!(check_wrapping_key(&spki, 4_096), Err(error), "{} bytes", spki.len());
        }
    }
}
