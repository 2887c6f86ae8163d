//! The cryptography of a cloud, as functions from values to values.
//!
//! [`RealCrypto`] is real cryptography (aws-lc-rs). [`RsaPairs`] is the same, but can take its RSA pairs from files. A simulation can use a
//! symbolic one, in which a ciphertext is a record of its inputs.

mod der;
pub mod keys;
mod pairs;
pub mod service;
mod turns;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    key_wrap::{AES_256, AesKek, KeyWrapPadded},
    rsa::{
        KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPrivateDecryptingKey,
        PrivateDecryptingKey,
    },
};
use zeroize::{Zeroize, Zeroizing};

pub use pairs::RsaPairs;
pub(crate) use turns::Turns;

/// Secret bytes: wiped when dropped, never printed, never copied implicitly.
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// By the length of the modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RsaSize {
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

impl RsaSize {
    /// The length in bytes of the modulus, and so of every ciphertext.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
        }
    }
}

/// The hash of RSA-OAEP and of its MGF1. The label is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OaepHash {
    Sha1,
    Sha256,
    Sha512,
}

impl OaepHash {
    fn algorithm(self) -> &'static OaepAlgorithm {
        match self {
            Self::Sha1 => &OAEP_SHA1_MGF1SHA1,
            Self::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Self::Sha512 => &OAEP_SHA512_MGF1SHA512,
        }
    }
}

/// An RSA pair for wrapping.
pub struct Pair {
    /// The public key, as a SubjectPublicKeyInfo in DER.
    pub public: Vec<u8>,
    /// The private key, in the encoding of the [`Crypto`] that made it.
    pub private: Secret,
}

impl Pair {
    fn of(key: &PrivateDecryptingKey) -> Result<Self, Refused> {
        let private: Pkcs8V1Der<'static> = key.as_der().map_err(|_| Refused)?;
        let public: PublicKeyX509Der<'static> = key.public_key().as_der().map_err(|_| Refused)?;
        Ok(Self { public: public.as_ref().to_vec(), private: Secret::new(private.as_ref()) })
    }
}

/// The inputs do not belong together: a wrong key, hash, context or length, or changed bytes. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic operation was refused")]
pub struct Refused;

pub trait Crypto: Send {
    /// # Errors
    /// When there is no randomness.
    fn make_pair(&self, size: RsaSize) -> Result<Pair, Refused>;

    /// Decrypts RSA-OAEP with this hash for both digests and an empty label.
    ///
    /// # Errors
    /// For a ciphertext that was made otherwise.
    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused>;

    /// Unwraps AES-KWP (RFC 5649) under a 256-bit key.
    ///
    /// # Errors
    /// When the key has another length, or the integrity check, the length field or the zero padding is wrong.
    fn unwrap_kwp(&self, key: &Secret, wrapped: &[u8]) -> Result<Secret, Refused>;

