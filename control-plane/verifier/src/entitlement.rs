//! What the custodian may do for one step of a change set.

use keyplane_model::{Act, ChangeSet, CopyCoordinates, IdTree, PlacementId, PlacementPlan, StepNo, WrapScheme};

/// What a step allows: its act, at its placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement<'a> {
    /// The act of the step.
    pub act: &'a Act,
    /// The placement that the step acts on.
    pub placement: PlacementId,
    /// What the change set says about that placement.
    pub plan: &'a PlacementPlan,
}

/// Why a request is not what the step allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The change set has no such step.
    #[error("the change set has no step {0}")]
    NoStep(StepNo),
    /// The change set does not describe the placement of the step.
    #[error("step {step} is for placement {placement}, which the change set does not describe")]
    NoPlacement {
        /// The number of the step.
        step: StepNo,
        /// The placement.
        placement: PlacementId,
    },
    /// The step does something else than what was asked for.
    #[error("step {step} is `{act}`, not `{asked}`")]
    OtherAct {
        /// The number of the step.
        step: StepNo,
        /// The word for what the step does.
        act: &'static str,
        /// The word for what was asked for.
        asked: &'static str,
    },
    /// The step is for another copy than what was asked for.
    #[error("step {step} is for another copy: the {field} differs")]
    OtherCopy {
        /// The number of the step.
        step: StepNo,
        /// The first field in which the copies differ.
        field: &'static str,
    },
    /// The step wraps by another scheme than what was asked for.
    #[error("step {step} wraps by `{planned}`, not `{asked}`")]
    OtherScheme {
        /// The number of the step.
        step: StepNo,
        /// The step's scheme.
        planned: WrapScheme,
        /// The scheme that was asked for.
        asked: WrapScheme,
    },
}

/// What a step allows.
///
/// # Errors
/// When the change set has no such step, or does not describe its placement.
pub fn entitles(change_set: &ChangeSet, step: StepNo) -> Result<Entitlement<'_>, Denial> {
    let found = change_set.step(step).ok_or(Denial::NoStep(step))?;
    let plan = change_set.placements.get(&found.placement).ok_or(Denial::NoPlacement { step, placement: found.placement })?;
    Ok(Entitlement { act: &found.act, placement: found.placement, plan })
}

/// Whether a step allows making exactly this copy.
///
/// # Errors
/// When there is no such step, when it makes no bytes, or when it is for another copy.
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
    // What is made now is bound to whose approvals it had.
    if copy.profile != change_set.profile {
        return other("profile");
    }
    if copy.approvals != change_set.approvals {
        return other("rule of approval");
    }
    Ok(())
}

/// Whether a step allows wrapping this copy by this scheme. A copy that the change set itself makes has to be the one that it makes. Source, epoch, profile and approvals of an older copy are
/// not compared: they were recorded when it was made, and [`crate::required`] asks for the approvals of both.
///
/// # Errors
/// When there is no such step, when it is no import, or when it is for another copy or scheme.
pub fn may_wrap(change_set: &ChangeSet, step: StepNo, copy: &CopyCoordinates, scheme: WrapScheme) -> Result<(), Denial> {
    let entitlement = entitles(change_set, step)?;
    let Act::Import { version, scheme: planned, of } = entitlement.act else {
        return Err(Denial::OtherAct { step, act: entitlement.act.word(), asked: "import" });
    };
    // If placements share bytes, the approved step names the placement that they were made for.
    let entitlement = Entitlement { placement: of.unwrap_or(entitlement.placement), ..entitlement };
    same_copy(change_set, &entitlement, step, copy)?;
    if copy.version != *version {
        return Err(Denial::OtherCopy { step, field: "version" });
    }
    // What the same change set makes is imported as it makes it: its approvers read that.
    let makes = change_set
        .steps_of(entitlement.placement)
        .find(|(_, step)| matches!(&step.act, Act::Mint { version: made, .. } if made == version));
    if let Some((number, _)) = makes {
        may_mint(change_set, number, copy)?;
    }
    if *planned != scheme {
        return Err(Denial::OtherScheme { step, planned: *planned, asked: scheme });
    }
    Ok(())
}

/// Compares what every request has to agree on: installation, key, placement and algorithm.
///
/// INVARIANT: ids are those of the names that approvers read (ADR 2). Otherwise a change set could show one key's name and act by the id
/// of another.
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
    let ids = IdTree::of(change_set.installation);
    if copy.key != ids.key(change_set.key.as_str()) {
        return other("key of that name");
    }
    // Bytes that are shared were made for a placement that an earlier change set described, of the same key.
    if let Some(plan) = change_set.placements.get(&copy.placement)
        && copy.placement != ids.placement(copy.key, plan.destination.as_str(), &plan.name)
    {
        return other("placement of that name");
    }
    if copy.algorithm != entitlement.plan.algorithm {
        return other("algorithm");
    }
    Ok(())
}
