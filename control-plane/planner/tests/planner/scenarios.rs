//! What is planned and reported, one case at a time.

use std::collections::BTreeMap;

use keyplane_model::{
    Act, Action, Actor, Algorithm, Approval, CLOCKS, ChangeSet, ChangeSetState, CloudKind, CopyCoordinates, Creation, Digest,
    InstallationId, KeyName, MaterialSeen, MaterialState, ObjectId, ObjectState, PlacementId, Presence, ProblemCode, Protection, Reason,
    Source, Span, Step, Timestamp, Version, VersionState, WrapScheme,
};
use keyplane_planner::{Drift, NothingReason, Obstacle, Outcome, Plan, Warning};

use crate::world::{World, empty_object, is_clean_up, name, only, words};

fn outcome<'a>(plan: &'a Plan, key: &str) -> &'a Outcome {
    &plan.report.keys[&name::<KeyName>(key)].outcome
}

fn obstacles(plan: &Plan, key: &str) -> Vec<Obstacle> {
    plan.report.keys[&name::<KeyName>(key)].findings.iter().map(|finding| finding.obstacle.clone()).collect()
}

fn nothing(plan: &Plan, key: &str) -> NothingReason {
    match outcome(plan, key) {
        Outcome::Nothing { reason } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// Plans, and expects that `payments-db` is blocked for exactly these reasons.
fn assert_blocked(world: &World, expected: &[Obstacle]) {
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert_eq!(*outcome(&plan, "payments-db"), Outcome::Blocked);
    assert_eq!(obstacles(&plan, "payments-db"), expected);
}

fn applied() -> World {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.apply(&change_set);
    world
}

fn placement(world: &mut World) -> PlacementId {
    *world.record("payments-db").placements.first_key_value().unwrap().0
}

#[test]
fn a_new_key_is_minted_created_claimed_imported_and_published() {
    let world = World::with_one_key();
    let plan = world.plan();
    let change_set = only(&plan);
    assert_eq!(words(&change_set), ["mint", "create", "claim", "import", "publish"]);
    assert_eq!(change_set.reasons, [Reason::NewKey]);
    assert_eq!(world.verdict(&change_set), Ok(()));
    let Outcome::Change { digest, steps, replaces, .. } = outcome(&plan, "payments-db") else { panic!("{}", plan.report) };
    assert_eq!((*digest, *steps, *replaces), (change_set.digest().unwrap(), 5, None));
}

#[test]
fn planning_after_applying_gives_nothing_and_says_since_when() {
    let world = applied();
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert!(matches!(nothing(&plan, "payments-db"), NothingReason::InPlace { version: Version(1), since: Some(_) }));
    assert_eq!(obstacles(&plan, "payments-db"), []);
    assert_eq!(plan.report.warnings, []);
}

#[test]
fn a_destination_without_claims_is_not_claimed() {
    let mut world = World::new();
    world.want("analytics", &[("ring", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    assert_eq!(words(&change_set), ["mint", "create", "prepare", "import", "publish"]);
    assert_eq!(world.verdict(&change_set), Ok(()));
}

#[test]
fn a_further_placement_of_a_known_key_gets_the_version_that_the_others_have() {
    let mut world = applied();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("prod-too", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    assert_eq!(words(&change_set), ["mint", "create", "claim", "import", "publish"]);
    assert!(matches!(&change_set.reasons[..], [Reason::NewPlacement { .. }]));
    assert_eq!(world.verdict(&change_set), Ok(()));
}

#[test]
fn whatever_a_dropped_change_set_left_is_taken_up() {
    // How many steps were done, whether the last receipt was lost, and which steps remain.
    let cases: [(usize, bool, &[&str]); 9] = [
        (0, false, &["mint", "create", "claim", "import", "publish"]),
        (1, false, &["create", "claim", "import", "publish"]),
        (1, true, &["mint", "create", "claim", "import", "publish"]),
        (2, false, &["claim", "import", "publish"]),
        // The object stays surplus until the placement has one of its own.
        (2, true, &["create", "claim", "import", "publish"]),
        (3, false, &["import", "publish"]),
        // The object has the claim, but the ledger has no receipt. The step finds it done and writes the receipt.
        (3, true, &["claim", "import", "publish"]),
        (4, false, &["publish"]),
        (4, true, &["import", "publish"]),
    ];
    for (steps, lost, left) in cases {
        let mut world = World::with_one_key();
        let change_set = only(&world.plan());
        world.apply_until(&change_set, steps, lost);
        let rest = only(&world.plan());
        assert_eq!(words(&rest), left, "{steps} steps, lost: {lost}");
        assert!(matches!(&rest.reasons[..], [Reason::Unfinished { .. }]));
        assert_eq!(world.verdict(&rest), Ok(()), "{steps} steps, lost: {lost}");

        world.apply(&rest);
        for clean_up in world.plan().change_sets {
            assert!(is_clean_up(&clean_up));
            world.apply(&clean_up);
        }
        let plan = world.plan();
        assert!(matches!(nothing(&plan, "payments-db"), NothingReason::InPlace { since: Some(_), .. }), "{}", plan.report);
    }
}

#[test]
fn an_object_that_was_made_in_vain_is_not_waited_for() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.apply_until(&change_set, 2, false);
    for state in [ObjectState::DeletionScheduled(None), ObjectState::Disabled] {
        world.cloud("prod").objects.values_mut().for_each(|object| object.state = state);
        assert_eq!(words(&only(&world.plan())), ["create", "claim", "import", "publish"]);
    }
}

#[test]
fn surplus_objects_are_removed_once_the_placement_needs_nothing() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let id = *change_set.placements.first_key_value().unwrap().0;
    let spare = world.leave_a_spare("prod", id);
    assert_eq!(only(&world.plan()).action, Action::Import);
    world.apply(&change_set);

    let clean_up = only(&world.plan());
    assert_eq!(clean_up.action, Action::CleanUp);
    assert_eq!(clean_up.steps[0].act, Act::RemoveSurplus { object: spare.clone() });
    assert_eq!(clean_up.reasons, [Reason::SurplusObject { object: spare, destination: name("prod") }]);
    assert_eq!(world.verdict(&clean_up), Ok(()));
    world.apply(&clean_up);
    assert!(matches!(nothing(&world.plan(), "payments-db"), NothingReason::InPlace { .. }));
}

/// Otherwise objects that a failing step leaves behind would not be reported while it fails.
#[test]
fn what_is_surplus_is_named_while_something_else_comes_first() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let id = *change_set.placements.first_key_value().unwrap().0;
    world.apply_until(&change_set, 1, false);
    let spare = world.leave_a_spare("prod", id);
    let unused = Warning::UnusedObject { key: "payments-db".parse().unwrap(), destination: name("prod"), object: spare.clone() };
    let plan = world.plan();
    assert_eq!(only(&plan).action, Action::Import);
    assert_eq!(plan.report.warnings, std::slice::from_ref(&unused), "a change set was dropped, and another one is proposed");

    let committed = only(&plan);
    world.apply_until(&committed, 0, false);
    world.propose(&committed);
    world.ledger.open.values_mut().for_each(|open| open.state = ChangeSetState::Committed);
    let plan = world.plan();
    assert!(matches!(nothing(&plan, "payments-db"), NothingReason::Running { .. }));
    assert_eq!(plan.report.warnings, [unused], "a change set runs, or is held");
}

#[test]
fn a_surplus_object_that_may_hold_material_is_drift_and_is_never_removed() {
    let mut world = applied();
    let id = placement(&mut world);
    let spare = world.leave_a_spare("prod", id);
    for state in [ObjectState::Usable, ObjectState::Disabled, ObjectState::Other] {
        world.cloud("prod").objects.get_mut(&spare).unwrap().state = state;
        let plan = world.plan();
        assert_eq!(plan.change_sets, []);
        assert_eq!(obstacles(&plan, "payments-db"), [Obstacle::Drift(Drift::SurplusWithMaterial { object: spare.clone() })]);
    }
}

#[test]
fn nothing_is_surplus_in_a_sweep_that_did_not_reach_its_end() {
    let mut world = applied();
    let id = placement(&mut world);
    world.leave_a_spare("prod", id);
    let mut looks = world.look();
    looks.get_mut(&name("prod")).unwrap().complete = false;
    let plan = world.plan_with(&looks);
    assert_eq!(plan.change_sets, []);
    assert_eq!(plan.report.warnings, [Warning::IncompleteSweep { destination: name("prod") }]);
}

#[test]
fn nothing_is_surplus_at_a_placement_that_was_not_looked_at() {
    let mut world = applied();
    let id = placement(&mut world);
    world.leave_a_spare("prod", id);
    let mut looks = world.look();
    looks.get_mut(&name("prod")).unwrap().placements.clear();
    assert_eq!(world.plan_with(&looks).change_sets, []);
}

#[test]
fn what_another_installation_made_is_never_surplus() {
    let mut world = applied();
    let id = placement(&mut world);
    let spare = world.leave_a_spare("prod", id);
    let other = InstallationId(keyplane_model::IdTree::new([9; 32]).uuid());
    world.cloud("prod").objects.get_mut(&spare).unwrap().marks.as_mut().unwrap().installation = other;
    assert_eq!(world.plan().change_sets, []);
}

#[test]
fn an_object_for_a_placement_that_the_ledger_does_not_know_is_only_mentioned() {
    let mut world = applied();
    let object = world.leave_a_spare("prod", PlacementId(keyplane_model::IdTree::new([9; 32]).uuid()));
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert_eq!(plan.report.warnings, [Warning::UnknownObject { destination: name("prod"), object }]);
}

#[test]
fn a_key_that_nobody_wants_any_more_keeps_its_copies_and_loses_its_spares() {
    let mut world = applied();
    let id = placement(&mut world);
    world.intent.keys.clear();
    assert_eq!(nothing(&world.plan(), "payments-db"), NothingReason::Unwanted);

    let spare = world.leave_a_spare("prod", id);
    let clean_up = only(&world.plan());
    assert_eq!(clean_up.steps[0].act, Act::RemoveSurplus { object: spare });
    assert_eq!((clean_up.profile.as_str(), clean_up.wanted), ("payments", None));
    assert_eq!(world.verdict(&clean_up), Ok(()));

    world.intent.profiles.clear();
    assert_blocked(&world, &[Obstacle::UnknownProfile]);
}

#[test]
fn the_object_that_a_placement_has_is_no_spare_even_before_it_is_claimed() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.apply_until(&change_set, 2, false);
    world.intent.keys.clear();
    assert_eq!(nothing(&world.plan(), "payments-db"), NothingReason::Unwanted);
}

#[test]
fn a_placement_that_nobody_wants_any_more_is_mentioned_and_its_drift_too() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("prod-too", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    world.apply(&change_set);
    world.want("payments-db", &[("prod", Algorithm::Aes256)]);
    world.object("prod-too").state = ObjectState::Disabled;
    let object = world.object("prod-too").object.clone();

    let plan = world.plan();
    assert!(matches!(nothing(&plan, "payments-db"), NothingReason::InPlace { .. }));
    assert_eq!(
        plan.report.warnings,
        [Warning::UnwantedPlacement { key: name("payments-db"), destination: name("prod-too"), name: "payments-db".into() }]
    );
    assert_eq!(obstacles(&plan, "payments-db"), [Obstacle::Drift(Drift::Disabled { object })]);
}

#[test]
fn a_proposed_change_set_that_still_fits_is_kept_whoever_plans() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.propose(&change_set);
    world.proposer = Actor("somebody else".into());
    let digest = change_set.digest().unwrap();
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert!(plan.kept.contains(&digest));
    assert_eq!(nothing(&plan, "payments-db"), NothingReason::AwaitingApproval { digest, given: 0, need: 1 });
    assert_eq!(plan.report.lanes.len(), 1, "what is kept takes its time too");
}

/// A proposed change set, and its digest. `approved`: somebody approved it.
fn proposed(approved: bool) -> (World, ChangeSet, Digest) {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.propose(&change_set);
    if approved {
        let approval = Approval { approver: name("alice"), signature: String::new(), at: world.now };
        world.ledger.open.get_mut(&change_set.key_id).unwrap().approvals.push(approval);
    }
    let digest = change_set.digest().unwrap();
    (world, change_set, digest)
}

/// By the clock of another server they may still count, and the people who gave them would be asked again.
#[test]
fn approvals_that_have_just_ended_are_kept_as_long_as_clocks_may_differ() {
    let second = Span::seconds(1);
    for (approved, ends) in [(false, Span::ZERO), (true, CLOCKS)] {
        let (mut world, change_set, digest) = proposed(approved);
        world.now = change_set.until + ends;
        assert_eq!(only(&world.plan()).until, world.now + Span::days(30), "approved: {approved}");
        world.now = Timestamp(world.now.0 - second.micros());
        assert!(world.plan().kept.contains(&digest), "approved: {approved}");
    }
}

/// It would count for longer than any rule allows, from now on by a clock that is behind.
#[test]
fn a_server_whose_clock_is_behind_replaces_no_proposal() {
    for approved in [false, true] {
        let (mut world, _, digest) = proposed(approved);
        world.now = Timestamp(world.now.0 - (CLOCKS + CLOCKS).micros());
        let plan = world.plan();
        assert!(plan.kept.contains(&digest), "approved: {approved}");
        assert!(plan.change_sets.is_empty() && plan.outdated.is_empty(), "approved: {approved}");
    }
}

#[test]
fn a_proposed_change_set_that_no_longer_fits_is_replaced() {
    let mut world = World::with_one_key();
    let old = only(&world.plan());
    world.propose(&old);
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("prod-too", Algorithm::Aes256)]);
    let plan = world.plan();
    let Outcome::Change { replaces, .. } = outcome(&plan, "payments-db") else { panic!("{}", plan.report) };
    assert_eq!(*replaces, Some(old.digest().unwrap()));
    assert!(plan.kept.is_empty() && plan.outdated.is_empty());
}

