//! What a step does about what was seen: a pure function, and the heart of resuming after a crash.
//!
//! The rules are those of the clouds' identity contracts: what is found is conclusive at once; that something is *not*
//! there is conclusive only when no earlier attempt can still take effect and several equal reads in a row say so.

use keyplane_model::{Act, ObjectId, ObjectSeen, ObjectState, Outcome, PlacementSeen, Target, Timestamp, Version};

/// What was seen for a step, in reads just made.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Direct reads of the placement.
    pub placement: PlacementSeen,
    /// A direct read of the object that the step is about, where it names one by itself.
    pub object: Option<ObjectSeen>,
    /// Objects of ours for the placement that a sweep found; `None`: there was no complete sweep.
    pub swept: Option<Vec<ObjectSeen>>,
}

/// What is known of a step's past.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// When the last attempt that may have had its effect can no longer take it; `None`: there was no such attempt.
    pub settles: Option<Timestamp>,
    /// When the effect of the step before has to be visible at the latest.
    pub visible: Timestamp,
    /// Whether the copy's bytes were drawn by this change set and no attempt was made to import them: then whatever is
    /// there is something else, whatever it says of itself (a ledger brought back from an older backup shows so).
    pub unheard_of: bool,
    /// Now.
    pub now: Timestamp,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is done: this is what to write into the receipt.
    Done(Outcome),
    /// It is not done, and may be.
    Act,
    /// Look again, at the latest then.
    Wait(Timestamp),
    /// Sweep the destination before anything can be concluded.
    Sweep,
    /// The change set does not fit the world.
    Misfit(Misfit),
}

/// Why a change set does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Something that is not ours holds the placement's claim.
    ForeignClaim(ObjectId),
    /// Something else has the users' name.
    ForeignName(ObjectId),
    /// The claimed object is gone.
    ClaimGone,
    /// The created object is gone, or cannot be used for this any more.
    ObjectUnfit(ObjectId),
    /// The object holds material that is not this version of ours.
    OtherMaterial(ObjectId),
    /// The object is disabled or being deleted.
    NotUsable(ObjectId),
    /// The surplus object holds material, a claim, or is not ours.
    NotSurplus(ObjectId),
}

impl Misfit {
    /// What happened, for people.
    #[must_use]
    pub fn detail(&self, target: &Target) -> String {
        let name = &target.name;
        match self {
            Self::ForeignClaim(object) => {
                format!("`{object}` holds the claim of placement {}, and is not an object that we made for it", target.placement)
            }
            Self::ForeignName(object) => format!("the name `{name}` belongs to `{object}`, which is not ours to move"),
            Self::ClaimGone => format!("nothing holds the claim of placement {} any more", target.placement),
            Self::ObjectUnfit(object) => format!("`{object}` is gone, or not as we made it"),
            Self::OtherMaterial(object) => format!("`{object}` holds material that is not this version of ours"),
            Self::NotUsable(object) => format!("`{object}` is disabled or being deleted"),
            Self::NotSurplus(object) => format!("`{object}` is not an empty object of ours that nothing needs"),
        }
    }

    /// Whether somebody else's object is in the way, rather than one of ours having changed.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::ForeignClaim(_) | Self::ForeignName(_))
    }
}

/// What a step does about what was seen.
#[must_use]
pub fn decide(act: &Act, target: &Target, seen: &Seen, past: Past) -> Decision {
    match act {
        // The custodian's, not a cloud's: nothing to see.
        Act::Mint { .. } => Decision::Act,
        Act::Create => create(target, seen, past),
        Act::Claim => claim(target, seen, past),
        Act::Import { version, .. } => import(*version, target, seen, past),
        Act::Publish => publish(target, seen, past),
        Act::RemoveSurplus { object } => remove_surplus(object, target, seen, past),
    }
}

fn create(target: &Target, seen: &Seen, past: Past) -> Decision {
    if let Some(claimed) = &seen.placement.claimed {
        return if claimed.fits(target) { created(claimed) } else { Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone())) };
    }
    if let Some(published) = &seen.placement.published {
        return Decision::Misfit(Misfit::ForeignName(published.object.clone()));
    }
    if past.settles.is_none() {
        // INVARIANT: an attempt is durable before it acts, so without one there is nothing of ours to be found.
        return Decision::Act;
    }
    // The object that the last attempt said it made, without a sweep.
    if let Some(object) = seen.object.as_ref().filter(|object| usable_shell(object, target)) {
        return created(object);
    }
    let Some(swept) = &seen.swept else { return Decision::Sweep };
    // The oldest one, so that every server chooses the same.
    let mut shells: Vec<&ObjectSeen> = swept.iter().filter(|object| usable_shell(object, target)).collect();
    shells.sort_by(|a, b| (a.created, &a.object).cmp(&(b.created, &b.object)));
    match shells.first() {
        Some(oldest) => created(oldest),
        None => act_when_settled(past),
    }
}

