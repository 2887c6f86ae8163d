//! What Azure's documents leave open: each question is a switch, so that a client can be tested under every reading.

use serde::{Deserialize, Serialize};

/// One answer for each open question. The default is the likeliest reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// Whether an import draws from the small quota of creating keys.
    pub import_quota: ImportQuota,
    pub versions_order: VersionsOrder,
    /// Whether a page of a list may be empty although another one follows.
    pub pages: Pages,
    /// How long deleting or recovering a key takes, in seconds. Meanwhile the key is in neither list, and its name is taken.
    pub transition_seconds: u32,
    /// What a disabled key still does. The documents say nothing; users observed that the service goes on with operations that need only
    /// the public key.
    pub disabled_key: DisabledKey,
    /// Whether a plain key can be imported into an HSM. The API describes it; the documents on bringing keys ask for a transfer blob.
    pub plain_key_into_hsm: PlainKeyIntoHsm,
    /// The error of a Managed HSM that is full, or whose key is.
    pub full: Full,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportQuota {
    /// It counts as creating a key.
    #[default]
    Create,
    /// It counts as any other operation.
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionsOrder {
    /// By version id, which is random.
    #[default]
    ById,
    OldestFirst,
    NewestFirst,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pages {
    /// Every page but the last is full.
    #[default]
    Full,
    /// The first page is empty, and every other one holds one object less than was asked for.
    Short,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledKey {
    /// A disabled asymmetric key encrypts, wraps and verifies, and does nothing else.
    #[default]
    PublicHalfWorks,
    /// A disabled key does nothing.
    DoesNothing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainKeyIntoHsm {
    /// `BadParameter`.
    #[default]
    Refused,
    /// RSA and EC are accepted.
    Accepted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// 409.
    #[default]
    Conflict,
    /// 403.
    Forbidden,
    /// 400.
    BadParameter,
}
