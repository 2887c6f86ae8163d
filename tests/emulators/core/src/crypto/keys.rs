//! Cryptography with keys: RSA, elliptic curves, AES.
//!
//! Private keys are PKCS#8 in DER, secret keys raw bytes. Signatures are over a digest.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{
        self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    digest::{self, Digest},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    iv::FixedLength,
    key_wrap::{self, AesKek, KeyWrap as _, KeyWrapPadded as _},
    rsa::{
        KeyPairComponents, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey,
        PrivateDecryptingKey, PublicKeyComponents,
    },
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, RsaEncoding, RsaKeyPair, RsaParameters,
        UnparsedPublicKey,
    },
};
use zeroize::Zeroizing;

use super::{
    Crypto, OaepHash, PairSource, Refused, Secret,
    der::{self, Algorithm},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Curve {
    P256,
    P384,
    P521,
    Secp256k1,
}

impl Curve {
    /// The length of a coordinate in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::P256 | Self::Secp256k1 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The hash whose digests are signed on this curve.
    pub const fn hash(self) -> Hash {
        match self {
            Self::P256 | Self::Secp256k1 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            Self::Secp256k1 => &signature::ECDSA_P256K1_SHA256_FIXED_SIGNING,
        }
    }

    fn verifying(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Secp256k1 => &signature::ECDSA_P256K1_SHA256_FIXED,
        }
    }
}

/// The hash of a digest to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn digest(self, bytes: &[u8]) -> Result<Digest, Refused> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        Digest::import_less_safe(bytes, algorithm).map_err(|_| Refused)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaSignature {
    Pkcs1,
    /// RSASSA-PSS with a salt as long as the digest.
    Pss,
}

impl RsaSignature {
    fn signing(self, hash: Hash) -> &'static dyn RsaEncoding {
        match (self, hash) {
            (Self::Pkcs1, Hash::Sha256) => &signature::RSA_PKCS1_SHA256,
            (Self::Pkcs1, Hash::Sha384) => &signature::RSA_PKCS1_SHA384,
            (Self::Pkcs1, Hash::Sha512) => &signature::RSA_PKCS1_SHA512,
            (Self::Pss, Hash::Sha256) => &signature::RSA_PSS_SHA256,
            (Self::Pss, Hash::Sha384) => &signature::RSA_PSS_SHA384,
            (Self::Pss, Hash::Sha512) => &signature::RSA_PSS_SHA512,
        }
    }

    fn verifying(self, hash: Hash) -> &'static RsaParameters {
        match (self, hash) {
            (Self::Pkcs1, Hash::Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            (Self::Pkcs1, Hash::Sha384) => &signature::RSA_PKCS1_2048_8192_SHA384,
            (Self::Pkcs1, Hash::Sha512) => &signature::RSA_PKCS1_2048_8192_SHA512,
            (Self::Pss, Hash::Sha256) => &signature::RSA_PSS_2048_8192_SHA256,
            (Self::Pss, Hash::Sha384) => &signature::RSA_PSS_2048_8192_SHA384,
            (Self::Pss, Hash::Sha512) => &signature::RSA_PSS_2048_8192_SHA512,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaEncryption {
    Pkcs1,
    /// RSAES-OAEP with an empty label.
    Oaep(OaepHash),
}

/// A mode of AES. The key's length chooses the AES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesMode {
    /// GCM with a nonce of 12 bytes, and a tag of 16 bytes at the end of the ciphertext.
    Gcm,
    /// CBC of whole blocks.
    Cbc,
    /// CBC with PKCS#7 padding.
    CbcPadded,
    /// Key wrap, RFC 3394; not under a key of 192 bits.
    Wrap,
    /// Key wrap with padding, RFC 5649; not under a key of 192 bits.
    WrapPadded,
}

/// An RSA public key: big-endian numbers without leading zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaPublic {
    /// n.
    pub modulus: Vec<u8>,
    /// e.
    pub exponent: Vec<u8>,
}

/// The secret numbers of an RSA key, big-endian.
pub struct RsaNumbers {
    /// d.
    pub exponent: Secret,
    /// p and q.
    pub primes: [Secret; 2],
    /// d mod (p - 1) and d mod (q - 1).
    pub exponents: [Secret; 2],
    /// The inverse of q modulo p.
    pub coefficient: Secret,
}

