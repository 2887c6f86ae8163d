//! What one step of a change set entitles to.

use keyplane_model::{Act, ChangeSet, CopyCoordinates, PlacementId, PlacementPlan, StepNo, WrapScheme};

/// What a step says: the act, and the placement as the change set treats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement<'a> {
    /// What the step does.
    pub act: &'a Act,
    /// For which placement.
    pub placement: PlacementId,
    /// What the change set says of the placement.
    pub plan: &'a PlacementPlan,
}

/// What is asked for is not what the step says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The change set has no such step.
    #[error("the change set has no step {0}")]
    NoStep(StepNo),
    /// The step is for a placement that the change set does not describe.
    #[error("step {step} is for placement {placement}, which the change set does not describe")]
    NoPlacement {
        /// Which step.
        step: StepNo,
        /// Which placement.
        placement: PlacementId,
    },
    /// The step does something else.
    #[error("step {step} is `{act}`, not `{asked}`")]
    OtherAct {
        /// Which step.
        step: StepNo,
        /// What it does.
        act: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
    /// The step is for another copy.
    #[error("step {step} is for another copy: the {field} differs")]
    OtherCopy {
        /// Which step.
        step: StepNo,
        /// What differs.
        field: &'static str,
    },
    /// The step wraps in another way.
    #[error("step {step} wraps by `{planned}`, not `{asked}`")]
    OtherScheme {
        /// Which step.
        step: StepNo,
        /// What it says.
        planned: WrapScheme,
        /// What was asked for.
        asked: WrapScheme,
    },
}

/// What a step says.
///
/// # Errors
/// When the change set has no such step, or does not describe its placement.
pub fn entitles(change_set: &ChangeSet, step: StepNo) -> Result<Entitlement<'_>, Denial> {
    let found = change_set.step(step).ok_or(Denial::NoStep(step))?;
    let plan = change_set.placements.get(&found.placement).ok_or(Denial::NoPlacement { step, placement: found.placement })?;
    Ok(Entitlement { act: &found.act, placement: found.placement, plan })
}

/// Whether a step entitles to making exactly this copy.
///
/// # Errors
/// When the step is not there, is no mint, or is for other coordinates.
pub fn may_mint(change_set: &ChangeSet, step: StepNo, copy: &CopyCoordinates) -> Result<(), Denial> {
    let entitlement = entitles(change_set, step)?;
    let Act::Mint { version, source, epoch } = entitlement.act else {
        return Err(Denial::OtherAct { step, act: entitlement.act.word(), asked: "mint" });
    };
    let other = |field| Err(Denial::OtherCopy { step, field });
    same_copy(change_set, &entitlement, step, copy)?;
    if copy.version != *version {
        return other("version");
    }
    if copy.source != *source {
        return other("source");
    }
    if copy.epoch != *epoch {
        return other("root epoch");
    }
    Ok(())
}

/// Whether a step entitles to wrapping this copy in this way. Source and epoch are the copy's own, recorded when it was made.
///
/// # Errors
/// When the step is not there, is no import, or is for another copy or scheme.
pub fn may_wrap(change_set: &ChangeSet, step: StepNo, copy: &CopyCoordinates, scheme: WrapScheme) -> Result<(), Denial> {
    let entitlement = entitles(change_set, step)?;
    let Act::Import { version, scheme: planned, of } = entitlement.act else {
        return Err(Denial::OtherAct { step, act: entitlement.act.word(), asked: "import" });
    };
    // What was approved says whose bytes they are.
    let entitlement = Entitlement { placement: of.unwrap_or(entitlement.placement), ..entitlement };
    same_copy(change_set, &entitlement, step, copy)?;
    if copy.version != *version {
        return Err(Denial::OtherCopy { step, field: "version" });
    }
    if *planned != scheme {
        return Err(Denial::OtherScheme { step, planned: *planned, asked: scheme });
    }
    Ok(())
}

/// What both have to agree on: whose copy it is, and where.
fn same_copy(change_set: &ChangeSet, entitlement: &Entitlement<'_>, step: StepNo, copy: &CopyCoordinates) -> Result<(), Denial> {
    let other = |field| Err(Denial::OtherCopy { step, field });
    if copy.installation != change_set.installation {
        return other("installation");
    }
    if copy.key != change_set.key_id {
        return other("key");
    }
    if copy.placement != entitlement.placement {
        return other("placement");
    }
    if copy.algorithm != entitlement.plan.algorithm {
        return other("algorithm");
    }
    Ok(())
}
