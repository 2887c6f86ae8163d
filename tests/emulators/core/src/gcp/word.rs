//! The enumerations of Cloud KMS: read by name or number, written as the client asked.
//!
//! Numbers and names: googleapis, `google/cloud/kms/v1/resources.proto`.

use serde_json::Value;

use crate::crypto::{
    OaepHash, RsaSize,
    keys::{Curve, Hash, RsaSignature},
    service::MacHash,
};

pub(super) trait Word: Copy + PartialEq + 'static {
    /// All values except the unspecified one.
    const ALL: &'static [Self];

    fn name(self) -> &'static str;

    fn number(self) -> i64;
}

/// How answers write enumerations (`$alt=json;enum-encoding=int`, as the official REST clients ask for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Names,
    Numbers,
}

impl Style {
    pub(super) fn word(self, word: impl Word) -> Value {
        match self {
            Self::Names => word.name().into(),
            Self::Numbers => word.number().into(),
        }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $text:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($variant,)* }

        impl Word for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($text),)* }
            }

            fn number(self) -> i64 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

words! {
    /// The purpose of a key.
    Purpose {
        EncryptDecrypt ENCRYPT_DECRYPT = 1,
        AsymmetricSign ASYMMETRIC_SIGN = 5,
        AsymmetricDecrypt ASYMMETRIC_DECRYPT = 6,
        RawEncryptDecrypt RAW_ENCRYPT_DECRYPT = 7,
        Mac MAC = 9,
        KeyEncapsulation KEY_ENCAPSULATION = 10,
        AesWrapping AES_WRAPPING = 11,
    }
}

words! {
    /// The protection level of a version.
    Level {
        Software SOFTWARE = 1,
        Hsm HSM = 2,
        External EXTERNAL = 3,
        ExternalVpc EXTERNAL_VPC = 4,
        HsmSingleTenant HSM_SINGLE_TENANT = 5,
    }
}

words! {
    /// The state of a version.
    VersionState {
        Enabled ENABLED = 1,
        Disabled DISABLED = 2,
        Destroyed DESTROYED = 3,
        DestroyScheduled DESTROY_SCHEDULED = 4,
        PendingGeneration PENDING_GENERATION = 5,
        PendingImport PENDING_IMPORT = 6,
        ImportFailed IMPORT_FAILED = 7,
        GenerationFailed GENERATION_FAILED = 8,
    }
}

words! {
    /// How much of a version a list shows.
    View { Full FULL = 1, }
}

words! {
    /// How key material is wrapped for an import.
    ImportMethod {
        Rsa3072Sha1Aes256 RSA_OAEP_3072_SHA1_AES_256 = 1,
        Rsa4096Sha1Aes256 RSA_OAEP_4096_SHA1_AES_256 = 2,
        Rsa3072Sha256Aes256 RSA_OAEP_3072_SHA256_AES_256 = 3,
        Rsa4096Sha256Aes256 RSA_OAEP_4096_SHA256_AES_256 = 4,
        Rsa3072Sha256 RSA_OAEP_3072_SHA256 = 5,
        Rsa4096Sha256 RSA_OAEP_4096_SHA256 = 6,
        HpkeMlKem768 HPKE_KEM_ML_KEM_768_HKDF_SHA256_AES_256_GCM = 8,
        HpkeMlKem1024 HPKE_KEM_ML_KEM_1024_HKDF_SHA256_AES_256_GCM = 9,
        HpkeXwing HPKE_KEM_XWING_HKDF_SHA256_AES_256_GCM = 10,
    }
}

/// An import method with RSA.
#[derive(Clone, Copy)]
pub(super) struct RsaWrapping {
    pub(super) size: RsaSize,
    pub(super) hash: OaepHash,
    /// Whether a new AES key is between the RSA key and the material.
    pub(super) with_aes: bool,
}