    /// Encrypts under a 256-bit key with AES-GCM, and appends the tag. A key must not be used twice with one nonce.
    ///
    /// # Errors
    /// When the key has another length.
    fn seal(&self, key: &Secret, nonce: [u8; 12], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused>;

    /// Decrypts what [`Crypto::seal`] made.
    ///
    /// # Errors
    /// When key, nonce, context or ciphertext is another.
    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused>;

    /// SHA-256 of the parts, one after the other.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 32];
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RealCrypto;

/// The source of real cryptography's RSA pairs. Each source is a [`Crypto`] that does everything else with aws-lc-rs.
pub trait PairSource: Send {
    /// The next RSA pair. The source gives it only once.
    ///
    /// # Errors
    /// When there is no randomness.
    fn next_pair(&self, size: RsaSize) -> Result<Pair, Refused>;
}

/// Generates each pair when it is asked for.
impl PairSource for RealCrypto {
    fn next_pair(&self, size: RsaSize) -> Result<Pair, Refused> {
        let size = match size {
            RsaSize::Rsa2048 => KeySize::Rsa2048,
            RsaSize::Rsa3072 => KeySize::Rsa3072,
            RsaSize::Rsa4096 => KeySize::Rsa4096,
        };
        Pair::of(&PrivateDecryptingKey::generate(size).map_err(|_| Refused)?)
    }
}

impl<P: PairSource> Crypto for P {
    fn make_pair(&self, size: RsaSize) -> Result<Pair, Refused> {
        self.next_pair(size)
    }

    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused> {
        let algorithm = hash.algorithm();
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
        gcm(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed).map_err(|_| Refused)?;
        Ok(sealed)
    }

    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused> {
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plaintext =
            gcm(key)?.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut opened).map_err(|_| Refused)?;
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

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey};

    use super::*;

    fn secret(bytes: &[u8]) -> Secret {
        Secret::new(bytes)
    }

    fn wrap(pair: &Pair, algorithm: &'static OaepAlgorithm, label: Option<&[u8]>) -> Vec<u8> {
        let key = PublicEncryptingKey::from_der(&pair.public).unwrap();
        let key = OaepPublicEncryptingKey::new(key).unwrap();
        let mut output = vec![0; key.ciphertext_size()];
        key.encrypt(algorithm, &[7; 32], &mut output, label).unwrap().to_vec()
    }

    #[test]
    fn oaep_opens_with_exactly_its_hash_and_no_label() {
        let pair = RealCrypto.make_pair(RsaSize::Rsa2048).unwrap();
        let other = RealCrypto.make_pair(RsaSize::Rsa2048).unwrap();
        let open =
            |pair: &Pair, hash, wrapped: &[u8]| RealCrypto.unwrap_oaep(&pair.private, hash, wrapped).map(|opened| opened.expose().to_vec());
        let sha1 = wrap(&pair, &OAEP_SHA1_MGF1SHA1, None);
        let sha256 = wrap(&pair, &OAEP_SHA256_MGF1SHA256, None);
        assert_eq!(open(&pair, OaepHash::Sha1, &sha1), Ok(vec![7; 32]));
        assert_eq!(open(&pair, OaepHash::Sha256, &sha256), Ok(vec![7; 32]));
        assert_eq!(open(&pair, OaepHash::Sha256, &sha1), Err(Refused));
        assert_eq!(open(&pair, OaepHash::Sha1, &sha256), Err(Refused));
        assert_eq!(open(&other, OaepHash::Sha256, &sha256), Err(Refused));
        assert_eq!(open(&pair, OaepHash::Sha256, &wrap(&pair, &OAEP_SHA384_MGF1SHA384, None)), Err(Refused));
        assert_eq!(open(&pair, OaepHash::Sha256, &wrap(&pair, &OAEP_SHA256_MGF1SHA256, Some(b"label"))), Err(Refused));
        assert_eq!(open(&pair, OaepHash::Sha256, &[&[0], sha256.as_slice()].concat()), Err(Refused));
    }

    /// Vectors of another implementation (pyca/cryptography), under the key 00 01 … 1f: 20 bytes, which need padding, and what a lax
    /// implementation would accept for them.
    #[test]
    fn kwp_is_read_as_rfc_5649_says_and_no_other_way() {
        let kek = secret(&(0..32).collect::<Vec<u8>>());
        let unwrap = |wrapped: &str| {
            let wrapped = hex::decode(wrapped).unwrap();
            RealCrypto.unwrap_kwp(&kek, &wrapped).map(|opened| opened.expose().to_vec())
        };
        let good = "f5129e80e156263174db3eb593dca415b34a59ac30626fd4157e7241c590b6b4";
        assert_eq!(unwrap(good), Ok((100..120).collect()));
        for (wrapped, what) in [
            ("3bde042aa9cf50dfcc24c1d2e3cde84b555e430760c6baf46b9f75231b65ea79", "padding that is not zero"),
            ("a4e7343519ae7ca79fdb74004f2f5c7347bcbfebc573cf62d3877ad044582c6a", "a length of 25 for 24 bytes"),
            ("857231628570ab156d31ce1634a0b36009daa8663b70b476da0efd67aeaaa012", "eight bytes of padding"),
            ("5acb7156f59c903575389767776d69e1eb3bf181a0e4862e99d8217fb2c1e8f4", "the other key wrap, RFC 3394"),
            (&good[..48], "a block too few"),
            (&good[..62], "half a block"),
            ("", "nothing"),
        ] {
            assert_eq!(unwrap(wrapped), Err(Refused), "{what}");
        }
        let short = RealCrypto.unwrap_kwp(&secret(&[0; 16]), &hex::decode(good).unwrap());
        assert_eq!(short.map(|_| ()), Err(Refused));
    }

    #[test]
    fn what_is_sealed_opens_only_with_its_key_nonce_and_context() {
        let sealed = RealCrypto.seal(&secret(&[1; 32]), [2; 12], b"context", b"plain").unwrap();
        let open = |key, nonce, context| {
            RealCrypto.open(&secret(&[key; 32]), [nonce; 12], context, &sealed).map(|opened| opened.expose().to_vec())
        };
        assert_eq!(open(1, 2, b"context".as_slice()), Ok(b"plain".to_vec()));
        assert_eq!(open(9, 2, b"context".as_slice()), Err(Refused));
        assert_eq!(open(1, 9, b"context".as_slice()), Err(Refused));
        assert_eq!(open(1, 2, b"Context".as_slice()), Err(Refused));
    }
}
