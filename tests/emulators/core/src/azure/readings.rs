//! What Azure's documents leave open: each a switch, so that a client can be tried under every reading.

use serde::{Deserialize, Serialize};

/// One choice for each open question. The default is the likeliest reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// Whether an import draws from the small quota of creating keys.
    pub import_quota: ImportQuota,
    /// The order of `GetKeyVersions`.
    pub versions_order: VersionsOrder,
    /// Whether a page of a list may be empty although another one follows.
    pub pages: Pages,
    /// How long a key takes to be deleted or recovered, in seconds: meanwhile it is in neither place, and its name is taken.
    pub transition_seconds: u32,
    /// What a disabled key still does. The documents say that it does nothing; users saw that the service goes on with what
    /// the public half suffices for.
    pub disabled_key: DisabledKey,
    /// Whether the parts of a key in plain text can be imported into an HSM: the API describes it, the documents on bringing
    /// keys ask for a transfer blob.
    pub plain_key_into_hsm: PlainKeyIntoHsm,
    /// How a Managed HSM says that it, or a key, is full.
    pub full: Full,
}

/// See [`Readings::import_quota`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportQuota {
    /// It counts as creating a key.
    #[default]
    Create,
    /// It counts as any other operation.
    Other,
}

/// See [`Readings::versions_order`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionsOrder {
    /// By version id, which is random.
    #[default]
    ById,
    /// The first one first.
    OldestFirst,
    /// The newest one first.
    NewestFirst,
}

/// See [`Readings::pages`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pages {
    /// Every page but the last is full.
    #[default]
    Full,
    /// The first page is empty, and every other one holds one object less than was asked for.
    Short,
}

/// See [`Readings::disabled_key`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledKey {
    /// A disabled asymmetric key encrypts, wraps and verifies, and does nothing else.
    #[default]
    PublicHalfWorks,
    /// A disabled key does nothing.
    DoesNothing,
}

/// See [`Readings::plain_key_into_hsm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainKeyIntoHsm {
    /// `BadParameter`.
    #[default]
    Refused,
    /// RSA and EC are accepted.
    Accepted,
}

/// See [`Readings::full`].
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
