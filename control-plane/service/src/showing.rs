//! Which copies are where, the evidence for them, and change sets for people.

use futures::future::join_all;
use keyplane_api::{ChangeSetView, CopyLine, EvidenceLine, EvidenceTable, KeyStatus, ProposedCharter, StatusReport};
use keyplane_model::{ChangeSetRecord, CopyRecord, KeyRecord, PlacementRecord, Problem, Target};

use crate::Service;

impl Service {
    /// Every key with its copies, every open change set, and every proposed charter that can still be approved; from the ledger alone.
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
        // Before the first charter there is nothing that another one could follow.
        let charters = match self.engine.ledger.charter().await.map_err(|error| error.problem())? {
            Some(sealed) => self.open_charters(&sealed).await?,
            None => Vec::new(),
        };
        let charters = charters.into_iter().map(|open| ProposedCharter::of(&open.proposal, open.missing));
        Ok(StatusReport { keys: keys.collect(), open, charters: charters.collect() })
    }

    /// Reads from every destination what shows that it holds the right copies, and from the custodian what else left the HSM. Changes
    /// nothing.
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
        table.problems.extend(self.unknown_wraps().await);
        Ok(table)
    }

    /// A change set for people. Its time is 0, since only a plan knows it.
    pub(crate) fn show(&self, record: &ChangeSetRecord) -> ChangeSetView {
        let by = record.approvals.iter().map(|approval| approval.approver.clone()).collect();
        let done = record.receipts.keys().copied().collect();
        ChangeSetView::of(&record.change_set, record.digest, record.state, by, &done)
    }
}

/// The copies of a key, each with its placement.
fn copies(record: &KeyRecord) -> impl Iterator<Item = (&PlacementRecord, &CopyRecord)> {
    record.copies.iter().filter_map(|copy| Some((record.placements.get(&copy.coordinates.placement)?, copy)))
}
