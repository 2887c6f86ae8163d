//! The pass for surplus objects: they have our marks, are no placement's object and are empty. Attempts whose reply was lost leave them
//! behind.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Act, Creation, DestinationName, KeyRecord, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementPlan,
    PlacementRecord, Reason, Step,
};

use crate::drift::Drift;
use crate::input::PlanInput;
use crate::placements::{Work, expectation, look};
use crate::report::{Finding, Obstacle, Warning};

/// The most objects that one change set removes. The next change set takes the others.
const MAX_REMOVALS: usize = 100;

/// The objects with this installation's marks, by destination and placement. Grouped once for each plan, so that no placement has to search
/// all of them.
pub(crate) struct Marked<'a>(BTreeMap<(&'a DestinationName, PlacementId), Vec<&'a ObjectSeen>>);

impl<'a> Marked<'a> {
    pub(crate) fn of(input: &PlanInput<'a>) -> Self {
        let mut marked: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (destination, inventory) in input.inventories {
            for object in inventory.ours.values() {
                if let Some(marks) = object.marks.as_ref().filter(|marks| marks.installation == input.ledger.installation) {
                    marked.entry((destination, marks.placement)).or_default().push(object);
                }
            }
        }
        Self(marked)
    }

    /// Sorted by id.
    fn at<'b>(&'b self, destination: &'b DestinationName, placement: PlacementId) -> &'b [&'b ObjectSeen] {
        self.0.get(&(destination, placement)).map_or(&[], Vec::as_slice)
    }
}

/// The surplus objects and second imports of a key, and the steps that remove them.
///
/// Nothing is removed without a complete sweep and a direct look at the placement. An object is in use if the look shows it as claimed or
/// published, or if the ledger records it. An object that holds material, or does not show that it is empty, is drift and is never removed.
/// The caller makes sure that no change set runs for the key.
pub(crate) fn work(input: &PlanInput<'_>, marked: &Marked<'_>, record: &KeyRecord) -> Work {
    let mut work = Work::default();
    let mut removals = 0;
    for (placement, known) in &record.placements {
        let Some((inventory, seen)) = look(input, &known.destination, *placement) else { continue };
        let Some(destination) = input.destinations.get(&known.destination) else { continue };
        if destination.fingerprint != known.fingerprint {
            continue;
        }
        let in_use: BTreeSet<&ObjectId> =
            [&seen.claimed, &seen.published].into_iter().flatten().map(|object| &object.object).chain(&known.object).collect();
        let mut steps = Vec::new();
        // Of two imports of one version, the one that protects new data stays. If neither does, the recorded one stays.
        let activates = destination.capabilities.creation == Creation::Imported;
        for double in seen.claimed.iter().filter(|_| inventory.complete).flat_map(|object| doubles(object, record, *placement)) {
            let Double { object, material, keeps } = double;
            let at = known.destination.clone();
            let (act, reason) = if !activates {
                let reason = Reason::DoubleImport { object: object.clone(), material: material.clone(), destination: at };
                (Act::DisableSurplus { object, material, keeps }, reason)
            } else if record.copies.iter().any(|copy| copy.coordinates.placement == *placement && copy.material.as_ref() == Some(&material))
            {
                // INVARIANT: where an import activates itself, the first one was current until the second came, and may have been used. It
                // is never disabled as surplus (rule 2). Once the second one is recorded, nothing is left to do.
                let reason = Reason::SecondImport { object: object.clone(), material: keeps.clone(), destination: at };
                (Act::FollowSecond { object, material, keeps }, reason)
            } else {
                continue;
            };
            if removals < MAX_REMOVALS {
                removals += 1;
                steps.push(Step { placement: *placement, expects: expectation(&act), act });
                work.reasons.push(reason);
            }
        }
        for object in marked.at(&known.destination, *placement).iter().filter(|object| !in_use.contains(&object.object)) {
            match &object.state {
                ObjectState::DeletionScheduled(_) => {}
                ObjectState::AwaitingMaterial if object.is_empty() => {
                    if inventory.complete && removals < MAX_REMOVALS {
                        removals += 1;
                        let act = Act::RemoveSurplus { object: object.object.clone() };
                        steps.push(Step { placement: *placement, expects: expectation(&act), act });
                        work.reasons.push(Reason::SurplusObject { object: object.object.clone(), destination: known.destination.clone() });
                    }
                }
                ObjectState::AwaitingMaterial | ObjectState::Usable | ObjectState::Disabled | ObjectState::Other => {
                    work.findings.push(Finding {
                        placement: *placement,
                        destination: known.destination.clone(),
                        name: known.name.clone(),
                        obstacle: Obstacle::Drift(Drift::SurplusWithMaterial { object: object.object.clone() }),
                    });
                }
            }
        }
        if !steps.is_empty() {
            work.placements.push((*placement, plan(known), steps));
        }
    }
    work
}

struct Double {
    object: ObjectId,
    material: String,
    keeps: String,
}

/// Second imports of one version, each to be disabled or recorded.
fn doubles(object: &ObjectSeen, record: &KeyRecord, placement: PlacementId) -> Vec<Double> {
    let mut found = Vec::new();
    for copy in record.copies.iter().filter(|copy| copy.coordinates.placement == placement && copy.imported.is_some()) {
        let of_version: Vec<&MaterialSeen> = object
            .materials
            .iter()
            .filter(|material| material.version == Some(copy.coordinates.version) && material.is_present() && material.id.is_some())
            .collect();
        let current = of_version.iter().find(|material| material.state == MaterialState::Current);
        let kept = current.or_else(|| of_version.iter().find(|material| material.id == copy.material));
        let Some(keeps) = kept.and_then(|kept| kept.id.clone()) else { continue };
        let others = of_version.iter().filter_map(|material| material.id.clone()).filter(|id| *id != keeps);
        found.extend(others.map(|material| Double { object: object.object.clone(), material, keeps: keeps.clone() }));
    }
    found
}

/// Objects with our marks whose placement the ledger does not know.
pub(crate) fn unknown(input: &PlanInput<'_>) -> impl Iterator<Item = Warning> {
    let known: BTreeSet<(&DestinationName, PlacementId)> = input
        .ledger
        .keys
        .values()
        .flat_map(|record| &record.placements)
        .map(|(placement, known)| (&known.destination, *placement))
        .collect();
    let installation = input.ledger.installation;
    input.inventories.iter().flat_map(move |(destination, inventory)| {
        let known = known.clone();
        inventory
            .ours
            .values()
            .filter(move |object| {
                !matches!(object.state, ObjectState::DeletionScheduled(_))
                    && object
                        .marks
                        .as_ref()
                        .is_some_and(|marks| marks.installation == installation && !known.contains(&(destination, marks.placement)))
            })
            .map(|object| Warning::UnknownObject { destination: destination.clone(), object: object.object.clone() })
    })
}

fn plan(known: &PlacementRecord) -> PlacementPlan {
    PlacementPlan {
        destination: known.destination.clone(),
        fingerprint: known.fingerprint,
        cloud: known.cloud,
        name: known.name.clone(),
        algorithm: known.algorithm,
        purpose: known.purpose,
        incarnation: known.incarnation,
    }
}