/// A point on a curve: coordinates of [`Curve::bytes`] bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcPublic {
    pub x: Vec<u8>,
    pub y: Vec<u8>,
}

/// Operations with keys. Each refuses inputs that do not belong together, without detail.
#[expect(clippy::missing_errors_doc, reason = "all of them fail in the one way that the trait's documentation tells")]
pub trait KeyCrypto: Crypto {
    /// Generates a pair, as PKCS#8.
    fn make_ec(&self, curve: Curve) -> Result<Secret, Refused>;

    /// The public key of an RSA key that is exactly one PKCS#8 structure.
    fn read_rsa(&self, pkcs8: &Secret) -> Result<RsaPublic, Refused>;

    /// The public key of a key on this curve that is exactly one PKCS#8 structure.
    fn read_ec(&self, curve: Curve, pkcs8: &Secret) -> Result<EcPublic, Refused>;

    /// An RSA key with these numbers, as PKCS#8.
    fn join_rsa(&self, public: &RsaPublic, private: &RsaNumbers) -> Result<Secret, Refused>;

    /// A key on this curve with these numbers, as PKCS#8.
    fn join_ec(&self, curve: Curve, public: &EcPublic, private: &Secret) -> Result<Secret, Refused>;

    fn rsa_sign(&self, pkcs8: &Secret, padding: RsaSignature, hash: Hash, digest: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Whether this is the key's RSA signature of the digest.
    fn rsa_verify(&self, pkcs8: &Secret, padding: RsaSignature, hash: Hash, digest: &[u8], signature: &[u8]) -> Result<bool, Refused>;

    /// Signs a digest of [`Curve::hash`] with ECDSA: two numbers of fixed length.
    fn ec_sign(&self, curve: Curve, pkcs8: &Secret, digest: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Whether this is the key's ECDSA signature of the digest.
    fn ec_verify(&self, curve: Curve, pkcs8: &Secret, digest: &[u8], signature: &[u8]) -> Result<bool, Refused>;

    fn rsa_encrypt(&self, pkcs8: &Secret, padding: RsaEncryption, plaintext: &[u8]) -> Result<Vec<u8>, Refused>;

    fn rsa_decrypt(&self, pkcs8: &Secret, padding: RsaEncryption, ciphertext: &[u8]) -> Result<Secret, Refused>;

    /// Encrypts with AES. `iv` is empty for a key wrap, `context` for everything but GCM.
    fn aes_encrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused>;

    fn aes_decrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], ciphertext: &[u8]) -> Result<Secret, Refused>;
}

impl<P: PairSource> KeyCrypto for P {
    fn make_ec(&self, curve: Curve) -> Result<Secret, Refused> {
        let pair = EcdsaKeyPair::generate(curve.signing()).map_err(|_| Refused)?;
        Ok(Secret::new(pair.to_pkcs8v1().map_err(|_| Refused)?.as_ref()))
    }

