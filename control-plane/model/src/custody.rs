//! What the custodian gives out about key bytes: never the bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, Digest, EpochId, InstallationId, KeyId, PlacementId, Source, Version};

/// Which copy: everything that a blob or a derivation is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyCoordinates {
    /// Whose.
    pub installation: InstallationId,
    /// Of which key.
    pub key: KeyId,
    /// Which generation of it.
    pub version: Version,
    /// Where. For a key whose placements share bytes, the placement that comes first.
    pub placement: PlacementId,
    /// What.
    pub algorithm: Algorithm,
    /// How its bytes come to be.
    pub source: Source,
    /// Under which root.
    pub epoch: EpochId,
}

/// A key check value (PKCS#11 `CKA_CHECK_VALUE`): the first three bytes of a zero block encrypted under an AES key, or of the
/// SHA-1 of a MAC key. Tells keys apart by 24 bits and reveals nothing else; as text, six hexadecimal digits.
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
    /// What `C_WrapKey` gave under the root wrapping key.
    #[serde(with = "base64_bytes")]
    pub wrapped: Vec<u8>,
    /// The HSM's MAC over coordinates and `wrapped`.
    #[serde(with = "base64_bytes")]
    pub mac: Vec<u8>,
}

impl fmt::Debug for SealedBlob {
    /// Lengths only: wrapped is not secret, but belongs into no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedBlob({} bytes)", self.wrapped.len())
    }
}

/// A public key: DER of SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), in JSON as standard base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "base64_bytes")] pub Vec<u8>);

impl PublicKey {
    /// SHA-256 of the DER: what clouds' keys are compared by.
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

/// Bytes as standard base64 in JSON.
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
