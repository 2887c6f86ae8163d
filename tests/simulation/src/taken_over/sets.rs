//! Change sets of a run: such as a planner makes, and altered ones.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Act, Action, Actor, Algorithm, ApprovalRule, ChangeSet, Charter, CloudKind, CopyCoordinates, CopyRecord, Digest, Expectation,
    Generation, IdTree, InstallationId, PlacementId, PlacementPlan, ProfileName, Purpose, Reason, Source, Span, Step, StepNo, Timestamp,
    Version, WrapScheme,
};

use super::cast::{Draw, PEOPLE, PROFILES, login};
use crate::custodian::EPOCH;
use crate::people::parsed;

const KEYS: [&str; 2] = ["payments-db", "test-key"];

const DESTINATIONS: [&str; 2] = ["lab", "prod"];

const SCHEMES: [WrapScheme; 2] = [WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256];

/// A change set that brings a key to a place: as a planner of this charter would make it, except that its rules and its end may be others.
pub(super) fn planned(draw: &mut Draw, charter: &Charter, copies: &[CopyRecord], now: Timestamp) -> ChangeSet {
    let installation = charter.installation;
    let key = draw.of(&KEYS);
    let key_id = IdTree::of(installation).key(key);
    let (profile, approvals) = ruled(draw, charter);
    let known = copies.iter().map(|copy| &copy.coordinates).filter(|copy| copy.installation == installation && copy.key == key_id);
    let again = draw.any(known).filter(|_| draw.one_in(2));
    let mut set = ChangeSet {
        format: ChangeSet::FORMAT,
        installation,
        key: parsed(key),
        key_id,
        profile,
        action: Action::Import,
        wanted: Some(Digest::of(b"wanted")),
        approvals,
        proposer: proposer(draw),
        generation: Generation(u64::from(draw.one_in(2))),
        placements: BTreeMap::new(),
        steps: Vec::new(),
        reasons: vec![Reason::NewKey],
        until: until(draw, now),
    };
    if let Some(made) = again {
        let destination = draw.of(&DESTINATIONS);
        bring_again(draw, &mut set, destination, made);
    } else {
        let version = Version(1 + u32::from(draw.one_in(3)));
        for destination in DESTINATIONS.into_iter().skip(draw.below(2)).take(1 + draw.below(2)) {
            bring(draw, &mut set, destination, version);
        }
    }
    set
}

/// A profile of the charter and its rule, or a stricter one of keys; or what the charter does not know.
fn ruled(draw: &mut Draw, charter: &Charter) -> (ProfileName, ApprovalRule) {
    let known = draw.any(charter.profiles.keys().cloned()).filter(|_| !draw.one_in(10));
    let profile = known.unwrap_or_else(|| parsed(draw.of(&PROFILES)));
    let own = charter.profiles.get(&profile).map(|rules| rules.import.clone());
    let of_keys = draw.any(charter.key_rules.iter().cloned()).filter(|_| draw.one_in(3));
    let nobodys = draw.one_in(24).then(|| ApprovalRule { need: 1, from: BTreeSet::from([parsed("nobodys")]) });
    let anyones = draw.one_in(24).then(|| ApprovalRule { need: 0, from: BTreeSet::new() });
    let rule = nobodys.or(anyones).or(of_keys).or(own);
    (profile, rule.unwrap_or_else(|| ApprovalRule { need: 0, from: BTreeSet::new() }))
}

/// Somebody's login or name, however it is written.
pub(super) fn proposer(draw: &mut Draw) -> Actor {
    let person = draw.below(PEOPLE.len());
    Actor(match draw.below(5) {
        0 => PEOPLE[person].to_owned(),
        1 => login(person).to_uppercase(),
        2 | 3 => login(person),
        _ => "pipeline@example.com".to_owned(),
    })
}

pub(super) fn until(draw: &mut Draw, now: Timestamp) -> Timestamp {
    match draw.below(16) {
        0 => now,
        1 => now + Span::days(400),
        2 | 3 => now + Span::seconds(3_600),
        4 | 5 => now + Span::days(30),
        _ => now + Span::days(7),
    }
}

fn placement(installation: InstallationId, key: &str, destination: &str) -> PlacementId {
    let ids = IdTree::of(installation);
    ids.placement(ids.key(key), destination, key)
}

/// Describes a placement, and returns its id.
fn describe(set: &mut ChangeSet, destination: &str, algorithm: Algorithm) -> PlacementId {
    let id = placement(set.installation, set.key.as_str(), destination);
    let plan = PlacementPlan {
        destination: parsed(destination),
        fingerprint: Digest::of(destination.as_bytes()),
        cloud: CloudKind::Aws,
        name: set.key.to_string(),
        algorithm,
        purpose: Purpose::Encrypt,
        incarnation: 1,
    };
    set.placements.insert(id, plan);
    id
}

fn scheme(draw: &mut Draw, algorithm: Algorithm) -> WrapScheme {
    if algorithm.is_symmetric() { draw.of(&SCHEMES) } else { WrapScheme::RsaAesKeyWrapSha256 }
}

