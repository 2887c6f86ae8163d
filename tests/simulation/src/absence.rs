//! What a server was told of each placement last, honestly: whether what it makes may be missing (rule 9), whether that is conclusive
//! after an earlier attempt (rule 3), whether it is still fresh (rule 4), and whether it is in use (rule 6).
//!
//! Stands directly before the cloud: between it and the server lies whatever may turn a failed read into a "no".

use std::collections::BTreeMap;

use keyplane_model::{Capabilities, Creation, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence, Span, Timestamp, Version};
use keyplane_port::{CloudError, Cursor, Mutation, Page};

/// The last answers that a server got from one cloud.
#[derive(Default)]
pub(crate) struct Answers {
    looks: BTreeMap<PlacementId, Looks>,
    /// The objects that the last sweep found; `None`: there was none, or it was not complete.
    swept: Option<Vec<ObjectSeen>>,
    /// What the sweep that goes on found so far.
    sweeping: Option<Vec<ObjectSeen>>,
}

/// A server's looks at one placement.
#[derive(Default)]
struct Looks {
    /// When it asked last; `None`: never.
    asked: Option<Timestamp>,
    /// What it was told; `None`: it got no answer, or an error.
    seen: Option<PlacementSeen>,
    /// When it asked for what it was told, each time.
    answered: Vec<Timestamp>,
}

/// "A read at most a few seconds old" (rule 4).
const FEW: Span = Span::seconds(5);

impl Answers {
    /// A look begins: until it is answered, nothing is known.
    pub(crate) fn asked(&mut self, placement: PlacementId, now: Timestamp) {
        let looks = self.looks.entry(placement).or_default();
        (looks.asked, looks.seen) = (Some(now), None);
    }

    /// A look was answered that was asked for then.
    pub(crate) fn looked(&mut self, placement: PlacementId, asked: Timestamp, answer: &Result<PlacementSeen, CloudError>) {
        let looks = self.looks.entry(placement).or_default();
        looks.seen = answer.as_ref().ok().cloned();
        looks.answered.extend(looks.seen.is_some().then_some(asked));
    }

    /// Why what is sent now rests on no look of a few seconds ago.
    pub(crate) fn outdated(&self, placement: PlacementId, now: Timestamp) -> Option<String> {
        match self.looks.get(&placement).and_then(|looks| looks.asked) {
            None => Some("nobody looked".to_owned()),
            Some(asked) => (now - asked > FEW).then(|| format!("the last look at it was {} ago", now - asked)),
        }
    }

    /// Why a "no" is not conclusive after something was sent then: it may still take effect or become visible, or too few looks since
    /// said so.
    pub(crate) fn inconclusive(&self, placement: PlacementId, sent: Timestamp, now: Timestamp, cloud: &Capabilities) -> Option<String> {
        let settled = sent + cloud.settling_time();
        if now < settled {
            return Some(format!("{} after the attempt before, which may take effect for {}", now - sent, cloud.settling_time()));
        }
        let answered = self.looks.get(&placement).map_or(0, |looks| looks.answered.iter().filter(|asked| **asked >= settled).count());
        let needed = cloud.equal_reads as usize;
        (answered < needed).then(|| format!("after {answered} of {needed} looks since the attempt before could take effect"))
    }

    /// A page of a sweep is asked for, the first one without a cursor. Placements sweep side by side: what one of them begins takes
    /// nothing from what another one was told.
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
            // A page that is asked for again goes on where it was.
            (Err(_), _) => self.swept = None,
            (Ok(_), _) => self.sweeping = None,
        }
    }

    /// Whether a mutation takes away what is in use.
    pub(crate) fn retires(&self, mutation: &Mutation) -> bool {
        let (Mutation::Disable { object, material } | Mutation::ScheduleDeletion { object, material, .. }) = mutation else { return false };
        let claimed = self.looks.values().filter_map(|looks| looks.seen.as_ref()?.claimed.as_ref());
        claimed.filter(|seen| seen.object == *object && seen.state == ObjectState::Usable).any(|seen| match material {
            None => true,
            Some(material) => seen.current().is_some_and(|current| current.id.as_ref() == Some(material)),
        })
    }

    /// Why a mutation takes something to be missing that nobody said is; `again`: an earlier attempt may have made it. `None`: it was
    /// said, by a direct read that was answered, and where that cannot show it by a complete sweep.
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
        // An object that waits for its claim shows in a sweep alone.
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

/// Whether the bytes of a version are in an object, usable.
fn holds(object: &ObjectSeen, version: Version) -> bool {
    object.state == ObjectState::Usable
        && object.materials.iter().any(|material| material.version == Some(version) && material.presence == Presence::Present)
}
