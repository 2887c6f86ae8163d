//! The steps that come before any placement's way to its cloud: bytes are generated or derived, and shared, before anything is imported.
//!
//! Nothing outside of the ledger changes: a crash before the receipt leaves nothing that anybody uses.

use keyplane_model::{Act, CopyCoordinates, DestinationName, Outcome, PlacementPlan, ProblemCode, Receipt, Step, StepNo};
use keyplane_port::MintRequest;

use crate::job::{Job, Stop};

/// Whether a step belongs to the prologue.
pub(crate) fn has(act: &Act) -> bool {
    matches!(act, Act::Mint { .. } | Act::Share { .. })
}

/// Brings a step of the prologue to its receipt.
pub(crate) async fn run(job: &Job<'_>, number: StepNo, step: &Step, plan: &PlacementPlan) -> Result<(), Stop> {
    let outcome = match &step.act {
        Act::Mint { version, source, epoch } => {
            let coordinates = CopyCoordinates {
                installation: job.record.change_set.installation,
                key: job.record.change_set.key_id,
                version: *version,
                placement: step.placement,
                algorithm: plan.algorithm,
                source: *source,
                epoch: *epoch,
                profile: job.record.change_set.profile.clone(),
                approvals: job.record.change_set.approvals.clone(),
            };
            mint(job, number, coordinates, &plan.destination).await?
        }
        Act::Share { from, .. } => Outcome::Shared { from: *from },
        Act::Create
        | Act::Claim
        | Act::Prepare { .. }
        | Act::Import { .. }
        | Act::Publish
        | Act::RemoveSurplus { .. }
        | Act::DisableSurplus { .. }
        | Act::FollowSecond { .. } => {
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