    fn read_rsa(&self, pkcs8: &Secret) -> Result<RsaPublic, Refused> {
        der::check_pkcs8(Algorithm::Rsa, pkcs8.expose())?;
        let public: PublicKeyX509Der<'static> = decrypting(pkcs8)?.public_key().as_der().map_err(|_| Refused)?;
        let (modulus, exponent) = der::rsa_public(public.as_ref())?;
        Ok(RsaPublic { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    fn read_ec(&self, curve: Curve, pkcs8: &Secret) -> Result<EcPublic, Refused> {
        der::check_pkcs8(Algorithm::Ec, pkcs8.expose())?;
        let pair = ec_pair(curve, pkcs8)?;
        // An uncompressed point: 4, then the coordinates.
        let (x, y) = pair.public_key().as_ref().get(1..).and_then(|point| point.split_at_checked(curve.bytes())).ok_or(Refused)?;
        Ok(EcPublic { x: x.to_vec(), y: y.to_vec() })
    }

    fn join_rsa(&self, public: &RsaPublic, private: &RsaNumbers) -> Result<Secret, Refused> {
        let RsaNumbers { exponent, primes: [p, q], exponents: [dp, dq], coefficient } = private;
        let components = KeyPairComponents {
            public_key: PublicKeyComponents { n: public.modulus.as_slice(), e: public.exponent.as_slice() },
            d: exponent.expose(),
            p: p.expose(),
            q: q.expose(),
            dP: dp.expose(),
            dQ: dq.expose(),
            qInv: coefficient.expose(),
        };
        let pair = RsaKeyPair::from_components(&components).map_err(|_| Refused)?;
        let pkcs8: Pkcs8V1Der<'static> = pair.as_der().map_err(|_| Refused)?;
        Ok(Secret::new(pkcs8.as_ref()))
    }

    fn join_ec(&self, curve: Curve, public: &EcPublic, private: &Secret) -> Result<Secret, Refused> {
        let point = [&[4], public.x.as_slice(), public.y.as_slice()].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), private.expose(), &point).map_err(|_| Refused)?;
        Ok(Secret::new(pair.to_pkcs8v1().map_err(|_| Refused)?.as_ref()))
    }

    fn rsa_sign(&self, pkcs8: &Secret, padding: RsaSignature, hash: Hash, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        let pair = rsa_pair(pkcs8)?;
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign_digest(padding.signing(hash), &hash.digest(digest)?, &mut signature).map_err(|_| Refused)?;
        Ok(signature)
    }

    fn rsa_verify(&self, pkcs8: &Secret, padding: RsaSignature, hash: Hash, digest: &[u8], signature: &[u8]) -> Result<bool, Refused> {
        let pair = rsa_pair(pkcs8)?;
        let public = UnparsedPublicKey::new(padding.verifying(hash), pair.public_key());
        Ok(public.verify_digest(&hash.digest(digest)?, signature).is_ok())
    }

    fn ec_sign(&self, curve: Curve, pkcs8: &Secret, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        let signature = ec_pair(curve, pkcs8)?.sign_digest(&curve.hash().digest(digest)?).map_err(|_| Refused)?;
        Ok(signature.as_ref().to_vec())
    }

    fn ec_verify(&self, curve: Curve, pkcs8: &Secret, digest: &[u8], signature: &[u8]) -> Result<bool, Refused> {
        let pair = ec_pair(curve, pkcs8)?;
        let public = UnparsedPublicKey::new(curve.verifying(), pair.public_key());
        Ok(public.verify_digest(&curve.hash().digest(digest)?, signature).is_ok())
    }

    fn rsa_encrypt(&self, pkcs8: &Secret, padding: RsaEncryption, plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        let public = decrypting(pkcs8)?.public_key();
        let mut output = vec![0; public.key_size_bytes()];
        let written = match padding {
            RsaEncryption::Pkcs1 => {
                let key = Pkcs1PublicEncryptingKey::new(public).map_err(|_| Refused)?;
                key.encrypt(plaintext, &mut output).map_err(|_| Refused)?.len()
            }
            RsaEncryption::Oaep(hash) => {
                let key = OaepPublicEncryptingKey::new(public).map_err(|_| Refused)?;
                key.encrypt(hash.algorithm(), plaintext, &mut output, None).map_err(|_| Refused)?.len()
            }
        };
        output.truncate(written);
        Ok(output)
    }

    fn rsa_decrypt(&self, pkcs8: &Secret, padding: RsaEncryption, ciphertext: &[u8]) -> Result<Secret, Refused> {
        match padding {
            RsaEncryption::Pkcs1 => {
                let key = Pkcs1PrivateDecryptingKey::new(decrypting(pkcs8)?).map_err(|_| Refused)?;
                let mut output = Zeroizing::new(vec![0; key.min_output_size()]);
                Ok(Secret::new(&*key.decrypt(ciphertext, &mut output).map_err(|_| Refused)?))
            }
            RsaEncryption::Oaep(hash) => {
                let key = OaepPrivateDecryptingKey::new(decrypting(pkcs8)?).map_err(|_| Refused)?;
                let mut output = Zeroizing::new(vec![0; key.min_output_size()]);
                Ok(Secret::new(&*key.decrypt(hash.algorithm(), ciphertext, &mut output, None).map_err(|_| Refused)?))
            }
        }
    }

    fn aes_encrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        match mode {
            AesMode::Gcm => {
                let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| Refused)?;
                let mut sealed = plaintext.to_vec();
                gcm(key)?.seal_in_place_append_tag(nonce, Aad::from(context), &mut sealed).map_err(|_| Refused)?;
                Ok(sealed)
            }
            AesMode::Cbc => {
                let mut data = plaintext.to_vec();
                let key = EncryptingKey::cbc(block_key(key)?).map_err(|_| Refused)?;
                key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(block_iv(iv)?)).map_err(|_| Refused)?;
                Ok(data)
            }
            AesMode::CbcPadded => {
                let mut data = plaintext.to_vec();
                let key = PaddedBlockEncryptingKey::cbc_pkcs7(block_key(key)?).map_err(|_| Refused)?;
                key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(block_iv(iv)?)).map_err(|_| Refused)?;
                Ok(data)
            }
            AesMode::Wrap | AesMode::WrapPadded => {
                // Padding to a multiple of eight bytes, and eight more.
                let mut output = vec![0; plaintext.len() + 16];
                let kek = kek(key)?;
                let wrapped =
                    if mode == AesMode::Wrap { kek.wrap(plaintext, &mut output) } else { kek.wrap_with_padding(plaintext, &mut output) };
                let written = wrapped.map_err(|_| Refused)?.len();
                output.truncate(written);
                Ok(output)
            }
        }
    }

    fn aes_decrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], ciphertext: &[u8]) -> Result<Secret, Refused> {
        let mut data = Zeroizing::new(ciphertext.to_vec());
        let opened = match mode {
            AesMode::Gcm => {
                let nonce = Nonce::try_assume_unique_for_key(iv).map_err(|_| Refused)?;
                Secret::new(&*gcm(key)?.open_in_place(nonce, Aad::from(context), &mut data).map_err(|_| Refused)?)
            }
            AesMode::Cbc => {
                let key = DecryptingKey::cbc(block_key(key)?).map_err(|_| Refused)?;
                Secret::new(&*key.decrypt(&mut data, DecryptionContext::Iv128(block_iv(iv)?)).map_err(|_| Refused)?)
            }
            AesMode::CbcPadded => {
                let key = PaddedBlockDecryptingKey::cbc_pkcs7(block_key(key)?).map_err(|_| Refused)?;
                Secret::new(&*key.decrypt(&mut data, DecryptionContext::Iv128(block_iv(iv)?)).map_err(|_| Refused)?)
            }
            AesMode::Wrap => Secret::new(&*kek(key)?.unwrap(ciphertext, &mut data).map_err(|_| Refused)?),
            AesMode::WrapPadded => Secret::new(&*kek(key)?.unwrap_with_padding(ciphertext, &mut data).map_err(|_| Refused)?),
        };
        Ok(opened)
    }
}

