//! Charters: whether one can be in force, and whose approvals a change of it needs.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{ApprovalRule, Approver, ApproverName, Charter, ProfileName};

use crate::keys::{self, KeyFault};

/// The rule that nobody meets: what is asked for where no rule says what would suffice.
pub(crate) static NOBODY: ApprovalRule = ApprovalRule { need: u32::MAX, from: BTreeSet::new() };

/// Why a charter cannot be in force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CharterFault {
    /// Without a profile it says nothing about anybody's approval, and could never be changed.
    #[error("it has no profile")]
    NoProfile,
    /// An approver's key does not count.
    #[error("a key of `{approver}` does not count: {fault}")]
    Key {
        /// The approver.
        approver: ApproverName,
        /// Why it does not count.
        fault: KeyFault,
    },
    /// An approver has no key, and so could approve nothing.
    #[error("`{0}` has no key")]
    NoKey(ApproverName),
    /// Two approvers would sign by one key: one person would count twice.
    #[error("`{one}` and `{other}` have the same key")]
    SharedKey {
        /// The first of the approvers.
        one: ApproverName,
        /// The other one.
        other: ApproverName,
    },
    /// Fewer people belong to the groups of a rule than it needs, so that nothing could be approved by it.
    #[error("profile `{profile}` needs {need} approval(s), and {have} approver(s) belong to its groups")]
    CannotBeMet {
        /// The profile.
        profile: ProfileName,
        /// How many the rule needs.
        need: u32,
        /// How many there are.
        have: u32,
    },
}

/// Whether a charter can be in force: asked before a first one is adopted, and before each other.
///
/// # Errors
/// Everything that is wrong with it.
pub fn fit(charter: &Charter) -> Result<(), Vec<CharterFault>> {
    let mut faults = Vec::new();
    if charter.profiles.is_empty() {
        faults.push(CharterFault::NoProfile);
    }
    let mut holders = BTreeMap::new();
    for (name, approver) in &charter.approvers {
        if approver.keys.is_empty() {
            faults.push(CharterFault::NoKey(name.clone()));
        }
        for key in &approver.keys {
            match keys::read(key) {
                Err(fault) => faults.push(CharterFault::Key { approver: name.clone(), fault }),
                Ok(key) => match holders.insert(key.key_data().clone(), name) {
                    Some(one) if one != name => faults.push(CharterFault::SharedKey { one: one.clone(), other: name.clone() }),
                    _ => {}
                },
            }
        }
    }
    for (profile, approvals) in &charter.profiles {
        for rule in BTreeSet::from([&approvals.import, &approvals.retire]) {
            let have = people(rule, charter);
            if have < rule.need {
                faults.push(CharterFault::CannotBeMet { profile: profile.clone(), need: rule.need, have });
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The rules whose approvals a change of the charter needs, all of them, by the charter in force.
///
/// These are the rules that need the most people; each rule that the next charter changes, removes, or whose profile it removes; and,
/// where an approver comes, goes, or gets other groups, keys or logins, each rule that one of the person's groups counts for, before or
/// after. So nobody changes who decides but those who decide now.
#[must_use]
pub fn required_for_charter<'a>(current: &'a Charter, next: &Charter) -> BTreeSet<&'a ApprovalRule> {
    let mut rules = current.strictest();
    for (profile, old) in &current.profiles {
        let new = next.profiles.get(profile);
        // A standing approval stands for both rules.
        let standing = new.is_some_and(|new| new.standing == old.standing);
        if !standing || new.is_none_or(|new| new.import != old.import) {
            rules.insert(&old.import);
        }
        if !standing || new.is_none_or(|new| new.retire != old.retire) {
            rules.insert(&old.retire);
        }
    }
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

/// How many people a rule could count: those of its groups who have a key that counts.
pub(crate) fn people(rule: &ApprovalRule, charter: &Charter) -> u32 {
    let can_sign = |approver: &&Approver| approver.keys.iter().any(|key| keys::read(key).is_ok());
    let people = charter.approvers.values().filter(|approver| !approver.groups.is_disjoint(&rule.from)).filter(can_sign);
    u32::try_from(people.count()).unwrap_or(u32::MAX)
}
