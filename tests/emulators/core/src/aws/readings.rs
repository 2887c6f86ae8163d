//! What AWS's documents leave open, or contradict: each question is a switch, so that a client can be tested under every reading.

use serde::{Deserialize, Serialize};

/// One answer for each open question. The default is the likeliest reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// The key state table allows importing into a disabled key; the text of `ImportKeyMaterial` does not.
    pub import_while_disabled: ImportWhileDisabled,
    /// The error of an import as `NEW_KEY_MATERIAL` with the bytes that are pending already.
    pub repeated_pending_import: RepeatedPendingImport,
    /// Whether an import token serves more than one successful import.
    pub import_token_use: ImportTokenUse,
    /// The state of a key that was disabled when it lost its material, once the material is back.
    pub restored_disabled_key: RestoredDisabledKey,
    /// Whether multi-Region keys of imported material take new material and rotate. The text of `ImportKeyMaterial` tells how; the member
    /// `KeyId` of `RotateKeyOnDemand` says that they do not. They do since 2025-11-26, says the document history of the KMS Developer
    /// Guide.
    pub multi_region_rotation: MultiRegionRotation,
    /// How long a rotation on demand takes, in seconds ("there might be a slight delay").
    pub rotation_seconds: u32,
    /// What a mutating request sees within the consistency window.
    pub mutations_see: MutationsSee,
    pub rotations_order: RotationsOrder,
    /// Whether `ListKeyRotations` answers about a key that waits for its deletion. Its errors include `KMSInvalidStateException`, and no
    /// text says for which states.
    pub leaving_rotations: LeavingRotations,
    /// Whether `GetKeyPolicy` returns the policy as it was written, reformatted, or with its lists in another order, as users observed.
    pub policy_text: PolicyText,
}

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedPendingImport {
    /// `IncorrectKeyMaterialException`.
    #[default]
    IncorrectKeyMaterial,
    /// `KMSInvalidStateException`.
    InvalidState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportTokenUse {
    /// Any number of times, for its lifetime.
    #[default]
    Repeatable,
    /// Once; `InvalidImportTokenException` afterwards.
    Once,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoredDisabledKey {
    /// Enabled, as the text of `ImportKeyMaterial` says of every successful import.
    #[default]
    Enabled,
    /// Disabled, as before.
    Disabled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MultiRegionRotation {
    #[default]
    Allowed,
    /// `UnsupportedOperationException`.
    Refused,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MutationsSee {
    #[default]
    Present,
    /// Possibly an earlier state as well: what that state would refuse, such as an alias for a key that is too new, is refused. Changes
    /// are made to the present state.
    RecentPast,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationsOrder {
    /// The first material first.
    #[default]
    OldestFirst,
    /// The latest material first.
    NewestFirst,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeavingRotations {
    #[default]
    Listed,
    /// `KMSInvalidStateException`.
    Refused,
}

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
