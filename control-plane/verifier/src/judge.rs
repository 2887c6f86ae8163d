//! The judge: checks every rule for change sets.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    APPROVALS_LAST, Act, Action, CLOCKS, ChangeSet, Charter, CloudKind, CopyAct, CopyRecord, Creation, Destination, DestinationName,
    Expectation, Generation, InstallationId, Key, KeyRecord, ObjectId, PlacementId, PlacementPlan, Source, Span, Step, StepNo, Timestamp,
    Version, WrapScheme,
};

use crate::violation::{MAX_STEPS, Violation};

/// What a change set is judged against. A rule is not applied if the caller does not have its facts.
///
/// There are two kinds of callers. Service and engine know ledger and destinations, and set `destinations`. For them, `None` in `record`
/// means a new key, and `None` in `key` a key that is no longer wanted. The custodian knows neither, and sets `None` everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The custodian passes the charter that it adopted.
    pub charter: &'a Charter,
    pub installation: InstallationId,
    /// By the caller's own clock.
    pub now: Timestamp,
    /// The key in the ledger. For `None` see above.
    pub record: Option<&'a KeyRecord>,
    /// The key in the intent. For `None` see above.
    pub key: Option<&'a Key>,
    /// The configured destinations. `None`: the caller is the custodian.
    pub destinations: Option<&'a BTreeMap<DestinationName, Destination>>,
}

/// Judges a change set before it is committed; a commit moves its key to the next generation.
///
/// Guarantees: every rule of [`Violation`] that these facts can decide holds. Approvals are judged by [`crate::approved`].
///
/// # Errors
/// Every rule that it breaks. The same change set and facts give the same list.
pub fn judge(change_set: &ChangeSet, facts: &Facts<'_>) -> Result<(), Vec<Violation>> {
    // Steps beyond the limit are not examined.
    if change_set.steps.len() > MAX_STEPS {
        return Err(vec![Violation::TooLong(change_set.steps.len())]);
    }
    let mut judge = Judge { set: change_set, facts, violations: Vec::new() };
    judge.frame();
    judge.placements();
    judge.acts();
    judge.order();
    judge.charter();
    judge.ledger();
    judge.wanted();
    judge.destinations();
    if judge.violations.is_empty() { Ok(()) } else { Err(judge.violations) }
}

/// How long approvals of a change set may count under this charter: no longer than its profile says, nor than the profile of any bytes says
/// that it imports and that were made before.
#[must_use]
pub fn valid_for(change_set: &ChangeSet, charter: &Charter) -> Span {
    let made = change_set.steps.iter().filter_map(|step| step.act.made()).map(|made| charter.valid(&made.profile));
    made.fold(charter.valid(&change_set.profile), Ord::min)
}

/// Judges whether what a change set does is wanted: by the key's rules and placements in `facts.key`, and by the destinations as they are
/// configured. Every rule that [`judge`] applies to that holds, except two that compare the change set with the intent that it was planned
/// from: the digest of what was wanted of the key, and the key's rule of approval.
///
/// For what [`judge`] would refuse although nobody objects to it: a committed change set, because its own commit and receipts have changed
/// the key's record; and a policy that was not planned yet, because it may differ in what does not concern the change set. Whether the
/// approvals suffice is for the charter in force to say, and not for a policy.
///
/// # Assumptions
/// `facts.destinations` is set. `None` in `facts.key` means a key that is not wanted.
///
/// # Errors
/// Everything that is not wanted, or not so. The same change set and facts give the same list.
pub fn still_wanted(change_set: &ChangeSet, facts: &Facts<'_>) -> Result<(), Vec<Violation>> {
    let mut judge = Judge { set: change_set, facts, violations: Vec::new() };
    judge.still_wanted();
    judge.destinations();
    if judge.violations.is_empty() { Ok(()) } else { Err(judge.violations) }
}

