//! Every rule of the judge, each broken alone in a valid change set.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    APPROVALS_LAST, Act, Action, Actor, Algorithm, ApprovalRule, Approvals, Approver, Capabilities, ChangeSet, Charter, CloudKind,
    CopyCoordinates, Creation, Destination, DestinationName, Digest, EpochId, Expectation, Generation, IdTree, InstallationId, Key,
    KeyName, KeyRecord, ObjectId, Outcome, PlacementId, PlacementIntent, PlacementPlan, Protection, Purpose, Reason, Receipt, Retire,
    Rotation, Rules, Source, Span, Standing, Step, StepNo, Timestamp, Version, WrapScheme,
};
use keyplane_verifier::{Denial, Facts, MAX_STEPS, Violation, entitles, judge, may_mint, may_wrap, required, still_wanted};

/// A change set, and everything that it is judged against.
struct World {
    set: ChangeSet,
    installation: InstallationId,
    charter: Charter,
    record: Option<KeyRecord>,
    key: Option<Key>,
    destinations: BTreeMap<DestinationName, Destination>,
}

impl World {
    /// The violations that service and engine find.
    fn verdict(&self) -> Vec<Violation> {
        let facts = Facts {
            charter: &self.charter,
            installation: self.installation,
            now: NOW,
            record: self.record.as_ref(),
            key: self.key.as_ref(),
            destinations: Some(&self.destinations),
        };
        judge(&self.set, &facts).err().unwrap_or_default()
    }

    /// What is not wanted of a change set that was committed, or by a policy that it was not planned from.
    fn unwanted(&self) -> Vec<Violation> {
        let facts = Facts {
            charter: &self.charter,
            installation: self.installation,
            now: NOW,
            record: self.record.as_ref(),
            key: self.key.as_ref(),
            destinations: Some(&self.destinations),
        };
        still_wanted(&self.set, &facts).err().unwrap_or_default()
    }

    /// The violations that the custodian finds.
    fn custodian(&self) -> Vec<Violation> {
        let facts =
            Facts { charter: &self.charter, installation: self.installation, now: NOW, record: None, key: None, destinations: None };
        judge(&self.set, &facts).err().unwrap_or_default()
    }

    fn placement(&self) -> PlacementId {
        self.set.steps[0].placement
    }

    fn plan(&mut self) -> &mut PlacementPlan {
        let id = self.placement();
        self.set.placements.get_mut(&id).unwrap()
    }

    fn destination(&mut self) -> &mut Destination {
        self.destinations.values_mut().next().unwrap()
    }

    fn rules(&mut self) -> &mut Rules {
        &mut self.key.as_mut().unwrap().rules
    }

    /// Takes the changed intent into the change set.
    fn want_again(&mut self) {
        self.set.wanted = self.key.as_ref().map(|key| key.digest().unwrap());
    }

    /// The world after its change set was applied.
    fn applied(mut self) -> Self {
        let mut record = KeyRecord::committed(None, &self.set).unwrap();
        for (number, step) in (0..).map(StepNo).zip(&self.set.steps) {
            let receipt = Receipt { step: number, attempt: None, outcome: outcome(&self.set, step), at: Timestamp(1) };
            record.settle(&self.set, &receipt).unwrap();
        }
        record.complete(Timestamp(2));
        self.set.generation = record.generation;
        self.record = Some(record);
        self
    }

    /// A valid clean-up of the applied key.
    fn clean_up() -> Self {
        let mut world = first_import().applied();
        let placement = world.placement();
        let act = Act::RemoveSurplus { object: ObjectId("spare".into()) };
        world.set.action = Action::CleanUp;
        world.set.steps = vec![Step { placement, expects: Expectation::Surplus, act }];
        world
    }
}

fn outcome(set: &ChangeSet, step: &Step) -> Outcome {
    let object = ObjectId("object".into());
    match &step.act {
        Act::Mint { version, source, epoch } => {
            Outcome::Minted { coordinates: coordinates(set, *version, *source, *epoch), check_value: None, blob: None, public_key: None }
        }
        Act::Share { from, .. } => Outcome::Shared { from: *from },
        Act::Create => Outcome::Created { object },
        Act::Claim => Outcome::Claimed { object },
        Act::Import { version, .. } => Outcome::Imported { version: *version, object: None, material: None, wrapped_under: None },
        Act::Publish => Outcome::Published,
        Act::Prepare { .. } => Outcome::Prepared { wrapping: object },
        Act::RemoveSurplus { object } => Outcome::SurplusRemoved { object: object.clone() },
        Act::DisableSurplus { object, material, .. } => Outcome::SurplusDisabled { object: object.clone(), material: material.clone() },
        Act::FollowSecond { object, keeps, .. } => Outcome::SecondFollowed { object: object.clone(), material: keeps.clone() },
    }
}

fn coordinates(set: &ChangeSet, version: Version, source: Source, epoch: EpochId) -> CopyCoordinates {
    let (placement, plan) = set.placements.first_key_value().unwrap();
    CopyCoordinates {
        installation: set.installation,
        key: set.key_id,
        version,
        placement: *placement,
        algorithm: plan.algorithm,
        source,
        epoch,
        profile: set.profile.clone(),
        approvals: set.approvals.clone(),
    }
}

/// When everything here is judged.
const NOW: Timestamp = Timestamp(1_000_000);

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn rule(need: u32) -> ApprovalRule {
    ApprovalRule { need, from: BTreeSet::from([name("security")]) }
}

