//! What is known of a placement during its steps: its object, its wrapping key and its copies.
//!
//! Data only; it makes no calls. Moments are the server's uptime.

use keyplane_model::{Act, CopyRecord, Digest, KeyRecord, ObjectId, Outcome, PlacementId, Receipt, Span, Step, Version};

#[derive(Default)]
pub(crate) struct Track {
    object: Option<Known>,
    wrapping: Option<Known>,
    /// As the ledger had them after the prologue, updated by the receipts since.
    copies: Vec<CopyRecord>,
}

/// An object or wrapping key of the placement, and when it last changed, at the latest.
struct Known {
    object: ObjectId,
    at: Span,
}

impl Track {
    /// Begins with what earlier change sets left, dropped ones included. Before the first import nothing is known.
    pub(crate) fn begin(placement: PlacementId, record: Option<&KeyRecord>, now: Span) -> Self {
        let object = record.and_then(|record| record.placements.get(&placement)?.object.clone());
        let copies = record.iter().flat_map(|record| &record.copies).filter(|copy| copy.coordinates.placement == placement);
        Self { object: object.map(|object| Known { object, at: now }), wrapping: None, copies: copies.cloned().collect() }
    }

    /// Updates by a step's receipt. Another server may have written it, so its effect may be as recent as `now`.
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
            // The prologue's outcomes are read from the ledger; no later step needs those of clean-ups.
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

    /// The object that was created or claimed so far. `None`: none.
    pub(crate) fn object(&self) -> Option<&ObjectId> {
        self.object.as_ref().map(|known| &known.object)
    }

    /// The uptime from which every read shows the object's last change, if that takes at most `settling`. `None`: there is no object.
    pub(crate) fn visible(&self, settling: Span) -> Option<Span> {
        self.object.as_ref().map(|known| known.at + settling)
    }

    /// The wrapping key that was prepared, and when it existed at the latest. `None`: none was prepared.
    pub(crate) fn wrapping(&self) -> Option<(&ObjectId, Span)> {
        self.wrapping.as_ref().map(|known| (&known.object, known.at))
    }

    /// A version's copy, with its blob, which the receipt of its mint step made durable. `None`: the ledger has none.
    pub(crate) fn copy(&self, version: Version) -> Option<&CopyRecord> {
        self.copies.iter().find(|copy| copy.coordinates.version == version)
    }

    /// The digest of the public key of the copy that a step imports. `None`: the step is no import, or the copy is no key pair.
    pub(crate) fn public_key(&self, step: &Step) -> Option<Digest> {
        let Act::Import { version, .. } = &step.act else { return None };
        Some(self.copy(*version)?.public_key.as_ref()?.digest())
    }

    /// The cloud's id of the newest imported version. `None`: none was imported, or the cloud gives no ids.
    pub(crate) fn newest_material(&self) -> Option<&str> {
        self.copies.iter().filter(|copy| copy.imported.is_some()).max_by_key(|copy| copy.coordinates.version)?.material.as_deref()
    }
}
