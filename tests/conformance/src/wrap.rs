//! Wraps known material as an HSM would. Allowed only here, where the material is not secret.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey};
use keyplane_model::WrapScheme;
use keyplane_port::WrappingKey;

/// Wraps material under a destination's public key.
///
/// # Panics
/// When the public key is not an RSA key, or the material does not fit: then the cloud under test is wrong.
#[must_use]
pub fn wrap(key: &WrappingKey, material: &[u8]) -> Vec<u8> {
    match key.scheme {
        WrapScheme::RsaOaepSha256 => oaep(key, &OAEP_SHA256_MGF1SHA256, material),
        WrapScheme::RsaOaepSha1 => oaep(key, &OAEP_SHA1_MGF1SHA1, material),
        WrapScheme::RsaAesKeyWrapSha256 => composed(key, &OAEP_SHA256_MGF1SHA256, material),
        WrapScheme::RsaAesKeyWrapSha1 => composed(key, &OAEP_SHA1_MGF1SHA1, material),
    }
}

fn oaep(key: &WrappingKey, algorithm: &'static OaepAlgorithm, material: &[u8]) -> Vec<u8> {
    let public = PublicEncryptingKey::from_der(&key.spki).expect("the wrapping key is an RSA key in SPKI");
    let public = OaepPublicEncryptingKey::new(public).expect("OAEP takes every RSA key");
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(algorithm, material, &mut wrapped, None).expect("the material fits the RSA key").to_vec()
}

fn composed(key: &WrappingKey, algorithm: &'static OaepAlgorithm, material: &[u8]) -> Vec<u8> {
    let mut ephemeral = [0; 32];
    rand::fill(&mut ephemeral).expect("the system has randomness");
    let mut wrapped = oaep(key, algorithm, &ephemeral);
    let mut inner = vec![0; material.len().next_multiple_of(8) + 8];
    let kek = AesKek::new(&AES_256, &ephemeral).expect("32 bytes are an AES-256 key");
    wrapped.extend_from_slice(kek.wrap_with_padding(material, &mut inner).expect("the material can be wrapped"));
    wrapped
}
