//! What the custodian hands out about key bytes. The plain bytes never leave the HSM.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, ApprovalRule, Digest, EpochId, InstallationId, KeyId, PlacementId, ProfileName, Source, Version};

/// Identifies a copy. A blob's MAC, or the derivation, is bound to all of these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyCoordinates {
    pub installation: InstallationId,
    pub key: KeyId,
    pub version: Version,
    /// Blob and derivation are bound to the placement that the bytes were made for; see [`crate::CopyRecord::bound`].
    pub placement: PlacementId,
    pub algorithm: Algorithm,
    pub source: Source,
    /// The root epoch whose keys derived or wrapped the bytes.
    pub epoch: EpochId,
    /// The profile under which the bytes were made. Wrapping them needs the approvals of its rule, whatever profile the key has by then.
    pub profile: ProfileName,
    /// The approvals under which the bytes were made: the profile's, or the key's where they are stricter. Wrapping the bytes needs these
    /// too.
    pub approvals: ApprovalRule,
}

/// A key check value (PKCS#11 `CKA_CHECK_VALUE`): for an AES key the first three bytes of an encrypted zero block, for a MAC key those of
/// its SHA-1. It compares two keys by 24 bits and reveals nothing else. As text: six hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckValue(pub [u8; 3]);

impl fmt::Display for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl TryFrom<String> for CheckValue {
    type Error = hex::FromHexError;

    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 3];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl From<CheckValue> for String {
    fn from(value: CheckValue) -> String {
        value.to_string()
    }
}

/// A generated copy's bytes, wrapped under the root wrapping key and bound by an HSM MAC to its coordinates.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBlob {
    /// The output of `C_WrapKey`.
    #[serde(with = "base64_bytes")]
    pub wrapped: Vec<u8>,
    /// The HSM's MAC over the coordinates and `wrapped`.
    #[serde(with = "base64_bytes")]
    pub mac: Vec<u8>,
}

impl fmt::Debug for SealedBlob {
    /// Shows the length only: the wrapped bytes are no secret, but do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBlob({} bytes)", self.wrapped.len())
    }
}

/// A public key: DER of SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), in JSON as standard base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "base64_bytes")] pub Vec<u8>);

impl PublicKey {
    /// The SHA-256 of the DER, by which a cloud's public key and ours are compared.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.digest())
    }
}

/// In JSON as standard base64.
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