#[test]
fn a_proposed_change_set_that_nobody_needs_any_more_is_outdated() {
    let mut world = World::with_one_key();
    let old = only(&world.plan());
    world.propose(&old);
    world.intent.keys.clear();
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert_eq!(plan.outdated, [old.digest().unwrap()].into());
    assert_eq!(nothing(&plan, "payments-db"), NothingReason::Unwanted);
}

#[test]
fn approvals_are_asked_for_as_long_as_the_rules_say() {
    let mut world = World::with_one_key();
    let valid = |world: &World| {
        let change_set = only(&world.plan());
        assert_eq!(world.verdict(&change_set), Ok(()));
        change_set.until - world.now
    };
    assert_eq!(valid(&world), Span::days(30));
    let profile = |world: &mut World, valid| world.intent.profiles.get_mut(&name("payments")).unwrap().approvals.valid = valid;
    profile(&mut world, Span::days(7));
    world.key("payments-db").rules.approvals.valid = Span::days(7);
    assert_eq!(valid(&world), Span::days(7));
    world.key("payments-db").rules.approvals.valid = Span::days(2);
    assert_eq!(valid(&world), Span::days(2));

    // The bytes that were made before were made under `standard`.
    let change_set = only(&world.plan());
    world.apply_until(&change_set, 3, false);
    let mut standard = world.intent.profiles[&name("payments")].clone();
    standard.approvals.valid = Span::days(1);
    world.intent.profiles.insert(name("standard"), standard);
    assert_eq!(valid(&world), Span::days(1));
}

