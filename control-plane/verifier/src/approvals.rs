//! Counts approvals, and says why others do not count.

use std::collections::BTreeSet;
use std::fmt;

use keyplane_model::{Actor, Approval, ApprovalRule, Approver, ApproverName, ChangeSet, Charter, Digest};

use crate::judge::is_at_least;
use crate::signature::{ApprovalFault, signer};

/// Enough approvals count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The approvers whose approvals count.
    pub by: BTreeSet<ApproverName>,
    /// The approvals that did not count, and why. Enough others did.
    pub not_counted: Vec<NotCounted>,
}

/// Fewer approvals count than are needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Shortfall {
    /// How many approvals the rule needs.
    pub need: u32,
    /// The approvers whose approvals count.
    pub by: BTreeSet<ApproverName>,
    /// The approvals that did not count, and why.
    pub not_counted: Vec<NotCounted>,
}

impl Shortfall {
    /// How many approvals count.
    #[must_use]
    pub fn have(&self) -> u32 {
        count(&self.by)
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} approvals", self.have(), self.need)?;
        for (index, ignored) in self.not_counted.iter().enumerate() {
            write!(f, "{} {ignored}", if index == 0 { "; not counted:" } else { "," })?;
        }
        Ok(())
    }
}

/// An approval that does not count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotCounted {
    /// The approver that the approval names.
    pub approver: ApproverName,
    /// Why it does not count.
    pub fault: ApprovalFault,
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.approver, self.fault)
    }
}

/// The approvals that a change set needs. `None`: the charter does not know its profile.
///
/// The charter's rule for profile and action applies, or the change set's own rule where that is stricter: a key's rules may be
/// stricter than its profile's. INVARIANT: a change set never makes its own rule looser.
#[must_use]
pub fn required(change_set: &ChangeSet, charter: &Charter) -> Option<ApprovalRule> {
    let rule = charter.rule(&change_set.profile, change_set.action)?;
    Some(if is_at_least(&change_set.approvals, rule) { change_set.approvals.clone() } else { rule.clone() })
}

/// Whether the approvals of a digest satisfy a rule.
///
/// Counts different people. Each approver counts once, and each signing key counts once. The proposer does not count, by name or by
/// login (compared without ASCII case), and neither does a signature by a key that is enrolled for the proposer. For a change set
/// the rule comes from [`required`], for a new charter from [`Charter::strictest`].
///
/// # Errors
/// When fewer approvals count than the rule needs; says which did not count, and why.
pub fn approved(
    digest: &Digest,
    proposer: &Actor,
    rule: &ApprovalRule,
    charter: &Charter,
    approvals: &[Approval],
) -> Result<Approved, Shortfall> {
    let proposers: BTreeSet<&ApproverName> =
        charter.approvers.iter().filter(|(name, approver)| is_proposer(name, approver, proposer)).map(|(name, _)| name).collect();

    let mut by = BTreeSet::new();
    let mut not_counted = Vec::new();
    let mut keys = BTreeSet::new();
    // Sorted, so that the same approvals always give the same answer.
    let mut approvals: Vec<&Approval> = approvals.iter().collect();
    approvals.sort_by_key(|approval| (&approval.approver, approval.at, &approval.signature));
    for approval in approvals {
        let fault = match signer(digest, approval, charter) {
            Err(fault) => Some(fault),
            // The signing key is enrolled for its approver, so this finds the proposer's approvals under any name.
            Ok(signed) if proposers.iter().any(|name| signed.is_enrolled_for(name, charter)) => Some(ApprovalFault::Proposer),
            Ok(signed) if signed.approver.groups.is_disjoint(&rule.from) => Some(ApprovalFault::NotInGroups),
            Ok(_) if by.contains(&approval.approver) => Some(ApprovalFault::Repeated),
            Ok(signed) if !keys.insert(signed.key.clone()) => Some(ApprovalFault::SameKey),
            Ok(_) => None,
        };
        match fault {
            Some(fault) => not_counted.push(NotCounted { approver: approval.approver.clone(), fault }),
            None => {
                by.insert(approval.approver.clone());
            }
        }
    }
    not_counted.sort();
    if count(&by) >= rule.need { Ok(Approved { by, not_counted }) } else { Err(Shortfall { need: rule.need, by, not_counted }) }
}

/// Whether an approval is genuine: a signature over this digest, in our namespace, by a key that is enrolled for its approver. Does
/// not check groups or the proposer; [`approved`] does.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify_approval(digest: &Digest, approval: &Approval, charter: &Charter) -> Result<(), ApprovalFault> {
    signer(digest, approval, charter).map(|_| ())
}

fn is_proposer(name: &ApproverName, approver: &Approver, proposer: &Actor) -> bool {
    let proposer = proposer.0.trim();
    proposer.eq_ignore_ascii_case(name.as_str()) || approver.logins.iter().any(|login| proposer.eq_ignore_ascii_case(login.trim()))
}

fn count(by: &BTreeSet<ApproverName>) -> u32 {
    u32::try_from(by.len()).unwrap_or(u32::MAX)
}
