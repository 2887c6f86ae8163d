//! Known key material. It is not secret: its RSA pairs come from files that are public.

use std::sync::OnceLock;

use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
};
use keyplane_model::{Algorithm, CheckValue, Digest, PublicKey};
use keyplane_pairs::Stock;

/// A new RSA pair of this size, as PKCS#8: from a file while this process has not used all of them. No emulated cloud uses these files.
///
/// # Panics
/// When the system has no randomness for a new one.
#[must_use]
pub fn rsa_pair(size: KeySize) -> Vec<u8> {
    static STOCK: Stock = Stock::of_clients();
    if let Some(pair) = STOCK.take(size.len() * 8) {
        return pair.to_vec();
    }
    let pair = rsa::KeyPair::generate(size).expect("the system has randomness");
    let private: Pkcs8V1Der<'_> = pair.as_der().expect("a key pair is written");
    private.as_ref().to_vec()
}

/// The public key of an RSA pair of `bits` bits, as a SubjectPublicKeyInfo: what a cloud could give to wrap under.
///
/// # Panics
/// When no file has RSA pairs of that length.
#[must_use]
pub fn rsa_public_key(bits: usize) -> Vec<u8> {
    let sizes = [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096];
    let size = sizes.into_iter().find(|size| size.len() * 8 == bits).expect("a length that RSA pairs have");
    Material::rsa(size).public_key.expect("an RSA pair has a public half").0
}

/// The material of an object.
#[derive(Clone)]
pub(crate) struct Material {
    /// Raw bytes, or PKCS#8 of a key pair.
    pub(crate) bytes: Vec<u8>,
    /// `None` for a symmetric key.
    pub(crate) public_key: Option<PublicKey>,
}

impl Material {
    pub(crate) fn symmetric(bytes: Vec<u8>) -> Self {
        Self { bytes, public_key: None }
    }

    /// Bytes derived from a name, or a key pair that all names share.
    pub(crate) fn named(algorithm: Algorithm, name: &str) -> Self {
        static PAIR: OnceLock<Material> = OnceLock::new();
        match algorithm.is_symmetric() {
            true => Self::symmetric(Digest::of(name.as_bytes()).0.to_vec()),
            false => PAIR.get_or_init(|| Self::of(algorithm)).clone(),
        }
    }

    /// New material for an algorithm.
    pub(crate) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Aes256 | Algorithm::HmacSha256 => Self::symmetric((0..32).collect()),
            Algorithm::Rsa2048 => Self::rsa(KeySize::Rsa2048),
            Algorithm::Rsa3072 => Self::rsa(KeySize::Rsa3072),
            Algorithm::Rsa4096 => Self::rsa(KeySize::Rsa4096),
            Algorithm::EcP256 => Self::ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Algorithm::EcP384 => Self::ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
        }
    }

    fn rsa(size: KeySize) -> Self {
        let private = rsa_pair(size);
        let pair = rsa::KeyPair::from_pkcs8(&private).expect("a key pair is read as it was written");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key is written");
        Self { bytes: private, public_key: Some(PublicKey(public.as_ref().to_vec())) }
    }

    fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Self {
        let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("the system has randomness");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).expect("a key pair is read as it was written");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key is written");
        Self { bytes: private.as_ref().to_vec(), public_key: Some(PublicKey(public.as_ref().to_vec())) }
    }

    /// The check value that an HSM would show.
    pub(crate) fn check_value(&self, algorithm: Algorithm) -> Option<CheckValue> {
        if algorithm != Algorithm::Aes256 {
            return None;
        }
        let key = UnboundCipherKey::new(&AES_256, &self.bytes).expect("32 bytes are an AES-256 key");
        let mut block = [0; 16];
        EncryptingKey::ecb(key).and_then(|key| key.encrypt(&mut block)).expect("one block is encrypted");
        Some(CheckValue([block[0], block[1], block[2]]))
    }
}
