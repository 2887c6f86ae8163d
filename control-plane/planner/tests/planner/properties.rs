//! Properties for every intent and every fault: the verifier accepts each plan and refuses each altered one, planning ends, and the order
//! of lists has no influence.

use keyplane_model::{
    Act, Action, Actor, Algorithm, ChangeSet, CloudKind, Digest, EpochId, Expectation, IdTree, InstallationId, PlacementId, Source,
    Version, WrapScheme,
};
use keyplane_planner::{NothingReason, Outcome};
use proptest::prelude::*;

use crate::world::{World, is_clean_up, name};

/// A key of a random intent, and the faults of its first change set.
#[derive(Clone, Debug)]
struct KeySpec {
    /// One bit for each of the three destinations, and one for a destination that is not configured.
    places: u8,
    algorithm: Algorithm,
    source: Option<Source>,
    /// How many steps of the first change set are done before it is dropped. `lost`: the last receipt is lost.
    steps: usize,
    lost: bool,
    /// How many surplus objects the first placement has.
    spares: usize,
}

fn key_spec() -> impl Strategy<Value = KeySpec> {
    let algorithm = prop_oneof![Just(Algorithm::Aes256), Just(Algorithm::Rsa3072)];
    let source = prop_oneof![Just(None), Just(Some(Source::Derived)), Just(Some(Source::Generated))];
    (0..16_u8, algorithm, source, 0..16_usize, any::<bool>(), 0..3_usize)
        .prop_map(|(places, algorithm, source, steps, lost, spares)| KeySpec { places, algorithm, source, steps, lost, spares })
}

fn specs() -> impl Strategy<Value = (Vec<KeySpec>, bool)> {
    (proptest::collection::vec(key_spec(), 1..5), any::<bool>())
}

fn world(specs: &[KeySpec], derives: bool) -> World {
    let mut world = World::new();
    world.custody.derives = derives;
    for (index, spec) in specs.iter().enumerate() {
        let key = format!("key-{index}");
        let places = ["prod", "prod-too", "ring", "nowhere"].into_iter().enumerate().filter(|(bit, _)| spec.places >> bit & 1 == 1);
        world.want(&key, &places.map(|(_, at)| (at, spec.algorithm)).collect::<Vec<_>>());
        world.key(&key).rules.source = spec.source;
    }
    world
}

/// The world after each key's first change set was dropped at its step.
fn after_accidents(specs: &[KeySpec], derives: bool) -> World {
    let mut world = world(specs, derives);
    for change_set in world.plan().change_sets {
        let index: usize = change_set.key.as_str().trim_start_matches("key-").parse().unwrap();
        let spec = &specs[index];
        world.apply_until(&change_set, spec.steps.min(change_set.steps.len()), spec.lost);
        let (placement, plan) = change_set.placements.first_key_value().unwrap();
        for _ in 0..spec.spares {
            world.leave_a_spare(plan.destination.as_str(), *placement);
        }
    }
    world
}

/// Pseudorandom numbers, the same in every run (xorshift64*).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }

    /// The same map, built in another order.
    fn rebuild<K: Ord, V>(&mut self, map: std::collections::BTreeMap<K, V>) -> std::collections::BTreeMap<K, V> {
        let mut list: Vec<(K, V)> = map.into_iter().collect();
        self.shuffle(&mut list);
        list.into_iter().collect()
    }
}

/// The same world, with every list and map in another order.
pub(crate) fn shuffled(world: &World, numbers: &mut Numbers) -> World {
    let mut world = world.clone();
    world.intent.keys = numbers.rebuild(world.intent.keys);
    world.intent.profiles = numbers.rebuild(world.intent.profiles);
    world.destinations = numbers.rebuild(world.destinations);
    world.ledger.keys = numbers.rebuild(world.ledger.keys);
    world.ledger.open = numbers.rebuild(world.ledger.open);
    for record in world.ledger.keys.values_mut() {
        numbers.shuffle(&mut record.copies);
    }
    for open in world.ledger.open.values_mut() {
        numbers.shuffle(&mut open.approvals);
    }
    world.clouds = numbers.rebuild(world.clouds);
    for cloud in world.clouds.values_mut() {
        for object in cloud.objects.values_mut() {
            numbers.shuffle(&mut object.materials);
        }
    }
    world
}

/// Alters a change set in one place. Returns whether the change set had that place.
type Mutation = fn(&mut ChangeSet) -> bool;

fn elsewhere() -> uuid::Uuid {
    IdTree::new([9; 32]).uuid()
}

fn change_act(set: &mut ChangeSet, change: fn(&mut Act) -> bool) -> bool {
    set.steps.iter_mut().any(|step| change(&mut step.act))
}

fn change_plan(set: &mut ChangeSet, change: fn(&mut keyplane_model::PlacementPlan)) -> bool {
    set.placements.values_mut().next().map(change).is_some()
}

