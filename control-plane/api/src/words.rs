//! What approvers read before they sign, made only from what they sign.

use std::collections::BTreeSet;

use keyplane_model::{
    Act, ApprovalRule, Approvals, ApproverName, ChangeSet, ChangeSetState, Charter, CharterChange, CharterProposal, CopyCoordinates,
    Digest, PlacementPlan, Source, Standing, StepNo, plain,
};

use crate::{ChangeSetView, CharterChangeView, PlacementView, ProposedCharter, StepView};

impl ChangeSetView {
    /// A change set for people. Its time is 0, since only a plan knows it.
    #[must_use]
    pub fn of(
        change_set: &ChangeSet,
        digest: Digest,
        state: ChangeSetState,
        approved_by: Vec<ApproverName>,
        done: &BTreeSet<StepNo>,
    ) -> Self {
        let steps = (0..).map(StepNo).zip(&change_set.steps).filter_map(|(number, step)| {
            let plan = change_set.placements.get(&step.placement)?;
            Some(StepView {
                act: step.act.word().to_owned(),
                destination: plan.destination.clone(),
                name: plain(&plan.name),
                algorithm: plan.algorithm,
                detail: plain(&detail(change_set, &step.act, &plan.name)),
                done: done.contains(&number),
            })
        });
        Self {
            digest,
            key: change_set.key.clone(),
            profile: change_set.profile.clone(),
            action: change_set.action,
            state,
            proposer: plain(&change_set.proposer.0),
            approvals: change_set.approvals.clone(),
            approved_by,
            reasons: change_set.reasons.iter().map(|reason| plain(&reason.to_string())).collect(),
            until: change_set.until,
            placements: change_set.placements.values().map(placement).collect(),
            steps: steps.collect(),
            seconds: 0,
        }
    }
}

impl CharterChangeView {
    /// A proposed change of the charter for people. `current`: the charter in force, which the change follows.
    ///
    /// # Errors
    /// See [`Charter::digest`].
    pub fn of(change: &CharterChange, current: &Charter, approved_by: Vec<ApproverName>) -> Result<Self, serde_json::Error> {
        Ok(Self {
            digest: change.digest()?,
            before: change.before,
            next: change.next.digest()?,
            proposer: plain(&change.proposer.0),
            approved_by,
            until: change.until,
            differences: differences(current, &change.next),
        })
    }
}

impl ProposedCharter {
    /// A proposed charter in a list. `missing`: [`ProposedCharter::missing`].
    #[must_use]
    pub fn of(proposal: &CharterProposal, missing: Option<String>) -> Self {
        let CharterProposal { digest, change, approvals, .. } = proposal;
        Self {
            digest: *digest,
            serial: change.before.serial.saturating_add(1),
            proposer: plain(&change.proposer.0),
            approved_by: approvals.iter().map(|approval| approval.approver.clone()).collect(),
            missing,
            until: change.until,
        }
    }
}

fn placement(plan: &PlacementPlan) -> PlacementView {
    PlacementView {
        cloud: plan.cloud,
        destination: plan.destination.clone(),
        fingerprint: plan.fingerprint,
        name: plain(&plan.name),
        algorithm: plan.algorithm,
        purpose: plan.purpose,
    }
}

fn detail(change_set: &ChangeSet, act: &Act, name: &str) -> String {
    match act {
        Act::Mint { version, source, epoch } => {
            // The custodian cannot tell a new derived copy from one that was made before, so whoever signs has to.
            let again = match source {
                Source::Derived => ": the same bytes as any earlier copy of this version there",
                Source::Generated => "",
            };
            format!("version {version}, {source} in the HSM under root epoch {epoch}{again}")
        }
        Act::Share { version, from } => format!("version {version} has the bytes of placement {from}"),
        Act::Create => "an object that takes material from outside, marked as ours".to_owned(),
        Act::Prepare { scheme, .. } => format!("a key of the destination's own, to wrap under by {scheme}"),
        Act::Claim => "the name that only one object can have".to_owned(),
        Act::Import { version, scheme, of, made } => {
            let whose = of.map(|of| format!(", with the bytes of placement {of}")).unwrap_or_default();
            let other = |made: &&CopyCoordinates| made.profile != change_set.profile || made.approvals != change_set.approvals;
            let under = made
                .as_ref()
                .filter(other)
                .map(|made| format!("; its bytes were MADE UNDER profile `{}` with approval by {}", made.profile, rule(&made.approvals)));
            format!("version {version}{whose}, wrapped in the HSM by {scheme}{}", under.unwrap_or_default())
        }
        Act::Publish => format!("`{name}` points at it"),
        Act::DisableSurplus { object, material, .. } => format!("`{material}` in `{object}`, imported late and unused, is disabled"),
        Act::FollowSecond { object, material, keeps } => {
            format!("the copy in `{object}` is `{keeps}` from now on, which came late; `{material}` stays for what it encrypted")
        }
        Act::RemoveSurplus { object } => format!("`{object}`, empty and unused, is scheduled for deletion"),
    }
}

