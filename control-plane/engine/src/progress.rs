//! What a run tells while it goes on.

use keyplane_model::{DestinationName, Digest, KeyName, Problem, ServerId, Span, Timestamp};

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is about to act.
    Acting {
        /// For which key.
        key: &'a KeyName,
        /// Where.
        destination: &'a DestinationName,
        /// What.
        act: &'a str,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A step waits until an earlier attempt can no longer take effect, or for the cloud.
    Waiting {
        /// For which key.
        key: &'a KeyName,
        /// Where.
        destination: &'a DestinationName,
        /// What.
        act: &'a str,
        /// Until when.
        until: Timestamp,
        /// Why.
        why: &'a str,
    },
    /// Another server holds the lane, and may be gone.
    Watching {
        /// Where.
        destination: &'a DestinationName,
        /// Who.
        holder: ServerId,
        /// How long it takes at most to be certain of that.
        longest: Span,
    },
    /// A call was refused and will be tried again.
    Again {
        /// For which key.
        key: &'a KeyName,
        /// Where.
        destination: &'a DestinationName,
        /// What happened.
        problem: &'a Problem,
    },
    /// A step has its receipt.
    Received {
        /// For which key.
        key: &'a KeyName,
        /// Where.
        destination: &'a DestinationName,
        /// What.
        act: &'a str,
        /// Whether it was found done.
        found: bool,
    },
    /// Every step of a change set has its receipt.
    Completed {
        /// For which key.
        key: &'a KeyName,
        /// Which.
        digest: &'a Digest,
    },
}

/// Who is told.
pub trait Progress: Send + Sync {
    /// Takes an event; must not block.
    fn event(&self, event: &Event<'_>);
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
