//! Plans the example company's policy many times.

use std::collections::BTreeMap;
use std::path::Path;

use keyplane_model::{ChangeSet, ChangeSetState, Destination, DestinationName, Digest, Intent};

use crate::properties::{Numbers, shuffled};
use crate::world::{Cloud, World, name};

/// How many times the company is planned, each time with lists and maps in another order.
const PLANS: usize = 10_000;

/// The threads that share the work.
const THREADS: usize = 4;

/// In how many plans a thread reads the policy again, with the files in another order.
const READS: usize = 5;

/// The example company, with only two AWS regions of its destinations configured.
fn company() -> World {
    let mut world = World::new();
    let like = world.destination("prod").clone();
    world.destinations = ["prod-us-east-1", "prod-eu-central-1"]
        .map(|at| (name(at), Destination { name: name(at), fingerprint: Digest::of(at.as_bytes()), home: at.into(), ..like.clone() }))
        .into();
    world.clouds = world.destinations.keys().map(|at| (at.clone(), Cloud::default())).collect();
    world.intent = read(&world.destinations, &mut Numbers(1));
    world
}

/// Reads the example's files in a random order.
fn read(destinations: &BTreeMap<DestinationName, Destination>, numbers: &mut Numbers) -> Intent {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/examples");
    let mut sources: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    numbers.shuffle(&mut sources);
    keyplane_policy::load(&sources, Some(destinations)).unwrap().intent
}

/// One key is done, one was dropped halfway, one is proposed, one is running, one has surplus objects. The others are new.
fn busy(mut world: World) -> World {
    let change_sets = world.plan().change_sets;
    assert!(change_sets.len() >= 5, "the example company has work for five keys");
    let [done, half, proposed, running, spares]: [&ChangeSet; 5] = std::array::from_fn(|index| &change_sets[index]);
    world.apply(done);
    world.apply_until(half, 3, true);
    world.propose(proposed);
    world.apply_until(running, 2, false);
    world.propose(running);
    world.ledger.open.get_mut(&running.key_id).unwrap().state = ChangeSetState::Committed;
    world.apply(spares);
    let (placement, plan) = spares.placements.first_key_value().unwrap();
    for _ in 0..3 {
        world.leave_a_spare(plan.destination.as_str(), *placement);
    }
    world
}

#[test]
fn ten_thousand_plans_of_the_example_company_in_any_order_have_one_digest() {
    let world = busy(company());
    let first = world.plan();
    assert!(first.change_sets.len() >= 2 && first.kept.len() == 1);
    let rounds = &|seed| {
        let mut numbers = Numbers(seed);
        for round in 0..PLANS / THREADS {
            let mut world = shuffled(&world, &mut numbers);
            if round < READS {
                world.intent = read(&world.destinations, &mut numbers);
            }
            // Equal plans have equal bytes: a plan holds the digests of its change sets, and the report is a function of the plan.
            assert!(world.plan() == first, "round {round} of seed {seed}");
        }
    };
    std::thread::scope(|scope| {
        for seed in 1..=THREADS as u64 {
            scope.spawn(move || rounds(seed));
        }
    });
}

#[test]
fn the_example_company_is_planned_applied_and_then_in_place() {
    let mut world = company();
    let plan = world.plan();
    for change_set in &plan.change_sets {
        assert_eq!(world.verdict(change_set), Ok(()));
        world.apply(change_set);
    }
    let again = world.plan();
    assert_eq!(again.change_sets, [], "{}", again.report);
}
