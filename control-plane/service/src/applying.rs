//! Running change sets.

use keyplane_api::{Applied, ApplyRequest};
use keyplane_engine::Progress;
use keyplane_model::{Actor, ChangeSetRecord, ChangeSetState, DestinationName, Digest, KeyName, Problem, ProblemCode};

use crate::Service;

/// A proposed change set that is asked for, without its steps.
struct Proposed {
    digest: Digest,
    key: KeyName,
    /// That of its first placement.
    destination: Option<DestinationName>,
}

impl Service {
    /// Commits and runs the approved change sets, and resumes the committed ones. No digests mean every open change set. What the
    /// newest intent or the policy of the request does not want any more is not run.
    ///
    /// Reads each change set when its turn comes, and nothing of the change sets that were not asked for.
    ///
    /// # Errors
    /// Problems of the policy files, or of the ledger. What stands in the way of a single change set is in [`Applied::problems`], and the
    /// others run.
    pub async fn apply(&self, request: &ApplyRequest, by: &Actor, progress: &dyn Progress) -> Result<Applied, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        // A policy that cannot be read may not want anything any more, so nothing is run under it.
        let policy = if request.sources.is_empty() { None } else { Some(self.load(&request.sources)?.intent) };
        let policy = policy.as_ref();
        let ledger = &self.engine.ledger;
        let asked = if request.digests.is_empty() {
            let open = ledger.open().await.map_err(|error| one(error.problem()))?;
            open.into_iter().map(|open| open.digest).collect()
        } else {
            request.digests.clone()
        };
        let mut applied = Applied::default();
        let mut proposed: Vec<Proposed> = Vec::new();
        let mut committed: Vec<(KeyName, Digest)> = Vec::new();
        for digest in asked {
            let Some(record) = ledger.change_set(&digest).await.map_err(|error| one(error.problem()))? else {
                applied.problems.push(not_open(&digest));
                continue;
            };
            match record.state {
                ChangeSetState::Proposed => proposed.push(Proposed::of(record)),
                ChangeSetState::Committed => committed.push((record.change_set.key, digest)),
                // It ended since it was listed, or is being withdrawn, so nothing is left of it to apply.
                ChangeSetState::Ending | ChangeSetState::Done | ChangeSetState::Dropped if request.digests.is_empty() => {}
                ChangeSetState::Ending => applied.problems.push(withdrawing(&record)),
                ChangeSetState::Done | ChangeSetState::Dropped => applied.problems.push(not_open(&digest)),
            }
        }
        let digests: Vec<Digest> = proposed.iter().map(|there| there.digest).collect();
        for (there, result) in proposed.into_iter().zip(self.engine.commit(&digests, policy, by).await) {
            match result {
                Ok(_) => committed.push((there.key, there.digest)),
                Err(problem) => applied.problems.push(there.placed(problem)),
            }
        }
        // Sorted for people. A digest that was given twice runs once.
        committed.sort();
        committed.dedup();
        applied.problems.sort_by(|a, b| a.key.cmp(&b.key));
        let committed: Vec<Digest> = committed.into_iter().map(|(_, digest)| digest).collect();
        for ran in self.engine.run(&committed, policy, by, progress).await {
            match ran.result {
                Ok(()) => applied.done.push(ran.digest),
                Err(problems) => applied.problems.extend(problems),
            }
        }
        Ok(applied)
    }
}

impl Proposed {
    fn of(record: ChangeSetRecord) -> Self {
        let change_set = record.change_set;
        let destination = change_set.placements.into_values().next().map(|plan| plan.destination);
        Self { digest: record.digest, key: change_set.key, destination }
    }

    /// Sets the destination of a problem that has none to the first one of the change set.
    fn placed(&self, problem: Problem) -> Problem {
        match &self.destination {
            Some(destination) if problem.destination.is_none() => problem.destination(destination),
            Some(_) | None => problem,
        }
    }
}

fn not_open(digest: &Digest) -> Problem {
    Problem::new(ProblemCode::ApprovalUnknownDigest, format!("no change set {digest} is open"), "keyplane status")
}

fn withdrawing(record: &ChangeSetRecord) -> Problem {
    let detail = format!("change set {} is being withdrawn, and is not applied", record.digest);
    Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(&record.change_set.key)
}
