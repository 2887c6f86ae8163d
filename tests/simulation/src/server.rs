//! A server: it plans, commits what is approved, and runs it, repeatedly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use keyplane_engine::lane::Quotas;
use keyplane_engine::{Engine, Event, Lane, Leases, Progress};
use keyplane_model::{
    APPROVALS_LAST, Actor, Asked, Charter, CharterChange, Class, Destination, DestinationName, Digest, IdTree, InstallationId, Intent,
    Problem, SealedCharter, ServerId, Span, Statement, Timestamp,
};
use keyplane_planner::{Custody, PlanInput};
use keyplane_port::{Clock, Cloud, Custodian, CustodianError, Ledger};
use keyplane_verifier::{Facts, judge};

use crate::executor::{Sim, locked};
use crate::life::{Life, Moment};
use crate::people::{Desk, PROPOSER};
use crate::rules::{Broken, Rule};

/// The longest pause between two rounds.
const PAUSE: Span = Span::seconds(240);

/// What blocks a key, by the key's name.
pub(crate) type Blocked = BTreeMap<String, String>;

/// A server of a run, with the engine's dependencies.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) id: ServerId,
    /// This life of the server, which a crash ends.
    pub(crate) life: Life,
    pub(crate) sim: Arc<Sim>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) custodian: Arc<dyn Custodian>,
    pub(crate) clouds: BTreeMap<DestinationName, Arc<dyn Cloud>>,
    pub(crate) installation: InstallationId,
    /// Where people sign a new charter.
    pub(crate) desk: Desk,
    /// The policy's intent now.
    pub(crate) intent: Arc<dyn Fn() -> Intent + Send + Sync>,
    /// Whether a fault, a late effect or another intent can still come.
    pub(crate) trouble: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Set when a round found nothing to do, and nothing could go wrong any more.
    pub(crate) settled: Arc<AtomicBool>,
    /// The violations of a run.
    pub(crate) broken: Arc<std::sync::Mutex<Vec<Broken>>>,
    /// What blocked keys in the round that found nothing to do.
    pub(crate) blocked: Arc<std::sync::Mutex<Blocked>>,
}

