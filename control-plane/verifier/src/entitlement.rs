//! What the custodian may do for one step of a change set.

use keyplane_model::{Act, ChangeSet, CopyCoordinates, IdTree, PlacementId, PlacementPlan, StepNo, WrapScheme};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entitlement<'a> {
    pub act: &'a Act,
    pub placement: PlacementId,
    pub plan: &'a PlacementPlan,
}

/// Why the custodian denies a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("the change set has no step {0}")]
    NoStep(StepNo),
    #[error("step {step} is for placement {placement}, which the change set does not describe")]
    NoPlacement { step: StepNo, placement: PlacementId },
    /// The request is for another act than the step's.
    #[error("step {step} is `{act}`, not `{asked}`")]
    OtherAct {
        step: StepNo,
        /// The step's act.
        act: &'static str,
        /// The requested act.
        asked: &'static str,
    },
    /// The request is for another copy than the step's.
    #[error("step {step} is for another copy: the {field} differs")]
    OtherCopy {
        step: StepNo,
        /// The first field that differs.
        field: &'static str,
    },
    /// An import names the copy that it imports if and only if an earlier change set made it.
    #[error("step {step} does not say whether the copy was made before, or says both")]
    MadeWhen { step: StepNo },
    /// The request is for another scheme than the step's.
    #[error("step {step} wraps by `{planned}`, not `{asked}`")]
    OtherScheme { step: StepNo, planned: WrapScheme, asked: WrapScheme },
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
    // New bytes are bound to the approvals they are made under.
    if copy.profile != change_set.profile {
        return other("profile");
    }
    if copy.approvals != change_set.approvals {
        return other("rule of approval");
    }
    Ok(())
}

/// Whether a step allows wrapping this copy by this scheme. If the change set itself makes the copy, it has to be exactly that one.
/// Otherwise it has to be the one that the step names: approvers saw under which profile and rule it was made. [`crate::required`] asks for
/// the approvals of both.
///
/// # Errors
/// When there is no such step, when it is no import, or when it is for another copy or scheme.
pub fn may_wrap(change_set: &ChangeSet, step: StepNo, copy: &CopyCoordinates, scheme: WrapScheme) -> Result<(), Denial> {
    let entitlement = entitles(change_set, step)?;
    let Act::Import { version, scheme: planned, of, made } = entitlement.act else {
        return Err(Denial::OtherAct { step, act: entitlement.act.word(), asked: "import" });
    };
    // If placements share bytes, the approved step names the placement that the bytes were made for.
    let entitlement = Entitlement { placement: of.unwrap_or(entitlement.placement), ..entitlement };
    same_copy(change_set, &entitlement, step, copy)?;
    if copy.version != *version {
        return Err(Denial::OtherCopy { step, field: "version" });
    }
    // If the change set makes the copy, its coordinates are those that the approvers read.
    let makes = change_set
        .steps_of(entitlement.placement)
        .find(|(_, step)| matches!(&step.act, Act::Mint { version: made, .. } if made == version));
    match (makes, made) {
        (Some((number, _)), None) => may_mint(change_set, number, copy)?,
        (None, Some(made)) => same_making(step, made, copy)?,
        (Some(_), Some(_)) | (None, None) => return Err(Denial::MadeWhen { step }),
    }
    if *planned != scheme {
        return Err(Denial::OtherScheme { step, planned: *planned, asked: scheme });
    }
    Ok(())
}

/// Compares how a copy was made with what the step says of it.
fn same_making(step: StepNo, made: &CopyCoordinates, copy: &CopyCoordinates) -> Result<(), Denial> {
    let CopyCoordinates { installation, key, version, placement, algorithm, source, epoch, profile, approvals } = made;
    let fields = [
        ("installation", *installation == copy.installation),
        ("key", *key == copy.key),
        ("version", *version == copy.version),
        ("placement", *placement == copy.placement),
        ("algorithm", *algorithm == copy.algorithm),
        ("source", *source == copy.source),
        ("root epoch", *epoch == copy.epoch),
        ("profile", *profile == copy.profile),
        ("rule of approval", *approvals == copy.approvals),
    ];
    fields.into_iter().try_for_each(|(field, same)| if same { Ok(()) } else { Err(Denial::OtherCopy { step, field }) })
}

/// Compares what every request has to match: installation, key, placement and algorithm.
///
/// INVARIANT: ids are those of the names that approvers read (ADR 2). Otherwise a change set could show the name of one key and use the id
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
    // Shared bytes were made for a placement of the same key, which an earlier change set may have described.
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
