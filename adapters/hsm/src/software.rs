//! The cloud's side of a wrap, in software: for self-tests with throwaway keys.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use keyplane_model::WrapScheme;
use zeroize::Zeroizing;

use crate::HsmError;

/// An RSA key whose private half is here.
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

    /// DER of its SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The length of its modulus.
    pub(crate) fn bits(&self) -> usize {
        self.private.key_size_bits()
    }

    /// Unwraps as the cloud would; `None` when the bytes are not what the scheme says.
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