/// A new AES key at a destination with claims: five steps.
fn first_import() -> World {
    let installation = InstallationId(IdTree::new([7; 32]).child("installation").uuid());
    let ids = IdTree::of(installation);
    let approvals = Approvals { import: rule(1), retire: rule(2), valid: APPROVALS_LAST, standing: Standing::default() };
    let intent =
        PlacementIntent { destination: name("prod"), cloud: CloudKind::Aws, name: "payments-db".into(), algorithm: Algorithm::Aes256 };
    let key = Key {
        profile: name("payments"),
        purpose: Purpose::Encrypt,
        shared: false,
        rules: Rules {
            algorithms: BTreeSet::from([Algorithm::Aes256, Algorithm::Rsa3072]),
            protection: Protection::Hsm,
            locations: None,
            source: Some(Source::Derived),
            rotation: Rotation { every: None, overlap: Span::days(30), retire: Retire::Never },
            approvals: approvals.clone(),
        },
        placements: BTreeSet::from([intent.clone()]),
    };
    let destination = Destination {
        name: name("prod"),
        cloud: CloudKind::Aws,
        home: "111122223333 us-east-1".into(),
        fingerprint: Digest::of(b"prod"),
        capabilities: Capabilities {
            algorithms: BTreeMap::from([
                (Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256]),
                (Algorithm::Rsa3072, vec![WrapScheme::RsaAesKeyWrapSha256]),
            ]),
            protection: Protection::Hsm,
            creation: Creation::Claimed,
            prepares: false,
            generations: false,
            consistency: Span::seconds(5),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: BTreeMap::new(),
            draws: BTreeMap::new(),
            deletion_days: 30,
        },
    };
    let key_name: KeyName = name("payments-db");
    let key_id = ids.key(key_name.as_str());
    let placement = ids.placement(key_id, "prod", "payments-db");
    let step = |expects, act| Step { placement, expects, act };
    let set = ChangeSet {
        format: ChangeSet::FORMAT,
        installation,
        key: key_name,
        key_id,
        profile: name("payments"),
        action: Action::Import,
        wanted: Some(key.digest().unwrap()),
        approvals: rule(1),
        proposer: Actor("pipeline".into()),
        generation: Generation(0),
        placements: BTreeMap::from([(
            placement,
            PlacementPlan {
                destination: intent.destination,
                fingerprint: destination.fingerprint,
                cloud: CloudKind::Aws,
                name: intent.name,
                algorithm: Algorithm::Aes256,
                purpose: Purpose::Encrypt,
                incarnation: 1,
            },
        )]),
        steps: vec![
            step(Expectation::NoCopy, Act::Mint { version: Version(1), source: Source::Derived, epoch: EpochId(1) }),
            step(Expectation::Unclaimed, Act::Create),
            step(Expectation::Created, Act::Claim),
            step(Expectation::Empty, Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made: None }),
            step(Expectation::Imported, Act::Publish),
        ],
        reasons: vec![Reason::NewKey],
        until: NOW + APPROVALS_LAST,
    };
    World {
        set,
        installation,
        charter: Charter {
            installation,
            approvers: BTreeMap::new(),
            profiles: BTreeMap::from([(name("payments"), approvals.clone()), (name("loose"), Approvals { import: rule(0), ..approvals })]),
            key_rules: BTreeSet::new(),
        },
        record: None,
        key: Some(key),
        destinations: BTreeMap::from([(name("prod"), destination)]),
    }
}

/// Makes the placement an RSA key in every respect, so that only the tested rule is broken.
fn rsa() -> World {
    let mut world = first_import();
    world.plan().algorithm = Algorithm::Rsa3072;
    let key = world.key.as_mut().unwrap();
    key.placements = key.placements.iter().cloned().map(|wanted| PlacementIntent { algorithm: Algorithm::Rsa3072, ..wanted }).collect();
    world.want_again();
    world.set.steps[0].act = Act::Mint { version: Version(1), source: Source::Generated, epoch: EpochId(1) };
    world.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaAesKeyWrapSha256, of: None, made: None };
    world
}

/// A new AES key at a destination with unique names, where a wrapping key has to be created first.
fn prepared() -> World {
    let mut world = first_import();
    let capabilities = &mut world.destination().capabilities;
    (capabilities.creation, capabilities.prepares, capabilities.generations) = (Creation::Named, true, true);
    let act = Act::Prepare { version: Version(1), scheme: WrapScheme::RsaOaepSha256 };
    world.set.steps[2] = Step { expects: Expectation::Absent, act, ..world.set.steps[2].clone() };
    world
}

/// A new AES key at a destination where the import makes the object.
fn imported() -> World {
    let mut world = prepared();
    world.destination().capabilities.creation = Creation::Imported;
    world.set.steps.remove(1);
    world
}

/// The applied key, with a second import at its destination.
fn doubled() -> World {
    let mut world = prepared().applied();
    world.record.as_mut().unwrap().copies[0].material = Some("1".into());
    let act = Act::DisableSurplus { object: ObjectId("object".into()), material: "2".into(), keeps: "1".into() };
    world.set.action = Action::CleanUp;
    world.set.steps = vec![Step { placement: world.placement(), expects: Expectation::Double, act }];
    world
}

/// The same where an import activates itself: the second import became current.
fn seconded() -> World {
    let mut world = doubled();
    world.destination().capabilities.creation = Creation::Imported;
    world.set.steps[0].act = Act::FollowSecond { object: ObjectId("object".into()), material: "1".into(), keeps: "2".into() };
    world
}

/// The applied key, wanted under one more name.
fn second_placement() -> World {
    let mut world = first_import().applied();
    let id = PlacementId(IdTree::new([8; 32]).uuid());
    let mut plan = world.plan().clone();
    plan.name = "payments-db-2".into();
    let key = world.key.as_mut().unwrap();
    key.placements.insert(PlacementIntent {
        destination: plan.destination.clone(),
        cloud: plan.cloud,
        name: plan.name.clone(),
        algorithm: plan.algorithm,
    });
    world.want_again();
    world.set.placements = BTreeMap::from([(id, plan)]);
    for step in &mut world.set.steps {
        step.placement = id;
    }
    world
}

/// The applied key, wanted under one more name with the same bytes.
fn shared() -> World {
    let mut world = second_placement();
    world.key.as_mut().unwrap().shared = true;
    world.want_again();
    let from = first();
    world.set.steps[0].act = Act::Share { version: Version(1), from };
    let made = Some(made_first(&world));
    world.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: Some(from), made };
    world
}

/// What the bytes of [`first_import`] are bound to.
fn made_first(world: &World) -> CopyCoordinates {
    CopyCoordinates { placement: first(), ..coordinates(&world.set, Version(1), Source::Derived, EpochId(1)) }
}

/// The import of a copy that an earlier change set made and did not import.
fn import_of_an_older_copy() -> World {
    let mut world = first_import().applied();
    world.set.steps.drain(0..3);
    let made = Some(made_first(&world));
    world.set.steps[0].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made };
    world
}

