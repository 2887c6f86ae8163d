//! A placement's way through its steps: what is known of its object, its wrapping key and its copies.
//!
//! Data alone: it asks nobody. Moments are the server's uptime.

use keyplane_model::{Act, CopyRecord, Digest, KeyRecord, ObjectId, Outcome, PlacementId, Receipt, Span, Step, Version};

/// What is known of a placement.
#[derive(Default)]
pub(crate) struct Track {
    object: Option<Known>,
    wrapping: Option<Known>,
    /// As the ledger had them after the prologue, with what the steps since did to them.
    copies: Vec<CopyRecord>,
}

/// An object or wrapping key of the placement, and when something about it became true at the latest.
struct Known {
    object: ObjectId,
    at: Span,
}

impl Track {
    /// What earlier change sets left: what one made is there, even though it was dropped. Before the first import nothing is known.
    pub(crate) fn begin(placement: PlacementId, record: Option<&KeyRecord>, now: Span) -> Self {
        let object = record.and_then(|record| record.placements.get(&placement)?.object.clone());
        let copies = record.iter().flat_map(|record| &record.copies).filter(|copy| copy.coordinates.placement == placement);
        Self { object: object.map(|object| Known { object, at: now }), wrapping: None, copies: copies.cloned().collect() }
    }

    /// Takes in a step's receipt. What it says may have become true just before `now`, since another server may have written it.
    pub(crate) fn remember(&mut self, receipt: &Receipt, now: Span) {
        match &receipt.outcome {
            Outcome::Created { object } | Outcome::Claimed { object } => self.object = Some(Known { object: object.clone(), at: now }),
            Outcome::Prepared { wrapping } => self.wrapping = Some(Known { object: wrapping.clone(), at: now }),
            Outcome::Imported { version, object, material, .. } => {
                match object {
                    Some(object) => self.object = Some(Known { object: object.clone(), at: now }),
                    None => self.changed(now),
                }
                if let Some(copy) = self.copies.iter_mut().find(|copy| copy.coordinates.version == *version) {
                    copy.material.clone_from(material);
                    copy.imported = Some(receipt.at);
                }
            }
            Outcome::Published => self.changed(now),
            // The prologue's outcomes are read from the ledger again; the clean-ups' change nothing that a later step needs.
            Outcome::Minted { .. }
            | Outcome::Shared { .. }
            | Outcome::SurplusRemoved { .. }
            | Outcome::SurplusDisabled { .. }
            | Outcome::SecondFollowed { .. } => {}
        }
    }

    fn changed(&mut self, now: Span) {
        if let Some(known) = &mut self.object {
            known.at = now;
        }
    }

    /// The object that the steps so far made or claimed; `None`: none did.
    pub(crate) fn object(&self) -> Option<&ObjectId> {
        self.object.as_ref().map(|known| &known.object)
    }

    /// The uptime from which on every read shows the object's last change, where that takes at most `settling`; `None`: there is no object.
    pub(crate) fn visible(&self, settling: Span) -> Option<Span> {
        self.object.as_ref().map(|known| known.at + settling)
    }

    /// The wrapping key that the steps so far had made, and when it was there at the latest; `None`: they had none made.
    pub(crate) fn wrapping(&self) -> Option<(&ObjectId, Span)> {
        self.wrapping.as_ref().map(|known| (&known.object, known.at))
    }

    /// A version's copy, with its blob: the receipt of its mint step made that durable. `None`: the ledger has none.
    pub(crate) fn copy(&self, version: Version) -> Option<&CopyRecord> {
        self.copies.iter().find(|copy| copy.coordinates.version == version)
    }

    /// The digest of the public key of the copy that a step imports; `None`: it imports none, or no key pair.
    pub(crate) fn public_key(&self, step: &Step) -> Option<Digest> {
        let Act::Import { version, .. } = &step.act else { return None };
        Some(self.copy(*version)?.public_key.as_ref()?.digest())
    }

    /// The cloud's id of the newest version that was imported; `None`: none was, or the cloud gives no ids.
    pub(crate) fn newest_material(&self) -> Option<&str> {
        self.copies.iter().filter(|copy| copy.imported.is_some()).max_by_key(|copy| copy.coordinates.version)?.material.as_deref()
    }
}
