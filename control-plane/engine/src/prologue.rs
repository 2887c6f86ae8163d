//! The first steps of a change set, before any request to a cloud: the copies' bytes are generated or derived, and shared.
//!
//! Only the ledger changes. A crash before the receipt leaves nothing that is ever used.

use keyplane_model::{Act, CopyAct, CopyCoordinates, DestinationName, Outcome, PlacementPlan, ProblemCode, Receipt, Step, StepNo};
use keyplane_port::MintRequest;

use crate::job::Job;
use crate::stop::Stop;

pub(crate) fn has(act: &Act) -> bool {
    match act.on_copy() {
        Some(CopyAct::Mint { .. } | CopyAct::Share { .. }) => true,
        Some(CopyAct::Prepare { .. } | CopyAct::Import { .. }) | None => false,
    }
}

/// Runs a step of the prologue and writes its receipt.
pub(crate) async fn run(job: &Job<'_>, number: StepNo, step: &Step, plan: &PlacementPlan) -> Result<(), Stop> {
    let outcome = match step.act.on_copy() {
        Some(CopyAct::Mint { version, source, epoch }) => {
            let coordinates = CopyCoordinates {
                installation: job.record.change_set.installation,
                key: job.record.change_set.key_id,
                version,
                placement: step.placement,
                algorithm: plan.algorithm,
                source,
                epoch,
                profile: job.record.change_set.profile.clone(),
                approvals: job.record.change_set.approvals.clone(),
            };
            mint(job, number, coordinates, &plan.destination).await?
        }
        Some(CopyAct::Share { from, .. }) => Outcome::Shared { from },
        Some(CopyAct::Prepare { .. } | CopyAct::Import { .. }) | None => {
            let detail = "a step at a cloud in the prologue";
            return Err(job.held(job.problem(ProblemCode::Internal, detail, "keyplane status")));
        }
    };
    job.receive(Receipt { step: number, attempt: None, outcome, at: job.ports.clock.now() }, None).await?;
    job.received(step, &plan.destination, false);
    Ok(())
}

async fn mint(job: &Job<'_>, step: StepNo, coordinates: CopyCoordinates, destination: &DestinationName) -> Result<Outcome, Stop> {
    let request = MintRequest { step, coordinates: coordinates.clone() };
    let minted = job.ports.custodian.mint(job.warrant, &request).await.map_err(|error| job.custodian(&error, destination))?;
    Ok(Outcome::Minted { coordinates, check_value: minted.check_value, blob: minted.blob, public_key: minted.public_key })
}
