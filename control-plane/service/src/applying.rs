//! Running change sets.

use keyplane_api::Applied;
use keyplane_engine::Progress;
use keyplane_model::{ChangeSetState, Digest, Problem, ProblemCode};

use crate::Service;

impl Service {
    /// Commits and runs the approved change sets, and resumes the committed ones. An empty `only` means every open change set.
    ///
    /// # Errors
    /// When the ledger cannot be read. What stands in the way of a single change set is in [`Applied::problems`], and the others run.
    pub async fn apply(&self, only: &[Digest], progress: &dyn Progress) -> Result<Applied, Problem> {
        let snapshot = self.engine.ledger.snapshot().await.map_err(|error| error.problem())?;
        let mut applied = Applied::default();
        for digest in only {
            if !snapshot.open.values().any(|record| record.digest == *digest) {
                let detail = format!("no change set {digest} is open");
                applied.problems.push(Problem::new(ProblemCode::ApprovalUnknownDigest, detail, "keyplane status"));
            }
        }
        let mut open: Vec<_> = snapshot.open.values().filter(|record| only.is_empty() || only.contains(&record.digest)).collect();
        open.sort_by(|a, b| a.change_set.key.cmp(&b.change_set.key));
        let mut committed = Vec::new();
        for record in open {
            if record.state == ChangeSetState::Proposed {
                match self.engine.commit(&record.digest).await {
                    Ok(_) => committed.push(record.digest),
                    Err(problem) => applied.problems.push(self.placed(problem, record)),
                }
            } else {
                committed.push(record.digest);
            }
        }
        for ran in self.engine.run(&committed, progress).await {
            match ran.result {
                Ok(()) => applied.done.push(ran.digest),
                Err(problems) => applied.problems.extend(problems),
            }
        }
        Ok(applied)
    }

    /// Sets the destination of a problem that has none to the first one of the change set.
    fn placed(&self, problem: Problem, record: &keyplane_model::ChangeSetRecord) -> Problem {
        match record.change_set.placements.values().next() {
            Some(plan) if problem.destination.is_none() => problem.destination(&plan.destination),
            _ => problem,
        }
    }
}
