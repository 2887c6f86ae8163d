//! Throwaway keys, which protect nothing: self-tests generate and wrap them, and see them in the clear.

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::{digest, hmac};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectHandle};
use keyplane_model::{Algorithm, PublicKey};

use crate::HsmError;
use crate::error::{NoRoute, is_refusal};
use crate::kind::{self, Kind};
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
    /// A MAC key of this many bytes.
    Mac { length: usize, mac: Vec<u8>, digest: Option<Vec<u8>> },
    /// The public key of a private key.
    Public(Pair, PublicKey),
}

impl Witness {
    fn of_mac(token: &Token, key: ObjectHandle, length: usize) -> Result<Self, HsmError> {
        let digest = match kind::digest(token, key) {
            Ok(digest) => Some(digest),
            // Then check values of MAC keys are not recorded either.
            Err(error) if is_refusal(&error) => None,
            Err(error) => return Err(HsmError::token("digesting a key")(error)),
        };
        Ok(Self::Mac { length, mac: authenticate(token, key)?, digest })
    }
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
            (Kind::Hmac, _) => Witness::of_mac(token, key.handle(), SECRET)?,
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
        let witness = Witness::of_mac(token, key.handle(), UNEVEN)?;
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
                Witness::Mac { mac, .. } => authenticate(self.token, other)? == *mac,
                Witness::Public(pair, public) => pair.belongs(self.token, other, public)?,
            })
    }

    /// Checks that the bytes that arrived are this key, in the encoding that destinations take.
    pub(crate) fn arrived(&self, bytes: &[u8]) -> Result<(), NoRoute> {
        let arrived = match &self.witness {
            Witness::Ciphertext(ciphertext) => decrypts(bytes, ciphertext),
            Witness::Mac { length, mac, digest } => {
                if digest.as_ref().is_some_and(|told| !is_digest(told, bytes)) {
                    return Err(NoRoute::Digest);
                }
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

/// Whether the token's digest of a key is of the key's bytes. A token whose digest is of anything else would give all MAC keys one check
/// value, and one key could be taken for another.
fn is_digest(told: &[u8], bytes: &[u8]) -> bool {
    told == digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()
}

#[cfg(test)]
mod tests {
    use super::is_digest;

    #[test]
    fn a_digest_is_of_the_bytes_and_of_nothing_else() {
        // NIST FIPS 180-4, example of SHA-1: "abc".
        let abc = hex::decode("a9993e364706816aba3e25717850c26c9cd0d89d").unwrap();
        assert!(is_digest(&abc, b"abc"));
        assert!(!is_digest(&abc, b"abd"));
        // SHA-1 of nothing: what a token answers that digests no key but says so of each.
        let nothing = hex::decode("da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        assert!(!is_digest(&nothing, b"abc"));
        assert!(!is_digest(&[], b"abc"));
    }
}