#[test]
fn shared_bytes_are_wrapped_only_where_the_step_says_whose_they_are() {
    let world = shared();
    let own = coordinates(&world.set, Version(1), Source::Derived, EpochId(1));
    let theirs = CopyCoordinates { placement: first(), ..own.clone() };
    let may_wrap = |copy: &CopyCoordinates| may_wrap(&world.set, StepNo(3), copy, WrapScheme::RsaOaepSha256);
    assert_eq!(may_wrap(&theirs), Ok(()));
    assert_eq!(may_wrap(&own), Err(Denial::OtherCopy { step: StepNo(3), field: "placement" }));
}

#[test]
fn good_change_sets_pass_both_judges() {
    let worlds = [first_import(), rsa(), prepared(), imported(), doubled(), World::clean_up(), second_placement(), shared()];
    for world in worlds.into_iter().chain([import_of_an_older_copy()]) {
        assert_eq!(world.verdict(), []);
        assert_eq!(world.custodian(), []);
    }
}

/// A test for one rule: what is broken, and exactly which violations both judges find. `custodian: no` marks rules that need facts that the
/// custodian does not have.
macro_rules! broken {
    ($($sentence:ident: $world:expr, $break:expr => [$($violation:expr),+], custodian: $custodian:ident;)*) => {$(
        #[test]
        fn $sentence() {
            let mut world: World = $world;
            let breaks: fn(&mut World) = $break;
            breaks(&mut world);
            assert_eq!(world.verdict(), [$($violation),+]);
            let seen = if stringify!($custodian) == "yes" { world.verdict() } else { Vec::new() };
            assert_eq!(world.custodian(), seen);
        }
    )*};
}

/// The id of the only placement of [`first_import`].
fn first() -> PlacementId {
    first_import().placement()
}

fn not_wanted() -> Violation {
    Violation::NotWanted { placement: first(), destination: name("prod") }
}

