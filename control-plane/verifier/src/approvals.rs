//! Counts approvals, and says why others do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keyplane_model::{
    Action, Actor, Approval, ApprovalRule, Approver, ApproverName, ChangeSet, Charter, CopyAct, CopyCoordinates, KeyRecord, ProfileName,
    Statement,
};

use crate::charter::{NOBODY, people};
use crate::signature::{ApprovalFault, signer};

/// The result if enough approvals count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// Whose approvals count.
    pub by: BTreeSet<ApproverName>,
    /// The approvals that did not count, and why.
    pub not_counted: Vec<NotCounted>,
}

/// The result if fewer approvals count than a rule needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Shortfall {
    /// The first rule that is not met.
    pub rule: ApprovalRule,
    /// Whose approvals count for it.
    pub by: BTreeSet<ApproverName>,
    /// The approvals that did not count, and why.
    pub not_counted: Vec<NotCounted>,
}

impl Shortfall {
    #[must_use]
    pub fn have(&self) -> u32 {
        count(&self.by)
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} approvals", self.have(), self.rule.need)?;
        for (index, group) in self.rule.from.iter().enumerate() {
            write!(f, "{}{group}", if index == 0 { " of " } else { ", " })?;
        }
        for (index, ignored) in self.not_counted.iter().enumerate() {
            write!(f, "{} {ignored}", if index == 0 { "; not counted:" } else { "," })?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotCounted {
    /// As the approval names it. Not proven.
    pub approver: ApproverName,
    pub fault: ApprovalFault,
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.approver, self.fault)
    }
}

/// The rules whose approvals a change set needs, all of them, under the charter in force.
///
/// They are the profile's rule and the change set's own rule (the key's, where that is stricter). If existing bytes leave the HSM (`made`),
/// they are also the rule of the profile under which the bytes were made and the rule under which they were made, whatever profile the key
/// has today. The charter's strictest rules stand in for a profile that the charter does not know, and for an old rule that nobody can meet
/// any more.
#[must_use]
pub fn required<'a>(change_set: &'a ChangeSet, charter: &'a Charter, made: Option<&'a CopyCoordinates>) -> BTreeSet<&'a ApprovalRule> {
    let mut rules = of_profile(charter, &change_set.profile, change_set.action);
    rules.insert(&change_set.approvals);
    if let Some(made) = made {
        rules.extend(of_profile(charter, &made.profile, change_set.action));
        if people(&made.approvals, charter) >= made.approvals.need {
            rules.insert(&made.approvals);
        } else {
            let strictest = strictest(charter);
            // None of them can stand in if each needs fewer people: then somebody has to be put back into the old rule's groups.
            if strictest.iter().all(|rule| rule.need < made.approvals.need) {
                rules.insert(&NOBODY);
            }
            rules.extend(strictest);
        }
    }
    rules
}

/// The same for a whole change set. For each import, `made` is the copy in the ledger. `record`: the key in the ledger.
#[must_use]
pub fn required_in_all<'a>(change_set: &'a ChangeSet, charter: &'a Charter, record: Option<&'a KeyRecord>) -> BTreeSet<&'a ApprovalRule> {
    let mut rules = required(change_set, charter, None);
    for step in &change_set.steps {
        let made = match step.act.on_copy() {
            Some(CopyAct::Import { version, of, .. }) => record.and_then(|record| record.copy(version, of.unwrap_or(step.placement))),
            Some(CopyAct::Mint { .. } | CopyAct::Share { .. } | CopyAct::Prepare { .. }) | None => None,
        };
        if let Some(made) = made {
            rules.extend(required(change_set, charter, Some(&made.coordinates)));
        }
    }
    rules
}

fn of_profile<'a>(charter: &'a Charter, profile: &ProfileName, action: Action) -> BTreeSet<&'a ApprovalRule> {
    charter.rule(profile, action).map_or_else(|| strictest(charter), |rule| BTreeSet::from([rule]))
}