impl ImportMethod {
    /// `None`: a method with HPKE.
    pub(super) const fn rsa(self) -> Option<RsaWrapping> {
        let (size, hash, with_aes) = match self {
            Self::Rsa3072Sha1Aes256 => (RsaSize::Rsa3072, OaepHash::Sha1, true),
            Self::Rsa4096Sha1Aes256 => (RsaSize::Rsa4096, OaepHash::Sha1, true),
            Self::Rsa3072Sha256Aes256 => (RsaSize::Rsa3072, OaepHash::Sha256, true),
            Self::Rsa4096Sha256Aes256 => (RsaSize::Rsa4096, OaepHash::Sha256, true),
            Self::Rsa3072Sha256 => (RsaSize::Rsa3072, OaepHash::Sha256, false),
            Self::Rsa4096Sha256 => (RsaSize::Rsa4096, OaepHash::Sha256, false),
            Self::HpkeMlKem768 | Self::HpkeMlKem1024 | Self::HpkeXwing => return None,
        };
        Some(RsaWrapping { size, hash, with_aes })
    }
}

words! {
    /// The state of an import job.
    JobState {
        PendingGeneration PENDING_GENERATION = 1,
        Active ACTIVE = 2,
        Expired EXPIRED = 3,
    }
}

words! {
    /// The format of a public key.
    KeyFormat {
        Pem PEM = 1,
        Der DER = 2,
        NistPqc NIST_PQC = 3,
        XwingRawBytes XWING_RAW_BYTES = 4,
    }
}

words! {
    /// The format of an attestation.
    AttestationFormat {
        CaviumV1 CAVIUM_V1_COMPRESSED = 3,
        CaviumV2 CAVIUM_V2_COMPRESSED = 4,
    }
}

words! {
    /// The algorithm of a version.
    Algorithm {
        GoogleSymmetric GOOGLE_SYMMETRIC_ENCRYPTION = 1,
        Aes128Gcm AES_128_GCM = 41,
        Aes256Gcm AES_256_GCM = 19,
        Aes128Cbc AES_128_CBC = 42,
        Aes256Cbc AES_256_CBC = 43,
        Aes128Ctr AES_128_CTR = 44,
        Aes256Ctr AES_256_CTR = 45,
        RsaPss2048Sha256 RSA_SIGN_PSS_2048_SHA256 = 2,
        RsaPss3072Sha256 RSA_SIGN_PSS_3072_SHA256 = 3,
        RsaPss4096Sha256 RSA_SIGN_PSS_4096_SHA256 = 4,
        RsaPss4096Sha512 RSA_SIGN_PSS_4096_SHA512 = 15,
        RsaPkcs1Sign2048Sha256 RSA_SIGN_PKCS1_2048_SHA256 = 5,
        RsaPkcs1Sign3072Sha256 RSA_SIGN_PKCS1_3072_SHA256 = 6,
        RsaPkcs1Sign4096Sha256 RSA_SIGN_PKCS1_4096_SHA256 = 7,
        RsaPkcs1Sign4096Sha512 RSA_SIGN_PKCS1_4096_SHA512 = 16,
        RsaRaw2048 RSA_SIGN_RAW_PKCS1_2048 = 28,
        RsaRaw3072 RSA_SIGN_RAW_PKCS1_3072 = 29,
        RsaRaw4096 RSA_SIGN_RAW_PKCS1_4096 = 30,
        RsaDecrypt2048Sha256 RSA_DECRYPT_OAEP_2048_SHA256 = 8,
        RsaDecrypt3072Sha256 RSA_DECRYPT_OAEP_3072_SHA256 = 9,
        RsaDecrypt4096Sha256 RSA_DECRYPT_OAEP_4096_SHA256 = 10,
        RsaDecrypt4096Sha512 RSA_DECRYPT_OAEP_4096_SHA512 = 17,
        RsaDecrypt2048Sha1 RSA_DECRYPT_OAEP_2048_SHA1 = 37,
        RsaDecrypt3072Sha1 RSA_DECRYPT_OAEP_3072_SHA1 = 38,
        RsaDecrypt4096Sha1 RSA_DECRYPT_OAEP_4096_SHA1 = 39,
        EcP256 EC_SIGN_P256_SHA256 = 12,
        EcP384 EC_SIGN_P384_SHA384 = 13,
        EcSecp256k1 EC_SIGN_SECP256K1_SHA256 = 31,
        Ed25519 EC_SIGN_ED25519 = 40,
        HmacSha256 HMAC_SHA256 = 32,
        HmacSha1 HMAC_SHA1 = 33,
        HmacSha384 HMAC_SHA384 = 34,
        HmacSha512 HMAC_SHA512 = 35,
        HmacSha224 HMAC_SHA224 = 36,
        ExternalSymmetric EXTERNAL_SYMMETRIC_ENCRYPTION = 18,
        MlKem768 ML_KEM_768 = 47,
        MlKem1024 ML_KEM_1024 = 48,
        KemXwing KEM_XWING = 63,
        MlDsa44 PQ_SIGN_ML_DSA_44 = 68,
        MlDsa65 PQ_SIGN_ML_DSA_65 = 56,
        MlDsa87 PQ_SIGN_ML_DSA_87 = 69,
        SlhDsa PQ_SIGN_SLH_DSA_SHA2_128S = 57,
        HashSlhDsa PQ_SIGN_HASH_SLH_DSA_SHA2_128S_SHA256 = 60,
        MlDsa44Mu PQ_SIGN_ML_DSA_44_EXTERNAL_MU = 70,
        MlDsa65Mu PQ_SIGN_ML_DSA_65_EXTERNAL_MU = 67,
        MlDsa87Mu PQ_SIGN_ML_DSA_87_EXTERNAL_MU = 71,
        Aes256Kwp AES_256_KWP = 73,
    }
}

