//! The cryptography that a cloud does, as values in and values out.
//!
//! [`RealCrypto`] is the real thing, on aws-lc-rs. A simulation can bring a symbolic one, in which a ciphertext is a
//! record of what went in.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey,
    },
};
use zeroize::{Zeroize, Zeroizing};

/// Secret bytes: wiped when dropped, never printed, never copied by accident.
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The size of an RSA pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RsaSize {
    /// 2048 bits.
    Rsa2048,
    /// 3072 bits.
    Rsa3072,
    /// 4096 bits.
    Rsa4096,
}

impl RsaSize {
    /// The length of the modulus in bytes, and so of every ciphertext.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
        }
    }
}

/// The hash of an RSA-OAEP encryption; MGF1 uses the same one, and the label is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OaepHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// An RSA pair for wrapping.
pub struct Pair {
    /// The public half, DER of `SubjectPublicKeyInfo`.
    pub public: Vec<u8>,
    /// The private half, in whatever form the maker understands.
    pub private: Secret,
}

/// The inputs do not belong together: a wrong key, hash, context or length, or bytes that were changed. Deliberately
/// without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic operation was refused")]
pub struct Refused;

/// What a cloud needs of cryptography.
pub trait Crypto: Send {
    /// Makes an RSA pair.
    ///
    /// # Errors
    /// When there is no randomness.
    fn make_pair(&self, size: RsaSize) -> Result<Pair, Refused>;

    /// Decrypts RSA-OAEP with exactly this hash for both digests and an empty label.
    ///
    /// # Errors
    /// For a ciphertext of any other making.
    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused>;

    /// Unwraps AES-KWP (RFC 5649) under a 256-bit key.
    ///
    /// # Errors
    /// When the key has another length, or the integrity check, the length field or the zero padding is wrong.
    fn unwrap_kwp(&self, key: &Secret, wrapped: &[u8]) -> Result<Secret, Refused>;

    /// Seals under a 256-bit key with AES-GCM; the tag is appended. A pair of key and nonce serves once.
    ///
    /// # Errors
    /// When the key has another length.
    fn seal(&self, key: &Secret, nonce: [u8; 12], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Opens what [`Crypto::seal`] made.
    ///
    /// # Errors
    /// When key, nonce, context or ciphertext is another.
    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused>;

    /// SHA-256 of the parts, one after the other.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 32];
}

/// Real cryptography: aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealCrypto;

impl Crypto for RealCrypto {
    fn make_pair(&self, size: RsaSize) -> Result<Pair, Refused> {
        let size = match size {
            RsaSize::Rsa2048 => KeySize::Rsa2048,
            RsaSize::Rsa3072 => KeySize::Rsa3072,
            RsaSize::Rsa4096 => KeySize::Rsa4096,
        };
        let key = PrivateDecryptingKey::generate(size).map_err(|_| Refused)?;
        let private: Pkcs8V1Der<'static> = key.as_der().map_err(|_| Refused)?;
        let public: PublicKeyX509Der<'static> = key.public_key().as_der().map_err(|_| Refused)?;
        Ok(Pair { public: public.as_ref().to_vec(), private: Secret::new(private.as_ref()) })
    }

    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused> {
        let algorithm = match hash {
            OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
            OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
        };
        let key = PrivateDecryptingKey::from_pkcs8(private.expose()).map_err(|_| Refused)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| Refused)?;
        // A ciphertext is exactly as long as the modulus: nothing is stripped or padded here.
        if wrapped.len() != key.key_size_bytes() {
            return Err(Refused);
        }
        let mut output = Zeroizing::new(vec![0; key.min_output_size()]);
        let plaintext = key.decrypt(algorithm, wrapped, &mut output, None).map_err(|_| Refused)?;
        Ok(Secret::new(&*plaintext))
    }

    fn unwrap_kwp(&self, key: &Secret, wrapped: &[u8]) -> Result<Secret, Refused> {
        let kek = AesKek::new(&AES_256, key.expose()).map_err(|_| Refused)?;
        let mut output = Zeroizing::new(vec![0; wrapped.len()]);
        let plaintext = kek.unwrap_with_padding(wrapped, &mut output).map_err(|_| Refused)?;
        Ok(Secret::new(&*plaintext))
    }

    fn seal(&self, key: &Secret, nonce: [u8; 12], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut sealed = plaintext.to_vec();
        gcm(key)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Refused)?;
        Ok(sealed)
    }

    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused> {
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plaintext = gcm(key)?
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut opened)
            .map_err(|_| Refused)?;
        Ok(Secret::new(&*plaintext))
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

fn gcm(key: &Secret) -> Result<LessSafeKey, Refused> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Refused)?))
}
