//! From policy files to open change sets.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use keyplane_api::{ExplainRequest, PlanRequest, Planned, PlannedKey, ValidateRequest, Validated, Verdict};
use keyplane_engine::Looked;
use keyplane_model::{
    Actor, Asked, ChangeSet, Charter, DestinationName, Intent, Inventory, KeyName, LedgerSnapshot, Problem, ProblemCode, SealedCharter,
    Span, Target,
};
use keyplane_planner::{Custody, Finding, KeyReport, Obstacle, Outcome, Plan, PlanInput};
use keyplane_verifier as verifier;

use crate::charters::adoptable;
use crate::{Service, uncanonical};

impl Service {
    /// Checks policy files.
    ///
    /// # Errors
    /// Every problem of the files; then everything because of which no custodian would adopt their charter.
    pub fn validate(&self, request: &ValidateRequest) -> Result<Validated, Vec<Problem>> {
        let policy = self.load(&request.sources)?;
        adoptable(&policy.intent.charter(self.installation))?;
        Ok(Validated {
            approvers: policy.intent.approvers.len(),
            profiles: policy.intent.profiles.len(),
            keys: policy.intent.keys.keys().cloned().collect(),
            warnings: policy.warnings,
        })
    }

    /// The effective rules of a key, and where each comes from.
    ///
    /// # Errors
    /// Problems of the files, or no such key.
    pub fn explain(&self, request: &ExplainRequest) -> Result<serde_json::Value, Vec<Problem>> {
        let policy = self.load(&request.sources)?;
        let explanation = policy.explain(&request.key).map_err(|problem| vec![*problem])?;
        let structured = serde_json::to_value(explanation).map_err(|error| vec![uncanonical(&error)])?;
        Ok(serde_json::json!({ "text": explanation.to_string(), "explanation": structured }))
    }