broken! {
    another_format_is_refused: first_import(), |w| w.set.format = 1 => [Violation::Format(1)], custodian: yes;
    another_installation_is_refused: first_import(), |w| w.set.installation = InstallationId(IdTree::new([9; 32]).uuid())
        => [Violation::Installation(InstallationId(IdTree::new([9; 32]).uuid()))], custodian: yes;
    the_charter_of_another_installation_is_refused: first_import(), |w| w.charter.installation = InstallationId(IdTree::new([9; 32]).uuid())
        => [Violation::CharterInstallation(InstallationId(IdTree::new([9; 32]).uuid()))], custodian: yes;
    a_change_set_of_nobody_is_refused: first_import(), |w| w.set.proposer = Actor(" ".into()) => [Violation::NoProposer], custodian: yes;
    an_import_that_nobody_wants_is_refused: first_import(), |w| { w.set.wanted = None; w.key = None; } => [Violation::NothingWanted], custodian: yes;
    a_change_set_without_steps_is_refused: first_import(), |w| { w.set.steps.clear(); w.set.placements.clear(); } => [Violation::Empty], custodian: yes;
    a_placement_without_steps_is_refused: first_import(), |w| w.set.steps.clear()
        => [Violation::Empty, Violation::IdlePlacement(first())], custodian: yes;
    a_change_set_without_end_is_refused: first_import(), |w| w.set.steps = vec![w.set.steps[0].clone(); MAX_STEPS + 1]
        => [Violation::TooLong(MAX_STEPS + 1)], custodian: yes;
    a_placement_that_was_never_one_is_refused: first_import(), |w| w.plan().incarnation = 0 => [Violation::Incarnation(first())], custodian: yes;
    removing_has_no_place_in_an_import: World::clean_up(), |w| w.set.action = Action::Import
        => [Violation::WrongAct { step: StepNo(0), action: Action::Import }], custodian: yes;
    importing_has_no_place_in_a_clean_up: first_import(), |w| { w.set.action = Action::CleanUp; w.set.steps.truncate(1); }
        => [Violation::WrongAct { step: StepNo(0), action: Action::CleanUp }], custodian: yes;
    steps_out_of_order_are_refused: first_import(), |w| w.set.steps.swap(0, 1) => [Violation::Order(StepNo(1))], custodian: yes;
    doing_the_same_twice_is_refused: first_import(), |w| { let step = w.set.steps[1].clone(); w.set.steps.insert(1, step); }
        => [Violation::Repeated(StepNo(2))], custodian: yes;
    removing_the_same_twice_is_refused: World::clean_up(), |w| { let step = w.set.steps[0].clone(); w.set.steps.push(step); }
        => [Violation::Repeated(StepNo(1))], custodian: yes;
    an_expectation_of_another_act_is_refused: first_import(), |w| w.set.steps[1].expects = Expectation::Created
        => [Violation::Expectation { step: StepNo(1), found: Expectation::Created, wanted: Expectation::Unclaimed }], custodian: yes;
    root_epoch_zero_is_refused: first_import(),
        |w| w.set.steps[0].act = Act::Mint { version: Version(1), source: Source::Derived, epoch: EpochId(0) }
        => [Violation::Zero(StepNo(0))], custodian: yes;
    two_versions_in_one_change_set_are_refused: second_placement(),
        |w| w.set.steps[3].act = Act::Import { version: Version(2), scheme: WrapScheme::RsaOaepSha256, of: None, made: None }
        => [Violation::TwoVersions { step: StepNo(3), version: Version(2) }], custodian: yes;
    a_derived_key_pair_is_refused: rsa(),
        |w| w.set.steps[0].act = Act::Mint { version: Version(1), source: Source::Derived, epoch: EpochId(1) }
        => [Violation::DerivedKeyPair(StepNo(0))], custodian: yes;
    approvals_by_others_than_the_charter_says_are_refused: first_import(), |w| {
        w.rules().approvals.import.from.insert(name("friends"));
        w.want_again();
        w.set.approvals.from.insert(name("friends"));
    } => [Violation::ApprovalsLooser], custodian: yes;
    fewer_approvals_than_the_charter_asks_for_are_refused: first_import(), |w| {
        w.rules().approvals.import.need = 0;
        w.want_again();
        w.set.approvals.need = 0;
    } => [Violation::ApprovalsLooser], custodian: yes;
    approvals_other_than_the_keys_rules_ask_for_are_refused: first_import(),
        |w| { w.set.approvals.need = 2; w.charter.key_rules.insert(rule(2)); }
        => [Violation::ApprovalsDiffer], custodian: no;
    a_profile_that_the_charter_does_not_know_is_refused: first_import(),
        |w| { w.set.profile = name("other"); w.key.as_mut().unwrap().profile = name("other"); w.want_again(); }
        => [Violation::UnknownProfile(name("other"))], custodian: yes;

    another_generation_is_refused: first_import(), |w| w.set.generation = Generation(1)
        => [Violation::Generation { planned: Generation(1), found: Generation(0) }], custodian: no;
    another_keys_id_is_refused: World::clean_up(), |w| w.record.as_mut().unwrap().id = IdTree::new([9; 32]).key("x")
        => [Violation::OtherKey], custodian: no;
    another_keys_name_is_refused: World::clean_up(), |w| w.record.as_mut().unwrap().name = name("x") => [Violation::OtherKey], custodian: no;
    a_recorded_placement_does_not_move: World::clean_up(), |w| w.plan().name = "elsewhere".into()
        => [Violation::OtherPlacement(first())], custodian: no;
    an_older_incarnation_is_refused: World::clean_up(),
        |w| w.record.as_mut().unwrap().placements.values_mut().for_each(|known| known.incarnation = 2)
        => [Violation::OtherPlacement(first())], custodian: no;
    a_taken_address_is_refused: second_placement(), |w| w.set.placements.values_mut().for_each(|plan| plan.name = "payments-db".into())
        => [Violation::TakenAddress(PlacementId(IdTree::new([8; 32]).uuid()))], custodian: no;
    making_bytes_again_is_refused: first_import().applied(), |w| w.set.steps.truncate(1)
        => [Violation::CopyExists { step: StepNo(0), version: Version(1) }], custodian: no;
    importing_what_was_never_made_is_refused: first_import(), |w| { w.set.steps.remove(0); }
        => [Violation::NoCopy { step: StepNo(2), version: Version(1) }], custodian: no;
    importing_into_nothing_is_refused: first_import(), |w| { w.set.steps.drain(1..3); w.destination().capabilities.creation = Creation::Named; }
        => [Violation::NoObject(StepNo(1))], custodian: no;
    publishing_an_object_without_our_copy_is_refused: first_import(), |w| { w.set.steps.remove(3); }
        => [Violation::NotImported(StepNo(3))], custodian: no;
    wrapping_in_another_way_than_was_prepared_is_refused: prepared(),
        |w| w.set.steps[2].act = Act::Prepare { version: Version(1), scheme: WrapScheme::RsaAesKeyWrapSha256 }
        => [Violation::PreparedOtherwise(StepNo(3))], custodian: yes;
    importing_without_a_key_to_wrap_under_is_refused: prepared(), |w| { w.set.steps.remove(2); }
        => [Violation::Unprepared(StepNo(2))], custodian: no;
    preparing_where_the_destination_gives_a_key_is_refused: prepared(), |w| w.destination().capabilities.prepares = false
        => [Violation::PreparesInVain(StepNo(2))], custodian: no;
    disabling_the_import_that_stays_is_refused: doubled(),
        |w| w.set.steps[0].act = Act::DisableSurplus { object: ObjectId("object".into()), material: "1".into(), keeps: "1".into() }
        => [Violation::DisablesInUse { step: StepNo(0), material: "1".into() }], custodian: no;
    disabling_what_nobody_knows_is_refused: doubled(), |w| w.record.as_mut().unwrap().copies[0].material = None
        => [Violation::DisablesInUse { step: StepNo(0), material: "2".into() }], custodian: no;
    disabling_what_was_the_current_one_is_refused: seconded(),
        |w| w.set.steps[0].act = Act::DisableSurplus { object: ObjectId("object".into()), material: "1".into(), keeps: "2".into() }
        => [Violation::DisablesInUse { step: StepNo(0), material: "1".into() }], custodian: no;
    following_what_nobody_made_current_is_refused: seconded(), |w| w.destination().capabilities.creation = Creation::Named
        => [Violation::FollowsUnknown { step: StepNo(0), material: "2".into() }], custodian: no;
    following_itself_is_refused: seconded(),
        |w| w.set.steps[0].act = Act::FollowSecond { object: ObjectId("object".into()), material: "1".into(), keeps: "1".into() }
        => [Violation::FollowsUnknown { step: StepNo(0), material: "1".into() }], custodian: no;
    following_another_than_the_known_one_is_refused: seconded(), |w| w.record.as_mut().unwrap().copies[0].material = Some("3".into())
        => [Violation::FollowsUnknown { step: StepNo(0), material: "2".into() }], custodian: no;
    removing_what_is_in_use_is_refused: World::clean_up(), |w| w.set.steps[0].act = Act::RemoveSurplus { object: ObjectId("object".into()) }
        => [Violation::RemovesInUse { step: StepNo(0), object: ObjectId("object".into()) }], custodian: no;

    what_is_no_longer_wanted_is_refused: first_import(), |w| w.key.as_mut().unwrap().rules.rotation.overlap = Span::days(31)
        => [Violation::Wanted], custodian: no;
    a_key_that_nobody_wants_any_more_is_refused: first_import(), |w| w.key = None => [Violation::Wanted], custodian: no;
    a_clean_up_that_does_not_say_what_is_wanted_is_refused: World::clean_up(), |w| w.set.wanted = None => [Violation::Wanted], custodian: no;
    another_profile_than_the_keys_is_refused: first_import(),
        |w| { w.set.profile = name("loose"); w.charter.key_rules.insert(rule(1)); }
        => [Violation::OtherProfile(name("loose"))], custodian: no;
    another_profile_than_the_last_one_is_refused_for_an_unwanted_key: World::clean_up(),
        |w| { w.key = None; w.set.wanted = None; w.set.profile = name("loose"); w.set.approvals = rule(0); }
        => [Violation::OtherProfile(name("loose"))], custodian: no;
    a_placement_that_nobody_wants_is_refused: first_import(), |w| w.plan().name = "elsewhere".into() => [not_wanted()], custodian: no;
    an_algorithm_that_the_rules_forbid_is_refused: first_import(), |w| { w.rules().algorithms.remove(&Algorithm::Aes256); w.want_again(); }
        => [Violation::Algorithm { placement: first(), algorithm: Algorithm::Aes256 }], custodian: no;
    an_algorithm_that_cannot_serve_is_refused: first_import(),
        |w| { w.key.as_mut().unwrap().purpose = Purpose::Sign; w.plan().purpose = Purpose::Sign; w.want_again(); }
        => [Violation::Algorithm { placement: first(), algorithm: Algorithm::Aes256 }], custodian: yes;
    another_purpose_than_the_keys_is_refused: rsa(), |w| w.plan().purpose = Purpose::Sign
        => [Violation::Purpose { placement: first(), purpose: Purpose::Sign }], custodian: no;
    a_place_that_the_rules_forbid_is_refused: first_import(), |w| { w.rules().locations = Some(BTreeSet::from([name("lab")])); w.want_again(); }
        => [Violation::Location { placement: first(), destination: name("prod") }], custodian: no;
    a_source_that_the_rules_do_not_name_is_refused: first_import(),
        |w| w.set.steps[0].act = Act::Mint { version: Version(1), source: Source::Generated, epoch: EpochId(1) }
        => [Violation::Source(StepNo(0))], custodian: no;
    making_shared_bytes_twice_is_refused: second_placement(), |w| { w.key.as_mut().unwrap().shared = true; w.want_again(); }
        => [Violation::TwoOrigins { step: StepNo(0), version: Version(1) }], custodian: no;
    sharing_what_the_key_does_not_share_is_refused: shared(), |w| { w.key.as_mut().unwrap().shared = false; w.want_again(); }
        => [Violation::Shares(StepNo(0))], custodian: no;
    sharing_the_bytes_of_another_algorithm_is_refused: shared(),
        |w| w.record.as_mut().unwrap().placements.values_mut().for_each(|known| known.algorithm = Algorithm::Rsa3072)
        => [Violation::SharesOtherAlgorithm(StepNo(0))], custodian: no;
    importing_other_bytes_than_the_shared_ones_is_refused: shared(),
        |w| w.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made: Some(made_first(w)) }
        => [Violation::OtherBytes(StepNo(3))], custodian: no;
    importing_an_older_copy_without_saying_how_it_was_made_is_refused: import_of_an_older_copy(),
        |w| w.set.steps[0].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made: None }
        => [Violation::OtherMaking(StepNo(0))], custodian: no;
    importing_an_older_copy_as_one_of_another_rule_is_refused: import_of_an_older_copy(),
        |w| w.record.as_mut().unwrap().copies[0].coordinates.approvals = rule(3)
        => [Violation::OtherMaking(StepNo(0))], custodian: no;
    sharing_an_older_copy_as_one_of_another_profile_is_refused: shared(),
        |w| w.record.as_mut().unwrap().copies[0].coordinates.profile = name("loose")
        => [Violation::OtherMaking(StepNo(3))], custodian: no;
    importing_a_new_copy_as_an_older_one_is_refused: first_import(),
        |w| w.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made: Some(made_first(w)) }
        => [Violation::OtherMaking(StepNo(3))], custodian: no;
    importing_another_placements_bytes_unasked_is_refused: first_import(),
        |w| w.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: Some(PlacementId(IdTree::new([8; 32]).uuid())), made: None }
        => [Violation::OtherBytes(StepNo(3))], custodian: no;

    a_destination_that_is_not_there_is_refused: first_import(), |w| w.destinations.clear()
        => [Violation::UnknownDestination(name("prod"))], custodian: no;
    another_destination_under_the_same_name_is_refused: first_import(), |w| w.destination().fingerprint = Digest::of(b"other")
        => [Violation::OtherDestination(name("prod"))], custodian: no;
    a_destination_that_protects_too_little_is_refused: first_import(), |w| w.destination().capabilities.protection = Protection::Software
        => [Violation::Protection(name("prod"))], custodian: no;
    a_scheme_that_the_destination_does_not_take_is_refused: first_import(), |w| {
        w.destination().capabilities.algorithms.insert(Algorithm::Aes256, vec![WrapScheme::RsaAesKeyWrapSha256]);
    } => [Violation::SchemeRefused { step: StepNo(3), scheme: WrapScheme::RsaOaepSha256, destination: name("prod") }], custodian: no;
    importing_without_the_claim_is_refused: first_import(), |w| { w.set.steps.remove(2); } => [Violation::Unclaimed(StepNo(2))], custodian: no;
}

