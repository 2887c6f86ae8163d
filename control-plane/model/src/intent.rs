//! Intent: everything that is wanted, with every rule already resolved. Who made it (files, Terraform, API) does not matter here.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Algorithm, Approver, ApproverName, Charter, CloudKind, DestinationName, Digest, GroupName, InstallationId, KeyName, ProfileName,
    Protection, Purpose, Source, Span,
};

/// Everything that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Who may approve.
    pub approvers: BTreeMap<ApproverName, Approver>,
    /// The rules of the security team.
    pub profiles: BTreeMap<ProfileName, Rules>,
    /// The keys that owners asked for.
    pub keys: BTreeMap<KeyName, Key>,
}

impl Intent {
    /// The part of the intent that says who may approve what: what the custodian holds us to.
    #[must_use]
    pub fn charter(&self, installation: InstallationId) -> Charter {
        Charter {
            installation,
            approvers: self.approvers.clone(),
            profiles: self.profiles.iter().map(|(name, rules)| (name.clone(), rules.approvals.clone())).collect(),
        }
    }

    /// The digest of its canonical bytes: what tells two revisions apart.
    ///
    /// # Errors
    /// Never for an intent that was read or built by this program; see [`crate::canonical_bytes`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

/// Rules for keys: a profile's own, or a key's after it was made stricter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Algorithms that a placement may have.
    pub algorithms: BTreeSet<Algorithm>,
    /// The least protection at a destination.
    pub protection: Protection,
    /// Destinations where placements may be; `None`: anywhere.
    pub locations: Option<BTreeSet<DestinationName>>,
    /// How bytes come to be; `None`: derived where the token can and the algorithm is symmetric, else generated.
    pub source: Option<Source>,
    /// When keys are rotated, and what becomes of old versions.
    pub rotation: Rotation,
    /// Who has to approve what.
    pub approvals: Approvals,
}

/// When keys are rotated, and what becomes of old versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The longest time that a version is active; `None`: no schedule.
    pub every: Option<Span>,
    /// How long the version before stays usable for what it protected, at least, after its successor became active.
    pub overlap: Span,
    /// What becomes of deactivated versions.
    pub retire: Retire,
}

/// What becomes of deactivated versions: only ever by a change set of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Retire {
    /// They are kept for good.
    Never,
    /// They may be retired so long after they were deactivated.
    After(Span),
}

/// Who has to approve what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// For whatever makes or imports keys, and for removing surplus objects that hold no material.
    pub import: ApprovalRule,
    /// For disabling and destroying.
    pub retire: ApprovalRule,
    /// What approving the profile approves in advance.
    pub standing: Standing,
}

/// So many different people out of these groups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many different approvers; the proposer does not count. 0: none is needed.
    pub need: u32,
    /// The groups that they must be of (one of them is enough for each).
    pub from: BTreeSet<GroupName>,
}

/// What approving the profile approves in advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Scheduled rotations, for so long; `None`: each is approved by itself.
    #[serde(default)]
    pub rotation: Option<Span>,
}

/// A key that an owner asked for, with its effective rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Whose rules it is under.
    pub profile: ProfileName,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether all placements hold the same bytes.
    pub shared: bool,
    /// The profile's rules, made stricter where the key says so.
    pub rules: Rules,
    /// Where it has to be; sorted, no two with the same destination and name.
    pub placements: BTreeSet<PlacementIntent>,
}

impl Key {
    /// The digest of everything that is wanted of this key.
    ///
    /// # Errors
    /// See [`Intent::digest`].
    pub fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&crate::canonical_bytes(self)?))
    }
}

/// A placement that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementIntent {
    /// Where.
    pub destination: DestinationName,
    /// Whose API that speaks, as the policy file says; must agree with the configuration.
    pub cloud: CloudKind,
    /// How users address it there: an AWS alias without `alias/`, a Google Cloud or Azure key name.
    pub name: String,
    /// What it is there.
    pub algorithm: Algorithm,
}
