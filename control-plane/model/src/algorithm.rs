//! Algorithms, and the other small words of key policy.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The algorithm and the size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// AES with a key of 256 bits.
    #[serde(rename = "aes-256")]
    Aes256,
    /// RSA with a modulus of 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// ECDSA over NIST P-256.
    #[serde(rename = "ec-p256")]
    EcP256,
    /// ECDSA over NIST P-384.
    #[serde(rename = "ec-p384")]
    EcP384,
    /// HMAC with SHA-256 and a key of 256 bits.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl Algorithm {
    /// In the order of the variants.
    pub const ALL: [Self; 7] = [Self::Aes256, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::EcP256, Self::EcP384, Self::HmacSha256];

    /// As in policy files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256 => "aes-256",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::HmacSha256 => "hmac-sha256",
        }
    }

    /// Whether its keys are plain bytes. Plain bytes can be derived; a key pair cannot.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        match self {
            Self::Aes256 | Self::HmacSha256 => true,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcP256 | Self::EcP384 => false,
        }
    }

    /// Whether a key of this algorithm can serve a purpose.
    #[must_use]
    pub fn serves(self, purpose: Purpose) -> bool {
        match (self, purpose) {
            (Self::Aes256, Purpose::Encrypt)
            | (Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096, Purpose::Encrypt | Purpose::Sign)
            | (Self::EcP256 | Self::EcP384, Purpose::Sign)
            | (Self::HmacSha256, Purpose::Mac) => true,
            (Self::Aes256, Purpose::Sign | Purpose::Mac)
            | (Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096, Purpose::Mac)
            | (Self::EcP256 | Self::EcP384, Purpose::Encrypt | Purpose::Mac)
            | (Self::HmacSha256, Purpose::Encrypt | Purpose::Sign) => false,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The one cryptographic use that a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Encrypting and decrypting data or data keys.
    #[default]
    Encrypt,
    /// Signing and verifying.
    Sign,
    /// Making and checking message authentication codes.
    Mac,
}

impl Purpose {
    pub(crate) fn is_encrypt(&self) -> bool {
        *self == Self::Encrypt
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypt => "encrypt",
            Self::Sign => "sign",
            Self::Mac => "mac",
        })
    }
}

/// The least protection that a copy needs at its destination. Ordered: a later variant is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The cloud may keep the key in software.
    Software,
    /// The cloud has to keep the key in a hardware security module.
    Hsm,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Hsm => "hsm",
        })
    }
}

/// How a copy's bytes come to be; either way inside the HSM. Recorded with each version and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Derived from the root derivation key and the copy's coordinates. The bytes can be made again until their root epoch is
    /// destroyed.
    Derived,
    /// Random, and kept only wrapped under the root wrapping key. Destroying the blob destroys them.
    Generated,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Derived => "derived",
            Self::Generated => "generated",
        })
    }
}

/// The cloud API that a destination speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CloudKind {
    /// AWS KMS.
    Aws,
    /// Google Cloud KMS.
    Gcp,
    /// Azure Key Vault or Managed HSM.
    Azure,
}

impl fmt::Display for CloudKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
        })
    }
}

/// How material is wrapped for a cloud's RSA public key. The adapter asks for the longest modulus that the cloud offers, unless
/// `import-key-size` in the configuration is shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WrapScheme {
    /// RSA-OAEP, SHA-256 for hash and MGF1, empty label, straight over the material.
    RsaOaepSha256,
    /// RSA-OAEP, SHA-1 for hash and MGF1, empty label, straight over the material.
    RsaOaepSha1,
    /// RSA-OAEP with SHA-256 of a fresh AES-256 key, followed by the material under AES-KWP (RFC 5649).
    RsaAesKeyWrapSha256,
    /// RSA-OAEP with SHA-1 of a fresh AES-256 key, followed by the material under AES-KWP (RFC 5649).
    RsaAesKeyWrapSha1,
}

impl WrapScheme {
    /// Every scheme, in order.
    pub const ALL: [Self; 4] = [Self::RsaOaepSha256, Self::RsaOaepSha1, Self::RsaAesKeyWrapSha256, Self::RsaAesKeyWrapSha1];

    /// Whether keys of this algorithm may be wrapped so. RSA-OAEP by itself takes secret keys only: the PKCS#8 form of an RSA key
    /// is longer than any OAEP block. That of an EC key would fit, but HSMs wrap private keys under AES.
    #[must_use]
    pub fn takes(self, algorithm: Algorithm) -> bool {
        match self {
            Self::RsaOaepSha256 | Self::RsaOaepSha1 => algorithm.is_symmetric(),
            Self::RsaAesKeyWrapSha256 | Self::RsaAesKeyWrapSha1 => true,
        }
    }
}

impl fmt::Display for WrapScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RsaOaepSha256 => "rsa-oaep-sha256",
            Self::RsaOaepSha1 => "rsa-oaep-sha1",
            Self::RsaAesKeyWrapSha256 => "rsa-aes-key-wrap-sha256",
            Self::RsaAesKeyWrapSha1 => "rsa-aes-key-wrap-sha1",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expectation is written out, because verifier and custodian both depend on `takes`.
    #[test]
    fn rsa_oaep_by_itself_is_for_secret_keys_and_rsa_aes_key_wrap_for_every_key() {
        let secret = [Algorithm::Aes256, Algorithm::HmacSha256];
        for algorithm in Algorithm::ALL {
            let taken: Vec<WrapScheme> = WrapScheme::ALL.into_iter().filter(|scheme| scheme.takes(algorithm)).collect();
            let by_aes = [WrapScheme::RsaAesKeyWrapSha256, WrapScheme::RsaAesKeyWrapSha1];
            let expected = if secret.contains(&algorithm) { WrapScheme::ALL.to_vec() } else { by_aes.to_vec() };
            assert_eq!(taken, expected, "{algorithm}");
        }
    }
}