/// A mode of AES for which the client chooses the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RawMode {
    Gcm,
    Cbc,
    Ctr,
}

/// What the emulator needs to know of an algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Encryption in Google's own format.
    Symmetric,
    /// AES. The length is in bytes.
    Raw {
        length: usize,
        mode: RawMode,
    },
    RsaSign {
        size: RsaSize,
        padding: RsaSignature,
        hash: Hash,
    },
    RsaDecrypt {
        size: RsaSize,
        hash: OaepHash,
    },
    Ec(Curve),
    Ed25519,
    Hmac(MacHash),
}

impl Algorithm {
    /// `None`: this emulator does not support the algorithm.
    pub(super) const fn kind(self) -> Option<Kind> {
        use RsaSize::{Rsa2048, Rsa3072, Rsa4096};
        const fn pss(size: RsaSize, hash: Hash) -> Kind {
            Kind::RsaSign { size, padding: RsaSignature::Pss, hash }
        }
        const fn pkcs1(size: RsaSize, hash: Hash) -> Kind {
            Kind::RsaSign { size, padding: RsaSignature::Pkcs1, hash }
        }
        const fn oaep(size: RsaSize, hash: OaepHash) -> Kind {
            Kind::RsaDecrypt { size, hash }
        }
        const fn raw(length: usize, mode: RawMode) -> Kind {
            Kind::Raw { length, mode }
        }
        Some(match self {
            Self::GoogleSymmetric => Kind::Symmetric,
            Self::Aes128Gcm => raw(16, RawMode::Gcm),
            Self::Aes256Gcm => raw(32, RawMode::Gcm),
            Self::Aes128Cbc => raw(16, RawMode::Cbc),
            Self::Aes256Cbc => raw(32, RawMode::Cbc),
            Self::Aes128Ctr => raw(16, RawMode::Ctr),
            Self::Aes256Ctr => raw(32, RawMode::Ctr),
            Self::RsaPss2048Sha256 => pss(Rsa2048, Hash::Sha256),
            Self::RsaPss3072Sha256 => pss(Rsa3072, Hash::Sha256),
            Self::RsaPss4096Sha256 => pss(Rsa4096, Hash::Sha256),
            Self::RsaPss4096Sha512 => pss(Rsa4096, Hash::Sha512),
            Self::RsaPkcs1Sign2048Sha256 => pkcs1(Rsa2048, Hash::Sha256),
            Self::RsaPkcs1Sign3072Sha256 => pkcs1(Rsa3072, Hash::Sha256),
            Self::RsaPkcs1Sign4096Sha256 => pkcs1(Rsa4096, Hash::Sha256),
            Self::RsaPkcs1Sign4096Sha512 => pkcs1(Rsa4096, Hash::Sha512),
            Self::RsaDecrypt2048Sha256 => oaep(Rsa2048, OaepHash::Sha256),
            Self::RsaDecrypt3072Sha256 => oaep(Rsa3072, OaepHash::Sha256),
            Self::RsaDecrypt4096Sha256 => oaep(Rsa4096, OaepHash::Sha256),
            Self::RsaDecrypt4096Sha512 => oaep(Rsa4096, OaepHash::Sha512),
            Self::RsaDecrypt2048Sha1 => oaep(Rsa2048, OaepHash::Sha1),
            Self::RsaDecrypt3072Sha1 => oaep(Rsa3072, OaepHash::Sha1),
            Self::RsaDecrypt4096Sha1 => oaep(Rsa4096, OaepHash::Sha1),
            Self::EcP256 => Kind::Ec(Curve::P256),
            Self::EcP384 => Kind::Ec(Curve::P384),
            Self::EcSecp256k1 => Kind::Ec(Curve::Secp256k1),
            Self::Ed25519 => Kind::Ed25519,
            Self::HmacSha256 => Kind::Hmac(MacHash::Sha256),
            Self::HmacSha1 => Kind::Hmac(MacHash::Sha1),
            Self::HmacSha384 => Kind::Hmac(MacHash::Sha384),
            Self::HmacSha512 => Kind::Hmac(MacHash::Sha512),
            Self::HmacSha224 => Kind::Hmac(MacHash::Sha224),
            Self::RsaRaw2048
            | Self::RsaRaw3072
            | Self::RsaRaw4096
            | Self::ExternalSymmetric
            | Self::MlKem768
            | Self::MlKem1024
            | Self::KemXwing
            | Self::MlDsa44
            | Self::MlDsa65
            | Self::MlDsa87
            | Self::SlhDsa
            | Self::HashSlhDsa
            | Self::MlDsa44Mu
            | Self::MlDsa65Mu
            | Self::MlDsa87Mu
            | Self::Aes256Kwp => return None,
        })
    }
}

