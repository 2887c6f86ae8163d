//! The rules (`docs/rules.md`) as far as schedules can break them, each with a checker of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keyplane_model::{
    Act, ChangeSetRecord, ChangeSetState, KeyRecord, LedgerSnapshot, PlacementId, PlacementSeen, PublicKey, SealedCharter, Version, Wrap,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::clouds::Place;
use crate::custodian::SymbolCustodian;
use crate::people::approvers_in;
use crate::symbols::{Symbols, public_half};
use crate::taken_over::touched;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Rule 1: key bytes are only in the HSM and, after the import, in the clouds.
    Plaintext,
    /// Rule 2: the bytes of every import can be made again, and are those that the cloud holds.
    Lost,
    /// Rule 3: a version has one live copy in a placement, in the object that holds the claim.
    Doubles,
    /// Rule 4: every change was committed under the approvals that it needs, and those are good for nothing once it ended.
    Approved,
    /// Rule 5: an attempt is in the ledger before its request is sent.
    Attempted,
    /// Rule 6: what is in use is neither disabled nor deleted, since nothing retires yet.
    Retiring,
    /// Rule 8: only the server that holds a lane sends mutations there.
    Lanes,
    /// Rule 8: nothing is sent when the quota is used up.
    Quotas,
    /// Rule 9: before something is made, a typed answer has shown that it is missing.
    Absence,
    /// Rule 10: nothing that schedules can do is reported as a bug or as damage.
    Classes,
    /// Rule 11: the key that a copy was wrapped under, as the ledger records it, is one that its destination gave; and the ledger knows
    /// every key that the custodian wrapped under.
    WrappedUnder,
    /// Rule 12: a charter is adopted under the previous one, and a commit is approved under the one in force.
    Charter,
    /// A step is sent so often and no more, whatever its destination shows.
    Bounded,
    /// The run ends: within its time limit the next plan is empty, and nothing blocks a key that nobody changed by hand.
    Settles,
}

impl Rule {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 14] = [
        Self::Plaintext,
        Self::Lost,
        Self::Doubles,
        Self::Approved,
        Self::Attempted,
        Self::Retiring,
        Self::Lanes,
        Self::Quotas,
        Self::Absence,
        Self::Classes,
        Self::WrappedUnder,
        Self::Charter,
        Self::Bounded,
        Self::Settles,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "rule 1 (no plaintext)",
            Self::Lost => "rule 2 (nothing is lost)",
            Self::Doubles => "rule 3 (no doubles)",
            Self::Approved => "rule 4 (only what was approved)",
            Self::Attempted => "rule 5 (attempt, act, receipt)",
            Self::Retiring => "rule 6 (retiring waits)",
            Self::Lanes => "rule 8 (a lane has one server)",
            Self::Quotas => "rule 8 (quotas are kept)",
            Self::Absence => "rule 9 (absence is not deletion)",
            Self::Classes => "rule 10 (errors have a class)",
            Self::WrappedUnder => "rule 11 (wrapping keys are authenticated)",
            Self::Charter => "rule 12 (a rule is changed only under the old rule)",
            Self::Bounded => "a step is sent so often and no more",
            Self::Settles => "the next plan is empty",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    /// What the checker saw, for the report.
    pub(crate) what: String,
}

/// The final state of a run, for the checkers.
pub(crate) struct Left<'a> {
    pub(crate) ledger: &'a LedgerSnapshot,
    /// Every change set that was ever run or is open.
    pub(crate) change_sets: &'a [ChangeSetRecord],
    /// Every change set that was ever proposed.
    pub(crate) proposed: &'a [ChangeSetRecord],
    /// Each emulator's dump.
    pub(crate) dumps: &'a [(Place, Value)],
    /// Every request that was sent, as JSON.
    pub(crate) requests: &'a str,
    pub(crate) symbols: &'a Symbols,
    pub(crate) custodian: &'a SymbolCustodian,
    /// The charter in force, as the ledger has it.
    pub(crate) charter: Option<SealedCharter>,
    /// The last look at each placement.
    pub(crate) seen: &'a BTreeMap<PlacementId, PlacementSeen>,
    /// The keys whose placements have to hold the same bytes.
    pub(crate) shared: &'a BTreeSet<String>,
    /// The keys that somebody changed by hand, with the cloud.
    pub(crate) meddled: &'a BTreeSet<(Place, String)>,
}

/// Runs every checker of the final state; returns all violations.
pub(crate) fn judge(left: &Left<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    plaintext(left, &mut broken);
    for record in left.ledger.keys.values() {
        nothing_is_lost(left, record, &mut broken);
        shared_are_equal(left, record, &mut broken);
        no_doubles(left, record, &mut broken);
    }
    old_rules(left, &mut broken);
    ends_are_known(left, &mut broken);
    wraps_are_known(left, &mut broken);
    broken
}

