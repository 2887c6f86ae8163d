//! Approval rules: how many people, of which groups.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GroupName, Span};

/// The longest validity of approvals, and the one of profiles that name none.
pub const APPROVALS_LAST: Span = Span::days(30);

/// The most by which the clocks of those who propose, judge and approve may differ.
pub const CLOCKS: Span = Span::seconds(3_600);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    /// For making and importing keys, and for clean-ups.
    pub import: ApprovalRule,
    /// For disabling and destroying versions.
    pub retire: ApprovalRule,
    /// How long approvals count after they were asked for, in [`Self::VALID`]. Not serialized for [`APPROVALS_LAST`], so that charters,
    /// keys and intents from before this field keep their digests.
    #[serde(default = "longest", skip_serializing_if = "is_longest")]
    pub valid: Span,
    pub standing: Standing,
}

impl Approvals {
    /// What [`Self::valid`] may be. In less time than clocks may differ by, nothing could be approved.
    pub const VALID: RangeInclusive<Span> = CLOCKS..=APPROVALS_LAST;
}

fn longest() -> Span {
    APPROVALS_LAST
}

fn is_longest(span: &Span) -> bool {
    *span == APPROVALS_LAST
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

impl ApprovalRule {
    /// Whether all approvals that satisfy this rule also satisfy `least`: at least as many people, from no other groups. If `least` needs
    /// nobody, any rule does.
    #[must_use]
    pub fn is_at_least(&self, least: &Self) -> bool {
        least.need == 0 || (self.need >= least.need && self.from.is_subset(&least.from))
    }
}

/// What an approval of the profile approves in advance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Approves scheduled rotations for this long. `None`: each rotation needs its own approvals.
    #[serde(default)]
    pub rotation: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise every charter in force would have another digest than the token remembers, and no key would be the one that was approved.
    #[test]
    fn rules_from_before_they_said_how_long_approvals_count_keep_their_bytes() {
        let before = r#"{"import":{"need":1,"from":["a"]},"retire":{"need":2,"from":["a"]},"standing":{"rotation":null}}"#;
        let approvals: Approvals = serde_json::from_str(before).unwrap();
        assert_eq!(approvals.valid, APPROVALS_LAST);
        assert_eq!(serde_json::to_string(&approvals).unwrap(), before);
        let shorter = serde_json::to_string(&Approvals { valid: Span::days(7), ..approvals }).unwrap();
        assert!(shorter.contains(r#""valid":"7d""#), "{shorter}");
        assert_eq!(serde_json::from_str::<Approvals>(&shorter).unwrap().valid, Span::days(7));
    }
}