impl Kind {
    /// The purpose of keys with this algorithm.
    pub(super) const fn purpose(self) -> Purpose {
        match self {
            Self::Symmetric => Purpose::EncryptDecrypt,
            Self::Raw { .. } => Purpose::RawEncryptDecrypt,
            Self::RsaSign { .. } | Self::Ec(_) | Self::Ed25519 => Purpose::AsymmetricSign,
            Self::RsaDecrypt { .. } => Purpose::AsymmetricDecrypt,
            Self::Hmac(_) => Purpose::Mac,
        }
    }

    pub(super) const fn is_asymmetric(self) -> bool {
        matches!(self, Self::RsaSign { .. } | Self::RsaDecrypt { .. } | Self::Ec(_) | Self::Ed25519)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_sound<W: Word>() {
        let names: BTreeSet<&str> = W::ALL.iter().map(|word| word.name()).collect();
        let numbers: BTreeSet<i64> = W::ALL.iter().map(|word| word.number()).collect();
        assert_eq!((names.len(), numbers.len()), (W::ALL.len(), W::ALL.len()));
    }

    #[test]
    fn no_two_words_share_a_name_or_a_number() {
        is_sound::<Purpose>();
        is_sound::<Level>();
        is_sound::<VersionState>();
        is_sound::<ImportMethod>();
        is_sound::<JobState>();
        is_sound::<KeyFormat>();
        is_sound::<Algorithm>();
    }
}
