//! What happens when a step has used up its attempts: what the operator is told, and what becomes of the change set.

use keyplane_model::{Act, ObjectId, ObjectSeen, ObjectState, Outcome, Presence, ProblemCode, Step};

use crate::attempts::{Attempts, Spent};
use crate::judgement::Seen;
use crate::site::Site;
use crate::stop::Stop;
use crate::track::Track;

/// Stops a step that is certainly not done and may not be attempted again. `seen` is the look that made it certain.
///
/// [`Spent::ForNow`]: the change set stays committed, and each further run makes one attempt. An operator can remove the cause and apply
/// again. [`Spent::ForGood`]: the change set is dropped, because a committed one cannot be withdrawn and would block its key for ever.
/// Nothing is lost: no attempt can still take effect, the ledger keeps receipts and bytes, and the next plan continues with what is left,
/// under new approvals.
pub(crate) fn stop(spent: Spent, site: &Site<'_>, step: &Step, track: &Track, seen: &Seen, attempts: &Attempts) -> Stop {
    let code = match useless(step, track, seen) {
        Some(_) => ProblemCode::DestinationRefused,
        None => ProblemCode::AttemptsSpent,
    };
    let (all, before) = attempts.unshown();
    let mut detail = format!("{}: {all} attempts", step.act.word());
    if before > 0 {
        detail += &format!(", {before} of them by earlier runs");
    }
    detail += &format!(", and the last look showed: {}", last_look(site, step, track, seen, attempts.made()));
    if let Some(why) = attempts.lost() {
        detail += &format!("; the last request got no reply that tells: {why}");
    }
    if let Some(names) = names(attempts.all_made()) {
        detail += &format!("; made and not used: {names}");
    }
    let problem = |code, detail, next| site.job.problem(code, detail, next).destination(site.destination());
    match spent {
        Spent::ForNow => Stop::Held(problem(code, detail, "find out what undoes it there, then `keyplane apply`: it tries once more")),
        Spent::ForGood => {
            detail += "; nothing more is tried, and the change set is dropped";
            Stop::Conflict(problem(code, detail, "find out what undoes it there, then `keyplane plan`"))
        }
    }
}

/// Logs the objects that replies named and that the step does not use. An object without our marks is in no plan, so the log is the only
/// place that names it.
pub(crate) fn tell_unused(site: &Site<'_>, made: &[ObjectId], outcome: &Outcome) {
    let used = match outcome {
        Outcome::Created { object } => object,
        Outcome::Prepared { wrapping } => wrapping,
        Outcome::Minted { .. }
        | Outcome::Shared { .. }
        | Outcome::Claimed { .. }
        | Outcome::Imported { .. }
        | Outcome::Published
        | Outcome::SurplusRemoved { .. }
        | Outcome::SurplusDisabled { .. }
        | Outcome::SecondFollowed { .. } => return,
    };
    let unused: Vec<ObjectId> = made.iter().filter(|made| *made != used).cloned().collect();
    if let Some(names) = names(&unused) {
        tracing::warn!(key = %site.target.key, destination = %site.destination(), "made and not used: {names}");
    }
}

fn names(objects: &[ObjectId]) -> Option<String> {
    let names: Vec<String> = objects.iter().map(|object| format!("`{object}`")).collect();
    if names.is_empty() { None } else { Some(names.join(", ")) }
}

/// What the look showed in place of the step's effect. `made` is what the last reply named.
fn last_look(site: &Site<'_>, step: &Step, track: &Track, seen: &Seen, made: Option<&ObjectId>) -> String {
    let target = &site.target;
    match &step.act {
        Act::Create => match (&seen.object, made) {
            (Some(found), _) if found.marks.is_none() => format!("`{}` is there, without our marks", found.object),
            (Some(found), _) => format!("`{}` is there, and is not as it was made", found.object),
            (None, Some(made)) => format!("the destination said that it made `{made}`, and it is not there"),
            (None, None) => "no object of ours that could be used".to_owned(),
        },
        Act::Claim => format!("nothing holds the claim of placement {}", target.placement),
        Act::Prepare { .. } => match made {
            Some(made) => format!("`{made}`, which the destination said that it made to wrap under, is not there or cannot be used for it"),
            None => "no key to wrap under".to_owned(),
        },
        Act::Import { version, .. } => match (useless(step, track, seen), &seen.placement.claimed) {
            (Some(reason), _) => format!("the destination took the import and could not use it: {reason}"),
            (None, Some(claimed)) => format!("`{}` does not hold version {version}", claimed.object),
            (None, None) => format!("there is no `{}`", target.name),
        },
        Act::Publish => match &seen.placement.claimed {
            Some(claimed) => format!("the name `{}` does not lead to `{}`", target.name, claimed.object),
            None => format!("the name `{}` leads nowhere", target.name),
        },
        Act::RemoveSurplus { object } => format!("`{object}` is {}", seen.object.as_ref().map_or("there", state)),
        Act::DisableSurplus { object, material, .. } => format!("`{material}` of `{object}` is not disabled"),
        Act::Mint { .. } | Act::Share { .. } | Act::FollowSecond { .. } => "what was there before".to_owned(),
    }
}

fn state(object: &ObjectSeen) -> &'static str {
    match object.state {
        ObjectState::AwaitingMaterial => "empty, and its deletion is not scheduled",
        ObjectState::Usable => "usable",
        ObjectState::Disabled => "disabled, and its deletion is not scheduled",
        ObjectState::DeletionScheduled(_) => "scheduled for deletion",
        ObjectState::Other => "in a state that is not known",
    }
}

/// Why the destination could not use the last import. `None`: the step is no import, or the import did not fail.
fn useless(step: &Step, track: &Track, seen: &Seen) -> Option<String> {
    let Act::Import { version, .. } = &step.act else { return None };
    match &seen.placement.claimed.as_ref()?.of_version(*version, track.public_key(step))?.presence {
        Presence::Failed(reason) => Some(reason.clone()),
        Presence::Present | Presence::Arriving | Presence::Missing | Presence::Disabled | Presence::Leaving => None,
    }
}
