//! Leases: which server works at a lane. A lease has no expiry date, so server clocks need not agree; a server that waits for it measures
//! time with its own clock (`control-plane/docs/adr/0010-leases-are-watched.md`).

use serde::{Deserialize, Serialize};

use crate::{ServerId, Span};

/// Who holds a lane: the destinations with the same `home` ([`crate::Destination::home`]). A lane that was never held has the default
/// lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// `None`: nobody.
    pub holder: Option<ServerId>,
    /// The fencing number. Each new holder gets the next one. A number is never reused.
    pub fence: u64,
    /// The heartbeat: the holder counts it up while it works.
    pub beat: u64,
    /// How long after a heartbeat a request of the holder may still be on its way to a cloud. A server that wants the lane watches the
    /// lease for this long by its own clock. If nothing has changed by then, the lane is free.
    pub span: Span,
}

impl Lease {
    /// The lease after `by` took the lane over, with the next fencing number.
    #[must_use]
    pub fn taken(&self, by: ServerId, span: Span) -> Self {
        Self { holder: Some(by), fence: self.fence + 1, beat: 0, span }
    }

    /// The lease after its holder's next heartbeat.
    #[must_use]
    pub fn renewed(&self) -> Self {
        Self { beat: self.beat + 1, ..*self }
    }

    /// The lease after its holder released it. None of the holder's requests may still be on its way.
    #[must_use]
    pub fn released(&self) -> Self {
        Self { holder: None, ..self.renewed() }
    }

    /// Whether this lease may replace `before` in the ledger.
    ///
    /// INVARIANT: a fencing number has one holder and is never reused.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        let same = before.holder.is_some() && self.fence == before.fence && self.beat == before.beat + 1;
        match self.holder {
            Some(_) => (same && self.holder == before.holder) || (self.fence == before.fence + 1 && self.beat == 0),
            None => same,
        }
    }

    /// Whether a write with this fencing number is still allowed.
    #[must_use]
    pub fn is_held_under(&self, fence: &Fence) -> bool {
        self.holder.is_some() && self.fence == fence.number
    }
}

/// The right to write as the holder of a lane. The ledger refuses the write once another server holds the lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The `home` of its destinations.
    pub lane: String,
    /// The fencing number of the writer's lease.
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