fn decrypting(pkcs8: &Secret) -> Result<PrivateDecryptingKey, Refused> {
    PrivateDecryptingKey::from_pkcs8(pkcs8.expose()).map_err(|_| Refused)
}

fn rsa_pair(pkcs8: &Secret) -> Result<RsaKeyPair, Refused> {
    RsaKeyPair::from_pkcs8(pkcs8.expose()).map_err(|_| Refused)
}

fn ec_pair(curve: Curve, pkcs8: &Secret) -> Result<EcdsaKeyPair, Refused> {
    EcdsaKeyPair::from_pkcs8(curve.signing(), pkcs8.expose()).map_err(|_| Refused)
}

fn gcm(key: &Secret) -> Result<LessSafeKey, Refused> {
    let algorithm = match key.expose().len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return Err(Refused),
    };
    Ok(LessSafeKey::new(UnboundKey::new(algorithm, key.expose()).map_err(|_| Refused)?))
}

fn block_key(key: &Secret) -> Result<UnboundCipherKey, Refused> {
    let algorithm = match key.expose().len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        32 => &cipher::AES_256,
        _ => return Err(Refused),
    };
    UnboundCipherKey::new(algorithm, key.expose()).map_err(|_| Refused)
}

fn block_iv(iv: &[u8]) -> Result<FixedLength<16>, Refused> {
    FixedLength::try_from(iv).map_err(|_| Refused)
}