/// Whatever the custodian wrapped, the ledger knows under which key. Otherwise `evidence` would tell of bytes that are exposed.
fn wraps_are_known(left: &Left<'_>, broken: &mut Vec<Broken>) {
    for usage in left.custodian.all_usages().usages {
        let record = left.proposed.iter().find(|record| record.digest == usage.change_set);
        let is_known = |wrap: &Wrap| record.is_some_and(|record| record.wraps.iter().any(|there| there.is_same(wrap)));
        for Wrap { step, wrapped_under, .. } in usage.wraps.iter().filter(|wrap| !is_known(wrap)) {
            let what = format!("step {step} of {} was wrapped under {wrapped_under}, and the ledger does not know it", usage.change_set);
            broken.push(Broken { rule: Rule::WrappedUnder, what });
        }
    }
}

/// The custodian wraps nothing more for a change set that ended. One that nobody approved is worth nothing, so it need not know that.
fn ends_are_known(left: &Left<'_>, broken: &mut Vec<Broken>) {
    for record in left.proposed.iter().filter(|record| !record.approvals.is_empty()) {
        let ended = matches!(record.state, ChangeSetState::Done | ChangeSetState::Dropped);
        let wraps = record.change_set.steps.iter().any(|step| matches!(step.act, Act::Import { .. }));
        if ended && wraps && !left.custodian.has_finished(&record.digest) {
            let what = format!("change set {} of {} ended, and the custodian still wraps for it", record.digest, record.change_set.key);
            broken.push(Broken { rule: Rule::Approved, what });
        }
    }
}

fn plaintext(left: &Left<'_>, broken: &mut Vec<Broken>) {
    let ledger = serde_json::to_string(&left.ledger.keys).unwrap_or_default();
    let change_sets = serde_json::to_string(left.change_sets).unwrap_or_default();
    let texts = [ledger.as_bytes(), change_sets.as_bytes(), left.requests.as_bytes()];
    if let Some((key, number)) = left.symbols.leaked(&texts) {
        let there = ["the ledger", "a change set", "a request"][number];
        broken.push(Broken { rule: Rule::Plaintext, what: format!("the bytes of key {key} are in {there}") });
    }
}

/// The objects of a placement in a cloud, with their materials.
pub(crate) fn objects<'a>(dumps: &'a [(Place, Value)], place: Place, placement: &str) -> Vec<&'a Value> {
    let dump = dumps.iter().find(|(there, _)| *there == place).map(|(_, dump)| dump);
    let all = dump.and_then(|dump| dump["keys"].as_array()).into_iter().flatten();
    // Key exchange keys are marked as ours, but are no copies.
    let all = all.filter(|object| !object["id"].as_str().is_some_and(|id| id.starts_with("keyplane-kek-")));
    all.filter(|object| {
        ["tags", "labels"]
            .iter()
            .any(|marks| object[*marks].as_object().is_some_and(|marks| marks.values().any(|value| value.as_str() == Some(placement))))
    })
    .collect()
}

/// Whether an object counts, because its deletion is not scheduled.
pub(crate) fn is_live(object: &Value) -> bool {
    !["PendingDeletion", "deleted"].iter().any(|state| object["state"] == *state)
}

/// The imported materials of an object.
pub(crate) fn materials(object: &Value) -> impl Iterator<Item = &Value> {
    object["materials"].as_array().into_iter().flatten().filter(|material| material["imported"] == true)
}

fn place_of(destination: &str) -> Option<Place> {
    Place::ALL.into_iter().find(|place| place.name() == destination)
}

fn nothing_is_lost(left: &Left<'_>, record: &KeyRecord, broken: &mut Vec<Broken>) {
    for copy in &record.copies {
        let Some(placement) = record.placements.get(&copy.coordinates.placement) else { continue };
        let Some(place) = place_of(placement.destination.as_str()) else { continue };
        let bytes = match left.custodian.reveal(copy) {
            Ok(bytes) => bytes,
            Err(error) => {
                broken.push(Broken { rule: Rule::Lost, what: format!("{} at {}: {error}", record.name, placement.destination) });
                continue;
            }
        };
        let mut lost = |what: &str| {
            broken.push(Broken { rule: Rule::Lost, what: format!("{} at {}: {what}", record.name, placement.destination) });
        };
        let public = public_half(&bytes).map(|(_, public)| PublicKey(public));
        if public != copy.public_key {
            lost("the ledger has another public key than the copy");
        }
        let ours = hex::encode(Sha256::digest(bytes));
        for material in objects(left.dumps, place, &copy.coordinates.placement.to_string()).into_iter().flat_map(materials) {
            if material["sha256"].as_str().is_some_and(|there| there != ours) {
                lost(&format!("the cloud holds other bytes than the ledger's copy: {material}"));
            }
        }
        let seen = left.seen.get(&copy.coordinates.placement).and_then(|seen| seen.claimed.as_ref());
        for material in seen.into_iter().flat_map(|object| &object.materials).filter(|material| material.id == copy.material) {
            let shown = material.public_key.or_else(|| public.as_ref().filter(|_| !material.is_present()).map(PublicKey::digest));
            if copy.imported.is_some() && shown != public.as_ref().map(PublicKey::digest) {
                lost(&format!("the cloud shows another public key than the copy's: {material:?}"));
            }
        }
        if copy.imported.is_some() && copy.wrapped_under.is_some_and(|under| !left.symbols.gave(&under)) {
            let what = format!("{} at {} was wrapped under a key that no destination gave", record.name, placement.destination);
            broken.push(Broken { rule: Rule::WrappedUnder, what });
        }
    }
}