/// The custodian would refuse it, and nothing else of it differs from what is planned now.
#[test]
fn a_proposed_change_set_whose_approvals_would_count_for_too_long_is_replaced() {
    let mut world = applied();
    let id = placement(&mut world);
    world.intent.keys.clear();
    world.leave_a_spare("prod", id);
    let old = only(&world.plan());
    world.propose(&old);
    assert!(world.plan().kept.contains(&old.digest().unwrap()));
    world.intent.profiles.get_mut(&name("payments")).unwrap().approvals.valid = Span::days(1);
    let new = only(&world.plan());
    assert_eq!(new, ChangeSet { until: world.now + Span::days(1), ..old });
    assert_eq!(world.verdict(&new), Ok(()));
}

#[test]
fn a_destination_that_is_away_for_a_while_costs_no_approvals() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("ring", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    world.propose(&change_set);
    let mut looks = world.look();
    looks.remove(&name("ring"));
    let plan = world.plan_with(&looks);
    assert_eq!(plan.change_sets, []);
    assert!(plan.kept.contains(&change_set.digest().unwrap()));

    // A change that does not depend on looks makes the change set stale.
    world.key("payments-db").rules.approvals.import.need = 2;
    let plan = world.plan_with(&looks);
    assert!(plan.kept.is_empty());
    assert_eq!(plan.change_sets.len(), 1);
}