fn kek(key: &Secret) -> Result<AesKek, Refused> {
    let cipher = match key.expose().len() {
        16 => &key_wrap::AES_128,
        32 => &key_wrap::AES_256,
        _ => return Err(Refused),
    };
    AesKek::new(cipher, key.expose()).map_err(|_| Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{RealCrypto, RsaPairs, RsaSize};

    const CURVES: [Curve; 4] = [Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1];

    #[test]
    fn what_one_elliptic_key_signs_no_other_verifies() {
        for curve in CURVES {
            let digest = vec![7; if curve == Curve::P521 { 64 } else { curve.bytes() }];
            let (one, other) = (RealCrypto.make_ec(curve).unwrap(), RealCrypto.make_ec(curve).unwrap());
            let signature = RealCrypto.ec_sign(curve, &one, &digest).unwrap();
            assert_eq!(signature.len(), 2 * curve.bytes());
            assert_eq!(RealCrypto.ec_verify(curve, &one, &digest, &signature), Ok(true));
            assert_eq!(RealCrypto.ec_verify(curve, &other, &digest, &signature), Ok(false));
            assert_eq!(RealCrypto.ec_sign(curve, &one, &digest[1..]), Err(Refused));
        }
    }

    #[test]
    fn a_key_is_of_its_curve_and_nothing_stands_behind_it() {
        for curve in CURVES {
            let key = RealCrypto.make_ec(curve).unwrap();
            let public = RealCrypto.read_ec(curve, &key).unwrap();
            assert_eq!((public.x.len(), public.y.len()), (curve.bytes(), curve.bytes()));
            for other in CURVES.into_iter().filter(|other| *other != curve) {
                assert_eq!(RealCrypto.read_ec(other, &key), Err(Refused));
            }
            assert_eq!(RealCrypto.read_ec(curve, &Secret::new([key.expose(), &[0]].concat())), Err(Refused));
            assert_eq!(RealCrypto.read_rsa(&key), Err(Refused));
        }
    }

    #[test]
    fn rsa_signs_and_decrypts_only_as_it_was_asked_to() {
        let pair = RsaPairs::fixed().make_pair(RsaSize::Rsa2048).unwrap().private;
        assert_eq!(RealCrypto.read_rsa(&pair).map(|public| (public.modulus.len(), public.exponent)), Ok((256, vec![1, 0, 1])));
        for padding in [RsaSignature::Pkcs1, RsaSignature::Pss] {
            let signature = RealCrypto.rsa_sign(&pair, padding, Hash::Sha384, &[1; 48]).unwrap();
            let verify = |padding, digest: &[u8]| RealCrypto.rsa_verify(&pair, padding, Hash::Sha384, digest, &signature);
            assert_eq!(verify(padding, &[1; 48]), Ok(true));
            assert_eq!(verify(padding, &[2; 48]), Ok(false));
            let other = if padding == RsaSignature::Pss { RsaSignature::Pkcs1 } else { RsaSignature::Pss };
            assert_eq!(verify(other, &[1; 48]), Ok(false));
        }
        for padding in [RsaEncryption::Pkcs1, RsaEncryption::Oaep(OaepHash::Sha1), RsaEncryption::Oaep(OaepHash::Sha256)] {
            let sealed = RealCrypto.rsa_encrypt(&pair, padding, b"plain").unwrap();
            assert_eq!(RealCrypto.rsa_decrypt(&pair, padding, &sealed).unwrap().expose(), b"plain");
        }
    }

    #[test]
    fn aes_of_every_length_gives_back_what_it_took() {
        for length in [16, 24, 32] {
            let key = Secret::new(vec![3; length]);
            for (mode, iv) in
                [(AesMode::Gcm, 12), (AesMode::Cbc, 16), (AesMode::CbcPadded, 16), (AesMode::Wrap, 0), (AesMode::WrapPadded, 0)]
            {
                let (iv, context) = (vec![5; iv], if mode == AesMode::Gcm { b"context".as_slice() } else { b"" });
                let sealed = RealCrypto.aes_encrypt(&key, mode, &iv, context, &[9; 32]);
                if length == 24 && matches!(mode, AesMode::Wrap | AesMode::WrapPadded) {
                    assert_eq!(sealed, Err(Refused));
                    continue;
                }
                let opened = RealCrypto.aes_decrypt(&key, mode, &iv, context, &sealed.unwrap());
                assert_eq!(opened.unwrap().expose(), [9; 32], "{mode:?} {length}");
            }
        }
    }
}