/// Whether approvals that expire at `until` are valid now. `valid` is how long they may count, from [`valid_for`] or
/// [`crate::valid_for_charter`].
///
/// # Errors
/// When they have ended, or ask to count for longer than `valid` or [`APPROVALS_LAST`].
pub fn in_time(until: Timestamp, now: Timestamp, valid: Span) -> Result<(), Violation> {
    let valid = valid.min(APPROVALS_LAST);
    if until <= now {
        Err(Violation::Ended(until))
    } else if until > now + valid + CLOCKS {
        Err(Violation::EndsTooLate { until, valid })
    } else {
        Ok(())
    }
}

struct Judge<'a> {
    set: &'a ChangeSet,
    facts: &'a Facts<'a>,
    violations: Vec<Violation>,
}

impl<'a> Judge<'a> {
    fn is(&mut self, broken: bool, violation: impl FnOnce() -> Violation) {
        if broken {
            self.violations.push(violation());
        }
    }

    fn steps(&self) -> impl Iterator<Item = (StepNo, &'a Step)> + use<'a> {
        (0..).map(StepNo).zip(&self.set.steps)
    }

    /// Service and engine do, the custodian does not.
    fn knows_the_world(&self) -> bool {
        self.facts.destinations.is_some()
    }

    /// Checks what the change set says about itself.
    fn frame(&mut self) {
        let (set, facts) = (self.set, self.facts);
        self.is(set.format != ChangeSet::FORMAT, || Violation::Format(set.format));
        self.is(set.installation != facts.installation, || Violation::Installation(set.installation));
        self.is(set.proposer.0.trim().is_empty(), || Violation::NoProposer);
        self.is(set.steps.is_empty(), || Violation::Empty);
        let of_charter = valid_for(set, facts.charter);
        // A key's own rules may ask for less time than its profile's. The charter does not have them.
        let valid = facts.key.map_or(of_charter, |key| of_charter.min(key.rules.approvals.valid));
        if let Err(violation) = in_time(set.until, facts.now, valid) {
            self.violations.push(violation);
        }
        self.is(set.action == Action::Import && set.wanted.is_none(), || Violation::NothingWanted);
    }

    /// Checks that placements and steps belong together.
    fn placements(&mut self) {
        let set = self.set;
        for (number, step) in self.steps() {
            self.is(!set.placements.contains_key(&step.placement), || Violation::UnknownPlacement(number));
        }
        let mut addresses = BTreeSet::new();
        for (id, plan) in &set.placements {
            self.is(set.steps_of(*id).next().is_none(), || Violation::IdlePlacement(*id));
            self.is(!addresses.insert((&plan.destination, &plan.name)), || Violation::SameAddress(*id));
            self.is(plan.incarnation == 0, || Violation::Incarnation(*id));
            self.is(!plan.algorithm.serves(plan.purpose), || Violation::Algorithm { placement: *id, algorithm: plan.algorithm });
        }
    }

    /// Checks each act by itself.
    fn acts(&mut self) {
        let set = self.set;
        let mut version = None;
        let mut prepared = BTreeMap::new();
        for (number, step) in self.steps() {
            let wanted = expected(&step.act);
            self.is(step.expects != wanted, || Violation::Expectation { step: number, found: step.expects, wanted });
            self.is(belongs_to(&step.act) != set.action, || Violation::WrongAct { step: number, action: set.action });
            let act = step.act.on_copy();
            if let Some(this) = act.map(CopyAct::version) {
                let zero_epoch = matches!(act, Some(CopyAct::Mint { epoch, .. }) if epoch.0 == 0);
                self.is(this.0 == 0 || zero_epoch, || Violation::Zero(number));
                self.is(*version.get_or_insert(this) != this, || Violation::TwoVersions { step: number, version: this });
            }
            let Some(plan) = set.placements.get(&step.placement) else { continue };
            match act {
                Some(CopyAct::Mint { source, .. }) => {
                    self.is(source == Source::Derived && !plan.algorithm.is_symmetric(), || Violation::DerivedKeyPair(number));
                }
                Some(CopyAct::Share { from, .. }) => self.is(from == step.placement, || Violation::SharesWithItself(number)),
                Some(CopyAct::Prepare { scheme, .. }) => {
                    prepared.insert(step.placement, scheme);
                }
                Some(CopyAct::Import { scheme, .. }) => {
                    let other = prepared.get(&step.placement).is_some_and(|prepared| *prepared != scheme);
                    self.is(other, || Violation::PreparedOtherwise(number));
                    self.is(!scheme.takes(plan.algorithm), || Violation::SchemeUnfit { step: number, scheme });
                    self.is(is_sha1(scheme) && self.offers_better(plan), || Violation::SchemeWeak { step: number, scheme });
                }
                None => {}
            }
        }
    }

    /// Whether the destination takes the algorithm under a scheme without SHA-1.
    fn offers_better(&self, plan: &PlacementPlan) -> bool {
        let here = self
            .facts
            .destinations
            .and_then(|destinations| destinations.get(&plan.destination))
            .and_then(|destination| destination.capabilities.algorithms.get(&plan.algorithm))
            .is_some_and(|schemes| schemes.iter().any(|scheme| !is_sha1(*scheme)));
        // Without the destination's capabilities, the vendor decides: only Azure asks for SHA-1.
        here || match plan.cloud {
            CloudKind::Aws | CloudKind::Gcp => true,
            CloudKind::Azure => false,
        }
    }

    /// Checks the order of each placement's steps: mint or share, create, claim, prepare, import, publish, each at most once.
    fn order(&mut self) {
        let mut last: BTreeMap<PlacementId, u8> = BTreeMap::new();
        let mut removed: BTreeSet<(&ObjectId, Option<&String>)> = BTreeSet::new();
        for (number, step) in self.steps() {
            match (&step.act, rank(&step.act)) {
                (Act::RemoveSurplus { object }, _) => self.is(!removed.insert((object, None)), || Violation::Repeated(number)),
                (Act::DisableSurplus { object, material, .. } | Act::FollowSecond { object, material, .. }, _) => {
                    self.is(!removed.insert((object, Some(material))), || Violation::Repeated(number));
                }
                (_, rank) => match last.insert(step.placement, rank) {
                    Some(before) if before == rank => self.violations.push(Violation::Repeated(number)),
                    Some(before) if before > rank => self.violations.push(Violation::Order(number)),
                    _ => {}
                },
            }
        }
    }

    /// Checks that the charter knows the profile and the change set's rule of approval, and that the rule is at least the profile's.
    fn charter(&mut self) {
        let (set, facts) = (self.set, self.facts);
        self.is(facts.charter.installation != facts.installation, || Violation::CharterInstallation(facts.charter.installation));
        match facts.charter.rule(&set.profile, set.action) {
            None => self.violations.push(Violation::UnknownProfile(set.profile.clone())),
            Some(rule) if !set.approvals.is_at_least(rule) => self.violations.push(Violation::ApprovalsLooser),
            Some(rule) => {
                let known = set.approvals == *rule || facts.charter.key_rules.contains(&set.approvals);
                self.is(!known, || Violation::ApprovalsUnknown);
            }
        }
    }

    /// Checks against the ledger: nothing is made twice, nothing in use is removed, nothing is imported that was not made.
    fn ledger(&mut self) {
        let (set, record) = (self.set, self.facts.record);
        if record.is_none() && !self.knows_the_world() {
            return;
        }
        let found = record.map_or(Generation(0), |record| record.generation);
        self.is(set.generation != found, || Violation::Generation { planned: set.generation, found });
        if let Some(record) = record {
            self.is(record.id != set.key_id || record.name != set.key, || Violation::OtherKey);
            for (id, plan) in &set.placements {
                self.recorded_placement(record, *id, plan);
            }
        }
        let newest = record.and_then(|record| record.versions.last_key_value()).map_or(Version(0), |(version, _)| *version);
        for (number, step) in self.steps() {
            let id = step.placement;
            let earlier = |is: fn(&Act) -> bool| set.steps_of(id).take_while(|(other, _)| *other < number).any(|(_, step)| is(&step.act));
            let placement = record.and_then(|record| record.placements.get(&id));
            match &step.act {
                Act::Mint { version, .. } => {
                    let exists = record.is_some_and(|record| record.copy(*version, id).is_some());
                    self.is(exists, || Violation::CopyExists { step: number, version: *version });
                    self.is(*version > newest.next(), || Violation::VersionGap { step: number, version: *version });
                }
                Act::Share { version, from } => {
                    let exists = record.is_some_and(|record| record.copy(*version, id).is_some());
                    self.is(exists, || Violation::CopyExists { step: number, version: *version });
                    let made = record.is_some_and(|record| record.copy(*version, *from).is_some_and(|copy| copy.bytes_of.is_none()));
                    let will_be =
                        set.steps_of(*from).any(|(_, step)| matches!(&step.act, Act::Mint { version: other, .. } if other == version));
                    self.is(!made && !will_be, || Violation::NoCopy { step: number, version: *version });
                    let of_record = record.and_then(|record| record.placements.get(from)).map(|known| known.algorithm);
                    let theirs = set.placements.get(from).map(|plan| plan.algorithm).or(of_record);
                    let ours = set.placements.get(&id).map(|plan| plan.algorithm);
                    self.is(theirs != ours, || Violation::SharesOtherAlgorithm(number));
                }
                Act::Import { version, of, made, .. } => {
                    let recorded = record.and_then(|record| record.copy(*version, id));
                    self.is(recorded.is_none() && !earlier(|act| matches!(act, Act::Mint { .. } | Act::Share { .. })), || {
                        Violation::NoCopy { step: number, version: *version }
                    });
                    let shared = set.steps_of(id).find_map(|(_, step)| match &step.act {
                        Act::Share { from, .. } => Some(*from),
                        _ => None,
                    });
                    self.is(*of != recorded.and_then(|copy| copy.bytes_of).or(shared), || Violation::OtherBytes(number));
                    // Bytes that this change set shares may have been made before.
                    let origin = || record.zip(shared).and_then(|(record, from)| record.copy(*version, from));
                    let before = recorded.or_else(origin).map(CopyRecord::bound);
                    self.is(*made != before, || Violation::OtherMaking(number));
                    let object = self.imports_make_objects(id) || placement.is_some_and(|placement| placement.object.is_some());
                    self.is(!object && !earlier(|act| matches!(act, Act::Create | Act::Claim)), || Violation::NoObject(number));
                }
                Act::Publish => {
                    let imported = record
                        .is_some_and(|record| record.copies.iter().any(|copy| copy.coordinates.placement == id && copy.imported.is_some()));
                    self.is(!imported && !earlier(|act| matches!(act, Act::Import { .. })), || Violation::NotImported(number));
                }
                Act::RemoveSurplus { object } => {
                    // Object ids are unique only within a destination.
                    let here = set.placements.get(&id).map(|plan| &plan.destination);
                    let in_use = record.is_some_and(|record| {
                        record.placements.values().any(|known| known.object.as_ref() == Some(object) && Some(&known.destination) == here)
                    });
                    self.is(in_use, || Violation::RemovesInUse { step: number, object: object.clone() });
                }
                Act::DisableSurplus { material, keeps, .. } => {
                    // The ledger records one of the two imports.
                    let knows = record.is_some_and(|record| {
                        let mut copies = record.copies.iter().filter(|copy| copy.coordinates.placement == id);
                        copies.any(|copy| copy.material.as_ref().is_some_and(|known| known == material || known == keeps))
                    });
                    // Where an import activates itself, each of the two was current for a while, and may have been used.
                    let used = self.imports_make_objects(id);
                    self.is(!knows || material == keeps || used, || Violation::DisablesInUse { step: number, material: material.clone() });
                }
                Act::FollowSecond { material, keeps, .. } => {
                    let knows = record.is_some_and(|record| {
                        let mut copies = record.copies.iter().filter(|copy| copy.coordinates.placement == id);
                        copies.any(|copy| copy.material.as_ref() == Some(material))
                    });
                    let elsewhere = self.facts.destinations.is_some() && !self.imports_make_objects(id);
                    self.is(!knows || material == keeps || elsewhere, || Violation::FollowsUnknown {
                        step: number,
                        material: keeps.clone(),
                    });
                }
                Act::Create | Act::Claim | Act::Prepare { .. } => {}
            }
        }
    }

    /// Whether the import makes the placement's object.
    fn imports_make_objects(&self, placement: PlacementId) -> bool {
        let plan = self.set.placements.get(&placement);
        let destination = plan.and_then(|plan| self.facts.destinations?.get(&plan.destination));
        destination.is_some_and(|destination| destination.capabilities.creation == Creation::Imported)
    }

    /// Checks that a recorded placement keeps its destination, name, algorithm and use.
    fn recorded_placement(&mut self, record: &KeyRecord, id: PlacementId, plan: &PlacementPlan) {
        match record.placements.get(&id) {
            Some(known) => {
                let same = known.destination == plan.destination
                    && (known.object.is_none() || known.fingerprint == plan.fingerprint)
                    && known.cloud == plan.cloud
                    && known.name == plan.name
                    && known.algorithm == plan.algorithm
                    && known.purpose == plan.purpose
                    && known.incarnation <= plan.incarnation;
                self.is(!same, || Violation::OtherPlacement(id));
            }
            None => {
                let taken = record.placements.values().any(|known| known.destination == plan.destination && known.name == plan.name);
                self.is(taken, || Violation::TakenAddress(id));
            }
        }
    }

    fn wanted(&mut self) {
        let set = self.set;
        let Some(key) = self.facts.key else {
            self.is(self.knows_the_world() && set.wanted.is_some(), || Violation::Wanted);
            // For a key that is no longer wanted, the recorded profile applies.
            let other = self.facts.record.is_some_and(|record| record.profile != set.profile);
            self.is(other, || Violation::OtherProfile(set.profile.clone()));
            return;
        };
        self.is(set.wanted.is_none() || key.digest().ok() != set.wanted, || Violation::Wanted);
        self.is(key.profile != set.profile, || Violation::OtherProfile(set.profile.clone()));
        let asked = match set.action {
            Action::Import | Action::CleanUp => &key.rules.approvals.import,
        };
        self.is(set.approvals != *asked, || Violation::ApprovalsDiffer);
        match set.action {
            Action::Import => self.imported(key),
            // A clean-up brings nothing to a placement. The ledger decides which objects it may remove, disable or follow.
            Action::CleanUp => {}
        }
    }

    /// Checks what a change set does against the intent, whatever else the intent says of the key.
    fn still_wanted(&mut self) {
        let set = self.set;
        match (set.action, self.facts.key) {
            (Action::Import, None) => self.violations.push(Violation::KeyDropped),
            (Action::Import, Some(key)) => {
                self.is(key.profile != set.profile, || Violation::OtherProfile(set.profile.clone()));
                self.imported(key);
            }
            // As in `wanted`: the ledger decides about clean-ups, of keys that are wanted and of those that are not.
            (Action::CleanUp, Some(_) | None) => {}
        }
    }

    /// Checks an import against the key's rules.
    fn imported(&mut self, key: &Key) {
        let set = self.set;
        let rules = &key.rules;
        self.shared(key);
        for (id, plan) in &set.placements {
            let is_wanted = key.placements.iter().any(|wanted| {
                wanted.destination == plan.destination
                    && wanted.cloud == plan.cloud
                    && wanted.name == plan.name
                    && wanted.algorithm == plan.algorithm
            });
            self.is(!is_wanted, || Violation::NotWanted { placement: *id, destination: plan.destination.clone() });
            self.is(key.purpose != plan.purpose, || Violation::Purpose { placement: *id, purpose: plan.purpose });
            self.is(!rules.algorithms.contains(&plan.algorithm), || Violation::Algorithm { placement: *id, algorithm: plan.algorithm });
            let allowed = rules.locations.as_ref().is_none_or(|locations| locations.contains(&plan.destination));
            self.is(!allowed, || Violation::Location { placement: *id, destination: plan.destination.clone() });
        }
        for (number, step) in self.steps() {
            let (Act::Mint { source, .. }, Some(plan)) = (&step.act, set.placements.get(&step.placement)) else { continue };
            // Key pairs are always generated. If the rules name no source, both are allowed.
            let ruled = rules.source.filter(|_| plan.algorithm.is_symmetric());
            self.is(ruled.is_some_and(|ruled| ruled != *source), || Violation::Source(number));
        }
    }

    /// Checks sharing: a version of a shared key is made only once, and without `shared` each placement has bytes of its own.
    fn shared(&mut self, key: &Key) {
        let mut origins = BTreeMap::new();
        for copy in self.facts.record.into_iter().flat_map(|record| &record.copies) {
            origins.entry(copy.coordinates.version).or_insert(copy.bytes_of.unwrap_or(copy.coordinates.placement));
        }
        for (number, step) in self.steps() {
            match step.act.on_copy() {
                Some(CopyAct::Mint { version, .. }) if key.shared => {
                    let origin = *origins.entry(version).or_insert(step.placement);
                    self.is(origin != step.placement, || Violation::TwoOrigins { step: number, version });
                }
                Some(CopyAct::Share { .. }) => self.is(!key.shared, || Violation::Shares(number)),
                Some(CopyAct::Mint { .. } | CopyAct::Prepare { .. } | CopyAct::Import { .. }) | None => {}
            }
        }
    }

    /// Checks against the destinations: their fingerprints, and what they take.
    fn destinations(&mut self) {
        let Some(destinations) = self.facts.destinations else { return };
        for (id, plan) in &self.set.placements {
            match destinations.get(&plan.destination) {
                None => self.violations.push(Violation::UnknownDestination(plan.destination.clone())),
                Some(destination) => self.destination(*id, plan, destination),
            }
        }
    }

    fn destination(&mut self, id: PlacementId, plan: &PlacementPlan, destination: &Destination) {
        let name = || plan.destination.clone();
        let same = destination.fingerprint == plan.fingerprint && destination.cloud == plan.cloud;
        self.is(!same, || Violation::OtherDestination(name()));
        let imports = match self.set.action {
            Action::Import => true,
            Action::CleanUp => false,
        };
        let protects = self.facts.key.is_none_or(|key| destination.capabilities.protection >= key.rules.protection);
        self.is(imports && !protects, || Violation::Protection(name()));

        let claimed = self.facts.record.and_then(|record| record.placements.get(&id)).is_some_and(|known| known.claimed);
        let capabilities = &destination.capabilities;
        let mut claim = claimed || capabilities.creation != Creation::Claimed;
        let mut prepared = !capabilities.prepares;
        for (number, step) in self.set.steps_of(id) {
            match &step.act {
                Act::Claim => claim = true,
                Act::Prepare { .. } => {
                    self.is(prepared, || Violation::PreparesInVain(number));
                    prepared = true;
                }
                Act::Import { scheme, .. } => {
                    self.is(!prepared, || Violation::Unprepared(number));
                    // INVARIANT: only the holder of the claim ever gets material (rule 3).
                    self.is(!claim, || Violation::Unclaimed(number));
                    let takes = capabilities.algorithms.get(&plan.algorithm).is_some_and(|schemes| schemes.contains(scheme));
                    self.is(!takes, || Violation::SchemeRefused { step: number, scheme: *scheme, destination: name() });
                }
                Act::Mint { .. }
                | Act::Share { .. }
                | Act::Create
                | Act::Publish
                | Act::RemoveSurplus { .. }
                | Act::DisableSurplus { .. }
                | Act::FollowSecond { .. } => {}
            }
        }
    }
}

/// The state that each act has to find.
fn expected(act: &Act) -> Expectation {
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

fn belongs_to(act: &Act) -> Action {
    match act {
        Act::Mint { .. } | Act::Share { .. } | Act::Create | Act::Claim | Act::Prepare { .. } | Act::Import { .. } | Act::Publish => {
            Action::Import
        }
        Act::RemoveSurplus { .. } | Act::DisableSurplus { .. } | Act::FollowSecond { .. } => Action::CleanUp,
    }
}

/// The position of an act among the steps of its placement.
fn rank(act: &Act) -> u8 {
    match act {
        Act::Mint { .. } | Act::Share { .. } => 0,
        Act::Create => 1,
        Act::Claim => 2,
        Act::Prepare { .. } => 3,
        Act::Import { .. } => 4,
        Act::Publish => 5,
        Act::RemoveSurplus { .. } | Act::DisableSurplus { .. } | Act::FollowSecond { .. } => 6,
    }
}

fn is_sha1(scheme: WrapScheme) -> bool {
    match scheme {
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => true,
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => false,
    }
}
