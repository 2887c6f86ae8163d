//! The last answers that each server got about each placement, before any planted bug. From them follows whether a mutation may take
//! something to be missing (rule 9), whether that is conclusive after an earlier attempt (rule 3), whether it is still fresh (rule 4), and
//! whether an object is in use (rule 6).
//!
//! Is directly before the cloud, so that a planted bug that turns a failed read into "not found" is between it and the server.

use std::collections::BTreeMap;

use keyplane_model::{Capabilities, Creation, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence, Span, Timestamp, Version};
use keyplane_port::{CloudError, Cursor, Mutation, Page};

/// The last answers that a server got from one cloud.
#[derive(Default)]
pub(crate) struct Answers {
    looks: BTreeMap<PlacementId, Looks>,
    /// The objects that the last sweep found. `None`: there was none, or it was not complete.
    swept: Option<Vec<ObjectSeen>>,
    /// The objects that the running sweep found so far.
    sweeping: Option<Vec<ObjectSeen>>,
}

/// A server's looks at one placement.
#[derive(Default)]
struct Looks {
    /// When it last asked. `None`: never.
    asked: Option<Timestamp>,
    /// The last answer. `None`: no answer yet, or an error.
    seen: Option<PlacementSeen>,
    /// When it asked, for each look that was answered.
    answered: Vec<Timestamp>,
}

/// "A read at most a few seconds old" (rule 4).
const FEW: Span = Span::seconds(5);

impl Answers {
    /// A look begins. Nothing is known until it is answered.
    pub(crate) fn asked(&mut self, placement: PlacementId, now: Timestamp) {
        let looks = self.looks.entry(placement).or_default();
        (looks.asked, looks.seen) = (Some(now), None);
    }

    /// A look that began at `asked` was answered.
    pub(crate) fn looked(&mut self, placement: PlacementId, asked: Timestamp, answer: &Result<PlacementSeen, CloudError>) {
        let looks = self.looks.entry(placement).or_default();
        looks.seen = answer.as_ref().ok().cloned();
        looks.answered.extend(looks.seen.is_some().then_some(asked));
    }

    /// Why a request that is sent now is not based on a look of a few seconds ago. `None`: it is.
    pub(crate) fn outdated(&self, placement: PlacementId, now: Timestamp) -> Option<String> {
        match self.looks.get(&placement).and_then(|looks| looks.asked) {
            None => Some("nobody looked".to_owned()),
            Some(asked) => (now - asked > FEW).then(|| format!("the last look at it was {} ago", now - asked)),
        }
    }

    /// Why "not found" is not conclusive after something was sent at `sent`: it may still take effect or become visible, or there were too
    /// few looks since. `None`: it is conclusive.
    pub(crate) fn inconclusive(&self, placement: PlacementId, sent: Timestamp, now: Timestamp, cloud: &Capabilities) -> Option<String> {
        let settled = sent + cloud.settling_time();
        if now < settled {
            return Some(format!("{} after the attempt before, which may take effect for {}", now - sent, cloud.settling_time()));
        }
        let answered = self.looks.get(&placement).map_or(0, |looks| looks.answered.iter().filter(|asked| **asked >= settled).count());
        let needed = cloud.equal_reads as usize;
        (answered < needed).then(|| format!("after {answered} of {needed} looks since the attempt before could take effect"))
    }

    /// A page of a sweep is requested, the first one without a cursor. Placements sweep side by side, so a new sweep does not discard the
    /// last complete one.
    pub(crate) fn turns(&mut self, cursor: Option<&Cursor>) {
        if cursor.is_none() {
            self.sweeping = Some(Vec::new());
        }
    }

    /// A page of a sweep was answered.
    pub(crate) fn turned(&mut self, answer: &Result<Page, CloudError>) {
        match (answer, &mut self.sweeping) {
            (Ok(page), Some(found)) if page.broken == 0 => {
                found.extend(page.objects.iter().cloned());
                if page.next.is_none() {
                    self.swept = self.sweeping.take();
                }
            }
            // A page that is requested again continues the sweep.
            (Err(_), _) => self.swept = None,
            (Ok(_), _) => self.sweeping = None,
        }
    }

    /// Whether a mutation removes something that is in use.
    pub(crate) fn retires(&self, mutation: &Mutation) -> bool {
        let (Mutation::Disable { object, material } | Mutation::ScheduleDeletion { object, material, .. }) = mutation else { return false };
        let claimed = self.looks.values().filter_map(|looks| looks.seen.as_ref()?.claimed.as_ref());
        claimed.filter(|seen| seen.object == *object && seen.state == ObjectState::Usable).any(|seen| match material {
            None => true,
            Some(material) => seen.current().is_some_and(|current| current.id.as_ref() == Some(material)),
        })
    }

    /// Why a mutation assumes an absence that no answer showed. `again`: an earlier attempt may have made the object. `None`: a direct read
    /// showed it or, where that cannot, a complete sweep.
    pub(crate) fn contradicts(&self, mutation: &Mutation, creation: Creation, again: bool) -> Option<&'static str> {
        let (Mutation::Create { target, .. }
        | Mutation::Claim { target, .. }
        | Mutation::Import { target, .. }
        | Mutation::Publish { target, .. }) = mutation
        else {
            return None;
        };
        let Some(seen) = self.looks.get(&target.placement).and_then(|looks| looks.seen.as_ref()) else {
            return Some("the last look at it was not answered");
        };
        let is_there = match mutation {
            Mutation::Import { version, .. } => seen.claimed.as_ref().is_some_and(|object| holds(object, *version)),
            Mutation::Publish { .. } => seen.published.is_some(),
            _ => seen.claimed.is_some(),
        };
        if is_there {
            return Some("the last look at it showed it");
        }
        // An object without a claim is shown only by a sweep.
        if !again || !matches!(mutation, Mutation::Create { .. }) || creation != Creation::Claimed {
            return None;
        }
        let waits = |object: &ObjectSeen| object.fits(target) && object.is_empty();
        match &self.swept {
            None => Some("an earlier attempt may have made one, and no sweep since was complete"),
            Some(found) if found.iter().any(waits) => Some("an earlier attempt made one, and the last sweep showed it"),
            Some(_) => None,
        }
    }
}

/// Whether an object is usable and holds the bytes of a version.
fn holds(object: &ObjectSeen, version: Version) -> bool {
    object.state == ObjectState::Usable
        && object.materials.iter().any(|material| material.version == Some(version) && material.presence == Presence::Present)
}
