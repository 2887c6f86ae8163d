//! Keys that self-tests make, wrap, and see in the clear; with what tells each of them again.

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

/// A block that throwaway keys encrypt or authenticate, so that two handles can be told to be one key.
const KNOWN: [u8; 16] = *b"keyplane checks.";

/// A MAC key, in bytes.
const SECRET: usize = template::SECRET_BYTES as usize;
/// One byte more.
const UNEVEN: usize = SECRET + 1;

/// A key that is worth nothing.
pub(crate) struct Throwaway<'token> {
    token: &'token Token,
    key: Ephemeral<'token>,
    kind: Kind,
    witness: Witness,
}

/// What tells a key again, here and in the token.
enum Witness {
    /// What an AES key makes of the known block.
    Ciphertext(Vec<u8>),
    /// What a MAC key of so many bytes makes of it.
    Mac(usize, Vec<u8>),
    /// The other half of a private key.
    Public(Pair, PublicKey),
}

/// What a throwaway key may do: what its witness takes. A MAC key's copy may not even do that.
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

    /// A secret whose length is no multiple of the 8 bytes that AES-KWP works in: it shows whether a way keeps lengths. A private
    /// key does not: by chance, an encoding is just as long as it has to be.
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

    /// What it has to become when it is unwrapped, so that it can be told again.
    pub(crate) fn template(&self) -> Vec<Attribute> {
        self.kind.template(uses(self.kind))
    }

    /// Whether another key in the token is this one.
    pub(crate) fn is(&self, other: ObjectHandle) -> Result<bool, HsmError> {
        Ok(self.kind.fits(self.token, other)?
            && match &self.witness {
                Witness::Ciphertext(ciphertext) => encrypt(self.token, other)? == *ciphertext,
                Witness::Mac(_, mac) => authenticate(self.token, other)? == *mac,
                Witness::Public(pair, public) => pair.belongs(self.token, other, public)?,
            })
    }

    /// Whether bytes that arrived at the other end are this key, as the other end takes it.
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

/// Whether these bytes are the AES-256 key that encrypted the known block.
fn decrypts(key: &[u8], ciphertext: &[u8]) -> bool {
    let open = || {
        let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
        let mut block = ciphertext.to_vec();
        Some(key.decrypt(&mut block, DecryptionContext::None).ok()? == KNOWN)
    };
    open().unwrap_or(false)
}
