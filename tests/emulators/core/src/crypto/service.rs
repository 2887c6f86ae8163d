//! Operations of a cloud beyond RSA, elliptic curves and AES: message authentication codes, Ed25519, AES in counter mode, digests, and
//! public keys as SubjectPublicKeyInfo.

use aws_lc_rs::{
    cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey},
    digest,
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    iv::FixedLength,
    rsa::PrivateDecryptingKey,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    },
};
use zeroize::Zeroizing;

use super::{
    PairSource, Refused, Secret,
    der::{self, Algorithm},
    keys::{Curve, Hash, KeyCrypto},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacHash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl MacHash {
    /// The length of a code in bytes; a good key is at least as long.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => hmac::HMAC_SHA224,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairKind {
    Rsa,
    Ec(Curve),
    Ed25519,
}

/// Operations with clients' keys. Each one that can fail refuses inputs that do not belong together, without detail.
#[expect(clippy::missing_errors_doc, reason = "all of them fail in the one way that the trait's documentation tells")]
pub trait ServiceCrypto: KeyCrypto {
    /// HMAC (RFC 2104).
    fn mac(&self, hash: MacHash, key: &Secret, data: &[u8]) -> Vec<u8>;

    fn digest(&self, hash: Hash, data: &[u8]) -> Vec<u8>;

    /// Only for check values.
    fn sha1(&self, data: &[u8]) -> [u8; 20];

    /// Generates a pair, as PKCS#8.
    fn make_ed25519(&self) -> Result<Secret, Refused>;

    fn ed25519_sign(&self, pkcs8: &Secret, message: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Encrypts and decrypts with AES in counter mode.
    fn aes_ctr(&self, key: &Secret, counter: [u8; 16], data: &[u8]) -> Result<Vec<u8>, Refused>;

    /// The public key of a pair that is exactly one PKCS#8 structure, as SubjectPublicKeyInfo in DER.
    fn public_of(&self, kind: PairKind, pkcs8: &Secret) -> Result<Vec<u8>, Refused>;
}

impl<P: PairSource> ServiceCrypto for P {
    fn mac(&self, hash: MacHash, key: &Secret, data: &[u8]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hash.algorithm(), key.expose()), data).as_ref().to_vec()
    }

    fn digest(&self, hash: Hash, data: &[u8]) -> Vec<u8> {
        let algorithm = match hash {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn sha1(&self, data: &[u8]) -> [u8; 20] {
        let mut hash = [0; 20];
        hash.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref());
        hash
    }

    fn make_ed25519(&self) -> Result<Secret, Refused> {
        let pair = Ed25519KeyPair::generate().map_err(|_| Refused)?;
        Ok(Secret::new(pair.to_pkcs8v1().map_err(|_| Refused)?.as_ref()))
    }

    fn ed25519_sign(&self, pkcs8: &Secret, message: &[u8]) -> Result<Vec<u8>, Refused> {
        Ok(ed25519(pkcs8)?.try_sign(message).map_err(|_| Refused)?.as_ref().to_vec())
    }

    fn aes_ctr(&self, key: &Secret, counter: [u8; 16], data: &[u8]) -> Result<Vec<u8>, Refused> {
        let algorithm = match key.expose().len() {
            16 => &cipher::AES_128,
            32 => &cipher::AES_256,
            _ => return Err(Refused),
        };
        let key = UnboundCipherKey::new(algorithm, key.expose()).and_then(EncryptingKey::ctr).map_err(|_| Refused)?;
        let mut data = Zeroizing::new(data.to_vec());
        key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(counter))).map_err(|_| Refused)?;
        Ok(data.to_vec())
    }

    fn public_of(&self, kind: PairKind, pkcs8: &Secret) -> Result<Vec<u8>, Refused> {
        let public: PublicKeyX509Der<'static> = match kind {
            PairKind::Rsa => {
                der::check_pkcs8(Algorithm::Rsa, pkcs8.expose())?;
                PrivateDecryptingKey::from_pkcs8(pkcs8.expose()).map_err(|_| Refused)?.public_key().as_der()
            }
            PairKind::Ec(curve) => {
                der::check_pkcs8(Algorithm::Ec, pkcs8.expose())?;
                let algorithm = match curve {
                    Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
                    Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
                    Curve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
                    Curve::Secp256k1 => &ECDSA_P256K1_SHA256_ASN1_SIGNING,
                };
                EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.expose()).map_err(|_| Refused)?.public_key().as_der()
            }
            PairKind::Ed25519 => ed25519(pkcs8)?.public_key().as_der(),
        }
        .map_err(|_| Refused)?;
        Ok(public.as_ref().to_vec())
    }
}

fn ed25519(pkcs8: &Secret) -> Result<Ed25519KeyPair, Refused> {
    der::check_pkcs8(Algorithm::Ed25519, pkcs8.expose())?;
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.expose()).map_err(|_| Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Crypto as _, RealCrypto, RsaPairs, RsaSize};

    /// RFC 4231, test case 2, and RFC 2202's for SHA-1.
    #[test]
    fn codes_are_those_of_the_standards() {
        let code = |hash| hex::encode(RealCrypto.mac(hash, &Secret::new(*b"Jefe"), b"what do ya want for nothing?"));
        assert_eq!(code(MacHash::Sha1), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert_eq!(code(MacHash::Sha224), "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44");
        assert_eq!(code(MacHash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(code(MacHash::Sha512).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
    }

    #[test]
    fn a_public_half_is_read_only_from_its_own_kind_of_pair() {
        let rsa = RsaPairs::fixed().make_pair(RsaSize::Rsa2048).unwrap();
        assert_eq!(RealCrypto.public_of(PairKind::Rsa, &rsa.private), Ok(rsa.public));
        let (curve, edwards) = (RealCrypto.make_ec(Curve::P256).unwrap(), RealCrypto.make_ed25519().unwrap());
        assert!(RealCrypto.public_of(PairKind::Ec(Curve::P256), &curve).is_ok());
        assert_eq!(RealCrypto.public_of(PairKind::Ec(Curve::P384), &curve), Err(Refused));
        assert!(RealCrypto.public_of(PairKind::Ed25519, &edwards).is_ok());
        assert_eq!(RealCrypto.public_of(PairKind::Ed25519, &curve), Err(Refused));
        assert_eq!(RealCrypto.public_of(PairKind::Ed25519, &Secret::new([edwards.expose(), &[0]].concat())), Err(Refused));
        assert_eq!(RealCrypto.public_of(PairKind::Rsa, &edwards), Err(Refused));
    }

    /// NIST SP 800-38A, F.5.5.
    #[test]
    fn counter_mode_is_that_of_the_standard() {
        let key = Secret::new(hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4").unwrap());
        let counter: [u8; 16] = hex::decode("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").unwrap().try_into().unwrap();
        let data = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        assert_eq!(hex::encode(RealCrypto.aes_ctr(&key, counter, &data).unwrap()), "601ec313775789a5b7a7f504bbf3d228");
    }
}
