//! Throwaway keys, which protect nothing: self-tests generate and wrap them, and see them in the clear.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use keyplane_model::{Algorithm, PublicKey};

use crate::HsmError;
use crate::error::NoRoute;
use crate::kind::Kind;
use crate::pair::Pair;
use crate::software::check_private_key;
use crate::template::{self, Use};
use crate::token::{Ephemeral, Token};

/// The block that throwaway keys encrypt or authenticate, to show that two handles are the same key.
const KNOWN: [u8; 16] = *b"keyplane checks.";

const SECRET: usize = template::SECRET_BYTES as usize;
/// The length of [`Throwaway::uneven`], in bytes. It is no multiple of AES-KWP's 8.
const UNEVEN: usize = SECRET + 1;

pub(crate) struct Throwaway<'token> {
    token: &'token Token,
    key: Ephemeral<'token>,
    kind: Kind,
    witness: Witness,
}

/// What recognises a key, in this process and in the token.
enum Witness {
    /// The known block, encrypted by an AES key.
    Ciphertext(Vec<u8>),
    /// The known block, authenticated by a MAC key of this many bytes.
    Mac(usize, Vec<u8>),
    /// The public key of a private key.
    Public(Pair, PublicKey),
}

/// The uses of a throwaway key: only what its witness needs. A copy of a MAC key has no use at all.
fn uses(kind: Kind) -> &'static [Use] {
    match kind {
        Kind::Aes => &[Use::Encrypt],
        Kind::Hmac | Kind::Pair(_) => &[Use::Sign],
    }
}

impl<'token> Throwaway<'token> {
    pub(crate) fn make(token: &'token Token, algorithm: Algorithm) -> Result<Self, HsmError> {
        let kind = Kind::of(algorithm);
        let (key, public) = kind.generate(token, uses(kind))?;
        let witness = match (kind, public) {
            (Kind::Pair(pair), Some(public)) => Witness::Public(pair, public),
            (Kind::Hmac, _) => Witness::Mac(SECRET, authenticate(token, key.handle())?),
            (Kind::Aes | Kind::Pair(_), _) => Witness::Ciphertext(encrypt(token, key.handle())?),
        };
        Ok(Self { token, key, kind, witness })
    }

    /// A secret whose length is no multiple of AES-KWP's 8 bytes, to show whether a way pads. A private key shows it only by chance: its
    /// encoding may need no padding.
    pub(crate) fn uneven(token: &'token Token) -> Result<Self, HsmError> {
        let kind = Kind::Hmac;
        let mut template = kind.template(uses(kind));
        template.push(Attribute::ValueLen((UNEVEN as u64).into()));
        let key = token.generate(&Mechanism::GenericSecretKeyGen, &template).map_err(HsmError::token("making a throwaway key"))?;
        let witness = Witness::Mac(UNEVEN, authenticate(token, key.handle())?);
        Ok(Self { token, key, kind, witness })
    }

    pub(crate) fn handle(&self) -> ObjectHandle {
        self.key.handle()
    }

    /// The template to unwrap it with, so that it can be recognised afterwards.
    pub(crate) fn template(&self) -> Vec<Attribute> {
        self.kind.template(uses(self.kind))
    }

    /// Whether another handle in the token is the same key.
    pub(crate) fn is(&self, other: ObjectHandle) -> Result<bool, HsmError> {
        Ok(self.kind.fits(self.token, other)?
            && match &self.witness {
                Witness::Ciphertext(ciphertext) => encrypt(self.token, other)? == *ciphertext,
                Witness::Mac(_, mac) => authenticate(self.token, other)? == *mac,
                Witness::Public(pair, public) => pair.belongs(self.token, other, public)?,
            })
    }

    /// Checks that the bytes that arrived are this key, in the encoding that destinations take.
    pub(crate) fn arrived(&self, bytes: &[u8]) -> Result<(), NoRoute> {
        let arrived = match &self.witness {
            Witness::Ciphertext(ciphertext) => decrypts(bytes, ciphertext),
            Witness::Mac(length, mac) => {
                bytes.len() == *length && hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, bytes), &KNOWN, mac).is_ok()
            }
            Witness::Public(pair, public) => return check_private_key(*pair, bytes, public),
        };
        if arrived { Ok(()) } else { Err(NoRoute::Nonconforming) }
    }
}

fn encrypt(token: &Token, key: ObjectHandle) -> Result<Vec<u8>, HsmError> {
    token.session().encrypt(&Mechanism::AesEcb, key, &KNOWN).map_err(HsmError::token("encrypting a known block"))
}

fn authenticate(token: &Token, key: ObjectHandle) -> Result<Vec<u8>, HsmError> {
    token.session().sign(&Mechanism::Sha256Hmac, key, &KNOWN).map_err(HsmError::token("authenticating a known block"))
}

/// Whether these bytes are the AES-256 key that made the ciphertext of [`KNOWN`].
fn decrypts(key: &[u8], ciphertext: &[u8]) -> bool {
    let open = || {
        let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
        let mut block = ciphertext.to_vec();
        Some(key.decrypt(&mut block, DecryptionContext::None).ok()? == KNOWN)
    };
    open().unwrap_or(false)
}
