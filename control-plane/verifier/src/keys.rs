//! Approvers' public keys: which are valid and strong enough to count.

use ed25519_dalek::VerifyingKey;
use ssh_key::PublicKey;
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};

/// The smallest RSA modulus, in bits (NIST SP 800-131A revision 2, section 3).
const MIN_RSA_BITS: usize = 2048;

/// The largest RSA modulus that `ssh-keygen` makes, in bits. A larger one only makes verification slow.
const MAX_RSA_BITS: usize = 16_384;

/// The sizes of public exponents, in bits (NIST FIPS 186-5, appendix A.1.1: odd, above 2^16 and below 2^256).
const EXPONENT_BITS: std::ops::RangeInclusive<usize> = 17..=256;

/// Why a key does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum KeyFault {
    #[error("it is no public key in OpenSSH's format")]
    Malformed,
    #[error("keys of its algorithm do not count; those that do: ed25519, sk-ed25519, ecdsa on P-256 and P-384, RSA")]
    Algorithm,
    /// The RSA modulus is too small, too large or even.
    #[error("its modulus is even, or not of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")]
    Modulus,
    /// Signatures under this RSA exponent can be forged, or it is no valid exponent.
    #[error("its public exponent is even, or not between 2^16 and 2^256")]
    Exponent,
    #[error("its point is not on the curve")]
    OffCurve,
    /// The point is of small order: anybody can make a signature that verifies under it.
    #[error("its point is of small order, so that anybody can sign for it")]
    SmallOrder,
}

pub(crate) fn read(text: &str) -> Result<PublicKey, KeyFault> {
    let key = PublicKey::from_openssh(text).map_err(|_| KeyFault::Malformed)?;
    check(key.key_data()).map(|()| key)
}

pub(crate) fn check(key: &KeyData) -> Result<(), KeyFault> {
    match key {
        KeyData::Ed25519(key) => ed25519(key),
        KeyData::SkEd25519(key) => ed25519(key.public_key()),
        KeyData::Ecdsa(key) => ecdsa(key),
        KeyData::Rsa(key) => rsa(key),
        // `KeyData` may gain algorithms. One that is not named above does not count.
        _ => Err(KeyFault::Algorithm),
    }
}

fn ed25519(key: &Ed25519PublicKey) -> Result<(), KeyFault> {
    let key = VerifyingKey::from_bytes(&key.0).map_err(|_| KeyFault::OffCurve)?;
    if key.is_weak() { Err(KeyFault::SmallOrder) } else { Ok(()) }
}

fn ecdsa(key: &EcdsaPublicKey) -> Result<(), KeyFault> {
    // Both reject the point at infinity. Each curve's order is prime, so no other point has a small order.
    match key {
        EcdsaPublicKey::NistP256(point) => p256::PublicKey::try_from(point).map(drop).map_err(|_| KeyFault::OffCurve),
        EcdsaPublicKey::NistP384(point) => p384::PublicKey::try_from(point).map(drop).map_err(|_| KeyFault::OffCurve),
        EcdsaPublicKey::NistP521(_) => Err(KeyFault::Algorithm),
    }
}

fn rsa(key: &RsaPublicKey) -> Result<(), KeyFault> {
    let modulus = key.n.as_positive_bytes().filter(|n| is_odd(n)).ok_or(KeyFault::Modulus)?;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits(modulus)) {
        return Err(KeyFault::Modulus);
    }
    let exponent = key.e.as_positive_bytes().filter(|e| is_odd(e)).ok_or(KeyFault::Exponent)?;
    if EXPONENT_BITS.contains(&bits(exponent)) { Ok(()) } else { Err(KeyFault::Exponent) }
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last & 1 == 1)
}

fn bits(number: &[u8]) -> usize {
    let leading = number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() * 8).saturating_sub(leading)
}
