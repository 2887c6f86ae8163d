//! Charters: which can be in force, and whose approvals a change needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use keyplane_model::{APPROVALS_LAST, ApprovalRule, Approvals, Approver, ApproverName, Charter, ProfileName, Span};

use crate::keys::{self, KeyFault};

const VALID: RangeInclusive<Span> = Approvals::VALID;

/// A rule that nobody can meet. It applies where no rule says what would suffice.
pub(crate) static NOBODY: ApprovalRule = ApprovalRule { need: u32::MAX, from: BTreeSet::new() };

/// Why a charter cannot be in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CharterFault {
    /// A charter without profiles has no approval rules, so it could never be changed.
    #[error("it has no profile")]
    NoProfile,
    #[error("a key of `{approver}` does not count: {fault}")]
    Key { approver: ApproverName, fault: KeyFault },
    /// The approver could approve nothing.
    #[error("`{0}` has no key")]
    NoKey(ApproverName),
    /// One person would count twice.
    #[error("`{one}` and `{other}` have the same key")]
    SharedKey { one: ApproverName, other: ApproverName },
    /// A rule needs more people than its groups have, so nothing could be approved under it.
    #[error("profile `{profile}` needs {need} approval(s), and {have} approver(s) belong to its groups")]
    CannotBeMet {
        profile: ProfileName,
        /// How many people the rule needs.
        need: u32,
        /// How many of them there are.
        have: u32,
    },
    /// Approvals would end before anybody could use them, or hardly ever.
    #[error("profile `{profile}` has approvals count for `{valid}`: less than `{}`, or more than `{}`", VALID.start(), VALID.end())]
    Valid { profile: ProfileName, valid: Span },
    /// The same for a rule of keys.
    #[error("a key's rule needs {need} approval(s), and {have} approver(s) belong to its groups")]
    KeyRuleCannotBeMet { need: u32, have: u32 },
}

/// Whether a charter can be in force. Checked before the first adoption and before each change.
///
/// # Errors
/// Everything that is wrong with it.
pub fn fit(charter: &Charter) -> Result<(), Vec<CharterFault>> {
    let mut faults = Vec::new();
    if charter.profiles.is_empty() {
        faults.push(CharterFault::NoProfile);
    }
    // Reading a key is slow, so each is read once, and not again for each rule.
    let mut able = BTreeSet::new();
    let mut holders = BTreeMap::new();
    for (name, approver) in &charter.approvers {
        if approver.keys.is_empty() {
            faults.push(CharterFault::NoKey(name.clone()));
        }
        for key in &approver.keys {
            match keys::read(key) {
                Err(fault) => faults.push(CharterFault::Key { approver: name.clone(), fault }),
                Ok(key) => {
                    able.insert(name);
                    match holders.insert(key.key_data().clone(), name) {
                        Some(one) if one != name => faults.push(CharterFault::SharedKey { one: one.clone(), other: name.clone() }),
                        _ => {}
                    }
                }
            }
        }
    }
    for (profile, approvals) in &charter.profiles {
        if !VALID.contains(&approvals.valid) {
            faults.push(CharterFault::Valid { profile: profile.clone(), valid: approvals.valid });
        }
        for rule in BTreeSet::from([&approvals.import, &approvals.retire]) {
            let have = members(rule, charter, |name, _| able.contains(name));
            if have < rule.need {
                faults.push(CharterFault::CannotBeMet { profile: profile.clone(), need: rule.need, have });
            }
        }
    }
    for rule in &charter.key_rules {
        let have = members(rule, charter, |name, _| able.contains(name));
        if have < rule.need {
            faults.push(CharterFault::KeyRuleCannotBeMet { need: rule.need, have });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The rules of the charter in force whose approvals a change of it needs, all of them.
///
/// They are: the profiles' rules that need the most people; each rule of a profile or of keys that the next charter changes, removes, or whose
/// profile it removes; and, if an approver is added, removed, or gets other groups, keys or logins, each rule that one of the person's old
/// or new groups counts for. So only those who decide now can change who decides.
#[must_use]
pub fn required_for_charter<'a>(current: &'a Charter, next: &Charter) -> BTreeSet<&'a ApprovalRule> {
    let mut rules = current.strictest();
    for (profile, old) in &current.profiles {
        let new = next.profiles.get(profile);
        // How long approvals count, and what is approved in advance, belongs to both rules.
        let both = new.is_none_or(|new| new.standing != old.standing || new.valid != old.valid);
        if both || new.is_none_or(|new| new.import != old.import) {
            rules.insert(&old.import);
        }
        if both || new.is_none_or(|new| new.retire != old.retire) {
            rules.insert(&old.retire);
        }
    }
    rules.extend(current.key_rules.iter().filter(|rule| !next.key_rules.contains(*rule)));
    for name in current.approvers.keys().chain(next.approvers.keys()) {
        let (old, new) = (current.approvers.get(name), next.approvers.get(name));
        if old != new {
            let groups: BTreeSet<_> = old.into_iter().chain(new).flat_map(|approver| &approver.groups).collect();
            rules.extend(current.rules().into_iter().filter(|rule| rule.from.iter().any(|group| groups.contains(group))));
        }
    }
    if rules.is_empty() {
        rules.insert(&NOBODY);
    }
    rules
}

/// How long approvals of a change of the charter may count: the shortest time of the profiles that have one of the rules that the change
/// needs.
#[must_use]
pub fn valid_for_charter(current: &Charter, next: &Charter) -> Span {
    let rules = required_for_charter(current, next);
    let needed = current.profiles.values().filter(|approvals| rules.contains(&approvals.import) || rules.contains(&approvals.retire));
    needed.map(|approvals| approvals.valid).min().unwrap_or(APPROVALS_LAST)
}

/// How many people can count for a rule: the members of its groups that have a key that counts.
pub(crate) fn people(rule: &ApprovalRule, charter: &Charter) -> u32 {
    members(rule, charter, |_, approver| approver.keys.iter().any(|key| keys::read(key).is_ok()))
}

/// How many members of a rule's groups are `able` to sign.
fn members(rule: &ApprovalRule, charter: &Charter, able: impl Fn(&ApproverName, &Approver) -> bool) -> u32 {
    let members = charter.approvers.iter().filter(|(_, approver)| !approver.groups.is_disjoint(&rule.from));
    u32::try_from(members.filter(|(name, approver)| able(name, approver)).count()).unwrap_or(u32::MAX)
}
