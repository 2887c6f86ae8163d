//! Leases: which server works at a lane. No clock decides about them but the one of whoever waits, so that no two clocks have to agree.

use serde::{Deserialize, Serialize};

use crate::{ServerId, Span};

/// Who holds a lane: all destinations that share their quota scopes ([`crate::Destination::home`]). One that nobody ever held has the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who; `None`: nobody.
    pub holder: Option<ServerId>,
    /// The fencing number: one higher for each holder, and never the same again.
    pub fence: u64,
    /// Counts what the holder says of itself: as long as it changes, the holder lives.
    pub beat: u64,
    /// For how long after a beat its holder may still have something on its way to a cloud. Whoever wants the lane watches it for
    /// that long, by a clock of its own; if nothing changed, nobody holds it any more.
    pub span: Span,
}

impl Lease {
    /// The lease of the next holder.
    #[must_use]
    pub fn taken(&self, by: ServerId, span: Span) -> Self {
        Self { holder: Some(by), fence: self.fence + 1, beat: 0, span }
    }

    /// The same, held on.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self { beat: self.beat + 1, ..*self }
    }

    /// Given back: nothing of its holder's is on its way any more.
    #[must_use]
    pub fn released(&self) -> Self {
        Self { holder: None, ..self.renewed() }
    }

    /// Whether it may stand in the place of another one.
    ///
    /// INVARIANT: a fencing number has one holder, and never comes back.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let same = before.holder.is_some() && self.fence == before.fence && self.beat == before.beat + 1;
        match self.holder {
            Some(_) => (same && self.holder == before.holder) || (self.fence == before.fence + 1 && self.beat == 0),
            None => same,
        }
    }

    /// Whether this is the lease by whose right something is to be written.
    #[must_use]
    pub fn is_held_under(&self, fence: &Fence) -> bool {
        self.holder.is_some() && self.fence == fence.number
    }
}

/// By which right something is written that belongs to a lane: refused once somebody else has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Which lane.
    pub lane: String,
    /// The fencing number of the lease.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdTree;

    #[test]
    fn a_fencing_number_has_one_holder_and_never_comes_back() {
        let server = |name: &str| ServerId(IdTree::new([1; 32]).child(name).uuid());
        let free = Lease::default();
        let held = free.taken(server("one"), Span::seconds(1));
        let taken = held.renewed().taken(server("two"), Span::seconds(1));
        for (next, before) in [(held, free), (held.renewed(), held), (held.released(), held), (taken, held.renewed())] {
            assert!(next.follows(&before), "{next:?} after {before:?}");
            assert!(!before.follows(&next), "{before:?} comes back after {next:?}");
            assert!(!before.follows(&before), "{before:?} again");
        }
        let stolen = Lease { holder: Some(server("two")), ..held.renewed() };
        assert!(!stolen.follows(&held), "two holders of one number");
        assert!(!free.renewed().follows(&free), "nobody renews what nobody holds");
        let fence = Fence { lane: "lane".to_owned(), number: held.fence };
        assert!(held.is_held_under(&fence) && held.renewed().is_held_under(&fence));
        assert!(!held.released().is_held_under(&fence) && !taken.is_held_under(&fence) && !free.is_held_under(&fence));
    }
}
