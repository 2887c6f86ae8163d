//! What a step does about what was seen: a pure function, and the heart of resuming after a crash.
//!
//! The rules are those of the clouds' identity contracts: what is found is conclusive at once; that something is *not*
//! there is conclusive only when no earlier attempt can still take effect and several equal reads in a row say so.

use std::sync::Arc;

use keyplane_model::{
    Act, Creation, Digest, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, Outcome, PlacementSeen, Presence, Span, Target,
    Version,
};
use keyplane_port::{Prepared, Swept};

/// What was seen for a step, in reads just made.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Direct reads of the placement.
    pub placement: PlacementSeen,
    /// A direct read of the object that the step is about, where it names one by itself.
    pub object: Option<ObjectSeen>,
    /// Objects of ours for the placement that a sweep found; `None`: there was no complete sweep.
    pub swept: Option<Arc<Swept>>,
    /// The wrapping key that was made for the copy.
    pub prepared: Option<Prepared>,
}

/// What is known of a step, beside what was seen. Moments are the server's own uptime: no clock that somebody can set decides whether
/// something may be repeated, and no other machine's.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// How objects come to be at the destination.
    pub creation: Creation,
    /// The digest of the copy's public key, if it is a key pair.
    pub public_key: Option<Digest>,
    /// The cloud's id of the material that users are pointed at; `None`: nothing was imported, or it has no id.
    pub material: Option<&'a str>,
    /// When the last attempt that may have had its effect can no longer take it; `None`: there was no such attempt.
    pub settles: Option<Span>,
    /// Whether a reply named what the last attempt made.
    pub made: bool,
    /// When the effect of the step before has to be visible at the latest.
    pub visible: Span,
    /// Whether the copy's bytes were drawn by this change set and no attempt was made to import them: then whatever is
    /// there is something else, whatever it says of itself (a ledger brought back from an older backup shows so).
    pub unheard_of: bool,
    /// When the look began: what it did not show may have come since.
    pub looked: Span,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is done: this is what to write into the receipt.
    Done(Outcome),
    /// It is not done, and may be.
    Act,
    /// Look again, at the latest at this uptime.
    Wait(Span),
    /// The destination is still at work on what was done: look again.
    AtWork,
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
    /// The second import is in use, or the only one.
    NotDouble(ObjectId),
    /// The key that was made to wrap the copy under can no longer be used.
    WrappingKeyGone(ObjectId),
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
            Self::NotDouble(object) => format!("`{object}` does not hold that version twice"),
            Self::WrappingKeyGone(wrapping) => format!("`{wrapping}`, which was made to wrap the copy under, ran out or is gone"),
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
pub fn decide(act: &Act, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    match act {
        // The custodian's and the ledger's, not a cloud's: nothing to see.
        Act::Mint { .. } | Act::Share { .. } => Decision::Act,
        Act::Create => create(target, seen, known),
        Act::Claim => claim(target, seen, known),
        Act::Prepare { .. } => prepare(seen, known),
        Act::Import { version, .. } => import(*version, target, seen, known),
        Act::Publish => publish(target, seen, known),
        Act::RemoveSurplus { object } => remove_surplus(object, target, seen, known),
        Act::DisableSurplus { object, material, .. } => disable_surplus(object, material, target, seen, known),
        Act::FollowSecond { object, material, keeps } => follow_second(object, material, keeps, target, seen),
    }
}

fn create(target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    if let Some(claimed) = &seen.placement.claimed {
        return if claimed.fits(target) { created(claimed) } else { Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone())) };
    }
    if let Some(published) = &seen.placement.published {
        return Decision::Misfit(Misfit::ForeignName(published.object.clone()));
    }
    if known.settles.is_none() {
        // INVARIANT: an attempt is durable before it acts, so without one there is nothing of ours to be found.
        return Decision::Act;
    }
    if known.creation != Creation::Claimed {
        // Its name tells: nothing has to be searched for, and a second one there cannot be.
        return act_when_settled(known);
    }
    // The object that the last attempt said it made, without a sweep.
    if let Some(object) = seen.object.as_ref().filter(|object| usable_shell(object, target)) {
        return created(object);
    }
    let Some(swept) = &seen.swept else { return Decision::Sweep };
    // The oldest one, so that every server chooses the same.
    let mut shells: Vec<&ObjectSeen> = swept.values().filter(|object| usable_shell(object, target)).collect();
    shells.sort_by(|a, b| (a.created, &a.object).cmp(&(b.created, &b.object)));
    match shells.first() {
        Some(oldest) => created(oldest),
        None => act_when_settled(known),
    }
}

fn claim(target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    match &seen.placement.claimed {
        Some(claimed) if claimed.fits(target) => Decision::Done(Outcome::Claimed { object: claimed.object.clone() }),
        Some(claimed) => Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone())),
        None => match &seen.object {
            Some(object) if usable_shell(object, target) => act_when_settled(known),
            Some(object) => Decision::Misfit(Misfit::ObjectUnfit(object.object.clone())),
            None if known.looked < known.visible => Decision::Wait(known.visible),
            None => Decision::Misfit(Misfit::ClaimGone),
        },
    }
}

/// Wrapping keys are of no use to anybody else: one that is made in vain does no harm, so a repeat has to wait for nothing
/// but for what the reply said that it made.
fn prepare(seen: &Seen, known: Known<'_>) -> Decision {
    match (&seen.prepared, known.settles) {
        (Some(prepared), _) if prepared.ready => Decision::Done(Outcome::Prepared { wrapping: prepared.wrapping.clone() }),
        (Some(_), _) => Decision::AtWork,
        (None, Some(settles)) if known.made && known.looked < settles => Decision::Wait(settles),
        (None, _) => Decision::Act,
    }
}

