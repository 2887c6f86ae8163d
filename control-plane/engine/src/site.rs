//! Where one placement's steps work: its destination, under which right, and how what goes wrong there is told.

use keyplane_model::{Capabilities, DestinationName, Fence, Problem, ProblemCode, Span, Target};
use keyplane_port::CloudError;

use crate::job::{Job, Stop};
use crate::judgement::Conflict;
use crate::lane::{Failure, Lane};
use crate::lease::Hold;

/// One placement at its destination.
pub(crate) struct Site<'a> {
    pub(crate) job: Job<'a>,
    pub(crate) target: Target,
    /// The right to work there. Every read of a step is guarded by it.
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

    /// The server's uptime.
    pub(crate) fn uptime(&self) -> Span {
        self.job.ports.clock.uptime()
    }

    pub(crate) async fn sleep(&self, span: Span) {
        self.job.ports.clock.sleep(span).await;
    }

    /// Holds on to the lane, for as long as a call takes.
    pub(crate) async fn keep(&self) -> Result<&Fence, Stop> {
        self.hold.keep().await.map_err(|problem| self.job.held(problem))
    }

    /// A problem of the change set's key at this destination, which holds the placement up.
    pub(crate) fn stop(&self, code: ProblemCode, detail: impl Into<String>, next: &str) -> Stop {
        Stop::Held(self.job.problem(code, detail, next).destination(self.destination()))
    }

    /// What is there conflicts with the change set.
    pub(crate) fn conflict(&self, conflict: &Conflict) -> Stop {
        let code = if conflict.is_foreign() { ProblemCode::ForeignObject } else { ProblemCode::Drift };
        Stop::Conflict(self.job.problem(code, conflict.detail(&self.target), "keyplane plan").destination(self.destination()))
    }

    /// A call of the cloud failed.
    pub(crate) fn problem(&self, error: &CloudError) -> Problem {
        error.problem(self.lane().destination()).key(&self.job.record.change_set.key)
    }

    /// A read gave no answer.
    pub(crate) fn unread(&self, failure: &Failure) -> Stop {
        self.job.held(failure.problem(self.lane().destination()))
    }
}
