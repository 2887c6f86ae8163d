//! The events of a run, for whoever watches it.

use keyplane_model::{DestinationName, Digest, KeyName, Problem, ServerId, Span, Timestamp};

/// `act` is the step's word ([`keyplane_model::Act::word`]).
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is about to send a mutating request.
    Acting {
        key: &'a KeyName,
        destination: &'a DestinationName,
        act: &'a str,
        /// The number of the attempt, from 1, counting those of earlier runs.
        attempt: u32,
    },
    /// A step waits until an earlier attempt can no longer take effect, or for the cloud.
    Waiting {
        key: &'a KeyName,
        destination: &'a DestinationName,
        act: &'a str,
        /// When the wait ends at the latest, by this server's clock.
        until: Timestamp,
        /// For people.
        why: &'a str,
    },
    /// Another server holds the lane and may be dead.
    Watching {
        destination: &'a DestinationName,
        holder: ServerId,
        /// How long it takes at most to be certain that it is dead.
        longest: Span,
    },
    /// A call failed, and the step will try again.
    Again {
        key: &'a KeyName,
        destination: &'a DestinationName,
        problem: &'a Problem,
    },
    Received {
        key: &'a KeyName,
        destination: &'a DestinationName,
        act: &'a str,
        /// Whether the effect was there already, without an attempt of ours.
        found: bool,
    },
    Completed {
        key: &'a KeyName,
        digest: &'a Digest,
    },
}

pub trait Progress: Send + Sync {
    /// Must not block.
    fn event(&self, event: &Event<'_>);
}

/// Ignores all events.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