    /// Surveys every destination, works out what has to change, and proposes it.
    ///
    /// # Errors
    /// Problems of the policy files, of the ledger, or of the token. What stands in the way of a single key is in the plan.
    pub async fn plan(&self, request: &PlanRequest, proposer: &Actor) -> Result<Planned, Vec<Problem>> {
        let policy = self.load(&request.sources)?;
        let one = |problem: Problem| vec![problem];
        // First, so that the keys are planned anew.
        let unended = self.engine.finish_withdrawals(Asked { by: proposer, at: self.engine.clock.now() }).await.map_err(one)?;
        let sealed = self.charter().await.map_err(one)?;
        let wanted = policy.intent.charter(self.installation);
        if sealed.charter != wanted {
            adoptable(&wanted)?;
            let detail = "approvers or approval rules in the policy are not those in force; they are changed only under the old rules";
            return Err(one(Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter")));
        }
        let custody = self.custody(&sealed).await.map_err(one)?;
        let ledger = &self.engine.ledger;
        let now = self.engine.clock.now();
        let asked = Asked { by: proposer, at: now };
        ledger.put_intent(&policy.intent, "files", asked).await.map_err(|error| one(error.problem()))?;
        let before = ledger.snapshot().await.map_err(|error| one(error.problem()))?;
        let looked = self.look(&policy.intent, &before, proposer).await.map_err(one)?;
        // Read after the looks. Anything a look shows is already recorded here, so it is not mistaken for drift.
        let snapshot = ledger.snapshot().await.map_err(|error| one(error.problem()))?;

        let plan = keyplane_planner::plan(&PlanInput {
            intent: &policy.intent,
            destinations: &self.destinations,
            before: &before,
            ledger: &snapshot,
            inventories: &looked.inventories,
            custody: &custody,
            proposer,
            now: self.engine.clock.now(),
            ids: self.ids(),
        });
        let mut held = BTreeMap::new();
        for change_set in &plan.change_sets {
            let proposed = self.propose(change_set, &policy.intent, &snapshot, &sealed.charter, asked).await;
            proposed.or_else(|problem| hold(&mut held, &change_set.key, problem))?;
        }
        for open in snapshot.open.values().filter(|open| plan.outdated.contains(&open.digest)) {
            // If another request committed it meanwhile, the look may show part of its effects, so the next plan decides.
            let withdrawn = self.engine.withdraw(&open.digest, "it does not fit any more", asked).await;
            withdrawn.or_else(|problem| hold(&mut held, &open.change_set.key, problem))?;
        }
        self.told(&plan, &looked, &held, [policy.warnings, unended].concat()).await.map_err(one)
    }

    /// Proposes a change set in place of the one that is open for its key.
    async fn propose(
        &self,
        change_set: &ChangeSet,
        intent: &Intent,
        snapshot: &LedgerSnapshot,
        charter: &Charter,
        asked: Asked<'_>,
    ) -> Result<(), Problem> {
        self.judge(change_set, intent, snapshot, charter)?;
        self.engine.propose(change_set, snapshot.open.get(&change_set.key_id), asked).await.map(drop)
    }

    /// The token's abilities, in the planner's terms.
    ///
    /// # Errors
    /// When the token does not hold this charter: the custodian would refuse everything that people approve under it.
    async fn custody(&self, sealed: &SealedCharter) -> Result<Custody, Problem> {
        let status = self.engine.custodian.status().await.map_err(|error| error.problem())?;
        let unenrolled = |detail| Problem::new(ProblemCode::TokenNotEnrolled, detail, "keyplane hsm enroll");
        let epoch = status.epoch.ok_or_else(|| unenrolled("the token holds no root epoch"))?;
        let (serial, digest) = status.charter.ok_or_else(|| unenrolled("the token holds no charter"))?;
        let id = sealed.id().map_err(|error| uncanonical(&error))?;
        if (serial, digest) != (id.serial, id.digest) {
            let detail =
                format!("the token's charter is {serial} {digest}, the database's is {id}; nothing is wrapped until they are the same");
            let next = if serial < id.serial {
                format!("configure the token that holds charter {}, then `keyplane config check`", id.serial)
            } else {
                "keyplane hsm charter".to_owned()
            };
            return Err(Problem::new(ProblemCode::CharterChanged, detail, next));
        }
        let usable = status.routes.into_iter().filter(|route| route.way.is_some());
        let schemes = usable.map(|route| (route.scheme, route.algorithms.into_iter().collect::<BTreeSet<_>>())).collect();
        Ok(Custody { epoch, derives: status.derives, schemes })
    }

    /// Surveys every destination, concurrently. A destination that does not answer does not stop planning for the others.
    async fn look(&self, intent: &Intent, snapshot: &LedgerSnapshot, by: &Actor) -> Result<World, Problem> {
        let targets = keyplane_planner::targets(intent, &self.destinations, snapshot, self.ids(), self.installation);
        let none: &[Target] = &[];
        let surveys = self.engine.lanes.iter().map(|(name, lane)| {
            let targets = targets.get(name).map_or(none, Vec::as_slice);
            async move { (name.clone(), lane.survey(targets, self.engine.clock.as_ref()).await) }
        });
        let mut world = World::default();
        for (name, result) in join_all(surveys).await {
            match result {
                Ok(Looked { inventory, problems }) => {
                    self.engine
                        .ledger
                        .put_inventory(&name, &inventory, Asked { by, at: self.engine.clock.now() })
                        .await
                        .map_err(|error| error.problem())?;
                    world.inventories.insert(name, inventory);
                    world.keys.extend(
                        problems.into_iter().filter_map(|problem| Some(((problem.key.clone()?, problem.destination.clone()?), problem))),
                    );
                }
                Err(problem) => {
                    world.destinations.insert(name, problem);
                }
            }
        }
        Ok(world)
    }

    fn judge(&self, change_set: &ChangeSet, intent: &Intent, snapshot: &LedgerSnapshot, charter: &Charter) -> Result<(), Problem> {
        let facts = verifier::Facts {
            charter,
            installation: self.installation,
            now: self.engine.clock.now(),
            record: snapshot.keys.get(&change_set.key),
            key: intent.keys.get(&change_set.key),
            destinations: Some(&self.destinations),
        };
        verifier::judge(change_set, &facts).map_err(|violations| {
            let detail = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Problem::new(ProblemCode::ChangeSetRefused, format!("the plan breaks a rule: {detail}"), "keyplane status").key(&change_set.key)
        })
    }

    /// The plan as the API returns it, with every change set that is open now. `held`: the keys whose change sets could not be proposed or
    /// withdrawn, and why.
    async fn told(
        &self,
        plan: &Plan,
        world: &World,
        held: &BTreeMap<KeyName, Problem>,
        warnings: Vec<Problem>,
    ) -> Result<Planned, Problem> {
        let snapshot = self.engine.ledger.snapshot().await.map_err(|error| error.problem())?;
        let seconds = plan.report.lanes.values().copied().max().unwrap_or(Span::ZERO).to_std().as_secs_f64().ceil();
        let mut change_sets: Vec<_> = snapshot
            .open
            .values()
            .map(|record| {
                let mut view = self.show(record);
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span is not negative, and far below 2^53 s")]
                {
                    view.seconds = seconds as u64;
                }
                view
            })
            .collect();
        change_sets.sort_by(|a, b| a.key.cmp(&b.key));
        let keys = plan.report.keys.iter().map(|(key, report)| {
            // A binary search: scanning all change sets for each key would take quadratic time.
            let open =
                change_sets.binary_search_by(|view| view.key.cmp(key)).ok().and_then(|at| change_sets.get(at)).map(|view| view.digest);
            match held.get(key) {
                None => planned_key(key, report, open, world),
                Some(problem) => {
                    let (verdict, reason) = (Verdict::Blocked, problem.detail.clone());
                    PlannedKey { key: key.clone(), verdict, reason, digest: open, problem: Some(problem.clone()) }
                }
            }
        });
        let keys = keys.collect();
        let mut warnings = warnings;
        warnings
            .extend(plan.report.warnings.iter().map(|warning| Problem::new(ProblemCode::Drift, warning.to_string(), "keyplane status")));
        warnings.extend(world.destinations.values().cloned());
        Ok(Planned { change_sets, keys, warnings })
    }
}

/// What the surveys showed, and what they could not read.
#[derive(Default)]
struct World {
    /// Destinations that could be read.
    inventories: BTreeMap<DestinationName, Inventory>,
    /// Why a destination could not be read at all.
    destinations: BTreeMap<DestinationName, Problem>,
    /// Why a key's placement could not be read, at a destination where others could.
    keys: BTreeMap<(KeyName, DestinationName), Problem>,
}

/// Tells a problem with its key, so that the other keys are planned.
///
/// # Errors
/// When the database does not answer, or memory is short, which is the same for every key.
fn hold(held: &mut BTreeMap<KeyName, Problem>, key: &KeyName, problem: Problem) -> Result<(), Vec<Problem>> {
    if matches!(problem.code, ProblemCode::DatabaseFailed | ProblemCode::ResourcesShort) {
        return Err(vec![problem]);
    }
    held.insert(key.clone(), problem.key(key));
    Ok(())
}

fn planned_key(key: &KeyName, report: &KeyReport, open: Option<keyplane_model::Digest>, world: &World) -> PlannedKey {
    let problem = report.findings.first().map(|finding| cause(key, finding, world));
    let (verdict, reason) = match &report.outcome {
        Outcome::Change { reasons, .. } => (Verdict::Change, reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        Outcome::Nothing { reason } => (if open.is_some() { Verdict::Change } else { Verdict::Nothing }, reason.to_string()),
        Outcome::Blocked => {
            let reasons: Vec<String> = report.findings.iter().map(|finding| cause(key, finding, world).detail).collect();
            (Verdict::Blocked, reasons.join("; "))
        }
    };
    PlannedKey { key: key.clone(), verdict, reason, digest: open, problem }
}

/// A finding as a problem. If the placement could not be read, the problem says why.
fn cause(key: &KeyName, finding: &Finding, world: &World) -> Problem {
    let unseen = || {
        let place = (key.clone(), finding.destination.clone());
        world.keys.get(&place).or_else(|| world.destinations.get(&finding.destination)).map(|problem| problem.clone().key(key))
    };
    match finding.obstacle {
        Obstacle::NotLookedAt => unseen().unwrap_or_else(|| finding.problem(key)),
        _ => finding.problem(key),
    }
}