#[test]
fn nothing_is_planned_beside_a_committed_change_set() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let digest = change_set.digest().unwrap();
    world.apply_until(&change_set, 2, false);
    world.propose(&change_set);
    world.ledger.open.values_mut().for_each(|open| open.state = ChangeSetState::Committed);
    let id = placement(&mut world);
    world.leave_a_spare("prod", id);
    let plan = world.plan();
    assert_eq!(plan.change_sets, []);
    assert_eq!(nothing(&plan, "payments-db"), NothingReason::Running { digest, done: 0, steps: 5 });
}

/// Otherwise the next change set would supersede it before the custodian knows its end.
#[test]
fn nothing_is_planned_beside_a_change_set_that_is_being_withdrawn() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let digest = change_set.digest().unwrap();
    world.propose(&change_set);
    world.ledger.open.values_mut().for_each(|open| open.state = ChangeSetState::Ending);
    let plan = world.plan();
    assert_eq!((plan.change_sets.len(), plan.kept.len(), plan.outdated.len()), (0, 0, 0), "{}", plan.report);
    assert_eq!(nothing(&plan, "payments-db"), NothingReason::Withdrawing { digest });
    world.intent.keys.clear();
    let plan = world.plan();
    assert!(plan.outdated.is_empty(), "{}", plan.report);
}

#[test]
fn what_can_be_done_is_done_beside_what_cannot() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("nowhere", Algorithm::Aes256)]);
    let plan = world.plan();
    assert_eq!(words(&only(&plan)).len(), 5);
    assert_eq!(obstacles(&plan, "payments-db"), [Obstacle::UnknownDestination]);
    assert_eq!(world.verdict(&only(&plan)), Ok(()));
}

#[test]
fn what_the_configuration_does_not_allow_is_blocked() {
    let mut world = World::with_one_key();
    world.destinations.clear();
    assert_blocked(&world, &[Obstacle::UnknownDestination]);

    let mut world = World::with_one_key();
    world.destination("prod").cloud = CloudKind::Gcp;
    assert_blocked(&world, &[Obstacle::OtherCloud { configured: CloudKind::Gcp }]);

    let mut world = World::with_one_key();
    world.destination("prod").capabilities.protection = Protection::Software;
    assert_blocked(&world, &[Obstacle::ProtectionTooLow]);

    let mut world = World::with_one_key();
    world.destination("prod").capabilities.algorithms.remove(&Algorithm::Aes256);
    assert_blocked(&world, &[Obstacle::AlgorithmUnsupported { algorithm: Algorithm::Aes256 }]);
}

