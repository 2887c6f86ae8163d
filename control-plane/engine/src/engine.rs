//! The order of a run: commit, the prologue of the change set, then the steps of its placements, concurrently.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keyplane_model::{
    Act, Actor, Asked, ChangeSetRecord, ChangeSetState, DestinationName, Digest, KeyRecord, PlacementId, PlacementPlan, Problem,
    ProblemCode, SealedCharter, Statement, StepNo, Target,
};
use keyplane_port::{Clock, Commitment, Custodian, Ledger, Warrant};
use keyplane_verifier::{self as verifier, Violation};
use tracing::Instrument as _;

use crate::job::{Job, Ports, Stop};
use crate::lane::Lane;
use crate::lease::{Hold, Leases};
use crate::progress::{Event, Progress};
use crate::prologue;
use crate::site::Site;
use crate::step::Way;
use crate::track::Track;

/// Executes change sets, through ports only.
pub struct Engine {
    /// Attempts and receipts are written here before the next step begins.
    pub ledger: Arc<dyn Ledger>,
    pub custodian: Arc<dyn Custodian>,
    /// The lane of each configured destination. A change set for any other destination is held.
    pub lanes: BTreeMap<DestinationName, Lane>,
    /// This server's clock. Its lanes have the same.
    pub clock: Arc<dyn Clock>,
    /// The leases of this server on lanes.
    pub leases: Leases,
}

/// The result of running one change set.
#[derive(Debug)]
pub struct Ran {
    pub digest: Digest,
    /// `Ok`: every step has its receipt. `Err`: what blocks the rest, by destination; at least one problem.
    pub result: Result<(), Vec<Problem>>,
}

/// How many change sets run concurrently: enough to use up the narrowest quotas, few enough to follow the progress.
const SIDE_BY_SIDE: usize = 16;

impl Engine {
    /// Commits a proposed change set. `by`: who asks for it.
    ///
    /// # Errors
    /// When it breaks a rule, lacks approvals, or does not fit the ledger any more; nothing was changed then.
    pub async fn commit(&self, digest: &Digest, by: &Actor) -> Result<Commitment, Problem> {
        let record = self.record(digest).await?;
        self.entitled(&record).await?;
        self.ledger.commit(digest, self.asked(by)).await.map_err(|error| error.problem().key(&record.change_set.key))
    }

