//! What AWS's documents leave open, or say twice: each a switch, so that a client can be tried under every reading.

use serde::{Deserialize, Serialize};

/// One choice for each open question. The default is the likeliest reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// The key state table allows importing into a disabled key; the text of `ImportKeyMaterial` does not.
    pub import_while_disabled: ImportWhileDisabled,
    /// `NEW_KEY_MATERIAL` again, with the very bytes that are pending: "already associated", or "one is pending".
    pub repeated_pending_import: RepeatedPendingImport,
    /// Whether an import token serves more than one successful import.
    pub import_token_use: ImportTokenUse,
    /// The state of a key that was disabled when it lost its material, once the material is back.
    pub restored_disabled_key: RestoredDisabledKey,
    /// Whether multi-Region keys of imported material take new material and rotate: the text of `ImportKeyMaterial` tells how,
    /// the member `KeyId` of `RotateKeyOnDemand` says that they do not. They do since 2025-11-26, says the document history of
    /// the KMS Developer Guide.
    pub multi_region_rotation: MultiRegionRotation,
    /// How long a rotation on demand takes, in seconds ("there might be a slight delay").
    pub rotation_seconds: u32,
    /// What a mutating request sees within the consistency window.
    pub mutations_see: MutationsSee,
    /// The order of `ListKeyRotations`.
    pub rotations_order: RotationsOrder,
    /// Whether `ListKeyRotations` answers about a key that waits for its deletion: among its errors is
    /// `KMSInvalidStateException`, and no text says for which states.
    pub leaving_rotations: LeavingRotations,
    /// Whether `GetKeyPolicy` gives back the policy as it was written, formatted anew, or with its lists in another order, as users
    /// saw.
    pub policy_text: PolicyText,
}

/// See [`Readings::import_while_disabled`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportWhileDisabled {
    /// Accepted; the key stays disabled.
    #[default]
    Accepted,
    /// Accepted, and the key becomes enabled.
    Enables,
    /// `KMSInvalidStateException`.
    Refused,
}

/// See [`Readings::repeated_pending_import`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedPendingImport {
    /// `IncorrectKeyMaterialException`.
    #[default]
    IncorrectKeyMaterial,
    /// `KMSInvalidStateException`.
    InvalidState,
}

/// See [`Readings::import_token_use`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportTokenUse {
    /// As often as one likes, for its lifetime.
    #[default]
    Repeatable,
    /// Once; `InvalidImportTokenException` afterwards.
    Once,
}

/// See [`Readings::restored_disabled_key`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoredDisabledKey {
    /// Enabled, as the text of `ImportKeyMaterial` says of every successful import.
    #[default]
    Enabled,
    /// Disabled, as it was.
    Disabled,
}

/// See [`Readings::multi_region_rotation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiRegionRotation {
    /// They do.
    #[default]
    Allowed,
    /// `UnsupportedOperationException`.
    Refused,
}

/// See [`Readings::mutations_see`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MutationsSee {
    /// The state as it is.
    #[default]
    Present,
    /// Perhaps a state of the recent past too: what that one refuses, such as an alias for a key that is not there yet, is
    /// refused. What is done is done to the present state.
    RecentPast,
}

/// See [`Readings::rotations_order`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationsOrder {
    /// The first material first.
    #[default]
    OldestFirst,
    /// The latest material first.
    NewestFirst,
}

/// See [`Readings::leaving_rotations`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeavingRotations {
    /// It does.
    #[default]
    Listed,
    /// `KMSInvalidStateException`.
    Refused,
}

/// See [`Readings::policy_text`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyText {
    /// Byte for byte.
    #[default]
    AsWritten,
    /// The same document with other white space.
    Reformatted,
    /// The same statements, principals, actions and so on, each list in another order.
    Reordered,
}
