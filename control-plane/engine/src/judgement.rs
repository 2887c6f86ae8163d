//! Decides what a step does next, given what was seen: a pure function, on which resuming after a crash rests.
//!
//! That something is there is conclusive at once. That something is *not* there is conclusive only after several equal reads in a row, when
//! no earlier attempt can still take effect.

use std::sync::Arc;

use keyplane_model::{
    Act, Creation, Digest, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, Outcome, PlacementSeen, Presence, Span, Target,
    Version,
};
use keyplane_port::{Prepared, Swept};

/// What was seen for a step, in fresh reads.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub placement: PlacementSeen,
    /// The object that the step names itself, by a direct read. `None`: the step names none, or it is not there.
    pub object: Option<ObjectSeen>,
    /// Every object with our marks that a sweep found. `None`: there was no complete sweep.
    pub swept: Option<Arc<Swept>>,
    /// The wrapping key that was prepared for the copy. `None`: none was found, or the step has nothing to do with one.
    pub prepared: Option<Prepared>,
}

/// What is known of a step beside what was seen. Moments are the server's own uptime: whether a request may be repeated depends on no clock
/// that can be set, and on no other machine's.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub creation: Creation,
    /// The digest of the copy's public key. `None`: it is no key pair.
    pub public_key: Option<Digest>,
    /// The cloud's id of the material to activate. `None`: nothing was imported, or it has no id.
    pub material: Option<&'a str>,
    /// When no attempt can take effect any more. `None`: no attempt can have had an effect.
    pub settles: Option<Span>,
    /// Whether a reply named what an attempt made.
    pub made: bool,
    /// When every read shows the effect of the step before.
    pub visible: Span,
    /// Whether this change set generated the copy's bytes and no attempt to import them was made yet. Then any material found is foreign,
    /// whatever its description says: the ledger may have been restored from an older backup.
    pub unheard_of: bool,
    /// When the look began. Something it did not show may have appeared since.
    pub looked: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The step is done; its receipt has this outcome.
    Done(Outcome),
    /// The step is not done: send the request.
    Act,
    /// Look again. A look that begins at this uptime or later is conclusive.
    Wait(Span),
    /// The destination accepted the request and is still processing it: look again.
    AtWork,
    /// Sweep the destination before concluding anything.
    Sweep,
    Conflict(Conflict),
}

/// What at a destination conflicts with a change set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Something that is not ours has the placement's claim.
    ForeignClaim(ObjectId),
    /// Something else has the users' name.
    ForeignName(ObjectId),
    /// The claimed object is gone.
    ClaimGone,
    /// The created object is gone, or can no longer be used for this.
    ObjectUnfit(ObjectId),
    /// The object holds material that is not the version to import.
    OtherMaterial(ObjectId),
    /// The object is disabled or being deleted.
    NotUsable(ObjectId),
    /// The surplus object holds material, a claim, or is not ours.
    NotSurplus(ObjectId),
    /// The second import is in use, or the only one.
    NotDouble(ObjectId),
    /// The prepared wrapping key can no longer be used.
    WrappingKeyGone(ObjectId),
}

impl Conflict {
    /// For people.
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

    /// Whether a foreign object blocks the step. Otherwise an object of ours was changed.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::ForeignClaim(_) | Self::ForeignName(_))
    }
}

#[must_use]
pub fn decide(act: &Act, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    match act {
        // The custodian and the ledger carry these out, and no cloud shows them.
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
        return if claimed.fits(target) { created(claimed) } else { Decision::Conflict(Conflict::ForeignClaim(claimed.object.clone())) };
    }
    if let Some(published) = &seen.placement.published {
        return Decision::Conflict(Conflict::ForeignName(published.object.clone()));
    }
    if known.settles.is_none() {
        // INVARIANT: an attempt is recorded before it acts, so without a recorded attempt nothing of ours can be there.
        return Decision::Act;
    }
    if known.creation != Creation::Claimed {
        // The object's name is unique and was just read, so a sweep would show nothing more.
        return act_when_settled(known);
    }
    // The reply named the object, so no sweep is needed.
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
        Some(claimed) => Decision::Conflict(Conflict::ForeignClaim(claimed.object.clone())),
        None => match &seen.object {
            Some(object) if usable_shell(object, target) => act_when_settled(known),
            Some(object) => Decision::Conflict(Conflict::ObjectUnfit(object.object.clone())),
            None if known.looked < known.visible => Decision::Wait(known.visible),
            None => Decision::Conflict(Conflict::ClaimGone),
        },
    }
}

