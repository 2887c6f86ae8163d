//! Which copies are where, what shows that they are, and how change sets are shown.

use futures::future::join_all;
use keyplane_api::{ChangeSetView, CopyLine, EvidenceLine, EvidenceTable, KeyStatus, StatusReport, StepView};
use keyplane_model::{Act, ChangeSetRecord, CopyRecord, KeyRecord, PlacementRecord, Problem, StepNo, Target};

use crate::Service;

impl Service {
    /// Every key with its copies, and every open change set, as the ledger has them. Asks no cloud.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn status(&self) -> Result<StatusReport, Problem> {
        let snapshot = self.engine.ledger.snapshot().await.map_err(|error| error.problem())?;
        let mut open: Vec<ChangeSetView> = snapshot.open.values().map(|record| self.show(record)).collect();
        open.sort_by(|a, b| a.key.cmp(&b.key));
        let keys = snapshot.keys.values().map(|record| KeyStatus {
            key: record.name.clone(),
            profile: record.profile.clone(),
            generation: record.generation,
            copies: copies(record)
                .map(|(placement, copy)| CopyLine {
                    placement: copy.coordinates.placement,
                    destination: placement.destination.clone(),
                    name: placement.name.clone(),
                    object: placement.object.clone(),
                    version: copy.coordinates.version,
                    state: record
                        .versions
                        .get(&copy.coordinates.version)
                        .map_or(keyplane_model::VersionState::PreActivation, |version| version.state),
                    algorithm: copy.coordinates.algorithm,
                    purpose: placement.purpose,
                    source: copy.coordinates.source,
                    epoch: copy.coordinates.epoch,
                    check_value: copy.check_value,
                    imported: copy.imported,
                })
                .collect(),
        });
        Ok(StatusReport { keys: keys.collect(), open })
    }

    /// Asks every destination what shows, without any effect, that it holds the right copies.
    ///
    /// # Errors
    /// When the ledger cannot be read. Copies that could not be asked about are in [`EvidenceTable::problems`].
    pub async fn evidence(&self) -> Result<EvidenceTable, Problem> {
        let snapshot = self.engine.ledger.snapshot().await.map_err(|error| error.problem())?;
        let now = self.engine.clock.now();
        let imported = snapshot.keys.values().flat_map(|record| {
            copies(record).filter(|(_, copy)| copy.imported.is_some()).map(move |(placement, copy)| (record, placement, copy))
        });
        let looks = imported.map(|(record, placement, copy)| async move {
            let Some(lane) = self.engine.lanes.get(&placement.destination) else {
                let detail = format!("destination `{}` is not configured", placement.destination);
                let code = keyplane_model::ProblemCode::NameUnknown;
                return Err(Problem::new(code, detail, "keyplane config check").key(&record.name).destination(&placement.destination));
            };
            let target = Target {
                installation: self.installation,
                placement: copy.coordinates.placement,
                incarnation: placement.incarnation,
                name: placement.name.clone(),
                algorithm: placement.algorithm,
                purpose: placement.purpose,
                key: record.name.clone(),
            };
            let evidence = lane.evidence(&target, copy, now).await.map_err(|error| error.problem(lane.destination()).key(&record.name))?;
            Ok(EvidenceLine {
                key: record.name.clone(),
                destination: placement.destination.clone(),
                name: placement.name.clone(),
                object: placement.object.clone(),
                evidence,
            })
        });
        let mut table = EvidenceTable { lines: Vec::new(), problems: Vec::new() };
        for line in join_all(looks).await {
            match line {
                Ok(line) => {
                    if let Some(reason) = line.evidence.reason.as_ref().filter(|_| !line.evidence.fits) {
                        let detail = format!("nothing shows that `{}` at `{}` holds the key: {reason}", line.name, line.destination);
                        let problem = Problem::new(keyplane_model::ProblemCode::Drift, detail, "keyplane plan");
                        table.problems.push(problem.key(&line.key).destination(&line.destination));
                    }
                    table.lines.push(line);
                }
                Err(problem) => table.problems.push(problem),
            }
        }
        Ok(table)
    }

    /// A change set for people to read. The time that it takes is left at zero, since only a plan knows it.
    pub(crate) fn show(&self, record: &ChangeSetRecord) -> ChangeSetView {
        let change_set = &record.change_set;
        let steps = (0..).map(StepNo).zip(&change_set.steps).filter_map(|(number, step)| {
            let plan = change_set.placements.get(&step.placement)?;
            Some(StepView {
                act: step.act.word().to_owned(),
                destination: plan.destination.clone(),
                name: plan.name.clone(),
                algorithm: plan.algorithm,
                detail: detail(&step.act, &plan.name),
                done: record.receipts.contains_key(&number),
            })
        });
        ChangeSetView {
            digest: record.digest,
            key: change_set.key.clone(),
            profile: change_set.profile.clone(),
            action: change_set.action,
            state: record.state,
            proposer: change_set.proposer.to_string(),
            approvals: change_set.approvals.clone(),
            approved_by: record.approvals.iter().map(|approval| approval.approver.clone()).collect(),
            reasons: change_set.reasons.iter().map(ToString::to_string).collect(),
            steps: steps.collect(),
            seconds: 0,
        }
    }
}

/// The copies of a key, each with its placement.
fn copies(record: &KeyRecord) -> impl Iterator<Item = (&PlacementRecord, &CopyRecord)> {
    record.copies.iter().filter_map(|copy| Some((record.placements.get(&copy.coordinates.placement)?, copy)))
}

/// What a step does, in words.
fn detail(act: &Act, name: &str) -> String {
    match act {
        Act::Mint { version, source, epoch } => format!("version {version}, {source} in the HSM under root epoch {epoch}"),
        Act::Share { version, from } => format!("version {version} has the bytes of placement {from}"),
        Act::Create => "an object that takes material from outside, marked as ours".to_owned(),
        Act::Prepare { scheme, .. } => format!("a key of the destination's own, to wrap under by {scheme}"),
        Act::Claim => "the name that only one object can have".to_owned(),
        Act::Import { version, scheme, .. } => format!("version {version}, wrapped in the HSM by {scheme}"),
        Act::Publish => format!("`{name}` points at it"),
        Act::DisableSurplus { object, material, .. } => format!("`{material}` in `{object}`, imported late and unused, is disabled"),
        Act::FollowSecond { object, material, keeps } => {
            format!("the copy in `{object}` is `{keeps}` from now on, which came late; `{material}` stays for what it encrypted")
        }
        Act::RemoveSurplus { object } => format!("`{object}`, empty and unused, is scheduled for deletion"),
    }
}