impl Server {
    /// Plans and applies in rounds, until one finds nothing to do when nothing can go wrong any more.
    pub(crate) async fn serve(self, first: Span) {
        self.sim.sleep(first).await;
        let destinations: BTreeMap<DestinationName, Destination> =
            self.clouds.iter().map(|(name, cloud)| (name.clone(), cloud.destination().clone())).collect();
        let quotas = Quotas::default();
        let lanes =
            self.clouds.iter().map(|(name, cloud)| (name.clone(), Lane::new(Arc::clone(cloud), quotas.clone(), Arc::clone(&self.clock))));
        let engine = Engine {
            ledger: Arc::clone(&self.ledger),
            custodian: Arc::clone(&self.custodian),
            lanes: lanes.collect(),
            clock: Arc::clone(&self.clock),
            leases: Leases::new(self.id),
        };
        while !self.settled.load(Ordering::Relaxed) {
            // Read before the round, since what was still possible at its beginning may have happened during it.
            let trouble = (self.trouble)();
            match self.round(&engine, &destinations).await {
                Ok(Some(blocked)) if !trouble => {
                    *locked(&self.blocked) = blocked;
                    self.settled.store(true, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(problem) => {
                    self.expect_class(&problem);
                    self.sim.note(&self.name, &format!("problem: {}", problem.detail));
                }
            }
            self.sim.sleep(Span::seconds(1) + self.sim.span(PAUSE)).await;
        }
    }

    /// Records a problem of the class "broken" as a violation: nothing is broken in a run.
    fn expect_class(&self, problem: &Problem) {
        if problem.class == Class::Broken {
            let what = format!("{} says that something is broken: {:?}: {}", self.name, problem.code, problem.detail);
            locked(&self.broken).push(Broken { rule: Rule::Classes, what });
        }
    }

    /// Plans and runs. Returns the blocked keys with the reasons if there was nothing to do.
    async fn round(&self, engine: &Engine, destinations: &BTreeMap<DestinationName, Destination>) -> Result<Option<Blocked>, Problem> {
        let intent = (self.intent)();
        let proposer = Actor(PROPOSER.to_owned());
        let ledger = &engine.ledger;
        let now = engine.clock.now();
        for problem in engine.finish_withdrawals(Asked { by: &proposer, at: now }).await? {
            self.expect_class(&problem);
            self.sim.note(&self.name, &format!("cannot withdraw: {}", problem.detail));
        }
        let mut sealed = ledger.charter().await.map_err(|error| error.problem())?.ok_or_else(|| internal("no charter"))?;
        let charter = intent.charter(self.installation);
        if sealed.charter != charter {
            // Nothing is planned under rules that are not in force. Open change sets go on.
            let Some(adopted) = self.adopt(engine, &sealed, &charter).await? else {
                self.run(engine, &intent).await?;
                return Ok(None);
            };
            sealed = adopted;
        }
        let status = engine.custodian.status().await.map_err(|error| error.problem())?;
        let schemes =
            status.routes.into_iter().map(|route| (route.scheme, route.algorithms.into_iter().collect::<BTreeSet<_>>())).collect();
        let custody = Custody { epoch: status.epoch.ok_or_else(|| internal("no epoch"))?, derives: status.derives, schemes };
        let asked = Asked { by: &proposer, at: now };
        ledger.put_intent(&intent, "files", asked).await.map_err(|error| error.problem())?;
        let before = ledger.snapshot().await.map_err(|error| error.problem())?;

        let ids = IdTree::of(self.installation);
        let targets = keyplane_planner::targets(&intent, destinations, &before, ids, self.installation);
        let surveys = engine.lanes.iter().map(|(name, lane)| {
            let targets = targets.get(name).map_or(&[][..], Vec::as_slice);
            async move { (name.clone(), lane.survey(targets, engine.clock.as_ref()).await) }
        });
        let mut inventories = BTreeMap::new();
        for (name, looked) in join_all(surveys).await {
            if let Ok(looked) = looked {
                ledger.put_inventory(&name, &looked.inventory, asked).await.map_err(|error| error.problem())?;
                inventories.insert(name, looked.inventory);
            }
        }
        let snapshot = ledger.snapshot().await.map_err(|error| error.problem())?;
        let plan = keyplane_planner::plan(&PlanInput {
            intent: &intent,
            destinations,
            before: &before,
            ledger: &snapshot,
            inventories: &inventories,
            custody: &custody,
            proposer: &proposer,
            now: engine.clock.now(),
            ids,
        });
        for change_set in &plan.change_sets {
            let facts = Facts {
                charter: &sealed.charter,
                installation: self.installation,
                now: engine.clock.now(),
                record: snapshot.keys.get(&change_set.key),
                key: intent.keys.get(&change_set.key),
                destinations: Some(destinations),
            };
            judge(change_set, &facts).map_err(|violations| internal(&format!("the plan breaks a rule: {violations:?}")))?;
            match engine.propose(change_set, snapshot.open.get(&change_set.key_id), asked).await {
                Ok(digest) => {
                    self.sim.note(&self.name, &format!("proposes {} for {}: {:?}", digest.short(), change_set.key, words(change_set)))
                }
                Err(error) => self.sim.note(&self.name, &format!("cannot propose for {}: {error}", change_set.key)),
            }
        }
        for digest in &plan.outdated {
            engine.withdraw(digest, "it does not fit any more", asked).await?;
        }
        let mut blocked = BTreeMap::new();
        let mut unsettled = false;
        for (key, report) in &plan.report.keys {
            if matches!(report.outcome, keyplane_planner::Outcome::Blocked) {
                let why = report.findings.iter().map(|finding| format!("{:?}", finding.obstacle)).collect::<Vec<_>>().join("; ");
                blocked.insert(key.to_string(), why);
            }
            // A look may show an earlier state, for instance by a clock that is behind. The next round decides.
            unsettled |= report.findings.iter().any(|finding| matches!(finding.obstacle, keyplane_planner::Obstacle::Unsettled));
        }
        // Nothing is concluded while a change set is open, since another server may be running it.
        let idle = plan.change_sets.is_empty() && snapshot.open.is_empty() && inventories.len() == destinations.len() && !unsettled;
        let worked = self.run(engine, &intent).await?;
        Ok((idle && !worked).then_some(blocked))
    }

    /// Has a new charter adopted, if enough people signed it.
    async fn adopt(&self, engine: &Engine, current: &SealedCharter, next: &Charter) -> Result<Option<SealedCharter>, Problem> {
        let uncanonical = |error: serde_json::Error| internal(&error.to_string());
        let digest = next.digest().map_err(uncanonical)?;
        let change = CharterChange {
            before: current.id().map_err(uncanonical)?,
            next: next.clone(),
            proposer: Actor(PROPOSER.to_owned()),
            // Rounded to a day, so that all servers ask for the same.
            until: Timestamp(engine.clock.now().0 / Span::days(1).micros() * Span::days(1).micros()) + APPROVALS_LAST,
        };
        let approvals = self.desk.approvals(&Statement::of_charter(&change).map_err(uncanonical)?);
        match engine.custodian.adopt(current, &change, &approvals).await {
            Ok(sealed) => {
                engine
                    .ledger
                    .put_charter(&sealed, &approvals, Asked { by: &change.proposer, at: engine.clock.now() })
                    .await
                    .map_err(|error| error.problem())?;
                self.sim.note(&self.name, &format!("has charter {} adopted, number {}", digest.short(), sealed.serial));
                Ok(Some(sealed))
            }
            // Another server may have been faster, or has asked for another charter.
            Err(CustodianError::ApprovalsMissing { .. } | CustodianError::CharterChanged) => {
                self.sim.note(&self.name, &format!("waits for charter {}", digest.short()));
                Ok(None)
            }
            Err(error) => Err(error.problem()),
        }
    }

    /// Commits and runs open change sets, as far as this policy wants it. `true`: there was something to do.
    async fn run(&self, engine: &Engine, policy: &Intent) -> Result<bool, Problem> {
        let open = engine.ledger.open().await.map_err(|error| error.problem())?;
        let by = Actor(PROPOSER.to_owned());
        let digests: Vec<Digest> = open.iter().map(|open| open.digest).collect();
        let results = engine.commit(&digests, Some(policy), &by).await;
        let committed: Vec<Digest> =
            digests.into_iter().zip(results).filter(|(_, result)| result.is_ok()).map(|(digest, _)| digest).collect();
        let told = Told { life: self.life.clone(), name: self.name.clone() };
        for ran in engine.run(&committed, Some(policy), &by, &told).await {
            if let Err(problems) = &ran.result {
                problems.iter().for_each(|problem| self.expect_class(problem));
            }
            let said = match ran.result {
                Ok(()) => "done".to_owned(),
                Err(problems) => {
                    problems.iter().map(|problem| format!("{:?} {}", problem.code, problem.detail)).collect::<Vec<_>>().join("; ")
                }
            };
            self.sim.note(&self.name, &format!("ran {}: {said}", ran.digest.short()));
        }
        Ok(!open.is_empty())
    }
}

fn words(change_set: &keyplane_model::ChangeSet) -> Vec<&'static str> {
    change_set.steps.iter().map(|step| step.act.word()).collect()
}

fn internal(what: &str) -> Problem {
    Problem::new(keyplane_model::ProblemCode::Internal, what, "")
}

/// Writes progress into the transcript.
struct Told {
    life: Life,
    name: String,
}

impl Progress for Told {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Acting { key, destination, act, attempt } => format!("acts: {act} {key} at {destination}, attempt {attempt}"),
            Event::Waiting { key, destination, act, why, .. } => format!("waits: {act} {key} at {destination}: {why}"),
            Event::Again { key, destination, problem } => format!("again: {key} at {destination}: {}", problem.detail),
            Event::Watching { destination, .. } => format!("watches the lease on {destination}"),
            Event::Received { key, destination, act, found } => {
                format!("has: {act} {key} at {destination}{}", if *found { " (found)" } else { "" })
            }
            Event::Completed { key, digest } => format!("completes {} of {key}", digest.short()),
        };
        self.life.sim.note(&self.name, &line);
        self.life.passes(Moment::Told);
    }
}