/// A test for each change of intent or destinations after a commit, and what it makes unwanted.
macro_rules! unwanted {
    ($($sentence:ident: $world:expr, $change:expr => [$($violation:expr),*];)*) => {$(
        #[test]
        fn $sentence() {
            // The first half of the steps is done: what the ledger says by now is no reason.
            let mut world: World = committed($world);
            assert_eq!(world.unwanted(), []);
            let change: fn(&mut World) = $change;
            change(&mut world);
            assert_eq!(world.unwanted(), [$($violation),*]);
        }
    )*};
}

/// The world after its change set was committed and begun. The change set itself stays as it was planned.
fn committed(mut world: World) -> World {
    let mut record = KeyRecord::committed(world.record.as_ref(), &world.set).unwrap();
    let half = world.set.steps.len() / 2;
    for (number, step) in (0..).map(StepNo).zip(&world.set.steps).take(half) {
        let receipt = Receipt { step: number, attempt: None, outcome: outcome(&world.set, step), at: Timestamp(1) };
        record.settle(&world.set, &receipt).unwrap();
    }
    world.record = Some(record);
    world
}

unwanted! {
    a_key_that_was_dropped_gets_nothing_more: first_import(), |w| w.key = None => [Violation::KeyDropped];
    a_placement_that_was_dropped_gets_nothing_more: first_import(), |w| w.key.as_mut().unwrap().placements.clear() => [not_wanted()];
    a_placement_under_another_name_is_another_one: first_import(), |w| {
        let key = w.key.as_mut().unwrap();
        key.placements = key.placements.iter().cloned().map(|there| PlacementIntent { name: "elsewhere".into(), ..there }).collect();
    } => [not_wanted()];
    a_place_that_was_forbidden_gets_nothing_more: first_import(), |w| w.rules().locations = Some(BTreeSet::from([name("lab")]))
        => [Violation::Location { placement: first(), destination: name("prod") }];
    an_algorithm_that_was_forbidden_is_not_imported: first_import(), |w| { w.rules().algorithms.remove(&Algorithm::Aes256); }
        => [Violation::Algorithm { placement: first(), algorithm: Algorithm::Aes256 }];
    bytes_are_not_made_in_a_way_that_was_forbidden: first_import(), |w| w.rules().source = Some(Source::Generated)
        => [Violation::Source(StepNo(0))];
    a_key_under_another_profile_gets_nothing_more: first_import(), |w| w.key.as_mut().unwrap().profile = name("loose")
        => [Violation::OtherProfile(name("payments"))];
    a_key_for_another_use_gets_nothing_more: first_import(), |w| w.key.as_mut().unwrap().purpose = Purpose::Sign
        => [Violation::Purpose { placement: first(), purpose: Purpose::Encrypt }];
    more_protection_than_the_place_gives_is_a_reason: first_import(), |w| w.destination().capabilities.protection = Protection::Software
        => [Violation::Protection(name("prod"))];
    another_place_under_the_same_name_gets_nothing: first_import(), |w| w.destination().fingerprint = Digest::of(b"other")
        => [Violation::OtherDestination(name("prod"))];
    a_place_that_is_not_configured_gets_nothing: first_import(), |w| w.destinations.clear()
        => [Violation::UnknownDestination(name("prod"))];
    sharing_that_was_given_up_is_a_reason: shared(), |w| w.key.as_mut().unwrap().shared = false => [Violation::Shares(StepNo(0))];
    what_else_is_wanted_of_a_key_is_no_reason: first_import(), |w| {
        let key = w.key.as_mut().unwrap();
        key.rules.rotation.overlap = Span::days(31);
        key.rules.approvals.import = rule(2);
        let there = key.placements.first().unwrap().clone();
        key.placements.insert(PlacementIntent { name: "payments-db-2".into(), ..there });
    } => [];
    a_clean_up_needs_no_key_that_is_wanted: World::clean_up(), |w| w.key = None => [];
    a_clean_up_is_not_made_at_another_place_under_the_same_name: World::clean_up(), |w| w.destination().fingerprint = Digest::of(b"other")
        => [Violation::OtherDestination(name("prod"))];
}

