//! The order of a run: commit, the prologue of the change set, then the steps of its placements, concurrently.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use keyplane_model::{
    Act, Actor, Asked, ChangeSetRecord, ChangeSetState, DestinationName, Digest, Intent, KeyRecord, PlacementId, PlacementPlan, Problem,
    ProblemCode, SealedCharter, Statement, StepNo, Target,
};
use keyplane_port::{Clock, Commitment, Custodian, Ledger, Warrant};
use keyplane_verifier as verifier;
use tracing::Instrument as _;

use crate::job::{Job, Ports};
use crate::lane::Lane;
use crate::lease::{Hold, Leases};
use crate::progress::{Event, Progress};
use crate::prologue;
use crate::site::Site;
use crate::step::Way;
use crate::stop::Stop;
use crate::track::Track;
use crate::unfit;
use crate::wanted::{Known, Wanted};

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

/// For how many change sets [`Engine::commit`] reads at once what is wanted. Each reading goes through the whole intent, and the records of
/// so many change sets are kept in memory meanwhile. It is read again only if another plan recorded an intent in between.
const AT_ONCE: usize = 100;

impl Engine {
    /// Commits proposed change sets, each by itself; the results are in the order of the digests. `policy`: the one that the command was
    /// given; `None`: none. `by`: who asks for it.
    ///
    /// A change set that is not committed is left as it was: it breaks a rule, lacks approvals, or does not fit any more what the ledger
    /// holds, what is wanted, or how the destinations are configured.
    pub fn commit<'a>(
        &'a self,
        digests: &'a [Digest],
        policy: Option<&'a Intent>,
        by: &'a Actor,
    ) -> BoxFuture<'a, Vec<Result<Commitment, Problem>>> {
        self.commit_each(digests, policy, by).boxed()
    }

    async fn commit_each(&self, digests: &[Digest], policy: Option<&Intent>, by: &Actor) -> Vec<Result<Commitment, Problem>> {
        let mut results = Vec::with_capacity(digests.len());
        for some in digests.chunks(AT_ONCE) {
            let mut records = Vec::with_capacity(some.len());
            for digest in some {
                records.push(self.record(digest).await);
            }
            let keys = records.iter().flatten().map(|record| record.change_set.key.clone()).collect();
            let wanted = Wanted::of(self.ledger.as_ref(), &self.lanes, keys, policy);
            for record in records {
                results.push(match record {
                    Ok(record) => self.commit_one(&record, &wanted, by).await,
                    Err(problem) => Err(problem),
                });
            }
        }
        results
    }

    async fn commit_one(&self, record: &ChangeSetRecord, wanted: &Wanted<'_>, by: &Actor) -> Result<Commitment, Problem> {
        let judged = match record.state {
            ChangeSetState::Proposed => self.entitled(record, wanted).await.map(drop),
            // The ledger knows what that means for a commit, and a run judges what is committed.
            ChangeSetState::Ending | ChangeSetState::Committed | ChangeSetState::Done | ChangeSetState::Dropped => Ok(()),
        };
        if let Err(Stop::Conflict(problem) | Stop::Held(problem)) = judged {
            // Another server may have committed it since it was read. Then the key has moved on by this very commit.
            let is_stale = problem.code == ProblemCode::ChangeSetStale;
            if !is_stale || self.record(&record.digest).await?.state == ChangeSetState::Proposed {
                return Err(problem);
            }
        }
        self.ledger.commit(&record.digest, self.asked(by)).await.map_err(|error| error.problem().key(&record.change_set.key))
    }

    /// Runs committed change sets as far as possible. The next run resumes what is left. What is not wanted any more is not run: it is
    /// dropped. `policy`: the one that the command was given; `None`: none. `by`: who asks for it.
    ///
    /// # Guarantees
    /// A crash anywhere loses nothing and makes nothing twice: the next run continues from the ledger alone.
    ///
    /// # Caveats
    /// A plan does not stop a run that goes on meanwhile. The run notices before the next step acts that the change set is not wanted any
    /// more, and drops it then; a step that has acted is finished.
    pub fn run<'a>(
        &'a self,
        digests: &'a [Digest],
        policy: Option<&'a Intent>,
        by: &'a Actor,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Vec<Ran>> {
        self.run_each(digests, policy, by, progress).boxed()
    }

    async fn run_each(&self, digests: &[Digest], policy: Option<&Intent>, by: &Actor, progress: &dyn Progress) -> Vec<Ran> {
        let working = self.leases.begin();
        let wanted = &self.wanted(digests, policy).await;
        let mut runs: Vec<Ran> = futures::stream::iter(digests.to_vec())
            .map(|digest| {
                let span = tracing::info_span!("change_set", digest = %digest.short());
                async move { Ran { digest, result: self.run_one(&digest, wanted, by, progress).await } }.instrument(span)
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        drop(working);
        self.leases.release(self.ledger.as_ref(), self.asked(by)).await;
        runs.sort_by_key(|run| digests.iter().position(|digest| *digest == run.digest));
        runs
    }

    /// What is wanted of the keys of these change sets.
    async fn wanted<'p>(&'p self, digests: &[Digest], policy: Option<&'p Intent>) -> Wanted<'p> {
        let mut keys = BTreeSet::new();
        for digest in digests {
            // The run of a change set that cannot be read says so, or holds it if it can be read by then.
            keys.extend(self.record(digest).await.ok().map(|record| record.change_set.key));
        }
        Wanted::of(self.ledger.as_ref(), &self.lanes, keys, policy)
    }

    async fn run_one(&self, digest: &Digest, wanted: &Wanted<'_>, by: &Actor, progress: &dyn Progress) -> Result<(), Vec<Problem>> {
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
        let charter = match self.entitled(&record, wanted).await {
            Ok(charter) => charter,
            Err(Stop::Conflict(problem)) => return Err(self.not_entitled(&record, problem, by).await),
            Err(Stop::Held(problem)) => return Err(one(problem)),
        };
        let warrant = Warrant { change_set: record.change_set.clone(), approvals: record.approvals.clone(), charter };
        let mut problems = Vec::new();
        let mut conflicts = Vec::new();
        let mut take = |result: Result<(), Stop>| match result {
            Ok(()) => {}
            // What speaks against the whole change set stops each of its placements.
            Err(Stop::Conflict(problem) | Stop::Held(problem)) if problems.contains(&problem) => {}
            Err(Stop::Conflict(problem)) => {
                conflicts.push(problem.detail.clone());
                problems.push(problem);
            }
            Err(Stop::Held(problem)) => problems.push(problem),
        };
        // A ledger that cannot be read stops the run before any bytes are generated.
        let known = self.known(&record).await.map_err(one)?;
        let ports = Ports { ledger: self.ledger.as_ref(), custodian: self.custodian.as_ref(), clock: self.clock.as_ref() };
        let job = Job { ports, by, record: &record, known: known.as_ref(), wanted, warrant: &warrant, progress };
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

    /// Drops a committed change set that what is in force today does not carry: it was committed under a charter that asked for less, or
    /// does something that is not wanted any more. It gets no more approvals, so it would block its key. The next plan continues with what it
    /// left and asks for new approvals.
    async fn not_entitled(&self, record: &ChangeSetRecord, problem: Problem, by: &Actor) -> Vec<Problem> {
        let problem = unfit::not_carried(problem);
        let dropped = self.abandon(record, &problem.detail, by).await;
        std::iter::once(problem).chain(dropped.err()).collect()
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
                    job.still_wanted().await?;
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
        let known = self.known(&record).await.map_err(held)?;
        let job = Job { record: &record, known: known.as_ref(), ..*job };
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

    /// The charter in force, as the ledger has it.
    pub(crate) async fn charter(&self) -> Result<SealedCharter, Problem> {
        self.ledger.charter().await.map_err(|error| error.problem())?.ok_or_else(|| {
            let detail = "no charter was adopted: the token is not enrolled";
            Problem::new(ProblemCode::TokenNotEnrolled, detail, "keyplane hsm enroll")
        })
    }

    /// The engine's own check before anything is committed or run: the verifier's rules, what is wanted, and the approvals that the charter
    /// asks for. The custodian checks again, independently. [`Stop::Conflict`]: it is out of date.
    async fn entitled(&self, record: &ChangeSetRecord, wanted: &Wanted<'_>) -> Result<SealedCharter, Stop> {
        let change_set = &record.change_set;
        let key = &change_set.key;
        let held = |problem: Problem| Stop::Held(problem.key(key));
        let sealed = self.charter().await.map_err(held)?;
        let known = self.known(record).await.map_err(held)?;
        wanted.judge(record, Known { charter: &sealed.charter, now: self.clock.now(), record: known.as_ref() }).await?;
        let charter = sealed
            .id()
            .map_err(|error| held(Problem::new(ProblemCode::Internal, format!("the charter has no digest: {error}"), "keyplane status")))?;
        let statement = Statement::of_change_set(change_set, &record.digest, &charter);
        let rules = verifier::required_in_all(change_set, &sealed.charter, known.as_ref());
        verifier::approved(&statement, &change_set.proposer, rules, &sealed.charter, &record.approvals).map_err(|shortfall| {
            let next = format!("keyplane show {} --message", record.digest);
            Stop::Conflict(Problem::new(ProblemCode::ApprovalsMissing, shortfall.to_string(), next).key(key))
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
