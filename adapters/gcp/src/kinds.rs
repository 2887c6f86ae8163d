//! Translates algorithms, purposes, protection levels and wrapping schemes.

use google_cloudkms1::api::CryptoKey;
use keyplane_model::{Algorithm, Protection, Purpose, WrapScheme};

/// Google Cloud's purpose and algorithm for our keys; `None`: the algorithm does not serve the purpose.
pub(crate) fn written(algorithm: Algorithm, purpose: Purpose) -> Option<(&'static str, &'static str)> {
    Some(match (algorithm, purpose) {
        (Algorithm::Aes256, Purpose::Encrypt) => (ENCRYPT_DECRYPT, "GOOGLE_SYMMETRIC_ENCRYPTION"),
        (Algorithm::Rsa2048, Purpose::Encrypt) => ("ASYMMETRIC_DECRYPT", "RSA_DECRYPT_OAEP_2048_SHA256"),
        (Algorithm::Rsa3072, Purpose::Encrypt) => ("ASYMMETRIC_DECRYPT", "RSA_DECRYPT_OAEP_3072_SHA256"),
        (Algorithm::Rsa4096, Purpose::Encrypt) => ("ASYMMETRIC_DECRYPT", "RSA_DECRYPT_OAEP_4096_SHA256"),
        (Algorithm::Rsa2048, Purpose::Sign) => ("ASYMMETRIC_SIGN", "RSA_SIGN_PKCS1_2048_SHA256"),
        (Algorithm::Rsa3072, Purpose::Sign) => ("ASYMMETRIC_SIGN", "RSA_SIGN_PKCS1_3072_SHA256"),
        (Algorithm::Rsa4096, Purpose::Sign) => ("ASYMMETRIC_SIGN", "RSA_SIGN_PKCS1_4096_SHA256"),
        (Algorithm::EcP256, Purpose::Sign) => ("ASYMMETRIC_SIGN", "EC_SIGN_P256_SHA256"),
        (Algorithm::EcP384, Purpose::Sign) => ("ASYMMETRIC_SIGN", "EC_SIGN_P384_SHA384"),
        (Algorithm::HmacSha256, Purpose::Mac) => ("MAC", "HMAC_SHA256"),
        (
            Algorithm::Aes256
            | Algorithm::Rsa2048
            | Algorithm::Rsa3072
            | Algorithm::Rsa4096
            | Algorithm::EcP256
            | Algorithm::EcP384
            | Algorithm::HmacSha256,
            _,
        ) => return None,
    })
}

/// The only purpose whose keys have a primary version.
// contract: gcp.primary
pub(crate) const ENCRYPT_DECRYPT: &str = "ENCRYPT_DECRYPT";

/// Whether keys of an algorithm and purpose have a primary version.
pub(crate) fn has_primary(algorithm: Algorithm, purpose: Purpose) -> bool {
    written(algorithm, purpose).is_some_and(|(purpose, _)| purpose == ENCRYPT_DECRYPT)
}

/// `None`: we make no such key at this protection level.
pub(crate) fn read(key: &CryptoKey, protection: Protection) -> Option<(Algorithm, Purpose)> {
    let template = key.version_template.as_ref()?;
    if template.protection_level.as_deref() != Some(level(protection)) {
        return None;
    }
    let found = (key.purpose.as_deref()?, template.algorithm.as_deref()?);
    let kinds = Algorithm::ALL.into_iter().flat_map(|algorithm| PURPOSES.map(|purpose| (algorithm, purpose)));
    kinds.into_iter().find(|(algorithm, purpose)| written(*algorithm, *purpose) == Some(found))
}

const PURPOSES: [Purpose; 3] = [Purpose::Encrypt, Purpose::Sign, Purpose::Mac];

pub(crate) const fn level(protection: Protection) -> &'static str {
    match protection {
        Protection::Software => "SOFTWARE",
        Protection::Hsm => "HSM",
    }
}

/// The schemes by which copies of an algorithm can be wrapped. The first takes the fewest calls of the HSM that wraps.
pub(crate) fn schemes(algorithm: Algorithm) -> Vec<WrapScheme> {
    match algorithm {
        Algorithm::Aes256 | Algorithm::HmacSha256 => vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256],
        // RSA keys are too long for OAEP alone. EC keys would fit, but HSMs wrap private keys under AES.
        // contract: gcp.import.methods
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 | Algorithm::EcP256 | Algorithm::EcP384 => {
            vec![WrapScheme::RsaAesKeyWrapSha256]
        }
    }
}

/// The lengths of the RSA keys that Google Cloud makes for import jobs, in bits.
pub(crate) const SIZES: [u32; 2] = [3_072, 4_096];

/// Google Cloud's import method for a scheme under an RSA key of `bits` bits; `None`: we use none. SHA-1 is never needed here.
pub(crate) const fn method(scheme: WrapScheme, bits: u32) -> Option<&'static str> {
    match (scheme, bits) {
        (WrapScheme::RsaOaepSha256, 3_072) => Some("RSA_OAEP_3072_SHA256"),
        (WrapScheme::RsaOaepSha256, 4_096) => Some("RSA_OAEP_4096_SHA256"),
        (WrapScheme::RsaAesKeyWrapSha256, 3_072) => Some("RSA_OAEP_3072_SHA256_AES_256"),
        (WrapScheme::RsaAesKeyWrapSha256, 4_096) => Some("RSA_OAEP_4096_SHA256_AES_256"),
        (WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256, _) => None,
        (WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use google_cloudkms1::api::CryptoKeyVersionTemplate;

    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for algorithm in Algorithm::ALL {
            for purpose in PURPOSES {
                let Some((word, spec)) = written(algorithm, purpose) else {
                    assert!(!algorithm.serves(purpose), "{algorithm} serves {purpose} and cannot be made");
                    continue;
                };
                assert!(algorithm.serves(purpose), "{algorithm} does not serve {purpose}");
                let key = |level: &str| CryptoKey {
                    purpose: Some(word.into()),
                    version_template: Some(CryptoKeyVersionTemplate { algorithm: Some(spec.into()), protection_level: Some(level.into()) }),
                    ..CryptoKey::default()
                };
                assert_eq!(read(&key("HSM"), Protection::Hsm), Some((algorithm, purpose)));
                assert_eq!(read(&key("HSM"), Protection::Software), None, "another protection level than was configured");
                assert_eq!(read(&key("EXTERNAL"), Protection::Hsm), None);
            }
        }
    }

    #[test]
    fn every_scheme_that_is_offered_has_a_method_of_each_size() {
        for scheme in Algorithm::ALL.into_iter().flat_map(schemes) {
            for bits in SIZES {
                let method = method(scheme, bits);
                assert!(method.is_some_and(|method| method.contains(&format!("_{bits}_SHA256"))), "{scheme} {bits}: {method:?}");
            }
            assert_eq!(method(scheme, 2_048), None, "Google Cloud has no such job");
        }
    }
}