#[test]
fn a_key_may_ask_for_more_approvals_than_its_profile_and_never_for_fewer() {
    let mut world = first_import();
    world.rules().approvals.import.need = 2;
    world.want_again();
    world.set.approvals.need = 2;
    world.charter.key_rules = BTreeSet::from([rule(2)]);
    assert_eq!(world.verdict(), []);
    assert_eq!(asked(&world, None), [rule(1), rule(2)]);

    // The key's own rule, from other groups, comes in addition to the profile's, never instead.
    let friends = ApprovalRule { need: 2, from: BTreeSet::from([name("friends")]) };
    world.set.approvals = friends.clone();
    assert_eq!(asked(&world, None), [rule(1), friends]);
    world.set.approvals = rule(0);
    assert_eq!(asked(&world, None), [rule(0), rule(1)]);
}

/// Bytes are bound to the rule that they are made under. If the charter does not have it, nobody guards who belongs to its groups.
#[test]
fn a_rule_of_approval_that_the_charter_does_not_have_is_refused() {
    let mut world = first_import();
    world.rules().approvals.import = rule(2);
    world.want_again();
    world.set.approvals = rule(2);
    assert_eq!(world.verdict(), [Violation::ApprovalsUnknown]);
    assert_eq!(world.custodian(), [Violation::ApprovalsUnknown]);
    // Not even another key's rule, if it is looser than the profile's.
    world.charter.profiles.insert(name("payments"), Approvals { import: rule(3), ..world.charter.profiles[&name("payments")].clone() });
    world.charter.key_rules = BTreeSet::from([rule(2)]);
    assert_eq!(world.custodian(), [Violation::ApprovalsLooser]);
}

/// The rules that a change set has to satisfy, sorted.
fn asked(world: &World, made: Option<&CopyCoordinates>) -> Vec<ApprovalRule> {
    required(&world.set, &world.charter, made).into_iter().cloned().collect()
}

#[test]
fn bytes_leave_only_with_the_approvals_of_the_profile_and_the_rule_that_they_were_made_under() {
    let mut world = first_import();
    world.charter.approvers = (0..3).map(|number| (name(&format!("person-{number}")), person(number))).collect();
    let copy = coordinates(&world.set, Version(1), Source::Derived, EpochId(1));
    // A compromised server claims that the key has a profile that needs no approvals.
    (world.set.profile, world.set.approvals) = (name("loose"), rule(0));
    assert_eq!(asked(&world, None), [rule(0)]);
    assert_eq!(asked(&world, Some(&copy)), [rule(0), rule(1)]);
    // The key's own rule was stricter when the bytes were made.
    assert_eq!(asked(&world, Some(&CopyCoordinates { approvals: rule(3), ..copy.clone() })), [rule(0), rule(1), rule(3)]);
    // If the old profile is gone, or nobody can meet the old rule, the charter's strictest rules count.
    world.charter.profiles.insert(name("vital"), Approvals { retire: rule(3), ..world.charter.profiles[&name("payments")].clone() });
    assert_eq!(asked(&world, Some(&CopyCoordinates { profile: name("gone"), ..copy.clone() })), [rule(0), rule(1), rule(3)]);
    let gone = ApprovalRule { need: 1, from: BTreeSet::from([name("gone")]) };
    assert_eq!(asked(&world, Some(&CopyCoordinates { approvals: gone, ..copy.clone() })), [rule(0), rule(1), rule(3)]);
    // Nothing stands in for an old rule that needs more people than any rule of today.
    let gone = ApprovalRule { need: 4, from: BTreeSet::from([name("gone")]) };
    assert!(asked(&world, Some(&CopyCoordinates { approvals: gone, ..copy.clone() })).iter().any(|rule| rule.need == u32::MAX));
    // Under a charter without rules nobody can approve.
    world.charter.profiles.clear();
    assert!(asked(&world, Some(&copy)).iter().any(|rule| rule.need == u32::MAX));
}

fn person(seed: u8) -> Approver {
    let key = ssh_key::PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]));
    Approver { groups: rule(1).from, logins: BTreeSet::new(), keys: BTreeSet::from([key.public_key().to_openssh().unwrap()]) }
}

#[test]
fn approvals_end() {
    let mut world = first_import();
    world.set.until = NOW;
    assert_eq!(world.verdict(), [Violation::Ended(NOW)]);
    let late = NOW + APPROVALS_LAST + Span::days(1);
    world.set.until = late;
    assert_eq!(world.verdict(), [Violation::EndsTooLate { until: late, valid: APPROVALS_LAST }]);
}

