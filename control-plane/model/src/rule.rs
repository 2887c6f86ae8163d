//! Approval rules: how many people, of which groups.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GroupName, Span};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// For making and importing keys, and for clean-ups.
    pub import: ApprovalRule,
    /// For disabling and destroying versions.
    pub retire: ApprovalRule,
    pub standing: Standing,
}

/// Needs `need` different approvers, each from one of the groups in `from`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many different approvers are needed, not counting the proposer. 0: none.
    pub need: u32,
    /// The groups that count. An approver needs to be in one of them.
    pub from: BTreeSet<GroupName>,
}

/// What an approval of the profile approves in advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Approves scheduled rotations for this long. `None`: each rotation needs its own approvals.
    #[serde(default)]
    pub rotation: Option<Span>,
}