/// Makes new bytes, and imports them.
fn bring(draw: &mut Draw, set: &mut ChangeSet, destination: &str, version: Version) {
    let (algorithm, source) = match draw.below(4) {
        0 => (Algorithm::Rsa2048, Source::Generated),
        1 => (Algorithm::Aes256, Source::Generated),
        _ => (Algorithm::Aes256, Source::Derived),
    };
    let id = describe(set, destination, algorithm);
    let import = Act::Import { version, scheme: scheme(draw, algorithm), of: None, made: None };
    let acts = [Act::Mint { version, source, epoch: EPOCH }, Act::Create, Act::Claim, import, Act::Publish];
    set.steps.extend(acts.map(|act| step(id, act)));
}

/// Imports bytes that were made before: again, or at another place.
fn bring_again(draw: &mut Draw, set: &mut ChangeSet, destination: &str, made: &CopyCoordinates) {
    let id = describe(set, destination, made.algorithm);
    let elsewhere = id != made.placement;
    let import = Act::Import {
        version: made.version,
        scheme: scheme(draw, made.algorithm),
        of: elsewhere.then_some(made.placement),
        made: Some(made.clone()),
    };
    let share = elsewhere.then_some(Act::Share { version: made.version, from: made.placement });
    let acts = share.into_iter().chain([Act::Create, Act::Claim, import, Act::Publish]);
    set.steps.extend(acts.map(|act| step(id, act)));
}

fn step(placement: PlacementId, act: Act) -> Step {
    let expects = match act {
        Act::Mint { .. } | Act::Share { .. } => Expectation::NoCopy,
        Act::Create => Expectation::Unclaimed,
        Act::Claim => Expectation::Created,
        Act::Prepare { .. } => Expectation::Absent,
        Act::Import { .. } => Expectation::Empty,
        Act::Publish => Expectation::Imported,
        Act::RemoveSurplus { .. } => Expectation::Surplus,
        Act::DisableSurplus { .. } | Act::FollowSecond { .. } => Expectation::Double,
    };
    Step { placement, expects, act }
}

/// The same change set with something else in it.
pub(super) fn altered(draw: &mut Draw, set: &ChangeSet, charter: &Charter, copies: &[CopyRecord]) -> ChangeSet {
    let mut next = set.clone();
    match draw.below(16) {
        // The same bytes, as ones of another profile.
        0..4 => (next.profile, next.approvals) = ruled(draw, charter),
        4 => next.profile = ruled(draw, charter).0,
        5 => next.approvals = ruled(draw, charter).1,
        6 => next.proposer = proposer(draw),
        // The same for another key.
        7..10 => next = of_another_key(draw, set),
        // What approvers read says one key, and the id is another one's.
        10 => next.key = parsed(draw.of(&KEYS)),
        11 => next.key_id = IdTree::of(set.installation).key(draw.of(&KEYS)),
        12 => next.until = next.until + Span::days(5),
        13 => next.generation = Generation(u64::from(draw.one_in(2))),
        14 => next.action = Action::CleanUp,
        _ => alter_an_import(draw, &mut next, copies),
    }
    next
}

fn of_another_key(draw: &mut Draw, set: &ChangeSet) -> ChangeSet {
    let key = KEYS.into_iter().find(|key| *key != set.key.as_str()).unwrap_or(KEYS[0]);
    let mut next = ChangeSet {
        key: parsed(key),
        key_id: IdTree::of(set.installation).key(key),
        placements: BTreeMap::new(),
        steps: Vec::new(),
        ..set.clone()
    };
    let destination = draw.of(&DESTINATIONS);
    bring(draw, &mut next, destination, Version(1));
    next
}

fn alter_an_import(draw: &mut Draw, set: &mut ChangeSet, copies: &[CopyRecord]) {
    let another = draw.any(copies.iter().map(|copy| copy.coordinates.clone()));
    let what = draw.below(4);
    let scheme = draw.of(&SCHEMES);
    for step in &mut set.steps {
        let Act::Import { version, scheme: planned, of, made } = &mut step.act else { continue };
        match what {
            0 => *made = another.clone(),
            1 => *of = another.as_ref().map(|copy| copy.placement),
            2 => *version = Version(2),
            _ => *planned = scheme,
        }
    }
}

/// The copy that a step makes. `None`: it makes none.
pub(super) fn made_by(set: &ChangeSet, step: StepNo) -> Option<CopyCoordinates> {
    let found = set.steps.get(step.0 as usize)?;
    let Act::Mint { version, source, epoch } = found.act else { return None };
    Some(CopyCoordinates {
        installation: set.installation,
        key: set.key_id,
        version,
        placement: found.placement,
        algorithm: set.placements.get(&found.placement)?.algorithm,
        source,
        epoch,
        profile: set.profile.clone(),
        approvals: set.approvals.clone(),
    })
}

/// The copy that a step imports, and by which scheme. `None`: it imports none, or none that the change set says how to make.
pub(super) fn imported_by(set: &ChangeSet, step: StepNo) -> Option<(CopyCoordinates, WrapScheme)> {
    let found = set.steps.get(step.0 as usize)?;
    let Act::Import { scheme, made, .. } = &found.act else { return None };
    let own = || steps(set).filter_map(|number| made_by(set, number)).find(|copy| copy.placement == found.placement);
    Some((made.clone().or_else(own)?, *scheme))
}

pub(super) fn steps(set: &ChangeSet) -> impl Iterator<Item = StepNo> + use<> {
    (0..u32::try_from(set.steps.len()).unwrap_or(0)).map(StepNo)
}
