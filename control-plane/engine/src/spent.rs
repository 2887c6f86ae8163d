//! What is told when the attempts of a step are spent: what the last look showed, what was made and is not used, and what to do now.

use keyplane_model::{Act, ObjectId, ObjectSeen, ObjectState, Outcome, Presence, ProblemCode, Step};

use crate::attempts::{Attempts, Spent};
use crate::job::Stop;
use crate::judgement::Seen;
use crate::site::Site;
use crate::track::Track;

/// Stops a step that is certainly not done and may not be attempted again. `seen`: what the look showed that made it certain.
///
/// For now it is held: the change set stays committed, and each further run makes one attempt, which is what an operator needs who found
/// and mended the cause. For good the change set is dropped: nobody can withdraw what is committed, so otherwise the key could never be
/// changed again. Nothing is lost by it: no attempt can still take effect, the receipts and the copies' bytes stay in the ledger, and the
/// next plan takes up what is left, under approvals of its own.
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

/// Names in the log what replies said that a step's attempts made, beside what the step uses: without our marks no plan can name it.
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

/// What a look showed in place of a step's effect. `made`: what the last reply named.
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

/// Why the destination could not use what was imported last; `None`: the step imports nothing, or that is not so.
fn useless(step: &Step, track: &Track, seen: &Seen) -> Option<String> {
    let Act::Import { version, .. } = &step.act else { return None };
    match &seen.placement.claimed.as_ref()?.of_version(*version, track.public_key(step))?.presence {
        Presence::Failed(reason) => Some(reason.clone()),
        Presence::Present | Presence::Arriving | Presence::Missing | Presence::Disabled | Presence::Leaving => None,
    }
}
