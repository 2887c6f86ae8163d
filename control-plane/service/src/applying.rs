//! Running change sets.

use keyplane_api::Applied;
use keyplane_engine::Progress;
use keyplane_model::{Actor, ChangeSetRecord, ChangeSetState, Digest, KeyName, Problem, ProblemCode};

use crate::Service;

impl Service {
    /// Commits and runs the approved change sets, and resumes the committed ones. An empty `only` means every open change set.
    ///
    /// Reads each change set when its turn comes, and nothing of the change sets that were not asked for.
    ///
    /// # Errors
    /// When the ledger cannot be read. What stands in the way of a single change set is in [`Applied::problems`], and the others run.
    pub async fn apply(&self, only: &[Digest], by: &Actor, progress: &dyn Progress) -> Result<Applied, Problem> {
        let ledger = &self.engine.ledger;
        let asked = if only.is_empty() {
            let open = ledger.open().await.map_err(|error| error.problem())?;
            open.into_iter().map(|open| open.digest).collect()
        } else {
            only.to_vec()
        };
        let mut applied = Applied::default();
        let mut committed: Vec<(KeyName, Digest)> = Vec::new();
        for digest in asked {
            let Some(record) = ledger.change_set(&digest).await.map_err(|error| error.problem())? else {
                applied.problems.push(not_open(&digest));
                continue;
            };
            match record.state {
                ChangeSetState::Proposed => match self.engine.commit(&digest, by).await {
                    Ok(_) => committed.push((record.change_set.key, digest)),
                    Err(problem) => applied.problems.push(placed(problem, &record)),
                },
                ChangeSetState::Committed => committed.push((record.change_set.key, digest)),
                // It ended since it was listed, or is being withdrawn, so nothing is left of it to apply.
                ChangeSetState::Ending | ChangeSetState::Done | ChangeSetState::Dropped if only.is_empty() => {}
                ChangeSetState::Ending => applied.problems.push(placed(withdrawing(&record), &record)),
                ChangeSetState::Done | ChangeSetState::Dropped => applied.problems.push(not_open(&digest)),
            }
        }
        // Sorted for people. A digest that was given twice runs once.
        committed.sort();
        committed.dedup();
        applied.problems.sort_by(|a, b| a.key.cmp(&b.key));
        let committed: Vec<Digest> = committed.into_iter().map(|(_, digest)| digest).collect();
        for ran in self.engine.run(&committed, by, progress).await {
            match ran.result {
                Ok(()) => applied.done.push(ran.digest),
                Err(problems) => applied.problems.extend(problems),
            }
        }
        Ok(applied)
    }
}

fn not_open(digest: &Digest) -> Problem {
    Problem::new(ProblemCode::ApprovalUnknownDigest, format!("no change set {digest} is open"), "keyplane status")
}

fn withdrawing(record: &ChangeSetRecord) -> Problem {
    let detail = format!("change set {} is being withdrawn, and is not applied", record.digest);
    Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(&record.change_set.key)
}

/// Sets the destination of a problem that has none to the first one of the change set.
fn placed(problem: Problem, record: &ChangeSetRecord) -> Problem {
    match record.change_set.placements.values().next() {
        Some(plan) if problem.destination.is_none() => problem.destination(&plan.destination),
        Some(_) | None => problem,
    }
}