/// For example `2 of platform, security`.
#[must_use]
pub fn rule(rule: &ApprovalRule) -> String {
    let groups: Vec<&str> = rule.from.iter().map(|group| group.as_str()).collect();
    if rule.need == 0 { "nobody".to_owned() } else { format!("{} of {}", rule.need, groups.join(", ")) }
}

/// A change of the charter for people, one line for each difference: approvers added and removed, their keys, groups and logins, the rules
/// of profiles that become looser or stricter, and the rules of keys. Empty: the charters are equal.
#[must_use]
pub fn differences(before: &Charter, after: &Charter) -> Vec<String> {
    let mut lines = Vec::new();
    let people: BTreeSet<_> = before.approvers.keys().chain(after.approvers.keys()).collect();
    for name in people {
        match (before.approvers.get(name), after.approvers.get(name)) {
            (None, Some(new)) => {
                lines.push(format!("approver `{name}` comes: groups {}, logins {}", listed(&new.groups), plain(&listed(&new.logins))));
                lines.extend(new.keys.iter().map(|key| format!("approver `{name}` comes with key {}", plain(key))));
            }
            (Some(_), None) => lines.push(format!("approver `{name}` goes")),
            (Some(old), Some(new)) => {
                let mut changed = |what: &str, old: &BTreeSet<String>, new: &BTreeSet<String>| {
                    lines.extend(new.difference(old).map(|value| format!("approver `{name}` gets {what} {}", plain(value))));
                    lines.extend(old.difference(new).map(|value| format!("approver `{name}` loses {what} {}", plain(value))));
                };
                let groups = |of: &keyplane_model::Approver| of.groups.iter().map(ToString::to_string).collect();
                changed("group", &groups(old), &groups(new));
                changed("login", &old.logins, &new.logins);
                changed("key", &old.keys, &new.keys);
            }
            (None, None) => {}
        }
    }
    let profiles: BTreeSet<_> = before.profiles.keys().chain(after.profiles.keys()).collect();
    for name in profiles {
        match (before.profiles.get(name), after.profiles.get(name)) {
            (None, Some(new)) => {
                let (import, retire, valid, standing) = (rule(&new.import), rule(&new.retire), new.valid, standing(new.standing));
                let times = format!("approvals count for {valid}, standing approval of rotations: {standing}");
                lines.push(format!("profile `{name}` comes: import needs {import}, retire needs {retire}, {times}"));
            }
            (Some(_), None) => lines.push(format!("profile `{name}` goes, and its rules with it")),
            (Some(old), Some(new)) => rules(name.as_str(), old, new, &mut lines),
            (None, None) => {}
        }
    }
    let keys = |new: &ApprovalRule| format!("keys may ask for approval by {}, where their profiles ask for less", rule(new));
    lines.extend(after.key_rules.difference(&before.key_rules).map(keys));
    let gone =
        |old: &ApprovalRule| format!("keys no longer ask for approval by {}: who belongs to these groups is GUARDED LESS", rule(old));
    lines.extend(before.key_rules.difference(&after.key_rules).map(gone));
    lines
}

fn rules(profile: &str, old: &Approvals, new: &Approvals, lines: &mut Vec<String>) {
    for (what, old, new) in [("import", &old.import, &new.import), ("retire", &old.retire, &new.retire)] {
        if old != new {
            let how = if new.is_at_least(old) { "stricter" } else { "LOOSER or in other hands" };
            lines.push(format!("profile `{profile}`: {what} needs {} instead of {}: {how}", rule(new), rule(old)));
        }
    }
    if old.valid != new.valid {
        let how = if new.valid > old.valid { "LOOSER" } else { "stricter" };
        lines.push(format!("profile `{profile}`: approvals count for {} instead of {}: {how}", new.valid, old.valid));
    }
    if old.standing != new.standing {
        let (old, new) = (standing(old.standing), standing(new.standing));
        lines.push(format!("profile `{profile}`: standing approval of rotations: {new} instead of {old}"));
    }
}

fn standing(standing: Standing) -> String {
    standing.rotation.map_or_else(|| "none".to_owned(), |span| span.to_string())
}