/// Placements that share their bytes hold the same ones.
fn shared_are_equal(left: &Left<'_>, record: &KeyRecord, broken: &mut Vec<Broken>) {
    let mut held: BTreeMap<Version, BTreeSet<String>> = BTreeMap::new();
    for copy in record.copies.iter().filter(|copy| copy.imported.is_some()) {
        let Some(placement) = record.placements.get(&copy.coordinates.placement) else { continue };
        let Some(place) = place_of(placement.destination.as_str()) else { continue };
        let hashes = objects(left.dumps, place, &copy.coordinates.placement.to_string()).into_iter().flat_map(materials);
        let hashes = hashes.filter_map(|material| material["sha256"].as_str().map(str::to_owned));
        held.entry(copy.coordinates.version).or_default().extend(hashes);
    }
    if left.shared.contains(record.name.as_str()) && held.values().any(|hashes| hashes.len() > 1) {
        broken.push(Broken { rule: Rule::Lost, what: format!("{} is shared, and not the same everywhere: {held:?}", record.name) });
    }
}

/// Each charter has the serial after the previous one's, and the approvals that the previous one asks for.
fn old_rules(left: &Left<'_>, broken: &mut Vec<Broken>) {
    let adopted = left.custodian.adopted();
    for pair in adopted.windows(2) {
        let ((before, _), (next, approvals)) = (&pair[0], &pair[1]);
        if next.serial != before.serial + 1 {
            let what = format!("charter {} came after {}", next.serial, before.serial);
            broken.push(Broken { rule: Rule::Charter, what });
        }
        for rule in touched(&before.charter, &next.charter) {
            let have = approvers_in(&before.charter, &rule.from, approvals);
            if have < rule.need {
                let what = format!("charter {} came after {} with {have} of {} of {:?}", next.serial, before.serial, rule.need, rule.from);
                broken.push(Broken { rule: Rule::Charter, what });
            }
        }
    }
    if adopted.last().map(|(sealed, _)| sealed) != left.charter.as_ref() {
        broken.push(Broken { rule: Rule::Charter, what: "the ledger has another charter than the custodian in the end".to_owned() });
    }
}

fn no_doubles(left: &Left<'_>, record: &KeyRecord, broken: &mut Vec<Broken>) {
    for (id, placement) in &record.placements {
        let Some(place) = place_of(placement.destination.as_str()) else { continue };
        let name = || format!("{} at {}", record.name, placement.destination);
        let all = objects(left.dumps, place, &id.to_string());
        let filled: Vec<&Value> = all.iter().copied().filter(|object| materials(object).next().is_some()).collect();
        // Except at AWS, the name is the claim.
        let claimed = if place == Place::Aws { placement.object.as_ref().map(ToString::to_string) } else { Some(placement.name.clone()) };
        for object in &filled {
            if object["id"].as_str() != claimed.as_deref() {
                broken.push(Broken {
                    rule: Rule::Doubles,
                    what: format!("{}: material is in an object that holds no claim: {object}", name()),
                });
            }
        }
        if left.meddled.contains(&(place, record.name.to_string())) {
            continue;
        }
        let live: Vec<&Value> = all.iter().copied().filter(|object| is_live(object)).collect();
        let imported = record.copies.iter().any(|copy| copy.coordinates.placement == *id && copy.imported.is_some());
        if imported && live.len() != 1 {
            broken.push(Broken { rule: Rule::Doubles, what: format!("{}: {} live objects: {live:?}", name(), live.len()) });
        }
        for object in live {
            let enabled = materials(object)
                .filter(|material| !material["state"].as_str().is_some_and(|state| state.eq_ignore_ascii_case("disabled")));
            let current = enabled.filter(|material| place != Place::Azure || material["state"] == "current").count();
            if imported && current != 1 {
                broken.push(Broken { rule: Rule::Doubles, what: format!("{}: {current} materials in use: {object}", name()) });
            }
        }
    }
}
