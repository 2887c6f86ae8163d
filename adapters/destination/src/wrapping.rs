//! Checks that a cloud's key to wrap under is the one that was asked for (rule 11).
//!
//! The custodian refuses weak keys, but does not know which length was asked for. The adapter does.

use keyplane_port::{PublicKeyError, RsaPublicKey};

/// Why a public key is refused for wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitWrappingKey {
    #[error("the key to wrap under is refused: {0}")]
    Refused(PublicKeyError),
    #[error("the key to wrap under has {found} bits, and {asked} were asked for")]
    Length {
        /// In bits.
        found: usize,
        /// In bits.
        asked: usize,
    },
}

/// Checks that a public key is an RSA key that may be wrapped under, and that its modulus has exactly `bits` bits.
///
/// # Errors
/// The first check that fails.
pub fn check_wrapping_key(spki: &[u8], bits: usize) -> Result<(), UnfitWrappingKey> {
    let key = RsaPublicKey::parse(spki).map_err(UnfitWrappingKey::Refused)?;
    let found = key.bits();
    if found == bits { Ok(()) } else { Err(UnfitWrappingKey::Length { found, asked: bits }) }
}

#[cfg(test)]
mod tests {
    use pkcs1::UintRef;
    use pkcs1::der::Encode as _;
    use pkcs1::der::asn1::{AnyRef, BitStringRef};
    use spki::{AlgorithmIdentifierRef, ObjectIdentifier, SubjectPublicKeyInfoRef};

    use super::*;

    /// A key with a modulus of this many bits, and the exponent 65537.
    fn rsa(bits: usize) -> Vec<u8> {
        let modulus = vec![0xc5; bits / 8];
        let (modulus, public_exponent) = (UintRef::new(&modulus).unwrap(), UintRef::new(&[1, 0, 1]).unwrap());
        let key = pkcs1::RsaPublicKey { modulus, public_exponent }.to_der().unwrap();
        let oid = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(AnyRef::NULL) };
        SubjectPublicKeyInfoRef { algorithm, subject_public_key: BitStringRef::from_bytes(&key).unwrap() }.to_der().unwrap()
    }

    #[test]
    fn a_key_of_the_size_that_was_asked_for_is_taken_and_no_other() {
        assert_eq!(check_wrapping_key(&rsa(4_096), 4_096), Ok(()));
        assert_eq!(check_wrapping_key(&rsa(3_072), 3_072), Ok(()));
        for found in [2_048, 3_072, 8_192] {
            assert_eq!(check_wrapping_key(&rsa(found), 4_096), Err(UnfitWrappingKey::Length { found, asked: 4_096 }));
        }
    }

    #[test]
    fn what_is_no_key_to_wrap_under_is_refused_whatever_was_asked_for() {
        assert_eq!(check_wrapping_key(&[], 4_096), Err(UnfitWrappingKey::Refused(PublicKeyError::Encoding)));
        assert_eq!(check_wrapping_key(&rsa(1_024), 1_024), Err(UnfitWrappingKey::Refused(PublicKeyError::ModulusLength(1_024))));
    }
}