#[test]
fn where_clouds_must_agree_the_bytes_are_made_once() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("ring", Algorithm::Aes256)]);
    world.key("payments-db").shared = true;
    let change_set = only(&world.plan());
    assert_eq!(words(&change_set), ["mint", "create", "claim", "import", "publish", "share", "create", "prepare", "import", "publish"],);
    assert_eq!(world.verdict(&change_set), Ok(()));
    world.apply(&change_set);
    assert_eq!(world.plan().change_sets, []);
    let copies = &world.ledger.keys[&name("payments-db")].copies;
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].bound(), copies[1].bound());

    // A placement that is added later gets the same bytes, wherever it stands in the list.
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("ring", Algorithm::Aes256), ("prod-too", Algorithm::Aes256)]);
    world.key("payments-db").shared = true;
    let change_set = only(&world.plan());
    assert_eq!(words(&change_set), ["share", "create", "claim", "import", "publish"]);
    assert_eq!(world.verdict(&change_set), Ok(()));
    assert_eq!(made(&change_set), [Some(world.ledger.keys[&name("payments-db")].copies[0].bound())], "approvers see how they were made");
}

/// What the imports of a change set say of their bytes.
fn made(change_set: &ChangeSet) -> Vec<Option<CopyCoordinates>> {
    let of = |step: &Step| if let Act::Import { made, .. } = &step.act { Some(made.clone()) } else { None };
    change_set.steps.iter().filter_map(of).collect()
}

/// A key whose only version was imported a second time, by a late request. `first` and `second` are the states of the two imports.
fn imported_twice(first: MaterialState, second: MaterialState) -> World {
    let mut world = World::new();
    world.want("analytics", &[("ring", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    world.apply(&change_set);
    let object = world.object("ring");
    let late = MaterialSeen { id: Some("late".to_owned()), state: second, ..object.materials[0].clone() };
    object.materials[0].state = first;
    object.materials.push(late);
    world
}

#[test]
fn a_second_import_that_nobody_could_use_is_disabled_once_and_the_one_in_use_stays() {
    for (first, second, disabled, kept) in [
        (MaterialState::Current, MaterialState::Pending, "late", "material-1"),
        (MaterialState::Former, MaterialState::Current, "material-1", "late"),
    ] {
        let mut world = imported_twice(first, second);
        let change_set = only(&world.plan());
        assert_eq!(words(&change_set), ["disable-surplus"]);
        assert_eq!(change_set.action, Action::CleanUp);
        assert_eq!(world.verdict(&change_set), Ok(()));
        world.apply(&change_set);
        assert_eq!(world.plan().change_sets, []);
        for seen in &world.object("ring").materials {
            assert_eq!(seen.id.as_deref() == Some(disabled), seen.presence == Presence::Disabled, "{seen:?}");
        }
        assert_eq!(world.ledger.keys[&name("analytics")].copies[0].material.as_deref(), Some(kept));
    }
}

/// Disabling the first import would lose its ciphertexts: each names the import that it needs.
#[test]
fn a_second_import_that_became_the_current_one_by_itself_is_followed_and_the_first_stays() {
    let mut world = imported_twice(MaterialState::Former, MaterialState::Current);
    world.destinations.get_mut(&name("ring")).unwrap().capabilities.creation = Creation::Imported;
    let change_set = only(&world.plan());
    assert_eq!(words(&change_set), ["follow-second"]);
    assert_eq!(change_set.action, Action::CleanUp);
    assert_eq!(world.verdict(&change_set), Ok(()));
    world.apply(&change_set);
    assert_eq!(world.plan().change_sets, []);
    assert!(world.object("ring").materials.iter().all(|seen| seen.presence == Presence::Present));
    assert_eq!(world.ledger.keys[&name("analytics")].copies[0].material.as_deref(), Some("late"));
}

#[test]
fn what_shares_bytes_waits_for_them() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("ring", Algorithm::Aes256)]);
    world.key("payments-db").shared = true;
    world.destinations.remove(&name::<keyplane_model::DestinationName>("prod"));
    assert_blocked(&world, &[Obstacle::UnknownDestination, Obstacle::SharedWaits]);
}