fn claim(target: &Target, seen: &Seen, past: Past) -> Decision {
    match &seen.placement.claimed {
        Some(claimed) if claimed.fits(target) => Decision::Done(Outcome::Claimed { object: claimed.object.clone() }),
        Some(claimed) => Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone())),
        None => match &seen.object {
            Some(object) if usable_shell(object, target) => act_when_settled(past),
            Some(object) => Decision::Misfit(Misfit::ObjectUnfit(object.object.clone())),
            None if past.now < past.visible => Decision::Wait(past.visible),
            None => Decision::Misfit(Misfit::ClaimGone),
        },
    }
}

fn import(version: Version, target: &Target, seen: &Seen, past: Past) -> Decision {
    let claimed = match claimed(target, seen, past) {
        Ok(claimed) => claimed,
        Err(decision) => return decision,
    };
    match claimed.state {
        ObjectState::Disabled | ObjectState::DeletionScheduled(_) | ObjectState::Other => {
            return Decision::Misfit(Misfit::NotUsable(claimed.object.clone()));
        }
        ObjectState::AwaitingMaterial | ObjectState::Usable => {}
    }
    let ours = claimed.materials.iter().find(|material| material.version == Some(version));
    if claimed.materials.iter().any(|material| material.version != Some(version)) {
        return Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone()));
    }
    match (ours, claimed.state) {
        (Some(_), _) if past.unheard_of => Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone())),
        (Some(material), ObjectState::Usable) if material.present => {
            Decision::Done(Outcome::Imported { version, material: material.id.clone(), wrapped_under: None })
        }
        // Usable, but the description of what makes it so is not visible yet, or is nobody's.
        (None, ObjectState::Usable) if past.now < past.visible || past.settles.is_some_and(|settles| past.now < settles) => {
            Decision::Wait(later(past.visible, past.settles))
        }
        (None, ObjectState::Usable) => Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone())),
        // Empty, or our material expired or was deleted: the same bytes restore it.
        (_, _) => act_when_settled(past),
    }
}

fn publish(target: &Target, seen: &Seen, past: Past) -> Decision {
    let claimed = match claimed(target, seen, past) {
        Ok(claimed) => claimed,
        Err(decision) => return decision,
    };
    match &seen.placement.published {
        Some(published) if published.object == claimed.object => Decision::Done(Outcome::Published),
        Some(published) => Decision::Misfit(Misfit::ForeignName(published.object.clone())),
        None if claimed.state == ObjectState::Usable => act_when_settled(past),
        None if past.now < past.visible => Decision::Wait(past.visible),
        None => Decision::Misfit(Misfit::NotUsable(claimed.object.clone())),
    }
}

fn remove_surplus(object: &ObjectId, target: &Target, seen: &Seen, past: Past) -> Decision {
    let removed = Decision::Done(Outcome::SurplusRemoved { object: object.clone() });
    let Some(found) = &seen.object else { return removed };
    if matches!(found.state, ObjectState::DeletionScheduled(_)) {
        return removed;
    }
    let ours = found.marks.as_ref().is_some_and(|marks| marks.installation == target.installation && marks.placement == target.placement);
    let claims = seen.placement.claimed.as_ref().is_some_and(|claimed| claimed.object == *object);
    if !ours || claims || !found.is_empty() {
        return Decision::Misfit(Misfit::NotSurplus(object.clone()));
    }
    act_when_settled(past)
}

/// The claimed object of a step after the claim: it has to be there, and ours.
fn claimed<'a>(target: &Target, seen: &'a Seen, past: Past) -> Result<&'a ObjectSeen, Decision> {
    match &seen.placement.claimed {
        Some(claimed) if claimed.fits(target) => Ok(claimed),
        Some(claimed) => Err(Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone()))),
        None if past.now < past.visible => Err(Decision::Wait(past.visible)),
        None => Err(Decision::Misfit(Misfit::ClaimGone)),
    }
}

fn created(object: &ObjectSeen) -> Decision {
    Decision::Done(Outcome::Created { object: object.object.clone() })
}

fn usable_shell(object: &ObjectSeen, target: &Target) -> bool {
    object.fits(target) && object.is_empty()
}

fn act_when_settled(past: Past) -> Decision {
    match past.settles {
        Some(settles) if past.now < settles => Decision::Wait(settles),
        _ => Decision::Act,
    }
}

fn later(a: Timestamp, b: Option<Timestamp>) -> Timestamp {
    b.map_or(a, |b| crate::later(a, b))
}
