//! The intent: which keys are wanted, with every rule resolved. Nothing here depends on the format of policy files.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Algorithm, ApprovalRule, Approvals, Approver, ApproverName, Charter, CloudKind, DestinationName, Digest, InstallationId, KeyName,
    ProfileName, Protection, Purpose, Source, Span,
};

/// Everything that the owners and the security team ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    pub approvers: BTreeMap<ApproverName, Approver>,
    pub profiles: BTreeMap<ProfileName, Rules>,
    /// The approval rules by which keys are stricter than their profiles. Includes those of keys that are left out because none of their
    /// destinations is configured: the charter depends on the policy files alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub key_rules: BTreeSet<ApprovalRule>,
    pub keys: BTreeMap<KeyName, Key>,
}

impl Intent {
    /// The part of the intent that the custodian enforces: who may approve what.
    #[must_use]
    pub fn charter(&self, installation: InstallationId) -> Charter {
        Charter {
            installation,
            approvers: self.approvers.clone(),
            profiles: self.profiles.iter().map(|(name, rules)| (name.clone(), rules.approvals.clone())).collect(),
            key_rules: self.key_rules.clone(),
        }
    }

    /// Over the canonical bytes (RFC 8785). It tells revisions apart.
    ///
    /// # Errors
    /// Never for an intent that was read or built by this program; see [`crate::canonical_bytes`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

/// The rules of a profile, or of a key: its profile's, made stricter where the key says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The algorithms that a placement may have.
    pub algorithms: BTreeSet<Algorithm>,
    /// The least protection that every placement needs.
    pub protection: Protection,
    /// The destinations where placements may be. `None`: any.
    pub locations: Option<BTreeSet<DestinationName>>,
    /// How the bytes come to be. `None`: derived if the token can derive and the algorithm is symmetric, otherwise generated.
    pub source: Option<Source>,
    /// When keys are rotated, and what becomes of old versions.
    pub rotation: Rotation,
    pub approvals: Approvals,
}

/// Recorded only: there is no rotation yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The longest time for which a version is active. `None`: no schedule.
    pub every: Option<Span>,
    /// The least time for which the previous version stays usable after its successor became active.
    pub overlap: Span,
    pub retire: Retire,
}

/// What becomes of deactivated versions. Retiring is always a change set of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Retire {
    /// They are kept forever.
    Never,
    /// They may be retired this long after they were deactivated.
    After(Span),
}

/// A key that is wanted, with its effective rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub profile: ProfileName,
    pub purpose: Purpose,
    /// Whether all placements hold the same bytes. `false`: each placement has bytes of its own.
    pub shared: bool,
    /// The profile's rules, made stricter where the key says so.
    pub rules: Rules,
    /// No two placements have the same destination and name.
    pub placements: BTreeSet<PlacementIntent>,
}

impl Key {
    /// The digest of everything that the intent says of this key. A change set carries it ([`crate::ChangeSet::wanted`]).
    ///
    /// # Errors
    /// See [`Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementIntent {
    pub destination: DestinationName,
    /// The cloud that the policy file names. Must agree with the configuration of the destination.
    pub cloud: CloudKind,
    /// The name by which users address the key there: an AWS alias without `alias/`, or a Google Cloud or Azure key name.
    pub name: String,
    pub algorithm: Algorithm,
}