#[test]
fn approvals_count_no_longer_than_the_profile_says() {
    let mut world = first_import();
    world.charter.profiles.get_mut(&name("payments")).unwrap().valid = Span::days(7);
    let late = NOW + Span::days(8);
    world.set.until = late;
    let expected = [Violation::EndsTooLate { until: late, valid: Span::days(7) }];
    assert_eq!(world.custodian(), expected);
    assert_eq!(world.verdict(), expected);
    world.set.until = NOW + Span::days(7);
    assert_eq!(world.verdict(), []);
}

/// The charter does not have keys' own times, so only those who know the intent find this.
#[test]
fn approvals_count_no_longer_than_the_keys_own_rules_say() {
    let mut world = first_import();
    world.rules().approvals.valid = Span::days(1);
    world.want_again();
    let until = world.set.until;
    assert_eq!(world.verdict(), [Violation::EndsTooLate { until, valid: Span::days(1) }]);
    assert_eq!(world.custodian(), []);
    world.set.until = NOW + Span::days(1);
    assert_eq!(world.verdict(), []);
}

/// Otherwise a server that was taken over would keep approvals for bytes of a strict profile as long as a loose one allows.
#[test]
fn approvals_count_no_longer_than_the_profile_says_that_the_bytes_were_made_under() {
    let mut world = first_import();
    let vital = Approvals { valid: Span::days(1), ..world.charter.profiles[&name("payments")].clone() };
    world.charter.profiles.insert(name("vital"), vital);
    assert_eq!(world.custodian(), []);
    // Where a profile is gone, the shortest time of all stands in.
    for profile in ["vital", "gone"] {
        let made = coordinates(&world.set, Version(1), Source::Derived, EpochId(1));
        let made = Some(CopyCoordinates { profile: name(profile), ..made });
        world.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made };
        let until = world.set.until;
        assert_eq!(world.custodian(), [Violation::EndsTooLate { until, valid: Span::days(1) }], "{profile}");
    }
}

#[test]
fn a_step_for_an_undescribed_placement_is_refused() {
    let mut world = first_import();
    world.set.steps[1].placement = PlacementId(IdTree::new([8; 32]).uuid());
    assert_eq!(world.verdict(), [Violation::UnknownPlacement(StepNo(1))]);
    assert_eq!(world.custodian(), [Violation::UnknownPlacement(StepNo(1))]);
}

#[test]
fn version_zero_is_refused() {
    let mut world = first_import();
    world.set.steps[0].act = Act::Mint { version: Version(0), source: Source::Derived, epoch: EpochId(1) };
    world.set.steps[3].act = Act::Import { version: Version(0), scheme: WrapScheme::RsaOaepSha256, of: None, made: None };
    assert_eq!(world.custodian(), [Violation::Zero(StepNo(0)), Violation::Zero(StepNo(3))]);
}

#[test]
fn a_version_that_does_not_come_next_is_refused() {
    let mut world = first_import();
    world.set.steps[0].act = Act::Mint { version: Version(2), source: Source::Derived, epoch: EpochId(1) };
    world.set.steps[3].act = Act::Import { version: Version(2), scheme: WrapScheme::RsaOaepSha256, of: None, made: None };
    assert_eq!(world.verdict(), [Violation::VersionGap { step: StepNo(0), version: Version(2) }]);
}

#[test]
fn two_placements_at_one_address_are_refused() {
    let mut world = first_import();
    let plan = world.plan().clone();
    let twin = PlacementId(IdTree::new([8; 32]).uuid());
    world.set.placements.insert(twin, plan);
    let steps: Vec<Step> = world.set.steps.iter().cloned().map(|step| Step { placement: twin, ..step }).collect();
    world.set.steps.extend(steps);
    let second = first().max(twin);
    assert_eq!(world.verdict(), [Violation::SameAddress(second)]);
    assert_eq!(world.custodian(), [Violation::SameAddress(second)]);
}

/// At a cloud that asks for SHA-1, so that SHA-1 alone is no violation.
#[test]
fn a_private_key_by_a_scheme_for_secret_keys_is_refused_by_both_judges() {
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| !algorithm.is_symmetric()) {
        for scheme in WrapScheme::ALL {
            let mut world = rsa();
            let plan = world.plan();
            (plan.algorithm, plan.purpose, plan.cloud) = (algorithm, Purpose::Sign, CloudKind::Azure);
            world.set.steps[3].act = Act::Import { version: Version(1), scheme, of: None, made: None };
            let unfit = Violation::SchemeUnfit { step: StepNo(3), scheme };
            let refused = matches!(scheme, WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1);
            let expected = if refused { vec![unfit.clone()] } else { vec![] };
            assert_eq!(world.custodian(), expected, "{algorithm} by {scheme}");
            assert_eq!(world.verdict().contains(&unfit), refused, "{algorithm} by {scheme}");
        }
    }
}

#[test]
fn sha1_is_refused_where_the_cloud_does_not_ask_for_it() {
    let mut world = first_import();
    let weak = Violation::SchemeWeak { step: StepNo(3), scheme: WrapScheme::RsaOaepSha1 };
    world.set.steps[3].act = Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha1, of: None, made: None };
    assert_eq!(world.custodian(), std::slice::from_ref(&weak));

    world.plan().cloud = CloudKind::Azure;
    assert_eq!(world.custodian(), []);
    // If the configuration shows a better scheme, SHA-1 is refused at that cloud too.
    assert!(world.verdict().contains(&weak));
}

#[test]
fn a_claim_from_an_earlier_change_set_is_good_for_an_import() {
    let mut world = import_of_an_older_copy();
    assert_eq!(world.verdict(), []);
    world.record.as_mut().unwrap().placements.values_mut().for_each(|known| known.claimed = false);
    assert_eq!(world.verdict(), [Violation::Unclaimed(StepNo(0))]);
}

#[test]
fn an_empty_change_set_from_the_wire_is_refused_and_not_obeyed() {
    let mut world = first_import();
    world.set.steps.clear();
    assert_eq!(entitles(&world.set, StepNo(0)), Err(Denial::NoStep(StepNo(0))));
}