#[test]
fn what_the_rules_do_not_allow_is_blocked() {
    let mut world = World::with_one_key();
    world.key("payments-db").rules.algorithms.clear();
    assert_blocked(&world, &[Obstacle::AlgorithmNotAllowed { algorithm: Algorithm::Aes256 }]);

    let mut world = World::with_one_key();
    world.key("payments-db").rules.locations = Some([name("ring")].into());
    assert_blocked(&world, &[Obstacle::LocationNotAllowed]);

    let mut world = World::with_one_key();
    world.intent.profiles.clear();
    assert_blocked(&world, &[Obstacle::UnknownProfile]);
}

#[test]
fn the_first_scheme_that_the_token_has_a_route_for_is_taken() {
    let mut world = World::with_one_key();
    let scheme = |world: &World| match only(&world.plan()).steps[3].act {
        Act::Import { scheme, .. } => scheme,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(scheme(&world), WrapScheme::RsaOaepSha256);
    world.custody.schemes.remove(&WrapScheme::RsaOaepSha256);
    assert_eq!(scheme(&world), WrapScheme::RsaAesKeyWrapSha256);
    world.custody.schemes.get_mut(&WrapScheme::RsaAesKeyWrapSha256).unwrap().remove(&Algorithm::Aes256);
    assert_blocked(&world, &[Obstacle::NoRoute { algorithm: Algorithm::Aes256 }]);

    // SHA-1 is no fallback where the destination offers something better.
    world.destination("prod").capabilities.algorithms.get_mut(&Algorithm::Aes256).unwrap().push(WrapScheme::RsaOaepSha1);
    world.custody.schemes.insert(WrapScheme::RsaOaepSha1, [Algorithm::Aes256].into());
    assert_blocked(&world, &[Obstacle::NoRoute { algorithm: Algorithm::Aes256 }]);
}

#[test]
fn bytes_are_derived_where_that_is_possible_and_nothing_else_is_asked_for() {
    let source = |world: &World| match only(&world.plan()).steps[0].act {
        Act::Mint { source, .. } => source,
        ref other => panic!("{other:?}"),
    };
    let mut world = World::with_one_key();
    assert_eq!(source(&world), Source::Derived);
    world.key("payments-db").rules.source = Some(Source::Generated);
    assert_eq!(source(&world), Source::Generated);
    world.key("payments-db").rules.source = None;
    world.custody.derives = false;
    assert_eq!(source(&world), Source::Generated);
    world.key("payments-db").rules.source = Some(Source::Derived);
    assert_blocked(&world, &[Obstacle::CannotDerive]);

    // Key pairs are generated, whatever the rules say.
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Rsa3072)]);
    world.key("payments-db").rules.source = Some(Source::Derived);
    assert_eq!(source(&world), Source::Generated);
    assert_eq!(world.verdict(&only(&world.plan())), Ok(()));
}

#[test]
fn something_foreign_under_our_names_is_never_touched() {
    let stranger = ObjectId("stranger".into());
    let mut world = World::with_one_key();
    world.cloud("prod").objects.insert(stranger.clone(), empty_object(stranger.clone(), None, Algorithm::Aes256));
    world.cloud("prod").names.insert("payments-db".into(), stranger.clone());
    assert_blocked(&world, &[Obstacle::ForeignName { object: stranger.clone() }]);
    let finding = &world.plan().report.keys[&name::<KeyName>("payments-db")].findings[0];
    let problem = finding.problem(&name("payments-db"));
    assert_eq!(
        (problem.code, problem.key, problem.destination),
        (ProblemCode::ForeignObject, Some(name("payments-db")), Some(name("prod")))
    );

    let id = finding.placement;
    world.cloud("prod").names.clear();
    world.cloud("prod").claims.insert(id, stranger.clone());
    assert_blocked(&world, &[Obstacle::ForeignClaim { object: stranger }]);
}

#[test]
fn what_was_not_looked_at_is_not_taken_for_absent() {
    let world = World::with_one_key();
    let mut looks = world.look();
    looks.get_mut(&name("prod")).unwrap().placements.clear();
    for looks in [looks, BTreeMap::new()] {
        let plan = world.plan_with(&looks);
        assert_eq!(plan.change_sets, []);
        assert_eq!(obstacles(&plan, "payments-db"), [Obstacle::NotLookedAt]);
    }
}

#[test]
fn another_destination_under_the_same_name_is_refused() {
    let mut world = applied();
    world.destination("prod").fingerprint = Digest::of(b"another account");
    assert_blocked(&world, &[Obstacle::DestinationChanged]);
    // Nothing was made at the old destination yet.
    world.record("payments-db").placements.values_mut().for_each(|placement| placement.object = None);
    assert_ne!(obstacles(&world.plan(), "payments-db"), [Obstacle::DestinationChanged]);
}

#[test]
fn a_placement_does_not_change_its_algorithm() {
    let mut world = applied();
    world.want("payments-db", &[("prod", Algorithm::Rsa3072)]);
    assert_blocked(&world, &[Obstacle::AlgorithmChanged { recorded: Algorithm::Aes256 }]);
}

