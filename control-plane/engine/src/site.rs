//! One placement at its destination: its target, the lease to work there, and its problems.

use keyplane_model::{Capabilities, DestinationName, Fence, Problem, ProblemCode, Span, Target};
use keyplane_port::CloudError;

use crate::job::Job;
use crate::judgement::Conflict;
use crate::lane::{Failure, Lane};
use crate::lease::Hold;
use crate::stop::Stop;

pub(crate) struct Site<'a> {
    pub(crate) job: Job<'a>,
    pub(crate) target: Target,
    /// The right to work at the destination's lane. It guards every read of a step.
    pub(crate) hold: Hold<'a>,
}

impl<'a> Site<'a> {
    pub(crate) fn lane(&self) -> &'a Lane {
        self.hold.lane()
    }

    pub(crate) fn capabilities(&self) -> &'a Capabilities {
        &self.lane().destination().capabilities
    }

    pub(crate) fn destination(&self) -> &'a DestinationName {
        &self.lane().destination().name
    }

    pub(crate) fn uptime(&self) -> Span {
        self.job.ports.clock.uptime()
    }

    pub(crate) async fn sleep(&self, span: Span) {
        self.job.ports.clock.sleep(span).await;
    }

    /// Renews the lease if needed, so that it lasts for at least one call.
    pub(crate) async fn keep(&self) -> Result<&Fence, Stop> {
        self.hold.keep().await.map_err(|problem| self.job.held(problem))
    }

    /// Holds the placement up, because of a problem with the key at this destination.
    pub(crate) fn stop(&self, code: ProblemCode, detail: impl Into<String>, next: &str) -> Stop {
        Stop::Held(self.job.problem(code, detail, next).destination(self.destination()))
    }

    /// Drops the change set, because of what is at the destination.
    pub(crate) fn conflict(&self, conflict: &Conflict) -> Stop {
        let code = if conflict.is_foreign() { ProblemCode::ForeignObject } else { ProblemCode::Drift };
        Stop::Conflict(self.job.problem(code, conflict.detail(&self.target), "keyplane plan").destination(self.destination()))
    }

    /// The problem of a failed call.
    pub(crate) fn problem(&self, error: &CloudError) -> Problem {
        error.problem(self.lane().destination()).key(&self.job.record.change_set.key)
    }

    /// Holds the placement up, because a read failed.
    pub(crate) fn unread(&self, failure: &Failure) -> Stop {
        self.job.held(failure.problem(self.lane().destination()))
    }
}