/// An unused wrapping key does no harm, so a repeat need not wait. It waits only if a reply named a wrapping key that no read shows yet.
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
            return Decision::Conflict(Conflict::NotUsable(claimed.object.clone()));
        }
        ObjectState::AwaitingMaterial | ObjectState::Usable => {}
    }
    if claimed.materials.iter().any(|material| !material.is_of(version, known.public_key)) {
        return Decision::Conflict(Conflict::OtherMaterial(claimed.object.clone()));
    }
    match (claimed.of_version(version, known.public_key), claimed.state) {
        (Some(_), _) if known.unheard_of => Decision::Conflict(Conflict::OtherMaterial(claimed.object.clone())),
        (Some(material), ObjectState::Usable) if material.is_present() => Decision::Done(Outcome::Imported {
            version,
            object: (known.creation == Creation::Imported).then(|| claimed.object.clone()),
            material: material.id.clone(),
            wrapped_under: None,
        }),
        (Some(material), _) if material.presence == Presence::Arriving => Decision::AtWork,
        (Some(material), _) if matches!(material.presence, Presence::Disabled | Presence::Leaving) => {
            Decision::Conflict(Conflict::NotUsable(claimed.object.clone()))
        }
        // Usable, but no material is shown: the description of ours may not be visible yet.
        (None, ObjectState::Usable) if known.looked < known.visible || known.settles.is_some_and(|settles| known.looked < settles) => {
            Decision::Wait(known.visible.max(known.settles.unwrap_or_default()))
        }
        (None, ObjectState::Usable) => Decision::Conflict(Conflict::OtherMaterial(claimed.object.clone())),
        // It is empty, or our material expired or was deleted: importing the same bytes restores it.
        (_, _) => act_when_settled(known),
    }
}

fn publish(target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    let claimed = match claimed(target, seen, known) {
        Ok(claimed) => claimed,
        Err(decision) => return decision,
    };
    // Other material can keep the object usable although ours was disabled since.
    let is_off = |material: &MaterialSeen| material.id.as_deref() == known.material && !material.is_present();
    let is_usable = claimed.state == ObjectState::Usable && (known.material.is_none() || !claimed.materials.iter().any(is_off));
    match &seen.placement.published {
        Some(published) if published.object == claimed.object => Decision::Done(Outcome::Published),
        Some(published) => Decision::Conflict(Conflict::ForeignName(published.object.clone())),
        None if is_usable => act_when_settled(known),
        None if known.looked < known.visible => Decision::Wait(known.visible),
        None => Decision::Conflict(Conflict::NotUsable(claimed.object.clone())),
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
        return Decision::Conflict(Conflict::NotSurplus(object.clone()));
    }
    act_when_settled(known)
}

fn disable_surplus(object: &ObjectId, material: &str, target: &Target, seen: &Seen, known: Known<'_>) -> Decision {
    let disabled = Decision::Done(Outcome::SurplusDisabled { object: object.clone(), material: material.to_owned() });
    let conflict = || Decision::Conflict(Conflict::NotDouble(object.clone()));
    let Some(found) = seen.placement.claimed.as_ref().filter(|found| found.object == *object && found.fits(target)) else {
        return conflict();
    };
    let Some(double) = found.materials.iter().find(|seen| seen.id.as_deref() == Some(material)) else { return disabled };
    if !double.is_present() {
        return disabled;
    }
    let other = |seen: &MaterialSeen| seen.id != double.id && seen.version == double.version && seen.is_present();
    if double.state == MaterialState::Current || double.version.is_none() || !found.materials.iter().any(other) {
        return conflict();
    }
    act_when_settled(known)
}

/// Sends no request. Done when both imports of the version are there and the second one is current. Where the cloud shows public keys, they
/// have to be equal.
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
        _ => Decision::Conflict(Conflict::NotDouble(object.clone())),
    }
}

/// The claimed object, for a step after the claim. It has to be there and fit.
fn claimed<'a>(target: &Target, seen: &'a Seen, known: Known<'_>) -> Result<&'a ObjectSeen, Decision> {
    match &seen.placement.claimed {
        Some(claimed) if claimed.fits(target) => Ok(claimed),
        Some(claimed) => Err(Decision::Conflict(Conflict::ForeignClaim(claimed.object.clone()))),
        None if known.looked < known.visible => Err(Decision::Wait(known.visible)),
        None => Err(Decision::Conflict(Conflict::ClaimGone)),
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