fn listed<T: ToString>(all: &BTreeSet<T>) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An import of a copy that was made before, under this profile and rule.
    fn change_set(profile: &str, need: u32) -> ChangeSet {
        let id = "00000000-0000-0000-0000-000000000000";
        let digest = Digest::of(b"prod");
        let made = json!({
            "installation": id, "key": id, "version": 1, "placement": id, "algorithm": "aes-256", "source": "derived", "epoch": 1,
            "profile": profile, "approvals": { "need": need, "from": ["security"] },
        });
        let plan = json!({
            "destination": "prod", "fingerprint": digest, "cloud": "aws", "name": "db", "algorithm": "aes-256", "purpose": "mac", "incarnation": 1,
        });
        let import = json!({ "import": { "version": 1, "scheme": "rsa-oaep-sha256", "made": made } });
        let text = json!({
            "format": ChangeSet::FORMAT, "installation": id, "key": "db", "key_id": id, "profile": "logs", "action": "import",
            "wanted": digest, "approvals": { "need": 1, "from": ["security"] }, "proposer": "pipeline", "generation": 3,
            "placements": { id: plan }, "steps": [{ "placement": id, "expects": "empty", "act": import }],
            "reasons": [], "until": "2026-01-01T00:00:00Z",
        });
        serde_json::from_value(text).unwrap()
    }

    fn view(change_set: &ChangeSet) -> ChangeSetView {
        ChangeSetView::of(change_set, Digest::of(b""), ChangeSetState::Proposed, Vec::new(), &BTreeSet::new())
    }

    #[test]
    fn bytes_of_another_profile_or_rule_are_shown_as_that() {
        let words = |profile: &str, need| view(&change_set(profile, need)).steps[0].detail.clone();
        assert_eq!(words("logs", 1), "version 1, wrapped in the HSM by rsa-oaep-sha256");
        let of = |profile: &str, need: u32| format!("; its bytes were MADE UNDER profile `{profile}` with approval by {need} of security");
        assert_eq!(words("payments", 1), words("logs", 1) + &of("payments", 1));
        assert_eq!(words("logs", 2), words("logs", 1) + &of("logs", 2));
    }

    /// A new account behind the same name gets the bytes of a live key, in a change set that looks like that of a new key.
    #[test]
    fn a_derived_copy_is_shown_as_one_that_may_have_been_made_before() {
        let words = |source: &str| {
            let mut change_set = change_set("logs", 1);
            change_set.steps[0].act = serde_json::from_value(json!({ "mint": { "version": 1, "source": source, "epoch": 1 } })).unwrap();
            view(&change_set).steps[0].detail.clone()
        };
        let of = |source: &str| format!("version 1, {source} in the HSM under root epoch 1");
        assert_eq!(words("derived"), of("derived") + ": the same bytes as any earlier copy of this version there");
        assert_eq!(words("generated"), of("generated"));
    }

    /// Another account behind the same name, or another use of the key, is another thing to approve.
    #[test]
    fn where_a_key_goes_and_what_it_is_for_is_shown() {
        let view = view(&change_set("logs", 1));
        let [placement] = &view.placements[..] else { panic!("{:?}", view.placements) };
        assert_eq!((placement.fingerprint, placement.purpose), (Digest::of(b"prod"), keyplane_model::Purpose::Mac));
    }

    /// Approvals that count for longer are a looser rule, and nobody may sign it without seeing that.
    #[test]
    fn how_long_approvals_count_is_shown() {
        let id = "00000000-0000-0000-0000-000000000000";
        let charter = |valid: &str| -> Charter {
            let rule = json!({ "need": 1, "from": ["security"] });
            let approvals = json!({ "import": rule, "retire": rule, "valid": valid, "standing": {} });
            serde_json::from_value(json!({ "installation": id, "approvers": {}, "profiles": { "payments": approvals } })).unwrap()
        };
        let none = Charter { profiles: std::collections::BTreeMap::new(), ..charter("7d") };
        let came = differences(&none, &charter("7d"));
        assert!(came.len() == 1 && came[0].contains("approvals count for 7d"), "{came:?}");
        let changed = |before, after| differences(&charter(before), &charter(after));
        assert_eq!(changed("7d", "30d"), ["profile `payments`: approvals count for 30d instead of 7d: LOOSER"]);
        assert_eq!(changed("7d", "1d"), ["profile `payments`: approvals count for 1d instead of 7d: stricter"]);
    }

    #[test]
    fn a_change_of_keys_rules_is_shown() {
        let id = "00000000-0000-0000-0000-000000000000";
        let before: Charter = serde_json::from_value(json!({ "installation": id, "approvers": {}, "profiles": {} })).unwrap();
        let rule = ApprovalRule { need: 2, from: ["vault".parse().unwrap()].into() };
        let after = Charter { key_rules: [rule].into(), ..before.clone() };
        let came = differences(&before, &after);
        assert!(came.len() == 1 && came[0].contains("2 of vault"), "{came:?}");
        let gone = differences(&after, &before);
        assert!(gone.len() == 1 && gone[0].contains("2 of vault") && gone[0].contains("GUARDED LESS"), "{gone:?}");
    }
}
