//! Typed ids, and the functions that compute them.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(with = "String")]
        pub struct $type(pub Uuid);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// One installation of Keyplane. `init` draws it once. Marks in the clouds carry it, so that no installation takes another
    /// one's objects for its own.
    InstallationId);
uuid_id!(
    /// A key. It stays the same when the key's name or placements change.
    KeyId);
uuid_id!(
    /// A placement of a key at a destination.
    PlacementId);
uuid_id!(
    /// One attempt of one step. Recorded before the step acts, and written into the marks of what the step makes.
    AttemptId);
uuid_id!(
    /// One run of a server process, drawn when it starts.
    ServerId);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl $type {
            /// The number that follows.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The number of a key version; the first is 1.
    Version(u32));
number!(
    /// Counts the commits and receipts that changed one key in the ledger. A commit compares and swaps it. 0: the ledger does not
    /// know the key.
    Generation(u64));
number!(
    /// The number of a revision of the intent; the first is 1.
    Revision(u64));
number!(
    /// The number of a root epoch, a generation of the root of trust in the HSM; the first is 1.
    EpochId(u32));

/// The cloud's own name of an object: a KMS key id, a resource name, a URL. Only the adapter that gave it looks into it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ObjectId(pub String);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The login of the person or machine that acts, as the operating system or the authentication reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Actor(pub String);

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A SHA-256 digest. As text: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Digest(pub [u8; 32]);

/// A digest that is not written as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is written as `sha256:` and 64 hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hexadecimal digits. Lets people tell change sets apart on a screen; nothing is decided by it.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix("sha256:").ok_or(DigestError)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| DigestError)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Computes ids in a tree of hashes from one seed (`control-plane/docs/adr/0002-ids-are-functions.md`).
///
/// The seed is the installation's id. An id is a function of the labels on its path, so planning the same world again gives the
/// same change set byte for byte, and an approval stays good. Adding a label changes no other id. Ids are names, not secrets.
#[derive(Clone, Copy, Debug)]
pub struct IdTree([u8; 32]);

impl IdTree {
    /// The root of the tree.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The tree of an installation: from it come the ids of its keys and placements. The installation's id was drawn at random once, and is
    /// the only seed.
    #[must_use]
    pub fn of(installation: InstallationId) -> Self {
        let mut seed = [0; 32];
        let (front, _) = seed.split_at_mut(16);
        front.copy_from_slice(installation.0.as_bytes());
        Self(seed)
    }

    /// The branch with this label. Labels carry their length, so that two different paths never give the same node.
    #[must_use]
    pub fn child(&self, label: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"keyplane id tree v1");
        hash.update(self.0);
        hash.update((label.len() as u64).to_be_bytes());
        hash.update(label.as_bytes());
        Self(hash.finalize().into())
    }

    /// The id at this node: a UUID of version 8 (RFC 9562, section 5.8).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.0[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// The id of a key that is planned under this name for the first time.
    #[must_use]
    pub fn key(&self, name: &str) -> KeyId {
        KeyId(self.child("key").child(name).uuid())
    }

    /// The id of a placement of a key, by its destination and its name there.
    #[must_use]
    pub fn placement(&self, key: KeyId, destination: &str, name: &str) -> PlacementId {
        PlacementId(self.child("placement").child(&key.to_string()).child(destination).child(name).uuid())
    }
}

impl AttemptId {
    /// The id of the `ordinal`th attempt (from 1) of a step. It is a function of the step, so that the ledger's record and the mark
    /// in the cloud agree, whoever computes them.
    #[must_use]
    pub fn of(change_set: &Digest, step: u32, ordinal: u32) -> Self {
        Self(IdTree(change_set.0).child("attempt").child(&step.to_string()).child(&ordinal.to_string()).uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written_and_nothing_else() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(hex::encode(digest.0).parse::<Digest>().is_err());
        assert!("sha256:00".parse::<Digest>().is_err());
    }

    #[test]
    fn paths_of_the_id_tree_do_not_meet() {
        let tree = IdTree::new([7; 32]);
        assert_ne!(tree.child("ab").child("c").uuid(), tree.child("a").child("bc").uuid());
        assert_ne!(tree.key("a"), tree.key("b"));
        assert_eq!(tree.key("a"), IdTree::new([7; 32]).key("a"));
        assert_ne!(tree.key("a"), IdTree::new([8; 32]).key("a"));
    }
}
