//! The pass for placements: first imports of new keys and placements, and what a dropped change set left unfinished.
//!
//! INVARIANT: a step is planned until the ledger has its receipt. If a look shows that it is done (the receipt was lost with its change
//! set), the engine finds it done and writes the receipt. Nothing else writes it.

use keyplane_model::{
    Act, CopyRecord, Creation, Destination, DestinationName, Expectation, Inventory, Key, KeyId, KeyName, KeyRecord, ObjectSeen,
    PlacementId, PlacementIntent, PlacementPlan, PlacementRecord, PlacementSeen, Reason, Source, Step, Target, Timestamp, Version,
    VersionState, WrapScheme,
};

use crate::input::PlanInput;
use crate::report::{Finding, Obstacle};
use crate::{drift, targets};

/// The most placements in one change set: with six steps each, people can still read it. The next change set takes the others.
const MAX_PLACEMENTS: usize = 100;

#[derive(Debug, Default)]
pub(crate) struct Work {
    /// In the order of the intent, each with its steps.
    pub(crate) placements: Vec<(PlacementId, PlacementPlan, Vec<Step>)>,
    pub(crate) reasons: Vec<Reason>,
    /// What blocks the other placements.
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn work(input: &PlanInput<'_>, name: &KeyName, key: &Key, key_id: KeyId) -> Work {
    let record = input.ledger.keys.get(name);
    let mut work = Work::default();
    let origin = origin(input, key, key_id, record);
    for wanted in &key.placements {
        let (placement, known) = targets::identify(wanted, record, key_id, input.ids);
        let subject = Subject { input, name, key, record, wanted, placement, known, origin };
        match subject.steps() {
            Ok(None) => {}
            Ok(Some((plan, steps))) if work.placements.len() < MAX_PLACEMENTS => {
                work.reasons.extend(subject.reason(&work.reasons));
                work.placements.push((placement, plan, steps));
            }
            Ok(Some(_)) => {}
            Err(obstacles) => work.findings.extend(obstacles.into_iter().map(|obstacle| Finding {
                placement,
                destination: wanted.destination.clone(),
                name: wanted.name.clone(),
                obstacle,
            })),
        }
    }
    wait_for_the_origin(&mut work, origin, record);
    work
}

/// The placement whose bytes the others share: the one they were made for or, if none were made yet, the first.
fn origin(input: &PlanInput<'_>, key: &Key, key_id: KeyId, record: Option<&KeyRecord>) -> Option<PlacementId> {
    if !key.shared {
        return None;
    }
    let made = record.into_iter().flat_map(|record| &record.copies).max_by_key(|copy| copy.coordinates.version);
    let first = || key.placements.first().map(|wanted| targets::identify(wanted, record, key_id, input.ids).0);
    made.map(|copy| copy.bound().placement).or_else(first)
}

/// Replaces work by a finding where it shares bytes that cannot be made yet.
fn wait_for_the_origin(work: &mut Work, origin: Option<PlacementId>, record: Option<&KeyRecord>) {
    type Planned = (PlacementId, PlacementPlan, Vec<Step>);
    let Some(origin) = origin else { return };
    let is_made = |version: Version| {
        let minted = |(placement, _, steps): &Planned| {
            *placement == origin && steps.iter().any(|step| matches!(&step.act, Act::Mint { version: minted, .. } if *minted == version))
        };
        record.is_some_and(|record| record.copy(version, origin).is_some()) || work.placements.iter().any(minted)
    };
    let waits = |(_, _, steps): &Planned| steps.iter().any(|step| matches!(&step.act, Act::Share { version, .. } if !is_made(*version)));
    let waiting: Vec<PlacementId> = work.placements.iter().filter(|planned| waits(planned)).map(|(placement, ..)| *placement).collect();
    for (placement, plan, _) in work.placements.extract_if(.., |(placement, ..)| waiting.contains(placement)) {
        work.findings.push(Finding { placement, destination: plan.destination, name: plan.name, obstacle: Obstacle::SharedWaits });
    }
}

/// The recorded placements that are no longer wanted, each with its drift.
pub(crate) fn unwanted<'a>(
    input: &'a PlanInput<'_>,
    name: &'a KeyName,
    key: Option<&'a Key>,
    record: &'a KeyRecord,
) -> impl Iterator<Item = (&'a PlacementRecord, Vec<Finding>)> {
    let is_wanted = move |known: &PlacementRecord| {
        key.is_some_and(|key| key.placements.iter().any(|wanted| wanted.destination == known.destination && wanted.name == known.name))
    };
    record.placements.iter().filter(move |(_, known)| !is_wanted(known)).map(move |(placement, known)| {
        let finding =
            |obstacle| Finding { placement: *placement, destination: known.destination.clone(), name: known.name.clone(), obstacle };
        let target = targets::recorded_target(input.ledger.installation, *placement, name, known);
        let drifts = match (input.destinations.get(&known.destination), look(input, &known.destination, *placement)) {
            (Some(destination), Some((inventory, seen))) => {
                let version = newest(record).map_or(FIRST_VERSION, |(version, _)| version);
                compare(input, Some(record), destination, version, inventory, seen, &target).err().unwrap_or_default()
            }
            // Nothing is planned there, so a missing look is no obstacle.
            _ => Vec::new(),
        };
        (known, drifts.into_iter().map(finding).collect())
    })
}