#[test]
fn a_version_that_is_not_active_is_brought_nowhere() {
    let mut world = applied();
    world.record("payments-db").versions.values_mut().for_each(|version| version.state = VersionState::Suspended);
    assert_blocked(&world, &[Obstacle::VersionUnusable { version: Version(1), state: VersionState::Suspended }]);
}

#[test]
fn every_difference_between_ledger_and_cloud_is_drift() {
    let object = ObjectId("object-0".into());
    let other = ObjectId("object-1".into());
    type Change = fn(&mut World);
    let cases: [(Change, Drift); 11] = [
        (|w| w.object("prod").state = ObjectState::Disabled, Drift::Disabled { object: object.clone() }),
        (|w| w.object("prod").state = ObjectState::DeletionScheduled(None), Drift::BeingDeleted { object: object.clone() }),
        (|w| w.object("prod").state = ObjectState::Other, Drift::UnknownState { object: object.clone() }),
        (|w| w.object("prod").policy_fits = false, Drift::Altered { object: object.clone() }),
        (|w| w.object("prod").marks = None, Drift::Altered { object: object.clone() }),
        (|w| w.cloud("prod").names.clear(), Drift::NameGone),
        (|w| w.cloud("prod").claims.clear(), Drift::ClaimGone { recorded: object.clone() }),
        (|w| w.object("prod").materials[0].presence = keyplane_model::Presence::Missing, Drift::MaterialMissing { version: Version(1) }),
        (
            |w| {
                w.object("prod").materials.clear();
                w.object("prod").state = ObjectState::AwaitingMaterial;
            },
            Drift::MaterialMissing { version: Version(1) },
        ),
        (
            |w| w.object("prod").materials[0].id = Some("another".into()),
            Drift::OtherMaterial { recorded: Some("material-1".into()), found: Some("another".into()) },
        ),
        (
            |w| {
                let twin = empty_object(ObjectId("object-1".into()), w.object("prod").marks.clone(), Algorithm::Aes256);
                let twin = keyplane_model::ObjectSeen { materials: w.object("prod").materials.clone(), state: ObjectState::Usable, ..twin };
                let id = placement(w);
                let cloud = w.cloud("prod");
                cloud.claims.insert(id, twin.object.clone());
                cloud.names.insert("payments-db".into(), twin.object.clone());
                cloud.objects.insert(twin.object.clone(), twin);
                cloud.objects.remove(&ObjectId("object-0".into()));
            },
            Drift::OtherObject { recorded: object, found: other },
        ),
    ];
    for (change, drift) in cases {
        let mut world = applied();
        change(&mut world);
        assert_blocked(&world, &[Obstacle::Drift(drift)]);
    }
}

#[test]
fn material_where_we_never_made_any_is_drift() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let id = *change_set.placements.first_key_value().unwrap().0;
    let object = world.leave_a_spare("prod", id);
    world.cloud("prod").claims.insert(id, object);
    // The object is ours and empty, but not in the ledger. It fits.
    assert_eq!(words(&only(&world.plan())), ["mint", "claim", "import", "publish"]);

    world.object("prod").state = ObjectState::Usable;
    assert_blocked(&world, &[Obstacle::Drift(Drift::OtherMaterial { recorded: None, found: None })]);
}

#[test]
fn material_marked_as_another_version_is_not_imported_over() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    world.apply_until(&change_set, 4, true);
    world.object("prod").materials[0].version = Some(Version(2));
    assert_blocked(&world, &[Obstacle::Drift(Drift::OtherMaterial { recorded: None, found: Some("material-1".into()) })]);
}

#[test]
fn material_of_an_unconfirmed_import_that_cannot_be_imported_again_is_drift() {
    let object = || ObjectId("object-0".into());
    let other = |found: Option<&str>| Drift::OtherMaterial { recorded: None, found: found.map(str::to_owned) };
    type Change = fn(&mut Vec<keyplane_model::MaterialSeen>);
    let cases: [(Change, Option<Drift>); 6] = [
        // The engine imports again, and a receipt completes the ledger.
        (|_| {}, None),
        (|materials| materials[0].presence = keyplane_model::Presence::Missing, None),
        // The destination would refuse the import, so planning it would never end.
        (|materials| materials[0].presence = keyplane_model::Presence::Leaving, Some(Drift::BeingDeleted { object: object() })),
        (|materials| materials[0].presence = keyplane_model::Presence::Disabled, Some(Drift::Disabled { object: object() })),
        (|materials| materials[0].version = None, Some(other(Some("material-1")))),
        (Vec::clear, Some(other(None))),
    ];
    for (change, drift) in cases {
        let mut world = World::with_one_key();
        let change_set = only(&world.plan());
        world.apply_until(&change_set, 4, true);
        change(&mut world.object("prod").materials);
        match drift {
            Some(drift) => assert_blocked(&world, &[Obstacle::Drift(drift)]),
            None => assert_eq!(words(&only(&world.plan())), ["import", "publish"]),
        }
    }
}