fn import(version: Version, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    if known.creation == Creation::Imported && seen.placement.claimed.is_none() {
        return act_when_settled(known);
    }
    let claimed = match claimed(target, seen, known) {
        Ok(claimed) => claimed,
        Err(decision) => return decision,
    };
    match claimed.state {
        ObjectState::Disabled | ObjectState::DeletionScheduled(_) | ObjectState::Other => {
            return Decision::Misfit(Misfit::NotUsable(claimed.object.clone()));
        }
        ObjectState::AwaitingMaterial | ObjectState::Usable => {}
    }
    if claimed.materials.iter().any(|material| !material.is_of(version, known.public_key)) {
        return Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone()));
    }
    match (claimed.of_version(version, known.public_key), claimed.state) {
        (Some(_), _) if known.unheard_of => Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone())),
        (Some(material), ObjectState::Usable) if material.is_present() => Decision::Done(Outcome::Imported {
            version,
            object: (known.creation == Creation::Imported).then(|| claimed.object.clone()),
            material: material.id.clone(),
            wrapped_under: None,
        }),
        (Some(material), _) if material.presence == Presence::Arriving => Decision::AtWork,
        (Some(material), _) if matches!(material.presence, Presence::Disabled | Presence::Leaving) => {
            Decision::Misfit(Misfit::NotUsable(claimed.object.clone()))
        }
        // Usable, but the description of what makes it so is not visible yet, or is nobody's.
        (None, ObjectState::Usable) if known.looked < known.visible || known.settles.is_some_and(|settles| known.looked < settles) => {
            Decision::Wait(known.visible.max(known.settles.unwrap_or_default()))
        }
        (None, ObjectState::Usable) => Decision::Misfit(Misfit::OtherMaterial(claimed.object.clone())),
        // Empty, or our material expired or was deleted: the same bytes restore it.
        (_, _) => act_when_settled(known),
    }
}

fn publish(target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    let claimed = match claimed(target, seen, known) {
        Ok(claimed) => claimed,
        Err(decision) => return decision,
    };
    // Another material may make the object usable where the one that was imported was switched off meanwhile.
    let is_off = |material: &MaterialSeen| material.id.as_deref() == known.material && !material.is_present();
    let is_usable = claimed.state == ObjectState::Usable && (known.material.is_none() || !claimed.materials.iter().any(is_off));
    match &seen.placement.published {
        Some(published) if published.object == claimed.object => Decision::Done(Outcome::Published),
        Some(published) => Decision::Misfit(Misfit::ForeignName(published.object.clone())),
        None if is_usable => act_when_settled(known),
        None if known.looked < known.visible => Decision::Wait(known.visible),
        None => Decision::Misfit(Misfit::NotUsable(claimed.object.clone())),
    }
}

fn remove_surplus(object: &ObjectId, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
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
    act_when_settled(known)
}

fn disable_surplus(object: &ObjectId, material: &str, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    let disabled = Decision::Done(Outcome::SurplusDisabled { object: object.clone(), material: material.to_owned() });
    let misfit = || Decision::Misfit(Misfit::NotDouble(object.clone()));
    let Some(found) = seen.placement.claimed.as_ref().filter(|found| found.object == *object && found.fits(target)) else {
        return misfit();
    };
    let Some(double) = found.materials.iter().find(|seen| seen.id.as_deref() == Some(material)) else { return disabled };
    if !double.is_present() {
        return disabled;
    }
    let other = |seen: &MaterialSeen| seen.id != double.id && seen.version == double.version && seen.is_present();
    if double.state == MaterialState::Current || double.version.is_none() || !found.materials.iter().any(other) {
        return misfit();
    }
    act_when_settled(known)
}

/// Nothing is to be done at the cloud: both imports are there, of one version, and the second one is current. Where the cloud shows
/// public keys, they have to be one.
fn follow_second(object: &ObjectId, material: &str, keeps: &str, target: &Target, seen: &Seen) -> Decision {
    let found = seen.placement.claimed.as_ref().filter(|found| found.object == *object && found.fits(target));
    let import = |id: &str| found?.materials.iter().find(|seen| seen.id.as_deref() == Some(id));
    match (import(material), import(keeps)) {
        (Some(first), Some(second))
            if second.state == MaterialState::Current
                && second.is_present()
                && second.version.is_some()
                && (second.version, second.public_key) == (first.version, first.public_key) =>
        {
            Decision::Done(Outcome::SecondFollowed { object: object.clone(), material: keeps.to_owned() })
        }
        _ => Decision::Misfit(Misfit::NotDouble(object.clone())),
    }
}

/// The claimed object of a step after the claim: it has to be there, and ours.
fn claimed<'a>(target: &Target, seen: &'a Seen, known: Known<'_>) -> Result<&'a ObjectSeen, Decision> {
    match &seen.placement.claimed {
        Some(claimed) if claimed.fits(target) => Ok(claimed),
        Some(claimed) => Err(Decision::Misfit(Misfit::ForeignClaim(claimed.object.clone()))),
        None if known.looked < known.visible => Err(Decision::Wait(known.visible)),
        None => Err(Decision::Misfit(Misfit::ClaimGone)),
    }
}

fn created(object: &ObjectSeen) -> Decision {
    Decision::Done(Outcome::Created { object: object.object.clone() })
}

fn usable_shell(object: &ObjectSeen, target: &Target) -> bool {
    object.fits(target) && object.is_empty()
}

fn act_when_settled(known: Known<'_>) -> Decision {
    match known.settles {
        Some(settles) if known.looked < settles => Decision::Wait(settles),
        _ => Decision::Act,
    }
}