/// The version that a key's placements should hold: the newest.
pub(crate) fn newest(record: &KeyRecord) -> Option<(Version, VersionState)> {
    record.versions.last_key_value().map(|(version, known)| (*version, known.state))
}

/// The direct look at a placement. `None`: it was not looked at.
pub(crate) fn look<'a>(
    input: &'a PlanInput<'_>,
    destination: &DestinationName,
    placement: PlacementId,
) -> Option<(&'a Inventory, &'a PlacementSeen)> {
    let inventory = input.inventories.get(destination)?;
    Some((inventory, inventory.placements.get(&placement)?))
}

const FIRST_VERSION: Version = Version(1);

struct Subject<'a> {
    input: &'a PlanInput<'a>,
    name: &'a KeyName,
    key: &'a Key,
    record: Option<&'a KeyRecord>,
    wanted: &'a PlacementIntent,
    placement: PlacementId,
    known: Option<&'a PlacementRecord>,
    /// The placement whose bytes all placements share. `None`: each has its own bytes.
    origin: Option<PlacementId>,
}

impl Subject<'_> {
    /// The steps that the placement needs. `None`: it needs none.
    fn steps(&self) -> Result<Option<(PlacementPlan, Vec<Step>)>, Vec<Obstacle>> {
        let one = |obstacle| vec![obstacle];
        let destination = self.input.destinations.get(&self.wanted.destination).ok_or_else(|| one(Obstacle::UnknownDestination))?;
        if destination.cloud != self.wanted.cloud {
            return Err(one(Obstacle::OtherCloud { configured: destination.cloud }));
        }
        if let Some(known) = self.known {
            // If nothing was made there yet, the new change set is approved for the destination as it is now.
            if known.object.is_some() && known.fingerprint != destination.fingerprint {
                return Err(one(Obstacle::DestinationChanged));
            }
            if known.algorithm != self.wanted.algorithm {
                return Err(one(Obstacle::AlgorithmChanged { recorded: known.algorithm }));
            }
            if known.purpose != self.key.purpose {
                return Err(one(Obstacle::PurposeChanged { recorded: known.purpose }));
            }
        }
        let version = self.version().map_err(one)?;
        let copy = self.record.and_then(|record| record.copy(version, self.placement));
        let (inventory, seen) = look(self.input, &self.wanted.destination, self.placement).ok_or_else(|| one(Obstacle::NotLookedAt))?;
        let target = targets::target(self.input.ledger.installation, self.placement, self.name, self.known, self.wanted, self.key.purpose);

        foreign(seen, self.known, &target).map_or(Ok(()), |obstacle| Err(one(obstacle)))?;
        compare(self.input, self.record, destination, version, inventory, seen, &target)?;

        let acts = self.acts(destination, version, copy, inventory, seen, &target).map_err(one)?;
        if acts.is_empty() {
            return Ok(None);
        }
        let plan = PlacementPlan {
            destination: self.wanted.destination.clone(),
            fingerprint: destination.fingerprint,
            cloud: destination.cloud,
            name: self.wanted.name.clone(),
            algorithm: self.wanted.algorithm,
            purpose: target.purpose,
            incarnation: target.incarnation,
        };
        let step = |act: Act| Step { placement: self.placement, expects: expectation(&act), act };
        Ok(Some((plan, acts.into_iter().map(step).collect())))
    }

    /// The remaining acts, by the destination's capabilities, the ledger and the look.
    fn acts(
        &self,
        destination: &Destination,
        version: Version,
        copy: Option<&CopyRecord>,
        inventory: &Inventory,
        seen: &PlacementSeen,
        target: &Target,
    ) -> Result<Vec<Act>, Obstacle> {
        let capabilities = &destination.capabilities;
        let claimed = self.known.is_some_and(|known| known.claimed);
        let object = self.known.and_then(|known| known.object.as_ref());
        let is_shell = |object: &ObjectSeen| object.fits(target) && object.is_empty();
        let has_shell = object.and_then(|object| inventory.ours.get(object)).is_some_and(is_shell);

        let mut acts = Vec::new();
        let shares = self.origin.filter(|origin| *origin != self.placement);
        match (copy, shares) {
            (Some(_), _) => {}
            (None, None) => acts.push(Act::Mint { version, source: self.source()?, epoch: self.input.custody.epoch }),
            (None, Some(from)) => acts.push(Act::Share { version, from }),
        }
        let of = copy.map_or(shares, |copy| copy.bytes_of);
        let of_origin = || self.record.zip(shares).and_then(|(record, from)| record.copy(version, from));
        let made = copy.or_else(of_origin).map(CopyRecord::bound);
        match capabilities.creation {
            Creation::Claimed => {
                // An object that has the claim, or can still get it, is reused. An object that a failed attempt left becomes surplus.
                if !claimed && seen.claimed.is_none() && !has_shell {
                    acts.push(Act::Create);
                }
                if !claimed {
                    acts.push(Act::Claim);
                }
            }
            Creation::Named if object.is_none() => acts.push(Act::Create),
            Creation::Named | Creation::Imported => {}
        }
        if copy.is_none_or(|copy| copy.imported.is_none()) {
            self.permitted(destination)?;
            let scheme = self.scheme(destination)?;
            if capabilities.prepares {
                acts.push(Act::Prepare { version, scheme });
            }
            acts.push(Act::Import { version, scheme, of, made });
        }
        if !self.known.is_some_and(|known| known.published) {
            acts.push(Act::Publish);
        }
        Ok(acts)
    }

    /// The version that the placement should hold.
    fn version(&self) -> Result<Version, Obstacle> {
        match self.record.and_then(newest) {
            None => Ok(FIRST_VERSION),
            Some((version, VersionState::PreActivation | VersionState::Active)) => Ok(version),
            Some((
                version,
                state @ (VersionState::Suspended | VersionState::Deactivated | VersionState::Compromised | VersionState::Destroyed),
            )) => Err(Obstacle::VersionUnusable { version, state }),
        }
    }

    /// Checks the rules and the destination's protection.
    fn permitted(&self, destination: &Destination) -> Result<(), Obstacle> {
        let rules = &self.key.rules;
        let algorithm = self.wanted.algorithm;
        if !rules.algorithms.contains(&algorithm) || !algorithm.serves(self.key.purpose) {
            return Err(Obstacle::AlgorithmNotAllowed { algorithm });
        }
        if rules.locations.as_ref().is_some_and(|locations| !locations.contains(&self.wanted.destination)) {
            return Err(Obstacle::LocationNotAllowed);
        }
        if destination.capabilities.protection < rules.protection {
            return Err(Obstacle::ProtectionTooLow);
        }
        Ok(())
    }

    /// Key pairs are always generated.
    fn source(&self) -> Result<Source, Obstacle> {
        let derives = self.input.custody.derives;
        match (self.wanted.algorithm.is_symmetric(), self.key.rules.source) {
            (false, _) | (true, Some(Source::Generated)) => Ok(Source::Generated),
            (true, Some(Source::Derived)) if !derives => Err(Obstacle::CannotDerive),
            (true, Some(Source::Derived)) => Ok(Source::Derived),
            (true, None) => Ok(if derives { Source::Derived } else { Source::Generated }),
        }
    }

    /// The first of the destination's schemes for which the token has a route. SHA-1 only if the destination offers nothing better.
    fn scheme(&self, destination: &Destination) -> Result<WrapScheme, Obstacle> {
        let algorithm = self.wanted.algorithm;
        let schemes = destination.capabilities.algorithms.get(&algorithm).ok_or(Obstacle::AlgorithmUnsupported { algorithm })?;
        let only_sha1 = schemes.iter().all(|scheme| is_sha1(*scheme));
        schemes
            .iter()
            .filter(|scheme| only_sha1 || !is_sha1(**scheme))
            .find(|scheme| self.input.custody.schemes.get(scheme).is_some_and(|algorithms| algorithms.contains(&algorithm)))
            .copied()
            .ok_or(Obstacle::NoRoute { algorithm })
    }

    /// Why the placement needs anything. A new key is one reason for all of its placements.
    fn reason(&self, given: &[Reason]) -> Option<Reason> {
        let reason = match (self.record, self.known) {
            (None, _) => Reason::NewKey,
            (Some(_), None) => Reason::NewPlacement { placement: self.placement },
            (Some(_), Some(_)) => Reason::Unfinished { placement: self.placement },
        };
        (!given.contains(&reason)).then_some(reason)
    }
}