const MUTATIONS: [(&str, Mutation); 25] = [
    ("format", |set| {
        set.format += 1;
        true
    }),
    ("installation", |set| {
        set.installation = InstallationId(elsewhere());
        true
    }),
    ("key name", |set| {
        set.key = name("another");
        true
    }),
    ("key id of a known key", |set| {
        set.key_id = keyplane_model::KeyId(elsewhere());
        set.generation.0 > 0
    }),
    ("profile", |set| {
        set.profile = name("another");
        true
    }),
    ("action", |set| {
        set.action = if set.action == Action::Import { Action::CleanUp } else { Action::Import };
        true
    }),
    ("wanted nothing", |set| set.wanted.take().is_some()),
    ("wanted something else", |set| {
        set.wanted = Some(Digest::of(b"another"));
        true
    }),
    ("fewer approvals", |set| {
        set.approvals.need -= 1;
        true
    }),
    ("approvals of nobody", |set| {
        set.approvals.from.clear();
        true
    }),
    ("proposer", |set| {
        set.proposer = Actor(String::new());
        true
    }),
    ("generation", |set| {
        set.generation = set.generation.next();
        true
    }),
    ("destination", |set| change_plan(set, |plan| plan.destination = name("another"))),
    ("fingerprint", |set| change_plan(set, |plan| plan.fingerprint = Digest::of(b"another"))),
    ("cloud", |set| change_plan(set, |plan| plan.cloud = CloudKind::Azure)),
    ("name", |set| change_plan(set, |plan| plan.name.push('x'))),
    ("incarnation", |set| change_plan(set, |plan| plan.incarnation = 0)),
    ("a placement less", |set| set.placements.pop_first().is_some()),
    ("a placement more", |set| {
        let plan = set.placements.values().next().cloned();
        plan.map(|plan| set.placements.insert(PlacementId(elsewhere()), plan)).is_some()
    }),
    ("a step twice", |set| {
        let step = set.steps[0].clone();
        set.steps.insert(0, step);
        true
    }),
    ("two steps swapped", |set| {
        let swap = set.steps.len() > 1 && set.steps[0].placement == set.steps[1].placement && set.action == Action::Import;
        if swap {
            set.steps.swap(0, 1);
        }
        swap
    }),
    ("expectation", |set| {
        let first = &mut set.steps[0].expects;
        *first = if *first == Expectation::Surplus { Expectation::Empty } else { Expectation::Surplus };
        true
    }),
    ("version", |set| {
        change_act(set, |act| match act {
            Act::Mint { version, .. } | Act::Import { version, .. } => {
                *version = Version(7);
                true
            }
            _ => false,
        })
    }),
    ("scheme", |set| {
        change_act(set, |act| match act {
            Act::Import { scheme, .. } => {
                *scheme = WrapScheme::RsaOaepSha1;
                true
            }
            _ => false,
        })
    }),
    ("root epoch", |set| {
        change_act(set, |act| match act {
            Act::Mint { epoch, .. } => {
                *epoch = EpochId(0);
                true
            }
            _ => false,
        })
    }),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_passes_the_verifier_and_plans_come_to_an_end((specs, derives) in specs()) {
        let mut world = world(&specs, derives);
        for change_set in world.plan().change_sets {
            prop_assert_eq!(world.verdict(&change_set), Ok(()));
        }
        world = after_accidents(&specs, derives);
        // First the remaining imports, then the clean-ups, then nothing.
        for round in 0..2 {
            for change_set in world.plan().change_sets {
                prop_assert_eq!(world.verdict(&change_set), Ok(()));
                prop_assert!(round == 0 || is_clean_up(&change_set));
                world.apply(&change_set);
            }
        }
        let plan = world.plan();
        prop_assert_eq!(&plan.change_sets, &[]);
        for (key, report) in &plan.report.keys {
            let wanted = world.intent.keys[key].placements.len();
            match &report.outcome {
                Outcome::Nothing { reason: NothingReason::InPlace { .. } } => prop_assert!(wanted > 0 && report.findings.is_empty()),
                Outcome::Nothing { reason: NothingReason::NoPlacements } => prop_assert_eq!(wanted, 0),
                Outcome::Blocked => prop_assert!(!report.findings.is_empty()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn no_accident_makes_a_second_claimed_object_or_a_second_copy((specs, derives) in specs()) {
        let mut world = after_accidents(&specs, derives);
        for _ in 0..2 {
            for change_set in world.plan().change_sets {
                world.apply(&change_set);
            }
        }
        for record in world.ledger.keys.values() {
            for (placement, known) in &record.placements {
                let live = world.clouds[&known.destination].objects.values().filter(|object| {
                    object.marks.as_ref().is_some_and(|marks| marks.placement == *placement) && !object.materials.is_empty()
                });
                prop_assert!(live.count() <= 1);
                prop_assert!(record.copies.iter().filter(|copy| copy.coordinates.placement == *placement).count() <= 1);
            }
        }
    }

    #[test]
    fn the_order_of_lists_and_maps_decides_nothing((specs, derives) in specs(), seed in 1..u64::MAX) {
        let mut world = after_accidents(&specs, derives);
        for change_set in world.plan().change_sets.iter().step_by(2) {
            world.propose(change_set);
        }
        let plan = world.plan();
        prop_assert_eq!(shuffled(&world, &mut Numbers(seed)).plan(), plan);
    }

    #[test]
    fn a_change_set_with_one_thing_changed_is_refused((specs, derives) in specs(), at in any::<prop::sample::Index>()) {
        let (what, mutate) = *at.get(&MUTATIONS);
        let mut world = after_accidents(&specs, derives);
        for _ in 0..2 {
            for change_set in world.plan().change_sets {
                let mut changed = change_set.clone();
                if mutate(&mut changed) {
                    prop_assert!(world.verdict(&changed).is_err(), "{}: {:?}", what, changed);
                }
                world.apply(&change_set);
            }
        }
    }
}