    /// Runs committed change sets as far as possible. The next run resumes what is left. `by`: who asks for it.
    ///
    /// # Guarantees
    /// A crash anywhere loses nothing and makes nothing twice: the next run continues from the ledger alone.
    pub async fn run(&self, digests: &[Digest], by: &Actor, progress: &dyn Progress) -> Vec<Ran> {
        let working = self.leases.begin();
        let mut runs: Vec<Ran> = futures::stream::iter(digests.to_vec())
            .map(|digest| {
                let span = tracing::info_span!("change_set", digest = %digest.short());
                async move { Ran { digest, result: self.run_one(&digest, by, progress).await } }.instrument(span)
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        drop(working);
        self.leases.release(self.ledger.as_ref(), self.asked(by)).await;
        runs.sort_by_key(|run| digests.iter().position(|digest| *digest == run.digest));
        runs
    }

    async fn run_one(&self, digest: &Digest, by: &Actor, progress: &dyn Progress) -> Result<(), Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let record = self.record(digest).await.map_err(one)?;
        let key = &record.change_set.key;
        match record.state {
            ChangeSetState::Committed => {}
            ChangeSetState::Done => return Ok(()),
            ChangeSetState::Proposed | ChangeSetState::Ending | ChangeSetState::Dropped => {
                let detail = format!("change set {digest} is not committed");
                return Err(one(Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(key)));
            }
        }
        // Nothing is left that needs an approval: a crash, or a custodian that could not be reached, came before the end. Whatever is in
        // force by now, what was done under the old approvals is recorded as done.
        if record.is_finished() {
            self.complete(&record, by).await.map_err(one)?;
            progress.event(&Event::Completed { key, digest });
            return Ok(());
        }
        let charter = match self.entitled(&record).await {
            Ok(charter) => charter,
            // It was committed under a charter that asked for less. A committed change set gets no more approvals, so it is dropped. The
            // next plan continues with what it left and asks for new approvals.
            Err(problem) if matches!(problem.code, ProblemCode::CharterChanged | ProblemCode::ApprovalsMissing) => {
                let why = format!("what is in force today does not carry it: {}", problem.detail);
                self.abandon(&record, &why, by).await.map_err(one)?;
                return Err(one(Problem::new(ProblemCode::CharterChanged, why, "keyplane plan").key(key)));
            }
            Err(problem) => return Err(one(problem)),
        };
        let warrant = Warrant { change_set: record.change_set.clone(), approvals: record.approvals.clone(), charter };
        let mut problems = Vec::new();
        let mut conflicts = Vec::new();
        let mut take = |result: Result<(), Stop>| match result {
            Ok(()) => {}
            Err(Stop::Conflict(problem)) => {
                conflicts.push(problem.detail.clone());
                problems.push(problem);
            }
            Err(Stop::Held(problem)) => problems.push(problem),
        };
        // A ledger that cannot be read stops the run before any bytes are generated.
        self.known(&record).await.map_err(one)?;
        let ports = Ports { ledger: self.ledger.as_ref(), custodian: self.custodian.as_ref(), clock: self.clock.as_ref() };
        let job = Job { ports, by, record: &record, warrant: &warrant, progress };
        match self.run_prologue(&job).await {
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
        if !conflicts.is_empty() {
            // A change set is never adapted. It is dropped, and a new plan continues with what it left.
            if let Err(problem) = self.abandon(&record, &conflicts.join("; "), by).await {
                problems.push(problem);
            }
        } else if problems.is_empty() {
            self.complete(&record, by).await.map_err(one)?;
            progress.event(&Event::Completed { key, digest });
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Makes the bytes of every placement, then shares them. Skips a placement whose destination is not as approved; its own run reports
    /// why.
    async fn run_prologue(&self, job: &Job<'_>) -> Result<(), Stop> {
        for shares in [false, true] {
            for (number, step) in (0..).map(StepNo).zip(&job.record.change_set.steps) {
                if !prologue::has(&step.act) || matches!(step.act, Act::Share { .. }) != shares || job.record.receipts.contains_key(&number)
                {
                    continue;
                }
                if let Ok((_, plan)) = self.approved(job, step.placement) {
                    let span = Job::span(number, step, &plan.destination);
                    prologue::run(job, number, step, plan).instrument(span).await?;
                }
            }
        }
        Ok(())
    }

    /// Runs the remaining steps of one placement.
    async fn run_placement(&self, job: &Job<'_>, placement: PlacementId) -> Result<(), Stop> {
        let mut left = job.record.change_set.steps_of(placement).filter(|(number, _)| !job.record.receipts.contains_key(number));
        if left.all(|(_, step)| prologue::has(&step.act)) {
            return Ok(());
        }
        let held = |problem| job.held(problem);
        let (lane, _) = self.configured(job, placement)?;
        let hold = Hold::take(&self.leases, lane, job).await.map_err(held)?;
        // INVARIANT: the server reads the placement's records while it holds the lane. Before, another server may have changed them.
        let record = self.record(&job.record.digest).await.map_err(held)?;
        let job = Job { record: &record, ..*job };
        let known = self.known(&record).await.map_err(held)?;
        let (_, plan) = self.approved(&job, placement)?;
        let track = Track::begin(placement, known.as_ref(), self.clock.uptime());
        let mut way = Way::begin(Site { job, target: target(&record, placement, plan), hold }, track);
        for (number, step) in record.change_set.steps_of(placement).filter(|(_, step)| !prologue::has(&step.act)) {
            match record.receipts.get(&number) {
                Some(receipt) => way.remember(receipt),
                None => way.run(number, step).instrument(Job::span(number, step, &plan.destination)).await?,
            }
        }
        Ok(())
    }

    pub(crate) fn asked<'a>(&self, by: &'a Actor) -> Asked<'a> {
        Asked { by, at: self.clock.now() }
    }

    fn configured<'a>(&self, job: &Job<'a>, placement: PlacementId) -> Result<(&Lane, &'a PlacementPlan), Stop> {
        let plan = job.record.change_set.placements.get(&placement).ok_or_else(|| {
            let detail = "a step without its placement";
            Stop::Held(job.problem(ProblemCode::Internal, detail, "keyplane status"))
        })?;
        let lane = self.lanes.get(&plan.destination).ok_or_else(|| {
            let detail = format!("destination `{}` is not configured", plan.destination);
            Stop::Held(job.problem(ProblemCode::NameUnknown, detail, "keyplane config check").destination(&plan.destination))
        })?;
        Ok((lane, plan))
    }

    /// The same, if the destination is the approved one: another destination under the same name gets nothing (rule 11).
    fn approved<'a>(&self, job: &Job<'a>, placement: PlacementId) -> Result<(&Lane, &'a PlacementPlan), Stop> {
        let (lane, plan) = self.configured(job, placement)?;
        if lane.destination().fingerprint == plan.fingerprint {
            return Ok((lane, plan));
        }
        let detail = format!("destination `{}` is not configured as it was when the change was approved", plan.destination);
        Err(Stop::Conflict(job.problem(ProblemCode::DestinationChanged, detail, "keyplane plan").destination(&plan.destination)))
    }