#[test]
fn what_may_still_be_the_old_state_is_not_called_drift() {
    let mut world = applied();
    world.cloud("prod").names.clear();
    let mut looks = world.look();
    let imported = world.record("payments-db").copies[0].imported.unwrap();
    let activated = world.record("payments-db").versions[&Version(1)].activated.unwrap();
    assert!(activated > imported);
    for (at, obstacle) in [
        (imported, Obstacle::Unsettled),
        (activated + Span::seconds(4), Obstacle::Unsettled),
        (activated + Span::seconds(5), Obstacle::Drift(Drift::NameGone)),
    ] {
        looks.get_mut(&name("prod")).unwrap().at = at;
        assert_eq!(obstacles(&world.plan_with(&looks), "payments-db"), [obstacle]);
    }
}

#[test]
fn what_was_seen_before_somebody_worked_at_the_key_is_not_called_drift() {
    let mut world = World::with_one_key();
    let change_set = only(&world.plan());
    let (before, mut looks) = (world.ledger.clone(), world.look());
    world.apply(&change_set);
    // By the clock of the server that looked, the looks came after all of that.
    looks.values_mut().for_each(|look| look.at = world.now + Span::days(1));
    let unsettled = world.plan_since(&before, &looks);
    assert_eq!(obstacles(&unsettled, "payments-db"), [Obstacle::Unsettled]);
    assert!(unsettled.change_sets.is_empty());
    // The key has not changed since the looks, so its objects are gone.
    let gone = [Drift::ClaimGone { recorded: ObjectId("object-0".into()) }, Drift::NameGone].map(Obstacle::Drift);
    assert_eq!(obstacles(&world.plan_with(&looks), "payments-db"), gone);
}

#[test]
fn an_old_look_is_mentioned() {
    let mut world = applied();
    let looks = world.look();
    world.now = world.now + Span::days(1);
    let plan = world.plan_with(&looks);
    assert_eq!(plan.report.warnings.len(), 3);
    assert!(matches!(nothing(&plan, "payments-db"), NothingReason::InPlace { .. }));
}

#[test]
fn five_keys_take_five_seconds_where_one_a_second_is_allowed() {
    let mut world = World::new();
    for index in 0..5 {
        // The two destinations share their quotas.
        world.want(&format!("key-{index}"), &[(if index % 2 == 0 { "prod" } else { "prod-too" }, Algorithm::Aes256)]);
    }
    world.want("elsewhere", &[("ring", Algorithm::Aes256)]);
    let plan = world.plan();
    let lanes: Vec<_> = plan.report.lanes.iter().map(|(lane, span)| (lane.as_str(), *span)).collect();
    assert_eq!(lanes, [("111122223333 us-east-1", Span::seconds(5)), ("project/europe-west1/ring", Span::seconds(1))]);
    let Outcome::Change { takes, .. } = outcome(&plan, "key-0") else { panic!("{}", plan.report) };
    assert_eq!(*takes, Span::seconds(1));
}

#[test]
fn the_report_reads_as_lines_of_text() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("nowhere", Algorithm::Aes256)]);
    let plan = world.plan();
    let digest = only(&plan).digest().unwrap().short();
    assert_eq!(
        plan.report.to_string(),
        format!(
            "payments-db: import in 5 steps, change set {digest}, at least 1s\n    because the key is wanted and does not exist yet\n    \
             `payments-db` at `nowhere`: no such destination is configured\n        add the destination to the configuration, then `keyplane plan`\n\
             all of it takes at least 1s at `111122223333 us-east-1`\n"
        )
    );
    assert!(serde_json::to_string(&plan.report).unwrap().contains("unknown-destination"));
}

#[test]
fn lists_in_another_order_give_the_same_plan() {
    let mut world = World::new();
    world.want("payments-db", &[("prod", Algorithm::Aes256), ("prod-too", Algorithm::Aes256)]);
    let change_set = only(&world.plan());
    world.apply_until(&change_set, 8, false);
    let mut second = world.object("prod").materials[0].clone();
    second.state = MaterialState::Former;
    second.id = Some("former".into());
    world.object("prod").materials.push(second);
    let first = world.plan();
    world.propose(&only(&first));
    world.ledger.open.values_mut().for_each(|open| {
        open.approvals = ["alice", "bob"].map(|who| Approval { approver: name(who), signature: String::new(), at: Timestamp(0) }).into();
    });
    let kept = world.plan();

    world.ledger.open.values_mut().for_each(|open| open.approvals.reverse());
    world.record("payments-db").copies.reverse();
    world.object("prod").materials.reverse();
    assert_eq!(world.plan(), kept);
    world.ledger.open.clear();
    assert_eq!(world.plan(), first);
}
