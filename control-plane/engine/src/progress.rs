//! What a run tells while it goes on.

use keyplane_model::{DestinationName, Digest, KeyName, Problem, ServerId, Span, Timestamp};

/// Something that happened in a run. `act` is the step's word ([`keyplane_model::Act::word`]).
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is about to send a mutating request.
    Acting {
        /// The key that the step is for.
        key: &'a KeyName,
        /// The destination that it acts at.
        destination: &'a DestinationName,
        /// The step's word.
        act: &'a str,
        /// The number of the step's attempt, from 1; attempts of earlier runs count.
        attempt: u32,
    },
    /// A step waits until an earlier attempt can no longer take effect, or for the cloud.
    Waiting {
        /// The key that the step is for.
        key: &'a KeyName,
        /// The destination that it waits for.
        destination: &'a DestinationName,
        /// The step's word.
        act: &'a str,
        /// When the wait ends at the latest, by this server's clock.
        until: Timestamp,
        /// The reason, for people.
        why: &'a str,
    },
    /// Another server holds the lane, and may be gone.
    Watching {
        /// The destination whose lane it is.
        destination: &'a DestinationName,
        /// The other server.
        holder: ServerId,
        /// How long it takes at most to be certain that it is gone.
        longest: Span,
    },
    /// A call failed and the step will try again.
    Again {
        /// The key that the step is for.
        key: &'a KeyName,
        /// The destination that refused, or gave no answer.
        destination: &'a DestinationName,
        /// What happened.
        problem: &'a Problem,
    },
    /// A step has its receipt.
    Received {
        /// The key that the step is for.
        key: &'a KeyName,
        /// The destination that it is for.
        destination: &'a DestinationName,
        /// The step's word.
        act: &'a str,
        /// Whether its effect was there already, so that no attempt of ours made it.
        found: bool,
    },
    /// Every step of a change set has its receipt.
    Completed {
        /// The key that the change set is for.
        key: &'a KeyName,
        /// The change set.
        digest: &'a Digest,
    },
}

/// Takes the events of a run.
pub trait Progress: Send + Sync {
    /// Takes an event; must not block.
    fn event(&self, event: &Event<'_>);
}

/// Takes no notice.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event<'_>) {}
}
