//! What approvers read before they sign, made only from what they sign.

use std::collections::BTreeSet;

use keyplane_model::{Act, ApprovalRule, Approvals, ApproverName, ChangeSet, ChangeSetState, Charter, Digest, Standing, StepNo};

use crate::{ChangeSetView, StepView};

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
                detail: plain(&detail(&step.act, &plan.name)),
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
            steps: steps.collect(),
            seconds: 0,
        }
    }
}

/// Replaces characters that change how the rest is displayed: control characters move a terminal's cursor, and Unicode's format characters
/// reverse the direction of writing (Unicode Standard Annex 9) or are invisible.
fn plain(text: &str) -> String {
    let is_format = |char| matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    text.chars().map(|char| if char.is_control() || is_format(char) { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

fn detail(act: &Act, name: &str) -> String {
    match act {
        Act::Mint { version, source, epoch } => format!("version {version}, {source} in the HSM under root epoch {epoch}"),
        Act::Share { version, from } => format!("version {version} has the bytes of placement {from}"),
        Act::Create => "an object that takes material from outside, marked as ours".to_owned(),
        Act::Prepare { scheme, .. } => format!("a key of the destination's own, to wrap under by {scheme}"),
        Act::Claim => "the name that only one object can have".to_owned(),
        Act::Import { version, scheme, of: None } => format!("version {version}, wrapped in the HSM by {scheme}"),
        Act::Import { version, scheme, of: Some(of) } => {
            format!("version {version}, with the bytes of placement {of}, wrapped in the HSM by {scheme}")
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
                let (import, retire, standing) = (rule(&new.import), rule(&new.retire), standing(new.standing));
                let rules = format!("import needs {import}, retire needs {retire}, standing approval of rotations: {standing}");
                lines.push(format!("profile `{name}` comes: {rules}"));
            }
            (Some(_), None) => lines.push(format!("profile `{name}` goes, and its rules with it")),
            (Some(old), Some(new)) => rules(name.as_str(), old, new, &mut lines),
            (None, None) => {}
        }
    }
    let keys = |new: &ApprovalRule| format!("keys may ask for approval by {}, where their profiles ask for less", rule(new));
    lines.extend(after.key_rules.difference(&before.key_rules).map(keys));
    let gone = |old: &ApprovalRule| format!("keys no longer ask for approval by {}: who belongs to these groups is GUARDED LESS", rule(old));
    lines.extend(before.key_rules.difference(&after.key_rules).map(gone));
    lines
}

fn rules(profile: &str, old: &Approvals, new: &Approvals, lines: &mut Vec<String>) {
    for (what, old, new) in [("import", &old.import, &new.import), ("retire", &old.retire, &new.retire)] {
        if old != new {
            let how = if new.need < old.need || !new.from.is_subset(&old.from) { "LOOSER or in other hands" } else { "stricter" };
            lines.push(format!("profile `{profile}`: {what} needs {} instead of {}: {how}", rule(new), rule(old)));
        }
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