    /// The ledger's record of the change set's key.
    async fn known(&self, of: &ChangeSetRecord) -> Result<Option<KeyRecord>, Problem> {
        self.ledger.key(of.change_set.key_id).await.map_err(|error| error.problem().key(&of.change_set.key))
    }

    pub(crate) async fn record(&self, digest: &Digest) -> Result<ChangeSetRecord, Problem> {
        let found = self.ledger.change_set(digest).await.map_err(|error| error.problem())?;
        found.ok_or_else(|| Problem::new(ProblemCode::ApprovalUnknownDigest, format!("there is no change set {digest}"), "keyplane plan"))
    }

    /// The engine's own check before anything is committed or run: the verifier's rules, and the approvals that the charter asks for. The
    /// custodian checks again, independently.
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
            now: self.clock.now(),
            record: None,
            key: None,
            destinations: None,
        };
        verifier::judge(change_set, &facts).map_err(|violations| {
            let detail = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            // A change set that was planned under another charter, or long ago, is only out of date.
            let by_charter = |violation: &Violation| {
                matches!(violation, Violation::ApprovalsLooser | Violation::ApprovalsUnknown | Violation::UnknownProfile(_))
            };
            let by_time = |violation: &Violation| matches!(violation, Violation::Ended(_));
            let code = if !violations.iter().all(|violation| by_charter(violation) || by_time(violation)) {
                ProblemCode::ChangeSetRefused
            } else if violations.iter().any(by_charter) {
                ProblemCode::CharterChanged
            } else {
                ProblemCode::ApprovalsMissing
            };
            Problem::new(code, detail, "keyplane plan").key(key)
        })?;
        let charter = sealed
            .id()
            .map_err(|error| Problem::new(ProblemCode::Internal, format!("the charter has no digest: {error}"), "keyplane status"))?;
        let statement = Statement::of_change_set(change_set, &record.digest, &charter);
        let known = self.known(record).await?;
        let rules = verifier::required_in_all(change_set, &sealed.charter, known.as_ref());
        verifier::approved(&statement, &change_set.proposer, rules, &sealed.charter, &record.approvals).map_err(|shortfall| {
            Problem::new(ProblemCode::ApprovalsMissing, shortfall.to_string(), format!("keyplane show {} --message", record.digest))
                .key(key)
        })?;
        Ok(sealed)
    }
}

/// The target of a placement's steps.
fn target(record: &ChangeSetRecord, placement: PlacementId, plan: &PlacementPlan) -> Target {
    Target {
        installation: record.change_set.installation,
        placement,
        incarnation: plan.incarnation,
        name: plan.name.clone(),
        algorithm: plan.algorithm,
        purpose: plan.purpose,
        key: record.change_set.key.clone(),
    }
}
