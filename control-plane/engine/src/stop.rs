//! Why a run stops, and what becomes of its change set.

use keyplane_model::Problem;

/// Why the steps of a change set stop.
pub(crate) enum Stop {
    /// The change set conflicts with what is there, or its attempts are spent for good: it is dropped.
    Conflict(Problem),
    /// Something blocks it for now: the change set stays committed, and the next run resumes it.
    Held(Problem),
}