/// The state that a step of this kind has to find.
pub(crate) fn expectation(act: &Act) -> Expectation {
    match act {
        Act::Mint { .. } | Act::Share { .. } => Expectation::NoCopy,
        Act::Create => Expectation::Unclaimed,
        Act::Claim => Expectation::Created,
        Act::Prepare { .. } => Expectation::Absent,
        Act::Import { .. } => Expectation::Empty,
        Act::Publish => Expectation::Imported,
        Act::RemoveSurplus { .. } => Expectation::Surplus,
        Act::DisableSurplus { .. } | Act::FollowSecond { .. } => Expectation::Double,
    }
}

/// What blocks the placement: an object that is not its own has its claim or the users' name.
fn foreign(seen: &PlacementSeen, known: Option<&PlacementRecord>, target: &Target) -> Option<Obstacle> {
    let recorded = known.and_then(|known| known.object.as_ref());
    if let Some(claimed) = &seen.claimed {
        let ours = claimed.marks.as_ref().is_some_and(|marks| marks.installation == target.installation);
        // A recorded object that lost its marks is drift, not foreign.
        if !ours && recorded != Some(&claimed.object) {
            return Some(Obstacle::ForeignClaim { object: claimed.object.clone() });
        }
    }
    let published = seen.published.as_ref()?;
    let own = seen.claimed.as_ref().map(|claimed| &claimed.object).or(recorded);
    (own != Some(&published.object)).then(|| Obstacle::ForeignName { object: published.object.clone() })
}

