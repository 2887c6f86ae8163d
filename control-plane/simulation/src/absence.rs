//! What a server was told of each placement last, honestly: whether what it makes may be missing (rule 9).
//!
//! Stands directly before the cloud: between it and the server lies whatever may turn a failed read into a "no".

use std::collections::BTreeMap;

use keyplane_model::{Creation, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence, Version};
use keyplane_port::{CloudError, Cursor, Mutation, Page};

/// The last answers that a server got from one cloud.
#[derive(Default)]
pub(crate) struct Answers {
    /// By placement; `None`: it asked, and got no answer or an error.
    looks: BTreeMap<PlacementId, Option<PlacementSeen>>,
    /// The objects that the last sweep found; `None`: there was none, or it was not complete.
    swept: Option<Vec<ObjectSeen>>,
    /// What the sweep that goes on found so far.
    sweeping: Option<Vec<ObjectSeen>>,
}

impl Answers {
    /// A look begins: until it is answered, nothing is known.
    pub(crate) fn asked(&mut self, placement: PlacementId) {
        self.looks.insert(placement, None);
    }

    /// A look was answered.
    pub(crate) fn looked(&mut self, placement: PlacementId, answer: &Result<PlacementSeen, CloudError>) {
        self.looks.insert(placement, answer.as_ref().ok().cloned());
    }

    /// A page of a sweep is asked for, the first one without a cursor. Placements sweep side by side: what one of them begins takes
    /// nothing from what another one was told.
    pub(crate) fn turns(&mut self, cursor: Option<&Cursor>) {
        if cursor.is_none() {
            self.sweeping = Some(Vec::new());
        }
    }

    /// It was answered.
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
        let Some(Some(seen)) = self.looks.get(&target.placement) else { return Some("the last look at it was not answered") };
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