fn strictest(charter: &Charter) -> BTreeSet<&ApprovalRule> {
    let rules = charter.strictest();
    if rules.is_empty() { BTreeSet::from([&NOBODY]) } else { rules }
}

/// Whether the approvals of a statement satisfy each of the rules.
///
/// Counts different people: for each rule, each approver counts once and each signing key counts once. The proposer does not count, by name
/// or by login (compared without ASCII case), nor does a signature by a key that is enrolled for the proposer. For a change set the rules
/// come from [`required`], for a new charter from [`crate::required_for_charter`]. An empty set of rules is never satisfied.
///
/// # Errors
/// When fewer approvals count than a rule needs; says which did not count for any, and why.
pub fn approved<'a>(
    statement: &Statement,
    proposer: &Actor,
    rules: impl IntoIterator<Item = &'a ApprovalRule>,
    charter: &Charter,
    approvals: &[Approval],
) -> Result<Approved, Shortfall> {
    let rules: BTreeSet<&ApprovalRule> = rules.into_iter().collect();
    let proposers: BTreeSet<&ApproverName> =
        charter.approvers.iter().filter(|(name, approver)| is_proposer(name, approver, proposer)).map(|(name, _)| name).collect();

    let mut by = BTreeMap::new();
    let mut not_counted = Vec::new();
    let mut keys = BTreeSet::new();
    // Sorted, so that the same approvals always give the same result.
    let mut approvals: Vec<&Approval> = approvals.iter().collect();
    approvals.sort_by_key(|approval| (&approval.approver, approval.at, &approval.signature));
    for approval in approvals {
        let fault = match signer(statement, approval, charter) {
            Err(fault) => Some(fault),
            // The signing key is enrolled for its approver, so this finds the proposer's approvals under any name.
            Ok(signed) if proposers.iter().any(|name| signed.is_enrolled_for(name, charter)) => Some(ApprovalFault::Proposer),
            Ok(signed) if rules.iter().all(|rule| signed.approver.groups.is_disjoint(&rule.from)) => Some(ApprovalFault::NotInGroups),
            Ok(_) if by.contains_key(&approval.approver) => Some(ApprovalFault::Repeated),
            Ok(signed) if !keys.insert(signed.key.clone()) => Some(ApprovalFault::SameKey),
            Ok(signed) => {
                by.insert(approval.approver.clone(), &signed.approver.groups);
                None
            }
        };
        not_counted.extend(fault.map(|fault| NotCounted { approver: approval.approver.clone(), fault }));
    }
    not_counted.sort();
    let unmet = |rule: &ApprovalRule| {
        let by: BTreeSet<_> = by.iter().filter(|(_, groups)| !groups.is_disjoint(&rule.from)).map(|(name, _)| name.clone()).collect();
        (count(&by) < rule.need).then_some(by)
    };
    let none = rules.is_empty().then_some(&NOBODY);
    match none.into_iter().chain(rules.iter().copied()).find_map(|rule| Some((rule, unmet(rule)?))) {
        Some((rule, by)) => Err(Shortfall { rule: rule.clone(), by, not_counted }),
        None => Ok(Approved { by: by.into_keys().collect(), not_counted }),
    }
}

/// Whether an approval is genuine: a signature over this statement, in our namespace, by a key that is enrolled for its approver. Groups
/// and the proposer are checked by [`approved`].
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify_approval(statement: &Statement, approval: &Approval, charter: &Charter) -> Result<(), ApprovalFault> {
    signer(statement, approval, charter).map(|_| ())
}

fn is_proposer(name: &ApproverName, approver: &Approver, proposer: &Actor) -> bool {
    let proposer = proposer.0.trim();
    proposer.eq_ignore_ascii_case(name.as_str()) || approver.logins.iter().any(|login| proposer.eq_ignore_ascii_case(login.trim()))
}

fn count(by: &BTreeSet<ApproverName>) -> u32 {
    u32::try_from(by.len()).unwrap_or(u32::MAX)
}