#[test]
fn a_mint_step_entitles_to_its_own_copy_alone() {
    let set = first_import().set;
    let copy = coordinates(&set, Version(1), Source::Derived, EpochId(1));
    assert_eq!(may_mint(&set, StepNo(0), &copy), Ok(()));
    assert_eq!(may_mint(&set, StepNo(1), &copy), Err(Denial::OtherAct { step: StepNo(1), act: "create", asked: "mint" }));
    assert_eq!(may_mint(&set, StepNo(5), &copy), Err(Denial::NoStep(StepNo(5))));

    let other_id = IdTree::new([9; 32]);
    let others: [(&str, CopyCoordinates); 9] = [
        ("installation", CopyCoordinates { installation: InstallationId(other_id.uuid()), ..copy.clone() }),
        ("key", CopyCoordinates { key: other_id.key("x"), ..copy.clone() }),
        ("placement", CopyCoordinates { placement: PlacementId(other_id.uuid()), ..copy.clone() }),
        ("algorithm", CopyCoordinates { algorithm: Algorithm::HmacSha256, ..copy.clone() }),
        ("version", CopyCoordinates { version: Version(2), ..copy.clone() }),
        ("source", CopyCoordinates { source: Source::Generated, ..copy.clone() }),
        ("root epoch", CopyCoordinates { epoch: EpochId(2), ..copy.clone() }),
        ("profile", CopyCoordinates { profile: name("loose"), ..copy.clone() }),
        ("rule of approval", CopyCoordinates { approvals: rule(0), ..copy.clone() }),
    ];
    for (field, other) in others {
        assert_eq!(may_mint(&set, StepNo(0), &other), Err(Denial::OtherCopy { step: StepNo(0), field }));
    }
}

/// A compromised server shows approvers one name, and uses the id of another key or placement.
#[test]
fn what_approvers_read_is_what_is_made_and_wrapped() {
    let read = |change: fn(&mut ChangeSet)| {
        let mut set = first_import().set;
        let copy = coordinates(&set, Version(1), Source::Derived, EpochId(1));
        change(&mut set);
        (may_mint(&set, StepNo(0), &copy), may_wrap(&set, StepNo(3), &copy, WrapScheme::RsaOaepSha256))
    };
    let refused = |field| {
        let other = |step| Err(Denial::OtherCopy { step: StepNo(step), field });
        (other(0), other(3))
    };
    assert_eq!(read(|_| {}), (Ok(()), Ok(())));
    assert_eq!(read(|set| set.key = name("test-key")), refused("key of that name"));
    assert_eq!(read(|set| set.placements.values_mut().for_each(|plan| plan.name = "test".into())), refused("placement of that name"));
    let elsewhere = |set: &mut ChangeSet| set.placements.values_mut().for_each(|plan| plan.destination = name("test"));
    assert_eq!(read(elsewhere), refused("placement of that name"));
}

#[test]
fn an_import_step_entitles_to_wrapping_its_own_copy_in_its_own_way() {
    let set = first_import().set;
    let copy = coordinates(&set, Version(1), Source::Derived, EpochId(1));
    assert_eq!(may_wrap(&set, StepNo(3), &copy, WrapScheme::RsaOaepSha256), Ok(()));
    // A copy that the change set makes has to be the approved one: approvers signed for these bytes, not for bytes of a looser profile.
    let looser = CopyCoordinates { profile: name("loose"), approvals: rule(0), ..copy.clone() };
    let other = Err(Denial::OtherCopy { step: StepNo(0), field: "profile" });
    assert_eq!(may_wrap(&set, StepNo(3), &looser, WrapScheme::RsaOaepSha256), other);
    // An older copy keeps the source and epoch that it was made with.
    let older = CopyCoordinates { source: Source::Generated, epoch: EpochId(4), ..copy.clone() };
    let mut later = set.clone();
    later.steps.remove(0);
    let import = |made| Act::Import { version: Version(1), scheme: WrapScheme::RsaOaepSha256, of: None, made };
    later.steps[2].act = import(Some(older.clone()));
    assert_eq!(may_wrap(&later, StepNo(2), &older, WrapScheme::RsaOaepSha256), Ok(()));
    // It has to be the one that approvers saw, and they have to see it.
    for (field, other) in [
        ("source", CopyCoordinates { source: Source::Derived, ..older.clone() }),
        ("root epoch", CopyCoordinates { epoch: EpochId(1), ..older.clone() }),
        ("profile", CopyCoordinates { profile: name("loose"), ..older.clone() }),
        ("rule of approval", CopyCoordinates { approvals: rule(0), ..older.clone() }),
    ] {
        let denied = Err(Denial::OtherCopy { step: StepNo(2), field });
        assert_eq!(may_wrap(&later, StepNo(2), &other, WrapScheme::RsaOaepSha256), denied);
    }
    later.steps[2].act = import(None);
    assert_eq!(may_wrap(&later, StepNo(2), &older, WrapScheme::RsaOaepSha256), Err(Denial::MadeWhen { step: StepNo(2) }));
    let mut both = set.clone();
    both.steps[3].act = import(Some(copy.clone()));
    assert_eq!(may_wrap(&both, StepNo(3), &copy, WrapScheme::RsaOaepSha256), Err(Denial::MadeWhen { step: StepNo(3) }));
    assert_eq!(
        may_wrap(&set, StepNo(3), &copy, WrapScheme::RsaAesKeyWrapSha256),
        Err(Denial::OtherScheme { step: StepNo(3), planned: WrapScheme::RsaOaepSha256, asked: WrapScheme::RsaAesKeyWrapSha256 })
    );
    let next = CopyCoordinates { version: Version(2), ..copy.clone() };
    assert_eq!(may_wrap(&set, StepNo(3), &next, WrapScheme::RsaOaepSha256), Err(Denial::OtherCopy { step: StepNo(3), field: "version" }));
    assert_eq!(
        may_wrap(&set, StepNo(0), &copy, WrapScheme::RsaOaepSha256),
        Err(Denial::OtherAct { step: StepNo(0), act: "mint", asked: "import" })
    );
}

#[test]
fn the_applied_key_is_recorded_as_claimed_and_published() {
    let record = first_import().applied().record.unwrap();
    assert!(record.placements.values().all(|known| known.claimed && known.published));
    assert!(record.copies.iter().all(|copy| copy.imported.is_some()) && record.copies.len() == 1);
}
