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
//! | [`lease`] | which lanes this server may work at |
//! | [`lane`] | quota, time-out and repeated reads, as tower layers, once |
//! | `survey` | looking at the clouds for planning |

pub mod judgement;
pub mod lane;
pub mod lease;
mod progress;
mod step;
mod survey;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keyplane_model::{
    Act, ChangeSetRecord, ChangeSetState, DestinationName, Digest, Fence, KeyName, KeyRecord, PlacementId, Problem, ProblemCode,
    SealedCharter, StepNo,
};
use keyplane_port::{Clock, Commitment, Custodian, Ledger, Warrant};
use keyplane_verifier::{self as verifier, Violation};
use tracing::Instrument as _;

pub use lane::Lane;
pub use lease::Leases;
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
    /// The lanes that this server holds.
    pub leases: Leases,
}

/// A change set that runs.
#[derive(Clone, Copy)]
struct Job<'a> {
    record: &'a ChangeSetRecord,
    warrant: &'a Warrant,
    progress: &'a dyn Progress,
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
        let working = self.leases.begin();
        let mut runs: Vec<Ran> = futures::stream::iter(digests.to_vec())
            .map(|digest| {
                let span = tracing::info_span!("change_set", digest = %digest.short());
                async move { Ran { digest, result: self.run_one(&digest, progress).await } }.instrument(span)
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        drop(working);
        self.release().await;
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
        let charter = match self.entitled(&record).await {
            Ok(charter) => charter,
            // It was committed under a charter that asked for less. Nobody approves what is committed: it is dropped, and the next plan
            // takes up what it left and asks anew.
            Err(problem) if matches!(problem.code, ProblemCode::CharterChanged | ProblemCode::ApprovalsMissing) => {
                let why = format!("the charter in force does not carry it: {}", problem.detail);
                self.ledger.abandon(digest, &why, self.clock.now()).await.map_err(|error| one(error.problem().key(key)))?;
                return Err(one(Problem::new(ProblemCode::CharterChanged, why, "keyplane plan").key(key)));
            }
            Err(problem) => return Err(one(problem)),
        };
        let warrant = Warrant { change_set: record.change_set.clone(), approvals: record.approvals.clone(), charter };
        let mut problems = Vec::new();
        let mut misfits = Vec::new();
        let mut take = |result: Result<(), step::Stop>| match result {
            Ok(()) => {}
            Err(step::Stop::Misfit(problem)) => {
                misfits.push(problem.detail.clone());
                problems.push(problem);
            }
            Err(step::Stop::Held(problem)) => problems.push(problem),
        };
        // What placements share is made before any of them goes its own way.
        let known = self.known(key).await.map_err(one)?;
        let job = Job { record: &record, warrant: &warrant, progress };
        match self.run_prologue(&job, known.as_ref()).await {
            Err(stop) => take(Err(stop)),
            Ok(()) => {
                let mut placements: FuturesUnordered<_> =
                    record.change_set.placements.keys().map(|placement| self.run_placement(&job, *placement)).collect();
                while let Some(result) = placements.next().await {
                    take(result);
                }
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

    /// Makes the bytes of every placement, then shares them. A placement that cannot be brought anywhere is left out: its own run says why.
    async fn run_prologue(&self, job: &Job<'_>, known: Option<&KeyRecord>) -> Result<(), step::Stop> {
        for shares in [false, true] {
            for (number, step) in (0..).map(StepNo).zip(&job.record.change_set.steps) {
                if !step::is_prologue(&step.act)
                    || matches!(step.act, Act::Share { .. }) != shares
                    || job.record.receipts.contains_key(&number)
                {
                    continue;
                }
                if let Ok(mut track) = self.track(job, step.placement, known, None) {
                    let span = track.span(number, step);
                    track.run(number, step).instrument(span).await?;
                }
            }
        }
        Ok(())
    }

    /// What remains to be done at one placement.
    async fn run_placement(&self, job: &Job<'_>, placement: PlacementId) -> Result<(), step::Stop> {
        let key = &job.record.change_set.key;
        let mut left = job.record.change_set.steps_of(placement).filter(|(number, _)| !job.record.receipts.contains_key(number));
        if left.all(|(_, step)| step::is_prologue(&step.act)) {
            return Ok(());
        }
        let held = |problem: Problem| step::Stop::Held(problem.key(key));
        let lane = self.lane(job.record, placement)?;
        let fence = self.keep(lane, job.progress).await.map_err(held)?;
        // INVARIANT: what a server knows of a placement it read while it held the lane: before, another one may have been at work there.
        let record = self.record(&job.record.digest).await.map_err(held)?;
        let job = &Job { record: &record, ..*job };
        let known = self.known(key).await.map_err(held)?;
        let mut track = self.track(job, placement, known.as_ref(), Some(fence))?;
        for (number, step) in record.change_set.steps_of(placement).filter(|(_, step)| !step::is_prologue(&step.act)) {
            match record.receipts.get(&number) {
                Some(receipt) => track.remember(receipt),
                None => {
                    let span = track.span(number, step);
                    track.run(number, step).instrument(span).await?;
                }
            }
        }
        Ok(())
    }

    /// The lane of a placement's destination.
    fn lane(&self, record: &ChangeSetRecord, placement: PlacementId) -> Result<&Lane, step::Stop> {
        let change_set = &record.change_set;
        let plan =
            change_set.placements.get(&placement).ok_or_else(|| step::Stop::Held(internal(record, "a step without its placement")))?;
        self.lanes.get(&plan.destination).ok_or_else(|| {
            let detail = format!("destination `{}` is not configured", plan.destination);
            let next = "keyplane config check";
            step::Stop::Held(Problem::new(ProblemCode::NameUnknown, detail, next).key(&change_set.key).destination(&plan.destination))
        })
    }

    /// The way of one placement, if its destination is the one that was approved.
    fn track<'a>(
        &'a self,
        job: &Job<'a>,
        placement: PlacementId,
        known: Option<&KeyRecord>,
        fence: Option<Fence>,
    ) -> Result<step::Track<'a>, step::Stop> {
        let Job { record, warrant, progress } = *job;
        let lane = self.lane(record, placement)?;
        let change_set = &record.change_set;
        let plan =
            change_set.placements.get(&placement).ok_or_else(|| step::Stop::Held(internal(record, "a step without its placement")))?;
        // Rule 11: what was approved for one destination is not done at another that took over its name.
        if lane.destination().fingerprint != plan.fingerprint {
            let detail = format!("destination `{}` is not configured as it was when the change was approved", plan.destination);
            let next = "keyplane plan";
            return Err(step::Stop::Misfit(
                Problem::new(ProblemCode::DestinationChanged, detail, next).key(&change_set.key).destination(&plan.destination),
            ));
        }
        // What an earlier change set made, before it was dropped.
        let object = known.and_then(|known| known.placements.get(&placement)?.object.clone()).map(|object| (object, self.clock.uptime()));
        let copies = known.iter().flat_map(|known| &known.copies).filter(|copy| copy.coordinates.placement == placement).cloned().collect();
        Ok(step::Track {
            engine: self,
            lane,
            fence,
            record,
            warrant,
            placement,
            plan,
            progress,
            object,
            wrapping: None,
            copies,
            last: None,
        })
    }

    /// What the ledger knows of a key.
    async fn known(&self, key: &KeyName) -> Result<Option<KeyRecord>, Problem> {
        let mut snapshot = self.ledger.snapshot().await.map_err(|error| error.problem().key(key))?;
        Ok(snapshot.keys.remove(key))
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
            // Planned under another charter it is old, and nothing is broken.
            let old = violations.iter().all(|violation| matches!(violation, Violation::ApprovalsLooser | Violation::UnknownProfile(_)));
            let code = if old { ProblemCode::CharterChanged } else { ProblemCode::ChangeSetRefused };
            Problem::new(code, detail, "keyplane plan").key(key)
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
