//! Identifies placements, and lists those that have to be looked at before planning.

use std::collections::BTreeMap;

use keyplane_model::{
    Destination, DestinationName, IdTree, InstallationId, Intent, KeyId, KeyName, KeyRecord, LedgerSnapshot, PlacementId, PlacementIntent,
    PlacementRecord, Purpose, Target,
};

/// The placements that have to be looked at before planning: those that are wanted or recorded at a configured destination, by id. A
/// destination with none has an empty list.
#[must_use]
pub fn targets(
    intent: &Intent,
    destinations: &BTreeMap<DestinationName, Destination>,
    ledger: &LedgerSnapshot,
    ids: IdTree,
    installation: InstallationId,
) -> BTreeMap<DestinationName, Vec<Target>> {
    let mut found: BTreeMap<&DestinationName, BTreeMap<PlacementId, Target>> =
        destinations.keys().map(|name| (name, BTreeMap::new())).collect();
    let mut add = |destination: &DestinationName, target: Target| {
        if let Some(at) = found.get_mut(destination) {
            at.insert(target.placement, target);
        }
    };
    for (name, key) in &intent.keys {
        let record = ledger.keys.get(name);
        let key_id = key_id(name, record, ids);
        for wanted in &key.placements {
            let (placement, known) = identify(wanted, record, key_id, ids);
            add(&wanted.destination, target(installation, placement, name, known, wanted, key.purpose));
        }
    }
    for (name, record) in &ledger.keys {
        for (placement, known) in &record.placements {
            add(&known.destination, recorded_target(installation, *placement, name, known));
        }
    }
    found.into_iter().map(|(name, targets)| (name.clone(), targets.into_values().collect())).collect()
}

/// The key's id in the ledger, or the id that a new key will get.
pub(crate) fn key_id(name: &KeyName, record: Option<&KeyRecord>, ids: IdTree) -> KeyId {
    record.map_or_else(|| ids.key(name.as_str()), |record| record.id)
}

/// The id of a wanted placement, and its record. Destination and name together identify a placement.
pub(crate) fn identify<'a>(
    wanted: &PlacementIntent,
    record: Option<&'a KeyRecord>,
    key: KeyId,
    ids: IdTree,
) -> (PlacementId, Option<&'a PlacementRecord>) {
    record
        .into_iter()
        .flat_map(|record| &record.placements)
        .find(|(_, known)| known.destination == wanted.destination && known.name == wanted.name)
        .map_or_else(
            || (ids.placement(key, wanted.destination.as_str(), &wanted.name), None),
            |(placement, known)| (*placement, Some(known)),
        )
}

/// What a wanted placement should look like: as recorded, or as the next change set will create it.
pub(crate) fn target(
    installation: InstallationId,
    placement: PlacementId,
    key: &KeyName,
    known: Option<&PlacementRecord>,
    wanted: &PlacementIntent,
    purpose: Purpose,
) -> Target {
    known.map_or_else(
        || Target {
            installation,
            placement,
            incarnation: FIRST_INCARNATION,
            name: wanted.name.clone(),
            algorithm: wanted.algorithm,
            purpose,
            key: key.clone(),
        },
        |known| recorded_target(installation, placement, key, known),
    )
}

pub(crate) fn recorded_target(installation: InstallationId, placement: PlacementId, key: &KeyName, known: &PlacementRecord) -> Target {
    Target {
        installation,
        placement,
        incarnation: known.incarnation,
        name: known.name.clone(),
        algorithm: known.algorithm,
        purpose: known.purpose,
        key: key.clone(),
    }
}

const FIRST_INCARNATION: u32 = 1;
