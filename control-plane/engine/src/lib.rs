//! Execution: committed change sets, step by step, to their receipts.
//!
//! Owns the order of things (look, attempt, act, confirm, receipt), what may be concluded from what was seen, quotas,
//! time-outs and retries. Knows the ports and the verifier; must not know of any vendor, database or token, nor make a
//! choice that a change set left open: there is none.
//!
//! | module | owns |
//! |---|---|
//! | [`judgement`] | what a step does about what was seen: pure, and the heart of resuming after a crash |
//! | `step` | the loop around it |
//! | [`lane`] | quota, time-out and repeated reads, as tower layers, once |
//! | `survey` | looking at the clouds for planning |

pub mod judgement;
pub mod lane;
mod progress;
mod step;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keyplane_model::{
    ChangeSetRecord, ChangeSetState, DestinationName, Digest, KeyName, ObjectId, PlacementId, Problem, ProblemCode, SealedCharter,
    Timestamp,
};
use keyplane_port::{Clock, Commitment, Custodian, Ledger, Warrant};
use keyplane_verifier as verifier;
use tracing::Instrument as _;

pub use lane::Lane;
pub use progress::{Event, Progress, Silent};
pub use survey::Looked;

/// Executes change sets. Everything that it needs is a port.
pub struct Engine {
    /// What is known.
    pub ledger: Arc<dyn Ledger>,
    /// What makes and wraps keys.
    pub custodian: Arc<dyn Custodian>,
    /// The ways to the destinations.
    pub lanes: BTreeMap<DestinationName, Lane>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

/// How a change set's run ended.
#[derive(Debug)]
pub struct Ran {
    /// Which.
    pub digest: Digest,
    /// `Ok`: every step has its receipt. `Err`: what stands in the way, in the order of placements; at least one.
    pub result: Result<(), Vec<Problem>>,
}

/// How many change sets run side by side: enough to keep the narrowest quotas busy, few enough to read the progress.
const SIDE_BY_SIDE: usize = 16;

impl Engine {
    /// Commits a proposed change set.
    ///
    /// # Errors
    /// When it breaks a rule, lacks approvals, or does not fit the ledger any more; nothing was changed then.
    pub async fn commit(&self, digest: &Digest) -> Result<Commitment, Problem> {
        let record = self.record(digest).await?;
        self.entitled(&record).await?;
        self.ledger.commit(digest, self.clock.now()).await.map_err(|error| error.problem().key(&record.change_set.key))
    }

