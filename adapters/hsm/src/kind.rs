//! The PKCS#11 counterparts of algorithms: how their keys are generated, used and recognised.

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use keyplane_model::{Algorithm, CheckValue, PublicKey};

use crate::HsmError;
use crate::pair::{Curve, Pair};
use crate::template::{self, Life, Use};
use crate::token::{Ephemeral, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Aes,
    /// A generic secret key of 256 bits.
    Hmac,
    /// A key pair. Its private key is the copy.
    Pair(Pair),
}

impl Kind {
    pub(crate) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Aes256 => Self::Aes,
            Algorithm::HmacSha256 => Self::Hmac,
            Algorithm::Rsa2048 => Self::Pair(Pair::Rsa(2048)),
            Algorithm::Rsa3072 => Self::Pair(Pair::Rsa(3072)),
            Algorithm::Rsa4096 => Self::Pair(Pair::Rsa(4096)),
            Algorithm::EcP256 => Self::Pair(Pair::Ec(Curve::P256)),
            Algorithm::EcP384 => Self::Pair(Pair::Ec(Curve::P384)),
        }
    }

    /// The uses of a copy besides being wrapped: only those needed to recognise it. A MAC key is recognised by its digest, which needs no
    /// attribute.
    pub(crate) fn uses(self) -> &'static [Use] {
        match self {
            Self::Aes => &[Use::Encrypt],
            Self::Hmac => &[],
            Self::Pair(_) => &[Use::Sign],
        }
    }

    /// The template of a key that may be wrapped, as `C_UnwrapKey` takes it.
    pub(crate) fn template(self, uses: &[Use]) -> Vec<Attribute> {
        match self {
            Self::Aes => template::secret(Life::Passing, uses),
            Self::Hmac => template::secret_of(KeyType::GENERIC_SECRET, Life::Passing, uses),
            Self::Pair(pair) => template::private(pair.key_type(), Life::Passing, uses),
        }
    }

    /// Generates a random key that may be wrapped; with the public key if it is a pair.
    pub(crate) fn generate<'token>(self, token: &'token Token, uses: &[Use]) -> Result<(Ephemeral<'token>, Option<PublicKey>), HsmError> {
        let mechanism = match self {
            Self::Aes => Mechanism::AesKeyGen,
            Self::Hmac => Mechanism::GenericSecretKeyGen,
            Self::Pair(pair) => return pair.generate(token, Life::Passing, uses).map(|(key, public)| (key, Some(public))),
        };
        let template = template::with_length(self.template(uses));
        Ok((token.generate(&mechanism, &template).map_err(HsmError::token("making a key"))?, None))
    }

    /// Whether a key in the token has this kind and size. An unwrapping template fixes the uses of a key, but not its length.
    pub(crate) fn fits(self, token: &Token, key: ObjectHandle) -> Result<bool, HsmError> {
        match self {
            // SoftHSM 2.6.1 reports a length of 0 for keys that it unwrapped. Then only the blob shows their length ([`Self::fills`]).
            Self::Aes | Self::Hmac => Ok(token
                .attributes(key, &[AttributeType::ValueLen])?
                .iter()
                .all(|seen| [template::SECRET_BYTES, 0].iter().any(|length| *seen == Attribute::ValueLen((*length).into())))),
            Self::Pair(pair) => pair.fits(token, key),
        }
    }

    /// Whether the output of AES-KWP has the right length for such a key. RFC 5649 pads to a multiple of 8 bytes and adds 8.
    pub(crate) fn fills(self, wrapped: &[u8]) -> bool {
        match self {
            Self::Aes | Self::Hmac => wrapped.len() as u64 == template::SECRET_BYTES + 8,
            // Encodings of private keys vary in length.
            Self::Pair(_) => true,
        }
    }

    /// The key check value (PKCS#11 `CKA_CHECK_VALUE`). `None`: the kind has none. Computed with the token's mechanisms, since kryoptic
    /// lacks the attribute.
    pub(crate) fn check_value(self, token: &Token, key: ObjectHandle) -> Result<Option<CheckValue>, HsmError> {
        let whole = match self {
            Self::Aes => token.session().encrypt(&Mechanism::AesEcb, key, &[0; 16]),
            Self::Hmac => digest(token, key),
            Self::Pair(_) => return Ok(None),
        };
        match whole.map_err(HsmError::token("making a check value"))?[..] {
            [a, b, c, ..] => Ok(Some(CheckValue([a, b, c]))),
            _ => Err(HsmError::Software("reading a check value")),
        }
    }
}

/// SHA-1 of a secret key's value. The value stays in the token, and its digest reveals nothing about 256 random bits.
pub(crate) fn digest(token: &Token, key: ObjectHandle) -> Result<Vec<u8>, Pkcs11Error> {
    let session = token.session();
    session.digest_init(&Mechanism::Sha1)?;
    let taken = session.digest_key(key);
    // Always finished, even if the token refused the key: an open digest would block the next one.
    let digest = session.digest_final();
    taken.and(digest)
}