/// Compares the placement's record with the look. A difference is not drift if the look may show an earlier state: the key has changed
/// since, or the destination may not show its last change yet.
fn compare(
    input: &PlanInput<'_>,
    record: Option<&KeyRecord>,
    destination: &Destination,
    version: Version,
    inventory: &Inventory,
    seen: &PlacementSeen,
    target: &Target,
) -> Result<(), Vec<Obstacle>> {
    let known = record.and_then(|record| record.placements.get(&target.placement));
    let copy = record.and_then(|record| record.copy(version, target.placement));
    let drifts = drift::at_placement(known, destination.capabilities.creation, version, copy, seen, target);
    if drifts.is_empty() {
        return Ok(());
    }
    let changed_since = record.map(|record| record.generation) != input.before.keys.get(&target.key).map(|record| record.generation);
    let changed = record.and_then(|record| last_change(record, version, copy));
    if changed_since || changed.is_some_and(|at| inventory.at < at + destination.capabilities.consistency) {
        Err(vec![Obstacle::Unsettled])
    } else {
        Err(drifts.into_iter().map(Obstacle::Drift).collect())
    }
}

fn last_change(record: &KeyRecord, version: Version, copy: Option<&CopyRecord>) -> Option<Timestamp> {
    let version = record.versions.get(&version);
    [copy.and_then(|copy| copy.imported), version.map(|version| version.created), version.and_then(|version| version.activated)]
        .into_iter()
        .flatten()
        .max()
}

fn is_sha1(scheme: WrapScheme) -> bool {
    match scheme {
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => true,
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => false,
    }
}