    /// Runs committed change sets to their end, or as far as they come; what is left is resumed by the next run.
    ///
    /// # Guarantees
    /// A crash anywhere loses nothing and doubles nothing: running again goes on from the ledger alone.
    pub async fn run(&self, digests: &[Digest], progress: &dyn Progress) -> Vec<Ran> {
        let mut runs: Vec<Ran> = futures::stream::iter(digests.to_vec())
            .map(|digest| {
                let span = tracing::info_span!("change_set", digest = %digest.short());
                async move { Ran { digest, result: self.run_one(&digest, progress).await } }.instrument(span)
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        runs.sort_by_key(|run| digests.iter().position(|digest| *digest == run.digest));
        runs
    }

    async fn run_one(&self, digest: &Digest, progress: &dyn Progress) -> Result<(), Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let record = self.record(digest).await.map_err(one)?;
        let key = &record.change_set.key;
        match record.state {
            ChangeSetState::Committed => {}
            ChangeSetState::Done => return Ok(()),
            ChangeSetState::Proposed | ChangeSetState::Dropped => {
                let detail = format!("change set {digest} is not committed");
                return Err(one(Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(key)));
            }
        }
        let charter = self.entitled(&record).await.map_err(one)?;
        let warrant = Warrant { change_set: record.change_set.clone(), approvals: record.approvals.clone(), charter };
        let known = self.objects(key).await.map_err(one)?;
        let mut placements: FuturesUnordered<_> = record
            .change_set
            .placements
            .keys()
            .map(|placement| self.run_placement(&record, &warrant, *placement, known.get(placement).cloned(), progress))
            .collect();
        let mut problems = Vec::new();
        let mut misfits = Vec::new();
        while let Some(result) = placements.next().await {
            match result {
                Ok(()) => {}
                Err(step::Stop::Misfit(problem)) => {
                    misfits.push(problem.detail.clone());
                    problems.push(problem);
                }
                Err(step::Stop::Held(problem)) => problems.push(problem),
            }
        }
        problems.sort_by(|a, b| a.destination.cmp(&b.destination));
        let now = self.clock.now();
        if !misfits.is_empty() {
            // It is not bent: it is dropped, and a new plan takes up what it left.
            self.ledger.abandon(digest, &misfits.join("; "), now).await.map_err(|error| one(error.problem().key(key)))?;
        } else if problems.is_empty() {
            self.ledger.complete(digest, now).await.map_err(|error| one(error.problem().key(key)))?;
            progress.event(&Event::Completed { key, digest });
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    async fn run_placement(
        &self,
        record: &ChangeSetRecord,
        warrant: &Warrant,
        placement: PlacementId,
        known: Option<ObjectId>,
        progress: &dyn Progress,
    ) -> Result<(), step::Stop> {
        let change_set = &record.change_set;
        let plan =
            change_set.placements.get(&placement).ok_or_else(|| step::Stop::Held(internal(record, "a step without its placement")))?;
        let lane = self.lanes.get(&plan.destination).ok_or_else(|| {
            let detail = format!("destination `{}` is not configured", plan.destination);
            let next = "keyplane config check";
            step::Stop::Held(Problem::new(ProblemCode::NameUnknown, detail, next).key(&change_set.key).destination(&plan.destination))
        })?;
        // Rule 11: what was approved for one destination is not done at another that took over its name.
        if lane.destination().fingerprint != plan.fingerprint {
            let detail = format!("destination `{}` is not configured as it was when the change was approved", plan.destination);
            let next = "keyplane plan";
            return Err(step::Stop::Misfit(
                Problem::new(ProblemCode::DestinationChanged, detail, next).key(&change_set.key).destination(&plan.destination),
            ));
        }
        // What an earlier change set made, before it was dropped: when it was confirmed does not matter any more.
        let object = known.map(|object| (object, self.clock.now()));
        let mut track = step::Track { engine: self, lane, record, warrant, placement, plan, progress, object };
        for (number, step) in change_set.steps_of(placement) {
            match record.receipts.get(&number) {
                Some(receipt) => track.remember(receipt),
                None => {
                    let span = tracing::info_span!("step", number = number.0, act = step.act.word(), lane = %plan.destination);
                    track.run(number, step).instrument(span).await?;
                }
            }
        }
        Ok(())
    }

    /// The objects of a key's placements that the ledger knows.
    async fn objects(&self, key: &KeyName) -> Result<BTreeMap<PlacementId, ObjectId>, Problem> {
        let snapshot = self.ledger.snapshot().await.map_err(|error| error.problem().key(key))?;
        let placements = snapshot.keys.get(key).into_iter().flat_map(|record| &record.placements);
        Ok(placements.filter_map(|(placement, known)| Some((*placement, known.object.clone()?))).collect())
    }

    async fn record(&self, digest: &Digest) -> Result<ChangeSetRecord, Problem> {
        let found = self.ledger.change_set(digest).await.map_err(|error| error.problem())?;
        found.ok_or_else(|| Problem::new(ProblemCode::ApprovalUnknownDigest, format!("there is no change set {digest}"), "keyplane plan"))
    }

    /// The engine's own judgement, before anything is committed or run: the verifier's rules, and the approvals that the
    /// charter asks for. The custodian judges again, by itself.
    async fn entitled(&self, record: &ChangeSetRecord) -> Result<SealedCharter, Problem> {
        let change_set = &record.change_set;
        let key = &change_set.key;
        let sealed = self.ledger.charter().await.map_err(|error| error.problem())?.ok_or_else(|| {
            let detail = "no charter was adopted: the token is not enrolled";
            Problem::new(ProblemCode::TokenNotEnrolled, detail, "keyplane hsm enroll")
        })?;
        let facts = verifier::Facts {
            charter: &sealed.charter,
            installation: sealed.charter.installation,
            record: None,
            key: None,
            destinations: None,
        };
        verifier::judge(change_set, &facts).map_err(|violations| {
            let detail = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Problem::new(ProblemCode::ChangeSetRefused, detail, "keyplane plan").key(key)
        })?;
        let rule = verifier::required(change_set, &sealed.charter).ok_or_else(|| {
            let detail = format!("the charter in force does not know profile `{}`", change_set.profile);
            Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter").key(key)
        })?;
        verifier::approved(&record.digest, &change_set.proposer, &rule, &sealed.charter, &record.approvals).map_err(|shortfall| {
            Problem::new(ProblemCode::ApprovalsMissing, shortfall.to_string(), format!("keyplane approve {} --message", record.digest))
                .key(key)
        })?;
        Ok(sealed)
    }
}

fn internal(record: &ChangeSetRecord, what: &str) -> Problem {
    Problem::new(ProblemCode::Internal, what, "keyplane status").key(&record.change_set.key)
}

/// The later of two times.
fn later(a: Timestamp, b: Timestamp) -> Timestamp {
    a.max(b)
}
