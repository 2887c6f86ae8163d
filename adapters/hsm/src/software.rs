//! The cloud's side of wrapping, in software, for self-tests with throwaway keys.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use keyplane_model::{PublicKey, WrapScheme};
use pkcs1::der::Decode as _;
use spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use crate::HsmError;
use crate::error::NoRoute;
use crate::pair::{Curve, Pair};

/// An RSA key pair whose private key is in this process. For self-tests only.
pub(crate) struct SoftwareKey {
    private: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
}

impl SoftwareKey {
    pub(crate) fn make(size: KeySize) -> Result<Self, HsmError> {
        let failed = |_| HsmError::Software("making an RSA key");
        let private = PrivateDecryptingKey::generate(size).map_err(failed)?;
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(failed)?;
        let spki = der.as_ref().to_vec();
        Ok(Self { private: OaepPrivateDecryptingKey::new(private).map_err(failed)?, spki })
    }

    /// The SubjectPublicKeyInfo, in DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The length of the modulus, in bits.
    pub(crate) fn bits(&self) -> usize {
        self.private.key_size_bits()
    }

    /// Unwraps as the cloud does. `None`: the bytes do not follow the scheme.
    pub(crate) fn unwrap(&self, scheme: WrapScheme, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (head, tail) = wrapped.split_at_checked(self.private.key_size_bytes())?;
        let algorithm = match scheme {
            WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => &OAEP_SHA256_MGF1SHA256,
            WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => &OAEP_SHA1_MGF1SHA1,
        };
        let mut opened = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let length = self.private.decrypt(algorithm, head, &mut opened, None).ok()?.len();
        opened.truncate(length);
        match scheme {
            WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 => tail.is_empty().then_some(opened),
            WrapScheme::RsaAesKeyWrapSha256 | WrapScheme::RsaAesKeyWrapSha1 => {
                let kek = AesKek::new(&AES_256, &opened).ok()?;
                let mut key = Zeroizing::new(vec![0; tail.len()]);
                let length = kek.unwrap_with_padding(tail, &mut key).ok()?.len();
                key.truncate(length);
                Some(key)
            }
        }
    }
}

/// Checks that the bytes are exactly one private key in strict PKCS#8, which belongs to the public key.
pub(crate) fn check_private_key(pair: Pair, pkcs8: &[u8], public: &PublicKey) -> Result<(), NoRoute> {
    if !is_strict(pair, pkcs8, public) {
        return Err(NoRoute::Pkcs8);
    }
    const MESSAGE: &[u8] = b"keyplane checks";
    match sign(pair, pkcs8, MESSAGE) {
        Some(signature) if pair.verifies(public, MESSAGE, &signature) => Ok(()),
        Some(_) | None => Err(NoRoute::Nonconforming),
    }
}

/// Whether the bytes are a `PrivateKeyInfo` (RFC 5208) in DER with the public key's algorithm and curve, around a key as RFC 8017 or RFC
/// 5915 define it.
fn is_strict(pair: Pair, pkcs8: &[u8], public: &PublicKey) -> bool {
    let (Ok(info), Ok(public)) = (pkcs8::PrivateKeyInfo::from_der(pkcs8), SubjectPublicKeyInfoRef::from_der(&public.0)) else {
        return false;
    };
    info.algorithm == public.algorithm
        && match pair {
            Pair::Rsa(_) => pkcs1::RsaPrivateKey::from_der(info.private_key).is_ok(),
            // This parser accepts a private number without its leading zeros; some destinations do not.
            Pair::Ec(curve) => sec1::EcPrivateKey::from_der(info.private_key).is_ok_and(|key| key.private_key.len() == curve.field_bytes()),
        }
}

fn sign(pair: Pair, pkcs8: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let random = SystemRandom::new();
    match pair {
        Pair::Rsa(_) => {
            let key = rsa::KeyPair::from_pkcs8(pkcs8).ok()?;
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
            Some(signature)
        }
        Pair::Ec(curve) => {
            let algorithm = match curve {
                Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
                Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            };
            let signature = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).ok()?.sign(&random, message).ok()?;
            Some(signature.as_ref().to_vec())
        }
    }
}
